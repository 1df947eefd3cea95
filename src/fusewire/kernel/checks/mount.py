"""What is always true of a mount: its inodes, names, pages and open files.

`check_mount` looks at everything that there is, so it costs what there is; who runs it after each
step of a large mount does so now and then. `check_idle` is for when no system call is under way:
then nobody holds a lock, and what open files count for can be counted.

The numbers are those of connection.py. What a daemon and its kernel count alike is in accounts.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from fusewire.kernel.checks.rules import broken, require
from fusewire.kernel.vfs.dentry import aliases
from fusewire.kernel.vfs.page_cache import PAGE
from fusewire.wire import FUSE_ROOT_ID, WriteFlags

if TYPE_CHECKING:
    from fusewire.kernel.locks import Semaphore
    from fusewire.kernel.request import Request
    from fusewire.kernel.vfs.dentry import Dentry
    from fusewire.kernel.vfs.inode import Inode
    from fusewire.kernel.vfs.open_file import OpenFile
    from fusewire.kernel.vfs.page_cache import Page
    from fusewire.kernel.vfs.superblock import Superblock

__all__ = ["check_idle", "check_mount", "open_files", "size_of"]

Span = tuple[int, int]  # nodeid, page
NOTHING: Final[frozenset[Span]] = frozenset()


def size_of(superblock: Superblock) -> int:
    """Return how much there is to look at."""
    pages = sum(len(inode.pages.pages) for inode in superblock.inodes.values() if inode.pages is not None)
    return len(superblock.inodes) + pages


def open_files(superblock: Superblock) -> set[OpenFile]:
    """Return the files that processes have open, or mapped."""
    files: set[OpenFile] = set()
    for process in superblock.system.processes.values():
        files.update(process.files.values())
        files.update(area.file for area in process.memory.areas if area.file is not None)
    return {file for file in files if file.inode.superblock is superblock}


def check_mount(superblock: Superblock, requests: Iterable[Request]) -> None:
    """Raise AssertionError if `superblock` is not as it always must be; `requests` are those that are on some list."""
    listed = list(requests)
    read, written = _spans(listed, "READ"), _spans(listed, "WRITE")
    require(100, len(written) == len(set(written)), "no page is in two WRITEs at once")
    reading = frozenset(read)
    for nodeid, inode in superblock.inodes.items():
        _check_inode(superblock, nodeid, inode)
        if inode.pages is not None:
            for index, page in inode.pages.pages.items():
                _check_page(inode, index, page, reading)
        if inode.writeback is not None:
            _check_writeback(inode, listed)
    _check_names(superblock)
    _check_io_modes(superblock)


def _check_inode(superblock: Superblock, nodeid: int, inode: Inode) -> None:
    if nodeid != inode.nodeid:
        broken(45, f"{inode} is found by its nodeid")
    if not _known(inode):
        broken(45, f"{inode} is in the table, so the daemon was not told to forget it")
    if inode.attr_version > superblock.connection.attr_version:
        broken(93, f"{inode} is of a version to come")
    if inode.references < inode.aliases:
        broken(44, f"{inode} is referred to by each of its names")
    if inode.references <= 0:
        broken(44, f"{inode} is in the table, so somebody refers to it")
    for lock in (inode._rwsem, inode._dir_mutex):
        if lock is not None and lock.holders:
            _check_lock(lock)


def _known(inode: Inode) -> bool:
    return inode.nlookup > 0 or inode.nodeid == FUSE_ROOT_ID


def _check_lock(lock: Semaphore) -> None:
    gone = [task.name for task in lock.holders if task.finished]
    require(87, not gone, f"{gone} have gone with the {lock.name}")


# Pages.


def _spans(requests: Iterable[Request], name: str) -> list[Span]:
    """The pages about which the page cache's requests of this name are."""
    found: list[Span] = []
    for request in requests:
        if request.operation.name != name:
            continue
        body = request.body
        if name == "READ" or body.write_flags & WriteFlags.FUSE_WRITE_CACHE:  # type: ignore[union-attr]
            first, end = body.offset // PAGE, -(-(body.offset + body.size) // PAGE)  # type: ignore[union-attr]
            found += [(request.nodeid, index) for index in range(first, end)]
    return found


def _check_page(inode: Inode, index: int, page: Page, reading: frozenset[Span] = NOTHING) -> None:
    require(98, page.index == index and page.cached, f"{inode}: {page} is in its cache")
    require(98, len(page.data) == PAGE, f"{inode}: {page} has the bytes of a page")
    require(98, page.uptodate or not page.dirty, f"{inode}: {page} is dirty, so it holds something")
    if page.locker is not None:
        require(99, page.locked, f"{inode}: {page} is locked by whoever locked it")
        require(99, not page.locker.finished, f"{inode}: {page} is locked by {page.locker}, who has gone")
    elif page.locked:
        require(99, (inode.nodeid, index) in reading, f"{inode}: {page} is locked by a READ, and none is under way")
    if page.writeback or page.dirty:
        writeback = inode.writeback
        require(99, writeback is not None, f"{inode}: {page} is to be written, and the inode knows of nothing")
        assert writeback is not None
        require(99, not page.writeback or page in writeback.under_way, f"{inode}: {page} is under writeback")
        require(98, not page.dirty or writeback.dirty.get(index) is page, f"{inode}: {page} is dirty")


def _check_writeback(inode: Inode, requests: list[Request]) -> None:
    writeback = inode.writeback
    assert writeback is not None
    require(24, writeback.in_flight >= 0, f"{inode}: no more WRITEs are answered than were sent")
    held = inode._rwsem is not None and bool(inode._rwsem.holders)
    require(24, not writeback.forbidden or held, f"{inode}: who forbids WRITEs holds the inode semaphore")
    if writeback.in_flight:
        sent = sum(request.operation.name == "WRITE" and request.nodeid == inode.nodeid for request in requests)
        require(24, writeback.in_flight <= sent, f"{inode}: {writeback.in_flight} WRITEs in flight are {sent} requests")
    require(99, all(page.writeback for page in writeback.under_way), f"{inode}: what is under way is under writeback")
    if writeback.is_dirty:
        require(98, inode in inode.superblock.dirty_inodes, f"{inode} is dirty, so the flusher knows of it")


# Names.


def _check_names(superblock: Superblock) -> None:
    if not superblock.active:
        return
    for dentry in _dentries(superblock):
        inode, below = dentry.inode, len(dentry.children or ())
        if dentry.count < below:
            broken(45, f"{dentry} is referred to by what stands in it")
        if dentry.hashed and not _found(dentry):
            broken(45, f"{dentry} is found where it stands")
        if inode is not None:
            _check_names_of(inode, dentry)


def _check_names_of(inode: Inode, dentry: Dentry) -> None:
    if not _known(inode):
        broken(45, f"{dentry} leads to {inode}, which was forgotten")
    names = list(aliases(inode))
    if dentry not in names:
        broken(45, f"{dentry} is one of the names of {inode}")
    if inode.aliases != len(names):
        broken(45, f"{inode} knows how many names it has")


def _dentries(superblock: Superblock) -> Iterator[Dentry]:
    for top in (superblock.root, *superblock.strays):
        yield top
        yield from top.below()


def _found(dentry: Dentry) -> bool:
    return dentry.parent is not None and dentry.parent.child(dentry.name) is dentry


# Open files.


def _check_io_modes(superblock: Superblock) -> None:
    """Who is known to use the page cache of an inode is counted there."""
    for inode, users in _cache_users(superblock).items():
        require(23, inode.iocachectr >= users, f"{inode} has {users} users of its page cache")


def _cache_users(superblock: Superblock) -> dict[Inode, int]:
    users: dict[Inode, int] = {}
    for file in open_files(superblock):
        if file.cached_reference:
            users[file.inode] = users.get(file.inode, 0) + 1
    return users


# When nothing is under way.


def check_idle(superblock: Superblock) -> None:
    """Raise AssertionError if something is left of the system calls that were made, none being under way."""
    require(87, not superblock.rename_mutex.holders, "nobody renames any more")
    require(107, not superblock.looking_up, "nobody looks anything up any more")
    users = _cache_users(superblock)
    for inode in superblock.inodes.values():
        require(23, inode.iocachectr == users.get(inode, 0), f"{inode} has {users.get(inode, 0)} users of its cache")
        require(44, inode.references == inode.aliases, f"{inode} is referred to by its names alone")
        for lock in (inode._rwsem, inode._dir_mutex):
            require(87, lock is None or not lock.holders, f"nobody holds a lock of {inode} any more")
        if inode.pages is not None:
            _check_idle_pages(inode)


def _check_idle_pages(inode: Inode) -> None:
    assert inode.pages is not None
    writeback = inode.writeback
    still = writeback is None or not (writeback.in_flight or writeback.queued or writeback.under_way)
    require(24, still, f"{inode}: nothing is written any more")
    require(24, writeback is None or not writeback.forbidden, f"{inode}: WRITEs are allowed again")
    for page in inode.pages.pages.values():
        require(99, not page.locked and not page.writeback, f"{inode}: nobody holds {page} any more")
        beyond = max(0, inode.attr.size - page.index * PAGE)
        if inode.is_regular and page.uptodate and not page.dirty and not page.writers and beyond < PAGE:
            require(98, not any(page.data[beyond:]), f"{inode}: {page} holds zeros beyond the end of the file")
