"""What both ends of one mount are made of, and who runs them.

fixed order   a standing clock; the daemon's end is tasks among the others (task_server.py)
threads       the real clock; the daemon's end is `ThreadServer`, as on a real mount
asyncio       the real clock; the daemon's end is `AsyncServer`, as on a real mount
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import fusewire.kernel as kernel_end
from fusewire.daemon.session import Session
from fusewire.embedded.callers import requests_of
from fusewire.embedded.daemon_device import RecordedDevice, Stall, Tap, TappedDevice, TappedRecordedDevice
from fusewire.embedded.plan import Plan
from fusewire.embedded.recording import Record, RecordedConnection
from fusewire.kernel.clock import MonotonicClock, StandingClock
from fusewire.kernel.connection import Connection
from fusewire.kernel.device import Device
from fusewire.kernel.mounting import mount
from fusewire.kernel.runners.fixed_order import FixedOrder
from fusewire.kernel.runners.locked import Locked
from fusewire.kernel.tasks import running
from fusewire.kernel.vfs.credentials import Credentials
from fusewire.kernel.vfs.system import System
from fusewire.served import new_session

__all__ = ["ASYNCIO", "FIXED_ORDER", "RUNNERS", "THREADS", "Parts"]

T = TypeVar("T")

FIXED_ORDER: Final = "fixed order"
THREADS: Final = "threads"
ASYNCIO: Final = "asyncio"
RUNNERS: Final = (FIXED_ORDER, THREADS, ASYNCIO)


class Parts:
    """A kernel's end, mounted, and the session of the daemon that is to serve it."""

    def __init__(self, plan: Plan, runner: str, tap: Tap | None) -> None:
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
        self.device = self.new_device()
        self.connection = self._connection()
        self.superblock = mount(
            self.system, self.device, plan.options, plan.profile, plan.minor, connection=self.connection
        )

    def new_device(self) -> Device:
        """Open a device, not bound yet, that notes what is to be noted."""
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

    def new_process(self, uid: int, gid: int, groups: frozenset[int] = frozenset()) -> kernel_end.Process:
        """Make a process, in the root directory."""
        credentials = Credentials.of(uid, gid, groups)
        return kernel_end.Process.new(self.system, credentials, self.superblock.root)

    def recorded(self) -> Record:
        """Return the record of requests.

        Raises:
            RuntimeError: none is kept.
        """
        if self.record is None:
            raise RuntimeError("this kernel keeps no record of its requests: it was made with requests=0")
        return self.record

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
