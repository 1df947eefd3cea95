"""Who may do what: the checks before anything is sent.

    the mount       unless allow_other, only its owner may use it, be he root or not
    read only       nothing is written on such a mount: EROFS
    permissions     with default_permissions, the file's mode, owner, group and ACL decide, and what
                    is not known of them is asked for first; otherwise the daemon decides, request by
                    request, and the kernel checks no more than that a program may be executed

Without default_permissions access(2) and chdir(2) ask the daemon (ACCESS); nothing else does, for
a check that is not followed by the deed is all they are.

A refusal by attributes that are old is not final: they are asked for again, once. What was granted
is not asked for again.

Source: fs/fuse/dir.c, fuse_permission, fuse_allow_current_process; fs/namei.c, inode_permission.
"""

from __future__ import annotations

import errno
import stat
from typing import TYPE_CHECKING, Final

from fusewire.errors import os_error
from fusewire.events import named
from fusewire.kernel.operations.acl import acl_grants
from fusewire.kernel.operations.attributes import getattr_now
from fusewire.kernel.vfs.attr import STATX_GID, STATX_MODE, STATX_UID
from fusewire.kernel.vfs.credentials import allowed, credentials
from fusewire.wire import AccessIn, InitFlags

if TYPE_CHECKING:
    from fusewire.kernel.vfs.credentials import Credentials
    from fusewire.kernel.vfs.dentry import Dentry
    from fusewire.kernel.vfs.inode import Inode
    from fusewire.kernel.vfs.superblock import Superblock

__all__ = [
    "MAY_EXEC",
    "MAY_READ",
    "MAY_WRITE",
    "check_sticky",
    "check_writable",
    "may_create",
    "may_delete",
    "may_search_at_once",
    "permission",
]

MAY_EXEC: Final = 1  # for a directory: to look names up
MAY_WRITE: Final = 2
MAY_READ: Final = 4

NEEDED: Final = STATX_MODE | STATX_UID | STATX_GID
WRITTEN_TO: Final = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)  # what lies on the mount itself
NO_ID: Final = 0xFFFFFFFF
ANY_EXEC: Final = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH


async def permission(inode: Inode, mask: int, *, access: bool = False) -> None:
    """Return if the caller may use `inode` as `mask` says (MAY_READ, MAY_WRITE, MAY_EXEC).

    Args:
        access: access(2) or chdir(2) ask, which the daemon is to know of.

    Raises:
        OSError: EROFS to write on a mount that is read only; EIO if the inode is bad; EACCES if
            he may not; what GETATTR or ACCESS ends in.
    """
    superblock = inode.superblock
    if mask & MAY_WRITE and superblock.options.read_only and stat.S_IFMT(inode.mode) in WRITTEN_TO:
        raise os_error(errno.EROFS)
    if mask & MAY_WRITE and nobodys(inode):
        raise os_error(errno.EACCES)
    if inode.bad:
        raise os_error(errno.EIO)
    if not superblock.options.allow_other and not allowed(superblock):
        raise os_error(errno.EACCES)
    if inode.is_symlink:  # FUSE has no check of its own for them: nothing is asked of the daemon
        who = credentials()
        if not _granted(inode, mask, who) and not who.privileged:
            raise os_error(errno.EACCES)
    elif superblock.default_permissions:
        await _by_mode(inode, mask)
    elif access:
        if mask & MAY_EXEC and inode.is_regular and inode.stale(NEEDED):
            await _refresh(inode)
        await _ask(inode, mask)
    elif mask & MAY_EXEC and inode.is_regular:
        await _executable(inode)


def may_search_at_once(directory: Inode) -> bool:
    """Whether the caller may look names up in `directory`, as far as is known without asking the daemon.

    False leaves it to `permission` to find out, or to say why not.
    """
    superblock = directory.superblock
    if not directory.is_dir or directory.bad or not (superblock.options.allow_other or allowed(superblock)):
        return False
    if not superblock.default_permissions:
        return True
    who = credentials()
    return not directory.stale(NEEDED) and _granted(directory, MAY_EXEC, who) and not _has_acl(directory, who)


