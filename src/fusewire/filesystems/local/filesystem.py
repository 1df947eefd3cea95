"""A local directory, mounted: every operation acts on the source, and nothing is kept here but
the way to its inodes.

Each operation takes a descriptor of its node (`inodes`), becomes the caller where it changes
something (`credentials`), and makes one system call that says no in the source's own words.
Single names are opened, never paths, and no symlink is followed: nothing leads outside.

- The kernel checks permissions (`default_permissions`), with the source's ACLs. Reading and
  opening is therefore done as the daemon; whatever makes, changes or removes is done as the
  caller, so that ownership, set-user-id bits, sticky directories and quotas are the source's.
- The number of nodes has no bound, that of descriptors has: a quarter of RLIMIT_NOFILE.
- What happens to the source behind the mount's back is seen when the kernel asks again: within
  `entry_timeout` and `attr_timeout`.
- Filesystems mounted below the source are part of it, with device numbers of their own inside
  the daemon and without file handles. Callers see one device. Our own mount, if it is below the
  source, is listed but cannot be entered (EDEADLK).
- Special files are the kernel's: it never asks us to open a fifo, a socket or a device.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import stat as modes
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar, Final

from fusewire.daemon.request import Request
from fusewire.daemon.values import UTIME_NOW, Attributes, Entry, SetAttributes, StatFs, Timestamp
from fusewire.errors import os_error
from fusewire.filesystems.local import syscalls
from fusewire.filesystems.local.credentials import Credentials
from fusewire.filesystems.local.files import SETID, LocalFiles
from fusewire.filesystems.local.handles import usable_handles
from fusewire.filesystems.local.inodes import Inodes
from fusewire.filesystems.local.opened import OpenedFiles
from fusewire.filesystems.local.syscalls import component, link_to, position, statx
from fusewire.wire.flags import InitFlags

__all__ = ["LocalDirectory"]

ACLS: Final = ("system.posix_acl_access", "system.posix_acl_default")
MOST_SPARE: Final = 4096
UTIME_NOW_NSEC: Final = (1 << 30) - 1
UTIME_OMIT_NSEC: Final = (1 << 30) - 2
NANOSECONDS: Final = 1_000_000_000


class LocalDirectory(LocalFiles):
    """Serves the directory `source`.

    `handles` says how to come back to an inode: by file handles (True), by names (False), or by
    handles if they can be had (None), which takes CAP_DAC_READ_SEARCH and a filesystem that has them.

    Raises:
        OSError: ENOENT, ENOTDIR or EACCES, naming the source; EPERM or EOPNOTSUPP if `handles` is
            True and cannot be.
    """

    default_permissions: ClassVar[bool] = True
    """The kernel is to check permissions by mode and ACL."""
    threads: ClassVar[int] = 4
    # The kernel leaves the umask to us, for a directory with a default ACL has no use for it, and
    # says of each write whether it is to clear set-user-id, instead of asking for an xattr before it.
    init_flags: ClassVar[int] = InitFlags.FUSE_HANDLE_KILLPRIV_V2 | InitFlags.FUSE_POSIX_ACL | InitFlags.FUSE_DONT_MASK

    def __init__(self, source: str | os.PathLike[str], handles: bool | None = None) -> None:
        self.source = os.fspath(source)
        self._credentials = Credentials()
        self._opened = OpenedFiles()
        root_fd = os.open(self.source, os.O_PATH | os.O_DIRECTORY)
        try:
            found = usable_handles(root_fd, handles)
            self._inodes = Inodes(root_fd, found, spare_descriptors(), self._opened.reopen)
        except OSError as error:
            os.close(root_fd)
            raise os_error(error.errno or errno.EIO, self.source) from error

    def __repr__(self) -> str:
        return f"LocalDirectory({self.source!r})"

    def destroy(self) -> None:
        self._opened.close_all()
        self._inodes.close()

    # --- names

    def forget(self, nodeid: int, nlookup: int) -> None:
        self._inodes.forget(nodeid, nlookup)

    def symlink(self, request: Request, parent: int, name: str, target: str) -> Entry:
        with self._inodes.descriptor(parent) as dir_fd:
            with self._credentials.acting_as(request):
                os.symlink(target, component(name), dir_fd=dir_fd)
            return self._entry(parent, name, statx(dir_fd, name))

    def mknod(self, request: Request, parent: int, name: str, mode: int, rdev: int) -> Entry:
        with self._inodes.descriptor(parent) as dir_fd:
            with self._credentials.making_as(request):
                os.mknod(component(name), mode, rdev, dir_fd=dir_fd)
            return self._entry(parent, name, statx(dir_fd, name))

    def mkdir(self, request: Request, parent: int, name: str, mode: int) -> Entry:
        with self._inodes.descriptor(parent) as dir_fd:
            with self._credentials.making_as(request):
                os.mkdir(component(name), mode & 0o7777, dir_fd=dir_fd)
            return self._entry(parent, name, statx(dir_fd, name))

    def unlink(self, request: Request, parent: int, name: str) -> None:
        self._remove(os.unlink, request, parent, name)

    def rmdir(self, request: Request, parent: int, name: str) -> None:
        self._remove(os.rmdir, request, parent, name)

    def _remove(self, remove: Callable[..., None], request: Request, parent: int, name: str) -> None:
        with (
            self._inodes.descriptor(parent) as dir_fd,
            self._inodes.removing(parent, dir_fd, component(name)),
            self._credentials.acting_as(request),
        ):
            remove(name, dir_fd=dir_fd)

    def rename(self, request: Request, parent: int, name: str, new_parent: int, new_name: str, flags: int) -> None:
        old, new = (parent, component(name)), (new_parent, component(new_name))
        with self._inodes.descriptor(parent) as dir_fd, self._inodes.descriptor(new_parent) as new_dir_fd:
            moved = self._inodes.known(dir_fd, name)
            swapped = self._inodes.known(new_dir_fd, new_name) if flags & syscalls.RENAME_EXCHANGE else None
            replacing = contextlib.nullcontext() if swapped else self._inodes.removing(new_parent, new_dir_fd, new_name)
            with replacing, self._credentials.acting_as(request):
                syscalls.renameat2(dir_fd, name, new_dir_fd, new_name, flags)
        self._inodes.moved(moved, old, new)
        self._inodes.moved(swapped, new, old)

    def link(self, request: Request, nodeid: int, new_parent: int, new_name: str) -> Entry:
        with self._inodes.descriptor(nodeid) as fd, self._inodes.descriptor(new_parent) as dir_fd:
            with self._credentials.acting_as(request):
                os.link(link_to(fd), component(new_name), dst_dir_fd=dir_fd, follow_symlinks=True)
            return self._entry(new_parent, new_name, statx(dir_fd, new_name))

    def readlink(self, request: Request, nodeid: int) -> str:
        with self._inodes.descriptor(nodeid) as fd:
            return os.readlink("", dir_fd=fd)

    # --- attributes

    def getattr(self, request: Request, nodeid: int, fh: int | None) -> Attributes:
        if fh is not None:
            return statx(self._opened.fd(fh), "").attributes
        with self._inodes.descriptor(nodeid) as fd:
            return statx(fd, "").attributes

    def statx(self, request: Request, nodeid: int) -> Attributes:
        return self.getattr(request, nodeid, None)

    def setattr(self, request: Request, nodeid: int, changes: SetAttributes) -> Attributes:
        """As the caller: chown, truncate and chmod clear set-user-id, or say EPERM, as the source does."""
        with self._inodes.descriptor(nodeid) as fd:
            if changes.mode is not None and takes_setid(request, statx(fd, "").attributes, changes.mode):
                os.chmod(link_to(fd), changes.mode & 0o7777)
                changes = replace(changes, mode=None)
            elif asks_for_nothing(changes):
                with self._credentials.acting_as(request):
                    keep_owner(link_to(fd), request.uid)
            with self._credentials.acting_as(request):
                self._change(fd, changes)
            return statx(fd, "").attributes

    def _change(self, fd: int, changes: SetAttributes) -> None:
        path = link_to(fd)
        if changes.uid is not None or changes.gid is not None:
            os.chown(path, *(-1 if id is None else id for id in (changes.uid, changes.gid)))
        if changes.mode is not None:
            os.chmod(path, changes.mode & 0o7777)
        if changes.size is not None:
            # An open file may be written to even where its mode has come to forbid it.
            target = path if changes.fh is None else self._opened.fd(changes.fh)
            os.truncate(target, position(changes.size, errno.EFBIG))
        if changes.atime_ns is not None or changes.mtime_ns is not None:
            syscalls.utimensat(path, timespec(changes.atime_ns), timespec(changes.mtime_ns))

    def statfs(self, request: Request, nodeid: int) -> StatFs:
        with self._inodes.descriptor(nodeid) as fd:
            found = os.fstatvfs(fd)
        return StatFs(
            blocks=found.f_blocks,
            bfree=found.f_bfree,
            bavail=found.f_bavail,
            files=found.f_files,
            ffree=found.f_ffree,
            bsize=found.f_bsize,
            frsize=found.f_frsize,
            namelen=found.f_namemax,
        )

    # --- extended attributes

    def setxattr(self, request: Request, nodeid: int, name: str, value: memoryview, flags: int) -> None:
        with self._inodes.descriptor(nodeid) as fd, self._credentials.acting_as(request):
            os.setxattr(link_to(fd), name, value, flags)

    def getxattr(self, request: Request, nodeid: int, name: str) -> bytes:
        try:
            with self._inodes.descriptor(nodeid) as fd:
                return os.getxattr(link_to(fd), name)
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP and name in ACLS:
                # To Linux EOPNOTSUPP is no ACL but a failure, of every access that it wants one for.
                raise os_error(errno.ENODATA) from None
            raise

    def listxattr(self, request: Request, nodeid: int) -> list[str]:
        """Callers other than root are not told of trusted xattrs, which Linux lets them neither read."""
        with self._inodes.descriptor(nodeid) as fd:
            names = os.listxattr(link_to(fd))
        return names if request.uid == 0 else [name for name in names if not name.startswith("trusted.")]

    def removexattr(self, request: Request, nodeid: int, name: str) -> None:
        with self._inodes.descriptor(nodeid) as fd, self._credentials.acting_as(request):
            os.removexattr(link_to(fd), name)


def spare_descriptors() -> int:
    """How many descriptors may be kept for speed alone: a quarter of those that the process may have."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_SPARE if limit == resource.RLIM_INFINITY else max(16, min(limit // 4, MOST_SPARE))


