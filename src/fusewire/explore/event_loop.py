"""An event loop as one task of a scene: `async def` methods await asyncio, and every order is tried.

asyncio runs callbacks one after the other, each to its end. So each callback is one step here, and whoever
else can go on may do so before the next. What is ready is run in asyncio's own order: first come, first run.

Time does not pass by itself. A timer may go off as soon as it is set, or at any later step, and then joins what
is ready; of two timers the earlier is first. That is a task of its own. So `asyncio.sleep(5)` lasts as long as it
likes, and `asyncio.timeout(5)` comes at any moment: what may happen under a clock may happen here, and nothing
else, provided that only the order counts.

There are no sockets, no threads and no other processes: a method that awaits one gets a RuntimeError. Give
the filesystem something in their place that is awaited without them.

Either task is there while it has something to do, and not otherwise.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import warnings
from asyncio import futures, tasks
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from typing import Any, Final, NoReturn

from fusewire import events
from fusewire.events import Event
from fusewire.kernel.clock import StandingClock
from fusewire.kernel.runners.standing_loop import seeming_to_run
from fusewire.kernel.tasks import Task, current, standing_for, step

__all__ = ["CLOCK", "NAME", "TURN", "SceneLoop"]

NAME: Final = "event loop"
CLOCK: Final = "event loop's clock"
TURN: Final = "[next callback]"
OUTSIDE: Final = [
    "connect_accepted_socket",
    "create_connection",
    "create_datagram_endpoint",
    "create_server",
    "create_unix_connection",
    "create_unix_server",
    "add_reader",
    "add_writer",
    "add_signal_handler",
    "connect_read_pipe",
    "connect_write_pipe",
    "getaddrinfo",
    "getnameinfo",
    "run_forever",
    "run_in_executor",
    "run_until_complete",
    "sendfile",
    "sock_accept",
    "sock_connect",
    "sock_recv",
    "sock_recv_into",
    "sock_sendall",
    "start_tls",
    "subprocess_exec",
    "subprocess_shell",
]


class SceneLoop(asyncio.AbstractEventLoop):
    """Runs as a task, which it has started when there is something to run."""

    def __init__(self, clock: StandingClock, start: Callable[[Task], None]) -> None:
        self.clock = clock
        self.start = start
        self.ready: deque[asyncio.Handle] = deque()
        self.timers: list[asyncio.TimerHandle] = []  # in the order in which they go off
        self.task: Task | None = None  # runs what is ready
        self.time_passes: Task | None = None  # makes timers go off
        self.closed = False  # nothing is run any more
        self.under_way: dict[Any, Context] = {}  # asyncio's tasks that have not finished
        self.captured: asyncio.Handle | None = None  # the first step of a task that is to be run at once
        self.captures = False
        self.names = itertools.count(1)

    # --- what is to be run

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:  # type: ignore[override]
        handle = asyncio.Handle(callback, args, self, context)
        if self.captures:
            self.captured, self.captures = handle, False
            return handle
        self.ready.append(handle)
        self._have_task()
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]  # there are no other threads

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self.timers.append(timer)
        self.timers.sort(key=asyncio.TimerHandle.when)  # the sort is stable
        if self.time_passes is None and not self.closed:
            self.time_passes = Task(CLOCK, self._let_time_pass())
            self.start(self.time_passes)
        return timer

    def create_task(self, coro: Any, *, name: object = None, context: Context | None = None, **_: Any) -> Any:
        """Make a task of those that are written in Python, which can be told apart by what they are about to do."""
        name = f"task {next(self.names)}" if name is None else name  # asyncio's own count goes on from run to run
        context = copy_context() if context is None else context
        made: Any = tasks._PyTask(coro, loop=self, name=name, context=context)  # type: ignore[attr-defined]
        made._log_destroy_pending = False  # most runs end before all is done
        self.under_way[made] = context
        made.add_done_callback(self.under_way.pop)
        return made

    def create_future(self) -> Any:
        return futures._PyFuture(loop=self)  # type: ignore[attr-defined]

    def _timer_handle_cancelled(self, timer: asyncio.TimerHandle) -> None:
        if timer in self.timers:
            self.timers.remove(timer)

    # --- how it is run

    def begin(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Make a task of `coroutine`, and run it to its first await at once, within the task that runs."""
        self.captures = True
        made = self.create_task(coroutine)
        handle, self.captured = self.captured, None
        assert handle is not None
        with self._seeming_to_run():
            handle._run()
        return made

    def put_away(self) -> None:
        """Close what has not finished, where it belongs; the garbage collector would do so just anywhere."""
        self.closed = True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of what was never begun
            for made, context in list(self.under_way.items()):
                context.run(made.get_coro().close)
        self.under_way.clear()

    def _have_task(self) -> None:
        if self.task is None and not self.closed:
            self.task = Task(NAME, self._turns())
            self.start(self.task)

    async def _turns(self) -> None:
        while (handle := self._next()) is not None:
            with self._seeming_to_run():
                handle._run()
            if self.ready:
                await step(TURN)
        self.task = None  # what comes now is not run by this one any more

    def _next(self) -> asyncio.Handle | None:
        while self.ready:
            handle = self.ready.popleft()
            if not handle.cancelled():
                return handle
        return None

    async def _let_time_pass(self) -> None:
        while self.timers:
            timer = self.timers.pop(0)
            self.clock.advance_to(max(timer.when(), self.clock.now()))
            self.ready.append(timer)
            self._have_task()
            if self.timers:
                await step(TURN)
        self.time_passes = None

    @contextmanager
    def _seeming_to_run(self) -> Iterator[None]:
        """Let methods find this loop, and no task of the kernel's end; what they note is noted as ours."""
        hook = events.hook
        if hook is not None:
            events.hook = functools.partial(_tell, current(), hook)
        try:
            with seeming_to_run(self):
                yield
        finally:
            events.hook = hook

    # --- what is asked of a loop

    def time(self) -> float:
        return self.clock.now()

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return self.closed

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        pass

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Pass on the exception of a callback. What asyncio says of tasks that nobody asked, it says to nobody."""
        if "handle" in context:
            raise context["exception"]

    async def shutdown_asyncgens(self) -> None:
        pass


def _tell(task: Task, hook: Callable[[Event], None], event: Event) -> None:
    with standing_for(task):
        hook(event)


def _refuse(name: str, *_: object, **__: object) -> NoReturn:
    raise RuntimeError(
        f"a filesystem that is explored awaits nothing from outside, as by `{name}` of the event loop: what comes "
        "from there does not come in the same order again. Give it something that is awaited without it"
    )


for name in OUTSIDE:
    setattr(SceneLoop, name, staticmethod(functools.partial(_refuse, name)))
