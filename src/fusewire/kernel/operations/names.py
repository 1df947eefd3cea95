"""What FUSE does to names: make, remove, rename them, and read what a symlink says.

Whoever calls these holds the directory's semaphore alone, and has looked the name up; all checks
of the VFS are behind him. A success makes the directory's attributes old, and the time of change
of the file. An error that leaves open whether it was done (EINTR), or shows that what we remember
is wrong (ENOENT, EEXIST), has the name looked up anew.

A reply that makes a file must tell a new nodeid and the type that was asked for: else EIO, and the
lookup that it may have granted is never given back.

Source: fs/fuse/dir.c, create_new_entry, fuse_unlink, fuse_rename_common, fuse_link, fuse_get_link.
"""

from __future__ import annotations

import errno
import stat
from typing import TYPE_CHECKING, Final

from fusewire.errors import os_error
from fusewire.events import named
from fusewire.kernel.operations.attributes import settle_pages
from fusewire.kernel.operations.creation import creation_extensions, masked
from fusewire.kernel.operations.entries import directory_changed, iget, place
from fusewire.kernel.operations.times import update_cached_ctime, update_ctime
from fusewire.kernel.vfs.attr import STATX_ATIME, STATX_BASIC, plausible
from fusewire.kernel.vfs.dentry import Dentry
from fusewire.kernel.vfs.inode import Inode
from fusewire.kernel.vfs.page_cache import PAGE, PageCache
from fusewire.wire import (
    FUSE_ROOT_ID,
    NO_EXTENSIONS,
    EntryOut,
    InitFlags,
    LinkIn,
    MkdirIn,
    MknodIn,
    Rename2In,
    RenameFlags,
    RenameIn,
    WireStruct,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "fuse_get_link",
    "fuse_link",
    "fuse_mkdir",
    "fuse_mknod",
    "fuse_rename",
    "fuse_rmdir",
    "fuse_symlink",
    "fuse_unlink",
]

MINOR_OF_RENAME2: Final = 23


# Making.


@named("fuse_mkdir")
async def fuse_mkdir(dentry: Dentry, mode: int) -> None:
    """Make a directory at the negative `dentry`; `mode` are permissions, the umask not yet taken off."""
    mode, umask = masked(dentry.superblock.connection, mode)
    await _create("MKDIR", dentry, MkdirIn(mode, umask), (dentry.name,), stat.S_IFDIR)


@named("fuse_mknod")
async def fuse_mknod(dentry: Dentry, mode: int, rdev: int) -> None:
    """Make a file of any type but directory or symlink; `mode` says which, `rdev` is as stat(2) shows it."""
    mode, umask = masked(dentry.superblock.connection, mode)
    await _create("MKNOD", dentry, MknodIn(mode, rdev, umask), (dentry.name,), mode)


@named("fuse_symlink")
async def fuse_symlink(dentry: Dentry, target: bytes) -> None:
    """Make a symlink that says `target`."""
    await _create("SYMLINK", dentry, None, (dentry.name, target), stat.S_IFLNK)


@named("fuse_link")
async def fuse_link(inode: Inode, dentry: Dentry) -> None:
    """Make the negative `dentry` another name of `inode`, whose semaphore the caller holds too.

    Raises:
        OSError: EPERM if the daemon has no LINK; otherwise as it says.
    """
    absent = dentry.superblock.connection.absent
    if "LINK" in absent:
        raise os_error(errno.EPERM)
    try:
        await _create("LINK", dentry, LinkIn(inode.nodeid), (dentry.name,), inode.mode)
    except OSError as error:
        if error.errno == errno.EINTR:
            inode.invalidate(STATX_BASIC)
        if error.errno != errno.ENOSYS:
            raise
        absent.add("LINK")
        raise os_error(errno.EPERM) from None
    await update_cached_ctime(inode)


async def _create(name: str, dentry: Dentry, body: WireStruct | None, names: Sequence[bytes], mode: int) -> None:
    """Send what makes a file of the type in `mode`, and make `dentry` its name."""
    directory = dentry.directory
    directory.check_bad()
    connection = dentry.superblock.connection
    epoch = connection.epoch
    extensions = NO_EXTENSIONS if name == "LINK" else creation_extensions(directory)
    try:
        reply = await connection.ask(name, directory.nodeid, body, names, extensions=extensions)
    except OSError as error:
        if error.errno == errno.EEXIST:
            dentry.invalidate()
        raise
    entry: EntryOut = reply.structs[0]
    made = stat.S_IFMT(entry.attr.mode) == stat.S_IFMT(mode)
    if not made or entry.nodeid in (0, FUSE_ROOT_ID) or not plausible(entry.attr):
        raise os_error(errno.EIO)
    await _created(dentry, entry, epoch)


