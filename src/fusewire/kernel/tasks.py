"""Tasks, their signals, the one trap in which they suspend, and the runner that resumes them.

Kernel code is `async def`. It suspends for two reasons, both in `trap`:

    sleep    on a wait queue, until woken (waitq.py)
    step     an event happened; another task may run, if anybody watches

`run` is the fixed order runner: the task that ran last goes on while it can, then the first that
can, in the order given. `choose` puts another order in its place. One thread and no clock: what
runs between two traps is atomic, as if under one kernel lock. A task itself knows nothing of who
resumes it, so that other runners (runners/) drive the same code: whoever wakes a task puts it onto
`runnable`, which its runner has given it.

A signal is noted on its task, and ends the sleep that it may end. A task that has been killed
returns from its system call, giving back what it holds, and then runs no more code of its own:
the system call ends in `Killed`, which no `except Exception` of a filesystem holds up.

Whoever drops a task that is asleep closes it: left to the garbage collector, its clean-up would
run, and be watched, in the middle of another run. Clean-up (`finally`) never awaits.
"""

from __future__ import annotations

import contextvars
import enum
import threading
import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Final

from fusewire import events
from fusewire.events import Event

if TYPE_CHECKING:
    from fusewire.kernel.vfs.caller import Caller
    from fusewire.kernel.waitq import WaitQueue

__all__ = ["Killed", "Signal", "Task", "close", "current", "outside", "run", "running", "step", "trap"]


class Signal(enum.IntEnum):
    """The gravest signal that a task has yet to take notice of."""

    NONE = 0
    ORDINARY = 1  # one with a handler, after which the program goes on
    FATAL = 2  # SIGKILL, or any that ends the program


NONE: Final = Signal.NONE  # every task begins with it, and a member of an Enum costs 0.12 us to look up in Python 3.11


class Killed(BaseException):
    """Ends a task when the system call during which it was killed returns."""


class Task:
    """A thread in a system call, be it of a program or of a daemon.

    `process` is whose system call it is in: its requests carry that one's uid, gid and pid.
    """

    __slots__ = (
        "context",
        "coroutine",
        "ended",
        "finished",
        "joined",
        "name",
        "process",
        "result",
        "runnable",
        "signal",
        "trapped",
    )

    def __init__(self, name: str, coroutine: Coroutine[object, None, object], process: Caller | None = None) -> None:
        self.name = name
        self.coroutine = coroutine
        self.context = contextvars.copy_context()  # its own, for a handler's context variables
        self.process = process  # None of the kernel's own
        self.signal = NONE
        self.joined: WaitQueue | None = None  # the last queue it joined, in order to sleep
        self.trapped: WaitQueue | None = None  # where it sleeps, since its last trap; None if that was a step
        self.finished = False
        self.result: object = None  # what it returned or, if it raised, the exception
        self.runnable: deque[Task] | None = None  # its runner's: of tasks that have been woken
        self.ended: Callable[[Task], object] | None = None  # called by its runner when it has finished

    def __repr__(self) -> str:
        return f"<Task {self.name}>"

    @property
    def asleep_on(self) -> WaitQueue | None:
        return self.trapped if self.trapped is not None and self in self.trapped.sleepers else None

    @property
    def ready(self) -> bool:
        return not self.finished and self.asleep_on is None

    def resume(self) -> None:
        """Run to the next trap, or to the end.

        Raises:
            Exception: what is no outcome of a system call but a mistake, after which the task has finished.
        """
        previous, _thread.task = _thread.task, self
        try:
            if self.context.run(self.coroutine.send, None) is not TRAP:
                self.context.run(_refuse, self.coroutine)
        except StopIteration as stop:
            self.finished, self.result = True, stop.value
        except (OSError, Killed) as error:
            self.finished, self.result = True, error
        except BaseException as error:
            self.finished, self.result = True, error
            raise
        finally:
            _thread.task = previous

    def interrupt(self) -> None:
        """Send a signal that has a handler: it ends an interruptible sleep with EINTR."""
        self._send(Signal.ORDINARY)

    def kill(self) -> None:
        """Send SIGKILL: it ends every sleep but an uninterruptible one with EINTR. Idempotent."""
        self._send(Signal.FATAL)

    def _send(self, signal: Signal) -> None:
        self.signal = max(self.signal, signal)
        if self.joined is not None and self in self.joined.sleepers:  # asleep, or just about to be
            self.joined.sleepers.remove(self)  # it tests for itself whether it may go
            if self.runnable is not None:
                self.runnable.append(self)

    def take_signals(self, error: OSError | None = None) -> None:
        """Return to the program, after a system call that ended in `error` if any.

        Raises:
            Killed: the task was killed.
        """
        if self.signal is Signal.FATAL:
            raise Killed(f"{self.name} was killed") from error
        self.signal = Signal.NONE


