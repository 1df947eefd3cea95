"""System calls: readv, writev, preadv, pwritev: several buffers, one after the other, as if they were one.

Source: fs/read_write.c, do_readv, do_preadv, kiocb_set_rw_flags; lib/iov_iter.c.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from fusewire.errors import os_error
from fusewire.kernel.syscalls.base import syscall
from fusewire.kernel.syscalls.held import held
from fusewire.kernel.syscalls.positions import AtHand, Memory, check_seekable, read_at, write_at, write_on
from fusewire.kernel.user_memory import UserBuffer, user_buffer
from fusewire.kernel.vfs.caller import Caller
from fusewire.kernel.vfs.iocb import RWF_APPEND, RWF_DSYNC, RWF_HIPRI, RWF_NOAPPEND, RWF_SYNC, Iocb

if TYPE_CHECKING:
    from fusewire.kernel.vfs.open_file import OpenFile

__all__ = ["Vectors"]

Room: TypeAlias = bytearray | memoryview | UserBuffer

IOV_MAX: Final = 1024  # buffers of one call
READ_FLAGS: Final = RWF_HIPRI | RWF_DSYNC | RWF_SYNC
WRITE_FLAGS: Final = READ_FLAGS | RWF_APPEND | RWF_NOAPPEND
AT_POSITION: Final = -1  # an offset that means the position


class Vectors(Caller):
    """readv, writev, preadv, pwritev."""

    @syscall
    async def readv(self, fd: int, buffers: Sequence[Room]) -> int:
        """Read into `buffers`, one after the other; return how many bytes. Errors as `read`, EFAULT, and EINVAL."""
        return await self._readv(fd, buffers, AT_POSITION, 0)

    @syscall
    async def preadv(self, fd: int, buffers: Sequence[Room], offset: int, flags: int = 0) -> int:
        """Read into `buffers` at `offset`, or from the position on if that is -1.

        Errors as `readv` and `pread`, and EOPNOTSUPP for `flags` (RWF_*) that there are not.
        """
        return await self._readv(fd, buffers, offset, flags)

    async def _readv(self, fd: int, buffers: Sequence[Room], offset: int, flags: int) -> int:
        _check(buffers, offset)
        with held(self, fd) as file:
            if offset != AT_POSITION:
                check_seekable(file)
            size = sum(map(len, buffers))
            if not size:
                return nothing(file.readable)
            check_flags(file.readable, flags, READ_FLAGS)
            if offset == AT_POSITION:
                return await scatter_on(file, size, buffers)
            return await scatter(buffers, await read_at(file, offset, size))

    @syscall
    async def writev(self, fd: int, buffers: Sequence[Memory]) -> int:
        """Write `buffers`, one after the other, as one; return how many bytes. Errors as `write`, and EINVAL."""
        return await self._writev(fd, buffers, AT_POSITION, 0)

    @syscall
    async def pwritev(self, fd: int, buffers: Sequence[Memory], offset: int, flags: int = 0) -> int:
        """Write `buffers` at `offset`, or at the position if that is -1.

        Errors as `writev` and `pwrite`, and EOPNOTSUPP for `flags` (RWF_*) that there are not.
        """
        return await self._writev(fd, buffers, offset, flags)

    async def _writev(self, fd: int, buffers: Sequence[Memory], offset: int, flags: int) -> int:
        _check(buffers, offset)
        with held(self, fd) as file:
            if offset != AT_POSITION:
                check_seekable(file)
            data = await gather(buffers)
            if not data:
                return nothing(file.writable)
            check_flags(file.writable, flags, WRITE_FLAGS)
            if offset == AT_POSITION:
                return await write_on(file, data, flags)
            return await write_at(Iocb(file, offset, flags), data)


def _check(buffers: Sequence[object], offset: int) -> None:
    if offset < AT_POSITION or len(buffers) > IOV_MAX:
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


async def scatter_on(file: OpenFile, size: int, buffers: Sequence[Room]) -> int:
    """Read `size` bytes at the position into `buffers`, and move it as far as they went."""
    if file.stream:
        return await scatter(buffers, await read_at(file, 0, size))
    async with file.position_lock.exclusive():
        count = await scatter(buffers, await read_at(file, file.position, size))
        file.position += count
    return count


async def scatter(buffers: Sequence[Room], data: bytes) -> int:
    """Put `data` into `buffers`, one after the other, as far as there is memory; return how many bytes that were.

    Raises:
        OSError: EFAULT if there is none for the first byte.
    """
    done = 0
    for each in buffers:
        stored, fault = await fill(user_buffer(each), memoryview(data)[done:])
        done += stored
        if fault is not None and done:
            break
        if fault is not None:
            raise fault
    return done


async def fill(buffer: UserBuffer, data: memoryview) -> tuple[int, OSError | None]:
    """Put as much of `data` into `buffer` as it holds; return how many bytes, and the EFAULT before the end."""
    done, room = 0, min(len(buffer), len(data))
    try:
        while done < room:
            size = min(room - done, await buffer.fault_in(done, write=True))
            buffer.store(done, data[done : done + size])
            done += size
    except OSError as error:
        if error.errno != errno.EFAULT:
            raise
        return done, error
    return done, None


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
