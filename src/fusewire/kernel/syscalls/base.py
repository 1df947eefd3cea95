"""What every system call of a process needs: who calls, which descriptors, and how a call returns.

A process is made of its system calls, a family in each module of this package, all of which build
on `Caller` here. While a system call runs, `current().process` is the process that makes it, from
which a request takes uid, gid and pid.
"""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar

from fusewire import events
from fusewire.errors import os_error
from fusewire.events import Step, note
from fusewire.kernel.tasks import running
from fusewire.kernel.waiting import ERESTARTNOINTR

if TYPE_CHECKING:
    from fusewire.kernel.vfs.dentry import Dentry
    from fusewire.kernel.vfs.open_file import OpenFile
    from fusewire.kernel.vfs.system import System

__all__ = ["Caller", "Credentials", "syscall"]

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C", bound="Caller")

FIRST_FD: Final = 3
OPEN_MAX: Final = 1024  # what Linux begins with


@dataclass(slots=True)
class Credentials:
    """Who a process is. As root (uid 0) it has every capability."""

    uid: int = 0
    gid: int = 0
    euid: int = 0
    egid: int = 0
    suid: int = 0
    sgid: int = 0
    fsuid: int = 0
    fsgid: int = 0
    groups: frozenset[int] = frozenset()

    @classmethod
    def of(cls, uid: int, gid: int, groups: frozenset[int] = frozenset()) -> Credentials:
        return cls(uid, gid, uid, gid, uid, gid, uid, gid, groups)

    @property
    def privileged(self) -> bool:
        """It may override permissions (CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_CHOWN, CAP_FSETID, CAP_SYS_ADMIN)."""
        return self.fsuid == 0

    def in_group(self, gid: int) -> bool:
        return gid == self.fsgid or gid in self.groups


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


def syscall(
    function: Callable[Concatenate[C, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[C, P], Coroutine[Any, Any, T]]:
    """Make a method a system call: it is noted, and on its return signals are delivered.

    In a task it runs as that task; awaited from asyncio, as a task of the asyncio runner. One whose
    request a signal withdrew in 2005, before the daemon had read it, begins anew.

    Raises:
        Killed: instead of anything else, if the task was killed meanwhile.
    """
    name = f"sys_{function.__name__.rstrip('_')}"

    @functools.wraps(function)
    async def called(self: C, /, *args: P.args, **kwargs: P.kwargs) -> T:
        task = running()
        if task is None:
            return await self.system.runner.perform(called(self, *args, **kwargs), self)
        caller, task.process = task.process, self
        if events.hook is not None:
            note(Step.CALL, name)
        try:
            while True:
                try:
                    result = await function(self, *args, **kwargs)
                    break
                except OSError as error:
                    task.take_signals(error)
                    if error.errno != ERESTARTNOINTR:
                        raise
        finally:
            if events.hook is not None:
                note(Step.RETURN, name)
            task.process = caller
        task.take_signals()
        return result

    return called
