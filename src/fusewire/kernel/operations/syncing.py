"""FSYNC, FSYNCDIR and SYNCFS: having the daemon say that what it was told is safe.

First it is told everything: dirty pages, and then times. A WRITE of pages that failed had nobody to
tell; fsync tells who asks, each open file once.

A daemon that answers ENOSYS is not asked again, and the call succeeds.

Source: fs/fuse/file.c, fuse_fsync; fs/fuse/dir.c, fuse_dir_fsync; fs/fuse/inode.c, fuse_sync_fs.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from fusewire.events import named
from fusewire.kernel.operations import writeback
from fusewire.wire import FsyncFlags, FsyncIn, SyncfsIn

if TYPE_CHECKING:
    from fusewire.kernel.vfs.inode import Inode
    from fusewire.kernel.vfs.open_file import OpenFile
    from fusewire.kernel.vfs.superblock import Superblock
    from fusewire.wire import WireStruct

__all__ = ["fuse_fsync", "fuse_syncfs"]


async def fuse_fsync(file: OpenFile, datasync: bool = False, first: int = 0, last: int | None = None) -> None:
    """Write the pages `first` to `last` out, and have the daemon make all safe; with `datasync` not what is only times.

    Raises:
        OSError: EIO if the inode is bad; what a WRITE failed with since this was last asked by
            `file`; otherwise as the daemon says.
    """
    file.inode.check_bad()
    body = FsyncIn(file.fh, FsyncFlags.FUSE_FSYNC_FDATASYNC if datasync else 0)
    if file.inode.is_dir:
        await _fuse_dir_fsync(file.inode, body)
    else:
        await _fuse_fsync(file, body, first, last)


@named("fuse_dir_fsync")
async def _fuse_dir_fsync(inode: Inode, body: FsyncIn) -> None:
    if "FSYNCDIR" in inode.superblock.connection.absent:
        return
    async with inode.rwsem.exclusive():
        await _ask_if_known(inode.superblock, "FSYNCDIR", inode.nodeid, body)


@named("fuse_fsync")
async def _fuse_fsync(file: OpenFile, body: FsyncIn, first: int, last: int | None) -> None:
    inode = file.inode
    async with inode.rwsem.exclusive():
        await writeback.write_before_fsync(file, first, last)
        await _ask_if_known(inode.superblock, "FSYNC", inode.nodeid, body)


@named("fuse_sync_fs")
async def fuse_syncfs(superblock: Superblock) -> None:
    """Write everything on a mount out; only the daemon of a block device is told so (SYNCFS), once it has it all.

    Raises:
        OSError: as the daemon says. Errors of WRITEs are kept for who asks by fsync.
    """
    if superblock.options.read_only:
        return
    await writeback.sync_inodes(superblock)
    if superblock.options.fuseblk:
        await writeback.wait_for_writes(superblock)
        await _ask_if_known(superblock, "SYNCFS", superblock.root_inode.nodeid, SyncfsIn())


async def _ask_if_known(superblock: Superblock, name: str, nodeid: int, body: WireStruct) -> None:
    connection = superblock.connection
    if name in connection.absent:
        return
    try:
        await connection.ask(name, nodeid, body)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        connection.absent.add(name)
