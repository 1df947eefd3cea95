"""Who may use which name of an extended attribute.

    user.*                   who may read or write the file, if that is regular or a directory
    trusted.*                the privileged; to others it does not exist
    security.*               anybody reads; the privileged write
    system.* and the rest    the daemon decides; of names without a namespace, permissions too

Source: fs/xattr.c, xattr_permission; security/commoncap.c, cap_inode_setxattr.
"""

from __future__ import annotations

import errno
import stat
from typing import TYPE_CHECKING, Final

from fusewire.errors import os_error
from fusewire.kernel.operations.permission import MAY_READ, MAY_WRITE, permission
from fusewire.kernel.vfs.credentials import credentials, owner_or_capable

if TYPE_CHECKING:
    from fusewire.kernel.vfs.inode import Inode

__all__ = ["SECURITY", "check_security", "check_xattr_permission"]

SECURITY: Final = b"security."


async def check_xattr_permission(inode: Inode, name: bytes, write: bool) -> None:
    """Check that the caller may read or write `name` of `inode`.

    Raises:
        OSError: EPERM for what he may not write; ENODATA for what he may not see; as `permission`.

    Source: fs/xattr.c, xattr_permission.
    """
    if name.startswith((SECURITY, b"system.")):
        return
    if name.startswith(b"trusted."):
        if not credentials().privileged:
            raise os_error(errno.EPERM if write else errno.ENODATA)
        return
    if name.startswith(b"user."):
        _check_user(inode, write)
    await permission(inode, MAY_WRITE if write else MAY_READ)


def _check_user(inode: Inode, write: bool) -> None:
    """Refuse names of users on what is neither a file nor a directory: there, permissions mean something else."""
    if not inode.is_regular and not inode.is_dir:
        raise os_error(errno.EPERM if write else errno.ENODATA)
    if write and inode.is_dir and inode.mode & stat.S_ISVTX and not owner_or_capable(inode):
        raise os_error(errno.EPERM)


def check_security(name: bytes) -> None:
    """Refuse those without privilege to write names of security modules; errors: EPERM (cap_inode_setxattr)."""
    if name.startswith(SECURITY) and not credentials().privileged:
        raise os_error(errno.EPERM)
