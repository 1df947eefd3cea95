"""Threads and event loops under one kernel lock: what `threads` and `asyncio` have in common.

Kernel code runs while its thread holds the lock, and nothing else does. A task that sleeps holds
nothing: it stands on a wait queue. Whoever wakes it does so under the lock, and runs it before
letting go of the lock, so a task may go on in another thread than the one that began it. The caller
sleeps until its task has finished: in its thread (`call`), or at its `await` (`perform`), in any
loop. Both may be used at once.

A filesystem's methods run outside the lock, wherever the daemon's shell runs them
(daemon/serve.py), and may use the kernel like anybody else.

Nobody finds deadlocks here. As on Linux they last until something is killed, or aborted. Two are
known to whoever calls, and are an error: a thread that waits for the event loop that it runs itself
(`home`), and a wait that was given a time (`call`).
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from fusewire.kernel.runners import Deadlock, outcome, outcome_for_program, runs_now, settle
from fusewire.kernel.tasks import Killed, Task
from fusewire.kernel.vfs.caller import Caller

__all__ = ["Locked"]

logger = logging.getLogger("fusewire")

T = TypeVar("T")


class Locked:
    """Runs tasks in whichever thread wakes them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()  # the kernel lock
        self.tasks: dict[Task, None] = {}  # a set, in the order in which they came
        self.runnable: deque[Task] = deque()  # those that were woken; some of them may sleep again
        self.home: asyncio.AbstractEventLoop | None = None  # in which the daemon's end runs, if it is our caller's

    def call(self, coroutine: Coroutine[Any, Any, T], process: Caller | None = None, timeout: float | None = None) -> T:
        """Run `coroutine` to its end; while it sleeps, so does this thread.

        Ctrl-C kills the task. It ends when it may; this thread goes on at once.

        Raises:
            RuntimeError: called by a coroutine that we run, which must await instead.
            Deadlock: it has not ended after `timeout` seconds, and was killed; or this thread runs the event loop
                that it waits for.
        """
        if runs_now(self.runnable):
            coroutine.close()
            raise RuntimeError("what a kernel runs cannot wait for that kernel: it awaits the calls of `awaitable`")
        task = self._task(coroutine, process)
        self.start(task)
        self.wait(task, timeout)
        if not task.finished:
            self.do(task.kill)
            raise Deadlock(f"{task.name} has waited for {timeout:g} seconds")
        return outcome(task)  # type: ignore[no-any-return]

    async def perform(self, coroutine: Coroutine[Any, Any, T], process: Caller | None = None) -> T:
        """Run `coroutine` to its end; while it sleeps, others of this loop go on."""
        if self.home is not None and self.home.is_closed():
            coroutine.close()
            raise RuntimeError("the event loop in which this kernel was entered is closed: nobody serves it any more")
        task = self._task(coroutine, process)
        self.start(task)
        if not task.finished:
            await self._end_of(task)
        return outcome_for_program(task)  # type: ignore[no-any-return]

    def _task(self, coroutine: Coroutine[Any, Any, T], process: Caller | None) -> Task:
        task = Task("kernel" if process is None else process.name, coroutine, process)
        task.ended = _somebody_waits
        return task

    def start(self, task: Task) -> None:
        task.runnable = self.runnable
        with self._kernel():
            self.tasks[task] = None
            self.runnable.append(task)

    def do(self, function: Callable[[], T]) -> T:
        with self._kernel():
            return function()

    def run(self) -> None:
        """Nothing: everything that can go on does so by itself."""

    def wait(self, task: Task, timeout: float | None = None) -> None:
        gate = threading.Lock()
        gate.acquire()
        if self._tell_end_of(task, gate.release):
            return
        self._look_who_waits(task)
        try:
            gate.acquire(timeout=-1 if timeout is None else timeout)
        except BaseException:  # Ctrl-C
            self.do(task.kill)
            raise

    def _look_who_waits(self, task: Task) -> None:
        """Refuse to wait in the thread that runs the event loop which alone could end this."""
        if self.home is not None and (asyncio._get_running_loop() is self.home or self.home.is_closed()):
            self.do(task.kill)
            raise Deadlock(
                "this kernel is served by an event loop, which cannot run while its thread waits here: "
                "await the call, of what `async with` gave or of `kernel.awaitable`"
            )

    async def _end_of(self, task: Task) -> None:
        loop = asyncio.get_running_loop()
        over = loop.create_future()

        def tell() -> None:
            with suppress(RuntimeError):  # its loop was closed before
                loop.call_soon_threadsafe(settle, over)

        if self._tell_end_of(task, tell):
            return
        try:
            await over
        except asyncio.CancelledError:
            self.do(task.kill)
            raise

    def _tell_end_of(self, task: Task, tell: Callable[[], object]) -> bool:
        """Have `tell` called when `task` has finished; True, and it is not called, if it has already."""
        with self.lock:
            if not task.finished:
                task.ended = lambda _: tell()
            return task.finished

    def close(self) -> None:
        """Close what is left of the tasks."""
        with self.lock:
            for task in list(self.tasks):
                task.context.run(task.coroutine.close)
                task.finished, task.result = True, Killed(f"{task.name} was still asleep when its kernel was closed")
                self._finished(task)
            self.runnable.clear()

    # --- under the lock

    @contextmanager
    def _kernel(self) -> Iterator[None]:
        if runs_now(self.runnable):  # it is we who hold it
            yield
            return
        with self.lock:
            try:
                yield
            finally:
                self._run_all()

    def _run_all(self) -> None:
        runnable = self.runnable
        while runnable:
            task = runnable.popleft()
            while task.ready:  # once, or at each step while somebody watches
                self._resume(task)

    def _resume(self, task: Task) -> None:
        try:
            task.resume()
        except KeyboardInterrupt:
            raise
        except BaseException:
            if task.ended is None:
                logger.exception("%s ended in a mistake", task.name)
        finally:
            if task.finished:
                self._finished(task)

    def _finished(self, task: Task) -> None:
        self.tasks.pop(task, None)
        if task.ended is not None:
            task.ended(task)


def _somebody_waits(task: Task) -> None:
    """Stands for whoever will take the result of `task`, until he waits for it."""
