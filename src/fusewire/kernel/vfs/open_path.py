"""open(2): from a path and flags to an open file.

    check the flags -> walk to the directory -> find or make the last name -> may it be opened? -> OPEN -> truncate

Who may create holds the directory's lock exclusively while the name is looked up, so that nobody
else makes it meanwhile; what is found is opened without any lock. CREATE makes and opens at once,
and whoever makes a file may open it whatever its mode says.

A fifo, a socket or a device is opened by the kernel itself: no such open reaches the daemon. A
socket says ENXIO, as in Linux; a device too, since there is no driver behind it. A fifo opens, but
nothing can be sent through it: it is never written to while it lasts, and has a reader as long as
it is open for reading.

Not modelled: ETXTBSY, append-only and immutable files, fs.protected_regular and fs.protected_fifos.

Source: fs/open.c, build_open_flags, do_dentry_open; fs/namei.c, path_openat, lookup_open, do_open.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final

from fusewire.errors import os_error
from fusewire.kernel.operations.lookup import CREATE, EXCL, REVAL, lookup_held, remembered
from fusewire.kernel.operations.names import fuse_mknod
from fusewire.kernel.operations.opening import fuse_create, fuse_open, fuse_tmpfile
from fusewire.kernel.operations.permission import MAY_EXEC, MAY_READ, MAY_WRITE, permission
from fusewire.kernel.operations.releasing import put_file
from fusewire.kernel.operations.setattr import truncate
from fusewire.kernel.vfs.changes import strip_sgid
from fusewire.kernel.vfs.credentials import owner_or_capable
from fusewire.kernel.vfs.dentry import Dentry
from fusewire.kernel.vfs.open_file import O_LARGEFILE, OpenFile
from fusewire.kernel.vfs.walk import Path, Walk, is_stale, parent_of, resolve, topmost
from fusewire.wire import OpenFlags

if TYPE_CHECKING:
    from fusewire.kernel.vfs.caller import Caller
    from fusewire.kernel.vfs.inode import Inode

__all__ = ["Opening", "open_path"]

KNOWN: Final = (
    os.O_ACCMODE
    | os.O_CREAT
    | os.O_EXCL
    | os.O_NOCTTY
    | os.O_TRUNC
    | os.O_APPEND
    | os.O_NONBLOCK
    | os.O_SYNC
    | os.O_DSYNC
    | os.O_ASYNC
    | os.O_DIRECT
    | os.O_DIRECTORY
    | os.O_NOFOLLOW
    | os.O_NOATIME
    | os.O_PATH
    | os.O_TMPFILE
)
MUST_BE_NEW: Final = os.O_CREAT | os.O_EXCL
ROOT: Final = b"/"
NO_NAMES: Final = (b".", b"..", ROOT)
NO_NAME: Final = b"/"  # of a file made by O_TMPFILE
WITH_PATH: Final = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_PATH
UNNAMED: Final = os.O_TMPFILE & ~os.O_DIRECTORY  # the bit that O_TMPFILE has to itself
NOT_KEPT: Final = os.O_CREAT | os.O_EXCL | os.O_NOCTTY | os.O_TRUNC  # once the file is open
BOTH: Final = MAY_READ | MAY_WRITE
ACCESS: Final = (MAY_READ, MAY_WRITE, BOTH, BOTH)  # by O_RDONLY, O_WRONLY, O_RDWR, and 3, which is for ioctl alone
PERMISSIONS: Final = 0o7777
DEVICES: Final = (stat.S_IFCHR, stat.S_IFBLK)


class Opening:
    """What open(2) was told, checked and completed."""

    __slots__ = ("access", "flags", "mode")

    def __init__(self, flags: int, mode: int) -> None:
        """Raises OSError: EINVAL for flags that contradict each other."""
        flags &= KNOWN
        if flags & os.O_PATH:
            flags &= WITH_PATH
        if flags & os.O_DIRECTORY and flags & os.O_CREAT:
            raise os_error(errno.EINVAL)
        self.access = 0 if flags & os.O_PATH else ACCESS[flags & os.O_ACCMODE]
        if flags & UNNAMED and not (flags & os.O_DIRECTORY and self.access & MAY_WRITE):
            raise os_error(errno.EINVAL)
        if flags & (os.O_SYNC & ~os.O_DSYNC):
            flags |= os.O_DSYNC
        if flags & os.O_TRUNC:
            self.access |= MAY_WRITE
        self.flags = flags if flags & os.O_PATH else flags | O_LARGEFILE
        self.mode = mode & PERMISSIONS

    @property
    def unnamed(self) -> bool:
        return bool(self.flags & UNNAMED)

    @property
    def follow(self) -> bool:
        """Whether a symlink at the end leads on."""
        return not self.flags & os.O_NOFOLLOW and self.flags & MUST_BE_NEW != MUST_BE_NEW


async def open_path(process: Caller, path: Path, opening: Opening, dir_fd: int | None = None) -> OpenFile:
    """Open what `path` leads to, as `opening` says; the caller has the only reference.

    Raises:
        OSError: as open(2), with `path` as its `filename`.
    """
    if opening.flags & os.O_CREAT:
        return await _open_or_make(process, path, opening, dir_fd)
    directory = bool(opening.flags & os.O_DIRECTORY)
    async with resolve(process, path, follow=opening.follow, dir_fd=dir_fd, directory=directory) as dentry:
        if opening.unnamed:
            return await _make_unnamed(dentry, opening)
        if opening.flags & os.O_PATH:
            assert dentry.inode is not None
            return OpenFile(dentry.get(), dentry.inode, opening.flags)
        return await _open_found(dentry, opening)


# What may have to be made.


async def _open_or_make(process: Caller, path: Path, opening: Opening, dir_fd: int | None) -> OpenFile:
    try:
        return await _walk_and_open(process, path, opening, dir_fd, 0)
    except OSError as error:
        if not is_stale(error):
            raise
        return await _walk_and_open(process, path, opening, dir_fd, REVAL)


async def _walk_and_open(process: Caller, path: Path, opening: Opening, dir_fd: int | None, intent: int) -> OpenFile:
    on_path = parent_of(process, path, dir_fd=dir_fd, intent=intent)
    async with on_path as last:
        return await _open_last(on_path.walk, last.name, last.trailing_slash, opening)


async def _open_last(walk: Walk, name: bytes, slash: bool, opening: Opening) -> OpenFile:
    """Open or make `name` in the directory where `walk` is, following symlinks from there."""
    while name not in NO_NAMES:
        if slash:
            raise os_error(errno.EISDIR)
        found = await _find_or_make(walk.dentry, name, opening)
        if isinstance(found, OpenFile):
            return found
        found = topmost(found)
        try:
            if not (found.inode is not None and found.inode.is_symlink and opening.follow):
                return await _open_found(found, opening)
            target = await walk.target(found, trailing=True)
        finally:
            found.put()
        if target.startswith(b"/"):
            walk.go_to(walk.root)
        name, slash = await walk.to_last(target)
    if name != ROOT:
        await walk.searched_step(name, follow=False, trailing=True)
    return await _open_found(walk.dentry, opening)


async def _find_or_make(parent: Dentry, name: bytes, opening: Opening) -> Dentry | OpenFile:
    """Return the dentry of what is there, referenced, or the open file that was made.

    Source: fs/namei.c, lookup_fast_for_open, open_last_lookups; fs/fuse/dir.c, fuse_atomic_open.
    """
    excl = bool(opening.flags & os.O_EXCL)
    if not excl:
        found = await remembered(parent, name, CREATE)
        if found is not None:
            if found.inode is not None:
                return found
            found.put()
    assert parent.inode is not None
    async with parent.inode.rwsem.exclusive():
        dentry, mode = await _find(parent, name, CREATE | EXCL if excl else CREATE, opening)
        if dentry.inode is not None:
            return dentry
        try:
            file = await _make(parent, dentry, opening, mode)
        except BaseException:
            dentry.put()
            raise
    return await (_open_made(dentry, opening) if file is None else _admitted(file, opening))


async def _find(parent: Dentry, name: bytes, intent: int, opening: Opening) -> tuple[Dentry, int]:
    """Return the dentry of `name`, referenced, and if it is negative the permissions of the file to be made there.

    Whether he may is asked before the daemon is, but matters only if there is nothing (lookup_open).
    """
    if parent.dead:
        raise os_error(errno.ENOENT)
    assert parent.inode is not None
    dentry = await remembered(parent, name, intent)
    if dentry is not None and dentry.inode is not None:
        return dentry, 0
    mode, refused = 0, None
    try:
        mode = await _mode_to_make(parent.inode, opening)
    except OSError as error:
        refused = error
    if dentry is None:
        dentry = await lookup_held(parent, name, intent)
    if dentry.inode is None and refused is not None:
        dentry.put()
        raise refused
    return dentry, mode


async def _make(parent: Dentry, dentry: Dentry, opening: Opening, mode: int) -> OpenFile | None:
    """Make a regular file at `dentry`, which is negative, and open it; return None if it is still to be opened.

    The caller holds the directory's semaphore.
    """
    if "CREATE" not in parent.superblock.connection.absent:
        try:
            file = await fuse_create(parent, dentry, opening.flags, mode)
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise
        else:
            dentry.put()
            return file
    await fuse_mknod(dentry, mode | stat.S_IFREG, 0)
    return None


async def _open_made(dentry: Dentry, opening: Opening) -> OpenFile:
    """Open what MKNOD has just made; whoever makes a file may do so whatever its mode says."""
    try:
        await _may_have_made(dentry.positive, opening)
        return await fuse_open(dentry, opening.flags)
    finally:
        dentry.put()


async def _admitted(file: OpenFile, opening: Opening) -> OpenFile:
    """Return `file`, which was made and opened in one, unless the caller may not open it so.

    Source: fs/namei.c, do_open: the check comes after the fact, as for a file that was there.
    """
    try:
        await _may_have_made(file.inode, opening)
    except BaseException:
        put_file(file)
        raise
    return file


async def _may_have_made(inode: Inode, opening: Opening) -> None:
    """Check what can still be wrong with a file that was just made: no access is asked for (may_open)."""
    await permission(inode, 0)
    if opening.flags & os.O_NOATIME and not owner_or_capable(inode):
        raise os_error(errno.EPERM)


async def _mode_to_make(directory: Inode, opening: Opening) -> int:
    """Check that the caller may make a file in `directory`; return the permissions that he may give it.

    Source: fs/namei.c, may_o_create.
    """
    if directory.superblock.options.read_only:
        raise os_error(errno.EROFS)
    await permission(directory, MAY_WRITE | MAY_EXEC)
    return strip_sgid(directory, opening.mode)


async def _make_unnamed(parent: Dentry, opening: Opening) -> OpenFile:
    """Make and open a file that has no name yet (O_TMPFILE)."""
    assert parent.inode is not None
    mode = await _mode_to_make(parent.inode, opening)
    dentry = Dentry(parent.superblock, parent, NO_NAME)
    try:
        file = await fuse_tmpfile(parent, dentry, opening.flags, mode)
        file.inode.linkable = not opening.flags & os.O_EXCL
        return await _admitted(file, opening)
    finally:
        dentry.put()


# What has been found.


async def _open_found(dentry: Dentry, opening: Opening) -> OpenFile:
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
