#!/usr/bin/env python3
"""The benchmark's small filesystem in memory, on pyfuse3: memory_pyfuse3.py MOUNTPOINT

The same operations and the same answers as memory_libfuse.c: directories and regular files,
nothing cached in the kernel, direct I/O. Written as pyfuse3's documentation asks.
"""

from __future__ import annotations

import errno
import stat
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pyfuse3  # type: ignore[import-not-found]
import trio  # type: ignore[import-not-found]

Attributes = Any  # pyfuse3.EntryAttributes
Context = Any  # pyfuse3.RequestContext


@dataclass
class Inode:
    """A directory (with entries) or a file (with data)."""

    number: int
    mode: int
    uid: int
    gid: int
    data: bytearray = field(default_factory=bytearray)
    entries: dict[bytes, Inode] = field(default_factory=dict)
    nlink: int = 1
    nlookup: int = 0
    mtime_ns: int = field(default_factory=time.time_ns)
    ctime_ns: int = field(default_factory=time.time_ns)


def touch(inode: Inode) -> None:
    """The content has changed."""
    inode.mtime_ns = inode.ctime_ns = time.time_ns()


class Memory(pyfuse3.Operations):  # type: ignore[misc]
    """Directories and files in memory."""

    enable_writeback_cache = False

    def __init__(self) -> None:
        super().__init__()
        root = Inode(pyfuse3.ROOT_INODE, stat.S_IFDIR | 0o755, 0, 0, nlink=2)
        self.inodes = {root.number: root}
        self.last = root.number
        self.listings: dict[int, list[tuple[bytes, Inode]]] = {}

    def attributes(self, inode: Inode) -> Attributes:
        """What the kernel is told of an inode; it may keep it for 0 seconds."""
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = inode.number
        entry.entry_timeout = entry.attr_timeout = 0
        entry.st_mode = inode.mode
        entry.st_nlink = inode.nlink
        entry.st_uid = inode.uid
        entry.st_gid = inode.gid
        entry.st_size = len(inode.data)
        entry.st_blocks = (len(inode.data) + 511) // 512
        entry.st_atime_ns = entry.st_mtime_ns = inode.mtime_ns
        entry.st_ctime_ns = inode.ctime_ns
        return entry

    def looked_up(self, inode: Inode) -> Attributes:
        """The same, and the kernel has one more reference."""
        inode.nlookup += 1
        return self.attributes(inode)

    def drop_if_unused(self, inode: Inode) -> None:
        if not inode.nlink and not inode.nlookup:
            self.inodes.pop(inode.number, None)

    def make(self, parent: int, name: bytes, mode: int, ctx: Context) -> Inode:
        directory = self.inodes[parent]
        if name in directory.entries:
            raise pyfuse3.FUSEError(errno.EEXIST)
        self.last += 1
        inode = Inode(self.last, mode, ctx.uid, ctx.gid)
        self.inodes[inode.number] = directory.entries[name] = inode
        touch(directory)
        return inode

    def remove(self, parent: int, name: bytes, is_directory: bool) -> None:
        directory = self.inodes[parent]
        inode = directory.entries.get(name)
        if inode is None:
            raise pyfuse3.FUSEError(errno.ENOENT)
        if stat.S_ISDIR(inode.mode) != is_directory:
            raise pyfuse3.FUSEError(errno.ENOTDIR if is_directory else errno.EISDIR)
        if inode.entries:
            raise pyfuse3.FUSEError(errno.ENOTEMPTY)
        del directory.entries[name]
        inode.nlink = 0
        directory.nlink -= is_directory
        touch(directory)
        self.drop_if_unused(inode)

    async def lookup(self, parent_inode: int, name: bytes, ctx: Context) -> Attributes:
        inode = self.inodes[parent_inode].entries.get(name)
        if inode is None:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return self.looked_up(inode)

    async def forget(self, inode_list: Iterable[tuple[int, int]]) -> None:
        for number, nlookup in inode_list:
            inode = self.inodes.get(number)
            if inode is not None and number != pyfuse3.ROOT_INODE:
                inode.nlookup -= nlookup
                self.drop_if_unused(inode)

    async def getattr(self, inode: int, ctx: Context) -> Attributes:
        return self.attributes(self.inodes[inode])

    async def setattr(self, inode: int, attr: Attributes, fields: Any, fh: int | None, ctx: Context) -> Attributes:
        found = self.inodes[inode]
        if fields.update_mode:
            found.mode = attr.st_mode
        if fields.update_size:
            del found.data[attr.st_size :]
            found.data.extend(bytes(attr.st_size - len(found.data)))
            touch(found)
        found.ctime_ns = time.time_ns()
        return self.attributes(found)

    async def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: Context
    ) -> tuple[Any, Attributes]:
        inode = self.make(parent_inode, name, stat.S_IFREG | mode & 0o7777, ctx)
        opened = pyfuse3.FileInfo(fh=inode.number, direct_io=True, keep_cache=False)
        return opened, self.looked_up(inode)

    async def mkdir(self, parent_inode: int, name: bytes, mode: int, ctx: Context) -> Attributes:
        inode = self.make(parent_inode, name, stat.S_IFDIR | mode & 0o7777, ctx)
        inode.nlink = 2
        self.inodes[parent_inode].nlink += 1
        return self.looked_up(inode)

    async def unlink(self, parent_inode: int, name: bytes, ctx: Context) -> None:
        self.remove(parent_inode, name, is_directory=False)

    async def rmdir(self, parent_inode: int, name: bytes, ctx: Context) -> None:
        self.remove(parent_inode, name, is_directory=True)

    async def open(self, inode: int, flags: int, ctx: Context) -> Any:
        return pyfuse3.FileInfo(fh=inode, direct_io=True, keep_cache=False)

    async def read(self, fh: int, off: int, size: int) -> bytes:
        return bytes(memoryview(self.inodes[fh].data)[off : off + size])

    async def write(self, fh: int, off: int, buf: bytes) -> int:
        inode = self.inodes[fh]
        if off > len(inode.data):
            inode.data.extend(bytes(off - len(inode.data)))
        inode.data[off : off + len(buf)] = buf
        touch(inode)
        return len(buf)

    async def release(self, fh: int) -> None:
        pass

    async def opendir(self, inode: int, ctx: Context) -> int:
        self.listings[inode] = list(self.inodes[inode].entries.items())
        return inode

    async def readdir(self, fh: int, start_id: int, token: Any) -> None:
        listing = self.listings[fh]
        for place in range(start_id, len(listing)):
            name, inode = listing[place]
            if not pyfuse3.readdir_reply(token, name, self.attributes(inode), place + 1):
                return
            inode.nlookup += 1

    async def releasedir(self, fh: int) -> None:
        self.listings.pop(fh, None)

    async def statfs(self, ctx: Context) -> Any:
        numbers = pyfuse3.StatvfsData()
        numbers.f_bsize = numbers.f_frsize = 4096
        numbers.f_namemax = 255
        return numbers


def main() -> None:
    pyfuse3.init(Memory(), sys.argv[1], {"fsname=memory", "default_permissions"})
    try:
        trio.run(pyfuse3.main)
    finally:
        pyfuse3.close()


if __name__ == "__main__":
    main()
