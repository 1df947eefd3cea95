"""Who resumes a task that has been woken: three runners, one code.

    fixed order   one thread, a clock that stands still, always the same: tests, the explorer, the default
    threads       a blocked system call blocks its thread
    asyncio       a system call is awaited

Whoever wakes a task puts it onto the `runnable` of its runner. What differs is who takes it from
there, and what becomes of a caller whose task sleeps:

    fixed order   the caller runs the others until its own task has finished; if none can go on,
                  that is a deadlock, and an error which says who waits for whom (fixed_order.py)
    the others    one kernel lock; whoever lets go of it first runs what it has woken. The caller
                  sleeps, in its thread or at its `await`, until its task has finished (locked.py)
"""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from collections.abc import Callable, Collection, Coroutine
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, cast

from fusewire.errors import os_error
from fusewire.kernel.tasks import Killed, Task, running

if TYPE_CHECKING:
    from fusewire.kernel.vfs.caller import Caller

__all__ = ["Deadlock", "Method", "Runner", "method_here", "outcome", "outcome_for_program", "runs_now", "settle"]

T = TypeVar("T")


class Deadlock(RuntimeError):
    """Nothing can go on. Its text says who waits for whom."""


@dataclass(slots=True, eq=False)
class Method:
    """The method of a filesystem, while it is under way: who carries it out, and its own system calls."""

    name: str
    begun: list[Task] = field(default_factory=list)


method_here: Final[ContextVar[Method | None]] = ContextVar("fusewire.kernel.method_here", default=None)


class Runner(Protocol):
    """What drives tasks."""

    @property
    def tasks(self) -> Collection[Task]:
        """Those that have not finished, the oldest first."""

    def call(self, coroutine: Coroutine[Any, Any, T], process: Caller | None = None) -> T:
        """Run `coroutine` as a task to its end and return what it returns, or raise what it raises."""

    async def perform(self, coroutine: Coroutine[Any, Any, T], process: Caller | None = None) -> T:
        """The same, awaited from asyncio. Cancelled, it kills the task, which ends when it may."""

    def start(self, task: Task) -> None:
        """Have `task` run beside all others, from now on."""

    def do(self, function: Callable[[], T]) -> T:
        """Call plain kernel code, such as an abort, and let those go on whom it wakes."""

    def run(self) -> None:
        """Let everything go on that can, where that does not happen by itself."""

    def wait(self, task: Task, timeout: float | None = None) -> None:
        """Return when `task`, which was started, has finished, or after `timeout` seconds."""

    def close(self) -> None:
        """End what is left of the tasks, and let everything go that was needed to run them."""


def runs_now(runnable: deque[Task]) -> bool:
    """Whether this thread is running a task of the runner whose `runnable` this is, and not of another kernel's."""
    task = running()
    return task is not None and task.runnable is runnable


def outcome(task: Task) -> Any:
    """Return what a finished `task` returned, or raise what it raised; of one that was killed, EINTR."""
    if isinstance(task.result, Killed):
        raise os_error(errno.EINTR) from task.result
    if isinstance(task.result, BaseException):
        raise task.result
    return cast(Any, task.result)


def outcome_for_program(task: Task) -> Any:
    """As `outcome`; the traceback of an OSError begins here, and does not go through the kernel's end."""
    try:
        return outcome(task)
    except OSError as error:
        raise error.with_traceback(None) from None


def settle(future: asyncio.Future[None]) -> None:
    """Let whoever awaits `future` go on, unless it was cancelled meanwhile."""
    if not future.done():
        future.set_result(None)
