"""BMAP: where on its device a block of a file stands. Only a filesystem on a block device is asked.

Source: fs/fuse/file.c, fuse_bmap.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from fusewire.events import named
from fusewire.wire import BmapIn

if TYPE_CHECKING:
    from fusewire.kernel.vfs.inode import Inode

__all__ = ["fuse_bmap"]


@named("fuse_bmap")
async def fuse_bmap(inode: Inode, block: int) -> int:
    """Return the device's number of the file's `block`; 0 if it has none, or the daemon cannot say."""
    options, connection = inode.superblock.options, inode.superblock.connection
    if not options.fuseblk or "BMAP" in connection.absent:
        return 0
    try:
        reply = await connection.ask("BMAP", inode.nodeid, BmapIn(block, options.blksize))
    except OSError as error:
        if error.errno == errno.ENOSYS:
            connection.absent.add("BMAP")
        return 0
    found: int = reply.structs[0].block
    return found
