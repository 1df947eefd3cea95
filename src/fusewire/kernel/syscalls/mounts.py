"""System calls: mounting a filesystem on a directory of another, and unmounting it.

Only root may. What they do stands in mounting.py.

Source: fs/namespace.c, path_umount, can_umount.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from fusewire.errors import os_error
from fusewire.kernel.mounting import MNT_DETACH, MNT_FORCE, UMOUNT_NOFOLLOW, mount_synchronously, umount
from fusewire.kernel.paths.resolve import Path, filename_of, resolve
from fusewire.kernel.profile import LINUX, Profile
from fusewire.kernel.syscalls.base import syscall
from fusewire.kernel.vfs.caller import Caller
from fusewire.kernel.vfs.superblock import Options, Superblock
from fusewire.wire import FUSE_KERNEL_MINOR_VERSION

if TYPE_CHECKING:
    from fusewire.kernel.connection import Connection
    from fusewire.kernel.device import Device

__all__ = ["Mounts"]

FLAGS: Final = MNT_FORCE | MNT_DETACH | UMOUNT_NOFOLLOW


class Mounts(Caller):
    """Mounting and unmounting."""

    @syscall
    async def mount(
        self,
        device: Device,
        target: Path,
        options: Options | None = None,
        *,
        profile: Profile = LINUX,
        minor: int = FUSE_KERNEL_MINOR_VERSION,
        connection: Connection | None = None,
    ) -> Superblock:
        """Mount at `target` what the daemon behind `device` serves; INIT is awaited if the daemon wants that.

        Raises:
            OSError: EPERM unless root asks; ENOTDIR if only one of `target` and the root is a directory; ENOTCONN
                if INIT was awaited, and failed.
        """
        self._may_mount()
        async with resolve(self, target) as dentry:
            options = options or Options()
            return await mount_synchronously(self.system, device, options, profile, minor, dentry, connection)

    @syscall
    async def umount(self, target: Path, flags: int = 0) -> None:
        """Unmount what is mounted at `target`; `flags` are MNT_FORCE, MNT_DETACH, UMOUNT_NOFOLLOW.

        Raises:
            OSError: EINVAL if nothing is mounted there, or for other flags; EPERM unless root asks; EBUSY if it is
                in use and not to be detached.
        """
        try:
            if flags & ~FLAGS:
                raise os_error(errno.EINVAL)
            superblock = await self._mounted_at(target, follow=not flags & UMOUNT_NOFOLLOW)
            await umount(superblock, flags)
        except OSError as error:
            error.filename = filename_of(target)
            raise

    async def _mounted_at(self, target: Path, follow: bool) -> Superblock:
        async with resolve(self, target, follow=follow) as dentry:
            self._may_mount()
            if dentry.parent is not None:
                raise os_error(errno.EINVAL)
            return dentry.superblock

    def _may_mount(self) -> None:
        if not self.credentials.privileged:
            raise os_error(errno.EPERM)
