"""Changing a file's attributes: what the VFS does before FUSE is asked to.

A change is completed: times that are to be now get their value, what loses suid and sgid becomes a
change of mode. Then fuse_setattr sends it (setattr.py). Whoever writes to a file, or makes it
shorter, first takes from it what that costs (privileges.py).

Locks: the inode semaphore is the caller's, exclusively, but that of `truncate`, which takes it.

Source: fs/attr.c, notify_change; fs/open.c, do_truncate; fs/inode.c, file_remove_privs.
"""

from __future__ import annotations

import errno
import stat
from typing import TYPE_CHECKING, Final

from fusewire.errors import os_error
from fusewire.kernel.operations.permission import MAY_WRITE, permission
from fusewire.kernel.operations.privileges import has_capabilities, privileges_to_drop
from fusewire.kernel.operations.setattr import KILL_SUIDGID, fuse_setattr
from fusewire.kernel.vfs.changes import Change, Changing, lends_ids
from fusewire.kernel.vfs.credentials import owner_or_capable
from fusewire.kernel.waitq import Sleep
from fusewire.wire import InitFlags

if TYPE_CHECKING:
    from fusewire.kernel.vfs.dentry import Dentry
    from fusewire.kernel.vfs.inode import Inode
    from fusewire.kernel.vfs.open_file import OpenFile

__all__ = ["notify_change", "remove_privileges", "truncate"]

SUID_OR_SGID: Final = stat.S_ISUID | stat.S_ISGID


async def truncate(dentry: Dentry, size: int, *, file: OpenFile | None = None, opening: bool = False) -> None:
    """Make the regular file at `dentry` `size` bytes long, having taken the privileges away that this costs it.

    Args:
        file: by which ftruncate(2), or open(2) with O_TRUNC, does so; None of truncate(2).
        opening: it is open(2). The daemon is then asked only if OPEN has not done it already.

    Raises:
        OSError: EINTR if a fatal signal came before the inode semaphore; as `notify_change`.

    Source: fs/open.c, do_truncate.
    """
    inode = dentry.inode
    assert inode is not None
    change = Change(Changing.SIZE, size=size, file=file)
    if file is not None:
        change.what |= Changing.FILE | Changing.MTIME | Changing.CTIME
    if opening:
        change.what |= Changing.OPEN
    privileges = await privileges_to_drop(inode)
    if privileges:
        change.what |= privileges | Changing.FORCE
    async with inode.rwsem.exclusive(Sleep.KILLABLE):
        await notify_change(inode, change)


async def remove_privileges(inode: Inode) -> None:
    """Take from a file, about to be written to, what a write costs it. The caller holds the inode semaphore.

    Raises:
        OSError: what GETATTR, SETATTR or REMOVEXATTR end in.

    Source: fs/inode.c, file_remove_privs.
    """
    if inode.no_privileges or not inode.is_regular:
        return
    privileges = await privileges_to_drop(inode)
    if privileges:
        await notify_change(inode, Change(Changing.FORCE | privileges))
    if inode.superblock.connection.has(InitFlags.FUSE_HANDLE_KILLPRIV_V2) and not inode.mode & SUID_OR_SGID:
        inode.no_privileges = True


async def notify_change(inode: Inode, change: Change, dentry: Dentry | None = None) -> None:
    """Make `change`, if its caller may; it is completed. The caller holds the inode semaphore.

    Args:
        dentry: by which a directory was found.

    Raises:
        OSError: EOPNOTSUPP for the mode of a symlink; as `fuse_setattr`.
    """
    await _check_touch(inode, change)
    if change.what & Changing.MODE:
        if inode.is_symlink:
            raise os_error(errno.EOPNOTSUPP)
        if lends_ids(change.mode):
            inode.no_privileges = False  # even if the change is refused after all
    _set_times(inode, change)
    if change.what & Changing.KILL_PRIV and not await has_capabilities(inode):
        change.what &= ~Changing.KILL_PRIV
    _kill_in_mode(inode, change)
    if change.what & ~KILL_SUIDGID:
        await fuse_setattr(inode, change, dentry)


async def _check_touch(inode: Inode, change: Change) -> None:
    """Check that the caller may set the times to now: the owner may, and whoever may write.

    Raises:
        OSError: as `permission`.
    """
    if change.what & Changing.TOUCH and not owner_or_capable(inode):
        await permission(inode, MAY_WRITE)


def _set_times(inode: Inode, change: Change) -> None:
    superblock = inode.superblock
    gran = superblock.connection.settings.time_gran
    now = superblock.system.clock.wall()
    atime = change.atime if change.what & Changing.ATIME_SET else now
    mtime = change.mtime if change.what & Changing.MTIME_SET else now
    change.atime, change.mtime, change.ctime = atime - atime % gran, mtime - mtime % gran, now - now % gran


def _kill_in_mode(inode: Inode, change: Change) -> None:
    """Say what loses suid and sgid as a change of mode, too, as far as we know of the mode."""
    mode = inode.mode
    if change.what & Changing.KILL_SUID and mode & stat.S_ISUID:
        change.what |= Changing.MODE
        change.mode = mode & ~stat.S_ISUID
    if change.what & Changing.KILL_SGID and mode & stat.S_ISGID:
        if not change.what & Changing.MODE:
            change.what |= Changing.MODE
            change.mode = mode
        change.mode &= ~stat.S_ISGID
