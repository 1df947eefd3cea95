"""One mount's connection: the queues between those who ask and the daemon that answers.

    unused --send()--> pending --read()--> processing --write()--> unused

Read `get`, `send` and `put` here, then `read` and `write` in device.py, beside the first diagram of
kernel.txt: they are its left column, then its right one. What a daemon has read it must answer
on the device from which it was read, so the requests that it owes stand with the device.

What a signal does to a waiting sender is the one great difference between the profiles:

    linux       the daemon is sent an INTERRUPT and the sender waits on; a fatal signal withdraws
                what the daemon has not read, and nothing else
    seed2005    the sender goes: what the daemon has not read is withdrawn, what it has read is
                given up; of two signals, one that is not fatal ends the wait only before the read

so that today only a daemon, or an abort, ends a deadlock.

Not modelled yet: requests that no signal may end (FLUSH, RELEASE), the limits on background
requests, forgets, timeouts, resend; 2005's restart of a system call that is interrupted early
(here it fails with EINTR).

Source: fs/fuse/dev.c, request_wait_answer, fuse_request_end, fuse_abort_conn.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from fusewire.errors import os_error
from fusewire.events import Step, named, note
from fusewire.kernel.init import Settings
from fusewire.kernel.profile import LINUX, Profile
from fusewire.kernel.request import Request, Stage
from fusewire.kernel.tasks import Task, current, step
from fusewire.kernel.waitq import Sleep, WaitQueue
from fusewire.wire import FUSE_KERNEL_MINOR_VERSION, OPERATIONS, Reply, WireStruct

if TYPE_CHECKING:
    from fusewire.kernel.device import Device
    from fusewire.kernel.vfs.superblock import Superblock


class Statistics(NamedTuple):
    """How many requests are where."""

    unused: int
    pending: int
    io: int
    processing: int
    interrupts: int


class Connection:
    """The queues of one mount.

    `pending` is read first in, first out, `interrupts` before it. `processing` is looked up by
    unique, for replies come in any order. A request is on at most one of `unused`, `pending` and
    a device's `io` and `processing`.
    """

    def __init__(self, profile: Profile = LINUX, minor: int = FUSE_KERNEL_MINOR_VERSION) -> None:
        self.profile = profile
        self.settings = Settings()  # until INIT is answered
        self.connected = True
        self.initialized = False  # INIT has been answered, well or badly
        self.refused = False  # badly: every request fails with ECONNREFUSED
        self.aborted_with_error = False  # a read says ECONNABORTED rather than ENODEV
        self.no_interrupt = False  # the daemon answered an INTERRUPT with ENOSYS
        self.unused = [Request(self) for _ in range(profile.unused or 0)]
        self.blocked_waitq = WaitQueue(profile.gate)  # senders who may not have a request yet
        self.pending: deque[Request] = deque()
        self.interrupts: deque[Request] = deque()  # of which the daemon is to be told
        self.waitq = WaitQueue("fc->waitq")  # readers, while there is nothing to read
        self.devices: list[Device] = []
        self._unique = 0
        self.minor = minor  # of this kernel: what it may send, and what it offers
        self.absent = {row.name for row in OPERATIONS.values() if row.since > minor}  # not sent: latched by ENOSYS, or not yet known
        self.attr_version = 1  # moves on with every change of any inode's attributes
        self.evict_ctr = 1  # moves on with every eviction of a file that still has a name
        self.epoch = 1  # moves on with INC_EPOCH
        self.superblock: Superblock | None = None

    def has(self, flag: int) -> bool:
        """Whether both ends have settled on `flag`, one of InitFlags."""
        return bool(self.settings.flags & flag)

    @property
    def processing(self) -> dict[int, Request]:
        """The requests that have been read and not answered, of all devices."""
        return {unique: request for device in self.devices for unique, request in device.processing.items()}

    @property
    def readers(self) -> Sequence[Task]:
        """The tasks that have read from a device of ours, and may again."""
        return [task for device in self.devices for task in device.readers if not task.finished]

    def statistics(self) -> Statistics:
        """Count the requests on each queue."""
        io = sum(len(device.io) for device in self.devices)
        return Statistics(len(self.unused), len(self.pending), io, len(self.processing), len(self.interrupts))

    # The left column.

    async def ask(
        self, name: str, nodeid: int, body: WireStruct | None = None, names: Sequence[bytes] = (), data: bytes = b""
    ) -> Reply:
        """Get a request, send it, give it back; return the reply.

        Raises:
            OSError: whatever `get` and `send` raise.
        """
        request = await self.get()
        try:
            request.ask(name, nodeid, body, names, data)
            return await self.send(request)
        finally:
            self.put(request)

    async def get(self) -> Request:
        """Take a request for the current task, sleeping until INIT is answered and there is one.

        Raises:
            OSError: EINTR if a signal came first; ENOTCONN once aborted; ECONNREFUSED if INIT failed.
        """
        await self.blocked_waitq.sleep(until=self._may_get, depth=self.profile.gate_depth)
        if not self.connected:
            raise os_error(errno.ENOTCONN)
        if self.refused:
            raise os_error(errno.ECONNREFUSED)
        request = Request(self) if self.profile.unused is None else self.unused.pop()
        process = current().process
        if process is not None:
            request.uid, request.gid = process.credentials.fsuid, process.credentials.fsgid
            request.pid = process.pid
        await step(Step.GET)
        return request

    def _may_get(self) -> bool:
        there_is_one = self.profile.unused is None or bool(self.unused)
        return (self.initialized and there_is_one) or not self.connected

    def put(self, request: Request) -> None:
        """Give back what `get` took. One that was given up comes back by itself, with its reply."""
        if request.stage is not Stage.GIVEN_UP:
            self._put()

    def _put(self) -> None:
        note(Step.PUT)
        if self.profile.unused is not None:
            self.unused.append(Request(self))  # a fresh one, so that nothing old reaches the next sender
            self.blocked_waitq.wake()

    @named("request_send")
    async def send(self, request: Request) -> Reply:
        """Queue `request`, sleep until it is finished, return the reply.

        Raises:
            OSError: ENOTCONN if the connection is already gone; ECONNABORTED if it goes while we
                sleep; EINTR if a signal withdrew it; EIO if the daemon answered nonsense;
                otherwise the errno of the reply.
        """
        self._queue(request)
        await step(Step.QUEUE)
        self.waitq.wake()
        await self._wait_answer(request)
        if request.error:
            raise os_error(request.error)
        assert request.reply is not None
        return request.reply

    def send_background(self, request: Request) -> None:
        """Queue `request` and return; its `end` is called when it is finished.

        Raises:
            OSError: ENOTCONN if the connection is already gone.
        """
        self._queue(request)
        note(Step.QUEUE)
        self.waitq.wake()

    def _queue(self, request: Request) -> None:
        if not self.connected:
            raise os_error(errno.ENOTCONN)
        self._unique += self.profile.unique_step
        request.unique = self._unique
        request.move("send")
        self.pending.append(request)

    @named("request_wait_answer")
    async def _wait_answer(self, request: Request) -> None:
        if not self.no_interrupt:
            if await self._answered(request, Sleep.INTERRUPTIBLE):
                return
            note(Step.INTERRUPT)
        if self.profile.interrupts:
            await self._wait_for_daemon(request)
        else:
            await self._give_up(request)

    async def _answered(self, request: Request, depth: Sleep) -> bool:
        """Sleep; True if `request` is finished, False if a signal came first."""
        try:
            await request.waitq.sleep(until=lambda: request.stage is Stage.FINISHED, depth=depth)
        except InterruptedError:
            return False
        return True

    async def _wait_for_daemon(self, request: Request) -> None:
        """Have the daemon told of a signal; only a fatal one, and only before the read, ends the wait."""
        if not self.no_interrupt:
            request.interrupted = True
            if request.stage is Stage.PROCESSING:  # else the reader queues it, once it has copied
                self.queue_interrupt(request)
        if await self._answered(request, Sleep.KILLABLE):
            return
        if request.stage is Stage.PENDING:
            self._withdraw(request)
        else:
            await self._answered(request, Sleep.UNINTERRUPTIBLE)

    async def _give_up(self, request: Request) -> None:
        """Leave `request` behind, but neither in the middle of a copy nor for a light signal once it was read."""
        if request.stage is Stage.PROCESSING and await self._answered(request, Sleep.KILLABLE):
            return
        request.interrupted = True
        await request.waitq.sleep(until=lambda: not request.locked, depth=Sleep.UNINTERRUPTIBLE)
        if request.stage is Stage.PENDING:
            self._withdraw(request)
        elif request.stage is Stage.PROCESSING:
            request.move("kill")
            request.error = errno.EINTR

    def _withdraw(self, request: Request) -> None:
        self.pending.remove(request)
        request.move("kill")
        request.error = errno.EINTR

    # What the devices call.

    @property
    def readable(self) -> bool:
        return bool(self.pending or self.interrupts)

    def sent(self, request: Request) -> None:
        """Let `request`, just copied to a daemon, catch up with a signal that its sender has had."""
        if self.profile.interrupts:
            self.queue_interrupt(request)
        else:
            request.waitq.wake()

    def queue_interrupt(self, request: Request) -> None:
        """Have a daemon told that the sender of `request` was sent a signal."""
        if request not in self.interrupts:
            self.interrupts.append(request)
            note(Step.QUEUE_INTERRUPT)
            self.waitq.wake()

    def finish(self, request: Request, verb: str, error: int = 0) -> None:
        """End `request` by `verb` with `error` (a positive errno), and let its sender go."""
        given_up = request.stage is Stage.GIVEN_UP
        request.move(verb)
        request.error = error
        if request in self.interrupts:
            self.interrupts.remove(request)
        if given_up:
            self._put()
        elif request.end is not None:
            request.end(request)
        else:
            request.waitq.wake()

    def open_gate(self, settings: Settings | None) -> None:
        """Let requests through, INIT being answered; with None, let them fail with ECONNREFUSED."""
        if settings is None:
            self.refused = True
        else:
            self.settings = settings
        self.initialized = True
        self.blocked_waitq.wake_all()

    def abort(self, with_error: bool = False) -> None:
        """Fail every unfinished request with ECONNABORTED and wake everyone. Idempotent.

        A request that is being copied is left to its copier. `with_error` is what a daemon asked
        for with ABORT_ERROR: that its next read says ECONNABORTED.
        """
        self.aborted_with_error |= with_error
        if not self.connected:
            return
        self.connected = False
        note(Step.ABORT)
        for device in self.devices:
            device.drop()
        while self.pending:
            self.finish(self.pending.popleft(), "abort", errno.ECONNABORTED)
        self.waitq.wake_all()
        self.blocked_waitq.wake_all()
