"""System calls: stat, chmod, chown, truncate, utime, access, statvfs.

What is changed, is changed with the inode semaphore held; a fatal signal ends the wait for it,
but in utime(2), which waits on (fs/open.c, chmod_common; fs/utimes.c, vfs_utimes).
"""

from __future__ import annotations

import copy
import enum
import errno
import os
import stat
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from fusewire.errors import os_error
from fusewire.kernel.operations.attributes import AT_STATX_DONT_SYNC, AT_STATX_FORCE_SYNC, fuse_getattr, fuse_statx
from fusewire.kernel.operations.permission import MAY_WRITE, permission
from fusewire.kernel.operations.setattr import notify_change, truncate
from fusewire.kernel.operations.statfs import fuse_statfs
from fusewire.kernel.syscalls.base import syscall
from fusewire.kernel.syscalls.targets import at, at_fd, at_path, inode_of, writable_inode_of
from fusewire.kernel.tasks import current
from fusewire.kernel.vfs.caller import Caller
from fusewire.kernel.vfs.changes import Change, Changing, sgid_to_drop
from fusewire.kernel.vfs.credentials import Credentials
from fusewire.kernel.vfs.dentry import Dentry
from fusewire.kernel.vfs.inode import STATX_BASIC, STATX_BTIME
from fusewire.kernel.vfs.walk import Path
from fusewire.kernel.waitq import Sleep

__all__ = ["Attributes", "Moment", "StatxResult"]

PERMISSIONS: Final = 0o7777
UNCHANGED: Final = (-1, 0xFFFFFFFF)  # a uid or gid of chown(2)
STATX_RESERVED: Final = 0x80000000
SECOND: Final = 1_000_000_000  # nanoseconds
LARGEST_OFFSET: Final = (1 << 63) - 1


class Moment(enum.Enum):
    """What utime(2) may be told instead of a time."""

    NOW = "UTIME_NOW"
    OMIT = "UTIME_OMIT"  # leave it as it is


@dataclass(frozen=True, slots=True)
class StatxResult:
    """What statx(2) shows. What is not in `mask` is a guess."""

    mask: int  # STATX_*
    attributes: os.stat_result
    btime_ns: int | None  # nanoseconds since 1970 of creation, if the daemon says


class Attributes(Caller):
    """stat, chmod, chown, truncate, utime, access, statvfs."""

    @syscall
    async def stat(
        self, path: Path | int, *, dir_fd: int | None = None, follow_symlinks: bool = True
    ) -> os.stat_result:
        """Return the attributes of a file; times are exact in `st_*_ns`.

        Raises:
            OSError: EACCES, EIO, what the path walk and GETATTR end in; EBADF.
        """
        if isinstance(path, int):
            return await at(self, path, _stat)
        return await at_path(self, path, _stat, follow=follow_symlinks, dir_fd=dir_fd)

    @syscall
    async def lstat(self, path: Path, *, dir_fd: int | None = None) -> os.stat_result:
        """Return the attributes of what is at `path`, a symlink too; errors as `stat`."""
        return await at_path(self, path, _stat, follow=False, dir_fd=dir_fd)

    @syscall
    async def fstat(self, fd: int) -> os.stat_result:
        """Return the attributes of an open file; errors as `stat`."""
        return await at_fd(self, fd, _stat, path_only=True)

    @syscall
    async def statx(
        self,
        path: Path | int,
        mask: int = STATX_BASIC | STATX_BTIME,
        *,
        flags: int = 0,
        dir_fd: int | None = None,
        follow_symlinks: bool = True,
    ) -> StatxResult:
        """Return the attributes in `mask` (STATX_*), with the time of creation if the daemon knows one.

        Args:
            flags: AT_STATX_FORCE_SYNC to ask the daemon in any case, AT_STATX_DONT_SYNC to ask in none.

        Raises:
            OSError: EINVAL for both flags at once, or a mask that is reserved; otherwise as `stat`.
        """
        both = AT_STATX_FORCE_SYNC | AT_STATX_DONT_SYNC
        if mask & STATX_RESERVED or flags & both == both:
            raise os_error(errno.EINVAL)
        operation = partial(_statx, mask=mask, flags=flags)
        return await at(self, path, operation, follow=follow_symlinks, dir_fd=dir_fd)

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

    # access

    @syscall
    async def access(
        self,
        path: Path,
        mode: int,
        *,
        dir_fd: int | None = None,
        effective_ids: bool = False,
        follow_symlinks: bool = True,
    ) -> bool:
        """Return whether the process may use a file as `mode` (os.R_OK, W_OK, X_OK) says; any error means no."""
        try:
            await self._faccessat(path, mode, dir_fd, effective_ids, follow_symlinks)
        except OSError:
            return False
        return True

    @syscall
    async def faccessat(
        self,
        path: Path,
        mode: int,
        *,
        dir_fd: int | None = None,
        effective_ids: bool = False,
        follow_symlinks: bool = True,
    ) -> None:
        """The same, saying why not.

        Raises:
            OSError: EACCES, EROFS; EINVAL for an unknown `mode`; what the path walk and ACCESS end in.
        """
        await self._faccessat(path, mode, dir_fd, effective_ids, follow_symlinks)

    async def _faccessat(
        self, path: Path, mode: int, dir_fd: int | None, effective_ids: bool, follow_symlinks: bool
    ) -> None:
        if mode & ~7:
            raise os_error(errno.EINVAL)
        caller = self if effective_ids else self._with_real_ids()
        task = current()
        task.process = caller
        try:
            await at_path(caller, path, partial(_access, mode=mode), follow=follow_symlinks, dir_fd=dir_fd)
        finally:
            task.process = self

    def _with_real_ids(self) -> Attributes:
        """This process as it would be with its real ids in force: access(2) is for programs that run with suid."""
        who = self.credentials
        if (who.fsuid, who.fsgid) == (who.uid, who.gid):
            return self
        real = copy.copy(self)
        real.credentials = _as_real(who)
        return real

    # statvfs

    @syscall
    async def statvfs(self, path: Path | int) -> os.statvfs_result:
        """Return size and use of the filesystem that `path` is in; errors: what the path walk and STATFS end in."""
        if isinstance(path, int):
            return await at_fd(self, path, _statfs, path_only=True)
        return await at_path(self, path, _statfs)

    @syscall
    async def fstatvfs(self, fd: int) -> os.statvfs_result:
        """Return size and use of the filesystem that an open file is in; errors as `statvfs`."""
        return await at_fd(self, fd, _statfs, path_only=True)


# What they do at a dentry.


def _stat(dentry: Dentry) -> Awaitable[os.stat_result]:
    return fuse_getattr(inode_of(dentry))


async def _statx(dentry: Dentry, mask: int, flags: int) -> StatxResult:
    attributes, btime, told = await fuse_statx(inode_of(dentry), mask, flags)
    return StatxResult(told, attributes, btime)


async def _statfs(dentry: Dentry) -> os.statvfs_result:
    return await fuse_statfs(inode_of(dentry))


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


def _as_real(who: Credentials) -> Credentials:
    return replace(who, fsuid=who.uid, fsgid=who.gid)


async def _access(dentry: Dentry, mode: int) -> None:
    inode = inode_of(dentry)
    if mode & os.X_OK and inode.is_regular and dentry.superblock.options.noexec:
        raise os_error(errno.EACCES)
    await permission(inode, mode, access=True)
