"""Extended attributes: GETXATTR, LISTXATTR, SETXATTR, REMOVEXATTR.

A size of 0 asks how long a value is, any other for the value, if it fits. Nothing of it is kept,
but for ACLs (acl.py). A daemon that answers one of the four with ENOSYS is not asked it again, and
the caller is told EOPNOTSUPP.

Locks: the inode semaphore is held exclusively around SETXATTR and REMOVEXATTR, by the caller.

Source: fs/fuse/xattr.c; fs/xattr.c, xattr_permission; security/commoncap.c, cap_inode_setxattr.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from fusewire.errors import os_error
from fusewire.events import named
from fusewire.kernel.operations.attributes import check_allowed
from fusewire.kernel.operations.times import update_ctime
from fusewire.wire import GetxattrIn, SetxattrIn, WireStruct

if TYPE_CHECKING:
    from fusewire.kernel.vfs.inode import Inode
    from fusewire.wire import Reply

__all__ = [
    "XATTR_SIZE_MAX",
    "fuse_getxattr",
    "fuse_listxattr",
    "fuse_removexattr",
    "fuse_setxattr",
    "list_length",
    "xattr_length",
]

XATTR_SIZE_MAX: Final = 65536  # bytes of a value, and of a list of names


@named("fuse_getxattr")
async def fuse_getxattr(inode: Inode, name: bytes, size: int) -> bytes:
    """Return the value of `name`, which is to be no longer than `size` bytes (not 0).

    Raises:
        OSError: EIO if the inode is bad; EOPNOTSUPP if the daemon knows no xattrs; ENODATA, ERANGE
            and others as it says.
    """
    inode.check_bad()
    reply = await _ask(inode, "GETXATTR", GetxattrIn(size), (name,))
    return bytes(reply.data)


@named("fuse_getxattr")
async def xattr_length(inode: Inode, name: bytes) -> int:
    """Return how long the value of `name` is, in bytes; errors as `fuse_getxattr`."""
    inode.check_bad()
    reply = await _ask(inode, "GETXATTR", GetxattrIn(0), (name,))
    return min(int(reply.structs[0].size), XATTR_SIZE_MAX)


@named("fuse_listxattr")
async def fuse_listxattr(inode: Inode, size: int) -> bytes:
    """Return the names, each ending in NUL, which are to be no longer than `size` bytes (not 0).

    Raises:
        OSError: EACCES if the caller may not use the mount; EIO if the reply is no list of names;
            otherwise as `fuse_getxattr`.
    """
    inode.check_bad()
    check_allowed(inode.superblock)
    reply = await _ask(inode, "LISTXATTR", GetxattrIn(size))
    names = bytes(reply.data)
    if names and (not names.endswith(b"\0") or b"" in names[:-1].split(b"\0")):
        raise os_error(errno.EIO)
    return names


@named("fuse_listxattr")
async def list_length(inode: Inode) -> int:
    """Return how long the list of names is, in bytes; errors as `fuse_listxattr`."""
    inode.check_bad()
    check_allowed(inode.superblock)
    reply = await _ask(inode, "LISTXATTR", GetxattrIn(0))
    return min(int(reply.structs[0].size), XATTR_SIZE_MAX)


@named("fuse_setxattr")
async def fuse_setxattr(inode: Inode, name: bytes, value: bytes, flags: int = 0, extra: int = 0) -> None:
    """Give `name` a value. The caller holds the inode semaphore.

    Args:
        flags: XATTR_CREATE, XATTR_REPLACE.
        extra: SetxattrFlags, which travel only if SETXATTR_EXT was negotiated.

    Raises:
        OSError: EIO if the inode is bad; EOPNOTSUPP if the daemon knows no xattrs; otherwise as it says.
    """
    inode.check_bad()
    await _ask(inode, "SETXATTR", SetxattrIn(len(value), flags, extra), (name,), value)
    await update_ctime(inode)


@named("fuse_removexattr")
async def fuse_removexattr(inode: Inode, name: bytes) -> None:
    """Take `name` away; errors as `fuse_setxattr`. The caller holds the inode semaphore."""
    inode.check_bad()
    await _ask(inode, "REMOVEXATTR", None, (name,))
    await update_ctime(inode)


async def _ask(
    inode: Inode, operation: str, body: WireStruct | None, names: tuple[bytes, ...] = (), data: bytes = b""
) -> Reply:
    connection = inode.superblock.connection
    if operation not in connection.absent:
        try:
            return await connection.ask(operation, inode.nodeid, body, names, data)
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise
            connection.absent.add(operation)
    raise os_error(errno.EOPNOTSUPP)
