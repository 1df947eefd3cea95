"""Opening what a path has led to, or what was just made there.

What was there before has to be open to the caller; who makes a file may open it whatever its mode
says.

A fifo, a socket or a device is opened by the kernel itself: no such open reaches the daemon. A
socket says ENXIO, as in Linux; a device too, since there is no driver behind it. A fifo opens, but
nothing can be sent through it: it is never written to while it lasts, and has a reader as long as
it is open for reading.

Not modelled: ETXTBSY, append-only and immutable files.

Source: fs/namei.c, do_open, may_open; fs/open.c, do_dentry_open.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final

from fusewire.errors import os_error
from fusewire.kernel.operations.changing import truncate
from fusewire.kernel.operations.opening import fuse_open
from fusewire.kernel.operations.permission import MAY_WRITE, permission
from fusewire.kernel.operations.releasing import put_file
from fusewire.kernel.vfs.credentials import owner_or_capable
from fusewire.kernel.vfs.open_file import OpenFile
from fusewire.wire import OpenFlags

if TYPE_CHECKING:
    from fusewire.kernel.paths.open_flags import Opening
    from fusewire.kernel.vfs.dentry import Dentry
    from fusewire.kernel.vfs.inode import Inode

__all__ = ["admitted", "may_have_made", "open_dentry", "open_found"]

NOT_KEPT: Final = os.O_CREAT | os.O_EXCL | os.O_NOCTTY | os.O_TRUNC  # once the file is open
DEVICES: Final = (stat.S_IFCHR, stat.S_IFBLK)


async def open_found(dentry: Dentry, opening: Opening) -> OpenFile:
    """Open what stood at `dentry` before us.

    Source: fs/namei.c, do_open.
    """
    inode, flags = dentry.inode, opening.flags
    assert inode is not None
    if flags & os.O_CREAT:
        if flags & os.O_EXCL:
            raise os_error(errno.EEXIST)
        if inode.is_dir:
            raise os_error(errno.EISDIR)
    if flags & os.O_DIRECTORY and not inode.is_dir:
        raise os_error(errno.ENOTDIR)
    empties = bool(flags & os.O_TRUNC) and inode.is_regular
    if empties and inode.superblock.options.read_only:
        raise os_error(errno.EROFS)
    await _may_open(inode, opening)
    file = await open_dentry(dentry, flags)
    if empties:
        try:
            await truncate(dentry, 0, file=file, opening=True)
        except BaseException:
            put_file(file)
            raise
    return file


async def _may_open(inode: Inode, opening: Opening) -> None:
    """Check types that are not opened in this way, and permissions (may_open)."""
    kind = stat.S_IFMT(inode.mode)
    if kind == stat.S_IFLNK:
        raise os_error(errno.ELOOP)
    if kind == stat.S_IFDIR and opening.access & MAY_WRITE:
        raise os_error(errno.EISDIR)
    if kind in DEVICES and inode.superblock.options.nodev:
        raise os_error(errno.EACCES)
    await permission(inode, opening.access)
    if opening.flags & os.O_NOATIME and not owner_or_capable(inode):
        raise os_error(errno.EPERM)


async def open_dentry(dentry: Dentry, flags: int) -> OpenFile:
    """Open what `dentry` leads to, which may be done, by the means of its type (do_dentry_open)."""
    inode = dentry.inode
    assert inode is not None
    if not (inode.is_regular or inode.is_dir):
        return _open_special(dentry, inode, flags)
    file = await fuse_open(dentry, flags)
    if flags & os.O_DIRECT and inode.is_dir:
        put_file(file)
        raise os_error(errno.EINVAL)
    return file


def _open_special(dentry: Dentry, inode: Inode, flags: int) -> OpenFile:
    """Open what is the kernel's own affair."""
    if stat.S_IFMT(inode.mode) != stat.S_IFIFO:
        raise os_error(errno.ENXIO)
    if flags & (os.O_ACCMODE | os.O_NONBLOCK) == os.O_WRONLY | os.O_NONBLOCK:
        raise os_error(errno.ENXIO)  # nobody reads
    dentry.get()
    file = OpenFile(dentry, inode, flags & ~NOT_KEPT)
    file.open_flags = OpenFlags.FOPEN_NONSEEKABLE
    return file


async def admitted(file: OpenFile, opening: Opening) -> OpenFile:
    """Return `file`, which was made and opened in one, unless the caller may not open it so.

    Source: fs/namei.c, do_open: the check comes after the fact, as for a file that was there.
    """
    try:
        await may_have_made(file.inode, opening)
    except BaseException:
        put_file(file)
        raise
    return file


async def may_have_made(inode: Inode, opening: Opening) -> None:
    """Check what can still be wrong with a file that was just made: no access is asked for (may_open)."""
    await permission(inode, 0)
    if opening.flags & os.O_NOATIME and not owner_or_capable(inode):
        raise os_error(errno.EPERM)
