"""Dropping pages from the cache: because they may be stale, or because the file has become shorter.

    invalidate   the daemon may know better: drop whole pages, but first tell it what is dirty
    truncate     the bytes are gone: drop whole pages, dirty or not, and zero what is left of others

Either takes the lock of each page, and so waits for a READ that fills it, uninterruptibly; and
either waits until a page that is being written to the daemon has been.

Source: mm/truncate.c, invalidate_inode_pages2_range and truncate_inode_pages_range.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusewire.kernel.operations.write_pages import clean, launder
from fusewire.kernel.vfs.page_cache import PAGE

if TYPE_CHECKING:
    from fusewire.kernel.vfs.inode import Inode
    from fusewire.kernel.vfs.page_cache import Page, PageCache

__all__ = ["discard_pages", "forget_clean_pages", "invalidate_pages", "truncate_pages", "truncate_range"]


async def invalidate_pages(inode: Inode, first: int = 0, last: int | None = None) -> None:
    """Drop the pages `first` to `last` (indexes; None: to the end), having the daemon told of those that are dirty."""
    if inode.listing is not None:
        inode.listing.lose_pages()
    cache = inode.pages
    if cache is None or not cache.pages:
        return
    for page in cache.within(first, last):
        if not page.try_lock():
            await page.lock()
        try:
            if page.cached:
                await _invalidate(inode, cache, page)
        finally:
            page.unlock()


async def _invalidate(inode: Inode, cache: PageCache, page: Page) -> None:
    await page.wait_writeback()
    if page.dirty:
        await launder(inode, page)
    if not page.dirty:
        cache.drop(page)


def forget_clean_pages(inode: Inode, first: int = 0, last: int | None = None) -> None:
    """Drop those of the pages that can be dropped at once, because nobody is using them (invalidate_mapping_pages)."""
    if inode.pages is None:
        return
    for page in inode.pages.within(first, last):
        if not (page.locked or page.dirty or page.writeback):
            inode.pages.drop(page)


async def truncate_pages(inode: Inode, size: int) -> None:
    """Drop all that is cached beyond `size` bytes, and zero the rest of the page in which the file now ends."""
    await truncate_range(inode, size, None)


async def truncate_range(inode: Inode, start: int, stop: int | None) -> None:
    """Drop what is cached of the bytes `start` to `stop` (None: to the end), as if they had become zeros.

    Source: mm/truncate.c, truncate_pagecache_range.
    """
    cache = inode.pages
    if cache is None or not cache.pages or (stop is not None and stop <= start):
        return
    last = None if stop is None else (stop - 1) // PAGE
    for page in cache.within(start // PAGE, last):
        if not page.try_lock():
            await page.lock()
        try:
            if page.cached:
                await page.wait_writeback()
                _truncate(inode, cache, page, start, stop)
        finally:
            page.unlock()


async def discard_pages(inode: Inode, first: int, last: int | None = None) -> None:
    """Drop the pages `first` to `last`, dirty or not: the daemon has changed what they hold."""
    await truncate_range(inode, first * PAGE, None if last is None else (last + 1) * PAGE)


def _truncate(inode: Inode, cache: PageCache, page: Page, start: int, stop: int | None) -> None:
    """Drop `page` if all of it lies between `start` and `stop`, else zero what does."""
    offset = page.index * PAGE
    low = max(start - offset, 0)
    high = PAGE if stop is None else min(stop - offset, PAGE)
    if low == 0 and high == PAGE:
        if page.dirty:
            clean(inode, page)
        cache.drop(page)
    else:
        page.data[low:high] = bytes(high - low)
