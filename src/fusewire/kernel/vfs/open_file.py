"""An open file: what open(2) made, whoever shares it.

Several descriptors may share one (dup, fork), and mappings too. FLUSH goes out whenever a
descriptor is closed, RELEASE when the last reference is gone, be it a descriptor, a mapping, or a
READ still under way.

Source: include/linux/fs.h, struct file; fs/fuse/fuse_i.h, struct fuse_file.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fusewire.kernel.locks import Semaphore

if TYPE_CHECKING:
    from fusewire.kernel.vfs.dentry import Dentry
    from fusewire.kernel.vfs.inode import Inode
    from fusewire.kernel.waitq import WaitQueue

__all__ = ["OpenFile"]


class OpenFile:
    """A file as somebody has opened it. `references` counts descriptors, mappings, and I/O under way."""

    __slots__ = (
        "cached_reference",
        "cursor",
        "dentry",
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
        "_position_lock",
    )

    def __init__(self, dentry: Dentry, inode: Inode, flags: int) -> None:
        self.dentry = dentry
        self.inode = inode
        self.flags = flags  # O_*, as F_GETFL shows them
        self.fh = 0  # the daemon's
        self.open_flags = 0  # FOPEN_*
        self.opened = False  # the daemon knows it, and is to be told of its end (RELEASE)
        self.references = 1
        self.position = 0  # bytes, or a directory's cookie
        self.kh = 0  # our number for it in POLL
        self.flocked = False  # flock(2) was used: RELEASE says so
        self.cached_reference = False  # it counts in the inode's iocachectr
        self.poll_waitq: WaitQueue | None = None
        self.readahead: object = None  # state of reading.py
        self.cursor: object = None  # state of directory.py
        self._position_lock: Semaphore | None = None

    @property
    def position_lock(self) -> Semaphore:
        """Held by whoever uses `position` (f_pos_lock)."""
        if self._position_lock is None:
            self._position_lock = Semaphore(f"the position in {self.dentry.path}")
        return self._position_lock

    @property
    def readable(self) -> bool:
        return self.flags & os.O_ACCMODE in (os.O_RDONLY, os.O_RDWR) and not self.flags & os.O_PATH

    @property
    def writable(self) -> bool:
        return self.flags & os.O_ACCMODE in (os.O_WRONLY, os.O_RDWR) and not self.flags & os.O_PATH
