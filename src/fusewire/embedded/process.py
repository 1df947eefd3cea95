"""A process whose system calls are plain, as in `os`: names, arguments and errors are the same.

    process = kernel.process(uid=1000)
    fd = process.open("/a", os.O_RDWR)
    process.pwrite(fd, b"x", 0)

Each call is that of the kernel's end, run to its end (blocking.py); its docstring is there. Where
calls are to be awaited, in an event loop or by a filesystem that uses its own mount in fixed order,
`process.awaitable` has them.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Self, TypeVar

import fusewire.kernel as kernel_end
from fusewire.embedded.blocking import Blocking, blocking
from fusewire.embedded.files import RawFile, stream
from fusewire.embedded.paths import Path, flags_of

if TYPE_CHECKING:
    from fusewire.embedded.ends import Ends
    from fusewire.kernel.operations.page_faults import MemoryRange
    from fusewire.kernel.vfs.address_space import AddressSpace
    from fusewire.kernel.vfs.credentials import Credentials

__all__ = ["Process"]

T = TypeVar("T")
Calls = kernel_end.Process


class Process(Blocking):
    """Credentials, a working directory, a umask, open files, memory and signals of its own."""

    awaitable: kernel_end.Process

    def __init__(self, ends: Ends, process: kernel_end.Process) -> None:
        self.ends = ends
        self.awaitable = process

    def __repr__(self) -> str:
        return repr(self.awaitable)

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.ends.call(coroutine, self.awaitable)

    # --- who it is, and signals

    @property
    def pid(self) -> int:
        return self.awaitable.pid

    @property
    def credentials(self) -> Credentials:
        """uid, gid, groups and the rest, as requests and permission checks use them; may be changed."""
        return self.awaitable.credentials

    def interrupt(self) -> None:
        """Send a signal that has a handler to the calls under way: those that may be interrupted end with EINTR."""
        self.awaitable.interrupt()

    def kill(self) -> None:
        """Send SIGKILL to the calls under way: each ends with EINTR, as soon as Linux would let it end."""
        self.awaitable.kill()

    exec = blocking(Calls.exec)
    exit = blocking(Calls.exit)

    def fork(self) -> Process:
        """Make a process that shares this one's open files, and has all else as it has now; see `os.fork`."""
        return Process(self.ends, self._call(self.awaitable.fork()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if not self.ends.over:  # else it has ended with the kernel
            self.exit()

    getpid = blocking(Calls.getpid)
    getuid = blocking(Calls.getuid)
    geteuid = blocking(Calls.geteuid)
    getgid = blocking(Calls.getgid)
    getegid = blocking(Calls.getegid)
    getresuid = blocking(Calls.getresuid)
    getresgid = blocking(Calls.getresgid)
    getgroups = blocking(Calls.getgroups)
    setuid = blocking(Calls.setuid)
    seteuid = blocking(Calls.seteuid)
    setreuid = blocking(Calls.setreuid)
    setresuid = blocking(Calls.setresuid)
    setgid = blocking(Calls.setgid)
    setegid = blocking(Calls.setegid)
    setresgid = blocking(Calls.setresgid)
    setgroups = blocking(Calls.setgroups)

    # --- names

    mkdir = blocking(Calls.mkdir)
    makedirs = blocking(Calls.makedirs)
    mknod = blocking(Calls.mknod)
    mkfifo = blocking(Calls.mkfifo)
    unlink = remove = blocking(Calls.unlink)
    rmdir = blocking(Calls.rmdir)
    removedirs = blocking(Calls.removedirs)
    rename = replace = blocking(Calls.rename)
    renames = blocking(Calls.renames)
    link = blocking(Calls.link)
    link_fd = blocking(Calls.link_fd)
    symlink = blocking(Calls.symlink)
    readlink = blocking(Calls.readlink)
    chdir = blocking(Calls.chdir)
    fchdir = blocking(Calls.fchdir)
    getcwd = blocking(Calls.getcwd)
    getcwdb = blocking(Calls.getcwdb)
    umask = blocking(Calls.umask)

    # --- attributes

    stat = blocking(Calls.stat)
    lstat = blocking(Calls.lstat)
    fstat = blocking(Calls.fstat)
    statx = blocking(Calls.statx)
    chmod = blocking(Calls.chmod)
    fchmod = blocking(Calls.fchmod)
    chown = blocking(Calls.chown)
    fchown = blocking(Calls.fchown)
    lchown = blocking(Calls.lchown)
    utime = blocking(Calls.utime)
    truncate = blocking(Calls.truncate)
    ftruncate = blocking(Calls.ftruncate)
    access = blocking(Calls.access)
    faccessat = blocking(Calls.faccessat)
    statvfs = blocking(Calls.statvfs)
    fstatvfs = blocking(Calls.fstatvfs)
    getxattr = blocking(Calls.getxattr)
    get_xattr_length = blocking(Calls.get_xattr_length)
    setxattr = blocking(Calls.setxattr)
    listxattr = blocking(Calls.listxattr)
    list_xattr_length = blocking(Calls.list_xattr_length)
    removexattr = blocking(Calls.removexattr)

    # --- open files

    open = blocking(Calls.open)
    close = blocking(Calls.close)
    dup = blocking(Calls.dup)
    dup2 = blocking(Calls.dup2)
    dup_from = blocking(Calls.dup_from)
    get_flags = blocking(Calls.get_flags)
    set_flags = blocking(Calls.set_flags)
    get_blocking = blocking(Calls.get_blocking)
    set_blocking = blocking(Calls.set_blocking)
    get_inheritable = blocking(Calls.get_inheritable)
    set_inheritable = blocking(Calls.set_inheritable)
    listdir = blocking(Calls.listdir)
    scandir = blocking(Calls.scandir)
    getdents = blocking(Calls.getdents)

    ioctl = blocking(Calls.ioctl)
    poll = blocking(Calls.poll)
    select = blocking(Calls.select)
    flock = blocking(Calls.flock)
    lockf = blocking(Calls.lockf)
    getlk = blocking(Calls.getlk)
    setlk = blocking(Calls.setlk)

    # --- data

    read = blocking(Calls.read)
    readv = blocking(Calls.readv)
    pread = blocking(Calls.pread)
    preadv = blocking(Calls.preadv)
    write = blocking(Calls.write)
    writev = blocking(Calls.writev)
    pwrite = blocking(Calls.pwrite)
    pwritev = blocking(Calls.pwritev)
    lseek = blocking(Calls.lseek)
    fsync = blocking(Calls.fsync)
    fdatasync = blocking(Calls.fdatasync)
    sync = blocking(Calls.sync)
    syncfs = blocking(Calls.syncfs)
    fallocate = blocking(Calls.fallocate)
    posix_fallocate = blocking(Calls.posix_fallocate)
    posix_fadvise = blocking(Calls.posix_fadvise)
    copy_file_range = blocking(Calls.copy_file_range)
    sendfile = blocking(Calls.sendfile)

    # --- mounts and memory

    mount = blocking(Calls.mount)
    umount = blocking(Calls.umount)
    mmap = blocking(Calls.mmap)
    munmap = blocking(Calls.munmap)
    msync = blocking(Calls.msync)
    madvise = blocking(Calls.madvise)
    mprotect = blocking(Calls.mprotect)
    load = blocking(Calls.load)
    store = blocking(Calls.store)

    @property
    def memory(self) -> AddressSpace:
        """Its addresses, and what is mapped there."""
        return self.awaitable.memory

    def buffer(self, address: int, size: int) -> MemoryRange:
        """Return `size` bytes of memory as what a read or a write may be given: it faults while it is copied."""
        return self.awaitable.buffer(address, size)

    # --- Python's streams

    def stream(
        self,
        path: Path,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        *,
        permissions: int = 0o666,
    ) -> Any:
        """Open a file as the builtin `open` does, and return what that returns: a stream of bytes, or of text.

        Text is UTF-8 where `encoding` is not given.
        """
        fd = self.open(path, flags_of(mode.replace("t", "", 1)), permissions)
        if stat.S_ISDIR(self.fstat(fd).st_mode):
            self.close(fd)
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        return stream(RawFile(self, fd, mode, str(path)), buffering, encoding, errors, newline)