async def _created(dentry: Dentry, entry: EntryOut, epoch: int) -> None:
    inode = iget(dentry.superblock, entry, version=0)
    place(dentry, inode, entry, epoch)
    directory_changed(dentry.directory)
    if inode.stale_pages:
        await settle_pages(inode)


# Removing.


@named("fuse_unlink")
async def fuse_unlink(dentry: Dentry) -> None:
    """Remove the name of a file that is no directory."""
    await _remove("UNLINK", dentry)


@named("fuse_rmdir")
async def fuse_rmdir(dentry: Dentry) -> None:
    """Remove a directory, if the daemon finds it empty."""
    await _remove("RMDIR", dentry)


async def _remove(name: str, dentry: Dentry) -> None:
    directory = dentry.directory
    directory.check_bad()
    try:
        await dentry.superblock.connection.ask(name, directory.nodeid, names=(dentry.name,))
    except OSError as error:
        if error.errno in (errno.EINTR, errno.ENOENT):
            dentry.invalidate()
        raise
    directory_changed(directory)
    await _unlinked(dentry)


async def _unlinked(dentry: Dentry) -> None:
    """Note that the file of `dentry` has lost this name (fuse_entry_unlinked)."""
    inode = dentry.inode
    dentry.expire()
    if inode is None:
        return
    inode.bump()
    inode.attr.nlink = 0 if inode.is_dir else max(inode.attr.nlink - 1, 0)
    await update_ctime(inode)


# Renaming.


@named("fuse_rename2")
async def fuse_rename(old: Dentry, new: Dentry, flags: int) -> None:
    """Rename `old` to `new`, which may be negative; `flags` are RenameFlags.

    The dentries stay where they are: moving them is the caller's.

    Raises:
        OSError: EINVAL if there are flags and the daemon knows none; otherwise as it says.
    """
    directory = old.directory
    directory.check_bad()
    connection = old.superblock.connection
    if not flags:
        await _rename("RENAME", old, new, RenameIn(new.directory.nodeid), 0)
        return
    if "RENAME2" in connection.absent or connection.settings.minor < MINOR_OF_RENAME2:
        raise os_error(errno.EINVAL)
    try:
        await _rename("RENAME2", old, new, Rename2In(new.directory.nodeid, flags), flags)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        connection.absent.add("RENAME2")
        raise os_error(errno.EINVAL) from None


async def _rename(name: str, old: Dentry, new: Dentry, body: WireStruct, flags: int) -> None:
    directory = old.directory
    try:
        await old.superblock.connection.ask(name, directory.nodeid, body, (old.name, new.name))
    except OSError as error:
        if error.errno in (errno.EINTR, errno.ENOENT):  # it may have been done
            old.invalidate()
            if new.inode is not None:
                new.invalidate()
        raise
    await update_ctime(old.positive)
    directory_changed(directory)
    if new.directory is not directory:
        directory_changed(new.directory)
    if new.inode is None:
        return
    if flags & RenameFlags.RENAME_EXCHANGE:
        await update_ctime(new.inode)
    else:
        await _unlinked(new)


# Reading a symlink.


@named("fuse_get_link")
async def fuse_get_link(inode: Inode) -> bytes:
    """Return what the symlink `inode` says, up to its first NUL.

    Raises:
        OSError: EIO if the inode is bad; otherwise as the daemon says.
    """
    inode.check_bad()
    if not inode.superblock.connection.has(InitFlags.FUSE_CACHE_SYMLINKS):
        return await _readlink(inode)
    if inode.pages is None:
        inode.pages = PageCache(inode)
    page = inode.pages.get(0)
    if not page.uptodate:
        await page.lock()
        try:
            if not page.uptodate:
                page.data[:] = (await _readlink(inode)).ljust(PAGE, b"\0")
                page.uptodate = True
        finally:
            page.unlock()
    return bytes(page.data).split(b"\0", 1)[0]


async def _readlink(inode: Inode) -> bytes:
    try:
        reply = await inode.superblock.connection.ask("READLINK", inode.nodeid)
    finally:
        if not inode.superblock.options.read_only:
            inode.invalidate(STATX_ATIME)
    return bytes(reply.data).split(b"\0", 1)[0]
