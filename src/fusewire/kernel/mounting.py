"""mount(2) and umount(2) of FUSE.

A mount covers a directory of another one, or is the root of all. It is *busy* while anybody uses
anything of it: an open file, a mapping, a process's directory, a mount upon it.

    umount                  EBUSY if it is busy
    umount with MNT_FORCE   aborts the connection first, so that whoever waits for the daemon goes;
                            then the same: it may still be busy
    umount with MNT_DETACH  nobody finds it any more; it ends when the last who uses it is done

The end of a mount: a filesystem on a block device (fuseblk) is sent DESTROY, and waited for; the
connection is aborted, and whatever is unfinished waited for. Nothing is forgotten, request by
request: that the connection is gone tells the daemon to forget it all.

Not modelled: MNT_EXPIRE, remounting, mounts seen at several places, namespaces.

Source: fs/namespace.c, do_umount, umount_tree; fs/fuse/inode.c, fuse_fill_super_common,
fuse_umount_begin, fuse_conn_destroy.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable
from typing import Final

from fusewire.errors import os_error
from fusewire.kernel.connection import Connection
from fusewire.kernel.device import Device
from fusewire.kernel.init import exchange_init, send_init
from fusewire.kernel.operations.flusher import begin_flusher
from fusewire.kernel.profile import LINUX, Profile
from fusewire.kernel.vfs.dentry import Dentry
from fusewire.kernel.vfs.inode import Inode
from fusewire.kernel.vfs.superblock import Options, Superblock
from fusewire.kernel.vfs.system import System
from fusewire.wire import FUSE_KERNEL_MINOR_VERSION, FUSE_ROOT_ID, Attr

__all__ = ["MNT_DETACH", "MNT_FORCE", "UMOUNT_NOFOLLOW", "mount", "mount_synchronously", "umount"]

MNT_FORCE: Final = 0x1  # include/linux/fs.h
MNT_DETACH: Final = 0x2
UMOUNT_NOFOLLOW: Final = 0x8

mounted: Callable[[Superblock], object] | None = None  # called with each mount, before INIT is sent; by tests


def mount(
    system: System,
    device: Device,
    options: Options,
    profile: Profile = LINUX,
    minor: int = FUSE_KERNEL_MINOR_VERSION,
    on: Dentry | None = None,
    connection: Connection | None = None,
) -> Superblock:
    """Mount what the daemon behind `device` serves; INIT is sent, not awaited.

    Args:
        on: where, a directory unless `options.rootmode` says that the root is none; None: at the root of all.

    Raises:
        OSError: ENOTDIR if only one of `on` and the root is a directory; ENOENT if `on` was
            removed; EBUSY if there is a root already; EINVAL if the device has been mounted before.
    """
    superblock = _prepare(system, device, options, profile, minor, on, connection)
    superblock.cover(on)
    send_init(superblock.connection)
    return superblock


async def mount_synchronously(
    system: System,
    device: Device,
    options: Options,
    profile: Profile = LINUX,
    minor: int = FUSE_KERNEL_MINOR_VERSION,
    on: Dentry | None = None,
    connection: Connection | None = None,
) -> Superblock:
    """Do as `mount`, but if the daemon has asked for SYNC_INIT wait for the answer to INIT; nobody finds it before.

    Raises:
        OSError: as `mount`; ENOTCONN if INIT fails, or whoever mounts was killed. Nothing is mounted then.
    """
    if not device.sync_init:
        return mount(system, device, options, profile, minor, on, connection)
    superblock = _prepare(system, device, options, profile, minor, on, connection)
    try:
        await exchange_init(superblock.connection)
        while on is not None and on.mounted is not None:  # somebody was quicker
            on = on.mounted.root
        _check_place(system, options, on)
    except BaseException:
        superblock.abandon()
        raise
    superblock.cover(on)
    return superblock


def _prepare(
    system: System,
    device: Device,
    options: Options,
    profile: Profile,
    minor: int,
    on: Dentry | None,
    connection: Connection | None,
) -> Superblock:
    """Make all of a mount but its place."""
    _check_place(system, options, on)
    connection = connection or Connection(profile, minor, system.clock)
    device.bind(connection)
    superblock = Superblock(system, connection, options, system.new_device())
    connection.superblock = superblock
    superblock.begin_flusher = begin_flusher
    root = Inode(superblock, FUSE_ROOT_ID, 0, Attr(ino=FUSE_ROOT_ID, mode=options.rootmode, nlink=1))
    superblock.inodes[FUSE_ROOT_ID] = root
    superblock.root = Dentry(superblock, None, b"/")
    superblock.root.attach(root)
    if mounted is not None:
        mounted(superblock)
    return superblock


def _check_place(system: System, options: Options, on: Dentry | None) -> None:
    if on is None:
        if system.root is not None:
            raise os_error(errno.EBUSY)
        return
    if on.removed or on.dead:
        raise os_error(errno.ENOENT)
    if on.is_dir != stat.S_ISDIR(options.rootmode):
        raise os_error(errno.ENOTDIR)


async def umount(superblock: Superblock, flags: int = 0) -> None:
    """Unmount; `flags` are MNT_FORCE and MNT_DETACH. Returns when the mount has ended, or been detached.

    Raises:
        OSError: EBUSY if it is in use; EINVAL if it has been unmounted already.
    """
    if flags & MNT_FORCE:
        superblock.connection.abort()
    if superblock.detached:
        raise os_error(errno.EINVAL)
    if flags & MNT_DETACH:
        superblock.detach()
        return
    if superblock.busy:
        raise os_error(errno.EBUSY)
    superblock.uncover()
    await superblock.shut_down()
