"""What the kernel keeps of a file: its attributes, how long they hold, and its locks.

An inode exists because a daemon granted it: each reply that names its nodeid adds to `nlookup`,
which a FORGET gives back when the last reference goes.

Attributes are trusted until `attr_expires`, but for those in `invalid` (statx bits), which a local
change has outdated. A reply carries the attributes of the moment at which the daemon wrote it; it
is thrown away if `attr_version` has moved on since the request was sent, for then we know better.

`accept` is told of a reply and says what became of the size and the time of modification; whoever
calls it does what follows for the page cache, which may sleep (operations/attributes.py).

Source: fs/fuse/inode.c, fuse_change_attributes; fs/fuse/fuse_i.h.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Final

from fusewire.kernel.locks import Semaphore
from fusewire.wire import Attr

if TYPE_CHECKING:
    from fusewire.kernel.vfs.acl_cache import AclCache
    from fusewire.kernel.vfs.file_locks import FileLocks
    from fusewire.kernel.vfs.page_cache import PageCache
    from fusewire.kernel.vfs.superblock import Superblock
    from fusewire.kernel.vfs.writeback import Writeback

__all__ = [
    "STATX_ATIME",
    "STATX_BASIC",
    "STATX_BLOCKS",
    "STATX_CTIME",
    "STATX_GID",
    "STATX_INO",
    "STATX_MODE",
    "STATX_MTIME",
    "STATX_NLINK",
    "STATX_SIZE",
    "STATX_TYPE",
    "STATX_UID",
    "Inode",
]

# include/uapi/linux/stat.h
STATX_TYPE: Final = 0x1
STATX_MODE: Final = 0x2
STATX_NLINK: Final = 0x4
STATX_UID: Final = 0x8
STATX_GID: Final = 0x10
STATX_ATIME: Final = 0x20
STATX_MTIME: Final = 0x40
STATX_CTIME: Final = 0x80
STATX_INO: Final = 0x100
STATX_SIZE: Final = 0x200
STATX_BLOCKS: Final = 0x400
STATX_BASIC: Final = 0x7FF


class Inode:
    """A file of one mount. `attr` is what the daemon last said, with what was changed locally since."""

    __slots__ = (
        "acls",
        "aliases",
        "attr",
        "attr_expires",
        "attr_version",
        "bad",
        "generation",
        "iocachectr",
        "invalid",
        "locks",
        "nlookup",
        "nodeid",
        "pages",
        "readdirplus_advised",
        "references",
        "size_unstable",
        "superblock",
        "version",
        "write_files",
        "writeback",
        "_dir_mutex",
        "_rwsem",
    )

    def __init__(self, superblock: Superblock, nodeid: int, generation: int, attr: Attr) -> None:
        self.superblock = superblock
        self.nodeid = nodeid
        self.generation = generation
        self.attr = attr
        self.attr_expires = 0.0  # by the system's clock
        self.attr_version = 0  # of the connection, when `attr` last changed
        self.invalid = STATX_BASIC  # attributes not to be trusted, whatever `attr_expires` says
        self.nlookup = 0  # references to give back to the daemon
        self.references = 0  # dentries and open files; at 0 it is evicted
        self.aliases = 0  # dentries among them
        self.bad = False  # the daemon contradicted itself: EIO from now on
        self.size_unstable = False  # a write is extending it
        self.iocachectr = 0  # > 0: users of the page cache; < 0: users who must not meet it
        self.version = 0  # of a directory's contents, as changed locally
        self.readdirplus_advised = False
        self._rwsem: Semaphore | None = None
        self._dir_mutex: Semaphore | None = None
        # Each made when it is first wanted: most inodes never are.
        self.pages: PageCache | None = None
        self.writeback: Writeback | None = None
        self.write_files: list[object] | None = None  # open files by which pages may be written back
        self.locks: FileLocks | None = None
        self.acls: AclCache | None = None

    def __repr__(self) -> str:
        return f"<Inode {self.nodeid}>"

    @property
    def rwsem(self) -> Semaphore:
        """Held by whoever changes the file or, for a directory, the names in it (i_rwsem)."""
        if self._rwsem is None:
            self._rwsem = Semaphore(f"inode semaphore for nodeid {self.nodeid}")
        return self._rwsem

    @property
    def dir_mutex(self) -> Semaphore:
        """Held around LOOKUP and READDIR, unless PARALLEL_DIROPS was negotiated."""
        if self._dir_mutex is None:
            self._dir_mutex = Semaphore(f"directory mutex for nodeid {self.nodeid}")
        return self._dir_mutex

    @property
    def mode(self) -> int:
        return self.attr.mode

    @property
    def size(self) -> int:
        return self.attr.size

    @property
    def is_dir(self) -> bool:
        return stat.S_ISDIR(self.attr.mode)

    @property
    def is_regular(self) -> bool:
        return stat.S_ISREG(self.attr.mode)

    @property
    def is_symlink(self) -> bool:
        return stat.S_ISLNK(self.attr.mode)

    def bump(self) -> None:
        """Note a local change of attributes: replies to requests already sent are outdated."""
        connection = self.superblock.connection
        connection.attr_version += 1
        self.attr_version = connection.attr_version

    def invalidate(self, mask: int) -> None:
        """Have the attributes in `mask` asked for before they are next shown."""
        self.invalid |= mask
