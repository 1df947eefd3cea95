"""What each step of a program does, once for both kernels.

A step is carried out by the function of its name here, on an `Actor`: the process, as an object
that has what `os` has by the same names (and what `os` lacks: see native.py). So the two kernels
are asked the same questions, and what they answer is put into the same words: plain values that
can be compared, and travel through a pipe.

All is awaited, for on the embedded kernel a call that sleeps is a coroutine that does; on Linux it
is the process that sleeps, and nothing is ever suspended.

    ("ok", value)          it returned
    ("error", "ENOENT")    it raised OSError
    ("broken", "...")      it raised anything else, which nothing should
    ("asleep", None)       it never came back
    ("killed", None)       the process was killed meanwhile
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Coroutine
from typing import Any, Final, ParamSpec, TypeAlias, TypeVar

from differential.program import Step

__all__ = ["CALLS", "Actor", "Result", "perform"]

P = ParamSpec("P")
T = TypeVar("T")
Result: TypeAlias = tuple[str, Any]
LONG_AGO: Final = 10**18  # ns: before it are the times that programs set, after it those that clocks tell


class Actor:
    """A process: `os` is what it calls, and the slots are what its earlier steps have opened."""

    def __init__(self, system: Any) -> None:
        self.os = system
        self.files: dict[int, int] = {}
        self.maps: dict[int, Any] = {}

    def fd(self, slot: int) -> int:
        """Return the descriptor in a slot.

        Raises:
            OSError: EBADF, without asking anybody, if there is none.
        """
        try:
            return self.files[slot]
        except KeyError:
            raise OSError(errno.EBADF, "the slot is empty") from None

    def map(self, slot: int) -> Any:
        """Return the mapping in a slot; EBADF likewise."""
        try:
            return self.maps[slot]
        except KeyError:
            raise OSError(errno.EBADF, "the slot is empty") from None


CALLS: Final[dict[str, Callable[..., Coroutine[Any, Any, object]]]] = {}


def call(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    CALLS[function.__name__.rstrip("_")] = function
    return function


async def perform(actor: Actor, step: Step) -> Result:
    """Carry out one step."""
    try:
        return "ok", await CALLS[step.call](actor, *step.arguments)
    except OSError as error:
        return "error", errno.errorcode.get(error.errno or 0, str(error.errno))
    except Exception as error:
        return "broken", f"{type(error).__name__}: {error}"


# --- names


@call
async def mkdir(actor: Actor, path: str, mode: int) -> None:
    await actor.os.mkdir(path, mode)


@call
async def mknod(actor: Actor, path: str, mode: int, device: int) -> None:
    await actor.os.mknod(path, mode, device)


@call
async def unlink(actor: Actor, path: str) -> None:
    await actor.os.unlink(path)


@call
async def rmdir(actor: Actor, path: str) -> None:
    await actor.os.rmdir(path)


@call
async def rename(actor: Actor, old: str, new: str) -> None:
    await actor.os.rename(old, new)


@call
async def renameat2(actor: Actor, old: str, new: str, flags: int) -> None:
    await actor.os.renameat2(old, new, flags)


@call
async def link(actor: Actor, old: str, new: str, follow: int) -> None:
    await actor.os.link(old, new, follow_symlinks=bool(follow))


@call
async def symlink(actor: Actor, target: str, path: str) -> None:
    await actor.os.symlink(target, path)


@call
async def readlink(actor: Actor, path: str) -> object:
    return await actor.os.readlink(path)


@call
async def chdir(actor: Actor, path: str) -> None:
    await actor.os.chdir(path)


@call
async def fchdir(actor: Actor, slot: int) -> None:
    await actor.os.fchdir(actor.fd(slot))


@call
async def getcwd(actor: Actor) -> object:
    return await actor.os.getcwd()


@call
async def umask(actor: Actor, mask: int) -> object:
    return await actor.os.umask(mask)


# --- attributes


def fields(found: os.stat_result) -> tuple[object, ...]:
    """What is compared of a stat: everything but the device, and times that a clock has told."""
    times = (found.st_atime_ns, found.st_mtime_ns)
    return (
        "stat",
        found.st_ino,
        found.st_mode,
        found.st_nlink,
        found.st_uid,
        found.st_gid,
        found.st_size,
        found.st_blocks,
        found.st_blksize,
        found.st_rdev,
        *(time if time < LONG_AGO else "a clock's" for time in times),
    )


def space(found: os.statvfs_result) -> tuple[object, ...]:
    return ("statvfs", found.f_bsize, found.f_frsize, found.f_flag, found.f_namemax)


@call
async def stat(actor: Actor, path: str) -> object:
    return fields(await actor.os.stat(path))


@call
async def lstat(actor: Actor, path: str) -> object:
    return fields(await actor.os.lstat(path))


@call
async def fstat(actor: Actor, slot: int) -> object:
    return fields(await actor.os.fstat(actor.fd(slot)))


@call
async def btime(actor: Actor, path: str) -> object:
    """statx(2), which asks for the time of creation; whether there is one, for the time is a clock's."""
    return await actor.os.btime(path)


