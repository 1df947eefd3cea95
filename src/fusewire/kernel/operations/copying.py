"""Copying from file to file: COPY_FILE_RANGE, and reads and writes where a daemon has none.

The daemon is asked by COPY_FILE_RANGE_64 first; one that does not know it, by COPY_FILE_RANGE, which
can say at most 4 GiB; one that knows neither, never again. Then pages go through a pipe, 16 at a
time, as splice(2) does it: read by way of the cache of one file, written as write(2) would. What is
in the pipe is not a copy, but the pages of the cache: who changes them changes what is written.

What the daemon has copied, the cache of the target must not contradict: its pages are dropped.

Source: fs/fuse/file.c, fuse_copy_file_range; fs/splice.c, splice_direct_to_actor and
iter_file_splice_write; mm/filemap.c, filemap_splice_read.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from fusewire.errors import os_error
from fusewire.events import named
from fusewire.kernel.operations.changing import remove_privileges
from fusewire.kernel.operations.pages import discard_pages
from fusewire.kernel.operations.read_write import fuse_read, write
from fusewire.kernel.operations.readahead import state_of
from fusewire.kernel.operations.reading import get_pages
from fusewire.kernel.operations.space import flush_range
from fusewire.kernel.operations.times import flush_time_update, touch
from fusewire.kernel.operations.writing import wrote
from fusewire.kernel.vfs.iocb import Iocb
from fusewire.kernel.vfs.page_cache import PAGE
from fusewire.kernel.waitq import Sleep
from fusewire.wire import CopyFileRangeIn

if TYPE_CHECKING:
    from fusewire.kernel.vfs.inode import Inode
    from fusewire.kernel.vfs.open_file import OpenFile
    from fusewire.kernel.vfs.page_cache import Page

__all__ = ["fuse_copy_file_range", "splice"]

PIPE: Final = 16  # pages in a pipe
LARGEST_OLD: Final = 0xFFFFF000  # bytes that COPY_FILE_RANGE can say, in whole pages


@named("fuse_copy_file_range")
async def fuse_copy_file_range(source: OpenFile, offset: int, target: OpenFile, target_offset: int, length: int) -> int:
    """Copy `length` bytes from `source` to `target`; return how many were copied.

    Raises:
        OSError: as the daemon says, or what a WRITE of dirty pages failed with; if nothing was copied.
    """
    try:
        return await _ask_to_copy(source, offset, target, target_offset, length)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EXDEV):
            raise
    return await splice(source, offset, target, target_offset, length)


async def _ask_to_copy(source: OpenFile, offset: int, target: OpenFile, target_offset: int, length: int) -> int:
    inode = target.inode
    connection = inode.superblock.connection
    if "COPY_FILE_RANGE" in connection.absent:
        raise os_error(errno.EOPNOTSUPP)
    if source.inode.superblock is not inode.superblock:
        raise os_error(errno.EXDEV)
    unstable = not inode.written_back and target_offset + length > inode.attr.size
    async with source.inode.rwsem.exclusive():
        await flush_range(source.inode, offset)
    body = CopyFileRangeIn(source.fh, offset, inode.nodeid, target.fh, target_offset, length)
    try:
        async with inode.rwsem.exclusive():
            copied = await _copy(source, inode, body, unstable)
    except OSError:
        await flush_time_update(inode)
        raise
    await flush_time_update(inode)
    return copied


async def _copy(source: OpenFile, inode: Inode, body: CopyFileRangeIn, unstable: bool) -> int:
    """Have the daemon copy to `inode`, and have the cache of that know nothing of what is there now."""
    await remove_privileges(inode)
    touch(inode)
    await flush_range(inode, body.off_out)
    try:
        inode.size_unstable = unstable or inode.size_unstable
        copied = await _send(source, body)
        await discard_pages(inode, body.off_out // PAGE, (body.off_out + copied + PAGE - 1) // PAGE - 1)
        touch(inode)
        wrote(inode, body.off_out + copied, copied)
    finally:
        if unstable:
            inode.size_unstable = False
    return copied


async def _send(source: OpenFile, body: CopyFileRangeIn) -> int:
    """Ask to copy what `body` says, by the operation that the daemon knows; return how many bytes it copied."""
    connection = source.inode.superblock.connection
    if "COPY_FILE_RANGE_64" not in connection.absent:
        try:
            reply = await connection.ask("COPY_FILE_RANGE_64", source.inode.nodeid, body)
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise
            connection.absent.add("COPY_FILE_RANGE_64")
        else:
            return _believed(reply.structs[0].bytes_copied, body)
    body.len = min(body.len, LARGEST_OLD)
    try:
        reply = await connection.ask("COPY_FILE_RANGE", source.inode.nodeid, body)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        connection.absent.add("COPY_FILE_RANGE")
        raise os_error(errno.EOPNOTSUPP) from None
    return _believed(reply.structs[0].size, body)


def _believed(copied: int, body: CopyFileRangeIn) -> int:
    if copied > body.len:
        raise os_error(errno.EIO)
    return copied


class Pipe:
    """Pages on their way from one file to another: a buffer, all of which is there.

    It begins where it has not yet been written from.
    """

    __slots__ = ("end", "pages", "pieces", "written")

    def __init__(self) -> None:
        self.pieces: list[tuple[int, memoryview]] = []  # by where each began when it was put in
        self.pages: list[tuple[int, Page]] = []  # the same, by where each ended
        self.end = 0
        self.written = 0

    def __len__(self) -> int:
        return self.end - self.written

    def add(self, piece: memoryview, page: Page | None = None) -> None:
        self.pieces.append((self.end, piece))
        self.end += len(piece)
        if page is not None:
            self.pages.append((self.end, page))

    async def confirm(self) -> bool:
        """Look whether what is left may be written; False if a page of it is gone (page_cache_pipe_buf_confirm).

        Raises:
            OSError: EIO if a page is not uptodate any more: it was written to meanwhile, and that failed.
        """
        for end, page in self.pages:
            if end > self.written and not page.uptodate:
                await page.wait_unlocked(Sleep.UNINTERRUPTIBLE)
                if not page.cached:
                    return False
                if not page.uptodate:
                    raise os_error(errno.EIO)
        return True

    async def fault_in(self, offset: int, write: bool = False) -> int:
        return len(self) - offset

    def load(self, offset: int, size: int) -> bytes:
        offset += self.written
        stop = offset + size
        return b"".join(piece[max(0, offset - at) : max(0, stop - at)] for at, piece in self.pieces)

    def store(self, offset: int, data: bytes | memoryview) -> None:
        raise os_error(errno.EFAULT)  # nobody reads into a pipe


async def splice(source: OpenFile, offset: int, target: OpenFile, target_offset: int, length: int) -> int:
    """Copy by reads and writes; return how many bytes were copied: fewer at the end of `source`, or after an error.

    Raises:
        OSError: EINVAL if `source` has no offsets; what reading or writing failed with, before anything was copied.
    """
    if not source.seekable:
        raise os_error(errno.EINVAL)
    done = 0
    while done < length:
        try:
            pipe = await _read_into_pipe(source, offset + done, min(length - done, PIPE * PAGE))
            await _write_from_pipe(pipe, target, target_offset + done)
        except OSError:
            if not done:
                raise
            break
        done += pipe.written
        if not pipe.written or len(pipe):
            break
    return done


async def _read_into_pipe(source: OpenFile, offset: int, size: int) -> Pipe:
    pipe = Pipe()
    if source.flags & os.O_DIRECT:
        pipe.add(memoryview(await fuse_read(source, offset, size)))
        return pipe
    position, end = offset, offset + size
    try:
        while position < end and position < source.inode.attr.size and len(pipe.pieces) < PIPE:
            pages = await get_pages(source, position, end)
            stop = min(source.inode.attr.size, end)
            for page in pages[: PIPE - len(pipe.pieces)]:
                within = position % PAGE
                pipe.add(memoryview(page.data)[within : within + max(0, stop - position)], page)
                position = offset + pipe.end
            state_of(source).prev_pos = position
    except OSError:
        if not len(pipe):
            raise
    return pipe


async def _write_from_pipe(pipe: Pipe, target: OpenFile, offset: int) -> None:
    """Write all that is in the pipe, or as much as can be written; errors as `splice`."""
    while len(pipe):
        try:
            written = await write(Iocb(target, offset + pipe.written), pipe) if await pipe.confirm() else 0
        except OSError:
            if not pipe.written:
                raise
            break
        if not written:
            break
        pipe.written += written