class _Thread(threading.local):
    """One of the program's: other threads may run the tasks of other kernels."""

    task: Task | None = None


_thread: Final = _Thread()


def current() -> Task:
    """Return the task that is running in this thread."""
    task = _thread.task
    assert task is not None, "kernel code runs in a task"
    return task


def running() -> Task | None:
    """Return the task that is running in this thread; None outside of all tasks."""
    return _thread.task


def outside() -> AbstractContextManager[None]:
    """Be in no task for a while: what runs now is a program's own code, not the kernel's."""
    return standing_for(None)


@contextmanager
def standing_for(task: Task | None) -> Iterator[None]:
    """Be in `task` for a while, which does not run: what is noted now happens to it."""
    previous, _thread.task = _thread.task, task
    try:
        yield
    finally:
        _thread.task = previous


TRAP: Final = object()  # what a task gives to its runner; why it stops, stands in `trapped`


@types.coroutine
def trap(queue: WaitQueue | None) -> Generator[object, None, None]:
    """Suspend the current task: asleep on `queue`, or for a step if None. (`WaitQueue.sleep` is one of these, too.)"""
    current().trapped = queue
    yield TRAP


async def step(text: str, name: str = "", about: object = None) -> None:
    """Say that `text` happens (to `name`), and let another task run; `str(about)` is its detail."""
    if events.hook is not None:
        events.note(text, name, about=about)
        await trap(None)


def _refuse(coroutine: Coroutine[object, None, object]) -> None:
    """Tell whoever awaits what no wait queue will wake, until it comes to the trap, or its end."""
    trapped: object = None
    while trapped is not TRAP:
        trapped = coroutine.throw(
            RuntimeError("a task of the kernel's end awaits nothing but the kernel's end: this is something of asyncio")
        )


def run(
    tasks: Sequence[Task],
    choose: Callable[[Sequence[Task]], Task] = lambda ready: ready[0],
    watch: Callable[[Task, Event], None] | None = None,
) -> dict[Task, WaitQueue]:
    """Run `tasks` until none can go on; return who is asleep, and on what.

    `choose` picks from the tasks that can go on, the one that ran last standing first.
    `watch` sees every event; without it no step suspends, so only sleeps are choices.
    May be called again once something has changed, such as a task killed; else `close`.

    Raises:
        RuntimeError: called from a task.
    """
    if _thread.task is not None:
        raise RuntimeError(
            f"{_thread.task.name} may not run other tasks while it runs: it must be async, and await them"
        )
    events.hook = None if watch is None else lambda event: watch(current(), event)
    last: Task | None = None
    try:
        while ready := sorted((task for task in tasks if task.ready), key=lambda task: task is not last):
            last = choose(ready)
            last.resume()
    finally:
        events.hook = None
    return {task: queue for task in tasks if (queue := task.asleep_on) is not None}


def close(tasks: Sequence[Task]) -> None:
    """End what is left of `tasks`, unwatched."""
    for task in tasks:
        task.context.run(task.coroutine.close)
