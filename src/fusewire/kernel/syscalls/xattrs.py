"""System calls: getxattr, setxattr, listxattr, removexattr.

Whoever reads does not know how long a value is, so `os` tries a small buffer and then the largest
there may be; so do these, and the daemon sees it. `get_xattr_length` and `list_xattr_length` ask
for the length alone, as getfattr(1) does.

ACLs are xattrs by their names alone: they pass through the kernel's own form (operations/acl.py).
So does what is read of security.capability, whose length is asked for first.

Source: fs/xattr.c, path_setxattrat, do_getxattr; security/commoncap.c, cap_inode_getsecurity.
"""

from __future__ import annotations

import errno
import os
from functools import partial
from typing import Final, TypeAlias

from fusewire.errors import os_error
from fusewire.kernel.operations.acl import ACL_NAMES, get_acl, set_acl
from fusewire.kernel.operations.capabilities import CAPABILITIES, check_capabilities, read_capabilities
from fusewire.kernel.operations.xattr import (
    XATTR_SIZE_MAX,
    fuse_getxattr,
    fuse_listxattr,
    fuse_removexattr,
    fuse_setxattr,
    list_length,
    xattr_length,
)
from fusewire.kernel.paths.resolve import Path
from fusewire.kernel.syscalls.base import syscall
from fusewire.kernel.syscalls.targets import at, inode_of, writable_inode_of
from fusewire.kernel.syscalls.xattr_names import SECURITY, check_security, check_xattr_permission
from fusewire.kernel.vfs.caller import Caller
from fusewire.kernel.vfs.dentry import Dentry
from fusewire.kernel.vfs.inode import Inode

__all__ = ["Xattrs"]

NAME_MAX: Final = 255  # bytes
VALUE_SIZES: Final = (128, XATTR_SIZE_MAX)  # bytes that os.getxattr tries, one after the other
LIST_SIZES: Final = (256, XATTR_SIZE_MAX)
Name: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]


class Xattrs(Caller):
    """getxattr, setxattr, listxattr, removexattr."""

    @syscall
    async def getxattr(
        self, path: Path | int, attribute: Name, *, follow_symlinks: bool = True, size: int | None = None
    ) -> bytes:
        """Return the value of an extended attribute.

        `size`, in bytes, not 0, is that of the buffer; None: of one that is large enough, as in `os`.

        Raises:
            OSError: ENODATA if there is none, or the caller may not see it; EOPNOTSUPP if the daemon
                knows none at all; ERANGE for a name of no or more than 255 bytes, or a value longer
                than `size`; E2BIG for a value of more than 65536; EACCES; what GETXATTR ends in.
        """
        name = _encoded(attribute, path)
        if size is not None:
            return await at(self, path, partial(_get, name=name, size=size), follow=follow_symlinks)
        size, largest = VALUE_SIZES
        try:
            return await at(self, path, partial(_get, name=name, size=size), follow=follow_symlinks)
        except OSError as error:
            if error.errno != errno.ERANGE:
                raise
        return await at(self, path, partial(_get, name=name, size=largest), follow=follow_symlinks)

    @syscall
    async def get_xattr_length(self, path: Path | int, attribute: Name, *, follow_symlinks: bool = True) -> int:
        """Return how long a value is, in bytes, as getxattr(2) says for a buffer of size 0; errors as `getxattr`."""
        return await at(self, path, partial(_length, name=_encoded(attribute, path)), follow=follow_symlinks)

    @syscall
    async def listxattr(
        self, path: Path | int | None = None, *, follow_symlinks: bool = True, size: int | None = None
    ) -> list[str]:
        """Return the names of all extended attributes; `size` as for `getxattr`.

        Raises:
            OSError: EOPNOTSUPP, E2BIG for names of more than 65536 bytes together, ERANGE for more than
                `size`, EIO if the daemon answers nonsense; what LISTXATTR ends in.
        """
        path = "." if path is None else path
        first, largest = (size, size) if size is not None else LIST_SIZES
        try:
            names = await at(self, path, partial(_list, size=first), follow=follow_symlinks)
        except OSError as error:
            if error.errno != errno.ERANGE or first == largest:
                raise
            names = await at(self, path, partial(_list, size=largest), follow=follow_symlinks)
        return [os.fsdecode(name) for name in names.split(b"\0") if name]

    @syscall
    async def list_xattr_length(self, path: Path | int, *, follow_symlinks: bool = True) -> int:
        """Return how long all names are together, in bytes, each with its NUL; errors as `listxattr`."""
        return await at(self, path, _list_length, follow=follow_symlinks)

    @syscall
    async def setxattr(
        self, path: Path | int, attribute: Name, value: bytes, flags: int = 0, *, follow_symlinks: bool = True
    ) -> None:
        """Set an extended attribute; `flags` may say that it must not be there (XATTR_CREATE), or must (XATTR_REPLACE).

        Raises:
            OSError: EINVAL for other flags; ERANGE for a name of no or more than 255 bytes; E2BIG for
                a value of more than 65536; EPERM, EACCES, EROFS, EOPNOTSUPP; what SETXATTR ends in.
        """
        if flags & ~(os.XATTR_CREATE | os.XATTR_REPLACE):
            raise _named(errno.EINVAL, path)
        name = _encoded(attribute, path)
        if len(value) > XATTR_SIZE_MAX:
            raise _named(errno.E2BIG, path)
        operation = partial(_set, name=name, value=bytes(value), flags=flags)
        await at(self, path, operation, follow=follow_symlinks)

    @syscall
    async def removexattr(self, path: Path | int, attribute: Name, *, follow_symlinks: bool = True) -> None:
        """Remove an extended attribute.

        Raises:
            OSError: as `setxattr`; ENODATA if there is none.
        """
        await at(self, path, partial(_remove, name=_encoded(attribute, path)), follow=follow_symlinks)


