"""Dirty pages on their way to the daemon: WRITEs with the flag CACHE.

Consecutive pages go out in one WRITE, in the background, through any file that is open for writing
(`write_files`), with nobody's credentials.

    page lock held: the dirty bit becomes the writeback bit
    page lock free: the WRITE is queued, then in flight; the page can be read, but not be changed
    reply:          the writeback bit is cleared, an error is kept for who asks

A WRITE never goes beyond the size that the file has when it is sent, and one that lies wholly
beyond is not sent at all. On a connection that is gone a WRITE is dropped without an error, as in
Linux: whoever waits for it hears of the connection soon enough.

Not modelled: fuseblk's partial blocks.

Source: fs/fuse/file.c, fuse_writepages, fuse_send_writepage, fuse_writepage_end;
mm/page-writeback.c, write_cache_pages.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Final

from fusewire.errors import os_error
from fusewire.events import Step, note
from fusewire.kernel.operations.releasing import put_file
from fusewire.kernel.vfs.attr import STATX_BLOCKS, STATX_CTIME, STATX_MTIME
from fusewire.kernel.vfs.page_cache import PAGE
from fusewire.kernel.vfs.writeback import Batch, Writeback
from fusewire.wire import WriteFlags, WriteIn

if TYPE_CHECKING:
    from fusewire.kernel.request import Request
    from fusewire.kernel.vfs.inode import Inode
    from fusewire.kernel.vfs.open_file import OpenFile
    from fusewire.kernel.vfs.page_cache import Page

__all__ = [
    "clean",
    "forget_clean",
    "launder",
    "link_write_file",
    "mark_dirty",
    "note_dirty",
    "send_queued",
    "state_of",
    "wait_written",
    "write_file",
    "write_pages",
]

CHANGED: Final = STATX_MTIME | STATX_CTIME | STATX_BLOCKS


def state_of(inode: Inode) -> Writeback:
    """Return the unsaved part of `inode`, made if there was none."""
    if inode.writeback is None:
        inode.writeback = Writeback(inode)
    return inode.writeback


# What is dirty.


def mark_dirty(inode: Inode, page: Page) -> None:
    """Note that `page` of `inode`, locked by the caller, holds what the daemon has not been told."""
    page.dirty = True
    writeback = state_of(inode)
    note_dirty(inode, writeback)
    writeback.dirty[page.index] = page


def clean(inode: Inode, page: Page) -> None:
    """Note that `page` need not be written: it is about to be, or gone. A store by mapping asks anew."""
    page.dirty = False
    page.writers = None
    if inode.writeback is not None and inode.writeback.dirty.get(page.index) is page:
        del inode.writeback.dirty[page.index]


def note_dirty(inode: Inode, writeback: Writeback) -> None:
    """Have the flusher know of `inode`, of which something is about to get dirty."""
    if not writeback.is_dirty:
        writeback.dirty_since = inode.superblock.system.clock.now()
        inode.superblock.dirty_inodes[inode] = None
        inode.superblock.begin_flusher(inode.superblock)


def forget_clean(inode: Inode) -> None:
    """Let the flusher pass `inode` over, unless something is still dirty."""
    if inode.writeback is not None and not inode.writeback.is_dirty:
        inode.superblock.dirty_inodes.pop(inode, None)


def link_write_file(file: OpenFile) -> None:
    """Let dirty pages of its inode be written through `file`, until it is released."""
    inode = file.inode
    if inode.write_files is None:
        inode.write_files = []
    if file not in inode.write_files:
        inode.write_files.insert(0, file)  # the last one is asked first


# Sending it.


async def write_pages(inode: Inode, first: int = 0, last: int | None = None, *, wait: bool = True) -> None:
    """Send the dirty pages `first` to `last` in WRITEs, not waiting for the answers.

    With `wait`, pages that are under writeback already are waited for and written again; without,
    they are left for another time, and all of them if the connection is congested.

    Raises:
        OSError: EIO if the inode is bad, or no file is open for writing (the pages are lost).
    """
    inode.check_bad()
    writeback = inode.writeback
    if writeback is None or not writeback.dirty:
        return
    connection = inode.superblock.connection
    if not wait and connection.background.congested:
        return
    batch: Batch | None = None
    for page in _in_range(writeback.dirty.values(), first, last):
        if not await _lock_dirty(inode, page, wait):
            continue
        try:
            batch = _add(inode, batch, page)
        finally:
            page.unlock()
    if batch is not None:
        _queue(inode, batch)


def _in_range(pages: Iterable[Page], first: int, last: int | None) -> list[Page]:
    chosen = [page for page in pages if first <= page.index and (last is None or page.index <= last)]
    return sorted(chosen, key=lambda page: page.index)


async def _lock_dirty(inode: Inode, page: Page, wait: bool) -> bool:
    """Lock `page` and take its dirty bit; False, and not locked, if there is nothing to write."""
    await page.lock()
    if page.cached and page.dirty and page.writeback and wait:
        await page.wait_writeback()
    if page.cached and page.dirty and not page.writeback:
        clean(inode, page)
        if _cut(inode, page):
            return True
    elif not page.cached:
        clean(inode, page)
    page.unlock()
    return False


def _cut(inode: Inode, page: Page) -> bool:
    """Zero what `page` holds beyond the end of the file; False if that is all of it (iomap_writeback_handle_eof)."""
    rest = inode.attr.size - page.index * PAGE
    if 0 < rest < PAGE:
        page.data[rest:] = bytes(PAGE - rest)
    return rest > 0


def _add(inode: Inode, batch: Batch | None, page: Page) -> Batch:
    """Put `page` under writeback, in `batch` or, that being full, in a new one."""
    file = batch.file if batch is not None else write_file(inode)
    settings = inode.superblock.connection.settings
    most = max(1, min(settings.max_pages, settings.max_write // PAGE))
    if batch is not None and (len(batch.pages) >= most or page.index != batch.pages[-1].index + 1):
        _queue(inode, batch)
        batch = None
    page.writeback = True
    state_of(inode).under_way[page] = None
    if batch is None:
        return Batch(file.hold(), page)
    batch.pages.append(page)
    return batch


def write_file(inode: Inode) -> OpenFile:
    """Return a file through which pages of `inode` may be written; EIO if none is open for writing."""
    if not inode.write_files:
        state_of(inode).fail(errno.EIO)
        raise os_error(errno.EIO)
    return inode.write_files[0]


def _queue(inode: Inode, batch: Batch) -> None:
    state_of(inode).queued.append(batch)
    send_queued(inode)


def send_queued(inode: Inode) -> None:
    """Send what is queued, unless somebody forbids it."""
    writeback = state_of(inode)
    while writeback.queued and not writeback.forbidden:
        _send(inode, writeback.queued.popleft())


def _send(inode: Inode, batch: Batch) -> None:
    """Send the WRITE of `batch`, up to the end of the file; without an error if it cannot be sent."""
    offset = batch.first * PAGE
    size = min(len(batch.pages) * PAGE, inode.attr.size - offset)
    state_of(inode).in_flight += 1
    if size > 0:
        body = WriteIn(batch.file.fh, offset, size, WriteFlags.FUSE_WRITE_CACHE)
        data = batch.data()[:size]
        end = partial(_written, inode, batch)
        note(Step.CALL, "fuse_send_writepage")
        try:
            inode.superblock.connection.ask_background(
                "WRITE", inode.nodeid, body, data=data, end=end, force=True, nocreds=True
            )
            return
        except OSError:
            pass  # the connection is gone
        finally:
            note(Step.RETURN, "fuse_send_writepage")
    _finish(inode, batch)


def _written(inode: Inode, batch: Batch, request: Request) -> None:
    """Take note of the answer to a WRITE; how much the daemon says it has written is not looked at."""
    state_of(inode).fail(request.error)
    if not inode.written_back:
        inode.invalidate(CHANGED)  # the daemon's times have moved on
    _finish(inode, batch)


def _finish(inode: Inode, batch: Batch) -> None:
    writeback = state_of(inode)
    writeback.in_flight -= 1
    for page in batch.pages:
        writeback.under_way.pop(page, None)
        page.end_writeback()
    if not writeback.in_flight:
        writeback.waitq.wake_all()
    put_file(batch.file)


async def wait_written(inode: Inode, first: int = 0, last: int | None = None) -> None:
    """Sleep, uninterruptibly, until no page of `first` to `last` is under writeback."""
    if inode.writeback is not None:
        for page in _in_range(inode.writeback.under_way, first, last):
            await page.wait_writeback()


async def launder(inode: Inode, page: Page) -> None:
    """Write `page`, locked by the caller, if it is dirty, and wait for it; it stays locked.

    Raises:
        OSError: EIO as `write_pages`. The error of a WRITE is kept for who asks.
    """
    await page.wait_writeback()
    if page.dirty:
        clean(inode, page)
        if _cut(inode, page):
            _queue(inode, _add(inode, None, page))
    await page.wait_writeback()
