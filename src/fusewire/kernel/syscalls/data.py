"""System calls: read, write and their kin, lseek, posix_fadvise.

Who reads or writes at the position of an open file, which several descriptors may share, holds the
lock of that position; who names an offset of his own does not, nor who uses a stream, which has
no position. The open file is held meanwhile, so that its RELEASE waits for us should somebody
close the descriptor.

Source: fs/read_write.c; mm/fadvise.c.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from fusewire.errors import os_error
from fusewire.kernel.operations.pages import forget_clean_pages
from fusewire.kernel.operations.readahead import force_readahead, state_of
from fusewire.kernel.operations.reading import LARGEST, fuse_read
from fusewire.kernel.operations.releasing import put_file
from fusewire.kernel.operations.space import fuse_lseek
from fusewire.kernel.operations.write_pages import write_pages
from fusewire.kernel.operations.writing import write
from fusewire.kernel.syscalls.base import syscall
from fusewire.kernel.syscalls.copying import Copying
from fusewire.kernel.user_memory import UserBuffer, user_buffer
from fusewire.kernel.vfs.iocb import RWF_APPEND, RWF_DSYNC, RWF_HIPRI, RWF_NOAPPEND, RWF_SYNC, Iocb
from fusewire.kernel.vfs.page_cache import PAGE

if TYPE_CHECKING:
    from fusewire.kernel.vfs.open_file import OpenFile

__all__ = ["Data"]

AtHand = bytes | bytearray | memoryview
Memory = AtHand | UserBuffer

MAX_RW_COUNT: Final = 0x7FFFF000  # bytes that one call moves at most
IOV_MAX: Final = 1024  # buffers of one call
READ_FLAGS: Final = RWF_HIPRI | RWF_DSYNC | RWF_SYNC
WRITE_FLAGS: Final = READ_FLAGS | RWF_APPEND | RWF_NOAPPEND


class Data(Copying):
    """read, write, lseek and other moving of data."""

    @syscall
    async def read(self, fd: int, n: int) -> bytes:
        """Return at most `n` bytes from the position on, and move it; none at the end of the file.

        Raises:
            OSError: EBADF if `fd` is not open for reading; EISDIR; EINVAL if `n` is negative, or too large
                for the position; EIO; EINTR if killed; otherwise as the daemon says.
        """
        file = self.opened_file(fd).hold()
        try:
            return await read_on(file, n)
        finally:
            put_file(file)

    @syscall
    async def pread(self, fd: int, n: int, offset: int) -> bytes:
        """Return at most `n` bytes at `offset`; errors as `read`, and ESPIPE if the file has no offsets."""
        if offset < 0:
            raise os_error(errno.EINVAL)
        file = self.opened_file(fd).hold()
        try:
            check_seekable(file)
            return await read_at(file, offset, n)
        finally:
            put_file(file)

    @syscall
    async def readv(self, fd: int, buffers: Sequence[bytearray | memoryview | UserBuffer]) -> int:
        """Read into `buffers`, one after the other; return how many bytes. Errors as `read`, EFAULT, and EINVAL."""
        check_vector(buffers)
        file = self.opened_file(fd).hold()
        try:
            size = length_of(buffers)
            return await scatter_on(file, size, buffers) if size else nothing(file.readable)
        finally:
            put_file(file)

    @syscall
    async def preadv(
        self, fd: int, buffers: Sequence[bytearray | memoryview | UserBuffer], offset: int, flags: int = 0
    ) -> int:
        """Read into `buffers` at `offset`, or from the position on if that is -1.

        Errors as `readv` and `pread`, and EOPNOTSUPP for `flags` (RWF_*) that there are not.
        """
        if offset < -1:
            raise os_error(errno.EINVAL)
        check_vector(buffers)
        file = self.opened_file(fd).hold()
        try:
            if offset != -1:
                check_seekable(file)
            size = length_of(buffers)
            if not size:
                return nothing(file.readable)
            check_flags(file.readable, flags, READ_FLAGS)
            if offset == -1:
                return await scatter_on(file, size, buffers)
            return await scatter(buffers, await read_at(file, offset, size))
        finally:
            put_file(file)

    @syscall
    async def write(self, fd: int, data: Memory) -> int:
        """Write `data` at the position, or under O_APPEND at the end, and move on; return how many bytes.

        Raises:
            OSError: EBADF if `fd` is not open for writing; EFBIG; EIO if the daemon takes nothing; EINTR if
                killed; with O_SYNC and O_DSYNC whatever fsync raises; otherwise as the daemon says.
        """
        file = self.opened_file(fd).hold()
        try:
            return await write_on(file, data)
        finally:
            put_file(file)

    @syscall
    async def pwrite(self, fd: int, data: Memory, offset: int) -> int:
        """Write `data` at `offset`, though under O_APPEND at the end; errors as `write`, and ESPIPE."""
        if offset < 0:
            raise os_error(errno.EINVAL)
        file = self.opened_file(fd).hold()
        try:
            check_seekable(file)
            return await write_at(Iocb(file, offset), data)
        finally:
            put_file(file)

    @syscall
    async def writev(self, fd: int, buffers: Sequence[Memory]) -> int:
        """Write `buffers`, one after the other, as one; return how many bytes. Errors as `write`, and EINVAL."""
        check_vector(buffers)
        file = self.opened_file(fd).hold()
        try:
            data = await gather(buffers)
            return await write_on(file, data) if data else nothing(file.writable)
        finally:
            put_file(file)

    @syscall
    async def pwritev(self, fd: int, buffers: Sequence[Memory], offset: int, flags: int = 0) -> int:
        """Write `buffers` at `offset`, or at the position if that is -1.

        Errors as `writev` and `pwrite`, and EOPNOTSUPP for `flags` (RWF_*) that there are not.
        """
        if offset < -1:
            raise os_error(errno.EINVAL)
        check_vector(buffers)
        file = self.opened_file(fd).hold()
        try:
            if offset != -1:
                check_seekable(file)
            data = await gather(buffers)
            if not data:
                return nothing(file.writable)
            check_flags(file.writable, flags, WRITE_FLAGS)
            return await (write_on(file, data, flags) if offset == -1 else write_at(Iocb(file, offset, flags), data))
        finally:
            put_file(file)

    @syscall
    async def lseek(self, fd: int, position: int, whence: int) -> int:
        """Move the position, and return it: SEEK_SET, SEEK_CUR, SEEK_END, SEEK_DATA or SEEK_HOLE.

        Raises:
            OSError: EBADF; ESPIPE if the file has no positions; EINVAL for one before or beyond all files;
                ENXIO if there is no such data or hole; otherwise as the daemon says.
        """
        file = self.opened_file(fd).hold()
        try:
            if not os.SEEK_SET <= whence <= os.SEEK_HOLE:
                raise os_error(errno.EINVAL)
            check_seekable(file)
            async with file.position_lock.exclusive():
                return await fuse_lseek(file, position, whence)
        finally:
            put_file(file)

    @syscall
    async def posix_fadvise(self, fd: int, offset: int, length: int, advice: int) -> None:
        """Say how the file will be read, have a part of it read ahead, or dropped from the cache; 0 is all the rest.

        Raises:
            OSError: EBADF; EINVAL for a length below 0, or an advice that there is not.
        """
        file = self.opened_file(fd).hold()
        try:
            if length < 0:
                raise os_error(errno.EINVAL)
            end = offset + length - 1 if length else LARGEST
            await advise(file, offset, end, advice)
        finally:
            put_file(file)


async def read_on(file: OpenFile, size: int) -> bytes:
    """Read at the position, and move it."""
    if file.stream:
        return await read_at(file, 0, size)
    async with file.position_lock.exclusive():
        data = await read_at(file, file.position, size)
        file.position += len(data)
    return data


async def scatter_on(file: OpenFile, size: int, buffers: Sequence[bytearray | memoryview | UserBuffer]) -> int:
    """Read `size` bytes at the position into `buffers`, and move it as far as they went."""
    if file.stream:
        return await scatter(buffers, await read_at(file, 0, size))
    async with file.position_lock.exclusive():
        count = await scatter(buffers, await read_at(file, file.position, size))
        file.position += count
    return count


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


def check_vector(buffers: Sequence[object]) -> None:
    if len(buffers) > IOV_MAX:
        raise os_error(errno.EINVAL)


def check_flags(allowed: bool, flags: int, known: int) -> None:
    """Check RWF_*, once it is clear that the file is open for this at all."""
    nothing(allowed)
    if flags & ~known:
        raise os_error(errno.EOPNOTSUPP)
    if flags & RWF_APPEND and flags & RWF_NOAPPEND:
        raise os_error(errno.EINVAL)


def nothing(allowed: bool) -> int:
    """Return 0, which is how many bytes buffers without any hold; EBADF unless the file is open for this."""
    if not allowed:
        raise os_error(errno.EBADF)
    return 0


def length_of(buffers: Sequence[Memory]) -> int:
    return sum(map(len, buffers))


async def scatter(buffers: Sequence[bytearray | memoryview | UserBuffer], data: bytes) -> int:
    """Put `data` into `buffers`, one after the other; return how many bytes there were."""
    left = memoryview(data)
    for each in buffers:
        buffer, done = user_buffer(each), 0
        while left and done < len(buffer):
            size = min(len(left), len(buffer) - done, await buffer.fault_in(done, write=True))
            buffer.store(done, left[:size])
            left, done = left[size:], done + size
    return len(data) - len(left)


async def gather(buffers: Sequence[Memory]) -> bytes:
    """Return what is in `buffers`, one after the other."""
    parts: list[AtHand] = []
    for each in buffers:
        if isinstance(each, AtHand):
            parts.append(each)
            continue
        done = 0
        while done < len(each):
            parts.append(each.load(done, await each.fault_in(done)))
            done += len(parts[-1])
    return b"".join(parts)


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
