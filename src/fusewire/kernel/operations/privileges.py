"""What a file loses when its contents or its owner change: suid, sgid, and capabilities.

Capabilities are an xattr, security.capability, so before every write the daemon is asked whether
there are any, until it has said that it knows no xattrs (GETXATTR: ENOSYS). A daemon that promises
to take all of them off itself (HANDLE_KILLPRIV_V2) is asked once for as long as the attributes
are not refreshed: `no_privileges`.

Source: fs/inode.c, __file_remove_privs; security/commoncap.c, cap_inode_need_killpriv;
fs/attr.c, setattr_should_drop_suidgid.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from fusewire.kernel.operations.xattr import fuse_removexattr, xattr_length
from fusewire.kernel.vfs.changes import Changing, suidgid_to_drop

if TYPE_CHECKING:
    from fusewire.kernel.vfs.inode import Inode

__all__ = ["has_capabilities", "privileges_to_drop", "remove_capabilities"]

CAPABILITIES: Final = b"security.capability"


async def has_capabilities(inode: Inode) -> bool:
    """Whether the program at `inode` has capabilities of its own; no if the daemon does not say."""
    try:
        return await xattr_length(inode, CAPABILITIES) > 0
    except OSError:
        return False


async def remove_capabilities(inode: Inode) -> None:
    """Take a program's capabilities away.

    Raises:
        OSError: what REMOVEXATTR ends in, but for EOPNOTSUPP.
    """
    try:
        await fuse_removexattr(inode, CAPABILITIES)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise


async def privileges_to_drop(inode: Inode) -> int:
    """Return what a change of contents costs: KILL_SUID, KILL_SGID, KILL_PRIV (dentry_needs_remove_privs)."""
    if inode.no_privileges:
        return 0
    what = suidgid_to_drop(inode)
    return what | Changing.KILL_PRIV if await has_capabilities(inode) else what
