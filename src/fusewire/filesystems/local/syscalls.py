"""The system calls that `os` does not have, or not as exactly as a filesystem needs them.

`statx` tells the birth time and which mount a file is on; `os.stat` does neither. `utimensat`
keeps UTIME_NOW and UTIME_OMIT apart from a time. `renameat2` has flags. `fallocate` has modes.
File handles name an inode without a path. The identity that a *thread* shows to filesystems
is set by setfsuid and setfsgid; for its groups there is only the bare system call, since the
C library's setgroups changes all threads of a process.

Each wrapper raises OSError as `os` does, and ENOSYS where the C library has no such function.
They let other threads run meanwhile. Linux on 64 bits.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
import threading
from collections.abc import Sequence
from ctypes import c_char_p, c_int, c_int64, c_uint, c_void_p
from typing import Any, Final, NamedTuple

from fusewire.daemon.values import Attributes
from fusewire.errors import os_error

__all__ = [
    "RENAME_EXCHANGE",
    "Stat",
    "component",
    "fallocate",
    "filesystem_type",
    "link_to",
    "name_to_handle_at",
    "open_by_handle_at",
    "position",
    "renameat2",
    "setfsgid",
    "setfsuid",
    "setgroups",
    "statx",
    "unshare_umask",
    "utimensat",
]

AT_FDCWD: Final = -100
AT_SYMLINK_NOFOLLOW: Final = 0x100
AT_NO_AUTOMOUNT: Final = 0x800
AT_EMPTY_PATH: Final = 0x1000
CLONE_FS: Final = 0x200
NANOSECONDS: Final = 1_000_000_000
ENCODING: Final = sys.getfilesystemencoding()

libc: Final = ctypes.CDLL(None, use_errno=True)


def function(name: str, *argtypes: Any) -> Any:
    """The C library's function `name`; one that fails with ENOSYS where it has none."""
    try:
        found = getattr(libc, name)
    except AttributeError:
        return _missing
    found.argtypes = argtypes
    return found


def _missing(*arguments: object) -> int:
    ctypes.set_errno(errno.ENOSYS)
    return -1


def checked(result: int) -> int:
    """Return what a C function returned, or raise its errno."""
    if result < 0:
        raise os_error(ctypes.get_errno())
    return result


# --- arguments

MAX_OFFSET: Final = (1 << 63) - 1


def component(name: str) -> str:
    """Return a name that is one component of a path and leads downwards; EINVAL for any other."""
    if "/" in name or name in ("", ".", ".."):
        raise os_error(errno.EINVAL)
    return name


def link_to(fd: int) -> str:
    """A path that Linux resolves to the very inode that `fd` is open on, a symlink itself included."""
    return f"/proc/self/fd/{fd}"


def position(value: int, code: int = errno.EINVAL) -> int:
    """Return an offset or a size that fits into off_t; `code` if it does not."""
    if value > MAX_OFFSET:
        raise os_error(code)
    return value


# --- attributes

STATX_BASIC_STATS: Final = 0x7FF
STATX_BTIME: Final = 0x800
STATX_MNT_ID: Final = 0x1000
STATX_MASK: Final = STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID
STATX_FLAGS: Final = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH
STATX: Final = struct.Struct("=II8xIIIH2xQQQ8x qI4x qI4x qI4x qI4x IIII Q")  # include/uapi/linux/stat.h


class Stat(NamedTuple):
    """What statx tells of a file: its attributes, the device that its ino counts in, and its mount."""

    attributes: Attributes
    device: int
    mount: int  # 0 where Linux does not tell (before 5.8)


class _Buffer(threading.local):
    """Where statx puts its answer: one per thread, since making one costs as much as the call."""

    def __init__(self) -> None:
        self.bytes = ctypes.create_string_buffer(256)
        self.address = ctypes.addressof(self.bytes)


_buffer = _Buffer()
_statx = function("statx", c_int, c_char_p, c_int, c_uint, c_void_p)


def statx(dir_fd: int, name: str) -> Stat:
    """Return what `name` in a directory is, never following a symlink; with "" what `dir_fd` is itself.

    `btime_ns` is None where the filesystem knows no birth times.
    """
    if _statx(dir_fd, name.encode(ENCODING, "surrogateescape"), STATX_FLAGS, STATX_MASK, _buffer.address):
        raise os_error(ctypes.get_errno())
    # fmt: off
    (
        mask, blksize, nlink, uid, gid, mode, ino, size, blocks,
        atime, atime_ns, btime, btime_ns, ctime, ctime_ns, mtime, mtime_ns,
        rdev_major, rdev_minor, dev_major, dev_minor, mount,
    ) = STATX.unpack_from(_buffer.bytes)
    # fmt: on
    attributes = Attributes(
        mode,
        size,
        nlink,
        uid,
        gid,
        atime * NANOSECONDS + atime_ns,
        mtime * NANOSECONDS + mtime_ns,
        ctime * NANOSECONDS + ctime_ns,
        ino,
        os.makedev(rdev_major, rdev_minor) if rdev_major or rdev_minor else 0,
        blocks,
        blksize,
        btime * NANOSECONDS + btime_ns if mask & STATX_BTIME else None,
    )
    return Stat(attributes, dev_major << 32 | dev_minor, mount if mask & STATX_MNT_ID else 0)


