"""What the kernel keeps of a file: its attributes, how long they hold, and its locks.

An inode exists because a daemon granted it: each reply that names its nodeid adds to `nlookup`,
which a FORGET gives back when the last reference goes.

Attributes are trusted until `attr_expires`, but for those in `invalid` (statx bits), which a local
change has outdated. A reply carries the attributes of the moment at which the daemon wrote it; it
is thrown away if `attr_version` has moved on since the request was sent, for then we know better.
Under WRITEBACK_CACHE size and times of a regular file are ours, and what a daemon says of them is
passed over.

`accept` is told of a reply and notes in `stale_pages` what follows for the page cache. Doing that
may sleep, so it is left to who calls it: `settle_pages` in operations/attributes.py.

The sticky bit shows in stat, but `mode` hides it unless the mount has default_permissions: else
the kernel would refuse deletions that the daemon may allow.

Not modelled: DAX, submounts.

Source: fs/fuse/inode.c, fuse_change_attributes_common, fuse_evict_inode; fs/fuse/fuse_i.h.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final

from fusewire.errors import os_error
from fusewire.kernel.locks import Semaphore
from fusewire.kernel.vfs.attr import (
    PERMISSIONS,
    S_IFMT,
    STATX_BASIC,
    STATX_BTIME,
    STATX_CTIME,
    STATX_MTIME,
    STATX_SIZE,
    copy_of,
    with_whole_seconds,
)
from fusewire.wire import Attr, InitFlags

if TYPE_CHECKING:
    from fusewire.kernel.vfs.acl_cache import AclCache
    from fusewire.kernel.vfs.dentry import Dentry
    from fusewire.kernel.vfs.directory_cache import DirectoryCache
    from fusewire.kernel.vfs.file_locks import FileLocks
    from fusewire.kernel.vfs.open_file import OpenFile
    from fusewire.kernel.vfs.page_cache import PageCache
    from fusewire.kernel.vfs.superblock import Superblock
    from fusewire.kernel.vfs.writeback import Writeback
    from fusewire.kernel.waitq import WaitQueue

__all__ = ["INVALIDATE", "TRUNCATE", "Inode"]

# `stale_pages`: what a reply means for the page cache.
TRUNCATE: Final = 1  # what lies beyond the size is gone
INVALIDATE: Final = 2  # what is left may have changed

EXPIRED: Final = -1.0  # a deadline that has always passed


class Inode:
    """A file of one mount. `attr` is what the daemon last said, with what was changed locally since."""

    __slots__ = (
        "_dir_mutex",
        "_rwsem",
        "acls",
        "alias",
        "aliases",
        "attr",
        "attr_expires",
        "attr_version",
        "bad",
        "btime",
        "direct_io_waitq",
        "generation",
        "invalid",
        "iocachectr",
        "is_dir",
        "is_regular",
        "is_symlink",
        "linkable",
        "listing",
        "locks",
        "nlookup",
        "no_privileges",
        "nodeid",
        "pages",
        "readdirplus_advised",
        "references",
        "size_unstable",
        "stale_pages",
        "superblock",
        "version",
        "write_files",
        "writeback",
    )

    def __init__(self, superblock: Superblock, nodeid: int, generation: int, attr: Attr) -> None:
        self.superblock = superblock
        self.nodeid = nodeid
        self.generation = generation
        self.attr = copy_of(attr)  # our own: what came in a message is not changed
        kind = stat.S_IFMT(attr.mode)  # which never changes
        self.is_dir = kind == stat.S_IFDIR
        self.is_regular = kind == stat.S_IFREG
        self.is_symlink = kind == stat.S_IFLNK
        self.attr_expires = EXPIRED  # by the system's clock
        self.attr_version = 0  # of the connection, when `attr` last changed
        self.invalid = STATX_BASIC | STATX_BTIME  # attributes not to be trusted, whatever `attr_expires` says
        self.btime: int | None = None  # nanoseconds since 1970 of its creation, if STATX has told it
        self.nlookup = 0  # references to give back to the daemon
        self.references = 0  # dentries and open files; at 0 it is evicted
        self.alias: Dentry | None = None  # one of them; the others follow by `next_alias`
        self.aliases = 0  # dentries among them
        self.linkable = False  # it was made without a name, and may be given one
        self.bad = False  # the daemon contradicted itself: EIO from now on
        self.size_unstable = False  # a write is extending it, or it is being truncated
        self.stale_pages = 0  # TRUNCATE and INVALIDATE: what `settle_pages` has yet to do
        self.no_privileges = False  # it has neither suid, sgid nor capabilities to lose by a write (S_NOSEC)
        self.direct_io_waitq: WaitQueue | None = None  # those who wait until nobody writes past the page cache
        self.iocachectr = 0  # > 0: users of the page cache; < 0: users who must not meet it
        self.version = 0  # of a directory's contents, as changed locally
        self.readdirplus_advised = False
        self._rwsem: Semaphore | None = None
        self._dir_mutex: Semaphore | None = None
        # Each made when it is first wanted: most inodes never are.
        self.pages: PageCache | None = None
        self.writeback: Writeback | None = None
        self.write_files: list[OpenFile] | None = None  # open files by which pages may be written back
        self.listing: DirectoryCache | None = None
        self.locks: FileLocks | None = None
        self.acls: AclCache | None = None

    def __repr__(self) -> str:
        return f"<Inode {self.nodeid}>"

    @property
    def shown(self) -> str:
        """What to call it before people: a name that it has, or its nodeid."""
        return f"nodeid {self.nodeid}" if self.alias is None else f'"{os.fsdecode(self.alias.name)}"'

    @property
    def rwsem(self) -> Semaphore:
        """Held by whoever changes the file or, for a directory, the names in it (i_rwsem)."""
        if self._rwsem is None:
            self._rwsem = Semaphore(f"inode semaphore for {self.shown}")
        return self._rwsem

    @property
    def dir_mutex(self) -> Semaphore:
        """Held around LOOKUP and READDIR, unless PARALLEL_DIROPS was negotiated."""
        if self._dir_mutex is None:
            self._dir_mutex = Semaphore(f"directory mutex for {self.shown}")
        return self._dir_mutex

    @property
    def mode(self) -> int:
        """Type and permissions as the kernel goes by them (i_mode)."""
        mode = self.attr.mode
        if mode & stat.S_ISVTX and not self.superblock.default_permissions:
            return mode & ~stat.S_ISVTX
        return mode

    @property
    def size(self) -> int:
        return self.attr.size

    @property
    def written_back(self) -> bool:
        """Its size and times are kept here, and told to the daemon later (WRITEBACK_CACHE)."""
        return self.is_regular and self.superblock.connection.has(InitFlags.FUSE_WRITEBACK_CACHE)

    @property
    def kept_locally(self) -> int:
        """The attributes, as statx bits, of which the daemon's word does not count."""
        return STATX_MTIME | STATX_CTIME | STATX_SIZE if self.written_back else 0

    def hold(self) -> None:
        """Take a reference."""
        self.references += 1

    def drop(self) -> None:
        """Give a reference back; with the last one the inode is evicted, and its lookups are forgotten."""
        self.references -= 1
        if not self.references:
            self.superblock.evict(self)

    def check_bad(self) -> None:
        """Refuse to go on with a file of which the daemon has contradicted itself.

        Raises:
            OSError: EIO if it is bad.
        """
        if self.bad:
            raise os_error(errno.EIO)

    def bump(self) -> None:
        """Note a local change of attributes: replies to requests already sent are outdated."""
        connection = self.superblock.connection
        connection.attr_version += 1
        self.attr_version = connection.attr_version

    def invalidate(self, mask: int) -> None:
        """Have the attributes in `mask` asked for before they are next shown."""
        self.invalid |= mask

    def stale(self, mask: int) -> bool:
        """Whether the attributes in `mask` have to be asked for before they are shown."""
        if mask & self.invalid and mask & self.invalid & ~self.kept_locally:
            return True
        return mask != 0 and self.attr_expires <= self.superblock.system.clock.now()

    def accept(self, attr: Attr, attr_valid: float, version: int, evict_ctr: int = 0) -> bool:
        """Take over `attr` of a reply, for `attr_valid` seconds; False if we know better already.

        Afterwards `stale_pages` says whether `settle_pages` has something to do.

        Args:
            version: the connection's `attr_version` before the request was sent; 0 of what makes
                a file, which is never outdated.
            evict_ctr: the connection's, before a LOOKUP or READDIRPLUS was sent. If it has moved
                on meanwhile, a new inode may be an old one whose changes were forgotten.

        Source: fs/fuse/inode.c, fuse_change_attributes_i.
        """
        if self.size_unstable or (version and self.attr_version > version):
            return False
        old = self.attr
        ours = self.kept_locally if self.is_regular else 0
        size, mtime, mtimensec = old.size, old.mtime, old.mtimensec
        self.take(attr, attr_valid, ours, evict_ctr)
        if ours or not self.is_regular:
            if not ours:
                old.size = attr.size
            return True
        old.size = attr.size
        if size != attr.size:
            explicit = self.superblock.connection.has(InitFlags.FUSE_EXPLICIT_INVAL_DATA)
            self._pages_are_stale(TRUNCATE if explicit else TRUNCATE | INVALIDATE)
        elif (old.mtime, old.mtimensec) != (mtime, mtimensec) and self.superblock.connection.has(
            InitFlags.FUSE_AUTO_INVAL_DATA
        ):
            self._pages_are_stale(INVALIDATE)
        return True

    def take(self, attr: Attr, attr_valid: float, ours: int, evict_ctr: int = 0) -> None:
        """Take over all of `attr` but the size, whatever is known already; times unless they are in `ours`.

        Source: fs/fuse/inode.c, fuse_change_attributes_common.
        """
        superblock = self.superblock
        if not evict_ctr or self.attr_version or evict_ctr == superblock.connection.evict_ctr:
            self.invalid &= ~STATX_BASIC
        self.bump()
        self.attr_expires = superblock.system.clock.now() + attr_valid if attr_valid else EXPIRED
        self.no_privileges = False  # somebody else may have given it some
        mine = self.attr
        mine.ino, mine.blocks, mine.nlink, mine.uid, mine.gid = attr.ino, attr.blocks, attr.nlink, attr.uid, attr.gid
        mine.mode = mine.mode & S_IFMT | attr.mode & PERMISSIONS
        mine.blksize = attr.blksize
        attr = with_whole_seconds(attr)
        mine.atime, mine.atimensec = attr.atime, attr.atimensec
        if not ours & STATX_MTIME:
            mine.mtime, mine.mtimensec = attr.mtime, attr.mtimensec
        if not ours & STATX_CTIME:
            mine.ctime, mine.ctimensec = attr.ctime, attr.ctimensec

    def _pages_are_stale(self, how: int) -> None:
        if self.pages is not None:
            self.stale_pages |= how