@call
async def chmod(actor: Actor, path: str, mode: int) -> None:
    await actor.os.chmod(path, mode)


@call
async def fchmod(actor: Actor, slot: int, mode: int) -> None:
    await actor.os.fchmod(actor.fd(slot), mode)


@call
async def chown(actor: Actor, path: str, uid: int, gid: int) -> None:
    await actor.os.chown(path, uid, gid)


@call
async def lchown(actor: Actor, path: str, uid: int, gid: int) -> None:
    await actor.os.lchown(path, uid, gid)


@call
async def fchown(actor: Actor, slot: int, uid: int, gid: int) -> None:
    await actor.os.fchown(actor.fd(slot), uid, gid)


@call
async def utime(actor: Actor, path: str, atime_ns: int | None, mtime_ns: int | None, follow: int) -> None:
    if atime_ns is None or mtime_ns is None:
        await actor.os.utime(path, follow_symlinks=bool(follow))
    else:
        await actor.os.utime(path, ns=(atime_ns, mtime_ns), follow_symlinks=bool(follow))


@call
async def truncate(actor: Actor, path: str, size: int) -> None:
    await actor.os.truncate(path, size)


@call
async def ftruncate(actor: Actor, slot: int, size: int) -> None:
    await actor.os.ftruncate(actor.fd(slot), size)


@call
async def access(actor: Actor, path: str, mode: int, effective: int) -> object:
    return await actor.os.access(path, mode, effective_ids=bool(effective))


@call
async def statvfs(actor: Actor, path: str) -> object:
    return space(await actor.os.statvfs(path))


@call
async def fstatvfs(actor: Actor, slot: int) -> object:
    return space(await actor.os.fstatvfs(actor.fd(slot)))


# --- extended attributes


@call
async def setxattr(actor: Actor, path: str, name: str, value: bytes, flags: int, follow: int) -> None:
    await actor.os.setxattr(path, name, value, flags, follow_symlinks=bool(follow))


@call
async def getxattr(actor: Actor, path: str, name: str, follow: int) -> object:
    return bytes(await actor.os.getxattr(path, name, follow_symlinks=bool(follow)))


@call
async def listxattr(actor: Actor, path: str, follow: int) -> object:
    return list(await actor.os.listxattr(path, follow_symlinks=bool(follow)))


@call
async def removexattr(actor: Actor, path: str, name: str, follow: int) -> None:
    await actor.os.removexattr(path, name, follow_symlinks=bool(follow))


# --- files


@call
async def open_(actor: Actor, slot: int, path: str, flags: int, mode: int) -> None:
    await close_first(actor, slot)
    actor.files[slot] = await actor.os.open(path, flags, mode)


async def close_first(actor: Actor, slot: int) -> None:
    fd = actor.files.pop(slot, None)
    if fd is not None:
        await actor.os.close(fd)


@call
async def close(actor: Actor, slot: int) -> None:
    fd = actor.fd(slot)
    del actor.files[slot]
    await actor.os.close(fd)


@call
async def dup(actor: Actor, slot: int, new_slot: int) -> None:
    fd = actor.fd(slot)
    if slot != new_slot:
        await close_first(actor, new_slot)
        actor.files[new_slot] = await actor.os.dup(fd)