async def _by_mode(inode: Inode, mask: int) -> None:
    refreshed = inode.stale(NEEDED)
    if refreshed:
        await _refresh(inode)
    who = credentials()
    if _granted(inode, mask, who) and not _has_acl(inode, who):  # as it is nearly always
        return
    if await _granted_at_last(inode, mask, who):
        return
    if not refreshed:
        await _refresh(inode)
        if await _granted_at_last(inode, mask, who):
            return
    raise os_error(errno.EACCES)


async def _executable(inode: Inode) -> None:
    refreshed = inode.stale(NEEDED)
    if refreshed:
        await _refresh(inode)
    if inode.mode & ANY_EXEC:
        return
    if not refreshed:
        await _refresh(inode)
        if inode.mode & ANY_EXEC:
            return
    raise os_error(errno.EACCES)


async def _refresh(inode: Inode) -> None:
    await getattr_now(inode)


@named("fuse_access")
async def _ask(inode: Inode, mask: int) -> None:
    connection = inode.superblock.connection
    if "ACCESS" in connection.absent:
        return
    try:
        await connection.ask("ACCESS", inode.nodeid, AccessIn(mask))
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        connection.absent.add("ACCESS")


def _granted(inode: Inode, mask: int, who: Credentials) -> bool:
    """Whether the mode grants `mask` to somebody without capabilities (acl_permission_check)."""
    mode = inode.mode
    if who.fsuid == inode.attr.uid:
        mode >>= 6
    elif mask & (mode ^ mode >> 3) and who.in_group(inode.attr.gid):
        mode >>= 3
    return not mask & ~mode


def _has_acl(inode: Inode, who: Credentials) -> bool:
    """Whether an ACL may decide, rather than the mode."""
    connection = inode.superblock.connection
    return connection.has(InitFlags.FUSE_POSIX_ACL) and bool(inode.mode & stat.S_IRWXG) and who.fsuid != inode.attr.uid


async def _granted_at_last(inode: Inode, mask: int, who: Credentials) -> bool:
    """Whether mode or ACL grant `mask`, or the caller's capabilities do (generic_permission)."""
    by_mode = _granted(inode, mask, who)  # as it is before the daemon is asked for the ACL
    by_acl = await acl_grants(inode, mask, who) if _has_acl(inode, who) else None
    if by_mode if by_acl is None else by_acl:
        return True
    if not who.privileged or nobodys(inode):
        return False
    return inode.is_dir or not mask & MAY_EXEC or bool(inode.mode & ANY_EXEC)


def nobodys(inode: Inode) -> bool:
    """Whether it belongs to an id that is none: nobody writes to it then, and no capability helps (HAS_UNMAPPED_ID)."""
    return inode.attr.uid == NO_ID or inode.attr.gid == NO_ID


def check_sticky(directory: Inode, victim: Inode) -> None:
    """Refuse to remove `victim` from a directory in which everybody may remove only what is his.

    Raises:
        OSError: EPERM.
    """
    if not directory.mode & stat.S_ISVTX:
        return
    who = credentials()
    if who.fsuid not in (victim.attr.uid, directory.attr.uid) and not who.privileged:
        raise os_error(errno.EPERM)


async def may_create(parent: Dentry) -> None:
    """Return if the caller may make a name in `parent`.

    Raises:
        OSError: ENOENT if the directory was removed; EACCES; as `permission`.
    """
    if parent.dead:
        raise os_error(errno.ENOENT)
    await permission(parent.positive, MAY_WRITE | MAY_EXEC)


async def may_delete(victim: Dentry, directory: bool) -> None:
    """Return if the caller may remove or rename `victim`, which is positive, as a directory or as no directory.

    Raises:
        OSError: EOVERFLOW if it is nobody's; EACCES; EPERM in a sticky directory; ENOTDIR and EISDIR; as `permission`.
    """
    assert victim.parent is not None
    if nobodys(victim.positive):
        raise os_error(errno.EOVERFLOW)
    await permission(victim.directory, MAY_WRITE | MAY_EXEC)
    check_sticky(victim.directory, victim.positive)
    if directory and not victim.is_dir:
        raise os_error(errno.ENOTDIR)
    if not directory and victim.is_dir:
        raise os_error(errno.EISDIR)
    if victim.parent.dead:
        raise os_error(errno.ENOENT)


def check_writable(superblock: Superblock) -> None:
    """Refuse to change a mount that is read only (mnt_want_write).

    Raises:
        OSError: EROFS.
    """
    if superblock.options.read_only:
        raise os_error(errno.EROFS)
