"""System calls: making, finding and removing names.

Each finds the directory, checks what can be checked without it, takes the directory's semaphore
alone, looks the last name up, checks the rest, and hands over to operations/names.py:

    make        the name must not exist, and the caller may write to the directory
    remove      he may write to it and, if it is sticky, owns the file or the directory; the
                victim's semaphore is taken too
    rename      renaming.py

The order of the checks is Linux's, since it decides which error is seen, and what is asked before.

A daemon that answers ESTALE has it all done again, once, every name of the paths looked up anew.

Source: fs/namei.c, filename_create, do_mknodat, do_unlinkat, do_rmdir, do_linkat; fs/open.c, chdir;
fs/stat.c, readlinkat; fs/d_path.c, getcwd.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import stat
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar

from fusewire.errors import os_error
from fusewire.kernel.operations.lookup import CREATE, EXCL, REVAL, lookup_last
from fusewire.kernel.operations.names import (
    fuse_get_link,
    fuse_link,
    fuse_mkdir,
    fuse_mknod,
    fuse_rmdir,
    fuse_symlink,
    fuse_unlink,
)
from fusewire.kernel.syscalls.base import Caller, syscall
from fusewire.kernel.syscalls.renaming import rename
from fusewire.kernel.vfs.permission import (
    MAY_EXEC,
    MAY_READ,
    MAY_WRITE,
    check_writable,
    credentials,
    may_create,
    may_delete,
    owner_or_capable,
    permission,
)
from fusewire.kernel.vfs.walk import PATH_MAX, Path, filename_of, is_stale, once_is_enough, parent_of, resolve

if TYPE_CHECKING:
    from fusewire.kernel.vfs.dentry import Dentry
    from fusewire.kernel.vfs.inode import Inode

__all__ = ["Names"]

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C", bound=Caller)
StrOrBytes = TypeVar("StrOrBytes", str, bytes)

NODES: Final = (stat.S_IFREG, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK)
DEVICES: Final = (stat.S_IFCHR, stat.S_IFBLK)
LARGEST_DEVICE: Final = 0xFFFFFFFF
SGID_OF_A_PROGRAM: Final = stat.S_ISGID | stat.S_IXGRP
NOT_REMOVED: Final = {b"..": errno.ENOTEMPTY, b".": errno.EINVAL, b"/": errno.EBUSY}


def again_if_stale(
    function: Callable[Concatenate[C, int, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[C, P], Coroutine[Any, Any, T]]:
    """Call with an intent of 0 and, if that ends in ESTALE, once more with REVAL (retry_estale)."""

    @functools.wraps(function)
    async def called(self: C, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await function(self, 0, *args, **kwargs)
        except OSError as error:
            if not is_stale(error):
                raise
        return await function(self, REVAL, *args, **kwargs)

    return called


class Names(Caller):
    """Making, finding and removing names."""

    # Making.

    @syscall
    @again_if_stale
    async def mkdir(self, intent: int, path: Path, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        """Make a directory; of `mode` permissions and the sticky bit count, less the umask."""

        async def make(dentry: Dentry) -> None:
            await fuse_mkdir(dentry, mode & (0o777 | stat.S_ISVTX))

        await self._make(make, path, dir_fd, intent, directory=True)

    @syscall
    @again_if_stale
    async def mknod(
        self, intent: int, path: Path, mode: int = 0o600, device: int = 0, *, dir_fd: int | None = None
    ) -> None:
        """Make a file; the type in `mode` says of what kind, `device` which one it is (as by os.makedev).

        Raises:
            OSError: EPERM for a directory, and for a device unless root asks; EINVAL for a type that there is not.
        """
        kind = stat.S_IFMT(mode) or stat.S_IFREG
        if kind not in NODES or not 0 <= device <= LARGEST_DEVICE:
            code = errno.EPERM if kind == stat.S_IFDIR else errno.EINVAL
            raise OSError(code, os.strerror(code), filename_of(path))

        async def make(dentry: Dentry) -> None:
            whiteout = kind == stat.S_IFCHR and device == 0
            if kind in DEVICES and not whiteout and not credentials().privileged:
                raise os_error(errno.EPERM)
            permissions = strip_sgid(dentry.directory, stat.S_IMODE(mode))
            await fuse_mknod(dentry, kind | permissions, device if kind in DEVICES else 0)

        await self._make(make, path, dir_fd, intent)

    @syscall
    @again_if_stale
    async def symlink(
        self, intent: int, src: Path, dst: Path, target_is_directory: bool = False, *, dir_fd: int | None = None
    ) -> None:
        """Make `dst` a symlink that says `src`; `target_is_directory` means something on Windows alone."""
        target = os.fsencode(src)

        async def make(dentry: Dentry) -> None:
            await fuse_symlink(dentry, target)

        try:
            if b"\0" in target:
                raise ValueError("embedded null byte")
            if not target or len(target) >= PATH_MAX:
                raise os_error(errno.ENAMETOOLONG if target else errno.ENOENT)
            await self._make(make, dst, dir_fd, intent)
        except OSError as error:
            raise _of_two(error, src, dst) from None

    @syscall
    @again_if_stale
    async def link(
        self,
        intent: int,
        src: Path,
        dst: Path,
        *,
        src_dir_fd: int | None = None,
        dst_dir_fd: int | None = None,
        follow_symlinks: bool = True,
    ) -> None:
        """Make `dst` another name of the file at `src`.

        As with `os.link`, a symlink at `src` is followed only if a directory's descriptor is given, too: without one
        the call is link(2), which never follows.

        Raises:
            OSError: EPERM for a directory, and for others' files that one may not write; EXDEV between mounts; ENOENT
                for a file that has no name left.
        """
        follow = follow_symlinks and (src_dir_fd is not None or dst_dir_fd is not None)
        try:
            async with resolve(self, src, follow=follow, dir_fd=src_dir_fd, intent=intent) as old:

                async def make(dentry: Dentry) -> None:
                    await self._link(old, dentry)

                async def check(dentry: Dentry) -> None:
                    if old.superblock is not dentry.superblock:
                        raise os_error(errno.EXDEV)
                    await self._may_link(old.positive)

                await self._make(make, dst, dst_dir_fd, intent, check=check)
        except OSError as error:
            raise _of_two(error, src, dst) from None

    async def _link(self, old: Dentry, dentry: Dentry) -> None:
        inode = old.positive
        if inode.is_dir:
            raise os_error(errno.EPERM)
        async with inode.rwsem.exclusive():
            if inode.attr.nlink == 0:
                raise os_error(errno.ENOENT)
            await fuse_link(inode, dentry)

    async def _may_link(self, inode: Inode) -> None:
        """Refuse to link what might be somebody else's secret, or his program (may_linkat).

        Whether the file is safe to link is asked first, even of its owner.
        """
        if not self.system.protected_hardlinks:
            return
        if not await _safe_to_link(inode) and not owner_or_capable(inode):
            raise os_error(errno.EPERM)

    async def _make(
        self,
        make: Callable[[Dentry], Awaitable[None]],
        path: Path,
        dir_fd: int | None,
        intent: int,
        *,
        directory: bool = False,
        check: Callable[[Dentry], Awaitable[None]] | None = None,
    ) -> None:
        """Find where `path` is to stand and have `make` make it there, after `check` and all checks of ours.

        Raises:
            OSError: EEXIST; ENOENT if a slash stands after what will be no `directory`; EROFS; EACCES.
        """
        async with parent_of(self, path, dir_fd=dir_fd, intent=intent) as last:
            if not last.normal:
                raise os_error(errno.EEXIST)
            wanted = EXCL if last.trailing_slash and not directory else EXCL | CREATE
            async with last.parent.positive.rwsem.exclusive():
                try:
                    dentry = await lookup_last(last.parent, last.name, intent | wanted)
                except OSError as error:
                    raise once_is_enough(error) from None
                try:
                    check_writable(dentry.superblock)
                    if check is not None:
                        await check(dentry)
                    await may_create(last.parent)
                    await make(dentry)
                finally:
                    dentry.put()

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
            raise _of_two(error, src, dst) from None

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
        head, tail = os.path.split(os.fspath(name))
        if not tail:
            head, tail = os.path.split(head)
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
        head, tail = os.path.split(os.fspath(name))
        if not tail:
            head, tail = os.path.split(head)
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


async def _safe_to_link(inode: Inode) -> bool:
    """Whether it is a plain file that the caller may read and write anyway (safe_hardlink_source)."""
    mode = inode.mode
    if not inode.is_regular or mode & stat.S_ISUID or mode & SGID_OF_A_PROGRAM == SGID_OF_A_PROGRAM:
        return False
    try:
        await permission(inode, MAY_READ | MAY_WRITE)
    except OSError:
        return False
    return True


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


def strip_sgid(directory: Inode, mode: int) -> int:
    """Return `mode` without a setgid bit that would lend its maker a group that is not his (mode_strip_sgid)."""
    if mode & SGID_OF_A_PROGRAM != SGID_OF_A_PROGRAM or not directory.mode & stat.S_ISGID:
        return mode
    who = credentials()
    return mode if who.in_group(directory.attr.gid) or who.privileged else mode & ~stat.S_ISGID


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


def _of_two(error: OSError, src: Path, dst: Path) -> OSError:
    """Return `error` with both paths in it."""
    error.filename, error.filename2 = filename_of(src), filename_of(dst)
    return error
