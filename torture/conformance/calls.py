"""The vocabulary: the system calls that actors make, by name.

They are made of an *os-like* object, which has the functions of `os`: on Linux that is `os` itself
(linux.py), on an embedded kernel a process of it (embedded.py). What Python's `os` hides, though
the suite is about it (the errno of access(2), UTIME_OMIT, flags, the sizes given to getxattr), each
kernel's own module adds. A call returns something that can be pickled, or raises OSError.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100

UTIME_NOW = (0, (1 << 30) - 1)
UTIME_OMIT = (0, (1 << 30) - 2)

RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4
FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE = 1, 2, 16

CHUNK = 1 << 20  # bytes read at once

Time = tuple[int, int]  # seconds, nanoseconds

OF_OS = """chmod chown lchown fchmod fchown link mkdir mkfifo rename rmdir symlink readlink truncate ftruncate unlink
stat lstat fstat statvfs listdir getxattr setxattr listxattr removexattr umask close read write pread pwrite lseek
copy_file_range fsync chdir getcwd posix_fallocate fdatasync sendfile setegid seteuid"""

OF_EACH_KERNEL = """open access utimensat futimens renameat2 fallocate link_by_fd getxattr_sized listxattr_sized
birth_ns lock flock mapped_write mapped_read close_all mount_read_only own_mounts bind unmount raw execute start stop
copy_program limit_file_size bind_socket listen connect"""


class Skipped(Exception):
    """The case does not apply here; the text says why."""


class Calls:
    """The calls of one process. `os` is what it makes them with; a subclass adds those of OF_EACH_KERNEL.

    What a subclass lacks is named in `LACKS`, with the reason: a case that needs it is skipped.
    """

    LACKS: ClassVar[dict[str, str]] = {}

    def __init__(self, system: Any) -> None:
        self.os = system

    def named(self, name: str) -> Callable[..., Any]:
        """The call of a name.

        Raises:
            Skipped: there is none here.
        """
        if name in self.LACKS:
            raise Skipped(self.LACKS[name])
        found: Callable[..., Any] = getattr(self.os if name in PLAIN else self, name)
        return found

    def entered(self, base: str | int, name: str) -> None:
        """Stand in the directory `name` below `base`."""
        self.os.chdir(base)
        self.os.chdir(name)

    # What is the same everywhere.

    def create(self, path: str, mode: int = 0o644, content: bytes = b"") -> None:
        """Make a new regular file; EEXIST if the name is taken."""
        fd = self.os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            if content:
                self.os.write(fd, content)
        finally:
            self.os.close(fd)

    def read_file(self, path: str) -> bytes:
        """All bytes of a file."""
        fd = self.os.open(path, os.O_RDONLY)
        try:
            return b"".join(iter(lambda: self.os.read(fd, CHUNK), b""))
        finally:
            self.os.close(fd)

    def write_file(self, path: str, content: bytes, offset: int = 0) -> None:
        """Write into an existing file at `offset`."""
        fd = self.os.open(path, os.O_WRONLY)
        try:
            self.os.pwrite(fd, content, offset)
        finally:
            self.os.close(fd)

    def mknod(self, path: str, mode: int, major: int = 0, minor: int = 0) -> None:
        """mknod(2)."""
        self.os.mknod(path, mode, os.makedev(major, minor))

    def make(self, kind: str, path: str) -> None:
        """Make something of a kind named in KINDS."""
        KINDS[kind](self, path)

    def scanned(self, path: str) -> Iterable[Any]:
        """What scandir finds."""
        raise NotImplementedError

    def entries(self, path: str) -> dict[str, str]:
        """The kind of every name in a directory, as the listing itself gives it."""
        return {entry.name: kind_of(entry) for entry in self.scanned(path)}

    def inodes(self, path: str) -> dict[str, int]:
        """The inode number of every name in a directory, as the listing itself gives it."""
        return {entry.name: entry.inode() for entry in self.scanned(path)}

    def remove_tree(self, path: str) -> None:
        """Remove a directory and all below, by names relative to it, however long its paths are."""
        self._empty(self.os.open(path, os.O_RDONLY | os.O_DIRECTORY))
        self.os.rmdir(path)

    def _empty(self, fd: int) -> None:
        try:
            for name in self.os.listdir(fd):
                if stat.S_ISDIR(self.os.lstat(name, dir_fd=fd).st_mode):
                    self._empty(self.os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd))
                    self.os.rmdir(name, dir_fd=fd)
                else:
                    self.os.unlink(name, dir_fd=fd)
        finally:
            self.os.close(fd)

    def at(self, fd: int, name: str, *arguments: Any) -> Any:
        """Call a function of `os` with its paths relative to the directory that is open as `fd`."""
        keywords = ("src_dir_fd", "dst_dir_fd") if name in ("link", "rename") else ("dir_fd",)
        result = getattr(self.os, name)(*arguments, **dict.fromkeys(keywords, fd))
        if name == "open":
            self.os.close(result)
        return result


PLAIN = frozenset(OF_OS.split())
NAMES = PLAIN | set(OF_EACH_KERNEL.split()) | {name for name in vars(Calls) if not name.startswith("_")}

KINDS: dict[str, Callable[[Calls, str], None]] = {
    "file": lambda calls, path: calls.create(path),
    "dir": lambda calls, path: calls.os.mkdir(path, 0o755),
    "fifo": lambda calls, path: calls.os.mkfifo(path, 0o644),
    "socket": lambda calls, path: calls.mknod(path, stat.S_IFSOCK | 0o644),
    "symlink": lambda calls, path: calls.os.symlink("to-nothing", path),
    "char": lambda calls, path: calls.mknod(path, stat.S_IFCHR | 0o644, 1, 3),
    "block": lambda calls, path: calls.mknod(path, stat.S_IFBLK | 0o644, 7, 99),
}


def kind_of(entry: Any) -> str:
    """What a listing says that a name is."""
    if entry.is_symlink():
        return "symlink"
    if entry.is_dir():
        return "dir"
    return "file" if entry.is_file() else "special"
