"""The calls of a process of Linux, which has an identity for good.

What Python hides is called through libc.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import signal
import socket
import struct
import subprocess
from collections.abc import Iterable
from typing import Any

from torture.conformance import mounts
from torture.conformance.calls import AT_FDCWD, AT_SYMLINK_NOFOLLOW, Calls, Time
from torture.conformance.libc import checked, libc, raw

AT_SYMLINK_FOLLOW = 0x400

STATX_BTIME = 0x800
BTIME = struct.Struct("=qI")  # where struct statx has the time of birth; linux/stat.h
BTIME_OFFSET = 80

FIRST_FREE = 64  # below: descriptors of the actor itself


class Timespec(ctypes.Structure):
    """struct timespec."""

    _fields_ = [("sec", ctypes.c_long), ("nsec", ctypes.c_long)]


class LinuxCalls(Calls):
    """The calls of this process."""

    raw = staticmethod(raw)
    own_mounts = staticmethod(mounts.own_mounts)
    bind = staticmethod(mounts.bind)
    unmount = staticmethod(mounts.unmount)
    mount_read_only = staticmethod(mounts.mount_read_only)

    def __init__(self) -> None:
        super().__init__(os)
        self.running: dict[int, subprocess.Popen[bytes]] = {}

    def open(self, path: str, flags: int, mode: int = 0o777) -> int:
        """open(2); the descriptor is one that `close_all` will close."""
        fd = os.open(path, flags, mode)
        try:
            return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE)
        finally:
            os.close(fd)

    def close_all(self) -> None:
        """Close the descriptors that the calls of this actor left open; undo its limits."""
        os.closerange(FIRST_FREE, 1024)
        os.umask(0)

    def scanned(self, path: str) -> Iterable[Any]:
        with os.scandir(path) as found:
            return list(found)

    # Attributes and names.

    def access(self, path: str, mode: int) -> None:
        """access(2) with the effective ids and, unlike os.access, with its errno."""
        checked(libc.faccessat(AT_FDCWD, os.fsencode(path), mode, 0))

    def utimensat(self, path: str, atime: Time, mtime: Time, flags: int = 0) -> None:
        """utimensat(2); a time is (seconds, nanoseconds), UTIME_NOW or UTIME_OMIT."""
        times = (Timespec * 2)(Timespec(*atime), Timespec(*mtime))
        checked(libc.utimensat(AT_FDCWD, os.fsencode(path), times, flags))

    def futimens(self, fd: int, atime: Time, mtime: Time) -> None:
        """futimens(3)."""
        checked(libc.futimens(fd, (Timespec * 2)(Timespec(*atime), Timespec(*mtime))))

    def birth_ns(self, path: str) -> int | None:
        """When a file was made, in nanoseconds; None if its filesystem does not tell. A symlink is not followed."""
        buffer = ctypes.create_string_buffer(256)
        checked(libc.statx(AT_FDCWD, os.fsencode(path), AT_SYMLINK_NOFOLLOW, STATX_BTIME, buffer))
        if not int.from_bytes(buffer.raw[:4], "little") & STATX_BTIME:
            return None
        seconds, nanoseconds = BTIME.unpack_from(buffer, BTIME_OFFSET)
        return int(seconds) * 10**9 + int(nanoseconds)

    def renameat2(self, source: str, target: str, flags: int) -> None:
        """renameat2(2)."""
        checked(libc.renameat2(AT_FDCWD, os.fsencode(source), AT_FDCWD, os.fsencode(target), flags))

    def link_by_fd(self, fd: int, path: str) -> None:
        """Give the file that is open as `fd` the name `path`."""
        source = f"/proc/self/fd/{fd}".encode()
        checked(libc.linkat(AT_FDCWD, source, AT_FDCWD, os.fsencode(path), AT_SYMLINK_FOLLOW))

    def getxattr_sized(self, path: str, name: str, size: int) -> int:
        """getxattr(2) into a buffer of `size` bytes; 0 asks for the length."""
        buffer = ctypes.create_string_buffer(size or 1)
        return checked(libc.getxattr(os.fsencode(path), os.fsencode(name), buffer, size))

    def listxattr_sized(self, path: str, size: int) -> int:
        """listxattr(2) into a buffer of `size` bytes; 0 asks for the length."""
        return checked(libc.listxattr(os.fsencode(path), ctypes.create_string_buffer(size or 1), size))

    # Contents.

    def fallocate(self, fd: int, mode: int, offset: int, length: int) -> None:
        """fallocate(2)."""
        checked(libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)))

    def lock(self, fd: int, kind: int, start: int = 0, length: int = 0) -> None:
        """Take or release a record lock without waiting."""
        fcntl.lockf(fd, kind if kind == fcntl.LOCK_UN else kind | fcntl.LOCK_NB, length, start)

    def flock(self, fd: int, kind: int) -> None:
        """Take or release a whole-file lock without waiting."""
        fcntl.flock(fd, kind if kind == fcntl.LOCK_UN else kind | fcntl.LOCK_NB)

    def mapped_write(self, fd: int, length: int, offset: int, data: bytes, private: bool = False) -> None:
        """Write through a mapping of the first `length` bytes of a file."""
        with mmap.mmap(fd, length, mmap.MAP_PRIVATE if private else mmap.MAP_SHARED) as memory:
            memory[offset : offset + len(data)] = data
            if not private:
                memory.flush()

    def mapped_read(self, fd: int, length: int, offset: int, size: int) -> bytes:
        """Read through a mapping of the first `length` bytes of a file."""
        with mmap.mmap(fd, length, mmap.MAP_SHARED, mmap.PROT_READ) as memory:
            return memory[offset : offset + size]

    def limit_file_size(self, size: int) -> None:
        """Set RLIMIT_FSIZE (-1: no limit) and have writes beyond it fail, not kill."""
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    # Programs and sockets.

    def execute(self, path: str, *arguments: str) -> int:
        """Run a program to its end; the exit code."""
        return subprocess.run([path, *arguments], check=False, stdin=subprocess.DEVNULL, timeout=20).returncode

    def start(self, path: str, *arguments: str) -> int:
        """Start a program; its pid."""
        process = subprocess.Popen([path, *arguments], stdin=subprocess.DEVNULL)
        self.running[process.pid] = process
        return process.pid

    def stop(self, pid: int) -> None:
        """Kill a program that `start` started, and wait for its end."""
        process = self.running.pop(pid)
        process.send_signal(signal.SIGKILL)
        process.wait(20)

    def copy_program(self, source: str, path: str) -> None:
        """Copy a program so that it can be executed as `path`."""
        self.create(path, 0o755, self.read_file(source))

    def bind_socket(self, path: str) -> int:
        """Make a socket with a name, which `listen` may serve; its descriptor."""
        server = socket.socket(socket.AF_UNIX)
        try:
            server.bind(path)
            return fcntl.fcntl(server, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE)
        finally:
            server.close()

    def listen(self, fd: int) -> None:
        """listen(2)."""
        checked(libc.listen(fd, 5))

    def connect(self, path: str) -> None:
        """Connect to a socket by its name, and hang up."""
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
