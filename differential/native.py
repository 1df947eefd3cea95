"""The system calls of this machine, in the shape in which `calls` asks for them.

Most are those of `os`. What Python lacks, or wraps in more than one system call, goes through
libc: mmap(2) above all, for Python's `mmap` asks for the file's size first, and duplicates the
descriptor; and those that Python begins anew where a signal has ended them with EINTR (PEP 475).

A program that touches a page which cannot be had dies of SIGBUS, so memory is touched by the kernel
on its behalf, by writing it into a pipe and reading it out of one: it faults the same way, and then
says EFAULT.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import select
import struct
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["PAGE", "STATX_BTIME", "Mapping", "Native"]

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
for _function in ("read", "write", "pread64", "pwrite64", "copy_file_range"):
    getattr(libc, _function).restype = ctypes.c_ssize_t
AT_FDCWD: Final = -100
FAILED: Final = ctypes.c_void_p(-1).value
SYS_GETDENTS64: Final = {"x86_64": 217, "aarch64": 61}.get(os.uname().machine, 217)
DIRENT: Final = struct.Struct("=QqHB")
LOCK: Final = struct.Struct("hhqqi4x")  # struct flock
STATX_SIZE: Final = 256  # of struct statx
STATX_BASIC_STATS: Final = 0x7FF
STATX_BTIME: Final = 0x800
POLLFD: Final = struct.Struct("ihh")  # struct pollfd
MS_SYNC: Final = 4
PAGE: Final = 4096


@dataclass(frozen=True, slots=True)
class Mapping:
    """A piece of this process's memory."""

    address: int
    length: int

    def view(self, offset: int, size: int) -> memoryview:
        """Return `size` bytes of it as Python may pass them to the kernel; nothing touches them yet.

        Raises:
            OSError: EFAULT if they are not all of it, for what lies behind it is somebody else's.
        """
        if offset + size > -(-self.length // PAGE) * PAGE:
            raise OSError(errno.EFAULT, "outside the mapping")
        return memoryview((ctypes.c_char * size).from_address(self.address + offset)).cast("B")


def checked(result: int) -> int:
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


class Native:
    """`os`, and the rest."""

    def __init__(self) -> None:
        self.pipe = os.pipe()

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    # --- what Python would begin anew

    def open(self, path: str, flags: int, mode: int) -> int:
        return checked(libc.open(os.fsencode(path), flags, mode))

    def mknod(self, path: str, mode: int, device: int) -> None:
        checked(libc.mknod(os.fsencode(path), mode, ctypes.c_ulong(device)))

    def read(self, fd: int, size: int) -> bytes:
        buffer = ctypes.create_string_buffer(size)
        length = checked(libc.read(fd, buffer, ctypes.c_size_t(size)))
        return buffer.raw[:length]

    def write(self, fd: int, data: bytes) -> int:
        return checked(libc.write(fd, data, ctypes.c_size_t(len(data))))

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        buffer = ctypes.create_string_buffer(size)
        length = checked(libc.pread64(fd, buffer, ctypes.c_size_t(size), ctypes.c_long(offset)))
        return buffer.raw[:length]

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        return checked(libc.pwrite64(fd, data, ctypes.c_size_t(len(data)), ctypes.c_long(offset)))

    def fsync(self, fd: int) -> None:
        checked(libc.fsync(fd))

    def fdatasync(self, fd: int) -> None:
        checked(libc.fdatasync(fd))

    def syncfs(self, fd: int) -> None:
        checked(libc.syncfs(fd))

    def ftruncate(self, fd: int, size: int) -> None:
        checked(libc.ftruncate64(fd, ctypes.c_long(size)))

    def copy_file_range(
        self, source: int, target: int, count: int, offset_in: int | None, offset_out: int | None
    ) -> int:
        places = [None if it is None else ctypes.byref(ctypes.c_long(it)) for it in (offset_in, offset_out)]
        return checked(libc.copy_file_range(source, places[0], target, places[1], ctypes.c_size_t(count), 0))

    def fstat(self, fd: int) -> os.stat_result:
        return os.stat(fd)  # which is fstat(2), once

    def fstatvfs(self, fd: int) -> os.statvfs_result:
        return os.statvfs(fd)

    def fchmod(self, fd: int, mode: int) -> None:
        os.chmod(fd, mode)

    def fchown(self, fd: int, uid: int, gid: int) -> None:
        os.chown(fd, uid, gid)

    def fchdir(self, fd: int) -> None:
        os.chdir(fd)

    # --- what Python lacks

    def renameat2(self, old: str, new: str, flags: int) -> None:
        paths = AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new)
        checked(libc.renameat2(*paths, ctypes.c_uint(flags)))

    def btime(self, path: str) -> bool:
        """Return whether statx(2) tells the time of creation."""
        found = ctypes.create_string_buffer(STATX_SIZE)
        checked(libc.statx(AT_FDCWD, os.fsencode(path), 0, STATX_BASIC_STATS | STATX_BTIME, found))
        return bool(int.from_bytes(found.raw[:4], "little") & STATX_BTIME)

    def fallocate(self, fd: int, mode: int, offset: int, length: int) -> None:
        checked(libc.fallocate64(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)))

    def getdents(self, fd: int, size: int) -> list[tuple[int, int, int, bytes]]:
        """Return one getdents64(2): ino, offset behind it, type and name of each."""
        buffer = ctypes.create_string_buffer(size)
        length = checked(libc.syscall(SYS_GETDENTS64, fd, buffer, ctypes.c_ulong(size)))
        left = buffer.raw[:length]
        found = []
        while left:
            ino, offset, length, kind = DIRENT.unpack_from(left)
            found.append((ino, offset, kind, left[DIRENT.size : length].split(b"\0", 1)[0]))
            left = left[length:]
        return found

    # --- memory

    def mmap(self, fd: int, length: int, flags: int, protection: int, offset: int) -> Mapping:
        arguments = None, ctypes.c_size_t(length), protection, flags, fd, ctypes.c_long(offset)
        address = libc.mmap(*arguments)
        if address == FAILED:
            raise OSError(ctypes.get_errno(), "mmap")
        return Mapping(address, length)

    def munmap(self, mapping: Mapping) -> None:
        checked(libc.munmap(ctypes.c_void_p(mapping.address), ctypes.c_size_t(mapping.length)))

    def msync(self, mapping: Mapping) -> None:
        checked(libc.msync(ctypes.c_void_p(mapping.address), ctypes.c_size_t(mapping.length), MS_SYNC))

    def peek(self, mapping: Mapping, offset: int, size: int) -> bytes:
        count = os.write(self.pipe[1], mapping.view(offset, size))
        return os.read(self.pipe[0], count)

    def poke(self, mapping: Mapping, offset: int, data: bytes) -> int:
        os.write(self.pipe[1], data)
        try:
            return os.readv(self.pipe[0], [mapping.view(offset, len(data))])
        finally:
            self._empty_pipe()

    def _empty_pipe(self) -> None:
        while select.select([self.pipe[0]], [], [], 0)[0]:
            os.read(self.pipe[0], 65536)

    # --- locks, ioctl, poll

    def setlk(self, fd: int, kind: int, start: int, length: int) -> None:
        self._lock(fd, fcntl.F_SETLK, kind, start, length)

    def setlkw(self, fd: int, kind: int, start: int, length: int) -> None:
        self._lock(fd, fcntl.F_SETLKW, kind, start, length)

    def _lock(self, fd: int, command: int, kind: int, start: int, length: int) -> bytes:
        lock = ctypes.create_string_buffer(LOCK.pack(kind, os.SEEK_SET, start, length, 0), LOCK.size)
        checked(libc.fcntl(fd, command, lock))
        return lock.raw

    def getlk(self, fd: int, kind: int, start: int, length: int) -> tuple[int, int, int]:
        found, _whence, begin, size, _pid = LOCK.unpack(self._lock(fd, fcntl.F_GETLK, kind, start, length))
        return (found, 0, 0) if found == fcntl.F_UNLCK else (found, begin, size)

    def flock(self, fd: int, operation: int) -> None:
        checked(libc.flock(fd, operation))

    def ioctl(self, fd: int, request: int, data: bytes) -> tuple[int, bytes]:
        buffer = bytearray(data)
        return fcntl.ioctl(fd, request, buffer), bytes(buffer)

    def poll(self, fd: int, events: int, wait: int) -> int:
        """Return which of `events` are so; with `wait` not before one is."""
        asked = ctypes.create_string_buffer(POLLFD.pack(fd, events, 0), POLLFD.size)
        checked(libc.poll(asked, ctypes.c_ulong(1), -1 if wait else 0))
        revents: int = POLLFD.unpack(asked.raw)[2]
        if revents & select.POLLNVAL:
            raise OSError(errno.EBADF, "poll")
        return revents
