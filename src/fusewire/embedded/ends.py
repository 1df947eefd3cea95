"""Both ends of one mount, begun, used and ended: what `Kernel` is a facade of. What they are made of: parts.py.

It always ends. A daemon that hangs, or is gone, is not waited for longer than `LINGER` seconds; the
connection is aborted then, which frees whoever waits for it, and a method that does not return even
so is left to itself. What nobody ends is put away by the garbage collector, or when Python exits
(left_open.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import fusewire.kernel as kernel_end
from fusewire.daemon.serve import ThreadServer
from fusewire.daemon.serve_async import AsyncServer
from fusewire.daemon.server import HASTE
from fusewire.daemon.workers import in_a_thread, to_its_end
from fusewire.embedded.begun import Begun
from fusewire.embedded.daemon_control import Daemon
from fusewire.embedded.daemon_device import Tap
from fusewire.embedded.leaks import Leak, leaks
from fusewire.embedded.left_open import remember
from fusewire.embedded.notifying import EmbeddedNotifications
from fusewire.embedded.own_mount import OwnMount
from fusewire.embedded.plan import Plan
from fusewire.embedded.recording import Record
from fusewire.embedded.serving import Serving
from fusewire.embedded.task_server import TaskServer
from fusewire.kernel.mounting import umount
from fusewire.kernel.runners import Deadlock
from fusewire.kernel.runners.fixed_order import FixedOrder
from fusewire.kernel.runners.locked import Locked
from fusewire.kernel.tasks import Task

__all__ = ["Ends"]

logger = logging.getLogger("fusewire")

T = TypeVar("T")

LINGER: Final = 5.0  # seconds that a daemon gets to let go of what is open


class Ends(Serving):
    """Both ends of one mount."""

    daemon_class: type[Daemon] = Daemon  # of `kernel.daemon`

    def __init__(self, plan: Plan, runner: str, tap: Tap | None = None) -> None:
        """`tap` gets what passes the devices, if it is given."""
        super().__init__(plan, runner, tap)
        self.hurried = False  # nobody is waited for longer than `HASTE` seconds
        self.forked = False  # we are in a child of the process in which the threads are that we need
        self.own_mount = (
            OwnMount(self.runner, self.session.new_request, plan.threads) if isinstance(self.runner, Locked) else None
        )
        self.session.notify_now.device = EmbeddedNotifications(self)
        self.process = self._own_process()
        remember(self)

    # --- while it lasts

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
        if self.own_mount is not None and self.own_mount.is_calling:
            return self.own_mount.call(coroutine, process, LINGER)
        return self.runner.call(coroutine, process)

    def _not_answered(self) -> list[str]:
        """What the daemon owes, as far as we know."""
        return [] if self.record is None else [f"not answered: {request!r}" for request in self.record.unanswered]

    def begin(self, coroutine: Coroutine[Any, Any, T]) -> Begun[T]:
        """Begin a system call, or several, and have it go on as far as it can; return without waiting."""
        if self.over:
            coroutine.close()
            self.check_alive()
        task = Task("kernel", coroutine)
        self.runner.start(task)
        self.runner.do(lambda: None)  # which in fixed order lets it go on, unless a method has begun it
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

    def close(self, hurried: bool = False) -> None:
        """End all processes, unmount, and wait for the daemon; abort what does not end. Idempotent.

        Args:
            hurried: wait for nobody longer than `HASTE` seconds. So it is after Ctrl-C, which may also come meanwhile.

        Raises:
            RuntimeError: in fixed order, called by a method, or while another thread uses it.
        """
        if self.closed:
            return
        if isinstance(self.runner, FixedOrder):
            self.runner.check_idle()
        self._hurry(hurried)
        try:
            self._leave()
        except KeyboardInterrupt:
            self._hurry()
            raise
        finally:
            self.closed = True
            self.abort()
            self._wait_for_daemon()
            self._put_away()

    def _hurry(self, hurried: bool = True) -> None:
        self.hurried = hurried
        if self.server is not None:
            self.server.hurried = hurried

    async def close_async(self, hurried: bool = False) -> None:
        """Do as `close`, awaited. In an event loop Ctrl-C is a cancellation, after which we hurry as well."""
        if isinstance(self.runner, FixedOrder):
            self.close(hurried)
        if self.closed:
            return
        self._hurry(hurried)
        try:
            await in_a_thread(self._leave)
        except asyncio.CancelledError:
            self._hurry()
            raise
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
            self.runner.wait(leaving, HASTE if self.hurried else LINGER)
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
