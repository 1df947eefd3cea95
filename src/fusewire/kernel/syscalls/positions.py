"""Reading and writing at the position of an open file, and at an offset of one's own.

Several descriptors may share a position. Who reads or writes there holds its lock; who names an
offset of his own does not, nor who uses a stream, which has no position.

Source: fs/read_write.c, ksys_read, vfs_read, rw_verify_area; fs/file.c, fdget_pos.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final, TypeAlias

from fusewire.errors import os_error
from fusewire.kernel.operations.read_write import fuse_read, write
from fusewire.kernel.operations.reading import LARGEST
from fusewire.kernel.user_memory import UserBuffer
from fusewire.kernel.vfs.iocb import Iocb

if TYPE_CHECKING:
    from fusewire.kernel.vfs.open_file import OpenFile

__all__ = ["MAX_RW_COUNT", "AtHand", "Memory", "check_seekable", "read_at", "read_on", "write_at", "write_on"]

AtHand: TypeAlias = bytes | bytearray | memoryview
Memory: TypeAlias = AtHand | UserBuffer

MAX_RW_COUNT: Final = 0x7FFFF000  # bytes that one call moves at most


async def read_on(file: OpenFile, size: int) -> bytes:
    """Read at the position, and move it."""
    if file.stream:
        return await read_at(file, 0, size)
    async with file.position_lock.exclusive():
        data = await read_at(file, file.position, size)
        file.position += len(data)
    return data


async def read_at(file: OpenFile, offset: int, size: int) -> bytes:
    if not file.readable:
        raise os_error(errno.EBADF)
    if size < 0 or offset + size > LARGEST:
        raise os_error(errno.EINVAL)
    if file.inode.is_dir:
        raise os_error(errno.EISDIR)
    return await fuse_read(file, offset, min(size, MAX_RW_COUNT))


async def write_on(file: OpenFile, data: Memory, flags: int = 0) -> int:
    """Write at the position, and move it."""
    if file.stream:
        return await write_at(Iocb(file, 0, flags), data)
    async with file.position_lock.exclusive():
        iocb = Iocb(file, file.position, flags)
        count = await write_at(iocb, data)
        if count:
            file.position = iocb.position
    return count


async def write_at(iocb: Iocb, data: Memory) -> int:
    if not iocb.file.writable:
        raise os_error(errno.EBADF)
    if iocb.position + len(data) > LARGEST:
        raise os_error(errno.EINVAL)
    if len(data) > MAX_RW_COUNT and isinstance(data, AtHand):
        data = memoryview(data)[:MAX_RW_COUNT]
    return await write(iocb, data)


def check_seekable(file: OpenFile) -> None:
    if not file.seekable:
        raise os_error(errno.ESPIPE)
