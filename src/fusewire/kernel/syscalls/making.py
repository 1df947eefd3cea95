"""System calls that make a name: mkdir, mknod, symlink, link.

The order of the checks is Linux's, since it decides which error is seen, and what is asked before:
the directory is found and its semaphore taken alone, the last name looked up, which must not exist;
then come the mount that is read only, what is peculiar to a call, the permission to write to the
directory, and the daemon.

Source: fs/namei.c, filename_create, may_create, do_mknodat, do_linkat, may_linkat.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from fusewire.errors import os_error
from fusewire.kernel.operations.lookup import CREATE, EXCL, lookup_last
from fusewire.kernel.operations.names import fuse_link, fuse_mkdir, fuse_mknod, fuse_symlink
from fusewire.kernel.operations.permission import MAY_READ, MAY_WRITE, check_writable, may_create, permission
from fusewire.kernel.operations.releasing import put_file
from fusewire.kernel.paths.resolve import PATH_MAX, Path, filename_of, once_is_enough, parent_of, resolve
from fusewire.kernel.syscalls.again import again_if_stale
from fusewire.kernel.syscalls.base import syscall
from fusewire.kernel.vfs.caller import Caller
from fusewire.kernel.vfs.changes import lends_ids, strip_sgid
from fusewire.kernel.vfs.credentials import credentials, owner_or_capable

if TYPE_CHECKING:
    from fusewire.kernel.vfs.dentry import Dentry
    from fusewire.kernel.vfs.inode import Inode

__all__ = ["Making", "of_two"]

NODES: Final = (stat.S_IFREG, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK)
DEVICES: Final = (stat.S_IFCHR, stat.S_IFBLK)
LARGEST_DEVICE: Final = 0xFFFFFFFF


class Making(Caller):
    """Making names."""

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
    async def mkfifo(self, intent: int, path: Path, mode: int = 0o666, *, dir_fd: int | None = None) -> None:
        """Make a fifo."""

        async def make(dentry: Dentry) -> None:
            await fuse_mknod(dentry, stat.S_IFIFO | strip_sgid(dentry.directory, stat.S_IMODE(mode)), 0)

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
            raise of_two(error, src, dst) from None

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
                await self._make_link(old, dst, dst_dir_fd, intent)
        except OSError as error:
            raise of_two(error, src, dst) from None

    @syscall
    @again_if_stale
    async def link_fd(self, intent: int, fd: int, dst: Path, *, dst_dir_fd: int | None = None) -> None:
        """Make `dst` a name of the file that is open as `fd`: what linkat(2) does with /proc/self/fd/`fd`, followed.

        So a file that was made by O_TMPFILE gets a name.

        Raises:
            OSError: as `link`; EBADF.
        """
        file = self.file(fd).hold()
        try:
            await self._make_link(file.dentry, dst, dst_dir_fd, intent)
        except OSError as error:
            error.filename = filename_of(dst)
            raise
        finally:
            put_file(file)

    async def _make_link(self, old: Dentry, dst: Path, dst_dir_fd: int | None, intent: int) -> None:
        async def make(dentry: Dentry) -> None:
            await self._link(old, dentry)

        async def check(dentry: Dentry) -> None:
            if old.superblock is not dentry.superblock:
                raise os_error(errno.EXDEV)
            await self._may_link(old.positive)

        await self._make(make, dst, dst_dir_fd, intent, check=check)

    async def _link(self, old: Dentry, dentry: Dentry) -> None:
        inode = old.positive
        if inode.is_dir:
            raise os_error(errno.EPERM)
        async with inode.rwsem.exclusive():
            if inode.attr.nlink == 0 and not inode.linkable:
                raise os_error(errno.ENOENT)
            await fuse_link(inode, dentry)
            inode.linkable = False

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


async def _safe_to_link(inode: Inode) -> bool:
    """Whether it is a plain file that the caller may read and write anyway (safe_hardlink_source)."""
    mode = inode.mode
    if not inode.is_regular or lends_ids(mode):
        return False
    try:
        await permission(inode, MAY_READ | MAY_WRITE)
    except OSError:
        return False
    return True


def of_two(error: OSError, src: Path, dst: Path) -> OSError:
    """Return `error` with both paths in it."""
    error.filename, error.filename2 = filename_of(src), filename_of(dst)
    return error
