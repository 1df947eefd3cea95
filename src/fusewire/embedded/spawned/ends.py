"""Both ends of a mount whose daemon is another process: begun, used, and always ended.

The daemon has begun when it has answered INIT. Until then everything that can go wrong is the
outcome of `start`: it cannot be executed, ends, closes its device, answers what is no answer, or
does nothing. Each comes as a `SpawnError` with the cause and what the daemon has written.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import fusewire.kernel as kernel_end
from fusewire.daemon.workers import in_a_thread, to_its_end
from fusewire.embedded.ends import LINGER, Ends
from fusewire.embedded.parts import ASYNCIO
from fusewire.embedded.plan import Plan
from fusewire.embedded.spawned.command import DESCRIPTOR, FUSERMOUNT3, Command, SpawnError
from fusewire.embedded.spawned.control import SpawnedDaemon
from fusewire.embedded.spawned.directory import mountpoint
from fusewire.embedded.spawned.handover import Handover, with_words
from fusewire.embedded.spawned.process import DaemonProcess
from fusewire.embedded.spawned.sockets import close_listed, listed_pair
from fusewire.kernel.connection import Connection
from fusewire.kernel.init import Sysctls
from fusewire.kernel.remote_device import SPLICE, RemoteDevice, most_pages, socket_pair
from fusewire.kernel.runners import Deadlock
from fusewire.kernel.runners.locked import Locked
from fusewire.kernel.waitq import INTERRUPTIBLE

__all__ = ["SpawnedEnds", "spawn", "spawn_async"]

logger = logging.getLogger("fusewire")

T = TypeVar("T")

SHOWN: Final = 20  # lines of the daemon's output
AT_ONCE: Final = 0.5  # seconds in which a daemon that has closed its device is gone, if it has died
OURS: Final = (signal.SIGTERM, signal.SIGKILL)  # by which we end a daemon
HANDED: Final = {DESCRIPTOR: "with /dev/fd/N as its mountpoint", FUSERMOUNT3: "with our fusermount3 on its PATH"}
NEEDED: Final = "A daemon is spawned if it takes /dev/fd/N for its mountpoint, or calls fusermount3 by its PATH."
LOST: Final = (errno.ENOTCONN, errno.ECONNABORTED)  # what calls get when the daemon is gone


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
        try:
            await to_its_end(in_a_thread(self._begin))
        except asyncio.CancelledError:
            if not self.closed:
                await to_its_end(in_a_thread(self._give_up))
            raise

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
        try:
            self._locked.call(self._init_answered(), timeout=patience)
        except Deadlock:
            raise self._failed_to_begin(errno.ETIMEDOUT, f"has not answered INIT after {patience:g} seconds") from None
        if not connection.connected:
            self.spawned.gone.wait(1.0)  # it may have closed its device because it ends
            not_called = self.way == FUSERMOUNT3 and not self.handover.asked
            before = "called that" if not_called else "answered INIT"
            raise self._failed_to_begin(errno.ENOTCONN, f"{self.how_it_ended()} before it had {before}")
        if connection.refused:
            raise self._failed_to_begin(errno.EPROTO, "has answered INIT with an error, or with another version")

    async def _init_answered(self) -> None:
        await self.connection.blocked_waitq.sleep(lambda: self.connection.initialized, INTERRUPTIBLE)

    @property
    def _locked(self) -> Locked:
        assert isinstance(self.runner, Locked), "a daemon that is elsewhere has its own time"
        return self.runner

    # --- what the stand-in for fusermount3 is asked for

    def _mounted(self, words: str) -> None:
        self.superblock.options = with_words(self.superblock.options, words)

    def _unmount(self, flags: int) -> None:
        self._locked.call(self.unmount(flags), timeout=LINGER)

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
        """Return the last that the daemon has written, as the end of a sentence; "" if it has written nothing."""
        lines = self.spawned.output.rstrip().splitlines()
        return ", and said:" + "".join(f"\n    | {line}" for line in lines[-SHOWN:]) if lines else ""

    # --- ending

    def _give_up(self) -> None:
        self.hurried = True
        self.abort()
        self._wait_for_daemon()
        super()._give_up()

    def _wait_for_daemon(self) -> None:
        self.remote.hang_up()
        self.spawned.end(self.hurried)
        self.remote.close()
        close_listed(self.ours)
        close_listed(self.theirs)
        status = self.spawned.status
        if status is not None and status < 0 and -status not in OURS:
            logger.error("%s %s%s", self.command.name, self.how_it_ended(), self._said())


def spawn(plan: Plan, runner: str, command: Command) -> SpawnedEnds:
    """Begin both ends, in the first way in which the daemon serves.

    Raises:
        SpawnError: it serves in none.
    """
    failures: dict[str, SpawnError] = {}
    for way in command.ways:
        ends = SpawnedEnds(plan, runner, command, way)
        try:
            ends.start()
            return ends
        except SpawnError as error:
            failures[way] = error
            if not ends.spawned.pid:
                break
    raise in_no_way(command, failures)


async def spawn_async(plan: Plan, runner: str, command: Command) -> SpawnedEnds:
    """Do as `spawn`; the event loop goes on meanwhile."""
    failures: dict[str, SpawnError] = {}
    for way in command.ways:
        ends = SpawnedEnds(plan, runner, command, way)
        try:
            await ends.start_async()
            return ends
        except SpawnError as error:
            failures[way] = error
            if not ends.spawned.pid:
                break
    raise in_no_way(command, failures)


def in_no_way(command: Command, failures: dict[str, SpawnError]) -> SpawnError:
    """Put together why a daemon serves in none of the ways that were tried."""
    last = [*failures.values()][-1]
    texts = [str(error) for error in failures.values()]
    if len(texts) == 1:
        return SpawnError(last.errno or errno.EIO, f"{command.name} {texts[0]}", last.output)
    lines = [f"  {HANDED[way]} it {error}" for way, error in failures.items()]
    return SpawnError(
        last.errno or errno.EIO, "\n".join([f"{command.name} does not serve:", *lines, NEEDED]), last.output
    )
