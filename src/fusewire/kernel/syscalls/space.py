"""System calls: fallocate, and posix_fallocate as the C library makes it of that.

Source: fs/open.c, vfs_fallocate; sysdeps/posix/posix_fallocate.c of glibc.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final

from fusewire.errors import os_error
from fusewire.kernel.operations.attributes import fuse_getattr
from fusewire.kernel.operations.read_write import fuse_read, fuse_write
from fusewire.kernel.operations.reading import LARGEST
from fusewire.kernel.operations.space import fuse_fallocate
from fusewire.kernel.operations.statfs import fuse_statfs
from fusewire.kernel.syscalls.base import syscall
from fusewire.kernel.syscalls.held import held
from fusewire.kernel.syscalls.syncing import Syncing
from fusewire.wire import FallocateFlags

if TYPE_CHECKING:
    from fusewire.kernel.vfs.open_file import OpenFile

__all__ = ["Space"]

KEEP_SIZE: Final = FallocateFlags.FALLOC_FL_KEEP_SIZE
FALLOC_FL_WRITE_ZEROES: Final = 0x80  # which fuse.h does not have
WITH_OR_WITHOUT: Final = (0, FallocateFlags.FALLOC_FL_UNSHARE_RANGE, FallocateFlags.FALLOC_FL_ZERO_RANGE)
WITHOUT: Final = (
    FallocateFlags.FALLOC_FL_COLLAPSE_RANGE,
    FallocateFlags.FALLOC_FL_INSERT_RANGE,
    FALLOC_FL_WRITE_ZEROES,
)
MODES: Final = {
    *(mode | keep for mode in WITH_OR_WITHOUT for keep in (0, KEEP_SIZE)),
    FallocateFlags.FALLOC_FL_PUNCH_HOLE | KEEP_SIZE,
    *WITHOUT,
}


class Space(Syncing):
    """fallocate and posix_fallocate."""

    @syscall
    async def fallocate(self, fd: int, mode: int, offset: int, length: int) -> None:
        """Provide room for `length` bytes at `offset`, or take it away; `mode` is FALLOC_FL_*.

        Raises:
            OSError: EBADF if `fd` is not open for writing; EINVAL for an `offset` below 0 or a `length` below 1;
                EOPNOTSUPP for a mode that nobody has, or the daemon has not; EISDIR, ESPIPE and ENODEV for what
                is no regular file; EFBIG; otherwise as the daemon says.
        """
        with held(self, fd) as file:
            _check(file, mode, offset, length)
            await fuse_fallocate(file, mode, offset, length)

    @syscall
    async def posix_fallocate(self, fd: int, offset: int, length: int) -> None:
        """Provide room, by writing where the daemon has no FALLOCATE; errors as `fallocate`, and of write."""
        with held(self, fd) as file:
            try:
                _check(file, 0, offset, length)
                await fuse_fallocate(file, 0, offset, length)
            except OSError as error:
                if error.errno != errno.EOPNOTSUPP:
                    raise
                await _allocate_by_writing(file, offset, length)


async def _allocate_by_writing(file: OpenFile, offset: int, length: int) -> None:
    """Write a zero byte to each block in which there is none, as the C library does."""
    if file.flags & os.O_APPEND:
        raise os_error(errno.EBADF)
    size = (await fuse_getattr(file.inode)).st_size
    block = min((await fuse_statfs(file.inode)).f_bsize or 512, 4096)
    for position in range(offset + (length - 1) % block, offset + length, block):
        if position < size and not file.readable:
            raise os_error(errno.EBADF)
        if position < size and (await fuse_read(file, position, 1)).strip(b"\0"):
            continue
        if await fuse_write(file, position, b"\0") != 1:
            raise os_error(errno.EIO)


def _check(file: OpenFile, mode: int, offset: int, length: int) -> None:
    """Check what no filesystem need be asked about (vfs_fallocate)."""
    if offset < 0 or length <= 0:
        raise os_error(errno.EINVAL)
    if mode not in MODES:
        raise os_error(errno.EOPNOTSUPP)
    if not file.writable:
        raise os_error(errno.EBADF)
    kind = stat.S_IFMT(file.inode.attr.mode)
    if kind == stat.S_IFIFO:
        raise os_error(errno.ESPIPE)
    if kind == stat.S_IFDIR:
        raise os_error(errno.EISDIR)
    if kind not in (stat.S_IFREG, stat.S_IFBLK):
        raise os_error(errno.ENODEV)
    if offset + length > LARGEST:
        raise os_error(errno.EFBIG)
