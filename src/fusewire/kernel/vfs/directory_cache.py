"""What a directory was found to hold, kept for the next reader (FOPEN_CACHE_DIR).

Readers who ask the daemon fill the cache together: an entry is added if it stands exactly where the
cache ends, and when the daemon says that there is no more just there, the cache is complete. Only
then is it read from. It holds as long as the directory's mtime and our own count of its changes
(`Inode.version`) are what they were when it was begun, and no INC_EPOCH came; whoever begins to
read looks. A cache that is begun anew has a new `version`, by which a reader in the middle sees
that his place in it is lost.

Linux keeps the entries in the directory's pages. They may be dropped, by INVAL_INODE or by an
OPENDIR without KEEP_CACHE: then a complete cache is begun anew when it is next read, but one that
is not complete can never be (`lost`), since what comes next has no page to go to.

Source: fs/fuse/readdir.c, fuse_add_dirent_to_cache, fuse_readdir_cached.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from fusewire.wire import dirent_size

if TYPE_CHECKING:
    from fusewire.kernel.vfs.inode import Inode

__all__ = ["Cursor", "DirectoryCache", "Entry"]

PAGE: Final = 4096  # bytes


class Entry(NamedTuple):
    """One name in a directory, as readdir(3) shows it."""

    ino: int
    off: int  # a cookie: where reading goes on behind it
    type: int  # DT_*
    name: bytes


class Cursor:
    """Where in the cache an open file stands: `off` is the cookie there, `index` the next entry."""

    __slots__ = ("index", "off", "version")

    def __init__(self) -> None:
        self.off = 0
        self.index = 0
        self.version = 0

    def rewind(self) -> None:
        self.off = self.index = 0


class DirectoryCache:
    """The entries of one directory."""

    __slots__ = ("complete", "entries", "epoch", "lost", "mtime", "of_version", "off", "size", "version")

    def __init__(self) -> None:
        self.version = 0  # how often it was begun anew
        self.mtime = (0, 0)  # of the directory when it was begun: seconds, nanoseconds
        self.of_version = 0  # of the directory's contents, then
        self.epoch = 0  # of the connection, then
        self._clear()

    def _clear(self) -> None:
        self.entries: list[Entry] = []
        self.off = 0  # the cookie where it ends
        self.size = 0  # bytes in pages
        self.complete = False
        self.lost = False  # the pages have been dropped

    def reset(self) -> None:
        """Begin anew."""
        self._clear()
        self.version += 1

    def begin(self, inode: Inode) -> None:
        """Note of what it will be the cache."""
        self.mtime = (inode.attr.mtime, inode.attr.mtimensec)
        self.of_version = inode.version
        self.epoch = inode.superblock.connection.epoch

    def holds(self, inode: Inode) -> bool:
        """Whether the directory is still what it was when the cache was begun."""
        return (
            self.of_version == inode.version
            and self.mtime == (inode.attr.mtime, inode.attr.mtimensec)
            and self.epoch >= inode.superblock.connection.epoch
        )

    def add(self, entry: Entry, position: int) -> None:
        """Take `entry`, which the daemon says stands at the cookie `position`, if that is where the cache ends."""
        if self.complete or position != self.off:
            return
        length = dirent_size(len(entry.name))
        used = self.size % PAGE
        if used + length > PAGE:
            self.size += PAGE - used
        elif used and self.lost:
            return
        self.size += length
        self.off = entry.off
        self.entries.append(entry)

    def end(self, position: int) -> None:
        """Note that the directory ends at `position`: complete, if the cache does too."""
        if position == self.off:
            self.complete = True

    def lose_pages(self) -> None:
        """The pages it was kept in have been dropped."""
        if self.size:
            self.lost = True
