"""STATFS: how large a filesystem is, and how full. Nothing is kept, each call asks.

A caller who may not use the mount is told zeros, not EACCES: df(1) is not to fail for him.

Source: fs/fuse/inode.c, fuse_statfs; fs/statfs.c, statfs_by_dentry, calculate_f_flags.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from fusewire.events import named
from fusewire.kernel.vfs.credentials import allowed
from fusewire.wire import Kstatfs

if TYPE_CHECKING:
    from fusewire.kernel.vfs.inode import Inode
    from fusewire.kernel.vfs.superblock import Options

__all__ = ["fuse_statfs"]

NOTHING: Final = Kstatfs()


@named("fuse_statfs")
async def fuse_statfs(inode: Inode) -> os.statvfs_result:
    """Return what statvfs(3) shows of the mount on which `inode` is: sizes in units of `f_frsize` bytes.

    Raises:
        OSError: what STATFS ends in.
    """
    superblock = inode.superblock
    told = NOTHING
    if allowed(superblock):
        reply = await superblock.connection.ask("STATFS", inode.nodeid)
        told = reply.structs[0].st
    return os.statvfs_result(
        (
            told.bsize,
            told.frsize or told.bsize,
            _signed(told.blocks),
            _signed(told.bfree),
            _signed(told.bavail),
            _signed(told.files),
            _signed(told.ffree),
            _signed(told.ffree),  # f_favail, of which FUSE knows nothing
            _flags(superblock.options),
            told.namelen,
            0,  # f_fsid
        )
    )


def _signed(value: int) -> int:
    """As `os.statvfs` understands what the kernel says: as a C long."""
    return value - (1 << 64) if value >> 63 else value


def _flags(options: Options) -> int:
    """What the mount is, as f_flag says it; access times are relative unless mount(2) is told otherwise."""
    flags = os.ST_RELATIME
    for option, flag in (
        (options.read_only, os.ST_RDONLY),
        (options.nosuid, os.ST_NOSUID),
        (options.nodev, os.ST_NODEV),
        (options.noexec, os.ST_NOEXEC),
    ):
        if option:
            flags |= flag
    return flags
