"""read and write, where they part: through the page cache, past it, or into it alone.

    FOPEN_DIRECT_IO     past it, for the daemon wants it so (direct_io.py)
    O_DIRECT            past it, for the program wants it so; what that leaves over goes through it
    WRITEBACK_CACHE     a write goes into the cache alone, for now (cached_write.py), unless it costs
                        the file suid or sgid and the daemon is the one to take them off
    otherwise           through it: reading.py, writing.py

Source: fs/fuse/file.c, fuse_file_read_iter, fuse_file_write_iter, fuse_cache_write_iter; mm/filemap.c,
generic_file_read_iter.
"""

from __future__ import annotations

import os

from fusewire.events import named
from fusewire.kernel.operations.attributes import refresh
from fusewire.kernel.operations.cached_write import cached_write
from fusewire.kernel.operations.changing import remove_privileges
from fusewire.kernel.operations.direct_io import direct_read, direct_write, read_past_cache, write_past_cache
from fusewire.kernel.operations.reading import DIRECT_IO, cached_read
from fusewire.kernel.operations.syncing import fuse_fsync
from fusewire.kernel.operations.times import touch
from fusewire.kernel.operations.writing import Source, checked, perform_write
from fusewire.kernel.user_memory import UserBuffer
from fusewire.kernel.vfs.attr import STATX_MODE, STATX_SIZE
from fusewire.kernel.vfs.changes import suidgid_to_drop
from fusewire.kernel.vfs.iocb import Iocb
from fusewire.kernel.vfs.open_file import OpenFile
from fusewire.kernel.vfs.page_cache import PAGE
from fusewire.wire import InitFlags

__all__ = ["fuse_read", "fuse_write", "write"]


@named("fuse_file_read_iter")
async def fuse_read(file: OpenFile, offset: int, size: int) -> bytes:
    """Return at most `size` bytes from `offset` on; fewer at the end of the file, or where reading fails later on.

    Raises:
        OSError: EIO if the inode is bad; EINTR if the caller was killed; otherwise as the daemon
            says, of the size or of the first page.

    Source: fs/fuse/file.c, fuse_file_read_iter; mm/filemap.c, generic_file_read_iter.
    """
    inode = file.inode
    inode.check_bad()
    if file.open_flags & DIRECT_IO:
        return await direct_read(file, offset, size)
    if offset + size > inode.attr.size or inode.superblock.connection.has(InitFlags.FUSE_AUTO_INVAL_DATA):
        await refresh(inode, STATX_SIZE, file)
    if not size:
        return b""
    if file.flags & os.O_DIRECT:
        return await read_past_cache(file, offset, size)
    return await cached_read(file, offset, size)


async def fuse_write(file: OpenFile, offset: int, data: bytes | bytearray | memoryview | UserBuffer) -> int:
    """Write `data` at `offset`, or at the end under O_APPEND; return how many bytes were written.

    Fewer than given are the sign of an error, or of a kill, after some were written.

    Raises:
        OSError: EIO if the inode is bad, or the daemon wrote nothing, or more than there was; EFBIG
            if `offset` is beyond any file; EINTR if the caller was killed; otherwise as the daemon says.
    """
    return await write(Iocb(file, offset), data)


@named("fuse_file_write_iter")
async def write(iocb: Iocb, data: bytes | bytearray | memoryview | UserBuffer) -> int:
    """Write `data` as `iocb` says, and move its position on; return and errors as `fuse_write`."""
    iocb.file.inode.check_bad()
    source = memoryview(data).cast("B") if isinstance(data, bytes | bytearray | memoryview) else data
    if iocb.file.open_flags & DIRECT_IO:
        return await direct_write(iocb, source)
    count = await _write_by_cache(iocb, source)
    if count > 0 and iocb.dsync:
        end = iocb.position
        await fuse_fsync(iocb.file, not iocb.sync, (end - count) // PAGE, (end - 1) // PAGE)
    return count


async def _write_by_cache(iocb: Iocb, data: Source) -> int:
    inode = iocb.file.inode
    connection = inode.superblock.connection
    later = False
    if connection.has(InitFlags.FUSE_WRITEBACK_CACHE):
        await refresh(inode, STATX_SIZE | STATX_MODE, iocb.file)
        later = not (connection.has(InitFlags.FUSE_HANDLE_KILLPRIV_V2) and suidgid_to_drop(inode))
    async with inode.rwsem.exclusive():
        size = checked(iocb, len(data))
        if not size:
            return 0
        await remove_privileges(inode)
        if later and not iocb.direct:
            count = await cached_write(iocb.file, iocb.position, data, size)
            iocb.position += count
            return count
        touch(inode)
        if iocb.direct:
            return await write_past_cache(iocb, data, size)
        return await perform_write(iocb, data, 0, size)
