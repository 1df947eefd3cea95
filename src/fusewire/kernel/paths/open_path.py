"""open(2): from a path and flags to an open file.

    check the flags -> walk to the directory -> find or make the last name -> may it be opened? -> OPEN -> truncate

Who may create holds the directory's lock exclusively while the name is looked up, so that nobody
else makes it meanwhile; what is found is opened without any lock. CREATE makes and opens at once,
and whoever makes a file may open it whatever its mode says.

Not modelled: fs.protected_regular and fs.protected_fifos.

Source: fs/namei.c, path_openat, open_last_lookups, lookup_open.
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
from fusewire.kernel.operations.permission import MAY_EXEC, MAY_WRITE, permission
from fusewire.kernel.paths.open_flags import Opening
from fusewire.kernel.paths.open_found import admitted, may_have_made, open_found
from fusewire.kernel.paths.resolve import Path, is_stale, parent_of, resolve
from fusewire.kernel.paths.walk import Walk, topmost
from fusewire.kernel.vfs.changes import strip_sgid
from fusewire.kernel.vfs.dentry import Dentry
from fusewire.kernel.vfs.open_file import OpenFile

if TYPE_CHECKING:
    from fusewire.kernel.vfs.caller import Caller
    from fusewire.kernel.vfs.inode import Inode

__all__ = ["open_path"]

ROOT: Final = b"/"
NO_NAMES: Final = (b".", b"..", ROOT)
NO_NAME: Final = b"/"  # of a file made by O_TMPFILE


async def open_path(process: Caller, path: Path, opening: Opening, dir_fd: int | None = None) -> OpenFile:
    """Open what `path` leads to, as `opening` says; the caller has the only reference.

    Raises:
        OSError: as open(2), with `path` as its `filename`.
    """
    try:
        return await _open_once(process, path, opening, dir_fd, 0)
    except OSError as error:
        if not is_stale(error):
            raise
    return await _open_once(process, path, opening, dir_fd, REVAL)


async def _open_once(process: Caller, path: Path, opening: Opening, dir_fd: int | None, intent: int) -> OpenFile:
    """Open it, with every name looked up as `intent` says (path_openat)."""
    if opening.flags & os.O_CREAT:
        return await _walk_and_open(process, path, opening, dir_fd, intent)
    directory = bool(opening.flags & os.O_DIRECTORY)
    on_path = resolve(process, path, follow=opening.follow, dir_fd=dir_fd, directory=directory, intent=intent)
    async with on_path as dentry:
        if opening.unnamed:
            return await _make_unnamed(dentry, opening)
        if opening.flags & os.O_PATH:
            assert dentry.inode is not None
            return OpenFile(dentry.get(), dentry.inode, opening.flags)
        return await open_found(dentry, opening)


# What may have to be made.


async def _walk_and_open(process: Caller, path: Path, opening: Opening, dir_fd: int | None, intent: int) -> OpenFile:
    on_path = parent_of(process, path, dir_fd=dir_fd, intent=intent)
    async with on_path as last:
        return await _open_last(on_path.walk, last.name, last.trailing_slash, opening)


async def _open_last(walk: Walk, name: bytes, slash: bool, opening: Opening) -> OpenFile:
    """Open or make `name` in the directory where `walk` is, following symlinks from there."""
    links: list[Dentry] = []  # as long as one is followed, it is not forgotten
    try:
        return await _open_through(walk, name, slash, opening, links)
    finally:
        for link in links:
            link.put()


async def _open_through(walk: Walk, name: bytes, slash: bool, opening: Opening, links: list[Dentry]) -> OpenFile:
    while name not in NO_NAMES:
        if slash:
            raise os_error(errno.EISDIR)
        found = await _find_or_make(walk.dentry, name, opening)
        if isinstance(found, OpenFile):
            return found
        found = topmost(found)
        links.append(found)
        if not (found.inode is not None and found.inode.is_symlink and opening.follow):
            return await open_found(found, opening)
        target = await walk.target(found, trailing=True)
        if target.startswith(b"/"):
            walk.go_to(walk.root)
        name, slash = await walk.to_last(target)
    if name != ROOT:
        await walk.searched_step(name, follow=False, trailing=True)
    return await open_found(walk.dentry, opening)


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
    return await (_open_made(dentry, opening) if file is None else admitted(file, opening))


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
        await may_have_made(dentry.positive, opening)
        return await fuse_open(dentry, opening.flags)
    finally:
        dentry.put()


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
        return await admitted(file, opening)
    finally:
        dentry.put()
