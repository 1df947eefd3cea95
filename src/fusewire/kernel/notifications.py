"""Notifications: what a daemon tells the kernel unasked, by writing to its device.

    POLL          a file that somebody polls may be ready
    INVAL_INODE   attributes and pages of a file are old
    INVAL_ENTRY   a name is old
    DELETE        a name is gone, and the file with it
    STORE         bytes for the page cache
    RETRIEVE      bytes from the page cache, which come in a NOTIFY_REPLY
    RESEND        what was read is to be read again
    INC_EPOCH     all names are old
    PRUNE         inodes that nobody uses are to be forgotten

They take the same locks as system calls, so a daemon can deadlock with itself: INVAL_ENTRY and
DELETE take the semaphore of the directory, which the sender of a LOOKUP or an UNLINK there holds
until he is answered; INVAL_INODE and STORE take page locks, which a READ holds, and the former
sends WRITEs and waits for them. RETRIEVE takes no lock. So a daemon notifies from a thread that
owes no answer.

A notification about what is not cached fails with ENOENT, which is no reason to worry.

Source: fs/fuse/dev.c, fuse_notify; fs/fuse/inode.c, fuse_reverse_inval_inode; fs/fuse/dir.c,
fuse_reverse_inval_entry.
"""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from fusewire.errors import ProtocolError, os_error
from fusewire.events import named
from fusewire.kernel.operations.entries import directory_changed
from fusewire.kernel.operations.pages import invalidate_pages
from fusewire.kernel.operations.reading import LARGEST
from fusewire.kernel.operations.writing import wrote
from fusewire.kernel.resend import resend
from fusewire.kernel.vfs.attr import STATX_BASIC
from fusewire.kernel.vfs.dentry import Dentry, aliases
from fusewire.kernel.vfs.page_cache import PAGE, PageCache
from fusewire.wire import (
    NOTIFICATIONS,
    ExpireFlags,
    Notice,
    Notification,
    NotifyRetrieveIn,
    OutHeader,
    decode_notification,
    pruned_nodeids,
)

if TYPE_CHECKING:
    from fusewire.kernel.connection import Connection
    from fusewire.kernel.vfs.inode import Inode

__all__ = ["notify"]


async def notify(connection: Connection, message: bytes) -> None:
    """Do what `message`, a notification with its header, says.

    Raises:
        OSError: EINVAL if it is malformed, or unknown to this kernel; ENAMETOOLONG; ENOENT if
            what it speaks of is not cached; otherwise as its kind says.
    """
    notice = _decode(connection, message)
    await EFFECTS[notice.notification.name](connection, notice)


def _decode(connection: Connection, message: bytes) -> Notice:
    row = NOTIFICATIONS.get(OutHeader.unpack_from(message).error)
    if row is None or row.since > connection.minor:
        raise os_error(errno.EINVAL)
    if row.names and _namelen(row, message) > connection.settings.name_max:
        raise os_error(errno.ENAMETOOLONG)
    try:
        return decode_notification(message)
    except ProtocolError:
        raise os_error(errno.EINVAL) from None


def _namelen(row: Notification, message: bytes) -> int:
    if row.body is None or len(message) < OutHeader.SIZE + row.body.SIZE:
        return 0
    body: Any = row.body.unpack_from(message, OutHeader.SIZE)
    return int(body.namelen)


def _inode(connection: Connection, nodeid: int) -> Inode:
    """Return a cached inode, with a reference that the caller gives back; ENOENT if it is none (fuse_ilookup)."""
    inode = _cached(connection, nodeid)
    if inode is None:
        raise os_error(errno.ENOENT)
    inode.hold()
    return inode


def _cached(connection: Connection, nodeid: int) -> Inode | None:
    superblock = connection.superblock
    return superblock.inodes.get(nodeid) if superblock is not None and superblock.active else None


def _regular(connection: Connection, nodeid: int) -> Inode:
    inode = _inode(connection, nodeid)
    if not inode.is_regular:
        inode.drop()
        raise os_error(errno.EINVAL)
    return inode


@named("fuse_notify_poll")
async def poll(connection: Connection, notice: Notice) -> None:
    """Wake those who poll a file; if nobody does there is nothing to do."""
    file = connection.polled.get(notice.body.kh)
    if file is not None and file.poll_waitq is not None:
        file.poll_waitq.wake_all()


