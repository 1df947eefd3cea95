"""Writing into the page cache alone, under WRITEBACK_CACHE: the daemon hears of it later.

Page by page, as far as it goes. A page of which only a part is written is read first, unless the file
ends before it. What is under writeback may be written to: the daemon then gets it once more.

Not modelled: the limits of dirty memory but one, DIRTY_PAGES, beyond which a writer starts to write
back.

Source: fs/fuse/file.c, fuse_cache_write_iter; fs/iomap/buffered-io.c, iomap_file_buffered_write.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from fusewire.errors import os_error
from fusewire.kernel.operations import reading
from fusewire.kernel.operations.times import touch
from fusewire.kernel.operations.write_pages import mark_dirty, state_of, write_pages
from fusewire.kernel.tasks import Signal, current
from fusewire.kernel.user_memory import UserBuffer, user_buffer
from fusewire.kernel.vfs.page_cache import PAGE, PageCache

if TYPE_CHECKING:
    from fusewire.kernel.vfs.inode import Inode
    from fusewire.kernel.vfs.open_file import OpenFile
    from fusewire.kernel.vfs.page_cache import Page

__all__ = ["cached_write"]

DIRTY_PAGES: Final = 8192  # of one file, 32 MiB; a writer who finds more writes them back


async def cached_write(
    file: OpenFile, offset: int, data: bytes | memoryview | UserBuffer, size: int | None = None
) -> int:
    """Put `size` bytes of `data` into the page cache, to be written back later; return how many were put there.

    The caller holds the inode semaphore, and has the size refreshed and suid taken off. Fewer bytes
    than given are the sign of an error, or of a kill, after some were written.

    Raises:
        OSError: EINTR if the caller was killed, EFAULT if `data` cannot be had, or whatever reading a
            page failed with, before a single byte was written.
    """
    inode = file.inode
    touch(inode)
    source = user_buffer(data)
    total = len(source) if size is None else size
    done = since_error = 0
    while done < total:
        start = (offset + done) % PAGE
        try:
            room = min(PAGE - start, total - done, await source.fault_in(done))
            piece = source.load(done, room)
            page = await _page_to_write(file, (offset + done) // PAGE, len(piece))
        except OSError:
            if done == 0:
                raise
            if done == since_error:
                break
            since_error = done  # tried once more, as iomap_file_buffered_write does after a part was written
            continue
        _put(inode, page, start, piece)
        done += len(piece)
        await _limit_dirty(inode)
    return done


async def _page_to_write(file: OpenFile, index: int, size: int) -> Page:
    """Return page `index`, locked, of which `size` bytes will be written and the others kept."""
    if current().signal is Signal.FATAL:
        raise os_error(errno.EINTR)
    page = await PageCache.of(file.inode).lock(index)
    try:
        if not page.uptodate and size < PAGE:
            if index * PAGE < file.inode.attr.size:
                await reading.fill_page(file, page)
            else:
                page.fill(b"")
    except BaseException:
        page.unlock()
        raise
    return page


def _put(inode: Inode, page: Page, start: int, piece: bytes | memoryview) -> None:
    page.data[start : start + len(piece)] = piece
    page.uptodate = True
    inode.attr.size = max(inode.attr.size, page.index * PAGE + start + len(piece))
    mark_dirty(inode, page)
    page.unlock()


async def _limit_dirty(inode: Inode) -> None:
    if len(state_of(inode).dirty) > DIRTY_PAGES:
        await write_pages(inode, wait=False)
