"""Both ends of one mount, and who runs them: what `Kernel` starts, uses and puts away.

    fixed order   a standing clock; the daemon's end is tasks among the others (task_server.py)
    threads       the real clock; the daemon's end is `ThreadServer`, as on a real mount
    asyncio       the real clock; the daemon's end is `AsyncServer`, as on a real mount

It always ends. A daemon that hangs, or is gone, is not waited for longer than `LINGER` seconds; the
connection is aborted then, which frees whoever waits for it, and a method that does not return even
so is left to itself. What nobody ends is put away by the garbage collector, or when Python exits.

With threads a method may use its own kernel, and waits for others of its kind then. When as many do
so as may run at once, nobody is left to serve them. Linux has them wait for ever; here each gets
`LINGER` seconds, for what it waits for may come from elsewhere after all, and then `Deadlock`.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
import weakref
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import fusewire.kernel as kernel_end
from fusewire.daemon.request import current as serving
from fusewire.daemon.serve import ThreadServer
from fusewire.daemon.serve_async import AsyncServer
from fusewire.daemon.server import Failed, Told
from fusewire.daemon.session import Session
from fusewire.daemon.workers import in_a_thread, to_its_end
from fusewire.embedded.begun import Begun
from fusewire.embedded.callers import requests_of
from fusewire.embedded.daemon_device import RecordedDevice, Stall, Tap, TappedDevice, TappedRecordedDevice
from fusewire.embedded.device import EmbeddedDevice
from fusewire.embedded.leaks import Leak, leaks
from fusewire.embedded.plan import Plan
from fusewire.embedded.recording import Record, RecordedConnection
from fusewire.embedded.task_server import TaskServer
from fusewire.kernel.clock import MonotonicClock, StandingClock
from fusewire.kernel.connection import Connection
from fusewire.kernel.device import Device
from fusewire.kernel.mounting import mount, umount
from fusewire.kernel.runners import Deadlock
from fusewire.kernel.runners.fixed_order import FixedOrder
from fusewire.kernel.runners.locked import Locked
from fusewire.kernel.tasks import Task, running
from fusewire.kernel.vfs.credentials import Credentials
from fusewire.kernel.vfs.system import System
from fusewire.served import new_session

__all__ = ["RUNNERS", "Ends"]

logger = logging.getLogger("fusewire")

T = TypeVar("T")

FIXED_ORDER: Final = "fixed order"
THREADS: Final = "threads"
ASYNCIO: Final = "asyncio"
LINGER: Final = 5.0  # seconds that a daemon gets to let go of what is open
RUNNERS: Final = (FIXED_ORDER, THREADS, ASYNCIO)


open_ends: Final[weakref.WeakSet[Ends]] = weakref.WeakSet()  # some may have been closed


@atexit.register
def _at_exit() -> None:
    for ends in list(open_ends):
        if not ends.closed:
            ends.abandon()


def _in_child() -> None:
    for ends in list(open_ends):
        ends.left_behind()


os.register_at_fork(after_in_child=_in_child)


class Ends:
    """Both ends of one mount. Nothing is served before `start`, or `start_async`."""

    def __init__(self, plan: Plan, runner: str, tap: Tap | None = None) -> None:
        """`tap` gets what passes the devices, if it is given."""
        self.plan = plan
        self.runner_name = runner
        clock = StandingClock() if runner == FIXED_ORDER else MonotonicClock()
        self.system = System(clock)
        self.runner: FixedOrder | Locked = FixedOrder(clock) if isinstance(clock, StandingClock) else Locked()
        if isinstance(clock, MonotonicClock):
            clock.ring = self.runner.do
        self.system.runner = self.runner
        self.session: Session = new_session(plan.filesystem, plan.mount_options)
        self.session.new_request = requests_of(self.system)
        self.record = Record(clock, plan.requests) if plan.requests else None
        self.tap = tap or (Tap() if Tap.everywhere else None)
        self.stall = Stall()
        self.device = self._new_device()
        self.connection = self._connection()
        self.superblock = mount(
            self.system, self.device, plan.options, plan.profile, plan.minor, connection=self.connection
        )
        self.server: TaskServer | ThreadServer | AsyncServer | None = None
        self.failure: BaseException | None = None  # of a method, and no OSError; for `strict`
        self.closed = False
        self.forked = False  # we are in a child of the process in which the threads are that we need
        self.methods_waiting = set[int]()  # threads of the filesystem's that wait for this kernel
        self.process = self._own_process()
        open_ends.add(self)

    def _new_device(self) -> Device:
        if self.record is None:
            return Device() if self.tap is None else TappedDevice(self.tap)
        return RecordedDevice(self.record) if self.tap is None else TappedRecordedDevice(self.record, self.tap)

    def _connection(self) -> Connection:
        plan, clock = self.plan, self.system.clock
        if self.record is None:
            return Connection(plan.profile, plan.minor, clock)
        recorded = RecordedConnection(plan.profile, plan.minor, clock)
        recorded.record = self.record
        return recorded

    # --- beginning

    def start(self) -> None:
        """Begin to serve; return once the daemon has answered INIT.

        Raises:
            Exception: what the filesystem's `init` raised.
            OSError: EPROTO if the daemon does not speak with a kernel of this `minor`.
        """
        self.server = self._task_server() if isinstance(self.runner, FixedOrder) else self._thread_server(self.runner)
        try:
            self.server.start()
        except BaseException:
            self._give_up()
            raise

    async def start_async(self) -> None:
        """Begin to serve, in the event loop that runs if we are made for it. Raises as `start`."""
        if self.runner_name != ASYNCIO:
            self.start()
            return
        assert isinstance(self.runner, Locked)
        self.runner.home = asyncio.get_running_loop()
        server = self.server = AsyncServer(*self._for_a_shell(self.runner))
        try:
            await server.start()
        except BaseException:
            self._give_up()
            raise

    def _task_server(self) -> TaskServer:
        assert isinstance(self.runner, FixedOrder)
        return TaskServer(self.session, self.device, self.plan.threads, self.stall, self.runner, self._failed)

    def _thread_server(self, runner: Locked) -> ThreadServer:
        if self.runner_name == ASYNCIO:
            raise RuntimeError("with runner='asyncio' a kernel lives in an event loop: enter it with `async with`")
        return ThreadServer(*self._for_a_shell(runner))

    def _for_a_shell(self, runner: Locked) -> tuple[Session, EmbeddedDevice, int, Failed, Told, Told]:
        device = EmbeddedDevice(runner, self.device, self.session.limits.buffer_size, self.stall, self._new_device)
        return self.session, device, self.plan.threads, self._failed, lambda: None, self.abort

    def _give_up(self) -> None:
        self.closed = True
        self.abort()
        self.runner.do(self.device.close)
        self._put_away()

    # --- while it lasts

    def new_process(self, uid: int, gid: int, groups: frozenset[int] = frozenset()) -> kernel_end.Process:
        """Make a process, in the root directory."""
        credentials = Credentials.of(uid, gid, groups)
        return kernel_end.Process.new(self.system, credentials, self.superblock.root)

    def _own_process(self) -> kernel_end.Process:
        """Make the process of the kernel's own calls, root's; with its umask of 0 others may use the files it makes."""
        process = self.new_process(0, 0)
        process.umask_ = 0
        return process

    def call(self, coroutine: Coroutine[Any, Any, T], process: kernel_end.Process | None = None) -> T:
        """Run a system call, or several, to the end.

        Raises:
            Deadlock: it would never end, as far as we can know.
        """
        if self.over:
            coroutine.close()
            self.check_alive()
        try:
            result = self._run(coroutine, process)
        except Deadlock as deadlock:
            for owed in self._not_answered():
                deadlock.add_note(owed)
            raise
        except Exception:
            failure = self._taken_failure()
            if failure is None:
                raise
        else:
            if self.failure is None or (failure := self._taken_failure()) is None:
                return result
        raise failure  # alone, without what followed from it

    def _run(self, coroutine: Coroutine[Any, Any, T], process: kernel_end.Process | None) -> T:
        if type(self.runner) is Locked and type(serving.get(None)) is self.session.new_request:
            return self._run_for_method(self.runner, coroutine, process)
        return self.runner.call(coroutine, process)

    def _run_for_method(
        self, runner: Locked, coroutine: Coroutine[Any, Any, T], process: kernel_end.Process | None
    ) -> T:
        """Run a call for a method of the filesystem, which waits for other methods; see above."""
        thread = threading.get_ident()
        self.methods_waiting.add(thread)
        alone = len(self.methods_waiting) >= self.plan.threads or asyncio._get_running_loop() is not None
        try:
            return runner.call(coroutine, process, LINGER if alone else None)
        except Deadlock as error:
            if runner.home is not None:
                raise
            raise Deadlock(
                f"{error}, called by a method of the filesystem, and none is left to serve it: with "
                f"threads={self.plan.threads} no more `def` than that run at once. Give more threads, or make it "
                "`async def` and await the call of `kernel.awaitable`"
            ) from None
        finally:
            self.methods_waiting.discard(thread)

    def _not_answered(self) -> list[str]:
        """What the daemon owes, as far as we know."""
        return [] if self.record is None else [f"not answered: {request!r}" for request in self.record.unanswered]

    def begin(self, coroutine: Coroutine[Any, Any, T]) -> Begun[T]:
        """Begin a system call, or several, and return without waiting."""
        if self.over:
            coroutine.close()
            self.check_alive()
        task = Task("kernel", coroutine)
        self.runner.start(task)
        return Begun(self, task)

    @property
    def over(self) -> bool:
        """Nothing is mounted any more. A mount that has been detached lives on until nobody uses it."""
        return self.closed or not self.superblock.active

    def check_alive(self) -> None:
        """Raise RuntimeError if all is over."""
        if self.forked:
            raise RuntimeError(
                "this kernel belongs to the process that made it, whose threads a fork does not copy: make another here"
            )
        if self.over:
            raise RuntimeError("nothing is mounted any more: this kernel has been closed, or unmounted")

    def check_mounted(self) -> None:
        """Raise RuntimeError if all is over, or it has been unmounted lazily, and only those find it who use it."""
        self.check_alive()
        if self.superblock.detached:
            raise RuntimeError("nothing is mounted here any more: only processes that use what was can go on")

    def recorded(self) -> Record:
        """Return the record of requests.

        Raises:
            RuntimeError: none is kept.
        """
        if self.record is None:
            raise RuntimeError("this kernel keeps no record of its requests: it was made with requests=0")
        return self.record

    async def leaks(self) -> list[Leak]:
        """Have the kernel drop what it merely remembers, and the daemon read it; return what is left over."""
        record = self.recorded()
        if not self.over:
            await self.as_task(self._let_daemon_read(record))
        return self.left_over()

    def left_over(self) -> list[Leak]:
        """Return what is left over as it stands."""
        return leaks(self, self.recorded())

    async def _let_daemon_read(self, record: Record) -> None:
        self.superblock.drop_caches()
        await record.settled(self.connection, LINGER)

    async def as_task(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Await kernel code: in the task that runs, or from an event loop as a task of its own."""
        return await (coroutine if running() is not None else self.runner.perform(coroutine))

    def advance(self, seconds: float) -> None:
        """Let time pass. Raises RuntimeError where it does so by itself."""
        clock = self.system.clock
        if not isinstance(clock, StandingClock):
            raise RuntimeError(
                f"with runner={self.runner_name!r} time passes by itself: only in fixed order is it told to"
            )
        self.runner.do(lambda: clock.advance(seconds))

    def abort(self) -> None:
        """Abort the connection: whoever waits gets ECONNABORTED. Idempotent."""
        self.runner.do(self.connection.abort)

    def _failed(self, error: BaseException) -> None:
        """A method raised what is no OSError. Strict: end, and let whoever calls have it."""
        if self.plan.strict:
            self.failure = self.failure or error
            self.abort()

    def raise_failure(self) -> None:
        """With `strict`, raise what a method has raised; once."""
        failure = self._taken_failure()
        if failure is not None:
            raise failure

    def _taken_failure(self) -> BaseException | None:
        failure, self.failure = self.failure, None
        return failure

    # --- ending

    async def unmount(self, flags: int = 0) -> None:
        """Unmount; `flags` are those of umount(2).

        Raises:
            OSError: EBUSY if a process uses it.
        """
        if not self.process.files:
            await self.process.exit()  # it is ours, and in the way with its directory
        try:
            await self.as_task(umount(self.superblock, flags))
        except BaseException:
            self.process = self._own_process() if self.process.ended else self.process
            raise

    def close(self) -> None:
        """End all processes, unmount, and wait for the daemon; abort what does not end. Idempotent.

        Raises:
            RuntimeError: in fixed order, called by a method, or while another thread uses it.
        """
        if self.closed:
            return
        if isinstance(self.runner, FixedOrder):
            self.runner.check_idle()
        try:
            self._leave()
        finally:  # also when Ctrl-C comes meanwhile
            self.closed = True
            self.abort()
            self._wait_for_daemon()
            self._put_away()

    async def close_async(self) -> None:
        """Do as `close`, awaited."""
        if isinstance(self.runner, FixedOrder):
            self.close()
        if self.closed:
            return
        try:
            await in_a_thread(self._leave)
        finally:
            self.closed = True
            self.abort()
            if isinstance(self.server, AsyncServer):
                await to_its_end(self.server.ended.wait())
            await to_its_end(in_a_thread(self._finish))

    def _finish(self) -> None:
        self._wait_for_daemon()
        self._put_away()

    def _leave(self) -> None:
        """End all processes and unmount, if the daemon lets us."""
        leaving = Task("kernel", self._end_all())
        try:
            self.runner.start(leaving)
            self.runner.wait(leaving, LINGER)
        except (Deadlock, OSError) as error:
            logger.debug("left without being unmounted: %s", error)

    async def _end_all(self) -> None:
        for process in list(self.system.processes.values()):
            await process.exit()
        if not self.superblock.detached:
            await self.unmount()

    def _wait_for_daemon(self) -> None:
        if isinstance(self.server, ThreadServer):
            self.server.wait()
        elif isinstance(self.server, TaskServer):
            self.server.tidy_up()

    def __del__(self) -> None:
        if not getattr(self, "closed", True):
            self.abandon()

    def abandon(self) -> None:
        """Let go of what would be complained of, and say nothing to the filesystem: nobody has closed us."""
        if isinstance(self.runner, FixedOrder):
            self.closed = True
            self.runner.abandon()

    def left_behind(self) -> None:
        """We are in a forked child, and our threads are not: nothing can be used here, nor need be closed."""
        if isinstance(self.runner, Locked):
            self.closed = self.forked = True

    def _put_away(self) -> None:
        self.runner.close()
        if isinstance(self.system.clock, MonotonicClock):
            self.system.clock.close()
