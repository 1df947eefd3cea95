"""Where a file has data, and where it has room: LSEEK and FALLOCATE.

To seek from the beginning, or from where one is, nobody is asked; to seek from the end, the size has
to be right. Where data and holes are, only the daemon knows. One that does not say (ENOSYS) has
data everywhere, and the only hole is the end of the file.

Source: fs/fuse/file.c, fuse_file_llseek, fuse_lseek and fuse_file_fallocate; fs/read_write.c,
generic_file_llseek.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from fusewire.errors import os_error
from fusewire.events import named
from fusewire.kernel.operations.attributes import refresh
from fusewire.kernel.operations.changing import remove_privileges
from fusewire.kernel.operations.pages import truncate_range
from fusewire.kernel.operations.reading import LARGEST
from fusewire.kernel.operations.times import flush_time_update, touch
from fusewire.kernel.operations.writeback import sync_writes, write_and_wait
from fusewire.kernel.operations.writing import MODIFIED, wrote
from fusewire.kernel.vfs.attr import STATX_SIZE
from fusewire.kernel.vfs.page_cache import PAGE
from fusewire.wire import FallocateFlags, FallocateIn, LseekIn

if TYPE_CHECKING:
    from fusewire.kernel.vfs.inode import Inode
    from fusewire.kernel.vfs.open_file import OpenFile

__all__ = ["flush_range", "fuse_fallocate", "fuse_lseek", "seek"]

WORD: Final = 1 << 64
KEEP_SIZE: Final = FallocateFlags.FALLOC_FL_KEEP_SIZE
ZEROING: Final = FallocateFlags.FALLOC_FL_PUNCH_HOLE | FallocateFlags.FALLOC_FL_ZERO_RANGE


@named("fuse_file_llseek")
async def fuse_lseek(file: OpenFile, offset: int, whence: int) -> int:
    """Move the position of `file`, whose lock the caller holds, and return it.

    Raises:
        OSError: EINVAL for a `whence` that does not exist, and a position before or beyond all files;
            ENXIO if there is no data, or hole, at `offset` or after it; as the daemon says.
    """
    inode = file.inode
    if inode.is_dir or whence in (os.SEEK_SET, os.SEEK_CUR):
        return seek(file, offset, whence)
    async with inode.rwsem.exclusive():
        if whence == os.SEEK_END or "LSEEK" in inode.superblock.connection.absent:
            return await _seek_by_size(file, offset, whence)
        try:
            reply = await inode.superblock.connection.ask(
                "LSEEK", inode.nodeid, LseekIn(file.fh, offset % (1 << 64), whence)
            )
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise
            inode.superblock.connection.absent.add("LSEEK")
            return await _seek_by_size(file, offset, whence)
        return _set_position(file, reply.structs[0].offset)


async def _seek_by_size(file: OpenFile, offset: int, whence: int) -> int:
    await refresh(file.inode, STATX_SIZE, file)
    return seek(file, offset, whence)


def seek(file: OpenFile, offset: int, whence: int) -> int:
    """Move the position by what is known of the file; errors as `fuse_lseek` (generic_file_llseek)."""
    size = file.inode.attr.size
    if whence == os.SEEK_CUR:
        offset += file.position
    elif whence == os.SEEK_END:
        offset += size
    elif whence in (os.SEEK_DATA, os.SEEK_HOLE):
        if not 0 <= offset < size:
            raise os_error(errno.ENXIO)
        if whence == os.SEEK_HOLE:
            offset = size
    elif whence != os.SEEK_SET:
        raise os_error(errno.EINVAL)
    return _set_position(file, offset)


def _set_position(file: OpenFile, position: int) -> int:
    if not 0 <= position <= LARGEST:
        raise os_error(errno.EINVAL)
    file.position = position
    return position


@named("fuse_file_fallocate")
async def fuse_fallocate(file: OpenFile, mode: int, offset: int, length: int) -> None:
    """Have the daemon provide room for `length` bytes at `offset`, or take what is there away, as `mode` says.

    Raises:
        OSError: EOPNOTSUPP for a mode that is not KEEP_SIZE, PUNCH_HOLE or ZERO_RANGE, or if the daemon
            cannot do any; what a WRITE of dirty pages failed with; otherwise as the daemon says.
    """
    inode = file.inode
    if mode & ~(KEEP_SIZE | ZEROING) or "FALLOCATE" in inode.superblock.connection.absent:
        raise os_error(errno.EOPNOTSUPP)
    try:
        async with inode.rwsem.exclusive():
            await _prepare(inode, mode, offset)
            try:
                inode.size_unstable = not mode & KEEP_SIZE
                await _allocate(file, mode, offset, length)
            finally:
                inode.size_unstable = False
    except OSError:
        await flush_time_update(inode)
        raise
    await flush_time_update(inode)


async def _prepare(inode: Inode, mode: int, offset: int) -> None:
    if mode & ZEROING:
        await flush_range(inode, offset)
    await remove_privileges(inode)
    touch(inode)


async def _allocate(file: OpenFile, mode: int, offset: int, length: int) -> None:
    inode = file.inode
    try:
        await inode.superblock.connection.ask("FALLOCATE", inode.nodeid, FallocateIn(file.fh, offset, length, mode))
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        inode.superblock.connection.absent.add("FALLOCATE")
        raise os_error(errno.EOPNOTSUPP) from None
    if not mode & KEEP_SIZE and wrote(inode, offset + length, length):
        touch(inode)
    if mode & ZEROING:
        await truncate_range(inode, offset, offset + length)
    inode.invalidate(MODIFIED)


async def flush_range(inode: Inode, offset: int) -> None:
    """Have the daemon told of all that is dirty from `offset` on, and wait (fuse_writeback_range).

    Raises:
        OSError: what a WRITE failed with.
    """
    if inode.writeback is not None:
        await write_and_wait(inode, offset // PAGE)
        await sync_writes(inode)
