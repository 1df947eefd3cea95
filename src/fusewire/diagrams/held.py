"""The locks of a mount: who has which, and who waits for it.

Semaphores know both. A page that is locked knows the task that locked it; one that is being read
ahead belongs to a request for which nobody waits. A name that is being looked up is a lock, too, for
whoever else wants it, and so are the locks that processes have on files (fcntl, flock).

A part of state.py, and like it plain data about the kernel's end.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Final

from fusewire.wire import ReadIn

if TYPE_CHECKING:
    from fusewire.kernel.locks import Semaphore
    from fusewire.kernel.request import Request
    from fusewire.kernel.tasks import Task
    from fusewire.kernel.vfs.dentry import Dentry
    from fusewire.kernel.vfs.file_locks import Table
    from fusewire.kernel.vfs.inode import Inode
    from fusewire.kernel.vfs.page_cache import Page
    from fusewire.kernel.vfs.superblock import Superblock

__all__ = [
    "Lock",
    "cached_pages",
    "held_locks",
    "lock_tables",
    "name_of_lookup",
    "names",
    "page_runs",
    "quoted",
    "semaphores",
]

PAGE: Final = 4096  # bytes

Words = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Lock:
    """Who has a lock, and who waits for it, first come, first served; names of tasks, or of requests."""

    holders: list[str]
    waiting: list[str]


def held_locks(superblock: Superblock, requests: Sequence[Request]) -> dict[str, Lock]:
    """Return the locks that somebody has, or waits for, by name; `requests` are those on the lists."""
    return {name: lock for name, lock in _all_locks(superblock, requests) if lock.holders or lock.waiting}


def _all_locks(superblock: Superblock, requests: Sequence[Request]) -> Iterator[tuple[str, Lock]]:
    for semaphore in semaphores(superblock):
        yield semaphore.name, _semaphore(semaphore)
    for (parent, name), queue in superblock.looking_up.items():
        yield name_of_lookup(parent, name), Lock(names(queue.holders()), names(queue.sleepers))
    for inode in superblock.inodes.values():
        yield from _page_locks(inode, requests)
    for table in lock_tables(superblock):
        yield f"{table.name} locks of {table.inode.shown}", _file_locks(table)


def names(tasks: Iterable[Task]) -> list[str]:
    """Return the names of `tasks`, in their order."""
    return [task.name for task in tasks]


def quoted(name: bytes) -> str:
    """Return a file's name as people see it."""
    return f'"{os.fsdecode(name)}"'


# Semaphores, lookups, locks on files.


def semaphores(superblock: Superblock) -> Iterator[Semaphore]:
    """Yield those that anybody has ever wanted."""
    yield superblock.rename_mutex
    for inode in superblock.inodes.values():
        sync = None if inode.writeback is None else inode.writeback.sync
        yield from (lock for lock in (inode._rwsem, inode._dir_mutex, sync) if lock is not None)


def _semaphore(lock: Semaphore) -> Lock:
    holders = [f"{task.name}, shared" if shared else task.name for task, shared in lock.holders.items()]
    return Lock(holders, names(lock.waiting or ()))


def name_of_lookup(parent: Dentry, name: bytes) -> str:
    """Return what to call the lookup of `name` while it is under way."""
    return f"the lookup of {quoted(name)} in {quoted(parent.name)}"


def lock_tables(superblock: Superblock) -> Iterator[Table]:
    """Yield the tables of locks that processes have on files."""
    for inode in superblock.inodes.values():
        if inode.locks is not None:
            yield from (inode.locks.posix, inode.locks.flock)


def _file_locks(table: Table) -> Lock:
    waiting = [] if table.waitq is None else names(table.waitq.sleepers)
    owners = [f"pid {lock.owner}" if isinstance(lock.owner, int) else "an open file" for lock in table.held]
    return Lock(owners, waiting)


# Pages.


def cached_pages(superblock: Superblock) -> Iterator[tuple[Inode, Page]]:
    """Yield every page of the cache, and whose it is."""
    for inode in superblock.inodes.values():
        if inode.pages is not None:
            yield from ((inode, page) for page in inode.pages.pages.values())


def page_runs(inode: Inode, say: Callable[[Page], Words | None]) -> Iterator[tuple[str, list[Page], Words]]:
    """Yield neighbouring pages of which `say` says the same, not None: what to call them, they, and what it says."""
    pages = {} if inode.pages is None else inode.pages.pages
    ordered = [pages[index] for index in sorted(pages)]
    for _, group in groupby(enumerate(ordered), lambda item: (item[1].index - item[0], say(item[1]))):
        together = [page for _, page in group]
        said = say(together[0])
        if said is not None:
            first, last = together[0].index, together[-1].index
            name = f"page {first}" if first == last else f"pages {first}-{last}"
            yield f"{name} of {inode.shown}", together, said


def _page_locks(inode: Inode, requests: Sequence[Request]) -> Iterator[tuple[str, Lock]]:
    """The locks of pages; neighbours that are locked for the same reason stand together."""

    def holder(page: Page) -> Words | None:
        return _locker(inode, page, requests) if page.locked else None

    for name, pages, holders in page_runs(inode, holder):
        waiting = [sleeper for page in pages if page.waitq is not None for sleeper in names(page.waitq.sleepers)]
        yield name, Lock(list(holders), waiting)


def _locker(inode: Inode, page: Page, requests: Sequence[Request]) -> Words:
    """The task that locked `page`; or the request, for which no task waits, that will unlock it."""
    if page.locker is not None:
        return (page.locker.name,)
    return tuple(str(each) for each in requests if each.nodeid == inode.nodeid and _reads(each, page.index))


def _reads(request: Request, index: int) -> bool:
    """Whether `request` fills the page of this index, and nobody waits for it who could be named."""
    body = request.body
    if request.end is None or not isinstance(body, ReadIn):
        return False
    return body.offset <= index * PAGE < body.offset + body.size
