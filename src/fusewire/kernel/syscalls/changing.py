"""System calls that change attributes: chmod, chown, utime, truncate.

What is changed, is changed with the inode semaphore held; a fatal signal ends the wait for it,
but in utime(2), which waits on.

Source: fs/open.c, chmod_common, chown_common, do_sys_truncate; fs/utimes.c, vfs_utimes.
"""

from __future__ import annotations

import enum
import errno
import os
import stat
from functools import partial
from typing import Final

from fusewire.errors import os_error
from fusewire.kernel.operations.changing import notify_change, truncate
from fusewire.kernel.operations.permission import MAY_WRITE, permission
from fusewire.kernel.paths.resolve import Path
from fusewire.kernel.syscalls.base import syscall
from fusewire.kernel.syscalls.targets import at, at_fd, at_path, inode_of, writable_inode_of
from fusewire.kernel.vfs.caller import Caller
from fusewire.kernel.vfs.changes import Change, Changing, sgid_to_drop
from fusewire.kernel.vfs.dentry import Dentry
from fusewire.kernel.waitq import Sleep

__all__ = ["Changes", "Moment"]

PERMISSIONS: Final = 0o7777
UNCHANGED: Final = (-1, 0xFFFFFFFF)  # a uid or gid of chown(2)
SECOND: Final = 1_000_000_000  # nanoseconds


class Moment(enum.Enum):
    """What utime(2) may be told instead of a time."""

    NOW = "UTIME_NOW"
    OMIT = "UTIME_OMIT"  # leave it as it is


class Changes(Caller):
    """chmod, chown, utime, truncate."""

    # chmod, chown

    @syscall
    async def chmod(
        self, path: Path | int, mode: int, *, dir_fd: int | None = None, follow_symlinks: bool = True
    ) -> None:
        """Set the permissions of a file.

        Raises:
            OSError: EPERM, EROFS; EOPNOTSUPP for those of a symlink; what SETATTR ends in.
        """
        await at(self, path, partial(_chmod, mode=mode), follow=follow_symlinks, dir_fd=dir_fd)

    @syscall
    async def fchmod(self, fd: int, mode: int) -> None:
        """Set the permissions of an open file; errors as `chmod`."""
        await at_fd(self, fd, partial(_chmod, mode=mode))

    @syscall
    async def chown(
        self, path: Path | int, uid: int, gid: int, *, dir_fd: int | None = None, follow_symlinks: bool = True
    ) -> None:
        """Set owner and group of a file, -1 leaving one as it is. It loses suid, sgid and capabilities.

        Raises:
            OSError: EPERM, EROFS, what GETATTR and SETATTR end in.
        """
        await at(self, path, partial(_chown, uid=uid, gid=gid), follow=follow_symlinks, dir_fd=dir_fd)

    @syscall
    async def lchown(self, path: Path, uid: int, gid: int) -> None:
        """Set owner and group of what is at `path`, a symlink too; as `chown`."""
        await at_path(self, path, partial(_chown, uid=uid, gid=gid), follow=False)

    @syscall
    async def fchown(self, fd: int, uid: int, gid: int) -> None:
        """Set owner and group of an open file; as `chown`."""
        await at_fd(self, fd, partial(_chown, uid=uid, gid=gid))

    # Times.

    @syscall
    async def utime(
        self,
        path: Path | int,
        times: tuple[float, float] | None = None,
        *,
        ns: tuple[int | Moment, int | Moment] | None = None,
        dir_fd: int | None = None,
        follow_symlinks: bool = True,
    ) -> None:
        """Set the times of access and of modification: to `times` in seconds, or `ns` in nanoseconds, or to now.

        Raises:
            OSError: EPERM, EACCES, EROFS, what SETATTR ends in.
            ValueError: both `times` and `ns` were given.
        """
        if times is not None and ns is not None:
            raise ValueError("utime: you may specify either 'times' or 'ns' but not both")
        if times is not None:
            ns = (_nanoseconds(times[0]), _nanoseconds(times[1]))
        if ns == (Moment.OMIT, Moment.OMIT):
            return  # not even the path is looked at
        atime, mtime = ns or (Moment.NOW, Moment.NOW)
        await at(self, path, partial(_utime, atime=atime, mtime=mtime), follow=follow_symlinks, dir_fd=dir_fd)

    # truncate

    @syscall
    async def truncate(self, path: Path | int, length: int) -> None:
        """Make a file `length` bytes long.

        Raises:
            OSError: EINVAL if `length` is negative, or the file is not regular; EISDIR; EACCES, EROFS,
                EFBIG, what SETATTR ends in.
        """
        if isinstance(path, int):
            try:
                return await self._ftruncate(path, length)
            except OSError as error:
                error.filename = path
                raise
        if length < 0:
            raise os_error(errno.EINVAL, os.fspath(path))  # type: ignore[arg-type]
        return await at_path(self, path, partial(_truncate, length=length))

    @syscall
    async def ftruncate(self, fd: int, length: int) -> None:
        """Make an open file `length` bytes long.

        Raises:
            OSError: EINVAL if `length` is negative, or the file is not open for writing or not
                regular; EFBIG, what SETATTR ends in.
        """
        await self._ftruncate(fd, length)

    async def _ftruncate(self, fd: int, length: int) -> None:
        if length < 0:
            raise os_error(errno.EINVAL)
        file = self.opened_file(fd)
        if not file.inode.is_regular or not file.writable:
            raise os_error(errno.EINVAL)
        await at_fd(self, fd, partial(truncate, size=length, file=file))


