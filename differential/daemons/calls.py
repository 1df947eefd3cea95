"""What callers do beyond `differential.calls`: system calls whose sizes decide what the daemon is asked."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from typing import Any, Final

from differential.calls import CALLS, Actor, Result
from differential.native import AT_FDCWD, Native, checked, libc

__all__ = ["MORE", "NativeAt", "perform"]

STATX_SIZE: Final = 256
STATX_ALL: Final = 0xFFF


async def perform(actor: Actor, call: str, arguments: tuple[Any, ...]) -> Result:
    """Carry out one step; the same words as `differential.calls.perform`."""
    try:
        return "ok", await (MORE.get(call) or CALLS[call])(actor, *arguments)
    except OSError as error:
        return "error", errno.errorcode.get(error.errno or 0, str(error.errno))
    except Exception as error:
        return "broken", f"{type(error).__name__}: {error}"


async def getxattr_into(actor: Actor, path: str, name: str, size: int) -> object:
    return await actor.os.getxattr_into(path, name, size)


async def listxattr_into(actor: Actor, path: str, size: int) -> object:
    return await actor.os.listxattr_into(path, size)


async def statx(actor: Actor, path: str) -> object:
    return await actor.os.statx_all(path)


async def statfs(actor: Actor, path: str) -> object:
    found = await actor.os.statvfs(path)
    sizes = found.f_bsize, found.f_frsize, found.f_namemax
    return (*sizes, found.f_blocks, found.f_bfree, found.f_bavail, found.f_files, found.f_ffree)


async def fsync_directory(actor: Actor, slot: int) -> None:
    await actor.os.fsync(actor.fd(slot))


MORE: Final = {
    function.__name__: function for function in (getxattr_into, listxattr_into, statx, statfs, fsync_directory)
}


class NativeAt(Native):
    """The system calls of this machine, on paths below a mountpoint."""

    def __init__(self, mountpoint: str) -> None:
        super().__init__()
        self.mountpoint = mountpoint

    def __getattribute__(self, name: str) -> Any:
        function = super().__getattribute__(name)
        return self._at(function) if name in PATHS else function

    def __getattr__(self, name: str) -> Any:
        function = super().__getattr__(name)
        return self._at(function) if name in PATHS else function

    def _at(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments, **more: function(*map(self.below, arguments), **more)

    def below(self, argument: Any) -> Any:
        if not isinstance(argument, str) or not argument.startswith("/") or argument.startswith(self.mountpoint):
            return argument
        return self.mountpoint + argument

    def renameat2(self, old: str, new: str, flags: int) -> None:
        super().renameat2(self.below(old), self.below(new), flags)

    def ioctl(self, fd: int, request: int, data: bytes) -> tuple[int, bytes]:
        """ioctl(2): its result may be negative, and no error."""
        buffer = ctypes.create_string_buffer(data, max(1, len(data)))
        result = checked(libc.ioctl(fd, ctypes.c_ulong(request), buffer))
        return result, buffer.raw[: len(data)]

    def getxattr_into(self, path: str, name: str, size: int) -> bytes | int:
        """getxattr(2) with a buffer of `size`; the length for size 0."""
        buffer = ctypes.create_string_buffer(max(1, size))
        arguments = os.fsencode(self.below(path)), name.encode(), buffer, ctypes.c_size_t(size)
        length = checked(libc.getxattr(*arguments))
        return buffer.raw[:length] if size else length

    def listxattr_into(self, path: str, size: int) -> list[str] | int:
        buffer = ctypes.create_string_buffer(max(1, size))
        length = checked(libc.listxattr(os.fsencode(self.below(path)), buffer, ctypes.c_size_t(size)))
        return [name.decode() for name in buffer.raw[:length].split(b"\0") if name] if size else length

    def statx_all(self, path: str) -> tuple[int, ...]:
        """statx(2): mask, blksize, nlink, uid, gid, mode, ino, size, blocks, seconds of birth and change, rdev."""
        buffer = ctypes.create_string_buffer(STATX_SIZE)
        checked(libc.statx(AT_FDCWD, os.fsencode(self.below(path)), 0, STATX_ALL, buffer))
        return statx_fields(buffer.raw)


PATHS: Final = frozenset(
    {"mkdir", "mknod", "unlink", "rmdir", "rename", "link", "symlink", "readlink", "chdir", "stat", "lstat", "chmod"}
    | {"chown", "lchown", "utime", "truncate", "access", "statvfs", "setxattr", "removexattr", "open", "listdir"}
)


def statx_fields(raw: bytes) -> tuple[int, ...]:
    def number(offset: int, size: int) -> int:
        return int.from_bytes(raw[offset : offset + size], "little")

    mask, modes, fours, eights = number(0, 4) & STATX_ALL, number(28, 2), (4, 16, 20, 24), (32, 40, 48, 80, 112)
    return (mask, *(number(at, 4) for at in fours), modes, *(number(at, 8) for at in eights))
