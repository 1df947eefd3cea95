"""The page cache of one file: 4096 bytes at a time, each page with a lock.

A page is *locked* while it is filled or changed. Locked pages are why FUSE can deadlock with
itself: whoever faults on one waits for the daemon that has yet to fill it. A page is *uptodate*
if it holds what the file holds, *dirty* if it holds what the daemon has yet to be told, and under
*writeback* while the daemon is being told.

Source: mm/filemap.c.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from fusewire.kernel.tasks import Task, current, step
from fusewire.kernel.waitq import Sleep, WaitQueue

if TYPE_CHECKING:
    from fusewire.kernel.vfs.inode import Inode

__all__ = ["PAGE", "Page", "PageCache"]

PAGE: Final = 4096  # bytes


class Page:
    """4096 bytes of one file. Whoever sees a page and then sleeps must look again whether it is still `cached`."""

    __slots__ = ("cached", "data", "dirty", "index", "locked", "locker", "uptodate", "waitq", "writeback")

    def __init__(self, index: int) -> None:
        self.index = index
        self.data = bytearray(PAGE)
        self.cached = True  # until it is dropped from its cache
        self.uptodate = False
        self.dirty = False
        self.writeback = False
        self.locked = False
        self.locker: Task | None = None  # who locked it, and thus who is waited for; None: a request in the background
        self.waitq: WaitQueue | None = None

    def __repr__(self) -> str:
        return f"<Page {self.index}>"

    def try_lock(self) -> bool:
        """Lock it unless somebody else has; say whether we have now."""
        if self.locked:
            return False
        self.locked, self.locker = True, current()
        return True

    async def lock(self, depth: Sleep = Sleep.UNINTERRUPTIBLE) -> None:
        """Sleep until the page is ours.

        Raises:
            OSError: EINTR if a signal that ends a sleep of this `depth` came first.
        """
        await step("[lock page]")
        while not self.try_lock():
            await self._queue().sleep(until=lambda: not self.locked, depth=depth)

    def unlock(self) -> None:
        self.locked, self.locker = False, None
        self._wake()

    async def wait_unlocked(self, depth: Sleep = Sleep.KILLABLE) -> None:
        """Sleep until nobody holds it."""
        if self.locked:
            await self._queue().sleep(until=lambda: not self.locked, depth=depth)

    async def wait_writeback(self) -> None:
        """Sleep, uninterruptibly, until the daemon has what it is being told."""
        if self.writeback:
            await self._queue().sleep(until=lambda: not self.writeback, depth=Sleep.UNINTERRUPTIBLE)

    def end_writeback(self) -> None:
        self.writeback = False
        self._wake()

    def _queue(self) -> WaitQueue:
        if self.waitq is None:
            self.waitq = WaitQueue(f"page {self.index}", holders=self._holders)
        return self.waitq

    def _wake(self) -> None:
        if self.waitq is not None:
            self.waitq.wake_all()

    def _holders(self) -> Sequence[Task]:
        return [self.locker] if self.locker is not None else []


class PageCache:
    """The pages of one inode."""

    __slots__ = ("error", "inode", "pages")

    def __init__(self, inode: Inode) -> None:
        self.inode = inode
        self.pages: dict[int, Page] = {}
        self.error = 0  # errno of a failed writeback, to be reported once

    def find(self, index: int) -> Page | None:
        return self.pages.get(index)

    def get(self, index: int) -> Page:
        """Return the page, adding an empty one, unlocked and not uptodate, if there is none."""
        page = self.pages.get(index)
        if page is None:
            page = self.pages[index] = Page(index)
        return page

    def drop(self, page: Page) -> None:
        """Take `page` out; whoever still looks at it sees that it is no longer `cached`."""
        page.cached = False
        if self.pages.get(page.index) is page:
            del self.pages[page.index]
