"""READDIR and READDIRPLUS: what a directory holds.

A reply is as many entries as fit the size that was asked for: what the caller has room for, but a
page at least and no more than one request may bring. They are handed to him until his room is
used up; the rest of a reply is thrown away, and asked for again from the cookie behind the last
entry that he took. So each entry has a cookie of its own, and reading may go on from any of them.

READDIRPLUS answers as LOOKUP does for each entry, which spares the stat that often follows. It is
always used if DO_READDIRPLUS was negotiated; with READDIRPLUS_AUTO at the beginning of a directory,
and later on only if something that it told has been used. Each entry counts as a lookup, so the
rest of its reply is not thrown away but remembered, and what cannot be remembered is forgotten at
once: by a FORGET of its own, on which the reader waits until the daemon has read it.

The directory's semaphore is held, shared, while the daemon is asked, and its mutex unless
PARALLEL_DIROPS was negotiated.

Source: fs/fuse/readdir.c; fs/readdir.c, filldir64.
"""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING, Final

from fusewire.errors import ProtocolError, os_error
from fusewire.events import named
from fusewire.kernel.operations.attributes import refresh
from fusewire.kernel.operations.direntplus import link_direntplus
from fusewire.kernel.vfs.attr import STATX_ATIME, STATX_MTIME
from fusewire.kernel.vfs.directory_cache import Cursor, DirectoryCache, Entry
from fusewire.wire import (
    EntryOut,
    ForgetIn,
    InitFlags,
    OpenFlags,
    ReadIn,
    Reply,
    iter_direntplus,
    iter_dirents,
)

if TYPE_CHECKING:
    from fusewire.kernel.vfs.inode import Inode
    from fusewire.kernel.vfs.open_file import OpenFile

__all__ = ["Room", "fuse_readdir"]

PAGE: Final = 4096  # bytes
HEAD: Final = 19  # bytes of a struct linux_dirent64 before its name
DT_MASK: Final = 15  # include/linux/fs_types.h
DOTS: Final = (b".", b"..")


class Room:
    """A caller's buffer for entries, in the form of getdents64(2)."""

    __slots__ = ("entries", "left", "size", "too_small")

    def __init__(self, size: int) -> None:
        self.size = self.left = size  # bytes
        self.entries: list[Entry] = []
        self.too_small = False  # an entry did not fit

    def take(self, entry: Entry) -> bool:
        """Add `entry`; False if there is no room for it. A signal ends nothing here (FILLDIR_FLAG_NOINTR)."""
        length = (HEAD + len(entry.name) + 1 + 7) & ~7
        self.too_small = length > self.left
        if self.too_small:
            return False
        self.left -= length
        odd = entry.type > DT_MASK or entry.off >> 63 or b"\0" in entry.name
        self.entries.append(as_shown(entry) if odd else entry)
        return True


def as_shown(entry: Entry) -> Entry:
    """What of a daemon's odd entry a program can see: a signed offset, four bits of its type, a C string."""
    off = entry.off - (1 << 64) if entry.off >> 63 else entry.off
    return Entry(entry.ino, off, entry.type & DT_MASK, entry.name.partition(b"\0")[0])


@named("fuse_readdir")
async def fuse_readdir(file: OpenFile, room: Room) -> None:
    """Fill `room` with what follows `file.position`, and move that on. The caller holds the directory's semaphore.

    Nothing is added at the end of the directory.

    Raises:
        OSError: EIO if the inode is bad, or the daemon answers nonsense; otherwise as it says.
    """
    inode = file.inode
    inode.check_bad()
    if file.open_flags & OpenFlags.FOPEN_CACHE_DIR and await _read_cache(file, room):
        return
    try:
        await _read(file, room)
    finally:
        inode.invalidate(STATX_ATIME)


# Asking the daemon.


async def _read(file: OpenFile, room: Room) -> None:
    inode = file.inode
    connection = inode.superblock.connection
    plus = _use_readdirplus(file)
    epoch, version, evict_ctr = connection.epoch, connection.attr_version, connection.evict_ctr
    reply = await _ask(file, room, "READDIRPLUS" if plus else "READDIR")
    if not reply.data:
        if file.open_flags & OpenFlags.FOPEN_CACHE_DIR:
            _cache_of(inode).end(file.position)
    elif plus:
        await _take_plus(file, room, reply, epoch, version, evict_ctr)
    else:
        _take(file, room, reply)


