"""Actors on an embedded kernel (`fusewire.Kernel`): each is a process of it, in this process.

Nothing is mounted and no root is needed. The kernel runs in fixed order, so a call that would hang
is told at once (Deadlock). Time is the clock of this machine for the filesystem, and a clock that
stands still for the kernel: a tick moves both.
"""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import mmap
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import fusewire
from fusewire.filesystems import LocalDirectory, Memory
from fusewire.kernel.syscalls.changing import Moment
from fusewire.served import Served
from torture.conformance.actors import CLOCK_REALTIME_COARSE, Actor, Call, Hung, Identity, made, result_of
from torture.conformance.calls import AT_SYMLINK_NOFOLLOW, UTIME_NOW, UTIME_OMIT, Calls, Skipped, Time
from torture.conformance.libc import Address
from torture.conformance.tree import Folder

ROOT = Identity("root", 0, 0)
HOME = "/posix"
SECOND = 10**9  # nanoseconds

NO_PROGRAMS = "an embedded kernel executes no programs"
NO_SOCKETS = "an embedded kernel has no sockets, only their names"
NO_NAMESPACES = "an embedded kernel binds no mounts"
ROOMY = "/dev/shm"  # a tmpfs, which can do all that a filesystem can
FILESYSTEMS: dict[str, Callable[[str], Served]] = {
    "memory": lambda source: Memory(),
    "local": LocalDirectory,
    "nodes": lambda source: Folder(),
}

VECTORED = {"read": "readv", "write": "writev", "pread": "preadv", "pwrite": "pwritev"}
NOWHERE = {Address.NULL: 0, Address.UNMAPPED: 1 << 40, Address.KERNEL: 1 << 63}


class Embedded:
    """The root directory of an embedded kernel."""

    root = ROOT
    lacks: Mapping[str, str] = {"pipes": "an embedded kernel's fifos carry nothing"}

    def __init__(self, kernel: fusewire.Kernel) -> None:
        self.kernel = kernel
        kernel.mkdir(HOME)
        kernel.chmod(HOME, 0o755)

    def actor(self, who: Identity) -> EmbeddedActor:
        return EmbeddedActor(who, self.kernel)

    def tick(self) -> None:
        passed = 2 * time.clock_getres(CLOCK_REALTIME_COARSE)
        time.sleep(passed)
        self.kernel.advance(passed)

    def close(self) -> None:
        """Remove what was made here."""
        self.kernel.rmdir(HOME)


class EmbeddedActor(Actor):
    """A process of an embedded kernel."""

    def __init__(self, identity: Identity, kernel: fusewire.Kernel) -> None:
        super().__init__(identity)
        self.process = kernel.process(identity.uid, identity.gid, identity.groups)
        self.calls = EmbeddedCalls(kernel, self.process)
        self.process.umask(0)

    def ask(self, name: str, arguments: tuple[object, ...]) -> Any:
        try:
            if name == "enter":
                return result_of(name, *made(self.calls.named("entered"), (HOME, *arguments)))
            return result_of(name, *made(self.calls.named(name), arguments))
        except fusewire.Deadlock as error:
            raise Hung(f"{Call(self, name).text(arguments)}: {error}") from error

    def end(self) -> None:
        self.calls.mount_writable()
        self.process.exit()


