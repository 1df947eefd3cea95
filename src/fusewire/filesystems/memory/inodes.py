"""The inodes of a filesystem in memory: what a file is, without its names.

An inode lives while something leads to it: a name (`nlink`), an open file (`nopen`), or the
kernel (`nlookup`, until it forgets). `Tree.settle` is the one place that asks.

Times follow POSIX: `changed` marks ctime, `modified` mtime and ctime. For atime nobody wants a
write for each read, so `accessed` does what Linux does by default (relatime): only an atime
that is not younger than the last change, or older than a day, is brought up to date.
"""

from __future__ import annotations

import os
import stat as modes
from typing import Final, NamedTuple

from fusewire.daemon.values import Attributes, SetAttributes
from fusewire.filesystems.memory.budget import Budget
from fusewire.filesystems.memory.sparse import PAGE, SparseFile
from fusewire.filesystems.memory.xattrs import Xattrs
from fusewire.wire import Buffer

__all__ = ["PERMISSIONS", "Birth", "Directory", "Inode", "RegularFile", "Special", "Symlink"]

PERMISSIONS: Final = 0o7777  # of a mode, beside its type
DAY_NS: Final = 24 * 60 * 60 * 10**9
SECTOR: Final = 512  # bytes: the unit of st_blocks
DIRENT: Final = 20  # bytes that a name adds to its directory's size, as on tmpfs


class Birth(NamedTuple):
    """What every inode begins with."""

    nodeid: int
    mode: int  # type and permissions
    uid: int
    gid: int
    time_ns: int


class Inode:
    """Anything that can bear a name. `nodeid` is the number that users see, too, and never used again."""

    __slots__ = (
        "atime_ns",
        "btime_ns",
        "ctime_ns",
        "gid",
        "is_aside",
        "mode",
        "mtime_ns",
        "nlink",
        "nlookup",
        "nodeid",
        "nopen",
        "uid",
        "xattrs",
    )

    def __init__(self, birth: Birth) -> None:
        self.nodeid, self.mode, self.uid, self.gid, self.btime_ns = birth
        self.atime_ns = self.mtime_ns = self.ctime_ns = self.btime_ns
        self.nlink = 0
        self.nlookup = 0
        self.nopen = 0
        self.is_aside = False  # known to the kernel alone; see tree.py
        self.xattrs: Xattrs | None = None  # None until there is one

    @property
    def size(self) -> int:
        """Bytes, as st_size says."""
        return 0

    @property
    def blocks(self) -> int:
        """Sectors that are really stored."""
        return 0

    @property
    def rdev(self) -> int:
        """The device that the file stands for."""
        return 0

    def attributes(self) -> Attributes:
        """What stat(2) tells."""
        return Attributes(
            self.mode,
            self.size,
            self.nlink,
            self.uid,
            self.gid,
            self.atime_ns,
            self.mtime_ns,
            self.ctime_ns,
            self.nodeid,
            self.rdev,
            self.blocks,
            PAGE,
            self.btime_ns,
        )

    def become(self, changes: SetAttributes, now_ns: int) -> None:
        """Take on the mode, owner and times that are to change; the size is not ours."""
        changes = changes.resolved(now_ns)
        if changes.mode is not None:
            self.mode = modes.S_IFMT(self.mode) | changes.mode & PERMISSIONS
        self.uid = self.uid if changes.uid is None else changes.uid
        self.gid = self.gid if changes.gid is None else changes.gid
        if isinstance(changes.atime_ns, int):
            self.atime_ns = changes.atime_ns
        if isinstance(changes.mtime_ns, int):
            self.mtime_ns = changes.mtime_ns
        self.ctime_ns = now_ns if changes.ctime_ns is None else changes.ctime_ns

    def changed(self, now_ns: int) -> None:
        """Owner, mode, number of names or xattrs are not what they were."""
        self.ctime_ns = now_ns

    def modified(self, now_ns: int) -> None:
        """The content is not what it was."""
        self.mtime_ns = self.ctime_ns = now_ns

    @property
    def atime_is_behind(self) -> bool:
        """Nobody has read this since it was changed."""
        return self.atime_ns <= self.mtime_ns or self.atime_ns <= self.ctime_ns

    def atime_is_old(self, now_ns: int) -> bool:
        """Reading this brings atime up to date."""
        return self.atime_is_behind or now_ns - self.atime_ns >= DAY_NS

    def accessed(self, now_ns: int) -> None:
        """The content was read."""
        if self.atime_is_old(now_ns):
            self.atime_ns = now_ns

    def set_xattr(self, name: str, value: Buffer, flags: int, room: Budget) -> None:
        """As `Xattrs.set`."""
        xattrs = Xattrs(room) if self.xattrs is None else self.xattrs
        xattrs.set(name, value, flags)
        self.xattrs = xattrs

    @property
    def pages(self) -> int:
        """Pages of room that are taken for this."""
        return 0 if self.xattrs is None else self.xattrs.pages

    def move_to(self, room: Budget) -> None:
        """Take what is stored here from another room than before. ENOSPC unless it has `pages` free."""
        if self.xattrs is not None:
            self.xattrs.move_to(room)

    def free(self) -> None:
        """Give back what is counted: nothing leads here any more."""
        if self.xattrs is not None:
            self.xattrs.free()


class RegularFile(Inode):
    """A file with content. `nameless` says that O_TMPFILE made it, so that link may give it its first name."""

    __slots__ = ("content", "nameless")

    def __init__(self, birth: Birth, room: Budget) -> None:
        super().__init__(birth)
        self.content = SparseFile(room)
        self.nameless = False

    @property
    def size(self) -> int:
        return self.content.size

    @property
    def blocks(self) -> int:
        return self.content.pages * (PAGE // SECTOR)

    @property
    def pages(self) -> int:
        return self.content.pages + super().pages

    def move_to(self, room: Budget) -> None:
        self.content.move_to(room)
        super().move_to(room)

    def free(self) -> None:
        super().free()
        self.content.free()


class Directory(Inode):
    """Names. `parent` is what '..' leads to; the root's is itself."""

    __slots__ = ("names", "parent")

    def __init__(self, birth: Birth, parent: Directory | None) -> None:
        super().__init__(birth)
        self.names: dict[str, Inode] = {}
        self.parent: Directory = self if parent is None else parent

    @property
    def size(self) -> int:
        return DIRENT * (2 + len(self.names))

    def is_within(self, other: Inode) -> bool:
        """This is `other`, or lies below it."""
        here = self
        while here is not other and here is not here.parent:
            here = here.parent
        return here is other


class Symlink(Inode):
    """A path to follow."""

    __slots__ = ("target",)

    def __init__(self, birth: Birth, target: str) -> None:
        super().__init__(birth)
        self.target = target

    @property
    def size(self) -> int:
        return len(os.fsencode(self.target))


class Special(Inode):
    """A fifo, a socket or a device: a name and an owner for what the kernel does itself."""

    __slots__ = ("_rdev",)

    def __init__(self, birth: Birth, rdev: int) -> None:
        super().__init__(birth)
        self._rdev = rdev

    @property
    def rdev(self) -> int:
        return self._rdev
