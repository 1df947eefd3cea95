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
from fusewire.embedded.spawned.sockets import close_listed, listed_pair
from fusewire.kernel.connection import Connection
from fusewire.kernel.init import Sysctls
from fusewire.kernel.remote_device import SPLICE, RemoteDevice, most_pages, socket_pair
from fusewire.kernel.runners import Deadlock

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
        self.ours, self.theirs = listed_pair(socket_pair)
        super().__init__(plan, runner)
        self.remote = RemoteDevice(self.device, self.runner, self.ours)
        self.handover = Handover(None if way == DESCRIPTOR else self.theirs, self._mounted, self._unmount)
        self.spawned = DaemonProcess(command, self.handover.answer, self.abort)
        self.killed_by_us = False

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
                close_listed(self.theirs)
            else:
                self.spawned.start(self.command.on(mountpoint(self.spawned.directory)), None)
            self.remote.start()
            self._wait_for_init()
        except BaseException:
            self._give_up()
            raise

    def _wait_for_init(self) -> None:
        connection, patience = self.connection, self.command.patience
        answered = connection.blocked_waitq.sleep(lambda: connection.initialized, INTERRUPTIBLE)
        try:
            self.runner.call(_awaited(answered), timeout=patience)
        except Deadlock:
            raise self._failed_to_begin(errno.ETIMEDOUT, f"has not answered INIT after {patience:g} seconds") from None
        if not connection.connected:
            self.spawned.gone.wait(1.0)  # it may have closed its device because it ends
            raise self._failed_to_begin(errno.ENOTCONN, f"{self._how_it_ended()} before it had answered INIT")
        if connection.refused:
            raise self._failed_to_begin(errno.EPROTO, "has answered INIT with an error, or with another version")

    # --- what the stand-in for fusermount3 is asked for

    def _mounted(self, words: str) -> None:
        self.superblock.options = with_words(self.superblock.options, words)

    def _unmount(self, flags: int) -> None:
        self.runner.call(self.unmount(flags), timeout=LINGER)

    # --- while it lasts

    def call(self, coroutine: Coroutine[Any, Any, T], process: kernel_end.Process | None = None) -> T:
        """Run a system call, or several, to the end; an error that comes of the daemon's death says so."""
        try:
            return super().call(coroutine, process)
        except OSError as error:
            if error.errno in LOST and self.spawned.gone.wait(AT_ONCE):
                error.add_note(f"{self.command.name} {self.how_it_ended()}{self._said()}")
            raise

    def how_it_ended(self) -> str:
        """Say what has become of the daemon, as the end of a sentence about it."""
        status = self.spawned.status
        if not self.spawned.gone.is_set() or status is None:
            return "closed its device"
        if status < 0:
            return f"was ended by {signal.Signals(-status).name}"
        return f"ended with status {status}"

    def _failed_to_begin(self, code: int, what: str) -> SpawnError:
        return SpawnError(code, f"{what}{self._said()}", self.spawned.output)

    def _said(self) -> str:
        """Return what the daemon has written, to be put below a sentence."""
        lines = self.spawned.output.rstrip().splitlines()
        return "".join(f"\n    | {line}" for line in lines[-SHOWN:]) and ", and said:" + "".join(
            f"\n    | {line}" for line in lines[-SHOWN:]
        )

    # --- ending

    def _give_up(self) -> None:
        self.hurried = True
        self.closed = True
        self.abort()
        self._wait_for_daemon()
        super()._give_up()

    def _wait_for_daemon(self) -> None:
        died = self.spawned.gone.is_set() or self.remote.closed_by_daemon
        self.remote.close()
        self.spawned.end(self.hurried)
        for sock in (self.ours, self.theirs):
            close_listed(sock)


async def _awaited(sleep: Coroutine[Any, Any, None]) -> None:
    await sleep