# What they do at a dentry.


async def _chmod(dentry: Dentry, mode: int) -> None:
    inode = writable_inode_of(dentry)
    async with inode.rwsem.exclusive(Sleep.KILLABLE):
        mode = mode & PERMISSIONS | stat.S_IFMT(inode.mode)
        await notify_change(inode, Change(Changing.MODE | Changing.CTIME, mode=mode), dentry)


async def _chown(dentry: Dentry, uid: int, gid: int) -> None:
    inode = writable_inode_of(dentry)
    change = Change(Changing.CTIME)
    if uid not in UNCHANGED:
        change.what |= Changing.UID
        change.uid = uid
    if gid not in UNCHANGED:
        change.what |= Changing.GID
        change.gid = gid
    async with inode.rwsem.exclusive(Sleep.KILLABLE):
        if not inode.is_dir:
            change.what |= Changing.KILL_SUID | Changing.KILL_PRIV | sgid_to_drop(inode)
        await notify_change(inode, change)


async def _utime(dentry: Dentry, atime: int | Moment, mtime: int | Moment) -> None:
    inode = writable_inode_of(dentry)
    change = Change(Changing.CTIME)
    if atime is not Moment.OMIT:
        change.what |= Changing.ATIME
    if mtime is not Moment.OMIT:
        change.what |= Changing.MTIME
    if isinstance(atime, int):
        change.what |= Changing.ATIME_SET
        change.atime = atime
    if isinstance(mtime, int):
        change.what |= Changing.MTIME_SET
        change.mtime = mtime
    change.what |= Changing.TOUCH if atime is mtime is Moment.NOW else Changing.TIMES_SET
    async with inode.rwsem.exclusive():
        await notify_change(inode, change)


def _nanoseconds(seconds: float) -> int:
    """As `os.utime` understands seconds: what is lost is lost towards the past."""
    whole = int(seconds // 1)
    return whole * SECOND + int((seconds - whole) * SECOND)


async def _truncate(dentry: Dentry, length: int) -> None:
    inode = inode_of(dentry)
    if inode.is_dir:
        raise os_error(errno.EISDIR)
    if not inode.is_regular:
        raise os_error(errno.EINVAL)
    writable_inode_of(dentry)
    await permission(inode, MAY_WRITE)
    await truncate(dentry, length)
