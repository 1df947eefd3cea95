"""System calls: making, finding and removing names.

Each finds the directory, checks what can be checked without it, takes the directory's semaphore
alone, looks the last name up, checks the rest, and hands over to operations/names.py:

    make        making.py
    remove      the caller may write to the directory and, if it is sticky, owns it or the file;
                the victim's semaphore is taken too
    rename      renaming.py

The order of the checks is Linux's, since it decides which error is seen, and what is asked before.

A daemon that answers ESTALE has it all done again, once, every name of the paths looked up anew.

Source: fs/namei.c, do_unlinkat, vfs_unlink, do_rmdir, vfs_rmdir; fs/open.c, chdir; fs/stat.c,
do_readlinkat; fs/d_path.c, getcwd.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, Final, TypeVar

from fusewire.errors import os_error
from fusewire.kernel.operations.lookup import lookup_last
from fusewire.kernel.operations.names import (
    fuse_get_link,
    fuse_rmdir,
    fuse_unlink,
)
from fusewire.kernel.operations.permission import MAY_EXEC, check_writable, may_delete, permission
from fusewire.kernel.paths.resolve import Path, parent_of, resolve
from fusewire.kernel.syscalls.again import again_if_stale
from fusewire.kernel.syscalls.base import syscall
from fusewire.kernel.syscalls.making import Making, of_two
from fusewire.kernel.syscalls.renaming import rename

if TYPE_CHECKING:
    from fusewire.kernel.vfs.dentry import Dentry

__all__ = ["Names"]

StrOrBytes = TypeVar("StrOrBytes", str, bytes)

NOT_REMOVED: Final = {b"..": errno.ENOTEMPTY, b".": errno.EINVAL, b"/": errno.EBUSY}


class Names(Making):
    """Making, finding and removing names."""

    # Removing.

    @syscall
    @again_if_stale
    async def unlink(self, intent: int, path: Path, *, dir_fd: int | None = None) -> None:
        """Remove the name of a file that is no directory.

        Raises:
            OSError: EISDIR for a directory; EBUSY where something is mounted.
        """
        async with parent_of(self, path, dir_fd=dir_fd, intent=intent) as last:
            if not last.normal:
                raise os_error(errno.EISDIR)
            check_writable(last.parent.superblock)
            async with _directory_lock(last.parent):
                dentry = await lookup_last(last.parent, last.name, intent)
                try:
                    if last.trailing_slash:
                        raise os_error(errno.EISDIR if dentry.is_dir else errno.ENOTDIR)
                    await _vfs_unlink(dentry)
                finally:
                    dentry.put()

    remove = unlink

    @syscall
    @again_if_stale
    async def rmdir(self, intent: int, path: Path, *, dir_fd: int | None = None) -> None:
        """Remove an empty directory.

        Raises:
            OSError: ENOTEMPTY; ENOTDIR; EINVAL for `.`; EBUSY for the root, and where something is mounted.
        """
        async with parent_of(self, path, dir_fd=dir_fd, intent=intent) as last:
            if not last.normal:
                raise os_error(NOT_REMOVED[last.name])
            check_writable(last.parent.superblock)
            async with last.parent.positive.rwsem.exclusive():
                dentry = await lookup_last(last.parent, last.name, intent)
                try:
                    await _vfs_rmdir(dentry)
                finally:
                    dentry.put()

    # Renaming.

    @syscall
    @again_if_stale
    async def rename(
        self,
        intent: int,
        src: Path,
        dst: Path,
        *,
        src_dir_fd: int | None = None,
        dst_dir_fd: int | None = None,
        flags: int = 0,
    ) -> None:
        """Rename `src` to `dst`, overwriting what is there; `flags` are RenameFlags, of renameat2(2).

        Raises:
            OSError: see renaming.py.
        """
        try:
            await rename(self, src, dst, flags, src_dir_fd, dst_dir_fd, intent)
        except OSError as error:
            raise of_two(error, src, dst) from None

    replace = rename

    # Reading.

    async def readlink(self, path: StrOrBytes | os.PathLike[StrOrBytes], *, dir_fd: int | None = None) -> StrOrBytes:
        """Return what a symlink says, as str unless `path` is bytes.

        Raises:
            OSError: EINVAL if it is no symlink.
        """
        plain = os.fspath(path)
        target = await self._readlink(plain, dir_fd)
        return target if isinstance(plain, bytes) else os.fsdecode(target)

    # Where we are.

    @syscall
    @again_if_stale
    async def chdir(self, intent: int, path: Path | int) -> None:
        """Make a directory, given by path or descriptor, the one where relative paths begin."""
        if isinstance(path, int):
            await self._fchdir(path)
            return
        async with resolve(self, path, directory=True, intent=intent) as dentry:
            await permission(dentry.positive, MAY_EXEC, access=True)
            self._enter(dentry)

    @syscall
    async def fchdir(self, fd: int) -> None:
        """The same, given an open directory."""
        await self._fchdir(fd)

    async def _fchdir(self, fd: int) -> None:
        try:
            dentry = self.file(fd).dentry
            if not dentry.is_dir:
                raise os_error(errno.ENOTDIR)
            await permission(dentry.positive, MAY_EXEC, access=True)
        except OSError as error:
            error.filename = fd
            raise
        self._enter(dentry)

    def _enter(self, dentry: Dentry) -> None:
        previous, self.cwd = self.cwd, dentry.get()
        previous.put()

    @syscall
    async def getcwd(self) -> str:
        """Return the path of the directory where relative paths begin.

        Raises:
            OSError: ENOENT if it was removed, or its mount detached.
        """
        return os.fsdecode(_path_from_root(self.cwd))

    @syscall
    async def getcwdb(self) -> bytes:
        """The same, as bytes."""
        return _path_from_root(self.cwd)

    @syscall
    @again_if_stale
    async def _readlink(self, intent: int, path: Path, dir_fd: int | None) -> bytes:
        async with resolve(self, path, follow=False, dir_fd=dir_fd, intent=intent) as dentry:
            inode = dentry.positive
            if not inode.is_symlink:
                raise os_error(errno.EINVAL)
            return await fuse_get_link(inode)

    # What `os` builds of these.

    async def makedirs(self, name: Path, mode: int = 0o777, exist_ok: bool = False) -> None:
        """Make a directory, and those that lead to it."""
        head, tail = _split(name)
        if head and tail:
            with contextlib.suppress(FileExistsError):
                await self.makedirs(head, exist_ok=exist_ok)
        try:
            await self.mkdir(name, mode)
        except FileExistsError:
            if not exist_ok:
                raise

    async def removedirs(self, name: Path) -> None:
        """Remove an empty directory, and each above it that becomes empty."""
        await self.rmdir(name)
        head, tail = _split(name)
        with contextlib.suppress(OSError):
            while head and tail:
                await self.rmdir(head)
                head, tail = os.path.split(head)

    async def renames(self, old: Path, new: Path) -> None:
        """Rename, making the directories that are missing, and removing those that become empty."""
        head, tail = os.path.split(os.fspath(new))
        if head and tail:
            await self.makedirs(head, exist_ok=True)
        await self.rename(old, new)
        head, tail = os.path.split(os.fspath(old))
        if head and tail:
            with contextlib.suppress(OSError):
                await self.removedirs(head)


async def _vfs_unlink(dentry: Dentry) -> None:
    await may_delete(dentry, directory=False)
    async with dentry.positive.rwsem.exclusive():
        if dentry.mounted is not None:
            raise os_error(errno.EBUSY)
        await fuse_unlink(dentry)
    dentry.drop()


async def _vfs_rmdir(dentry: Dentry) -> None:
    await may_delete(dentry, directory=True)
    async with dentry.positive.rwsem.exclusive():
        if dentry.mounted is not None:
            raise os_error(errno.EBUSY)
        await fuse_rmdir(dentry)
        dentry.prune()
        dentry.dead = True
        dentry.detach_mounts()
    dentry.drop()


def _directory_lock(parent: Dentry) -> contextlib.AbstractAsyncContextManager[None]:
    """The semaphore of `parent`, unless the profile passes it over."""
    if parent.superblock.connection.profile.parent_semaphore:
        return parent.positive.rwsem.exclusive()
    return contextlib.nullcontext()


def _path_from_root(dentry: Dentry) -> bytes:
    if dentry.removed:
        raise os_error(errno.ENOENT)
    names: list[bytes] = []
    root = dentry.superblock.system.root
    while dentry is not root:
        above = dentry.parent or dentry.superblock.covers
        if above is None:
            raise os_error(errno.ENOENT)
        if dentry.parent is not None:
            names.append(dentry.name)
        dentry = above
    return b"/" + b"/".join(reversed(names))


def _split(path: Path) -> tuple[str | bytes, str | bytes]:
    """Return what leads to the last name of `path`, and that name; a slash after it counts for nothing."""
    head, tail = os.path.split(os.fspath(path))
    return (head, tail) if tail else os.path.split(head)
