"""The vocabulary: the system calls that actors make, by name.

Most are those of `os`. The rest are called through libc, since Python hides what the suite
is about: the errno of access(2), UTIME_OMIT, the flags of rename and fallocate, the sizes
given to getxattr, pointers to nowhere. A call returns something that can be pickled, or raises OSError.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import signal
import socket
import stat
import struct
import subprocess
from collections.abc import Callable
from typing import Any

from torture.conformance.libc import checked, libc, raw
from torture.conformance.mounts import bind, mount_read_only, own_mounts, unmount

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_EMPTY_PATH = 0x1000
AT_SYMLINK_FOLLOW = 0x400

UTIME_NOW = (0, (1 << 30) - 1)
UTIME_OMIT = (0, (1 << 30) - 2)

RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4
FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE = 1, 2, 16

STATX_BTIME = 0x800
BTIME = struct.Struct("=qI")  # where struct statx has the time of birth; linux/stat.h
BTIME_OFFSET = 80

Time = tuple[int, int]  # seconds, nanoseconds


class Timespec(ctypes.Structure):
    """struct timespec."""

    _fields_ = [("sec", ctypes.c_long), ("nsec", ctypes.c_long)]


def access(path: str, mode: int) -> None:
    """access(2) with the effective ids and, unlike os.access, with its errno."""
    checked(libc.faccessat(AT_FDCWD, os.fsencode(path), mode, 0))


def utimensat(path: str, atime: Time, mtime: Time, flags: int = 0) -> None:
    """utimensat(2); a time is (seconds, nanoseconds), UTIME_NOW or UTIME_OMIT."""
    times = (Timespec * 2)(Timespec(*atime), Timespec(*mtime))
    checked(libc.utimensat(AT_FDCWD, os.fsencode(path), times, flags))


def futimens(fd: int, atime: Time, mtime: Time) -> None:
    """futimens(3)."""
    checked(libc.futimens(fd, (Timespec * 2)(Timespec(*atime), Timespec(*mtime))))


def renameat2(source: str, target: str, flags: int) -> None:
    """renameat2(2)."""
    checked(libc.renameat2(AT_FDCWD, os.fsencode(source), AT_FDCWD, os.fsencode(target), flags))


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    """fallocate(2)."""
    checked(libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)))


def link_by_fd(fd: int, path: str) -> None:
    """Give the file that is open as `fd` the name `path`."""
    source = f"/proc/self/fd/{fd}".encode()
    checked(libc.linkat(AT_FDCWD, source, AT_FDCWD, os.fsencode(path), AT_SYMLINK_FOLLOW))


def getxattr_sized(path: str, name: str, size: int) -> int:
    """getxattr(2) into a buffer of `size` bytes; 0 asks for the length."""
    return checked(libc.getxattr(os.fsencode(path), os.fsencode(name), ctypes.create_string_buffer(size or 1), size))


def listxattr_sized(path: str, size: int) -> int:
    """listxattr(2) into a buffer of `size` bytes; 0 asks for the length."""
    return checked(libc.listxattr(os.fsencode(path), ctypes.create_string_buffer(size or 1), size))


def create(path: str, mode: int = 0o644, content: bytes = b"") -> None:
    """Make a new regular file; EEXIST if the name is taken."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        if content:
            os.write(fd, content)
    finally:
        os.close(fd)


def read_file(path: str) -> bytes:
    """All bytes of a file."""
    with open(path, "rb", buffering=0) as file:
        return file.read()


def write_file(path: str, content: bytes, offset: int = 0) -> None:
    """Write into an existing file at `offset`."""
    fd = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(fd, content, offset)
    finally:
        os.close(fd)


def mknod(path: str, mode: int, major: int = 0, minor: int = 0) -> None:
    """mknod(2)."""
    os.mknod(path, mode, os.makedev(major, minor))


KINDS: dict[str, Callable[[str], None]] = {
    "file": lambda path: create(path),
    "dir": lambda path: os.mkdir(path, 0o755),
    "fifo": lambda path: os.mkfifo(path, 0o644),
    "socket": lambda path: mknod(path, stat.S_IFSOCK | 0o644),
    "symlink": lambda path: os.symlink("to-nothing", path),
    "char": lambda path: mknod(path, stat.S_IFCHR | 0o644, 1, 3),
    "block": lambda path: mknod(path, stat.S_IFBLK | 0o644, 7, 99),
}


def make(kind: str, path: str) -> None:
    """Make something of a kind named in KINDS."""
    KINDS[kind](path)


def entries(path: str) -> dict[str, str]:
    """The kind of every name in a directory, as the listing itself gives it."""
    with os.scandir(path) as found:
        return {
            entry.name: "symlink"
            if entry.is_symlink()
            else "dir"
            if entry.is_dir(follow_symlinks=False)
            else "file"
            if entry.is_file(follow_symlinks=False)
            else "special"
            for entry in found
        }


def inodes(path: str) -> dict[str, int]:
    """The inode number of every name in a directory, as the listing itself gives it."""
    with os.scandir(path) as found:
        return {entry.name: entry.inode() for entry in found}