@call
async def listdir(actor: Actor, path: str) -> object:
    return list(await actor.os.listdir(path))


@call
async def getdents(actor: Actor, slot: int, size: int) -> object:
    return await actor.os.getdents(actor.fd(slot), size)


# --- data


@call
async def read(actor: Actor, slot: int, size: int) -> object:
    return bytes(await actor.os.read(actor.fd(slot), size))


@call
async def write(actor: Actor, slot: int, data: bytes) -> object:
    return await actor.os.write(actor.fd(slot), data)


@call
async def pread(actor: Actor, slot: int, size: int, offset: int) -> object:
    return bytes(await actor.os.pread(actor.fd(slot), size, offset))


@call
async def pwrite(actor: Actor, slot: int, data: bytes, offset: int) -> object:
    return await actor.os.pwrite(actor.fd(slot), data, offset)


@call
async def lseek(actor: Actor, slot: int, offset: int, whence: int) -> object:
    return await actor.os.lseek(actor.fd(slot), offset, whence)


@call
async def fsync(actor: Actor, slot: int) -> None:
    await actor.os.fsync(actor.fd(slot))


@call
async def fdatasync(actor: Actor, slot: int) -> None:
    await actor.os.fdatasync(actor.fd(slot))


@call
async def syncfs(actor: Actor, slot: int) -> None:
    await actor.os.syncfs(actor.fd(slot))


@call
async def fallocate(actor: Actor, slot: int, mode: int, offset: int, length: int) -> None:
    await actor.os.fallocate(actor.fd(slot), mode, offset, length)


@call
async def copy_file_range(
    actor: Actor, source: int, target: int, count: int, offset_in: int | None, offset_out: int | None
) -> object:
    return await actor.os.copy_file_range(actor.fd(source), actor.fd(target), count, offset_in, offset_out)


# --- memory


@call
async def mmap(actor: Actor, slot: int, file: int, length: int, flags: int, protection: int, offset: int) -> None:
    fd = actor.fd(file)
    before = actor.maps.pop(slot, None)
    if before is not None:
        await actor.os.munmap(before)
    actor.maps[slot] = await actor.os.mmap(fd, length, flags, protection, offset)


@call
async def peek(actor: Actor, slot: int, offset: int, size: int) -> object:
    """Read mapped memory; EFAULT where there is none, or where a page cannot be had."""
    return bytes(await actor.os.peek(actor.map(slot), offset, size))


@call
async def poke(actor: Actor, slot: int, offset: int, data: bytes) -> object:
    """Write mapped memory; EFAULT likewise."""
    return await actor.os.poke(actor.map(slot), offset, data)


@call
async def msync(actor: Actor, slot: int) -> None:
    await actor.os.msync(actor.map(slot))


@call
async def munmap(actor: Actor, slot: int) -> None:
    mapping = actor.map(slot)
    del actor.maps[slot]
    await actor.os.munmap(mapping)


# --- locks, and what else is asked of a descriptor


@call
async def setlk(actor: Actor, slot: int, kind: int, start: int, length: int) -> None:
    """F_SETLK: EAGAIN if somebody else holds it."""
    await actor.os.setlk(actor.fd(slot), kind, start, length)


@call
async def setlkw(actor: Actor, slot: int, kind: int, start: int, length: int) -> None:
    """F_SETLKW: waits until nobody else holds it."""
    await actor.os.setlkw(actor.fd(slot), kind, start, length)


@call
async def getlk(actor: Actor, slot: int, kind: int, start: int, length: int) -> object:
    """F_GETLK: its type, start and length; who holds it is another kernel's number."""
    return await actor.os.getlk(actor.fd(slot), kind, start, length)


@call
async def flock(actor: Actor, slot: int, operation: int) -> None:
    await actor.os.flock(actor.fd(slot), operation)


@call
async def ioctl(actor: Actor, slot: int, request: int, data: bytes) -> object:
    return await actor.os.ioctl(actor.fd(slot), request, data)


@call
async def poll(actor: Actor, slot: int, events: int, wait: int) -> object:
    """Which of `events` are so: now or, if it is to wait, as soon as one is."""
    return await actor.os.poll(actor.fd(slot), events, wait)
