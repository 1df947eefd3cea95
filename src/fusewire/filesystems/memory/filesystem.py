"""`Memory`: a POSIX filesystem in this process's memory, gone with it.

    with fusewire.mount(Memory(size=1 << 30), "/mnt/x"): ...

This file is the door to the wire: one short method for each operation. What they work on lies
beside it:

    tree.py       names and lives of inodes        inodes.py     what an inode is
    sparse.py     the bytes of files, with holes   ownership.py  whose a new file is; lost privileges
    listing.py    open directories                 xattrs.py     extended attributes
    budget.py     how full it is                   acls.py       POSIX ACLs

Who may do what, Linux checks (`default_permissions`), from modes and owners. Since nobody else
changes anything here, it may also keep whatever it is told, for ever; so one `Memory` is
mounted in one place at a time. It can be mounted again later, and then has what it had.

There is nothing to flush or to sync, and locks are left to Linux: those methods are absent.
"""

from __future__ import annotations

import errno
import itertools
import math
import os
import stat as modes
from collections.abc import Callable, Iterator
from time import time_ns
from typing import ClassVar, Final, TypeVar

from fusewire.daemon.request import Request
from fusewire.daemon.values import Attributes, Dirent, Entry, OpenFile, SetAttributes, StatFs
from fusewire.errors import os_error
from fusewire.filesystems.memory.acls import follow_mode, inherit, set_acl
from fusewire.filesystems.memory.budget import Budget
from fusewire.filesystems.memory.files import Files, mark_accessed
from fusewire.filesystems.memory.inodes import PERMISSIONS, Birth, Directory, Inode, RegularFile, Special, Symlink
from fusewire.filesystems.memory.listing import Listing
from fusewire.filesystems.memory.ownership import kill_as_asked, new_owner
from fusewire.filesystems.memory.sparse import PAGE
from fusewire.filesystems.memory.tree import NAME_MAX, Tree
from fusewire.filesystems.memory.xattrs import ACLS, Xattrs, checked
from fusewire.wire import InitFlags, SetxattrFlags

__all__ = ["Memory"]

RENAME_NOREPLACE: Final = 1
RENAME_EXCHANGE: Final = 2

TARGET_MAX: Final = 4095  # bytes of a symlink's target
DOTS: Final = 2  # offset behind '.' and '..'
SPECIAL: Final = (modes.S_IFIFO, modes.S_IFSOCK, modes.S_IFCHR, modes.S_IFBLK)

Made = TypeVar("Made", bound=Inode)
More = TypeVar("More")
NO_XATTRS: Final = Xattrs(Budget(0))