def remove_tree(path: str) -> None:
    """Remove a directory and all below, by names relative to it, however long its paths are."""
    for _, directories, files, fd in os.fwalk(path, topdown=False):
        for name in files:
            os.unlink(name, dir_fd=fd)
        for name in directories:
            if stat.S_ISDIR(os.lstat(name, dir_fd=fd).st_mode):
                os.rmdir(name, dir_fd=fd)
            else:
                os.unlink(name, dir_fd=fd)
    os.rmdir(path)


def birth_ns(path: str) -> int | None:
    """When a file was made, in nanoseconds; None if its filesystem does not tell. A symlink is not followed."""
    buffer = ctypes.create_string_buffer(256)
    checked(libc.statx(AT_FDCWD, os.fsencode(path), AT_SYMLINK_NOFOLLOW, STATX_BTIME, buffer))
    if not int.from_bytes(buffer.raw[:4], "little") & STATX_BTIME:
        return None
    seconds, nanoseconds = BTIME.unpack_from(buffer, BTIME_OFFSET)
    return int(seconds) * 10**9 + int(nanoseconds)


def at(fd: int, name: str, *arguments: Any) -> Any:
    """Call a function of `os` with its paths relative to the directory that is open as `fd`."""
    keywords = ("src_dir_fd", "dst_dir_fd") if name in ("link", "rename") else ("dir_fd",)
    result = getattr(os, name)(*arguments, **dict.fromkeys(keywords, fd))
    if name == "open":
        os.close(result)
    return result


def bind_socket(path: str) -> int:
    """Make a socket with a name, which `listen` may serve; its descriptor."""
    server = socket.socket(socket.AF_UNIX)
    try:
        server.bind(path)
        return fcntl.fcntl(server, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE)
    finally:
        server.close()


def listen(fd: int) -> None:
    """listen(2)."""
    checked(libc.listen(fd, 5))


def connect(path: str) -> None:
    """Connect to a socket by its name, and hang up."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def lock(fd: int, kind: int, start: int = 0, length: int = 0) -> None:
    """Take or release a record lock without waiting."""
    fcntl.lockf(fd, kind if kind == fcntl.LOCK_UN else kind | fcntl.LOCK_NB, length, start)


def flock(fd: int, kind: int) -> None:
    """Take or release a whole-file lock without waiting."""
    fcntl.flock(fd, kind if kind == fcntl.LOCK_UN else kind | fcntl.LOCK_NB)


def mapped_write(fd: int, length: int, offset: int, data: bytes, private: bool = False) -> None:
    """Write through a mapping of the first `length` bytes of a file."""
    with mmap.mmap(fd, length, mmap.MAP_PRIVATE if private else mmap.MAP_SHARED) as memory:
        memory[offset : offset + len(data)] = data
        if not private:
            memory.flush()


def mapped_read(fd: int, length: int, offset: int, size: int) -> bytes:
    """Read through a mapping of the first `length` bytes of a file."""
    with mmap.mmap(fd, length, mmap.MAP_SHARED, mmap.PROT_READ) as memory:
        return memory[offset : offset + size]


def execute(path: str, *arguments: str) -> int:
    """Run a program to its end; the exit code."""
    return subprocess.run([path, *arguments], check=False, stdin=subprocess.DEVNULL, timeout=20).returncode


running: dict[int, subprocess.Popen[bytes]] = {}


def start(path: str, *arguments: str) -> int:
    """Start a program; its pid."""
    process = subprocess.Popen([path, *arguments], stdin=subprocess.DEVNULL)
    running[process.pid] = process
    return process.pid


def stop(pid: int) -> None:
    """Kill a program that `start` started, and wait for its end."""
    process = running.pop(pid)
    process.send_signal(signal.SIGKILL)
    process.wait(20)


def copy_program(source: str, path: str) -> None:
    """Copy a program so that it can be executed as `path`."""
    create(path, 0o755, read_file(source))


def limit_file_size(size: int) -> None:
    """Set RLIMIT_FSIZE (-1: no limit) and have writes beyond it fail, not kill."""
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def close_all() -> None:
    """Close the descriptors that the calls of this actor left open; undo its limits."""
    os.closerange(FIRST_FREE, 1024)
    os.umask(0)


FIRST_FREE = 64  # below: descriptors of the actor itself


def open_high(path: str, flags: int, mode: int = 0o777) -> int:
    """open(2); the descriptor is one that `close_all` will close."""
    fd = os.open(path, flags, mode)
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE)
    finally:
        os.close(fd)


PLAIN = """chmod chown lchown fchmod fchown link mkdir mkfifo rename rmdir symlink readlink truncate ftruncate unlink
stat lstat fstat statvfs listdir getxattr setxattr listxattr removexattr umask close read write pread pwrite lseek
copy_file_range fsync chdir getcwd posix_fallocate fdatasync sendfile setegid seteuid"""

OWN = (
    access, utimensat, futimens, renameat2, fallocate, link_by_fd, getxattr_sized, listxattr_sized, create, read_file,
    write_file, mknod, make, entries, inodes, remove_tree, lock, flock, mapped_write, mapped_read, execute, start, stop,
    copy_program, limit_file_size, close_all, birth_ns, at, bind_socket, listen, connect,
    raw, own_mounts, bind, unmount, mount_read_only,
)  # fmt: skip

CALLS: dict[str, Callable[..., Any]] = {
    **{name: getattr(os, name) for name in PLAIN.split()},
    **{function.__name__: function for function in OWN},
    "open": open_high,
}
