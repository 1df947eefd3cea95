"""Both ends of a mount whose daemon is another process: begun, used, and always ended.

The daemon has begun when it has answered INIT. Until then everything that can go wrong is the
outcome of `start`: it cannot be executed, ends, closes its device, answers what is no answer, or
does nothing. Each comes as a `SpawnError` with the cause and what the daemon has written.
"""

from __future__ import annotations

import errno
import logging
import signal
import socket
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

import fusewire.kernel as kernel_end
from fusewire.daemon.workers import in_a_thread, to_its_end
from fusewire.embedded.ends import Ends
from fusewire.embedded.parts import ASYNCIO
from fusewire.embedded.plan import Plan
from fusewire.embedded.spawned.command import DESCRIPTOR, Command, Elsewhere, SpawnError
from fusewire.embedded.spawned.control import SpawnedDaemon
from fusewire.embedded.spawned.directory import mountpoint
from fusewire.embedded.spawned.handover import Handover, with_words
from fusewire.embedded.spawned.process import DaemonProcess
from fusewire.kernel.connection import Connection
from fusewire.kernel.init import Sysctls
from fusewire.kernel.remote_device import SPLICE, RemoteDevice, most_pages, socket_pair
from fusewire.kernel.runners import Deadlock
from fusewire.mounting.fork import close_in_children, no_fork

__all__ = ["SpawnedEnds", "spawn"]

logger = logging.getLogger("fusewire")

T = TypeVar("T")

LOST = (errno.ENOTCONN, errno.ECONNABORTED)  # what calls get when the daemon is gone


class SpawnedEnds(Ends):
    """A kernel's end, and a daemon's process."""

    daemon_class = SpawnedDaemon

    def __init__(self, plan: Plan, runner: str, command: Command, way: str) -> None:
        """`way` is one of THROUGH."""
        self.command = command
        self.way = way
        with no_fork:
            self.ours, self.theirs = socket_pair()
            close_in_children(self.ours.fileno())
            close_in_children(self.theirs.fileno())
        super().__init__(plan, runner)
        self.remote = RemoteDevice(self.device, self.runner, self.ours)
        self.handover = Handover(None if way == DESCRIPTOR else self.theirs, self._mounted, self._unmount)
        self.spawned = DaemonProcess(command, self.handover.answer, self.abort)
        self.hurried = False

    def _connection(self) -> Connection:
        connection = super()._connection()
        connection.withheld = SPLICE
        connection.sysctls = Sysctls(
            max_pages_limit=most_pages(self.ours), default_request_timeout=self.command.request_timeout
        )
        return connection

    # --- beginning

    def start(self) -> None:
        """Start the daemon; return once it has answered INIT.

        Raises:
            SpawnError: it does not.
        """
        if self.runner_name == ASYNCIO:
            raise RuntimeError("with runner='asyncio' a kernel lives in an event loop: enter it with `async with`")
        self._begin()

    async def start_async(self) -> None:
        """Do as `start`; the event loop goes on meanwhile."""
        await to_its_end(in_a_thread(self._begin))

    def _begin(self) -> None:
        try:
            if self.way == DESCRIPTOR:
                self.spawned.start(self.command.on(f"/dev/fd/{self.theirs.fileno()}"), self.theirs)
                self._close_theirs()
            else:
                self.spawned.start(self.command.on(mountpoint(self.spawned.directory)), None)
            self.remote.start()
            self._wait_for_init()
        except BaseException:
            self._give_up()
            raise

    def _wait_for_init(self) -> None:
        connection, patience = self.connection, self.command.patience
        answered = connection.blocked_waitq.sleep(until=lambda: connection.initialized)
        try:
            self.runner.call(_awaited(answered), timeout=patience)  # type: ignore[call-arg]  # of `Locked`, as we are
        except Deadlock:
            raise self._failed_to_begin(errno.ETIMEDOUT, f"has not answered INIT after {patience:g} seconds") from None
        if not connection.connected:
            self.spawned.gone.wait(1.0)  # it may have closed its device because it ends
            raise self._failed_to_begin(errno.ENOTCONN, f"{self._how_it_ended()} before it had answered INIT")
        if connection.refused:
            raise self._failed_to_begin(errno.EPROTO, "has answered INIT with an error, or with another version")
