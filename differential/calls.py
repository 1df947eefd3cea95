"""What each step of a program does, once for both kernels.

A step is carried out by the function of its name here, on an `Actor`: the process, as an object
that has what `os` has by the same names (and what `os` lacks: see native.py). So the two kernels
are asked the same questions, and what they answer is put into the same words: plain values that
can be compared, and travel through a pipe.

    ("ok", value)          it returned
    ("error", "ENOENT")    it raised OSError
    ("broken", "...")      it raised anything else, which nothing should
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from differential.program import Step

__all__ = ["CALLS", "Actor", "Result", "perform"]

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


CALLS: Final[dict[str, Callable[..., object]]] = {}


def call(function: Callable[..., object]) -> Callable[..., object]:
    CALLS[function.__name__.rstrip("_")] = function
    return function


def perform(actor: Actor, step: Step) -> Result:
    """Carry out one step."""
    try:
        return "ok", CALLS[step.call](actor, *step.arguments)
    except OSError as error:
        return "error", errno.errorcode.get(error.errno or 0, str(error.errno))
    except Exception as error:
        return "broken", f"{type(error).__name__}: {error}"


# --- names


@call
def mkdir(actor: Actor, path: str, mode: int) -> None:
    actor.os.mkdir(path, mode)


@call
def mknod(actor: Actor, path: str, mode: int, device: int) -> None:
    actor.os.mknod(path, mode, device)


@call
def unlink(actor: Actor, path: str) -> None:
    actor.os.unlink(path)


@call
def rmdir(actor: Actor, path: str) -> None:
    actor.os.rmdir(path)


@call
def rename(actor: Actor, old: str, new: str) -> None:
    actor.os.rename(old, new)


@call
def renameat2(actor: Actor, old: str, new: str, flags: int) -> None:
    actor.os.renameat2(old, new, flags)


@call
def link(actor: Actor, old: str, new: str, follow: int) -> None:
    actor.os.link(old, new, follow_symlinks=bool(follow))


@call
def symlink(actor: Actor, target: str, path: str) -> None:
    actor.os.symlink(target, path)


@call
def readlink(actor: Actor, path: str) -> object:
    return actor.os.readlink(path)


@call
def chdir(actor: Actor, path: str) -> None:
    actor.os.chdir(path)


@call
def fchdir(actor: Actor, slot: int) -> None:
    actor.os.fchdir(actor.fd(slot))


@call
def getcwd(actor: Actor) -> object:
    return actor.os.getcwd()


@call
def umask(actor: Actor, mask: int) -> object:
    return actor.os.umask(mask)


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
def stat(actor: Actor, path: str) -> object:
    return fields(actor.os.stat(path))


@call
def lstat(actor: Actor, path: str) -> object:
    return fields(actor.os.lstat(path))


@call
def fstat(actor: Actor, slot: int) -> object:
    return fields(actor.os.fstat(actor.fd(slot)))


@call
def chmod(actor: Actor, path: str, mode: int) -> None:
    actor.os.chmod(path, mode)


@call
def fchmod(actor: Actor, slot: int, mode: int) -> None:
    actor.os.fchmod(actor.fd(slot), mode)


@call
def chown(actor: Actor, path: str, uid: int, gid: int) -> None:
    actor.os.chown(path, uid, gid)


@call
def lchown(actor: Actor, path: str, uid: int, gid: int) -> None:
    actor.os.lchown(path, uid, gid)


@call
def fchown(actor: Actor, slot: int, uid: int, gid: int) -> None:
    actor.os.fchown(actor.fd(slot), uid, gid)


@call
def utime(actor: Actor, path: str, atime_ns: int | None, mtime_ns: int | None, follow: int) -> None:
    if atime_ns is None or mtime_ns is None:
        actor.os.utime(path, follow_symlinks=bool(follow))
    else:
        actor.os.utime(path, ns=(atime_ns, mtime_ns), follow_symlinks=bool(follow))


@call
def truncate(actor: Actor, path: str, size: int) -> None:
    actor.os.truncate(path, size)


@call
def ftruncate(actor: Actor, slot: int, size: int) -> None:
    actor.os.ftruncate(actor.fd(slot), size)


@call
def access(actor: Actor, path: str, mode: int, effective: int) -> object:
    return actor.os.access(path, mode, effective_ids=bool(effective))


@call
def statvfs(actor: Actor, path: str) -> object:
    return space(actor.os.statvfs(path))


@call
def fstatvfs(actor: Actor, slot: int) -> object:
    return space(actor.os.fstatvfs(actor.fd(slot)))


# --- extended attributes


@call
def setxattr(actor: Actor, path: str, name: str, value: bytes, flags: int, follow: int) -> None:
    actor.os.setxattr(path, name, value, flags, follow_symlinks=bool(follow))


@call
def getxattr(actor: Actor, path: str, name: str, follow: int) -> object:
    return bytes(actor.os.getxattr(path, name, follow_symlinks=bool(follow)))


@call
def listxattr(actor: Actor, path: str, follow: int) -> object:
    return list(actor.os.listxattr(path, follow_symlinks=bool(follow)))


@call
def removexattr(actor: Actor, path: str, name: str, follow: int) -> None:
    actor.os.removexattr(path, name, follow_symlinks=bool(follow))


# --- files


@call
def open_(actor: Actor, slot: int, path: str, flags: int, mode: int) -> None:
    close_first(actor, slot)
    actor.files[slot] = actor.os.open(path, flags, mode)


def close_first(actor: Actor, slot: int) -> None:
    fd = actor.files.pop(slot, None)
    if fd is not None:
        actor.os.close(fd)


@call
def close(actor: Actor, slot: int) -> None:
    fd = actor.fd(slot)
    del actor.files[slot]
    actor.os.close(fd)


@call
def dup(actor: Actor, slot: int, new_slot: int) -> None:
    fd = actor.fd(slot)
    if slot != new_slot:
        close_first(actor, new_slot)
        actor.files[new_slot] = actor.os.dup(fd)


@call
def listdir(actor: Actor, path: str) -> object:
    return list(actor.os.listdir(path))


@call
def getdents(actor: Actor, slot: int, size: int) -> object:
    return actor.os.getdents(actor.fd(slot), size)


# --- data


@call
def read(actor: Actor, slot: int, size: int) -> object:
    return bytes(actor.os.read(actor.fd(slot), size))


@call
def write(actor: Actor, slot: int, data: bytes) -> object:
    return actor.os.write(actor.fd(slot), data)


@call
def pread(actor: Actor, slot: int, size: int, offset: int) -> object:
    return bytes(actor.os.pread(actor.fd(slot), size, offset))


@call
def pwrite(actor: Actor, slot: int, data: bytes, offset: int) -> object:
    return actor.os.pwrite(actor.fd(slot), data, offset)


@call
def lseek(actor: Actor, slot: int, offset: int, whence: int) -> object:
    return actor.os.lseek(actor.fd(slot), offset, whence)


@call
def fsync(actor: Actor, slot: int) -> None:
    actor.os.fsync(actor.fd(slot))


@call
def fdatasync(actor: Actor, slot: int) -> None:
    actor.os.fdatasync(actor.fd(slot))


@call
def fallocate(actor: Actor, slot: int, mode: int, offset: int, length: int) -> None:
    actor.os.fallocate(actor.fd(slot), mode, offset, length)


@call
def copy_file_range(
    actor: Actor, source: int, target: int, count: int, offset_in: int | None, offset_out: int | None
) -> object:
    return actor.os.copy_file_range(actor.fd(source), actor.fd(target), count, offset_in, offset_out)


# --- memory


@call
def mmap(actor: Actor, slot: int, file: int, length: int, flags: int, protection: int, offset: int) -> None:
    fd = actor.fd(file)
    before = actor.maps.pop(slot, None)
    if before is not None:
        actor.os.munmap(before)
    actor.maps[slot] = actor.os.mmap(fd, length, flags, protection, offset)


@call
def peek(actor: Actor, slot: int, offset: int, size: int) -> object:
    """Read mapped memory; EFAULT where there is none, or where a page cannot be had."""
    return bytes(actor.os.peek(actor.map(slot), offset, size))


@call
def poke(actor: Actor, slot: int, offset: int, data: bytes) -> object:
    """Write mapped memory; EFAULT likewise."""
    return actor.os.poke(actor.map(slot), offset, data)


@call
def msync(actor: Actor, slot: int) -> None:
    actor.os.msync(actor.map(slot))


@call
def munmap(actor: Actor, slot: int) -> None:
    mapping = actor.map(slot)
    del actor.maps[slot]
    actor.os.munmap(mapping)


# --- locks, and what else is asked of a descriptor


@call
def setlk(actor: Actor, slot: int, kind: int, start: int, length: int) -> None:
    """F_SETLK: EAGAIN if somebody else holds it."""
    actor.os.setlk(actor.fd(slot), kind, start, length)


@call
def getlk(actor: Actor, slot: int, kind: int, start: int, length: int) -> object:
    """F_GETLK: its type, start and length; who holds it is another kernel's number."""
    return actor.os.getlk(actor.fd(slot), kind, start, length)


@call
def flock(actor: Actor, slot: int, operation: int) -> None:
    actor.os.flock(actor.fd(slot), operation)


@call
def ioctl(actor: Actor, slot: int, request: int, data: bytes) -> object:
    return actor.os.ioctl(actor.fd(slot), request, data)


@call
def poll(actor: Actor, slot: int, events: int) -> object:
    return actor.os.poll(actor.fd(slot), events)
