"""An event loop whose time stands still: where methods of a filesystem go on that await asyncio.

A coroutine begun here runs to its first await at once, as an asyncio task, so that
`asyncio.timeout`, `TaskGroup`, `current_task` and context variables work from its first line, and
one that awaits nothing costs no turn of the loop. What is left goes on in turns, which the runner
grants when nothing else can go on.

The loop's time is the kernel's clock. Where nothing but a timer is waited for, the clock is set
forward to it: `asyncio.sleep(3600)` takes no time. While anything comes from outside, be it a
socket or `asyncio.to_thread`, time passes as it does there. What the program's other threads do
is not seen before they do it: if nothing else is left to wait for, they get `PATIENCE` seconds.
A timer that is set again each time, such as that of a task which looks after something once a
second, would keep us for ever: after `IN_VAIN` timers we take it that they bring nothing.

How it knows: asyncio asks its selector to wait only when nothing is ready, and the selector is ours.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from typing import Any, Final, TypeVar

from fusewire.kernel.clock import NEVER, StandingClock
from fusewire.kernel.tasks import Task, outside

__all__ = ["StandingLoop", "seeming_to_run"]

logger = logging.getLogger("fusewire")

T = TypeVar("T")
Handle = Callable[[], object]

PATIENCE: Final = 5.0  # seconds
IN_VAIN: Final = 100_000  # timers, while one call waits
EXECUTOR: Final = "asyncio_"  # begins the names of threads of which we know what they do


# Loops in which something is under way: the garbage collector would close coroutines in any order, and anywhere.
under_way: Final[set[StandingLoop]] = set()


class StandingLoop(asyncio.SelectorEventLoop):
    """Runs when it is told to, as far as there is something to run."""

    def __init__(self, clock: StandingClock, runnable: deque[Task]) -> None:
        self.clock = clock
        self.runnable = runnable  # tasks of the kernel's end, which come first
        self.tasks: dict[asyncio.Task[Any], Context] = {}  # those that have not finished
        self.jobs = 0  # under way in executors
        self.nothing_comes = False  # if nobody does anything, or not before `deadline`
        self.deadline = NEVER
        self.latest = NEVER  # by the clock, to which it may be set forward
        self.timers = 0  # for which it was, since the call began that waits
        self._captures = False  # the next callback is the first step of a task, to be run at once
        self._captured: Handle | None = None
        super().__init__(StandingSelector(self))

    def time(self) -> float:
        return self.clock.now()

    # --- what goes on in it

    def begin(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Make `coroutine` a task, and run it to its first await."""
        context = copy_context()
        self._captures = True
        task = super().create_task(coroutine, context=context)
        assert self._captured is not None
        step, self._captured = self._captured, None
        with seeming_to_run(self):
            step()
        if not task.done():
            self._enter(task, context)
        return task

    def create_task(self, coro: Any, *, context: Context | None = None, **options: Any) -> asyncio.Task[Any]:
        context = copy_context() if context is None else context
        task = super().create_task(coro, context=context, **options)
        self._enter(task, context)
        return task

    def _enter(self, task: asyncio.Task[Any], context: Context) -> None:
        self.tasks[task] = context
        under_way.add(self)
        task.add_done_callback(self._leave)

    def _leave(self, task: asyncio.Task[Any]) -> None:
        self.tasks.pop(task, None)
        if not self.tasks:
            under_way.discard(self)

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:  # type: ignore[override]
        if self._captures:
            self._captures = False
            self._captured = functools.partial((copy_context() if context is None else context).run, callback, *args)
            return asyncio.Handle(callback, args, self, context)
        return super().call_soon(callback, *args, context=context)

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        job = super().run_in_executor(executor, func, *args)
        self.jobs += 1
        job.add_done_callback(self._job_done)
        return job

    def _job_done(self, job: asyncio.Future[Any]) -> None:
        self.jobs -= 1

    # --- turns

    def go_on(self) -> bool:
        """Run what is ready, without waiting; return whether tasks of the kernel's end have become runnable."""
        if self.tasks:
            self.stop()  # asyncio then waits for nothing
            self._turn()
        return bool(self.runnable)

    def wait(self, deadline: float = NEVER, latest: float = NEVER) -> bool:
        """Run until tasks of the kernel's end have become runnable; False if that will not happen.

        What comes from outside is waited for until `deadline`, by `time.monotonic`, and timers until `latest`, by
        the clock.
        """
        self.nothing_comes, self.deadline, self.latest = False, deadline, latest
        while self.tasks and not self.runnable and not self.nothing_comes:
            self._turn()
            self.nothing_comes |= time.monotonic() >= deadline
        return bool(self.runnable)

    def set_forward(self, moment: float) -> None:
        """Set the clock to `moment`, at which a timer is due, unless that is too late, or one timer too many."""
        self.timers += 1
        if moment > self.latest or self.timers > IN_VAIN:
            self.nothing_comes = True
        else:
            self.clock.advance_to(moment)

    def _turn(self) -> None:
        before = asyncio._get_running_loop()  # a program's own, if it runs us
        asyncio._set_running_loop(None)
        try:
            self.run_forever()  # until the selector stops it
        finally:
            asyncio._set_running_loop(before)

    def put_away(self) -> None:
        """Cancel what is left, let it end as far as it does so at once, drop the rest, and close."""
        for task in list(self.tasks):
            task.cancel()
        self.go_on()
        self.go_on()  # what was cancelled tells those that wait for it
        self.abandon()

    def abandon(self) -> None:
        """Drop all tasks as they are, and close."""
        for task, context in list(self.tasks.items()):
            _drop(task, context)
        under_way.discard(self)
        self.close()


