"""A filesystem written with nodes, as a person would write one, that keeps all that POSIX wants kept.

What the engine does not do for nodes is done here, once for all kinds (`Kept`): whose a new node is,
its extended attributes, and which times a call changes. Permissions are the kernel's affair.
"""

from __future__ import annotations

import errno
import os
import stat as modes
import time
from collections.abc import Iterable
from typing import Any, TypeVar

from fusewire import Attributes, Directory, File, Node, SetAttributes, Special, Symlink, current_request
from fusewire.errors import os_error

__all__ = ["Folder"]

LONGEST = 1 << 50  # bytes of a file
NOREPLACE, EXCHANGE = 1, 2
KEEP_SIZE, PUNCH_HOLE = 1, 2


class Kept(Node):
    """What every kind of node keeps."""

    def born(self, mode: int, parent: Folder | None) -> None:
        """Give a new node its mode, its owner and its times."""
        self.mode = mode
        self.xattrs: dict[str, bytes] = {}
        self.touch("atime_ns", "mtime_ns", "ctime_ns")
        if parent is None:
            return
        request = current_request()
        self.uid, self.gid = request.uid, request.gid
        if parent.mode & modes.S_ISGID:
            self.gid = parent.gid
            self.mode |= modes.S_ISGID if isinstance(self, Folder) else 0

    def touch(self, *times: str) -> None:
        """Set some times to now."""
        now = time.time_ns()
        for name in times:
            setattr(self, name, now)

    def was_read(self) -> None:
        """Move the access time on, as relatime would: if it is not later than the others."""
        if self.atime_ns <= max(self.mtime_ns, self.ctime_ns):
            self.touch("atime_ns")

    def setattr(self, changes: SetAttributes) -> None:
        self.keep(changes)

    def getxattr(self, name: str) -> bytes:
        if name.startswith("system."):
            raise os_error(errno.EOPNOTSUPP)
        if name not in self.xattrs:
            raise os_error(errno.ENODATA)
        return self.xattrs[name]

    def setxattr(self, name: str, value: Any, flags: int) -> None:
        if not name.startswith(("user.", "trusted.", "security.")):
            raise os_error(errno.EOPNOTSUPP)
        if flags & os.XATTR_CREATE and name in self.xattrs:
            raise os_error(errno.EEXIST)
        if flags & os.XATTR_REPLACE and name not in self.xattrs:
            raise os_error(errno.ENODATA)
        self.xattrs[name] = bytes(value)
        self.touch("ctime_ns")

    def listxattr(self) -> Iterable[str]:
        privileged = current_request().uid == 0
        return [name for name in self.xattrs if privileged or not name.startswith("trusted.")]

    def removexattr(self, name: str) -> None:
        self.getxattr(name)
        del self.xattrs[name]
        self.touch("ctime_ns")


