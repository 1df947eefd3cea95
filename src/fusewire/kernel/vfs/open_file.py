"""An open file: what open(2) made, whoever shares it.

Several descriptors may share one (dup, fork), and mappings too. FLUSH goes out whenever a
descriptor is closed, RELEASE when the last reference is gone, be it a descriptor, a mapping, or a
READ still under way (`put_file` in operations/releasing.py).

It pins its dentry, and with it the inode: a file that is removed while it is open lives on.

Source: include/linux/fs.h, struct file; fs/fuse/fuse_i.h, struct fuse_file.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from fusewire.kernel.locks import Semaphore
from fusewire.wire import OpenFlags

if TYPE_CHECKING:
    from fusewire.kernel.vfs.dentry import Dentry
    from fusewire.kernel.vfs.directory_cache import Cursor
    from fusewire.kernel.vfs.inode import Inode
    from fusewire.kernel.vfs.polling import Pollers
    from fusewire.kernel.vfs.readahead import Readahead

__all__ = ["O_LARGEFILE", "OpenFile"]

O_LARGEFILE: Final = 0o100000  # which a 64-bit kernel adds to every open; os.O_LARGEFILE is 0 there
UNSEEKABLE: Final = OpenFlags.FOPEN_NONSEEKABLE | OpenFlags.FOPEN_STREAM


class OpenFile:
    """A file as somebody has opened it. `references` counts descriptors, mappings, and I/O under way."""

    __slots__ = (
        "_position_lock",
        "cached_reference",
        "cursor",
        "dentry",
        "failures_heard",
        "fh",
        "flags",
        "flocked",
        "inode",
        "kh",
        "open_flags",
        "opened",
        "poll_waitq",
        "position",
        "readahead",
        "references",
    )

    def __init__(self, dentry: Dentry, inode: Inode, flags: int) -> None:
        self.dentry = dentry  # it holds a reference
        self.inode = inode
        self.flags = flags  # O_*, as F_GETFL shows them
        self.fh = 0  # the daemon's
        self.open_flags = 0  # FOPEN_*
        self.opened = False  # the daemon knows it, and is to be told of its end (RELEASE)
        self.references = 1
        self.position = 0  # bytes, or a directory's cookie
        self.kh = 0  # its number among those that the daemon was asked to open; in POLL it is our name for it
        self.failures_heard = (
            inode.writeback.sample() if inode.writeback is not None else 0
        )  # of its WRITEs that failed
        self.flocked = False  # flock(2) was used: RELEASE says so
        self.cached_reference = False  # it counts in the inode's iocachectr
        self.poll_waitq: Pollers | None = None
        self.readahead: Readahead | None = None  # made when it is first read
        self.cursor: Cursor | None = None  # where it stands in the directory's cache
        self._position_lock: Semaphore | None = None

    def __repr__(self) -> str:
        return f"<OpenFile {self.dentry.path!r}, fh {self.fh}>"

    def hold(self) -> OpenFile:
        """Take a reference, for `put_file` to give back."""
        self.references += 1
        return self

    @property
    def position_lock(self) -> Semaphore:
        """Held by whoever uses `position` (f_pos_lock)."""
        if self._position_lock is None:
            self._position_lock = Semaphore(f"the position in {self.dentry.path}")
        return self._position_lock

    @property
    def path_only(self) -> bool:
        """Opened with O_PATH: it stands for a place in the tree and was never opened by the daemon."""
        return bool(self.flags & os.O_PATH)

    @property
    def readable(self) -> bool:
        return self.flags & os.O_ACCMODE in (os.O_RDONLY, os.O_RDWR) and not self.flags & os.O_PATH

    @property
    def writable(self) -> bool:
        return self.flags & os.O_ACCMODE in (os.O_WRONLY, os.O_RDWR) and not self.flags & os.O_PATH

    @property
    def seekable(self) -> bool:
        """Whether lseek, pread and pwrite may be used; the daemon says so when it opens the file."""
        return not self.open_flags & UNSEEKABLE

    @property
    def stream(self) -> bool:
        """Whether it has no position at all, and nobody who reads or writes waits for another's position."""
        return bool(self.open_flags & OpenFlags.FOPEN_STREAM)

    @property
    def served(self) -> bool:
        """Whether requests go to the daemon: a regular file or directory that was opened for more than its path."""
        return stat.S_IFMT(self.inode.attr.mode) in (stat.S_IFREG, stat.S_IFDIR) and not self.flags & os.O_PATH
