"""Reading through the page cache, and READ of a single page.

    page there, uptodate      copy
    page there, locked        somebody has it read: wait, and look again
    page there, not uptodate  a READ failed, or a write covered a part of it: READ that page alone
    page absent               read ahead (readahead.py), which brings this one, too, and look again

Who waits for a page can be killed, and gets what he had so far. A READ that fails leaves its pages
not uptodate and tells nobody; whoever wants one of them then has it read alone, and hears the error.

What lies beyond the end of the file reads as nothing. So before such a read the size is asked for,
if it may be out of date; with AUTO_INVAL_DATA before any read, for then a new time of modification
empties the cache.

Source: mm/filemap.c, filemap_read; fs/fuse/file.c, fuse_cache_read_iter, fuse_read_folio.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from fusewire.errors import os_error
from fusewire.events import Step, note
from fusewire.kernel.operations.readahead import (
    async_readahead,
    read_around,
    short_read,
    state_of,
    sync_readahead,
)
from fusewire.kernel.tasks import Signal, current, step
from fusewire.kernel.vfs.attr import STATX_ATIME
from fusewire.kernel.vfs.page_cache import PAGE, PageCache
from fusewire.kernel.waitq import Sleep
from fusewire.wire import OpenFlags, ReadIn

if TYPE_CHECKING:
    from fusewire.kernel.vfs.open_file import OpenFile
    from fusewire.kernel.vfs.page_cache import Page

__all__ = ["LARGEST", "cached_read", "fill_page", "get_pages", "read_page"]

LARGEST: Final = (1 << 63) - 1  # bytes in a file (s_maxbytes)
DIRECT_IO: Final = OpenFlags.FOPEN_DIRECT_IO


async def cached_read(file: OpenFile, offset: int, size: int) -> bytes:
    """Return what the page cache has of these bytes, once it has it (filemap_read)."""
    inode = file.inode
    position, end = offset, min(offset + size, LARGEST)
    parts: list[bytes | bytearray] = []
    try:
        while position < end and position < inode.attr.size:
            pages = await get_pages(file, position, end)
            stop = min(inode.attr.size, end)  # it may have changed while we slept
            for page in pages:
                if position >= stop:
                    break
                within = position % PAGE
                part = page.data[within : within + stop - position]
                parts.append(part)
                position += len(part)
    except OSError:
        if not parts:
            raise
    if parts:
        state_of(file).prev_pos = position
    return b"".join(parts)


async def get_pages(file: OpenFile, position: int, end: int) -> list[Page]:
    """Return some of the pages that hold the bytes `position` to `end`: the first ones, in order, all uptodate.

    Raises:
        OSError: of the first page: EINTR if the caller was killed; otherwise as the daemon says.

    Source: mm/filemap.c, filemap_get_pages.
    """
    cache = PageCache.of(file.inode)
    index, last = position // PAGE, (end - 1) // PAGE
    while True:
        if current().signal is Signal.FATAL:
            raise os_error(errno.EINTR)
        pages = cache.run(index, last)
        if not pages:
            await sync_readahead(file, index, last - index + 1)
            pages = cache.run(index, last)
        if not pages:  # nothing is read ahead beyond the end of the file, wherever that is by now
            page = cache.add(index)
            await read_locked(file, page)
            return [page]
        if await _bring_up_to_date(file, pages, last):
            return pages


async def _bring_up_to_date(file: OpenFile, pages: list[Page], last: int) -> bool:
    """Read on at a mark; take the last of `pages` away if it is not uptodate, or, being the only one, see to it.

    False if none is left, and one has to look again.
    """
    page = pages[-1]
    if page.mark:
        await async_readahead(file, page, last - page.index + 1)
    if page.uptodate or (len(pages) == 1 and await _update(file, page)):
        return True
    pages.pop()  # what comes before it is copied first
    return bool(pages)


async def _update(file: OpenFile, page: Page) -> bool:
    """Read `page`, which is not uptodate; False if somebody else did, or it is gone (filemap_update_page)."""
    if not page.try_lock():
        try:
            await page.wait_unlocked()
        except InterruptedError:
            pass  # killed; who called sees so
        return False
    if not page.cached:
        page.unlock()
        return False
    if page.uptodate:
        page.unlock()
        return True
    await read_locked(file, page)
    return True


async def read_locked(file: OpenFile, page: Page) -> None:
    """Have `page` read, which the caller has locked, and unlock it.

    Raises:
        OSError: EIO if the inode is bad; otherwise as the daemon says. The page stays not uptodate.
    """
    note(Step.CALL, "fuse_readpage", about=page)
    try:
        await fill_page(file, page)
    finally:
        file.inode.invalidate(STATX_ATIME)
        page.unlock()
        note(Step.RETURN, "fuse_readpage")


async def fill_page(file: OpenFile, page: Page) -> None:
    """Have `page` read, which the caller has locked and keeps locked; errors as `read_locked`.

    What the daemon does not send, of a page, is zeros, and the end of the file (fuse_do_readfolio). The
    time of access is left alone: a write that has to read first is no access.
    """
    inode = file.inode
    inode.check_bad()
    connection = inode.superblock.connection
    version = connection.attr_version
    offset = page.index * PAGE
    reply = await connection.ask("READ", inode.nodeid, ReadIn(file.fh, offset, PAGE, 0, 0, file.flags))
    page.fill(reply.data)
    page.uptodate = True
    if len(reply.data) < PAGE:
        short_read(inode, offset + len(reply.data), version)


async def read_page(file: OpenFile, index: int) -> Page:
    """Return page `index`, on which there was a page fault: uptodate, cached and unlocked, at this moment.

    Raises:
        OSError: EINTR if the caller was killed; EIO if the page could not be read, or the inode is
            bad; otherwise as the daemon says. Whether the page is within the file is the caller's
            to check, before and after.

    Source: mm/filemap.c, filemap_fault.
    """
    cache = PageCache.of(file.inode)
    await step(Step.FIND_PAGE, about=f"page {index}")
    page = cache.find(index)
    if page is None:
        await read_around(file, index)
    else:
        await _hit(file, page)
    while True:
        page = cache.get(index)
        if page.uptodate and not page.locked:
            return page
        await page.lock(Sleep.KILLABLE)
        if page.cached and not page.uptodate:
            await read_locked(file, page)
        else:
            page.unlock()


async def _hit(file: OpenFile, page: Page) -> None:
    """Read on, if a page fault hit the mark (do_async_mmap_readahead)."""
    state = state_of(file)
    if state.random or not state.pages:
        return
    state.misses = max(0, state.misses - 1)
    if page.mark:
        await async_readahead(file, page, state.pages)