def _named(code: int, path: Path | int) -> OSError:
    error = os_error(code)
    error.filename = path if isinstance(path, int) else os.fspath(path)
    return error


def _encoded(attribute: Name, path: Path | int) -> bytes:
    name = os.fsencode(attribute)
    if b"\0" in name:
        raise ValueError("embedded null byte")
    if not 0 < len(name) <= NAME_MAX:
        raise _named(errno.ERANGE, path)
    return name


# What they do at a dentry.


async def _get(dentry: Dentry, name: bytes, size: int) -> bytes:
    inode = inode_of(dentry)
    try:
        return await _value(inode, name, size)
    except OSError as error:
        if error.errno == errno.ERANGE and size >= XATTR_SIZE_MAX:
            raise os_error(errno.E2BIG) from None
        raise


async def _value(inode: Inode, name: bytes, size: int) -> bytes:
    if name in ACL_NAMES:
        return _fitting(await get_acl(inode, name), size)
    await check_xattr_permission(inode, name, write=False)
    if name == CAPABILITIES:
        return _fitting(await read_capabilities(inode), size)
    return await fuse_getxattr(inode, name, size)


def _fitting(value: bytes, size: int) -> bytes:
    if len(value) > size:
        raise os_error(errno.ERANGE)
    return value


async def _length(dentry: Dentry, name: bytes) -> int:
    inode = inode_of(dentry)
    if name in ACL_NAMES:
        return len(await get_acl(inode, name))
    await check_xattr_permission(inode, name, write=False)
    if name == CAPABILITIES:
        return len(await read_capabilities(inode))
    return await xattr_length(inode, name)


async def _list(dentry: Dentry, size: int) -> bytes:
    try:
        return await fuse_listxattr(inode_of(dentry), size)
    except OSError as error:
        if error.errno == errno.ERANGE and size >= XATTR_SIZE_MAX:
            raise os_error(errno.E2BIG) from None
        raise


async def _list_length(dentry: Dentry) -> int:
    return await list_length(inode_of(dentry))


async def _set(dentry: Dentry, name: bytes, value: bytes, flags: int) -> None:
    inode = writable_inode_of(dentry)
    if name in ACL_NAMES:
        async with inode.rwsem.exclusive():
            await set_acl(inode, name, value)
        return
    if name == CAPABILITIES and value:
        check_capabilities(value)
    async with inode.rwsem.exclusive():
        await check_xattr_permission(inode, name, write=True)
        check_security(name)
        inode.no_privileges = inode.no_privileges and not name.startswith(SECURITY)
        try:
            await fuse_setxattr(inode, name, value, flags)
        except BlockingIOError:  # of all errors, EAGAIN: to the VFS it means that there are no attributes of this kind
            raise os_error(errno.EOPNOTSUPP) from None


async def _remove(dentry: Dentry, name: bytes) -> None:
    inode = writable_inode_of(dentry)
    async with inode.rwsem.exclusive():
        if name in ACL_NAMES:
            await set_acl(inode, name, b"")
            return
        await check_xattr_permission(inode, name, write=True)
        check_security(name)
        await fuse_removexattr(inode, name)