@named("fuse_notify_inval_inode")
async def inval_inode(connection: Connection, notice: Notice) -> None:
    """Have attributes asked for anew, and drop pages, having the daemon told of those that are dirty."""
    body = notice.body
    inode = _inode(connection, body.ino)
    try:
        inode.bump()
        inode.invalidate(STATX_BASIC)
        inode.acls = None
        if body.off >= 0:
            last = (body.off + body.len - 1) // PAGE if body.len > 0 else None
            await invalidate_pages(inode, body.off // PAGE, last)
    except OSError:
        pass  # a page that could not be written: Linux does not say so
    finally:
        inode.drop()


# Names.


@named("fuse_notify_inval_entry")
async def inval_entry(connection: Connection, notice: Notice) -> None:
    """Have a name looked up again; unless it only expires, what is cached below it goes, too."""
    expire_only = bool(notice.body.flags & ExpireFlags.FUSE_EXPIRE_ONLY)
    await _with_entry(connection, notice, expire_only, 0)


@named("fuse_notify_delete")
async def delete(connection: Connection, notice: Notice) -> None:
    """The same, and the file has gone: if `child` still is what the name leads to.

    Raises:
        OSError: ENOENT if it leads elsewhere; EBUSY if something is mounted there; ENOTEMPTY if
            names in the directory are known. The name is looked up again all the same.
    """
    await _with_entry(connection, notice, False, notice.body.child)


async def _with_entry(connection: Connection, notice: Notice, expire_only: bool, child: int) -> None:
    parent = _inode(connection, notice.body.parent)
    try:
        async with parent.rwsem.exclusive():
            if not parent.is_dir:
                raise os_error(errno.ENOTDIR)
            directory = parent.alias
            entry = directory.child(notice.names[0]) if directory is not None else None
            if entry is None:
                raise os_error(errno.ENOENT)
            entry.get()
            try:
                await _invalidate_entry(parent, entry, expire_only, child)
            finally:
                entry.put()
    finally:
        parent.drop()


async def _invalidate_entry(parent: Inode, entry: Dentry, expire_only: bool, child: int) -> None:
    directory_changed(parent)
    if not expire_only:
        entry.invalidate()
    entry.expire()
    inode = entry.inode
    if not child or inode is None:
        return
    async with inode.rwsem.exclusive():
        _check_deleted(entry, inode, child)
        entry.dead = inode.is_dir
        inode.attr.nlink = 0
    entry.drop()


def _check_deleted(entry: Dentry, inode: Inode, child: int) -> None:
    if inode.nodeid != child:
        raise os_error(errno.ENOENT)
    if entry.mounted is not None:
        raise os_error(errno.EBUSY)
    if inode.is_dir:
        entry.prune()
        if any(known.inode is not None for known in (entry.children or {}).values()):
            raise os_error(errno.ENOTEMPTY)


@named("fuse_notify_inc_epoch")
async def inc_epoch(connection: Connection, notice: Notice) -> None:
    """Have every name looked up again when it is next met."""
    connection.epoch += 1


@named("fuse_notify_prune")
async def prune(connection: Connection, notice: Notice) -> None:
    """Let the names die that nobody uses, and with them the inodes to which nobody else refers."""
    for nodeid in pruned_nodeids(notice):
        inode = _cached(connection, nodeid)
        if inode is not None:
            inode.hold()
            for dentry in [alias for alias in aliases(inode) if not alias.count]:
                dentry.shrink()
            inode.drop()


# Bytes.


@named("fuse_notify_store")
async def store(connection: Connection, notice: Notice) -> None:
    """Put bytes into the page cache, making the file as long as they reach.

    A page that is not there is uptodate afterwards if it was given whole, or up to the end of the
    file; else it is as good as absent. What lies beyond the end of any file changes no size: 6.18 takes
    it, later kernels refuse it.
    """
    body = notice.body
    inode = _regular(connection, body.nodeid)
    try:
        data = notice.data
        end = body.offset + len(data)
        if inode.attr.size < end <= LARGEST:
            wrote(inode, end, len(data))
        to_the_end = end == inode.attr.size
        done = 0
        while done < len(data):
            done += await _store_page(inode, body.offset + done, data[done:], to_the_end)
    finally:
        inode.drop()


async def _store_page(inode: Inode, offset: int, data: memoryview, to_the_end: bool) -> int:
    """Put the first of `data` into the page at `offset`; return how many bytes that was."""
    start = offset % PAGE
    data = data[: PAGE - start]
    page = await PageCache.of(inode).lock(offset // PAGE)
    page.data[start : start + len(data)] = data
    if not page.uptodate and start == 0 and (len(data) == PAGE or to_the_end):
        page.data[len(data) :] = bytes(PAGE - len(data))
        page.uptodate = True
    page.unlock()
    return len(data)


@named("fuse_notify_retrieve")
async def retrieve(connection: Connection, notice: Notice) -> None:
    """Send the daemon what is cached of these bytes, up to the first page that is not."""
    body = notice.body
    inode = _regular(connection, body.nodeid)
    try:
        data = _cached_bytes(inode, body.offset, body.size)
        answer = NotifyRetrieveIn(offset=body.offset, size=len(data))
        await connection.notify_reply(body.notify_unique, body.nodeid, answer, data)
    finally:
        inode.drop()


def _cached_bytes(inode: Inode, offset: int, size: int) -> bytes:
    settings = inode.superblock.connection.settings
    size = max(0, min(size, settings.max_write, inode.attr.size - offset))
    start = offset % PAGE
    pages = min(-(-(size + start) // PAGE), settings.max_pages)
    size = min(size, pages * PAGE)
    parts: list[bytes] = []
    for index in range(offset // PAGE, offset // PAGE + pages):
        page = PageCache.of(inode).find(index)
        if page is None or not page.uptodate:
            break
        parts.append(bytes(page.data[start : start + size]))
        size -= len(parts[-1])
        start = 0
    return b"".join(parts)


@named("fuse_notify_resend")
async def resend_all(connection: Connection, notice: Notice) -> None:
    """Have the daemon read once more what it was sent and has not answered."""
    resend(connection)


EFFECTS: Final[dict[str, Callable[[Connection, Notice], Awaitable[None]]]] = {
    "POLL": poll,
    "INVAL_INODE": inval_inode,
    "INVAL_ENTRY": inval_entry,
    "STORE": store,
    "RETRIEVE": retrieve,
    "DELETE": delete,
    "RESEND": resend_all,
    "INC_EPOCH": inc_epoch,
    "PRUNE": prune,
}
