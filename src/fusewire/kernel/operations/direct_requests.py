"""The requests of direct I/O: what is in them, how large they are, and many of them at once.

A transfer is cut into requests of at most `max_read` or `max_write` and `max_pages`, the memory of the
program being taken to begin on a page. Each says who reads or writes, for the daemon may keep
locks (LOCKOWNER).

Under ASYNC_DIO all of them go out at once, in the background, and the caller sleeps until the last is
answered. What is read is good up to the first byte that is missing; a write of which any byte is
missing has failed.

Source: fs/fuse/file.c, fuse_send_read, fuse_send_write, fuse_async_req_send, fuse_aio_complete.
"""

from __future__ import annotations

import errno
from functools import partial
from typing import TYPE_CHECKING

from fusewire.errors import os_error
from fusewire.kernel.operations.lock_owner import owner_of
from fusewire.kernel.operations.writing import can_keep_privileges, piece_of
from fusewire.kernel.vfs.page_cache import PAGE
from fusewire.kernel.waitq import Sleep, WaitQueue
from fusewire.wire import ReadFlags, ReadIn, WriteFlags, WriteIn

if TYPE_CHECKING:
    from fusewire.kernel.operations.writing import Source
    from fusewire.kernel.request import Request
    from fusewire.kernel.vfs.iocb import Iocb
    from fusewire.kernel.vfs.open_file import OpenFile

__all__ = ["most_read", "most_written", "read_at_once", "read_in", "write_at_once", "write_in"]


def most_read(file: OpenFile) -> int:
    superblock = file.inode.superblock
    return min(max(superblock.options.max_read, PAGE), superblock.connection.settings.max_pages * PAGE)


def most_written(file: OpenFile) -> int:
    settings = file.inode.superblock.connection.settings
    return min(settings.max_write, settings.max_pages * PAGE)


def read_in(file: OpenFile, offset: int, size: int) -> ReadIn:
    return ReadIn(file.fh, offset, size, ReadFlags.FUSE_READ_LOCKOWNER, owner_of(file.inode), file.flags)


def write_in(iocb: Iocb, offset: int, size: int) -> WriteIn:
    flags = WriteFlags.FUSE_WRITE_LOCKOWNER
    if not can_keep_privileges():
        flags |= WriteFlags.FUSE_WRITE_KILL_SUIDGID
    return WriteIn(iocb.file.fh, offset, size, flags, owner_of(iocb.file.inode), iocb.wire_flags)


class Transfer:
    """Requests in the background, and what has come of them (struct fuse_io_priv)."""

    __slots__ = ("end", "error", "left", "offset", "parts", "size", "waitq")

    def __init__(self, offset: int) -> None:
        self.offset = offset  # of the first byte
        self.size = 0  # bytes asked for
        self.left = 0  # requests
        self.error = 0  # errno of the first that failed
        self.end: int | None = None  # bytes from `offset` to the first that is missing, if any is
        self.parts: dict[int, memoryview] = {}  # what was read, by its distance from `offset`
        self.waitq = WaitQueue("direct I/O")

    def answered(self, at: int, size: int, request: Request) -> None:
        """Take the answer to a request of `size` bytes, `at` bytes from `offset`."""
        if request.error or request.reply is None:
            self.fail(request.error)
        elif request.operation.name == "READ":
            self.parts[at] = request.reply.data
            self._came(at, size, len(request.reply.data))
        else:
            self._came(at, size, request.reply.structs[0].size)
        self.left -= 1
        if not self.left:
            self.waitq.wake_all()

    def fail(self, code: int) -> None:
        self.error = self.error or code

    def _came(self, at: int, size: int, count: int) -> None:
        if count > size:
            self.fail(errno.EIO)
        elif count < size:
            self.end = at + count if self.end is None else min(self.end, at + count)

    async def finish(self) -> int:
        """Sleep, uninterruptibly, until all is answered; return how many bytes are there without a gap.

        Raises:
            OSError: as the daemon says, of any request.
        """
        await self.waitq.sleep(until=lambda: not self.left, depth=Sleep.UNINTERRUPTIBLE)
        if self.error:
            raise os_error(self.error)
        return self.size if self.end is None else self.end


async def read_at_once(file: OpenFile, offset: int, size: int) -> bytes:
    """Return `size` bytes, or as many as there are without a gap, all requests going out at once.

    Raises:
        OSError: as the daemon says, of any request.
    """
    connection = file.inode.superblock.connection
    transfer = Transfer(offset)
    most = most_read(file)
    for at in range(0, size, most):
        count = min(size - at, most)
        transfer.size += count
        transfer.left += 1
        try:
            await connection.ask_background_gated(
                "READ",
                file.inode.nodeid,
                read_in(file, offset + at, count),
                end=partial(transfer.answered, at, count),
            )
        except OSError as error:
            transfer.left -= 1
            transfer.fail(error.errno or errno.EIO)
    end = await transfer.finish()
    return b"".join(transfer.parts[at] for at in sorted(transfer.parts))[:end]


async def write_at_once(iocb: Iocb, data: Source, size: int) -> int:
    """Write `size` bytes of `data`, all requests going out at once; return how many that are.

    Raises:
        OSError: EIO if a byte was not taken; EFAULT if `data` cannot be had; otherwise as the daemon says.
    """
    transfer = Transfer(iocb.position)
    most = most_written(iocb.file)
    while transfer.size < size:
        at = transfer.size
        try:
            piece = bytes(await piece_of(data, at, min(size - at, most)))
        except OSError as error:
            transfer.fail(error.errno or errno.EFAULT)
            break
        await _send_piece(transfer, iocb, at, piece)
    end = await transfer.finish()
    if end < size:
        raise os_error(errno.EIO)
    return end


async def _send_piece(transfer: Transfer, iocb: Iocb, at: int, piece: bytes) -> None:
    """Send `piece`, which stands `at` bytes from the beginning of the transfer."""
    inode = iocb.file.inode
    transfer.size += len(piece)
    transfer.left += 1
    body = write_in(iocb, iocb.position + at, len(piece))
    end = partial(transfer.answered, at, len(piece))
    try:
        await inode.superblock.connection.ask_background_gated("WRITE", inode.nodeid, body, data=piece, end=end)
    except OSError as error:
        transfer.left -= 1
        transfer.fail(error.errno or errno.EIO)
