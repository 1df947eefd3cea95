"""IOCTL: commands that only the daemon understands.

A daemon sees no memory of its caller's, so the kernel copies for it, and goes by the number of the
command to know how much: it says whether data is read, written or both, and how many bytes.
(A daemon that wants more asks for a RETRY; that is for CUSE alone, and EIO here.)

Attributes like those of chattr(1) are the kernel's own: it opens the file anew, asks by IOCTL, and
closes it again, whatever descriptor there is. To change them it first asks for the present ones.

Source: fs/fuse/ioctl.c.
"""

from __future__ import annotations

import errno
import os
import struct
from typing import TYPE_CHECKING, Final

from fusewire.errors import os_error
from fusewire.events import named
from fusewire.kernel.operations.attributes import check_allowed
from fusewire.kernel.operations.opening import open_inode
from fusewire.kernel.operations.releasing import put_file
from fusewire.wire import IoctlFlags, IoctlIn, IoctlOut, OutHeader

if TYPE_CHECKING:
    from fusewire.kernel.vfs.dentry import Dentry
    from fusewire.kernel.vfs.inode import Inode
    from fusewire.kernel.vfs.open_file import OpenFile

__all__ = ["READS", "WRITES", "fuse_ioctl", "get_file_attributes", "set_file_attributes", "size_of"]

PAGE: Final = 4096  # bytes
LARGEST_ERROR: Final = 4095
WRITES: Final = 1 << 30  # _IOC_WRITE: data goes to the daemon
READS: Final = 2 << 30  # _IOC_READ: data comes from it
SIZE_BITS: Final = 0x3FFF
MINOR_OF_DIRECTORIES: Final = 18

# include/uapi/linux/fs.h
FS_IOC_GETFLAGS: Final = 0x80086601
FS_IOC_SETFLAGS: Final = 0x40086602
FS_IOC_FSGETXATTR: Final = 0x801C581F
FS_IOC_FSSETXATTR: Final = 0x401C5820
FLAGS: Final = struct.Struct("=I")
FSXATTR: Final = struct.Struct("=5I8x")  # struct fsxattr

LENGTHS: Final = {  # of what travels, where the number of the command does not say it
    FS_IOC_GETFLAGS: FLAGS.size,
    FS_IOC_SETFLAGS: FLAGS.size,
}


def size_of(cmd: int) -> int:
    """Return the bytes that `cmd` says it moves (_IOC_SIZE)."""
    return cmd >> 16 & SIZE_BITS


@named("fuse_do_ioctl")
async def fuse_ioctl(file: OpenFile, cmd: int, arg: int, data: bytes) -> tuple[int, bytes]:
    """Send `cmd` with `data`; return what ioctl(2) returns, and the bytes that it gives, as many as the daemon said.

    Args:
        arg: what the program gave, a number or the address of its data.

    Raises:
        OSError: ENOTTY if the daemon does not know `cmd`, or may not be asked of a directory; ENOMEM
            if it moves more than a request can; EACCES if the caller may not use the mount; EIO
            if the inode is bad or the daemon answers nonsense; otherwise as it says.
    """
    inode = file.inode
    connection = inode.superblock.connection
    if inode.is_dir and connection.settings.minor < MINOR_OF_DIRECTORIES:
        raise os_error(errno.ENOTTY)
    check_allowed(inode.superblock)
    inode.check_bad()
    room = size_of(cmd) if cmd & READS else 0
    if max(len(data), room, PAGE) > connection.settings.max_pages * PAGE:
        raise os_error(errno.ENOMEM)
    out, got = await _ask(file, cmd, arg, data, room)
    if out.flags & IoctlFlags.FUSE_IOCTL_RETRY or len(got) > room:
        raise os_error(errno.EIO)
    return out.result, got


async def _ask(
    file: OpenFile, cmd: int, arg: int, data: bytes, room: int, exact: bool = False
) -> tuple[IoctlOut, bytes]:
    """Send IOCTL; with `exact` the reply has `room` bytes of data, or is none (fuse_priv_ioctl)."""
    inode = file.inode
    flags = IoctlFlags.FUSE_IOCTL_DIR if inode.is_dir else 0
    body = IoctlIn(file.fh, flags, cmd, arg, len(data), room)
    try:
        length = OutHeader.SIZE + IoctlOut.SIZE + room if exact else None
        reply = await inode.superblock.connection.ask("IOCTL", inode.nodeid, body, data=data, reply_length=length)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        raise os_error(errno.ENOTTY) from None
    out: IoctlOut = reply.structs[0]
    if out.result == -errno.ENOSYS:
        out.result = -errno.ENOTTY
    return out, bytes(reply.data)


# Attributes like those of chattr(1).


async def get_file_attributes(dentry: Dentry, cmd: int) -> bytes:
    """Return what FS_IOC_GETFLAGS (4 bytes) or FS_IOC_FSGETXATTR (28 bytes) gives.

    Raises:
        OSError: ENOTTY if it is neither file nor directory; otherwise as OPEN, OPENDIR and `fuse_ioctl`.
    """
    return await _ask_anew(dentry, cmd, b"")


async def set_file_attributes(dentry: Dentry, cmd: int, data: bytes) -> None:
    """Do FS_IOC_SETFLAGS or FS_IOC_FSSETXATTR. The caller holds the inode semaphore.

    Raises:
        OSError: as `get_file_attributes`.
    """
    await _ask_anew(dentry, FS_IOC_FSGETXATTR, b"")
    await _ask_anew(dentry, cmd, data[: LENGTHS.get(cmd, size_of(cmd))])


@named("fuse_priv_ioctl")
async def _ask_anew(dentry: Dentry, cmd: int, data: bytes) -> bytes:
    """Open the file for one command, and close it (fuse_priv_ioctl)."""
    inode = _file_or_directory(dentry)
    check_allowed(inode.superblock)
    inode.check_bad()
    file = await open_inode(dentry, os.O_RDONLY)
    try:
        room = LENGTHS.get(cmd, size_of(cmd)) if cmd & READS else 0
        out, got = await _ask(file, cmd, 0, data, room, exact=True)
    finally:
        put_file(file)
    if out.result < 0:
        raise os_error(-out.result if out.result >= -LARGEST_ERROR else errno.EIO)
    if out.flags & IoctlFlags.FUSE_IOCTL_RETRY or len(got) != room:
        raise os_error(errno.EIO)
    return got


def _file_or_directory(dentry: Dentry) -> Inode:
    inode = dentry.inode
    if inode is None or not (inode.is_regular or inode.is_dir):
        raise os_error(errno.ENOTTY)
    return inode
