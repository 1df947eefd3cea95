"""System calls: locks on files.

`lockf` and `flock` are those of Python's module fcntl; `setlk` and `getlk` are F_SETLK and its kin,
with what lockf does not offer: the locks of open files.

A POSIX lock is of bytes and of a process: closing *any* descriptor of the file gives up all that the
process has on it. A lock of an open file goes with its last descriptor.

Source: fs/locks.c, flock, fcntl_setlk, fcntl_getlk, flock_to_posix_lock.
"""

from __future__ import annotations

import errno
import fcntl
import os
from typing import TYPE_CHECKING, Final

from fusewire.errors import os_error
from fusewire.kernel.operations import file_locking
from fusewire.kernel.syscalls.base import syscall
from fusewire.kernel.vfs.caller import Caller
from fusewire.kernel.vfs.file_locks import TO_THE_END
from fusewire.wire import FileLock

if TYPE_CHECKING:
    from fusewire.kernel.vfs.open_file import OpenFile

__all__ = ["Locking"]

TYPES: Final = {fcntl.LOCK_SH: fcntl.F_RDLCK, fcntl.LOCK_EX: fcntl.F_WRLCK, fcntl.LOCK_UN: fcntl.F_UNLCK}


class Locking(Caller):
    """flock, lockf, and fcntl as far as it locks."""

    @syscall
    async def flock(self, fd: int, operation: int) -> None:
        """Lock all of a file: LOCK_SH, LOCK_EX or LOCK_UN, with LOCK_NB if not to wait.

        Raises:
            OSError: EBADF if `fd` is not open for reading or writing; EINVAL for another operation;
                EAGAIN with LOCK_NB if another has it; otherwise as the daemon says.
        """
        file = self.opened_file(fd)
        kind = TYPES.get(operation & ~fcntl.LOCK_NB)
        if kind is None:
            raise os_error(errno.EINVAL)
        if kind != fcntl.F_UNLCK and not (file.readable or file.writable):
            raise os_error(errno.EBADF)
        await file_locking.flock(self, file, kind, wait=not operation & fcntl.LOCK_NB)

    @syscall
    async def lockf(self, fd: int, cmd: int, len: int = 0, start: int = 0, whence: int = os.SEEK_SET) -> None:
        """Lock `len` bytes (0: to the end) from `start`: LOCK_SH, LOCK_EX or LOCK_UN, with LOCK_NB if not to wait.

        Raises:
            ValueError: another `cmd`.
            OSError: as `setlk`.
        """
        kind = TYPES.get(cmd & ~fcntl.LOCK_NB)
        if kind is None or cmd == fcntl.LOCK_UN | fcntl.LOCK_NB:
            raise ValueError("lockf takes LOCK_UN, or LOCK_SH or LOCK_EX with or without LOCK_NB")
        wait = not cmd & fcntl.LOCK_NB
        await self._set(self.opened_file(fd), kind, start, len, whence, wait=wait, ofd=False)

    @syscall
    async def setlk(
        self,
        fd: int,
        kind: int,
        start: int = 0,
        len: int = 0,
        whence: int = os.SEEK_SET,
        *,
        wait: bool = False,
        ofd: bool = False,
    ) -> None:
        """Lock `len` bytes (0: to the end) from `start`: F_RDLCK, F_WRLCK or F_UNLCK.

        Args:
            wait: until it can be had (F_SETLKW).
            ofd: for the open file, not for the process (F_OFD_SETLK, F_OFD_SETLKW).

        Raises:
            OSError: EBADF if `fd` is not open, or not in the way that the lock is for; EINVAL for
                bytes before the file or another kind; EOVERFLOW; EAGAIN if another has locked some
                of them and `wait` is false; EDEADLK; otherwise as the daemon says.
        """
        await self._set(self.opened_file(fd), kind, start, len, whence, wait=wait, ofd=ofd)

    async def _set(
        self, file: OpenFile, kind: int, start: int, length: int, whence: int, *, wait: bool, ofd: bool
    ) -> None:
        wanted = _bytes_of(file, kind, start, length, whence)
        if (kind == fcntl.F_RDLCK and not file.readable) or (kind == fcntl.F_WRLCK and not file.writable):
            raise os_error(errno.EBADF)
        await file_locking.set_lock(self, file, wanted, wait=wait, ofd=ofd)

    @syscall
    async def getlk(
        self, fd: int, kind: int, start: int = 0, len: int = 0, whence: int = os.SEEK_SET, *, ofd: bool = False
    ) -> FileLock | None:
        """Return a lock that stands in the way of `kind`, F_RDLCK or F_WRLCK, on those bytes; None if it could be had.

        Its `pid` is that of the process that has it, -1 (2**32-1 on the wire) for an open file's.

        Raises:
            OSError: EBADF if `fd` is not open; EINVAL and EOVERFLOW as `setlk`; EIO if the daemon
                answers nonsense; otherwise as it says.
        """
        file = self.opened_file(fd)
        if kind == fcntl.F_UNLCK and not ofd:
            raise os_error(errno.EINVAL)
        found = await file_locking.get_lock(self, file, _bytes_of(file, kind, start, len, whence), ofd)
        return found if found.type != fcntl.F_UNLCK else None


def _bytes_of(file: OpenFile, kind: int, start: int, length: int, whence: int) -> FileLock:
    """Return bytes counted from where `whence` says, and backwards if `length` is negative, as first and last.

    Source: fs/locks.c, flock64_to_posix_lock.
    """
    bases = {os.SEEK_SET: 0, os.SEEK_CUR: file.position, os.SEEK_END: file.inode.size}
    if whence not in bases or kind not in TYPES.values():
        raise os_error(errno.EINVAL)
    first = bases[whence] + start
    if first > TO_THE_END:
        raise os_error(errno.EOVERFLOW)
    if first < 0 or first + min(length, 0) < 0:
        raise os_error(errno.EINVAL)
    if length < 0:
        return FileLock(first + length, first - 1, kind)
    last = first + length - 1 if length else TO_THE_END
    if last > TO_THE_END:
        raise os_error(errno.EOVERFLOW)
    return FileLock(first, last, kind)
