"""A process, as the kernel's end knows it: who it is, where it is, and which files it has open.

What it can ask for, its system calls, is built on this in `syscalls`.

Source: include/linux/sched.h, struct task_struct; fs/file.c, alloc_fd.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from fusewire.errors import os_error

if TYPE_CHECKING:
    from fusewire.kernel.vfs.credentials import Credentials
    from fusewire.kernel.vfs.dentry import Dentry
    from fusewire.kernel.vfs.open_file import OpenFile
    from fusewire.kernel.vfs.system import System

__all__ = ["Caller"]

FIRST_FD: Final = 3
OPEN_MAX: Final = 1024  # what Linux begins with


class Caller:
    """A process: credentials, directory, umask and descriptors."""

    def __init__(self, system: System, pid: int, credentials: Credentials, cwd: Dentry, name: str = "") -> None:
        self.system = system
        self.pid = pid
        self.name = name or f"process {pid}"
        self.credentials = credentials
        self.umask_ = 0o022
        self.cwd = cwd  # it holds a reference
        self.files: dict[int, OpenFile] = {}  # by descriptor
        self.close_on_exec: set[int] = set()  # descriptors
        self.open_max = OPEN_MAX  # descriptors are less (RLIMIT_NOFILE)
        self.owner = pid  # of POSIX locks: files_struct, shared by threads
        self.ended = False
        self.killed = False  # SIGKILL is why it exits
        self._reserved: set[int] = set()  # descriptors of files that are being opened
        self._next_fd = FIRST_FD  # no lower one is free

    def __repr__(self) -> str:
        return f"<Process {self.name}>"

    def file(self, fd: int) -> OpenFile:
        """Return what `fd` stands for.

        Raises:
            OSError: EBADF if it is not open.
        """
        try:
            return self.files[fd]
        except KeyError:
            raise os_error(errno.EBADF) from None

    def opened_file(self, fd: int) -> OpenFile:
        """Return what `fd` stands for, if it can be read, written or asked at all.

        Raises:
            OSError: EBADF if it is not open, or with O_PATH.
        """
        file = self.files.get(fd)
        if file is None or file.flags & os.O_PATH:
            raise os_error(errno.EBADF)
        return file

    def reserve_fd(self, least: int = 0) -> int:
        """Set the lowest descriptor aside that is free, and not below `least`; 0 to 2 are left to the terminal.

        Raises:
            OSError: EMFILE if there is none.
        """
        fd = max(least, self._next_fd)
        while fd in self.files or fd in self._reserved:
            fd += 1
        if fd >= self.open_max:
            raise os_error(errno.EMFILE)
        if least <= self._next_fd:
            self._next_fd = fd + 1
        self._reserved.add(fd)
        return fd

    def free_fd(self, fd: int) -> None:
        """Let `fd`, which stands for nothing any more, be used again."""
        self._reserved.discard(fd)
        self.close_on_exec.discard(fd)
        if FIRST_FD <= fd < self._next_fd:
            self._next_fd = fd

    def install(self, fd: int, file: OpenFile, *, close_on_exec: bool = False) -> int:
        """Have `fd`, which was set aside, stand for `file`, taking over the caller's reference; return it."""
        self._reserved.discard(fd)
        self.files[fd] = file
        if close_on_exec:
            self.close_on_exec.add(fd)
        return fd

    def new_fd(self, file: OpenFile, least: int = 0) -> int:
        """Give `file` the lowest descriptor that is free, and the caller's reference; errors as `reserve_fd`."""
        return self.install(self.reserve_fd(least), file)
