"""Both ends of one mount, begun: the daemon's end is served by whoever runs the kernel's.

A method that raises what is no OSError is told of here; with `strict` it ends the mount.
"""

from __future__ import annotations

import asyncio

from fusewire.daemon.serve import ThreadServer
from fusewire.daemon.serve_async import AsyncServer
from fusewire.daemon.server import Failed, Told
from fusewire.daemon.session import Session
from fusewire.embedded.daemon_device import Tap
from fusewire.embedded.device import EmbeddedDevice
from fusewire.embedded.parts import ASYNCIO, Parts
from fusewire.embedded.plan import Plan
from fusewire.embedded.task_server import TaskServer
from fusewire.kernel.clock import MonotonicClock
from fusewire.kernel.runners.fixed_order import FixedOrder
from fusewire.kernel.runners.locked import Locked

__all__ = ["Serving"]


class Serving(Parts):
    """Nothing is served before `start`, or `start_async`."""

    def __init__(self, plan: Plan, runner: str, tap: Tap | None) -> None:
        super().__init__(plan, runner, tap)
        self.server: TaskServer | ThreadServer | AsyncServer | None = None
        self.failure: BaseException | None = None  # of a method, and no OSError; for `strict`
        self.closed = False

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
        device = EmbeddedDevice(runner, self.device, self.session.limits.buffer_size, self.stall, self.new_device)
        return self.session, device, self.plan.threads, self._failed, lambda: None, self.abort

    def _give_up(self) -> None:
        self.closed = True
        self.abort()
        self.runner.do(self.device.close)
        self._put_away()

    def _put_away(self) -> None:
        self.runner.close()
        if isinstance(self.system.clock, MonotonicClock):
            self.system.clock.close()

    # --- mistakes of methods

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