def _drop(task: asyncio.Task[Any], context: Context) -> None:
    """Close the coroutine of `task` where it belongs; the garbage collector would do so just anywhere."""
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    coroutine = task.get_coro()
    assert coroutine is not None
    try:
        context.run(coroutine.close)
    except BaseException:
        logger.exception("a method that was left to itself did not end")


class StandingSelector(selectors.DefaultSelector):
    """Is asked to wait when nothing is ready: then it sets the clock forward, or waits if it must."""

    def __init__(self, loop: StandingLoop) -> None:
        super().__init__()
        self.loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.loop.stop()  # after this round
        if timeout is not None and timeout <= 0:
            return super().select(0)
        clock = self.loop.clock
        moment = min(NEVER if timeout is None else clock.now() + timeout, clock.next_alarm())
        if self._comes_from_outside:
            return self._wait_until(moment)
        if moment == NEVER:
            return self._wait_for_other_threads()
        self.loop.set_forward(moment)
        return super().select(0)

    @property
    def _comes_from_outside(self) -> bool:
        return self.loop.jobs > 0 or len(self.get_map()) > 1  # one is asyncio's own, by which threads wake it

    def _wait_until(self, moment: float) -> list[tuple[selectors.SelectorKey, int]]:
        clock, began = self.loop.clock, time.monotonic()
        seconds = min(moment - clock.now(), self.loop.deadline - began)
        events = super().select(None if seconds == NEVER else max(seconds, 0))
        now = time.monotonic()
        clock.advance(now - began)
        self.loop.nothing_comes = now >= self.loop.deadline
        return events

    def _wait_for_other_threads(self) -> list[tuple[selectors.SelectorKey, int]]:
        others = [thread for thread in threading.enumerate() if not thread.name.startswith(EXECUTOR)]
        events = super().select(max(min(PATIENCE, self.loop.deadline - time.monotonic()), 0) if len(others) > 1 else 0)
        self.loop.nothing_comes = not events
        return events


@contextmanager
def seeming_to_run(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Let code find `loop` as the one that runs, and no task of the kernel's end."""
    before = asyncio._get_running_loop()
    asyncio._set_running_loop(loop)
    try:
        with outside():
            yield
    finally:
        asyncio._set_running_loop(before)
