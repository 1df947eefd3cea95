"""One thread, one order: a task runs until it sleeps, then the one that was woken first.

Nothing depends on time or on other threads, so a run is the same each time. While the caller's own
task has not finished and no other can go on, two things may still bring something: an event loop,
in which methods of the filesystem may await asyncio (standing_loop.py), and the clock, if something
is to happen at a certain time. Neither is waited for: where nothing but time is missing, the clock
is set forward.

Beyond that it is a deadlock, of which the seed has two. Linux would have everybody sleep for ever;
here the caller gets `Deadlock`, which names who waits for whom. The tasks stay as they are: an
abort or a kill frees them, and a kernel so stuck can be closed.

A task does not run other tasks of ours. Whoever is run by us and calls us, which is the method of a
filesystem that uses its own mount, is told to await instead. It may use another kernel as it likes.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from fusewire.kernel.clock import NEVER, StandingClock
from fusewire.kernel.runners import Deadlock, method_here, outcome, outcome_for_program, settle
from fusewire.kernel.runners.standing_loop import StandingLoop
from fusewire.kernel.tasks import Task
from fusewire.kernel.vfs.caller import Caller

__all__ = ["Deadlock", "FixedOrder"]

T = TypeVar("T")


class FixedOrder:
    """Runs tasks one at a time, in the thread that calls."""

    def __init__(self, clock: StandingClock | None = None) -> None:
        self.clock = clock or StandingClock()
        self.tasks: dict[Task, None] = {}  # a set, in the order in which they came
        self.runnable: deque[Task] = deque()  # those that were woken; some of them may sleep again
        self.after: Callable[[Task], object] | None = None  # called after each stretch of each task, by tests
        self.loop: StandingLoop | None = None  # made when it is first wanted
        self._thread = 0  # that runs tasks just now; 0 if none does

    # --- by a program

    def call(self, coroutine: Coroutine[Any, Any, T], process: Caller | None = None) -> T:
        """Run `coroutine`, and whatever it waits for, to its end; then all else that can go on.

        Raises:
            RuntimeError: called by a method of a filesystem, which must await instead; or by two threads at once.
            Deadlock: nothing can go on.
        """
        if self._thread:
            coroutine.close()
            self.check_idle()
        task = Task("kernel" if process is None else process.name, coroutine, process)
        self.start(task)
        self._run(task)
        result = task.result
        return outcome(task) if isinstance(result, BaseException) else result  # type: ignore[return-value]

    def start(self, task: Task) -> None:
        task.runnable = self.runnable
        self.tasks[task] = None
        self.runnable.append(task)

    def do(self, function: Callable[[], T]) -> T:
        result = function()
        if not self._thread:
            self.run()
        return result

    def run(self) -> None:
        """Let everything go on that can, without waiting for anything."""
        self._run(None)

    def wait(self, task: Task, timeout: float | None = None) -> None:
        """Run `task`, and whatever it waits for, to its end; then all else that can go on.

        `timeout` bounds the seconds for which something may be awaited that comes from outside.

        Raises:
            RuntimeError, Deadlock: as `call`.
        """
        self._run(task, timeout)

    def finish(self, timeout: float) -> None:
        """Run what filesystems have begun to its end, for `timeout` seconds at most, of the clock's as of real ones."""
        deadline, latest = time.monotonic() + timeout, self.clock.now() + timeout
        self.run()
        while self.loop is not None and time.monotonic() < deadline and self.loop.wait(deadline, latest):
            self.run()

    def close(self) -> None:
        """Close what is left of the tasks, and the loop."""
        for task in list(self.tasks):
            task.context.run(task.coroutine.close)
        self.tasks.clear()
        self.runnable.clear()
        if self.loop is not None:
            self.loop.put_away()
            self.loop = None

    def abandon(self) -> None:
        """Drop all tasks as they are, without letting anything go on."""
        self._thread = threading.get_ident()  # clean-up may call us
        for task in list(self.tasks):
            task.context.run(task.coroutine.close)
        self.tasks.clear()
        self.runnable.clear()
        if self.loop is not None:
            self.loop.abandon()

    # --- by a filesystem

    def begin(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run a coroutine that may await asyncio to its first await, at once; it goes on in our loop."""
        if self.loop is None:
            self.loop = StandingLoop(self.clock, self.runnable)
        return self.loop.begin(coroutine)

    async def perform(self, coroutine: Coroutine[Any, Any, T], process: Caller | None = None) -> T:
        """Run `coroutine` as a task, awaited by a method of a filesystem; or by a program, whose loop stands still."""
        loop = asyncio.get_running_loop()
        if loop is not self.loop:
            return self.call(coroutine, process)
        task = self._task_of_method("kernel" if process is None else process.name, coroutine, process)
        done = loop.create_future()
        task.ended = lambda _: settle(done)
        self.start(task)
        try:
            await done
        except asyncio.CancelledError:
            task.kill()
            raise
        return outcome_for_program(task)  # type: ignore[no-any-return]

    def _task_of_method(self, name: str, coroutine: Coroutine[Any, Any, T], process: Caller | None) -> Task:
        method = method_here.get()
        if method is None:
            return Task(name, coroutine, process)
        task = Task(f"{method.name}, as {name}", coroutine, process)
        method.begun.append(task)
        return task

    # --- the order

    def _run(self, task: Task | None, timeout: float | None = None) -> None:
        self.check_idle()
        self._thread = threading.get_ident()
        try:
            self._run_all()
            if task is not None and not task.finished:
                self._wait_for(task, NEVER if timeout is None else time.monotonic() + timeout)
            while self.loop is not None and self.loop.go_on():
                self._run_all()
        except KeyboardInterrupt:
            if task is not None:
                task.kill()
            raise
        finally:
            self._thread = 0

    def _wait_for(self, task: Task, deadline: float) -> None:
        if self.loop is not None:
            self.loop.timers = 0
        while not task.finished:
            if not self._something_comes(deadline):
                raise Deadlock(who_waits_for_whom(task))
            self._run_all()

    def _run_all(self) -> None:
        runnable = self.runnable
        while runnable:
            task = runnable.popleft()
            # Once; or at each step, while somebody watches. (`task.ready`, spelt out: this is run all the time.)
            while not task.finished and ((queue := task.trapped) is None or task not in queue.sleepers):
                try:
                    task.resume()
                finally:
                    if task.finished:
                        self._finished(task)
                    if self.after is not None:
                        self.after(task)

    def _finished(self, task: Task) -> None:
        del self.tasks[task]
        if task.ended is not None:
            task.ended(task)

    def _something_comes(self, deadline: float) -> bool:
        """Let the loop or the clock bring something; False if they have nothing to bring, or not in time."""
        if self.loop is not None and self.loop.wait(deadline):
            return True
        if self.clock.next_alarm() == NEVER:
            return False
        self.clock.advance_to(self.clock.next_alarm())
        return True

    def check_idle(self) -> None:
        """Raise RuntimeError if tasks are being run just now, and say who had better do what instead."""
        if not self._thread:
            return
        if self._thread != threading.get_ident():
            raise RuntimeError(
                "a kernel in fixed order is used by one thread at a time: with runner='threads' several may use it"
            )
        raise RuntimeError(
            "a method of a filesystem cannot wait for its own kernel in fixed order, where it would wait for itself: "
            "make it `async def` and await the call of `kernel.awaitable`, or use runner='threads', threads=2 or more"
        )


def who_waits_for_whom(task: Task) -> str:
    """Say why `task` cannot go on: what it sleeps on, for whom, and so on from holder to holder."""
    lines, told, waiting = ["nothing can go on"], set[Task](), [task]
    while waiting:
        task = waiting.pop(0)
        if task not in told:
            told.add(task)
            holders = _holders(task)
            lines.append(f"  {_sleeps(task)}{_for_whom(holders)}")
            waiting += holders
    return "\n".join(lines)


def _holders(task: Task) -> Sequence[Task]:
    queue = task.asleep_on
    return [] if queue is None else [holder for holder in queue.holders() if not holder.finished]


def _sleeps(task: Task) -> str:
    queue = task.asleep_on
    return f"{task.name} can go on" if queue is None else f"{task.name} sleeps on {queue.name}"


def _for_whom(holders: Sequence[Task]) -> str:
    return f", until {' or '.join(holder.name for holder in holders)} lets it go on" if holders else ""
