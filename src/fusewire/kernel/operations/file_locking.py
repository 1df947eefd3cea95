"""GETLK, SETLK and SETLKW: locks on files, kept by the daemon or by us.

Of a regular file the daemon keeps the POSIX locks if POSIX_LOCKS was negotiated, and those of
flock(2) if FLOCK_LOCKS was; it is then told of each, and we keep none. Otherwise, and of all that
is no regular file, we keep them (vfs/file_locks.py) and the daemon never hears of them.

To the daemon an owner is a number (lock_owner.py): that of a process for POSIX locks, that of the
open file for flock(2) and for the locks of open files (F_OFD_*). It is not told of what a close
unlocks, but FLUSH carries the owner whose POSIX locks go, and RELEASE, once flock(2) was used, that
of the open file.

Waiting for a lock is restarted after a signal, in either case: the daemon gets an INTERRUPT, says
EINTR, and is sent SETLKW again.

Source: fs/fuse/file.c, fuse_file_lock, fuse_file_flock, fuse_setlk.
"""

from __future__ import annotations

import errno
import fcntl
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from fusewire.errors import os_error
from fusewire.events import named
from fusewire.kernel.operations.lock_owner import lock_owner, owner_of_file
from fusewire.kernel.tasks import current
from fusewire.kernel.vfs.file_locks import TO_THE_END, FileLocks, Lock
from fusewire.wire import FileLock, InitFlags, LkIn, LockFlags

if TYPE_CHECKING:
    from fusewire.kernel.vfs.caller import Caller
    from fusewire.kernel.vfs.inode import Inode
    from fusewire.kernel.vfs.open_file import OpenFile

__all__ = ["flock", "get_lock", "set_lock"]

MINOR_OF_FLOCK: Final = 17  # before it POSIX_LOCKS decided of both
NOBODY: Final = 0  # as pid of who unlocks
OF_A_FILE: Final = -1  # as pid of who has locked


def posix_locks_are_remote(inode: Inode) -> bool:
    return inode.is_regular and inode.superblock.connection.has(InitFlags.FUSE_POSIX_LOCKS)


def flocks_are_remote(inode: Inode) -> bool:
    connection = inode.superblock.connection
    flag = InitFlags.FUSE_FLOCK_LOCKS
    if connection.settings.minor < MINOR_OF_FLOCK:
        flag = InitFlags.FUSE_POSIX_LOCKS
    return inode.is_regular and connection.has(flag)


async def get_lock(process: Caller, file: OpenFile, wanted: FileLock, ofd: bool) -> FileLock:
    """Return a lock that stands in the way of `wanted`; if it could be had, `wanted` with F_UNLCK as its type.

    Args:
        ofd: it would be the open file's, not the process's.

    Raises:
        OSError: EIO if the daemon answers nonsense; otherwise as it says.
    """
    if posix_locks_are_remote(file.inode):
        return await _ask_for_lock(process, file, wanted, ofd)
    found = _locks_of(file.inode).find_conflict(_lock(process, file, wanted, ofd))
    if found is None:
        return FileLock(wanted.start, wanted.end, fcntl.F_UNLCK, wanted.pid)
    return FileLock(found.start, found.end, found.type, found.pid)


@named("fuse_getlk")
async def _ask_for_lock(process: Caller, file: OpenFile, wanted: FileLock, ofd: bool) -> FileLock:
    inode = file.inode
    asked = FileLock(wanted.start, wanted.end, wanted.type, NOBODY)
    body = LkIn(file.fh, _owner(process, file, ofd), asked)
    found: FileLock = (await inode.superblock.connection.ask("GETLK", inode.nodeid, body)).structs[0].lk
    if found.type == fcntl.F_UNLCK:
        return FileLock(wanted.start, wanted.end, fcntl.F_UNLCK, wanted.pid)
    if found.type not in (fcntl.F_RDLCK, fcntl.F_WRLCK) or not found.start <= found.end <= TO_THE_END:
        raise os_error(errno.EIO)
    return found


async def set_lock(process: Caller, file: OpenFile, wanted: FileLock, *, wait: bool, ofd: bool) -> None:
    """Lock, or with F_UNLCK unlock, bytes of `file` for the process, or with `ofd` for the open file.

    Raises:
        OSError: EAGAIN if another has locked them and `wait` is false; EDEADLK; otherwise as the daemon says.
    """
    inode = file.inode
    if posix_locks_are_remote(inode):
        await _send(file, _owner(process, file, ofd), _signed(process, wanted), wait=wait)
    elif wanted.type == fcntl.F_UNLCK:
        if inode.locks is not None:
            inode.locks.unlock(file if ofd else process.owner, wanted.start, wanted.end)
    else:
        await _restarting(lambda: _locks_of(inode).lock(_lock(process, file, wanted, ofd), wait))


async def flock(process: Caller, file: OpenFile, kind: int, *, wait: bool) -> None:
    """Lock all of the file for `file`; `kind` is F_RDLCK, F_WRLCK or F_UNLCK.

    Raises:
        OSError: EAGAIN if another has locked it and `wait` is false; otherwise as the daemon says.
    """
    inode = file.inode
    if flocks_are_remote(inode):
        file.flocked = True
        wanted = _signed(process, FileLock(0, TO_THE_END, kind))
        await _send(file, owner_of_file(file), wanted, wait=wait, flags=LockFlags.FUSE_LK_FLOCK)
    elif kind == fcntl.F_UNLCK:
        if inode.locks is not None:
            inode.locks.unlock_file(file)
    else:
        await _restarting(lambda: _locks_of(inode).lock_file(file, kind == fcntl.F_WRLCK, wait))


@named("fuse_setlk")
async def _send(file: OpenFile, owner: int, wanted: FileLock, *, wait: bool, flags: int = 0) -> None:
    inode = file.inode
    body = LkIn(file.fh, owner, wanted, flags)
    connection = inode.superblock.connection
    await _restarting(lambda: connection.ask("SETLKW" if wait else "SETLK", inode.nodeid, body))


ERESTARTSYS: Final = 512  # begin the system call anew if the signal's handler says so (include/linux/errno.h)


async def _restarting(attempt: Callable[[], Awaitable[object]]) -> None:
    """Try again for as long as signals interrupt it that have handlers (ERESTARTSYS, SA_RESTART)."""
    while True:
        try:
            await attempt()
            return
        except InterruptedError as error:
            if not current().signal:  # EINTR is the daemon's own word: nobody makes of it what a signal does
                raise os_error(ERESTARTSYS) from None
            current().take_signals(error)


def _signed(process: Caller, wanted: FileLock) -> FileLock:
    pid = NOBODY if wanted.type == fcntl.F_UNLCK else process.pid
    return FileLock(wanted.start, wanted.end, wanted.type, pid)


def _owner(process: Caller, file: OpenFile, ofd: bool) -> int:
    return owner_of_file(file) if ofd else lock_owner(process.owner, file.inode.superblock.dev)


def _lock(process: Caller, file: OpenFile, wanted: FileLock, ofd: bool) -> Lock:
    owner: object = file if ofd else process.owner
    exclusive = wanted.type == fcntl.F_WRLCK
    return Lock(owner, exclusive, wanted.start, wanted.end, OF_A_FILE if ofd else process.pid)


def _locks_of(inode: Inode) -> FileLocks:
    if inode.locks is None:
        inode.locks = FileLocks(inode)
    return inode.locks