def asks_for_nothing(changes: SetAttributes) -> bool:
    """Nothing is to change, as far as the kernel says: see `keep_owner`."""
    asked = changes.mode, changes.uid, changes.gid, changes.size, changes.atime_ns, changes.mtime_ns
    return all(each is None for each in asked)


def takes_setid(request: Request, now: Attributes, mode: int) -> bool:
    """Whether a stranger's SETATTR is the kernel's own, that takes set-user-id and set-group-id before he writes.

    So it does below 7.33, where it knows of no HANDLE_KILLPRIV_V2 (fs/fuse/dir.c, fuse_setattr). A chmod(2) of his
    does not come this far, and as him it would fail.
    """
    kept = modes.S_IMODE(now.mode) & ~SETID
    return request.uid not in (0, now.uid) and kept == modes.S_IMODE(mode) & ~SETID and mode & ~now.mode & SETID == 0


def keep_owner(path: str, uid: int) -> None:
    """Do what a SETATTR of nothing is most often: a chown(2) of `uid` that names neither owner nor group.

    That marks ctime and clears set-user-id. But the kernel sends the same before a write that takes a file's
    privileges away: a stranger's, who may not chown it, or root's, which takes capabilities but leaves
    set-user-id. The write itself sees to it, so whatever may be one is left alone.

    Source: fs/open.c, chown_common; fs/inode.c, file_remove_privs; fs/fuse/dir.c, fuse_setattr.
    """
    mode = os.stat(path).st_mode
    if uid == 0 and modes.S_ISREG(mode) and mode & SETID:
        return
    with contextlib.suppress(PermissionError):
        os.chown(path, -1, -1)


def timespec(time: Timestamp | None) -> tuple[int, int]:
    """A time as utimensat takes it."""
    if time is None:
        return 0, UTIME_OMIT_NSEC
    return (0, UTIME_NOW_NSEC) if time is UTIME_NOW else divmod(time, NANOSECONDS)