def _use_readdirplus(file: OpenFile) -> bool:
    connection, inode = file.inode.superblock.connection, file.inode
    if not connection.has(InitFlags.FUSE_DO_READDIRPLUS):
        return False
    if not connection.has(InitFlags.FUSE_READDIRPLUS_AUTO):
        return True
    advised, inode.readdirplus_advised = inode.readdirplus_advised, False
    return advised or file.position == 0


async def _ask(file: OpenFile, room: Room, name: str) -> Reply:
    inode = file.inode
    connection = inode.superblock.connection
    size = min(max(room.size, PAGE), connection.settings.max_pages * PAGE)
    body = ReadIn(file.fh, file.position, size, flags=file.flags)
    if connection.has(InitFlags.FUSE_PARALLEL_DIROPS):
        return await connection.ask(name, inode.nodeid, body)
    async with inode.dir_mutex.exclusive():
        return await connection.ask(name, inode.nodeid, body)


def _take(file: OpenFile, room: Room, reply: Reply) -> None:
    try:
        for dirent, name in iter_dirents(reply.data):
            if not _emit(file, room, Entry(dirent.ino, dirent.off, dirent.type, name)):
                return
    except ProtocolError:
        raise os_error(errno.EIO) from None


async def _take_plus(file: OpenFile, room: Room, reply: Reply, epoch: int, version: int, evict_ctr: int) -> None:
    """Hand out entries as long as there is room, and remember all."""
    over = False
    try:
        for record, name in iter_direntplus(reply.data):
            dirent, entry = record.dirent, record.entry_out
            if not over:
                over = not _emit(file, room, Entry(dirent.ino, dirent.off, dirent.type, name))
            if not entry.nodeid or name in DOTS:
                continue  # it grants nothing
            try:
                await link_direntplus(file.dentry, name, entry, epoch=epoch, version=version, evict_ctr=evict_ctr)
            except OSError:
                await _forget_now(file.inode, entry)
    except ProtocolError:
        raise os_error(errno.EIO) from None


async def _forget_now(inode: Inode, entry: EntryOut) -> None:
    """Give a lookup back that could not be remembered. Returns when the daemon has read it."""
    with contextlib.suppress(OSError):
        await inode.superblock.connection.ask("FORGET", entry.nodeid, ForgetIn(1), force=True)


def _emit(file: OpenFile, room: Room, entry: Entry) -> bool:
    """Hand `entry` out and move on behind it; False if there is no room."""
    if file.open_flags & OpenFlags.FOPEN_CACHE_DIR:
        _cache_of(file.inode).add(entry, file.position)
    if not room.take(entry):
        return False
    file.position = entry.off
    return True


# What the cache holds.


def _cache_of(inode: Inode) -> DirectoryCache:
    if inode.listing is None:
        inode.listing = DirectoryCache()
    return inode.listing


async def _read_cache(file: OpenFile, room: Room) -> bool:
    """Fill `room` from the cache; False if the daemon has to be asked.

    Source: fs/fuse/readdir.c, fuse_readdir_cached.
    """
    inode = file.inode
    cursor = _cursor_of(file)
    if cursor.off != file.position:  # somebody sought
        cursor.rewind()
    if not file.position and inode.superblock.connection.has(InitFlags.FUSE_AUTO_INVAL_DATA):
        await refresh(inode, STATX_MTIME, file)
    cache = _cache_of(inode)
    if not _usable(cache, cursor, file):
        return False
    return _take_cached(cache, cursor, file, room)


def _cursor_of(file: OpenFile) -> Cursor:
    if file.cursor is None:
        file.cursor = Cursor()
    return file.cursor


def _usable(cache: DirectoryCache, cursor: Cursor, file: OpenFile) -> bool:
    """Whether the cache is there, whole and good; if not, it is made ready to be filled."""
    inode = file.inode
    if cache.complete and not file.position and not cache.holds(inode):
        cache.reset()
    if cache.complete and cursor.version != cache.version:
        cursor.rewind()
        cursor.version = cache.version
    if cache.complete and cache.lost and cursor.index < len(cache.entries):
        cache.reset()
    if not cache.complete and not file.position and not cache.size:
        cache.begin(inode)
    return cache.complete


def _take_cached(cache: DirectoryCache, cursor: Cursor, file: OpenFile, room: Room) -> bool:
    """Go on from the cursor to the end, handing out what stands at `file.position`; False if nothing stands there."""
    at_end = cursor.index == len(cache.entries)
    found = False
    while cursor.index < len(cache.entries):
        entry = cache.entries[cursor.index]
        if cursor.off == file.position:
            found = True
            if not room.take(entry):
                return True
            file.position = entry.off
        cursor.off = entry.off
        cursor.index += 1
    return found or at_end
