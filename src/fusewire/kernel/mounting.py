"""mount(2) and umount(2) of FUSE.

Source: fs/fuse/inode.c, fuse_fill_super_common.
"""

from __future__ import annotations

from fusewire.kernel.connection import Connection
from fusewire.kernel.device import Device
from fusewire.kernel.init import send_init
from fusewire.kernel.profile import LINUX, Profile
from fusewire.kernel.vfs.dentry import Dentry
from fusewire.kernel.vfs.inode import Inode
from fusewire.kernel.vfs.superblock import Options, Superblock
from fusewire.kernel.vfs.system import System
from fusewire.wire import FUSE_KERNEL_MINOR_VERSION, FUSE_ROOT_ID, Attr

__all__ = ["mount"]


def mount(
    system: System,
    device: Device,
    options: Options,
    profile: Profile = LINUX,
    minor: int = FUSE_KERNEL_MINOR_VERSION,
    on: Dentry | None = None,
) -> Superblock:
    """Mount what the daemon behind `device` serves; INIT is sent, not awaited."""
    connection = Connection(profile, minor)
    device.bind(connection)
    superblock = Superblock(system, connection, options, system.new_device())
    connection.superblock = superblock
    root = Inode(superblock, FUSE_ROOT_ID, 0, Attr(ino=FUSE_ROOT_ID, mode=options.rootmode, nlink=1))
    root.references = root.aliases = 1
    superblock.inodes[FUSE_ROOT_ID] = root
    superblock.root = Dentry(superblock, None, b"/", root)
    superblock.covers = on
    if on is None:
        system.root = superblock.root
    else:
        on.mounted = superblock
    system.superblocks.append(superblock)
    send_init(connection)
    return superblock