class Memory(Files):
    """An empty filesystem.

    Args:
        size: bytes that contents and xattrs may take, in pages of 4096. None: half of the machine's memory.
        inodes: how many inodes, and further names of them, there may be. None: one for each page of half the
            machine's memory.
        mode, uid, gid: of the root directory. It belongs to whoever runs this if not said otherwise.

    Beyond `size` or `inodes`, and where Python finds no memory, callers get ENOSPC. Serve it with one
    thread: none of its methods ever waits, so more would gain nothing, and it has no locks.

    Raises:
        ValueError: if there is no place for the root directory, or `size` is negative.
    """

    blocking: ClassVar[bool] = False
    default_permissions: ClassVar[bool] = True  # to be mounted so: Linux checks permissions before it asks
    init_flags: ClassVar[int] = (
        InitFlags.FUSE_HANDLE_KILLPRIV_V2  # else each write is preceded by a GETXATTR
        | InitFlags.FUSE_POSIX_ACL
        | InitFlags.FUSE_DONT_MASK  # what a default ACL says counts more than the umask
    )
    entry_timeout: ClassVar[float] = math.inf
    attr_timeout: ClassVar[float] = math.inf
    negative_timeout: ClassVar[float] = math.inf

    def __init__(
        self,
        size: int | None = None,
        inodes: int | None = None,
        *,
        mode: int = 0o755,
        uid: int | None = None,
        gid: int | None = None,
    ) -> None:
        if (inodes is not None and inodes < 1) or (size is not None and size < 0):
            raise ValueError(f"size={size}, inodes={inodes}: there must be an inode for the root directory")
        half = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // PAGE // 2
        owner = os.getuid() if uid is None else uid, os.getgid() if gid is None else gid
        super().__init__(
            Tree(
                places=Budget(half if inodes is None else inodes),
                room=Budget(half if size is None else size // PAGE),
                root=lambda nodeid: Directory(
                    Birth(nodeid, modes.S_IFDIR | mode & PERMISSIONS, *owner, time_ns()), None
                ),
            )
        )
        self._listings: dict[int, Listing] = {}  # by fh
        self._fhs = itertools.count(1)

    def destroy(self) -> None:
        """Forget who used what; names and contents stay for the next mount."""
        self._listings.clear()
        for inode in list(self._tree.inodes.values()):
            inode.nlookup = inode.nopen = 0
            self._tree.settle(inode)

    # --- names

    def lookup(self, request: Request, parent: int, name: str) -> Entry:
        return self._entry(self._tree.child(self._tree.directory(parent), name))

    def forget(self, nodeid: int, nlookup: int) -> None:
        inode = self._tree.inodes.get(nodeid)
        if inode is not None:
            inode.nlookup = max(0, inode.nlookup - nlookup)
            self._tree.settle(inode)

    def symlink(self, request: Request, parent: int, name: str, target: str) -> Entry:
        if len(os.fsencode(target)) > TARGET_MAX:
            raise os_error(errno.ENAMETOOLONG)
        return self._entry(self._make(request, parent, name, Symlink, modes.S_IFLNK | 0o777, target))

    def mknod(self, request: Request, parent: int, name: str, mode: int, rdev: int) -> Entry:
        kind = modes.S_IFMT(mode)
        if kind in (modes.S_IFREG, 0):
            return self._entry(self._make_file(request, parent, name, mode))
        if kind not in SPECIAL:
            raise os_error(errno.EPERM if kind == modes.S_IFDIR else errno.EINVAL)
        device = rdev if kind in (modes.S_IFCHR, modes.S_IFBLK) else 0
        return self._entry(self._make(request, parent, name, Special, mode, device))

    def create(self, request: Request, parent: int, name: str, flags: int, mode: int) -> tuple[Entry, OpenFile]:
        file = self._make_file(request, parent, name, mode)
        return self._entry(file), self._open(file, flags)

    def tmpfile(self, request: Request, parent: int, flags: int, mode: int) -> tuple[Entry, OpenFile]:
        directory, mode = self._tree.directory(parent), modes.S_IFREG | mode & PERMISSIONS
        file = self._make_nameless(request, directory, RegularFile, mode, self._tree.room)
        file.nameless = True
        return self._entry(file), self._open(file, flags)

    def mkdir(self, request: Request, parent: int, name: str, mode: int) -> Entry:
        mode = modes.S_IFDIR | mode & PERMISSIONS
        return self._entry(self._make(request, parent, name, Directory, mode, self._tree.directory(parent)))

    def unlink(self, request: Request, parent: int, name: str) -> None:
        self._tree.unlink(self._tree.directory(parent), name, time_ns())

    def rmdir(self, request: Request, parent: int, name: str) -> None:
        self._tree.rmdir(self._tree.directory(parent), name, time_ns())

    def rename(self, request: Request, parent: int, name: str, new_parent: int, new_name: str, flags: int) -> None:
        """As `Filesystem.rename`; EINVAL for RENAME_WHITEOUT: nothing lies below that could need hiding."""
        if flags not in (0, RENAME_NOREPLACE, RENAME_EXCHANGE):
            raise os_error(errno.EINVAL)
        source, target = self._tree.directory(parent), self._tree.directory(new_parent)
        if flags & RENAME_NOREPLACE and new_name in target.names:
            self._tree.child(source, name)
            raise os_error(errno.EEXIST)
        move = self._tree.exchange if flags & RENAME_EXCHANGE else self._tree.move
        move(source, name, target, new_name, time_ns())

    def link(self, request: Request, nodeid: int, new_parent: int, new_name: str) -> Entry:
        inode = self._tree.inode(nodeid)
        self._tree.link(self._tree.directory(new_parent), new_name, inode, time_ns())
        return self._entry(inode)

    def readlink(self, request: Request, nodeid: int) -> str:
        inode = self._tree.inode(nodeid)
        if not isinstance(inode, Symlink):
            raise os_error(errno.EINVAL)
        inode.accessed(time_ns())
        return inode.target

    def _entry(self, inode: Inode) -> Entry:
        """The answer that grants the kernel a lookup."""
        inode.nlookup += 1
        return Entry(inode.nodeid, inode.attributes())

    def _make_file(self, request: Request, parent: int, name: str, mode: int) -> RegularFile:
        return self._make(request, parent, name, RegularFile, modes.S_IFREG | mode & PERMISSIONS, self._tree.room)

    def _make(
        self, request: Request, parent: int, name: str, kind: Callable[[Birth, More], Made], mode: int, more: More
    ) -> Made:
        """Make an inode for the caller, and give it its name."""
        directory = self._tree.directory(parent)
        self._tree.vacant(directory, name)
        inode = self._make_nameless(request, directory, kind, mode, more)
        self._tree.enter(directory, name, inode, inode.btime_ns)
        return inode

    def _make_nameless(
        self, request: Request, directory: Directory, kind: Callable[[Birth, More], Made], mode: int, more: More
    ) -> Made:
        owner = new_owner(request, directory, mode)
        inode = self._tree.add(lambda nodeid: kind(Birth(nodeid, *owner, time_ns()), more))
        try:
            inherit(inode, directory, request.umask, self._tree.room)
        except OSError:
            self._tree.settle(inode)
            raise
        return inode

    # --- attributes

    def getattr(self, request: Request, nodeid: int, fh: int | None) -> Attributes:
        return self._tree.inode(nodeid).attributes()

    def statx(self, request: Request, nodeid: int) -> Attributes:
        return self._tree.inode(nodeid).attributes()

    def setattr(self, request: Request, nodeid: int, changes: SetAttributes) -> Attributes:
        inode, now = self._tree.inode(nodeid), time_ns()
        if changes.size is not None:
            self._resize(self._tree.file(nodeid), changes.size, now, always=changes.fh is not None)
        inode.become(changes, now)
        if changes.mode is not None:
            follow_mode(inode)
        kill_as_asked(request, inode, changes)
        return inode.attributes()

    def statfs(self, request: Request, nodeid: int) -> StatFs:
        room, places = self._tree.room, self._tree.places
        return StatFs(room.limit, room.free, room.free, places.limit, places.free, PAGE, PAGE, NAME_MAX)

    # --- directories

    def opendir(self, request: Request, nodeid: int, flags: int) -> OpenFile:
        directory, fh = self._tree.directory(nodeid), next(self._fhs)
        directory.nopen += 1
        self._listings[fh] = Listing(directory)
        return OpenFile(fh)

    def readdir(self, request: Request, nodeid: int, fh: int, offset: int) -> Iterator[Dirent]:
        listing = self._listing(request, fh)
        return (
            Dirent(name, inode.nodeid, modes.S_IFMT(inode.mode), behind)
            for name, inode, behind in listing.entries(offset)
        )

    def readdirplus(self, request: Request, nodeid: int, fh: int, offset: int) -> Iterator[Dirent]:
        listing = self._listing(request, fh)
        return (
            Dirent(
                name,
                inode.nodeid,
                modes.S_IFMT(inode.mode),
                behind,
                self._entry(inode) if behind > DOTS else None,
            )
            for name, inode, behind in listing.entries(offset)
        )

    def releasedir(self, request: Request, nodeid: int, fh: int) -> None:
        listing = self._listings.pop(fh, None)
        if listing is not None:
            listing.directory.nopen -= 1
            self._tree.settle(listing.directory)

    def _listing(self, request: Request, fh: int) -> Listing:
        listing = self._listings.get(fh)
        if listing is None:
            raise os_error(errno.EBADF)
        mark_accessed(listing.directory, request)
        return listing

    # --- extended attributes

    def setxattr(self, request: Request, nodeid: int, name: str, value: memoryview, flags: int) -> None:
        inode = self._tree.inode(nodeid)
        if checked(name) in ACLS:
            set_acl(inode, name, value, flags, self._tree.room)
            if request.body.setxattr_flags & SetxattrFlags.FUSE_SETXATTR_ACL_KILL_SGID:
                inode.mode &= ~modes.S_ISGID
        else:
            inode.set_xattr(name, value, flags, self._tree.room)
        inode.changed(time_ns())

    def getxattr(self, request: Request, nodeid: int, name: str) -> bytes:
        xattrs = self._tree.inode(nodeid).xattrs or NO_XATTRS
        return xattrs.get(checked(name))

    def listxattr(self, request: Request, nodeid: int) -> list[str]:
        xattrs = self._tree.inode(nodeid).xattrs or NO_XATTRS
        return xattrs.names(privileged=request.uid == 0)

    def removexattr(self, request: Request, nodeid: int, name: str) -> None:
        """As `Filesystem.removexattr`; but nobody minds if an ACL was not there."""
        inode = self._tree.inode(nodeid)
        xattrs = inode.xattrs or NO_XATTRS
        remove = xattrs.discard if checked(name) in ACLS else xattrs.remove
        remove(name)
        inode.changed(time_ns())
