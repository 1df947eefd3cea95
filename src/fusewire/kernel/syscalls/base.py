"""How a system call begins and returns.

A process is made of its system calls, a family in each module of this package, all of which build
on `Caller` (vfs/caller.py). While a system call runs, `current().process` is the process that makes
it, from which a request takes uid, gid and pid.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from fusewire import events
from fusewire.events import Step, arguments, failure, note
from fusewire.kernel.tasks import running
from fusewire.kernel.vfs.caller import Caller
from fusewire.kernel.waiting import ERESTARTNOINTR

__all__ = ["syscall"]

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C", bound=Caller)

OTHER_NAMES: Final = {  # what Linux calls the methods whose names in `os` are not its own
    "_readlink": "readlink",
    "dup_from": "fcntl",
    "exec": "execve",
    "fstatvfs": "fstatfs",
    "get_flags": "fcntl",
    "get_xattr_length": "getxattr",
    "getlk": "fcntl",
    "link_fd": "linkat",
    "list_xattr_length": "listxattr",
    "lockf": "fcntl",
    "mkfifo": "mknod",
    "posix_fadvise": "fadvise64",
    "posix_fallocate": "fallocate",
    "set_flags": "fcntl",
    "setlk": "fcntl",
    "statvfs": "statfs",
    "utime": "utimensat",
}


def syscall(
    function: Callable[Concatenate[C, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[C, P], Coroutine[Any, Any, T]]:
    """Make a method a system call: it is noted, and on its return signals are delivered.

    In a task it runs as that task; awaited from asyncio, as a task of the asyncio runner. One whose
    request a signal withdrew in 2005, before the daemon had read it, begins anew.

    Raises:
        Killed: instead of anything else, if the task was killed meanwhile.
    """
    name = f"sys_{OTHER_NAMES.get(function.__name__, function.__name__)}"

    @functools.wraps(function)
    async def called(self: C, /, *args: P.args, **kwargs: P.kwargs) -> T:
        task = running()
        if task is None:
            return await self.system.runner.perform(called(self, *args, **kwargs), self)
        caller, task.process = task.process, self
        if events.hook is not None and events.hook is not events.unheard:
            note(Step.CALL, name, about=arguments((*args, *kwargs.values())))
        try:
            while True:
                outcome = ""
                try:
                    result = await function(self, *args, **kwargs)
                    break
                except OSError as error:
                    outcome = failure(error)
                    task.take_signals(error)
                    if error.errno != ERESTARTNOINTR:
                        raise
        finally:
            if events.hook is not None:
                note(Step.RETURN, name, about=outcome)
            task.process = caller
        if task.signal:
            task.take_signals()
        return result

    return called
