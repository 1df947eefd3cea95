#!/usr/bin/env python3
"""The benchmark's small filesystem in memory, on mfusepy: memory_mfusepy.py MOUNTPOINT

The same answers as memory_libfuse.c, by paths, which is what mfusepy offers: it drives
libfuse's high-level interface. Entries and attributes are valid for 0 seconds, direct I/O.
"""

from __future__ import annotations

import errno
import stat
import sys
import time
from collections.abc import Iterator

import mfusepy  # type: ignore[import-not-found]


class Inode:
    """A directory (entries) or a file (data)."""

    def __init__(self, mode: int, uid: int, gid: int) -> None:
        self.mode, self.uid, self.gid = mode, uid, gid
        self.nlink = 2 if stat.S_ISDIR(mode) else 1
        self.data = bytearray()
        self.entries: dict[str, Inode] = {}
        self.touch()

    def touch(self) -> None:
        """The content has changed."""
        self.mtime_ns = self.ctime_ns = time.time_ns()

    def attributes(self) -> dict[str, int]:
        """What getattr answers."""
        return {
            "st_mode": self.mode,
            "st_nlink": self.nlink,
            "st_uid": self.uid,
            "st_gid": self.gid,
            "st_size": len(self.data),
            "st_blocks": (len(self.data) + 511) // 512,
            "st_atime": self.mtime_ns,
            "st_mtime": self.mtime_ns,
            "st_ctime": self.ctime_ns,
        }


def error(number: int) -> mfusepy.FuseOSError:
    return mfusepy.FuseOSError(number)


class Memory(mfusepy.Operations):  # type: ignore[misc]
    """Directories and files in memory, found by path."""

    use_ns = True

    def __init__(self) -> None:
        self.root = Inode(stat.S_IFDIR | 0o755, 0, 0)
        self.open_files: dict[int, Inode] = {}
        self.last = 0

    def find(self, path: str) -> Inode:
        inode = self.root
        for name in path.split("/"):
            if name:
                found = inode.entries.get(name)
                if found is None:
                    raise error(errno.ENOENT)
                inode = found
        return inode

    def place(self, path: str) -> tuple[Inode, str]:
        """The directory that a path is in, and its name there."""
        parent, _, name = path.rpartition("/")
        return self.find(parent), name

    def make(self, path: str, mode: int) -> Inode:
        directory, name = self.place(path)
        if name in directory.entries:
            raise error(errno.EEXIST)
        uid, gid, _ = mfusepy.fuse_get_context()
        inode = directory.entries[name] = Inode(mode, uid, gid)
        directory.touch()
        return inode

    def remove(self, path: str, is_directory: bool) -> None:
        directory, name = self.place(path)
        inode = self.find(path)
        if stat.S_ISDIR(inode.mode) != is_directory:
            raise error(errno.ENOTDIR if is_directory else errno.EISDIR)
        if inode.entries:
            raise error(errno.ENOTEMPTY)
        del directory.entries[name]
        inode.nlink = 0
        directory.nlink -= is_directory
        directory.touch()

    def opened(self, inode: Inode) -> int:
        self.last += 1
        self.open_files[self.last] = inode
        return self.last

    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        return (self.open_files[fh] if fh else self.find(path)).attributes()

    def chmod(self, path: str, mode: int) -> None:
        self.find(path).mode = mode

    def truncate(self, path: str, length: int, fh: int | None = None) -> None:
        inode = self.open_files[fh] if fh else self.find(path)
        del inode.data[length:]
        inode.data.extend(bytes(length - len(inode.data)))
        inode.touch()

    def create(self, path: str, mode: int, fi: object = None) -> int:
        return self.opened(self.make(path, stat.S_IFREG | mode & 0o7777))

    def mkdir(self, path: str, mode: int) -> None:
        self.make(path, stat.S_IFDIR | mode & 0o7777)
        self.place(path)[0].nlink += 1

    def unlink(self, path: str) -> None:
        self.remove(path, is_directory=False)

    def rmdir(self, path: str) -> None:
        self.remove(path, is_directory=True)

    def open(self, path: str, flags: int) -> int:
        return self.opened(self.find(path))

    def release(self, path: str, fh: int) -> None:
        self.open_files.pop(fh, None)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return bytes(memoryview(self.open_files[fh].data)[offset : offset + size])

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        inode = self.open_files[fh]
        if offset > len(inode.data):
            inode.data.extend(bytes(offset - len(inode.data)))
        inode.data[offset : offset + len(data)] = data
        inode.touch()
        return len(data)

    def readdir(self, path: str, fh: int) -> Iterator[str | tuple[str, dict[str, int], int]]:
        inode = self.find(path)
        yield "."
        yield ".."
        for name, entry in inode.entries.items():
            yield name, entry.attributes(), 0

    def statfs(self, path: str) -> dict[str, int]:
        return {"f_bsize": 4096, "f_frsize": 4096, "f_namemax": 255}


if __name__ == "__main__":
    mfusepy.FUSE(
        Memory(),
        sys.argv[1],
        foreground=True,
        direct_io=True,
        hard_remove=True,
        default_permissions=True,
        entry_timeout=0,
        attr_timeout=0,
        negative_timeout=0,
        fsname="memory",
    )
