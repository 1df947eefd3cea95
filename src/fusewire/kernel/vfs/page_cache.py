"""The page cache of one file: 4096 bytes at a time, each page with a lock.

A page is *locked* while it is filled or changed. Locked pages are why FUSE can deadlock with
itself: whoever faults on one waits for the daemon that has yet to fill it. A page is *uptodate*
if it holds what the file holds, *dirty* if it holds what the daemon has yet to be told, and under
*writeback* while the daemon is being told. A page with a *mark* was read ahead, and whoever comes
to it should have more read ahead (operations/readahead.py).

A page belongs to its cache until it is dropped, which takes its lock. So who has slept until a page
was unlocked looks whether it is still `cached`, and looks again for the right one if it is not.

Its bytes change in place and are never replaced: mappings look at them, too.

Source: mm/filemap.c.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from fusewire.events import Step
from fusewire.kernel.tasks import Task, current, step
from fusewire.kernel.waitq import Sleep, WaitQueue

if TYPE_CHECKING:
    from fusewire.kernel.vfs.address_space import Area
    from fusewire.kernel.vfs.inode import Inode

__all__ = ["BATCH", "PAGE", "Page", "PageCache"]

PAGE: Final = 4096  # bytes
BATCH: Final = 31  # pages that a reader takes hold of at once (include/linux/pagevec.h)


class Page:
    """4096 bytes of one file. Whoever sees a page and then sleeps must look again whether it is still `cached`."""

    __slots__ = (
        "cached",
        "data",
        "dirty",
        "index",
        "locked",
        "locker",
        "mark",
        "uptodate",
        "waitq",
        "writeback",
        "writers",
    )

    def __init__(self, index: int) -> None:
        self.index = index
        self.data = bytearray(PAGE)
        self.cached = True  # until it is dropped from its cache
        self.uptodate = False
        self.dirty = False
        self.writeback = False
        self.mark = False  # whoever reads it should have more read ahead (PG_readahead)
        self.locked = False
        self.locker: Task | None = None  # who locked it, and thus who is waited for; None: a request in the background
        self.waitq: WaitQueue | None = None
        self.writers: set[Area] | None = None  # mappings that may store to it without a fault; none once it is clean

    def __repr__(self) -> str:
        return f"<Page {self.index}>"

    def __str__(self) -> str:
        return f"page {self.index}"

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
        await step(Step.LOCK_PAGE, about=self)
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

    def fill(self, data: memoryview | bytes) -> None:
        """Make it hold `data`, at most 4096 bytes of the daemon's, and zeros after them."""
        length = len(data)
        self.data[:length] = data
        if length < PAGE:
            self.data[length:] = bytes(PAGE - length)

    def _queue(self) -> WaitQueue:
        if self.waitq is None:
            self.waitq = WaitQueue(str(self), holders=self._holders)
        return self.waitq

    def _wake(self) -> None:
        if self.waitq is not None:
            self.waitq.wake_all()

    def _holders(self) -> Sequence[Task]:
        return [self.locker] if self.locker is not None else []


class PageCache:
    """The pages of one inode."""

    __slots__ = ("inode", "pages")

    def __init__(self, inode: Inode) -> None:
        self.inode = inode
        self.pages: dict[int, Page] = {}

    @classmethod
    def of(cls, inode: Inode) -> PageCache:
        """Return the page cache of `inode`, making one if it has none yet."""
        cache = inode.pages
        if cache is None:
            cache = inode.pages = cls(inode)
        return cache

    def find(self, index: int) -> Page | None:
        return self.pages.get(index)

    def get(self, index: int) -> Page:
        """Return the page, adding an empty one, unlocked and not uptodate, if there is none."""
        page = self.pages.get(index)
        if page is None:
            page = self.pages[index] = Page(index)
        return page

    def add(self, index: int) -> Page:
        """Add an empty page that is not there yet, locked by the current task."""
        page = self.pages[index] = Page(index)
        page.try_lock()
        return page

    async def lock(self, index: int) -> Page:
        """Return the page, made if need be, locked by the current task; uninterruptible."""
        while True:
            page = self.get(index)
            if not page.try_lock():
                await page.lock()
            if page.cached:
                return page
            page.unlock()

    def run(self, first: int, last: int) -> list[Page]:
        """Return the pages from `first` on that can be read together, all uptodate and unmarked but the last.

        None if `first` is absent; at most `BATCH` (mm/filemap.c, filemap_get_read_batch).
        """
        pages: list[Page] = []
        for index in range(first, min(last + 1, first + BATCH)):
            page = self.pages.get(index)
            if page is None:
                break
            pages.append(page)
            if not page.uptodate or page.mark:
                break
        return pages

    def within(self, first: int, last: int | None) -> list[Page]:
        """Return the pages that are there from `first` to `last`, or to the end, in their order."""
        pages = self.pages
        if last is not None and last - first < len(pages):
            return [page for index in range(first, last + 1) if (page := pages.get(index)) is not None]
        return [pages[index] for index in sorted(pages) if index >= first and (last is None or index <= last)]

    def drop(self, page: Page) -> None:
        """Take `page` out; whoever still looks at it sees that it is no longer `cached`."""
        page.cached = False
        if self.pages.get(page.index) is page:
            del self.pages[page.index]