class EmbeddedCalls(Calls):
    """The calls of one process of an embedded kernel."""

    LACKS: ClassVar[dict[str, str]] = {
        **dict.fromkeys(("execute", "start", "stop", "copy_program"), NO_PROGRAMS),
        **dict.fromkeys(("bind_socket", "listen", "connect"), NO_SOCKETS),
        **dict.fromkeys(("own_mounts", "bind", "unmount"), NO_NAMESPACES),
        "limit_file_size": "an embedded kernel's processes have no RLIMIT_FSIZE",
    }

    def __init__(self, kernel: fusewire.Kernel, process: fusewire.embedded.Process) -> None:
        super().__init__(process)
        self.kernel = kernel
        self.process = process
        self.read_only = False

    def open(self, path: str, flags: int, mode: int = 0o777) -> int:
        return self.process.open(path, flags, mode)

    def close_all(self) -> None:
        for fd in list(self.process.awaitable.files):
            self.process.close(fd)
        self.process.umask(0)

    def scanned(self, path: str) -> Iterable[Any]:
        return self.process.scandir(path)

    # Attributes and names.

    def access(self, path: str, mode: int) -> None:
        self.process.faccessat(path, mode)

    def utimensat(self, path: str, atime: Time, mtime: Time, flags: int = 0) -> None:
        ns = moment(atime), moment(mtime)
        self.process.utime(path, ns=ns, follow_symlinks=not flags & AT_SYMLINK_NOFOLLOW)

    def futimens(self, fd: int, atime: Time, mtime: Time) -> None:
        self.process.utime(fd, ns=(moment(atime), moment(mtime)))

    def birth_ns(self, path: str) -> int | None:
        return self.process.statx(path, follow_symlinks=False).btime_ns

    def renameat2(self, source: str, target: str, flags: int) -> None:
        self.process.rename(source, target, flags=flags)

    def link_by_fd(self, fd: int, path: str) -> None:
        self.process.link_fd(fd, path)

    def getxattr_sized(self, path: str, name: str, size: int) -> int:
        return len(self.process.getxattr(path, name, size=size)) if size else self.process.get_xattr_length(path, name)

    def listxattr_sized(self, path: str, size: int) -> int:
        if not size:
            return self.process.list_xattr_length(path)
        return sum(len(os.fsencode(name)) + 1 for name in self.process.listxattr(path, size=size))

    # Contents.

    def fallocate(self, fd: int, mode: int, offset: int, length: int) -> None:
        self.process.fallocate(fd, mode, offset, length)

    def lock(self, fd: int, kind: int, start: int = 0, length: int = 0) -> None:
        self.process.lockf(fd, kind if kind == fcntl.LOCK_UN else kind | fcntl.LOCK_NB, length, start)

    def flock(self, fd: int, kind: int) -> None:
        self.process.flock(fd, kind if kind == fcntl.LOCK_UN else kind | fcntl.LOCK_NB)

    def mapped_write(self, fd: int, length: int, offset: int, data: bytes, private: bool = False) -> None:
        with self.process.mmap(fd, length, flags=mmap.MAP_PRIVATE if private else mmap.MAP_SHARED) as memory:
            memory[offset : offset + len(data)] = data
            if not private:
                memory.flush()

    def mapped_read(self, fd: int, length: int, offset: int, size: int) -> bytes:
        with self.process.mmap(fd, length, mmap.PROT_READ) as memory:
            return memory[offset : offset + size]

    def raw(self, function: str, *arguments: Any) -> int:
        """Read into, or write from, memory that is not there; no other pointers are passed here."""
        if function not in VECTORED:
            raise Skipped("an embedded kernel is given paths and structs, not pointers to them")
        fd, address, size, *offset = arguments
        call = getattr(self.process, VECTORED[function])
        return int(call(fd, [self.process.buffer(NOWHERE[address], size)], *offset))

    # Mounts.

    def mount_read_only(self) -> None:
        """Have the mount read-only until this process ends: the others do nothing meanwhile."""
        self.read_only = True
        self.kernel.superblock.options = replaced(self.kernel, read_only=True)

    def mount_writable(self) -> None:
        """Undo that."""
        if self.read_only:
            self.kernel.superblock.options = replaced(self.kernel, read_only=False)


def replaced(kernel: fusewire.Kernel, read_only: bool) -> Any:
    """The options of the mount, read-only or not."""
    return dataclasses.replace(kernel.superblock.options, read_only=read_only)


def moment(given: Time) -> int | Moment:
    """A time as the embedded utime takes it, which cannot be told of too many nanoseconds: EINVAL, as Linux says."""
    if given == UTIME_NOW:
        return Moment.NOW
    if given == UTIME_OMIT:
        return Moment.OMIT
    seconds, nanoseconds = given
    if not 0 <= nanoseconds < SECOND:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return seconds * SECOND + nanoseconds


@contextmanager
def on_embedded_kernel(filesystem: str, minor: int) -> Iterator[Embedded]:
    """An embedded kernel with one of FILESYSTEMS, for a while. What it was granted, it must have given back."""
    with TemporaryDirectory(dir=ROOMY if os.path.isdir(ROOMY) else None) as source:
        os.chmod(source, 0o755)
        with fusewire.Kernel(FILESYSTEMS[filesystem](source), minor=minor) as kernel:
            place = Embedded(kernel)
            yield place
            place.close()
            if leaks := kernel.leaks():
                raise RuntimeError(f"the kernel's end has leaked: {leaks[:5]}")
