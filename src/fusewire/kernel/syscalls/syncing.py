"""System calls: fsync, fdatasync, syncfs and sync.

Source: fs/sync.c.
"""

from __future__ import annotations

from fusewire.kernel.operations.syncing import fuse_fsync, fuse_syncfs
from fusewire.kernel.syscalls.base import syscall
from fusewire.kernel.syscalls.held import held
from fusewire.kernel.vfs.caller import Caller

__all__ = ["Syncing"]


class Syncing(Caller):
    """fsync, fdatasync, syncfs and sync."""

    @syscall
    async def fsync(self, fd: int) -> None:
        """Have all that was written to a file or directory told to the daemon, and have it make that safe.

        Raises:
            OSError: EBADF; what writing pages failed with since `fd`'s file was last told; EIO; as the daemon says.
        """
        await self._fsync(fd, datasync=False)

    @syscall
    async def fdatasync(self, fd: int) -> None:
        """As `fsync`, but for attributes that are not needed to read the data; errors as there."""
        await self._fsync(fd, datasync=True)

    async def _fsync(self, fd: int, datasync: bool) -> None:
        with held(self, fd) as file:
            await fuse_fsync(file, datasync)

    @syscall
    async def syncfs(self, fd: int) -> None:
        """Have everything of the mount on which `fd` is written out; errors: EBADF, and of SYNCFS."""
        await fuse_syncfs(self.opened_file(fd).inode.superblock)

    @syscall
    async def sync(self) -> None:
        """Have everything of all mounts written out. Raises nothing."""
        for superblock in self.system.superblocks:
            try:
                await fuse_syncfs(superblock)
            except OSError:
                pass  # sync(2) has no way to say so