_fstatfs = function("fstatfs", c_int, c_void_p)


def filesystem_type(fd: int) -> int:
    """Return the magic number of the filesystem that `fd` is on (include/uapi/linux/magic.h)."""
    checked(_fstatfs(fd, _buffer.address))  # struct statfs begins with the type, a long
    return int(struct.unpack_from("=q", _buffer.bytes)[0])


_utimensat = function("utimensat", c_int, c_char_p, c_char_p, c_int)
UTIME: Final = struct.Struct("=qqqq")


def utimensat(path: str, atime: tuple[int, int], mtime: tuple[int, int]) -> None:
    """Set both times of what `path` leads to, each seconds and nanoseconds, or nanoseconds UTIME_NOW, UTIME_OMIT."""
    checked(_utimensat(AT_FDCWD, os.fsencode(path), UTIME.pack(*atime, *mtime), 0))


# --- names and space

RENAME_EXCHANGE: Final = 2

_renameat2 = function("renameat2", c_int, c_char_p, c_int, c_char_p, c_uint)
_fallocate = function("fallocate", c_int, c_int, c_int64, c_int64)


def renameat2(dir_fd: int, name: str, new_dir_fd: int, new_name: str, flags: int) -> None:
    """Move a name, with RENAME_NOREPLACE, RENAME_EXCHANGE or RENAME_WHITEOUT.

    Raises:
        OSError: EINVAL also where the filesystem does not know a flag.
    """
    checked(_renameat2(dir_fd, os.fsencode(name), new_dir_fd, os.fsencode(new_name), flags))


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    """Reserve, punch, zero, collapse or insert a range of a file, as `mode` says (FALLOC_FL_*)."""
    checked(_fallocate(fd, mode, offset, length))


# --- file handles

MAX_HANDLE_SZ: Final = 128
HANDLE: Final = struct.Struct("=Ii")  # struct file_handle: how many bytes follow, of what type

_name_to_handle_at = function("name_to_handle_at", c_int, c_char_p, c_void_p, c_void_p, c_int)
_open_by_handle_at = function("open_by_handle_at", c_int, c_char_p, c_int)


def name_to_handle_at(fd: int) -> bytes:
    """Return the handle of what `fd` is open on: good for as long as the inode lives.

    Raises:
        OSError: EOPNOTSUPP if the filesystem has none.
    """
    handle = ctypes.create_string_buffer(HANDLE.pack(MAX_HANDLE_SZ, 0), HANDLE.size + MAX_HANDLE_SZ)
    checked(_name_to_handle_at(fd, b"", handle, ctypes.byref(c_int()), AT_EMPTY_PATH))
    return handle.raw[: HANDLE.size + HANDLE.unpack_from(handle)[0]]


def open_by_handle_at(mount_fd: int, handle: bytes, flags: int) -> int:
    """Return a new descriptor of the inode that `handle` names, on the mount that `mount_fd` is on.

    Raises:
        OSError: ESTALE if the inode is gone, EPERM without CAP_DAC_READ_SEARCH.
    """
    return checked(_open_by_handle_at(mount_fd, handle, flags | os.O_CLOEXEC))


# --- the identity of a thread

_setfsuid = function("setfsuid", c_uint)
_setfsgid = function("setfsgid", c_uint)
_syscall = function("syscall")
_unshare = function("unshare", c_int)

SETGROUPS: Final = {
    "x86_64": 116,
    "aarch64": 159,
    "riscv64": 159,
    "loongarch64": 159,
    "ppc64le": 81,
    "s390x": 206,
}.get(platform.machine())  # the number of the system call
NOBODY: Final = 0xFFFFFFFF  # the kernel refuses it and tells who we are


def setfsuid(uid: int) -> None:
    """Show `uid` to filesystems, for this thread alone. Other than 0 it costs the capabilities about files.

    Raises:
        OSError: EPERM if the kernel did not take it: it does not tell by itself.
    """
    _setfsuid(uid)
    if _setfsuid(NOBODY) != uid:
        raise os_error(errno.EPERM)


def setfsgid(gid: int) -> None:
    """Show `gid` to filesystems, for this thread alone; EPERM if the kernel did not take it."""
    _setfsgid(gid)
    if _setfsgid(NOBODY) != gid:
        raise os_error(errno.EPERM)


def setgroups(groups: Sequence[int]) -> None:
    """Set the supplementary groups of this thread alone."""
    if SETGROUPS is None:
        raise os_error(errno.ENOSYS)
    checked(_syscall(ctypes.c_long(SETGROUPS), ctypes.c_size_t(len(groups)), (c_uint * len(groups))(*groups)))


def unshare_umask() -> None:
    """Give this thread a umask of its own (and, since they come together, a working directory)."""
    checked(_unshare(CLONE_FS))
