"""POSIX ACLs: read and written as xattrs, and obeyed if both ends have settled on POSIX_ACL.

With POSIX_ACL the kernel checks permissions by them, so it asks for a list when a mode does not
decide (GETXATTR, for at most a page), and remembers it until attributes are asked for or changed.
That of the root directory is never remembered: Linux makes the root before INIT is answered, when
it cannot know yet that it might.
Without it they are xattrs like others: passed on both ways and never remembered, but for being put
into order on the way, since they go through the kernel's own form.

A list that goes to the daemon is sent without the caller's XATTR_CREATE and XATTR_REPLACE. One
that is taken away is taken away even if it never was. What it means for the mode is the daemon's
to work out; so are the lists that a new file gets from its directory: nothing is sent for these,
but the mode as it was asked for, and the umask beside it.

Source: fs/fuse/acl.c; fs/posix_acl.c, vfs_set_acl, vfs_get_acl, do_set_acl.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from fusewire.errors import os_error
from fusewire.events import named
from fusewire.kernel.operations.xattr import fuse_getxattr, fuse_removexattr, fuse_setxattr
from fusewire.kernel.vfs.acl_cache import (
    ACL_ACCESS,
    ACL_DEFAULT,
    Acl,
    AclCache,
    check_acl,
    decode_acl,
    encode_acl,
    grants,
)
from fusewire.kernel.vfs.attr import STATX_BASIC
from fusewire.kernel.vfs.credentials import credentials, owner_or_capable
from fusewire.kernel.vfs.page_cache import PAGE
from fusewire.wire import FUSE_ROOT_ID, InitFlags, SetxattrFlags

if TYPE_CHECKING:
    from fusewire.kernel.vfs.credentials import Credentials
    from fusewire.kernel.vfs.inode import Inode

__all__ = ["ACL_NAMES", "acl_grants", "get_acl", "set_acl"]

ACL_NAMES: Final = (ACL_ACCESS, ACL_DEFAULT)
LARGEST: Final = PAGE  # bytes of a list that is sent or asked for


async def acl_grants(inode: Inode, mask: int, who: Credentials) -> bool | None:
    """Whether the ACL of `inode` grants `mask` (r 4, w 2, x 1) to `who`; None if it has none, so that the mode decides.

    To be asked only if POSIX_ACL was negotiated.

    Raises:
        OSError: what GETXATTR ends in; EIO and EINVAL if what it brings is no list.
    """
    acl = await _list_of(inode, ACL_ACCESS)
    return grants(acl, inode.attr.uid, inode.attr.gid, mask, who) if acl is not None else None


async def get_acl(inode: Inode, name: bytes) -> bytes:
    """Return an ACL as the xattr `name` shows it.

    Raises:
        OSError: EOPNOTSUPP of a symlink; ENODATA if there is none; EIO if the inode is bad; what
            GETXATTR ends in, E2BIG for ERANGE.
    """
    if inode.is_symlink:
        raise os_error(errno.EOPNOTSUPP)
    acl = await _list_of(inode, name)
    if acl is None:
        raise os_error(errno.ENODATA)
    return encode_acl(acl)


async def _list_of(inode: Inode, name: bytes) -> Acl | None:
    """Return what is remembered of a list, or else what the daemon says, and remember it."""
    if inode.nodeid == FUSE_ROOT_ID or not inode.superblock.connection.has(InitFlags.FUSE_POSIX_ACL):
        return await _fetch(inode, name)
    cache = inode.acls
    if cache is None:
        cache = inode.acls = AclCache()
    elif name in cache.lists:
        return cache.lists[name]
    if name in cache.asked:
        return await _fetch(inode, name)
    cache.asked += (name,)
    try:
        acl = await _fetch(inode, name)
    finally:
        cache.asked = tuple(other for other in cache.asked if other != name)
    cache.lists[name] = acl
    return acl


@named("fuse_get_acl")
async def _fetch(inode: Inode, name: bytes) -> Acl | None:
    """Ask for a list; that there are none at all is no error."""
    inode.check_bad()
    absent = inode.superblock.connection.absent
    if "GETXATTR" in absent:
        return None
    try:
        return decode_acl(await fuse_getxattr(inode, name, LARGEST))
    except OSError as error:
        if error.errno == errno.ENODATA or (error.errno == errno.EOPNOTSUPP and "GETXATTR" in absent):
            return None
        if error.errno == errno.ERANGE:
            raise os_error(errno.E2BIG) from None
        raise


async def set_acl(inode: Inode, name: bytes, value: bytes) -> None:
    """Give `inode` the list `value`; an empty one takes it away. The caller holds the inode semaphore.

    Raises:
        OSError: EOPNOTSUPP of a symlink; EACCES for a default list of what is no directory; EPERM if
            the caller does not own the file; EINVAL if the list is not in order; E2BIG if it is too
            long; EIO if the inode is bad; what SETXATTR or REMOVEXATTR ends in.
    """
    acl = decode_acl(value)
    inode.check_bad()
    if inode.is_symlink:
        raise os_error(errno.EOPNOTSUPP)
    if name == ACL_DEFAULT and not inode.is_dir:
        if acl is None:
            return
        raise os_error(errno.EACCES)
    if not owner_or_capable(inode):
        raise os_error(errno.EPERM)
    if acl is not None:
        check_acl(acl)
    await _send(inode, name, acl)


@named("fuse_set_acl")
async def _send(inode: Inode, name: bytes, acl: Acl | None) -> None:
    connection = inode.superblock.connection
    if "SETXATTR" in connection.absent:
        raise os_error(errno.EOPNOTSUPP)
    try:
        if acl is None:
            await _remove(inode, name)
        else:
            await _set(inode, name, encode_acl(acl))
    finally:
        if connection.has(InitFlags.FUSE_POSIX_ACL):
            inode.acls = None
            inode.invalidate(STATX_BASIC)


async def _set(inode: Inode, name: bytes, value: bytes) -> None:
    if len(value) > LARGEST:
        raise os_error(errno.E2BIG)
    who = credentials()
    kills_sgid = not who.privileged and not who.in_group(inode.attr.gid)
    obeyed = inode.superblock.connection.has(InitFlags.FUSE_POSIX_ACL)
    extra = SetxattrFlags.FUSE_SETXATTR_ACL_KILL_SGID if kills_sgid and obeyed else 0
    await fuse_setxattr(inode, name, value, 0, extra)


async def _remove(inode: Inode, name: bytes) -> None:
    try:
        await fuse_removexattr(inode, name)
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise
