"""System calls: read, write, lseek, posix_fadvise; several buffers at once are in vectors.py.

Source: fs/read_write.c; mm/fadvise.c.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from fusewire.errors import os_error
from fusewire.kernel.operations.pages import forget_clean_pages
from fusewire.kernel.operations.readahead import force_readahead, state_of
from fusewire.kernel.operations.reading import LARGEST
from fusewire.kernel.operations.space import fuse_lseek
from fusewire.kernel.operations.write_pages import write_pages
from fusewire.kernel.syscalls.base import syscall
from fusewire.kernel.syscalls.copying import Copying
from fusewire.kernel.syscalls.held import held
from fusewire.kernel.syscalls.positions import Memory, check_seekable, read_at, read_on, write_at, write_on
from fusewire.kernel.syscalls.vectors import Vectors
from fusewire.kernel.vfs.iocb import Iocb
from fusewire.kernel.vfs.page_cache import PAGE

if TYPE_CHECKING:
    from fusewire.kernel.vfs.open_file import OpenFile

__all__ = ["Data"]


class Data(Copying, Vectors):
    """read, write, lseek and other moving of data."""

    @syscall
    async def read(self, fd: int, n: int) -> bytes:
        """Return at most `n` bytes from the position on, and move it; none at the end of the file.

        Raises:
            OSError: EBADF if `fd` is not open for reading; EISDIR; EINVAL if `n` is negative, or too large
                for the position; EIO; EINTR if killed; otherwise as the daemon says.
        """
        with held(self, fd) as file:
            return await read_on(file, n)

    @syscall
    async def pread(self, fd: int, n: int, offset: int) -> bytes:
        """Return at most `n` bytes at `offset`; errors as `read`, and ESPIPE if the file has no offsets."""
        if offset < 0:
            raise os_error(errno.EINVAL)
        with held(self, fd) as file:
            check_seekable(file)
            return await read_at(file, offset, n)

    @syscall
    async def write(self, fd: int, data: Memory) -> int:
        """Write `data` at the position, or under O_APPEND at the end, and move on; return how many bytes.

        Raises:
            OSError: EBADF if `fd` is not open for writing; EFBIG; EIO if the daemon takes nothing; EINTR if
                killed; with O_SYNC and O_DSYNC whatever fsync raises; otherwise as the daemon says.
        """
        with held(self, fd) as file:
            return await write_on(file, data)

    @syscall
    async def pwrite(self, fd: int, data: Memory, offset: int) -> int:
        """Write `data` at `offset`, though under O_APPEND at the end; errors as `write`, and ESPIPE."""
        if offset < 0:
            raise os_error(errno.EINVAL)
        with held(self, fd) as file:
            check_seekable(file)
            return await write_at(Iocb(file, offset), data)

    @syscall
    async def lseek(self, fd: int, position: int, whence: int) -> int:
        """Move the position, and return it: SEEK_SET, SEEK_CUR, SEEK_END, SEEK_DATA or SEEK_HOLE.

        Raises:
            OSError: EBADF; ESPIPE if the file has no positions; EINVAL for one before or beyond all files;
                ENXIO if there is no such data or hole; otherwise as the daemon says.
        """
        with held(self, fd) as file:
            if not os.SEEK_SET <= whence <= os.SEEK_HOLE:
                raise os_error(errno.EINVAL)
            check_seekable(file)
            async with file.position_lock.exclusive():
                return await fuse_lseek(file, position, whence)

    @syscall
    async def posix_fadvise(self, fd: int, offset: int, length: int, advice: int) -> None:
        """Say how the file will be read, have a part of it read ahead, or dropped from the cache; 0 is all the rest.

        Raises:
            OSError: EBADF; EINVAL for a length below 0, or an advice that there is not.
        """
        with held(self, fd) as file:
            if length < 0:
                raise os_error(errno.EINVAL)
            end = offset + length - 1 if length else LARGEST
            await advise(file, offset, end, advice)


async def advise(file: OpenFile, offset: int, end: int, advice: int) -> None:
    """Take advice on the bytes `offset` to `end` (mm/fadvise.c, generic_fadvise)."""
    state = state_of(file)
    usual = file.inode.superblock.connection.settings.max_readahead // PAGE
    if advice == os.POSIX_FADV_NORMAL:
        state.pages, state.random = usual, False
    elif advice == os.POSIX_FADV_RANDOM:
        state.random = True
    elif advice == os.POSIX_FADV_SEQUENTIAL:
        state.pages, state.random = 2 * usual, False
    elif advice == os.POSIX_FADV_WILLNEED:
        await force_readahead(file, offset // PAGE, end // PAGE - offset // PAGE + 1)
    elif advice == os.POSIX_FADV_DONTNEED:
        inode = file.inode
        await write_pages(inode, offset // PAGE, end // PAGE, wait=False)
        forget_clean_pages(inode, -(-offset // PAGE), (end + 1) // PAGE - 1)
    elif advice != os.POSIX_FADV_NOREUSE:
        raise os_error(errno.EINVAL)