class Text(Kept, File):
    """A file, in pieces of its own so that holes cost nothing."""

    PIECE = 4096

    def __init__(self) -> None:
        self.pieces: dict[int, bytearray] = {}
        self.size: int = 0

    def getattr(self) -> Attributes:
        attributes = self.attributes()
        attributes.blocks = len(self.pieces) * (self.PIECE // 512)
        return attributes

    def read(self, offset: int, size: int) -> bytes:
        self.was_read()
        parts, end = [], min(offset + size, self.size)
        while offset < end:
            number, within = divmod(offset, self.PIECE)
            length = min(end - offset, self.PIECE - within)
            piece = self.pieces.get(number)
            parts.append(bytes(length) if piece is None else bytes(piece[within : within + length]))
            offset += length
        return b"".join(parts)

    def write(self, offset: int, data: memoryview) -> None:
        self.size = max(self.size, offset + len(data))
        while data:
            number, within = divmod(offset, self.PIECE)
            length = min(len(data), self.PIECE - within)
            self.pieces.setdefault(number, bytearray(self.PIECE))[within : within + length] = data[:length]
            offset, data = offset + length, data[length:]
        self.touch("mtime_ns", "ctime_ns")

    def truncate(self, size: int) -> None:
        if size > LONGEST:
            raise os_error(errno.EFBIG)
        first, within = divmod(size, self.PIECE)
        if size < self.size:
            self.pieces = {number: piece for number, piece in self.pieces.items() if number < first + bool(within)}
            if first in self.pieces:
                self.pieces[first][within:] = bytes(self.PIECE - within)
        self.size = size
        self.touch("mtime_ns", "ctime_ns")

    def fallocate(self, offset: int, length: int, mode: int) -> None:
        if mode == PUNCH_HOLE | KEEP_SIZE:
            self._punch(offset, min(offset + length, self.size))
        elif mode & ~KEEP_SIZE:
            raise os_error(errno.EOPNOTSUPP)
        else:
            for number in range(offset // self.PIECE, -(-(offset + length) // self.PIECE)):
                self.pieces.setdefault(number, bytearray(self.PIECE))
            if not mode & KEEP_SIZE:
                self.size = max(self.size, offset + length)
        self.touch("mtime_ns", "ctime_ns")

    def _punch(self, start: int, end: int) -> None:
        for number in list(self.pieces):
            first = number * self.PIECE
            low, high = max(start - first, 0), min(end - first, self.PIECE)
            if low == 0 and high == self.PIECE:
                del self.pieces[number]
            elif low < high:
                self.pieces[number][low:high] = bytes(high - low)

    def setattr(self, changes: SetAttributes) -> None:
        if changes.size is not None:
            self.truncate(changes.size)
        self.keep(changes)


class Pointer(Kept, Symlink):
    """A symlink."""


class Odd(Kept, Special):
    """A fifo, socket or device."""


Made = TypeVar("Made", bound=Kept)


class Folder(Kept, Directory):
    """A directory in which everything can be made."""

    def __init__(self, parent: Folder | None = None, mode: int = 0o755) -> None:
        self.names: dict[str, Kept] = {}
        self.born(mode, parent)

    def getattr(self) -> Attributes:
        attributes = self.attributes()
        attributes.nlink = 2 + sum(isinstance(node, Folder) for node in self.names.values()) if self.nlink else 0
        return attributes

    def lookup(self, name: str) -> Kept | None:
        return self.names.get(name)

    def list(self) -> dict[str, Kept]:
        self.was_read()
        return self.names

    def create(self, name: str, mode: int) -> Text:
        return self.new(name, Text(), mode)

    def mknod(self, name: str, mode: int, rdev: int) -> Kept:
        return self.new(name, Odd(mode, rdev), mode)

    def mkdir(self, name: str, mode: int) -> Folder:
        return self.new(name, Folder(self), mode)

    def symlink(self, name: str, target: str) -> Pointer:
        return self.new(name, Pointer(target), 0o777)

    def new(self, name: str, node: Made, mode: int) -> Made:
        node.born(mode, self)
        self.names[name] = node
        self.touch("mtime_ns", "ctime_ns")
        return node

    def link(self, name: str, node: Kept) -> None:
        self.names[name] = node
        node.touch("ctime_ns")
        self.touch("mtime_ns", "ctime_ns")

    def unlink(self, name: str) -> None:
        self.names.pop(name).touch("ctime_ns")
        self.touch("mtime_ns", "ctime_ns")

    def rmdir(self, name: str) -> None:
        node = self.names[name]
        if isinstance(node, Folder) and node.names:
            raise os_error(errno.ENOTEMPTY)
        self.unlink(name)

    def rename(self, name: str, new_directory: Any, new_name: str, flags: int) -> None:
        there: dict[str, Kept] = new_directory.names
        node, over = self.names[name], there.get(new_name)
        if flags & ~(NOREPLACE | EXCHANGE):
            raise os_error(errno.EINVAL)
        if flags & EXCHANGE:
            assert over is not None  # the kernel has looked
            self.names[name], there[new_name] = over, node
        elif isinstance(over, Folder) and over.names:
            raise os_error(errno.ENOTEMPTY)
        else:
            there[new_name] = self.names.pop(name)
        for each in (node, over):
            if each is not None:
                each.touch("ctime_ns")
        for directory in (self, new_directory):
            directory.touch("mtime_ns", "ctime_ns")
