"""READ and WRITE for bytes that pass the page cache by.

    FOPEN_DIRECT_IO   the daemon wants it: one request after the other, and what it says counts,
                      also beyond the size that we know
    O_DIRECT          the program wants it: nothing is read beyond the size; what a read lacks is read
                      through the cache. Under ASYNC_DIO all requests go out at once, in the background

A short answer ends a transfer.

The cache must not tell another story. Dirty pages of the range are written first; before and after
a write, the pages of the range are dropped.

A write holds the inode semaphore alone, or shares it with others if the daemon allows that
(PARALLEL_DIRECT_WRITES), nobody uses the page cache and the file does not grow. While it is shared,
who wants to use the page cache has to wait (`iocachectr`).

Source: fs/fuse/file.c, fuse_direct_io, fuse_direct_IO, fuse_dio_lock; mm/filemap.c,
generic_file_read_iter and generic_file_direct_write.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from fusewire.errors import os_error
from fusewire.events import named
from fusewire.kernel.operations.direct_requests import (
    most_read,
    most_written,
    read_at_once,
    read_in,
    write_at_once,
    write_in,
)
from fusewire.kernel.operations.io_mode import direct_io_waitq
from fusewire.kernel.operations.pages import invalidate_pages
from fusewire.kernel.operations.reading import cached_read
from fusewire.kernel.operations.setattr import set_size
from fusewire.kernel.operations.writeback import sync_writes, write_and_wait
from fusewire.kernel.operations.writing import checked, perform_write, piece_of, wrote
from fusewire.kernel.vfs.attr import STATX_ATIME
from fusewire.kernel.vfs.page_cache import PAGE
from fusewire.wire import InitFlags, OpenFlags

if TYPE_CHECKING:
    from fusewire.kernel.operations.writing import Source
    from fusewire.kernel.vfs.inode import Inode
    from fusewire.kernel.vfs.iocb import Iocb
    from fusewire.kernel.vfs.open_file import OpenFile

__all__ = ["direct_read", "direct_write", "read_past_cache", "write_past_cache"]

PARALLEL: Final = OpenFlags.FOPEN_PARALLEL_DIRECT_WRITES


# The daemon wants it.


@named("fuse_direct_read_iter")
async def direct_read(file: OpenFile, offset: int, size: int) -> bytes:
    """Return what the daemon has at `offset`, up to `size` bytes.

    Raises:
        OSError: as the daemon says, of the first request; what a WRITE of dirty pages failed with.
    """
    try:
        await _settle(file, offset, size, write=False)
        return await _read_in_turn(file, offset, size)
    finally:
        file.inode.invalidate(STATX_ATIME)


@named("fuse_direct_write_iter")
async def direct_write(iocb: Iocb, data: Source) -> int:
    """Write `data` as `iocb` says; return how many bytes were written. Errors as `direct_read`, and EFBIG."""
    inode = iocb.file.inode
    if _may_share(iocb, len(data)):
        async with inode.rwsem.shared():
            if not _beyond_end(iocb, len(data)) and inode.iocachectr <= 0:
                inode.iocachectr -= 1
                try:
                    return await _direct_write(iocb, data)
                finally:
                    _leave_uncached(inode)
    async with inode.rwsem.exclusive():
        return await _direct_write(iocb, data)


def _may_share(iocb: Iocb, size: int) -> bool:
    inode = iocb.file.inode
    return (
        bool(iocb.file.open_flags & PARALLEL)
        and not iocb.append
        and inode.iocachectr <= 0
        and not _beyond_end(iocb, size)
    )


def _beyond_end(iocb: Iocb, size: int) -> bool:
    return iocb.position + size > iocb.file.inode.attr.size


def _leave_uncached(inode: Inode) -> None:
    inode.iocachectr += 1
    if not inode.iocachectr:
        direct_io_waitq(inode).wake_all()


async def _direct_write(iocb: Iocb, data: Source) -> int:
    size = checked(iocb, len(data))
    if not size:
        return 0
    inode = iocb.file.inode
    count = 0
    try:
        await _settle(iocb.file, iocb.position, size, write=True)
        count = await _write_in_turn(iocb, data, size)
    finally:
        wrote(inode, iocb.position + count, count)
    if count:
        await _drop_range(inode, iocb.position, size)
    iocb.position += count
    return count


async def _settle(file: OpenFile, offset: int, size: int, write: bool) -> None:
    """Have the cache agree with the daemon about a range, and for a write know nothing of it."""
    if not size:
        return
    inode = file.inode
    first, last = offset // PAGE, (offset + size - 1) // PAGE
    if file.open_flags & OpenFlags.FOPEN_DIRECT_IO:
        await write_and_wait(inode, first, last)
    if _has_writeback(inode, first, last):
        if write:
            await sync_writes(inode)
        else:
            async with inode.rwsem.exclusive():
                await sync_writes(inode)
    if write and file.open_flags & OpenFlags.FOPEN_DIRECT_IO:
        await invalidate_pages(inode, first, last)


def _has_writeback(inode: Inode, first: int, last: int) -> bool:
    if inode.pages is None or inode.writeback is None:
        return False
    return any(page.dirty or page.locked or page.writeback for page in inode.pages.within(first, last))


async def _drop_range(inode: Inode, offset: int, size: int) -> None:
    if inode.pages is not None and inode.pages.pages:
        await invalidate_pages(inode, offset // PAGE, (offset + size - 1) // PAGE)


# One request after the other.


async def _read_in_turn(file: OpenFile, offset: int, size: int) -> bytes:
    most = most_read(file)
    parts: list[memoryview | bytes] = []
    done = 0
    while done < size:
        count = min(size - done, most)
        try:
            reply = await file.inode.superblock.connection.ask(
                "READ", file.inode.nodeid, read_in(file, offset + done, count)
            )
        except OSError:
            if not done:
                raise
            break
        parts.append(reply.data)
        done += len(reply.data)
        if len(reply.data) < count:
            break
    return b"".join(parts)


async def _write_in_turn(iocb: Iocb, data: Source, size: int) -> int:
    inode = iocb.file.inode
    most = most_written(iocb.file)
    done = 0
    while done < size:
        try:
            piece = bytes(await piece_of(data, done, min(size - done, most)))
            body = write_in(iocb, iocb.position + done, len(piece))
            reply = await inode.superblock.connection.ask("WRITE", inode.nodeid, body, (), piece)
            written: int = reply.structs[0].size
            if written > len(piece):
                raise os_error(errno.EIO)
        except OSError:
            if not done:
                raise
            break
        done += written
        if written < len(piece):
            break
    return done


# The program wants it.


async def read_past_cache(file: OpenFile, offset: int, size: int) -> bytes:
    """Return up to `size` bytes from `offset` on, as far as the file is known to reach.

    Raises:
        OSError: as the daemon says; what a WRITE of dirty pages failed with.
    """
    inode = file.inode
    await write_and_wait(inode, offset // PAGE, (offset + size - 1) // PAGE)
    data = await _read_within_file(file, offset, size)
    if len(data) == size or offset + len(data) >= inode.attr.size:
        return data
    try:
        return data + await cached_read(file, offset + len(data), size - len(data))
    except OSError:
        if not data:
            raise
        return data


async def _read_within_file(file: OpenFile, offset: int, size: int) -> bytes:
    inode = file.inode
    left = inode.attr.size - offset
    if left <= 0:
        return b""
    connection = inode.superblock.connection
    if not connection.has(InitFlags.FUSE_ASYNC_DIO):
        return await direct_read(file, offset, size)
    whole = connection.settings.max_pages * PAGE
    size = min(size, (left - 1 | whole - 1) + 1)  # round_up(), as it is for what is no power of two
    try:
        await _settle(file, offset, size, write=False)
    finally:
        inode.invalidate(STATX_ATIME)  # now: Linux comes by here before it waits for the answers
    return await read_at_once(file, offset, size)


async def write_past_cache(iocb: Iocb, data: Source, size: int) -> int:
    """Write `size` bytes of `data`; what the daemon does not take is written once more, through the cache.

    The caller holds the inode semaphore. Errors and result as `fuse_write`.
    """
    inode = iocb.file.inode
    first, last = iocb.position // PAGE, (iocb.position + size - 1) // PAGE
    if inode.pages is not None and inode.pages.pages:
        await write_and_wait(inode, first, last)
        await invalidate_pages(inode, first, last)
    count = await _write_directly(iocb, data, size)
    if count:
        await _drop_range(inode, iocb.position, count)
    iocb.position += count
    if count == size:
        return count
    try:
        rest = await perform_write(iocb, data, count, size)
    except OSError:
        if not count:
            raise
        return count
    # Linux then drops these pages, but for those that are too new for it to know of: most often, all.
    await write_and_wait(inode, (iocb.position - rest) // PAGE, (iocb.position - 1) // PAGE)
    return count + rest


async def _write_directly(iocb: Iocb, data: Source, size: int) -> int:
    """Write by WRITEs alone; a write that fails as it extends the file has it cut to its old size (fuse_direct_IO)."""
    inode = iocb.file.inode
    extending = iocb.position + size > inode.attr.size
    count = 0
    try:
        await _settle(iocb.file, iocb.position, size, write=True)
        if inode.superblock.connection.has(InitFlags.FUSE_ASYNC_DIO):
            count = await write_at_once(iocb, data, size)
        else:
            count = await _write_in_turn(iocb, data, size)
    except OSError:
        wrote(inode, iocb.position, 0)
        if extending:
            await _cut_back(iocb.file)
        raise
    wrote(inode, iocb.position + count, count)
    return count


async def _cut_back(file: OpenFile) -> None:
    try:
        await set_size(file, file.inode.attr.size)
    except OSError:
        pass  # the caller hears of the write's error
