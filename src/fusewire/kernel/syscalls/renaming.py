"""rename(2), whose locks and checks are more than those of all other names together.

    rename mutex        if the directories differ: nobody else moves names between directories
    both directories    alone; the upper one first if one stands below the other
    what is moved       alone; a directory only if its parent changes, for then its `..` does
    what is overwritten alone

Source: fs/namei.c, do_renameat2, lock_rename, vfs_rename.
"""

from __future__ import annotations

import errno
import stat
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

from fusewire.errors import os_error
from fusewire.kernel.operations.lookup import CREATE, EXCL, RENAME_TARGET, lookup_last
from fusewire.kernel.operations.names import fuse_rename
from fusewire.kernel.operations.permission import MAY_WRITE, check_writable, may_create, may_delete, permission
from fusewire.kernel.paths.resolve import Last, Path, parent_of
from fusewire.wire import RenameFlags

if TYPE_CHECKING:
    from fusewire.kernel.vfs.caller import Caller
    from fusewire.kernel.vfs.dentry import Dentry
    from fusewire.kernel.vfs.inode import Inode

__all__ = ["rename"]

NOREPLACE: Final = RenameFlags.RENAME_NOREPLACE
EXCHANGE: Final = RenameFlags.RENAME_EXCHANGE
WHITEOUT: Final = RenameFlags.RENAME_WHITEOUT


async def rename(
    process: Caller, src: Path, dst: Path, flags: int, src_dir_fd: int | None, dst_dir_fd: int | None, intent: int
) -> None:
    """Rename `src` to `dst`; `flags` are RenameFlags.

    Raises:
        OSError: EINVAL for flags that do not exist or exclude each other, and for a directory into
            itself; EXDEV between mounts; EBUSY for `.`, the root and mountpoints; EEXIST with NOREPLACE;
            ENOTDIR, EISDIR, ENOTEMPTY, EACCES, EPERM, EROFS; as the daemon says.
    """
    if flags & ~(NOREPLACE | EXCHANGE | WHITEOUT) or (flags & EXCHANGE and flags & (NOREPLACE | WHITEOUT)):
        raise os_error(errno.EINVAL)
    async with (
        parent_of(process, src, dir_fd=src_dir_fd, intent=intent) as old,
        parent_of(process, dst, dir_fd=dst_dir_fd, intent=intent) as new,
    ):
        if old.parent.superblock is not new.parent.superblock:
            raise os_error(errno.EXDEV)
        if not old.normal:
            raise os_error(errno.EBUSY)
        if not new.normal:
            raise os_error(errno.EEXIST if flags & NOREPLACE else errno.EBUSY)
        check_writable(old.parent.superblock)
        async with AsyncExitStack() as locks:
            trap = await _lock_directories(locks, new.parent, old.parent)
            await _rename_last(old, new, flags, intent, trap)


async def _lock_directories(locks: AsyncExitStack, new: Dentry, old: Dentry) -> Dentry | None:
    """Lock both directories; return what stands in one of them and leads to the other, if anything does.

    Raises:
        OSError: EXDEV if one of them was removed, so that nothing leads from one to the other.
    """
    if new is old:
        await locks.enter_async_context(new.positive.rwsem.exclusive())
        return None
    await locks.enter_async_context(new.superblock.rename_mutex.exclusive())
    first, second = (old, new) if old.leads_to(new) else (new, old)
    await locks.enter_async_context(first.positive.rwsem.exclusive())
    await locks.enter_async_context(second.positive.rwsem.exclusive())
    return _step_towards(first, second)


def _step_towards(above: Dentry, below: Dentry) -> Dentry | None:
    """Return the child of `above` that leads to `below`, or is it; None if none does."""
    dentry = below
    while dentry.parent is not None:
        if dentry.parent is above:
            return dentry
        dentry = dentry.parent
    return None


async def _rename_last(source: Last, target: Last, flags: int, intent: int, trap: Dentry | None) -> None:
    """Look both names up and rename, the directories being locked."""
    wanted = 0 if flags & EXCHANGE else RENAME_TARGET | CREATE
    if flags & NOREPLACE:
        wanted |= EXCL
    old = await lookup_last(source.parent, source.name, intent)
    try:
        new = await lookup_last(target.parent, target.name, intent | wanted)
        try:
            _check_slashes(source, target, old, new, flags)
            if old is trap:
                raise os_error(errno.EINVAL)  # into itself
            if new is trap:
                raise os_error(errno.EINVAL if flags & EXCHANGE else errno.ENOTEMPTY)
            await _vfs_rename(old, new, flags)
        finally:
            new.put()
    finally:
        old.put()


def _check_slashes(source: Last, target: Last, old: Dentry, new: Dentry, flags: int) -> None:
    """Only what is a directory may have a slash after it, or become one."""
    refused = flags & EXCHANGE and not new.is_dir and target.trailing_slash
    if not old.is_dir:
        refused = refused or source.trailing_slash or (not flags & EXCHANGE and target.trailing_slash)
    if refused:
        raise os_error(errno.ENOTDIR)


async def _vfs_rename(old: Dentry, new: Dentry, flags: int) -> None:
    if old.inode is new.inode:  # two names of one file: nothing is done
        return
    await _check_allowed(old, new, flags)
    async with AsyncExitStack() as locks:
        for inode in _to_be_locked(old, new, flags):
            await locks.enter_async_context(inode.rwsem.exclusive())
        if old.mounted is not None or new.mounted is not None:
            raise os_error(errno.EBUSY)
        await fuse_rename(old, new, flags)
        _renamed(old, new, flags)


async def _check_allowed(old: Dentry, new: Dentry, flags: int) -> None:
    assert new.parent is not None
    await may_delete(old, old.is_dir)
    if new.inode is None:
        await may_create(new.parent)
    else:
        await may_delete(new, new.is_dir if flags & EXCHANGE else old.is_dir)
    if old.parent is new.parent:
        return
    if old.is_dir:  # its `..` is changed
        await permission(old.positive, MAY_WRITE)
    if flags & EXCHANGE and new.is_dir:
        await permission(new.positive, MAY_WRITE)


def _to_be_locked(old: Dentry, new: Dentry, flags: int) -> list[Inode]:
    """What is moved and what is overwritten, in the order in which they are locked: directories first."""
    moved = old.parent is not new.parent
    found = []
    if not old.is_dir or moved:
        found.append(old.positive)
    if new.inode is not None and (not new.is_dir or moved or not flags & EXCHANGE):
        found.append(new.inode)
    return sorted(found, key=lambda inode: (not stat.S_ISDIR(inode.mode), 0 if inode.is_dir else inode.nodeid))


def _renamed(old: Dentry, new: Dentry, flags: int) -> None:
    """Move the dentries, the daemon having agreed."""
    assert new.parent is not None
    if flags & EXCHANGE:
        old.exchange(new)
        return
    if new.inode is not None:
        if old.is_dir:
            new.prune()
            new.dead = True
        new.detach_mounts()
    old.move(new.parent, new.name)
