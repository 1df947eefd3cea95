"""Writing through the page cache to the daemon.

Under the inode semaphore, what is written is put into pages of the cache, as many as go into one
WRITE, and sent before the next are.

    page there and uptodate, or covered whole   put, unlock, send: the next reader finds it
    page covered in part, not uptodate          put, keep locked, send, unlock: it stays not uptodate,
                                                and is read whole when somebody wants it

The cache is changed before the daemon has agreed. If it refuses, or takes fewer bytes, the pages that
it has not taken whole are no longer uptodate.

What is not written so, but into the cache alone or past it, is told apart in read_write.py.

While a write extends the file, sizes in replies are not believed (`size_unstable`). Each write
that is not the cache's alone outdates replies on their way, and has size, times and blocks asked
for anew.

Source: fs/fuse/file.c, fuse_cache_write_iter, fuse_perform_write, fuse_fill_write_pages and
fuse_send_write_pages; fs/read_write.c, generic_write_checks.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from fusewire.errors import os_error
from fusewire.kernel.operations.reading import LARGEST
from fusewire.kernel.tasks import current
from fusewire.kernel.user_memory import UserBuffer
from fusewire.kernel.vfs.attr import STATX_BLOCKS, STATX_CTIME, STATX_MTIME, STATX_SIZE
from fusewire.kernel.vfs.iocb import Iocb
from fusewire.kernel.vfs.page_cache import PAGE, PageCache
from fusewire.wire import InitFlags, WriteFlags, WriteIn

if TYPE_CHECKING:
    from fusewire.kernel.vfs.inode import Inode
    from fusewire.kernel.vfs.page_cache import Page

__all__ = [
    "MODIFIED",
    "Source",
    "can_keep_privileges",
    "checked",
    "perform_write",
    "piece_of",
    "wrote",
]

Source: TypeAlias = memoryview | UserBuffer
MODIFIED: Final = STATX_MTIME | STATX_CTIME | STATX_BLOCKS | STATX_SIZE


def checked(iocb: Iocb, size: int) -> int:
    """Return how many of `size` bytes may be written, moving to the end of the file under O_APPEND.

    Raises:
        OSError: EFBIG if none.

    Source: fs/read_write.c, generic_write_checks.
    """
    if not size:
        return 0
    if iocb.append:
        iocb.position = iocb.file.inode.attr.size
    if iocb.position >= LARGEST:
        raise os_error(errno.EFBIG)
    return min(size, LARGEST - iocb.position)


def can_keep_privileges() -> bool:
    """Whether the current process may change a file without taking its suid and sgid off (CAP_FSETID)."""
    process = current().process
    return process is None or process.credentials.privileged


async def piece_of(data: Source, start: int, size: int) -> bytes | memoryview:
    """Return at most `size` bytes of `data` from `start` on: fewer if the memory beyond is not there yet.

    Raises:
        OSError: EFAULT if it cannot be had.
    """
    if isinstance(data, memoryview):
        return data[start : start + size]
    return data.load(start, min(size, await data.fault_in(start)))


async def perform_write(iocb: Iocb, data: Source, start: int, size: int) -> int:
    """Write `data` from `start` up to `size` through the cache; errors and result as `fuse_write`.

    The caller holds the inode semaphore.
    """
    inode = iocb.file.inode
    done = 0
    if inode.attr.size < iocb.position + size - start:
        inode.size_unstable = True
    try:
        while start + done < size:
            count, written = await _write_batch(iocb, data, start + done, size, iocb.position + done)
            done += written
            if written < count:
                raise os_error(errno.EIO)
    except OSError:
        if not done:
            raise
    finally:
        wrote(inode, iocb.position + done, done)
        inode.size_unstable = False
    iocb.position += done
    return done


def wrote(inode: Inode, end: int, count: int) -> bool:
    """Note that `count` bytes up to `end` have been written; whether that made the file longer."""
    inode.bump()
    extended = count > 0 and end > inode.attr.size
    if extended:
        inode.attr.size = end
    inode.invalidate(MODIFIED)
    return extended


class Batch:
    """What goes out in one WRITE: pages, and what was put into them."""

    __slots__ = ("kept", "pages", "pieces", "size")

    def __init__(self) -> None:
        self.pages: list[Page] = []
        self.pieces: list[bytes | memoryview] = []
        self.size = 0  # bytes
        self.kept: Page | None = None  # the last page, still locked, since it was put into in part and is not uptodate


async def _write_batch(iocb: Iocb, data: Source, start: int, stop: int, position: int) -> tuple[int, int]:
    """Put as much into pages as goes into one WRITE, and send it; return how much that was, and how much was taken.

    Raises:
        OSError: if nothing was sent, or as the daemon says.
    """
    batch = Batch()
    try:
        await _fill(batch, iocb.file.inode, data, start, stop, position)
    except OSError:
        if not batch.size:
            raise
    try:
        written = await _send(iocb, batch.pages, b"".join(batch.pieces), position)
    finally:
        if batch.kept is not None:
            batch.kept.unlock()
    return batch.size, written


async def _fill(batch: Batch, inode: Inode, data: Source, start: int, stop: int, position: int) -> None:
    """Put `data`, from `start` on, into the pages at `position`, as far as one WRITE goes (fuse_fill_write_pages)."""
    connection = inode.superblock.connection
    stop = min(stop, start + connection.settings.max_write)
    while start + batch.size < stop and len(batch.pages) < connection.settings.max_pages:
        page, piece = await _put(inode, data, start + batch.size, stop, position + batch.size)
        batch.pages.append(page)
        batch.pieces.append(piece)
        batch.size += len(piece)
        if not page.uptodate:
            batch.kept = page
            return
        page.unlock()
        if (position + batch.size) % PAGE or not connection.has(InitFlags.FUSE_BIG_WRITES):
            return


async def _put(inode: Inode, data: Source, start: int, stop: int, position: int) -> tuple[Page, bytes | memoryview]:
    """Put what comes next of `data` into the page at `position`; return that page, locked, and what was put there."""
    within = position % PAGE
    piece = await piece_of(data, start, min(PAGE - within, stop - start))
    page = await PageCache.of(inode).lock(position // PAGE)
    page.data[within : within + len(piece)] = piece
    if len(piece) == PAGE:
        page.uptodate = True
    return page, piece


async def _send(iocb: Iocb, pages: Sequence[Page], data: bytes, position: int) -> int:
    """Send WRITE; return how many bytes the daemon took. What it did not take is no longer uptodate."""
    file = iocb.file
    connection = file.inode.superblock.connection
    body = WriteIn(file.fh, position, len(data), 0, 0, iocb.wire_flags)
    if connection.has(InitFlags.FUSE_HANDLE_KILLPRIV_V2) and not can_keep_privileges():
        body.write_flags = WriteFlags.FUSE_WRITE_KILL_SUIDGID
    for page in pages:
        await page.wait_writeback()
    try:
        reply = await connection.ask("WRITE", file.inode.nodeid, body, (), data)
        written: int = reply.structs[0].size
        if written > len(data):
            raise os_error(errno.EIO)
    except OSError:
        for page in pages:
            page.uptodate = False
        raise
    if written < len(data):
        for page in pages:
            if (page.index + 1) * PAGE > position + written:
                page.uptodate = False
    return written
