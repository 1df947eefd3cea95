"""System calls: stat, access, statvfs. Those that change attributes stand in changing.py."""

from __future__ import annotations

import copy
import errno
import os
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from fusewire.errors import os_error
from fusewire.kernel.operations.attributes import AT_STATX_DONT_SYNC, AT_STATX_FORCE_SYNC, fuse_getattr, fuse_statx
from fusewire.kernel.operations.permission import permission
from fusewire.kernel.operations.statfs import fuse_statfs
from fusewire.kernel.paths.resolve import Path
from fusewire.kernel.syscalls.base import syscall
from fusewire.kernel.syscalls.targets import at, at_fd, at_path, inode_of
from fusewire.kernel.tasks import current
from fusewire.kernel.vfs.attr import STATX_BASIC, STATX_BTIME
from fusewire.kernel.vfs.caller import Caller
from fusewire.kernel.vfs.credentials import Credentials
from fusewire.kernel.vfs.dentry import Dentry

__all__ = ["Attributes", "StatxResult"]

STATX_RESERVED: Final = 0x80000000
LARGEST_OFFSET: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class StatxResult:
    """What statx(2) shows. What is not in `mask` is a guess."""

    mask: int  # STATX_*
    attributes: os.stat_result
    btime_ns: int | None  # nanoseconds since 1970 of creation, if the daemon says


class Attributes(Caller):
    """stat, access, statvfs."""

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

    # May it be used?

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

    # How large and how full the filesystem is.

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


def _as_real(who: Credentials) -> Credentials:
    return replace(who, fsuid=who.uid, fsgid=who.gid)


async def _access(dentry: Dentry, mode: int) -> None:
    inode = inode_of(dentry)
    if mode & os.X_OK and inode.is_regular and dentry.superblock.options.noexec:
        raise os_error(errno.EACCES)
    await permission(inode, mode, access=True)
