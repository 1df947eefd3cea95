"""A small filesystem, answered byte by byte: what the scripted daemon says when it says what it should.

    /file   10000 bytes      /dir/inner      /link -> file      /empty   a directory      /other   100 bytes

It has no session and checks nothing. Each operation is answered by the function of its name; what
names and files there are is all that it remembers.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import Any, Final

from fusewire.errors import os_error
from fusewire.wire import (
    Attr,
    AttrOut,
    CopyFileRangeOut,
    EntryOut,
    FileLock,
    GetxattrOut,
    InitFlags,
    InitOut,
    IoctlOut,
    Kstatfs,
    LkOut,
    LseekOut,
    Message,
    OpenOut,
    PollOut,
    StatfsOut,
    Statx,
    StatxOut,
    WriteOut,
    pack_dirent,
    pack_direntplus,
)

__all__ = ["DIR", "FILE", "FOREVER", "ROOT", "World"]

ROOT, FILE, DIR, INNER, LINK, EMPTY, OTHER = range(1, 8)
FOREVER: Final = 1_000_000  # seconds that names and attributes may be cached
FH: Final = 5  # of whatever is opened
BASIC: Final = 0x7FF  # STATX_BASIC_STATS
BTIME: Final = 0x800
FLAGS: Final = (
    InitFlags.FUSE_ASYNC_READ
    | InitFlags.FUSE_POSIX_LOCKS
    | InitFlags.FUSE_FLOCK_LOCKS
    | InitFlags.FUSE_BIG_WRITES
    | InitFlags.FUSE_PARALLEL_DIROPS
    | InitFlags.FUSE_MAX_PAGES
    | InitFlags.FUSE_HANDLE_KILLPRIV_V2
    | InitFlags.FUSE_INIT_EXT
    | InitFlags.FUSE_HAS_IOCTL_DIR
)


class World:
    """The filesystem. `valid` seconds may everything be cached; `flags` go into the answer to INIT."""

    def __init__(self, valid: int = FOREVER, flags: int = 0, open_flags: int = 0) -> None:
        self.valid = valid
        self.flags = int(FLAGS) | flags
        self.open_flags = open_flags
        self.names: dict[tuple[int, bytes], int] = {
            (ROOT, b"file"): FILE,
            (ROOT, b"dir"): DIR,
            (DIR, b"inner"): INNER,
            (ROOT, b"link"): LINK,
            (ROOT, b"empty"): EMPTY,
            (ROOT, b"other"): OTHER,
        }
        self.modes = dict.fromkeys((ROOT, DIR, EMPTY), stat.S_IFDIR | 493)
        self.modes |= dict.fromkeys((FILE, INNER, OTHER), stat.S_IFREG | 420) | {LINK: stat.S_IFLNK | 0o777}
        self.content = {FILE: bytearray(b"0123456789" * 1000), OTHER: bytearray(b"another..." * 10)}

    def answer(self, message: Message) -> bytes:
        """Return the payload of the right reply.

        Raises:
            OSError: that is the reply.
        """
        method: Callable[[Message], bytes] | None = getattr(self, message.operation.name.lower(), None)
        if method is None:
            raise os_error(errno.ENOSYS)
        try:
            return method(message)
        except KeyError:  # a node that there is not, or is no file
            raise os_error(errno.ESTALE) from None

    # What replies are made of.

    def attr(self, node: int) -> Attr:
        size = len(self.content.get(node, b""))
        return Attr(ino=node, size=size, blocks=-(-size // 512), mode=self.modes[node], nlink=1, mtime=1, blksize=4096)

    def entry(self, node: int) -> EntryOut:
        return EntryOut(node, 0, self.valid, self.valid, 0, 0, self.attr(node))

    def attr_out(self, node: int) -> bytes:
        return AttrOut(self.valid, 0, self.attr(node)).pack()

    def find(self, parent: int, name: bytes) -> int:
        try:
            return self.names[parent, name]
        except KeyError:
            raise os_error(errno.ENOENT) from None

    def new(self, message: Message, mode: int, name: bytes) -> bytes:
        node = max(self.modes) + 1
        self.modes[node] = mode
        self.names[message.header.nodeid, name] = node
        if stat.S_ISREG(mode):
            self.content[node] = bytearray()
        return self.entry(node).pack()

    # Operations.

    def init(self, message: Message) -> bytes:
        low, high = self.flags & 0xFFFFFFFF, self.flags >> 32
        return InitOut(7, 45, 65536, low, 12, 9, 65536, 1, 16, 0, high).pack()

    def lookup(self, message: Message) -> bytes:
        return self.entry(self.find(message.header.nodeid, message.names[0])).pack()

    def getattr(self, message: Message) -> bytes:
        return self.attr_out(message.header.nodeid)

    def setattr(self, message: Message) -> bytes:
        node, body = message.header.nodeid, message.body
        if body.valid & 1:
            self.modes[node] = body.mode
        if body.valid & 8:
            content = self.content[node]
            del content[body.size :]
            content.extend(bytes(body.size - len(content)))
        return self.attr_out(node)

    def statx(self, message: Message) -> bytes:
        attr = self.attr(message.header.nodeid)
        found = Statx(BASIC | BTIME, attr.blksize, nlink=1, mode=attr.mode, ino=attr.ino, size=attr.size)
        return StatxOut(self.valid, 0, stat=found).pack()

    def readlink(self, message: Message) -> bytes:
        return b"file"

    def symlink(self, message: Message) -> bytes:
        return self.new(message, stat.S_IFLNK | 0o777, message.names[0])

    def mknod(self, message: Message) -> bytes:
        return self.new(message, message.body.mode, message.names[0])

    def mkdir(self, message: Message) -> bytes:
        return self.new(message, stat.S_IFDIR | message.body.mode, message.names[0])

    def create(self, message: Message) -> bytes:
        return self.new(message, message.body.mode, message.names[0]) + self.open(message)

    def tmpfile(self, message: Message) -> bytes:
        return self.create(message)

    def unlink(self, message: Message) -> bytes:
        self.find(message.header.nodeid, message.names[0])
        del self.names[message.header.nodeid, message.names[0]]
        return b""

    rmdir = unlink

    def rename(self, message: Message) -> bytes:
        node = self.find(message.header.nodeid, message.names[0])
        del self.names[message.header.nodeid, message.names[0]]
        self.names[message.body.newdir, message.names[1]] = node
        return b""

    rename2 = rename

    def link(self, message: Message) -> bytes:
        self.names[message.header.nodeid, message.names[0]] = message.body.oldnodeid
        return self.entry(message.body.oldnodeid).pack()

    def open(self, message: Message) -> bytes:
        return OpenOut(FH, self.open_flags).pack()

    opendir = open

    def read(self, message: Message) -> bytes:
        body = message.body
        return bytes(self.content[message.header.nodeid][body.offset : body.offset + body.size])

    def write(self, message: Message) -> bytes:
        content, body = self.content[message.header.nodeid], message.body
        content.extend(bytes(max(0, body.offset - len(content))))
        content[body.offset : body.offset + body.size] = message.data
        return WriteOut(body.size).pack()

    def statfs(self, message: Message) -> bytes:
        return StatfsOut(Kstatfs(100, 50, 40, 30, 20, 4096, 255, 4096)).pack()

    def getxattr(self, message: Message) -> bytes:
        return self.sized(message, b"value of it")

    def listxattr(self, message: Message) -> bytes:
        return self.sized(message, b"user.one\0user.two\0")

    def sized(self, message: Message, value: bytes) -> bytes:
        if message.body.size == 0:
            return GetxattrOut(len(value)).pack()
        if message.body.size < len(value):
            raise os_error(errno.ERANGE)
        return value

    def entries(self, node: int) -> list[tuple[bytes, int]]:
        return [
            (b".", node),
            (b"..", ROOT),
            *((name, it) for (parent, name), it in self.names.items() if parent == node),
        ]

    def readdir(self, message: Message) -> bytes:
        listed = enumerate(self.entries(message.header.nodeid), 1)
        rows = [pack_dirent(name, it, off, self.modes[it] >> 12) for off, (name, it) in listed]
        return b"".join(rows[message.body.offset :])

    def readdirplus(self, message: Message) -> bytes:
        rows = []
        for off, (name, it) in enumerate(self.entries(message.header.nodeid), 1):
            entry = EntryOut() if name in (b".", b"..") else self.entry(it)
            rows.append(pack_direntplus(entry, name, it, off, self.modes[it] >> 12))
        return b"".join(rows[message.body.offset :])

    def getlk(self, message: Message) -> bytes:
        return LkOut(FileLock(10, 19, 1, 77)).pack()  # F_WRLCK

    def ioctl(self, message: Message) -> bytes:
        return IoctlOut(3).pack() + b"12345678"[: message.body.out_size]

    def poll(self, message: Message) -> bytes:
        return PollOut(message.body.events & 5).pack()

    def lseek(self, message: Message) -> bytes:
        return LseekOut(message.body.offset + (500 if message.body.whence == os.SEEK_HOLE else 0)).pack()

    def copy_file_range_64(self, message: Message) -> bytes:
        return CopyFileRangeOut(message.body.len).pack()

    def copy_file_range(self, message: Message) -> bytes:
        return WriteOut(message.body.len).pack()

    def nothing(self, message: Any) -> bytes:
        return b""

    release = releasedir = flush = fsync = fsyncdir = setxattr = removexattr = access = fallocate = nothing
    setlk = setlkw = nothing
