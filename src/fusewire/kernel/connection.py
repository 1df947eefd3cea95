"""One mount's connection: the queues between those who ask and the daemon that answers.

    unused --ask()--> pending --read()--> processing --write()--> unused

Read `ask`, `send` and `enqueue` here, then `read` and `write` in device.py, beside the first diagram
of kernel.txt: they are its left column, then its right one. What a daemon has read it must answer on
the device from which it was read, so the requests that it owes stand with the device.

    waiting.py      request_wait_answer: what a signal does to a sender
    background.py   requests for which nobody waits, and how many there may be
    forgets.py      references given back, which are no requests
    pool.py         the requests of 2005
    timeouts.py     an answer that does not come
    resend.py       answers that a new daemon cannot give

Whoever wants to send something passes a gate first, which INIT opens. An abort ends everything:
whoever waits for an answer gets ECONNABORTED, whoever comes later ENOTCONN, the daemon ENODEV.

Not modelled: callers whose ids have no meaning in the mount's user namespace (EOVERFLOW).

Source: fs/fuse/dev.c, fuse_get_req, __fuse_request_send, fuse_request_end and fuse_abort_conn.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from fusewire import events
from fusewire.errors import os_error
from fusewire.events import Step, named, note
from fusewire.kernel.background import Background
from fusewire.kernel.clock import Clock, StandingClock
from fusewire.kernel.forgets import Forgets
from fusewire.kernel.init import Settings, Sysctls
from fusewire.kernel.pool import Pool
from fusewire.kernel.profile import LINUX, Profile
from fusewire.kernel.request import Request, Stage
from fusewire.kernel.tasks import Task, running, step
from fusewire.kernel.timeouts import Timer
from fusewire.kernel.violations import MOST, Violation
from fusewire.kernel.waiting import request_wait_answer
from fusewire.kernel.waitq import WaitQueue
from fusewire.wire import (
    FUSE_KERNEL_MINOR_VERSION,
    FUSE_MIN_READ_BUFFER,
    NO_EXTENSIONS,
    OPERATIONS,
    Extensions,
    ForgetIn,
    InHeader,
    InitFlags,
    NotifyRetrieveIn,
    Reply,
    WireStruct,
    WriteIn,
)

if TYPE_CHECKING:
    from fusewire.kernel.device import Device
    from fusewire.kernel.vfs.open_file import OpenFile
    from fusewire.kernel.vfs.superblock import Superblock

__all__ = ["Connection", "Statistics"]

End = Callable[[Request], None]
LONGEST_HEAD: Final = InHeader.SIZE + WriteIn.SIZE  # bytes of a WRITE before its data


class Statistics(NamedTuple):
    """How many requests are where, and how many somebody waits for or will be told of (`waiting`)."""

    unused: int
    background: int
    pending: int
    io: int
    processing: int
    interrupts: int
    forgets: int
    waiting: int


class Connection:
    """The queues of one mount.

    `pending` is read first in, first out, `interrupts` before it. `processing` is looked up by
    unique, for replies come in any order. A request is on at most one of the background's queue,
    `pending`, and a device's `io` and `processing`.
    """

    def __init__(
        self,
        profile: Profile = LINUX,
        minor: int = FUSE_KERNEL_MINOR_VERSION,
        clock: Clock | None = None,
        sysctls: Sysctls | None = None,
    ) -> None:
        self.profile = profile
        self.minor = minor  # of this kernel: what it may send, and what it offers
        self.clock = clock or StandingClock()
        self.sysctls = sysctls or Sysctls()
        # What the daemon has agreed to, said that it has not, or may not be sent.
        self.absent = {row.name for row in OPERATIONS.values() if row.since > minor}  # ENOSYS adds to it
        self.no_interrupt = False  # the daemon answered an INTERRUPT with ENOSYS
        self.settle(Settings(minor=minor))  # until INIT is answered
        # Where a connection is in its life: each changes once.
        self.connected = True
        self.initialized = False  # INIT has been answered, well or badly
        self.refused = False  # badly: every request fails with ECONNREFUSED
        self.aborted_with_error = False  # a read says ECONNABORTED rather than ENODEV
        # The queues.
        self.pool = Pool(self, profile.unused)
        self.blocked_waitq = WaitQueue(profile.gate)  # senders who may not have a request yet
        self.background = Background(self)
        self.pending: deque[Request] = deque()
        self.interrupts: deque[Request] = deque()  # of which the daemon is to be told
        self.forgets = Forgets()
        self.waitq = WaitQueue("fc->waitq")  # readers, while there is nothing to read
        self.devices: list[Device] = []
        self.num_waiting = 0  # requests, and those at the gate
        self.last_unique = 0
        self.timer: Timer | None = None  # while requests may time out
        self.violations: list[Violation] = []  # what the daemon wrote that it should not have
        # What the VFS keeps here, since the daemon may change it for all inodes at once.
        self.attr_version = 1  # moves on with every change of any inode's attributes
        self.evict_ctr = 1  # moves on with every eviction of a file that still has a name
        self.epoch = 1  # moves on with INC_EPOCH
        self.khctr = 0  # files opened so far, the number of the last
        self.polled: dict[int, OpenFile] = {}  # by kh: those of which a NOTIFY_POLL may come
        self.superblock: Superblock | None = None

    # What INIT settles.

    def has(self, flag: int) -> bool:
        """Whether both ends have settled on `flag`, one of InitFlags."""
        return bool(self.settings.flags & flag)

    def settle(self, settings: Settings) -> None:
        """Go by `settings` from now on."""
        self.settings = settings
        self.common_minor = min(self.minor, settings.minor)  # decides how long some structs are
        self.setxattr_ext = self.has(InitFlags.FUSE_SETXATTR_EXT)
        self.least_read = max(FUSE_MIN_READ_BUFFER, LONGEST_HEAD + settings.max_write)  # bytes; a read of less fails

    def open_gate(self, settings: Settings | None) -> None:
        """Let requests through, INIT being answered; with None, let them fail with ECONNREFUSED."""
        if settings is None:
            self.refused = True
        else:
            self.settle(settings)
            self.background.limit(settings.max_background, settings.congestion_threshold)
            self.timer = Timer.of(self)
        self.initialized = True
        self.pool.open()
        self.blocked_waitq.wake_all()

    # What there is to see.

    @property
    def unused(self) -> list[Request]:
        """The pool's requests that nobody has (seed2005)."""
        return self.pool.unused

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
        processing = sum(len(device.processing) for device in self.devices)
        return Statistics(
            len(self.unused),
            len(self.background.queue),
            len(self.pending),
            io,
            processing,
            len(self.interrupts),
            len(self.forgets),
            self.num_waiting,
        )

    # The left column.

    async def ask(
        self,
        name: str,
        nodeid: int,
        body: WireStruct | None = None,
        names: Sequence[bytes] = (),
        data: bytes = b"",
        *,
        extensions: Extensions = NO_EXTENSIONS,
        force: bool = False,
        nocreds: bool = False,
    ) -> Reply:
        """Get a request, send it, give it back; return the reply, empty if none is ever sent.

        Args:
            force: pass the gate, and let no signal end it (FLUSH).
            nocreds: say that nobody asks: uid, gid and pid are 0.

        Raises:
            OSError: whatever `get` and `send` raise.
        """
        request = await self.get(force)
        try:
            request.ask(name, nodeid, body, names, data, extensions)
            if nocreds:
                request.uid = request.gid = request.pid = 0
            return await self.send(request)
        finally:
            self.drop(request)

    async def get(self, force: bool = False) -> Request:
        """Take a request for the current task, sleeping until INIT is answered and there is one.

        Raises:
            OSError: EINTR if a signal came first; ENOTCONN once aborted; ECONNREFUSED if INIT failed.
        """
        self.num_waiting += 1
        forced = force and self.profile.forces
        if not forced and (self.refused or not self.connected or not self._may_pass()):
            await self._pass_gate(self._may_pass)
        request = self.pool.take()
        request.force = forced
        self._sign(request)
        if events.hook is not None:
            await self._step_with(request)
        return request

    def _may_pass(self) -> bool:
        return (self.initialized and self.pool.has_place) or not self.connected

    async def _pass_gate(self, opened: Callable[[], bool]) -> None:
        try:
            await self.blocked_waitq.sleep(until=opened, depth=self.profile.gate_depth)
            if not self.connected:
                raise os_error(errno.ENOTCONN)
            if self.refused:
                raise os_error(errno.ECONNREFUSED)
        except BaseException:
            self._one_less_waits()
            raise

    def _sign(self, request: Request) -> None:
        """Say whose request it is, and since when."""
        task = running()
        if task is not None and task.process is not None:
            process = task.process
            request.uid, request.gid = process.credentials.fsuid, process.credentials.fsgid
            request.pid = process.pid
        if self.timer is not None:
            request.created = self.clock.now()

    async def _step_with(self, request: Request) -> None:
        try:
            await step(Step.GET)
        except BaseException:
            self.drop(request)
            raise

    @named("request_send")
    async def send(self, request: Request) -> Reply:
        """Queue `request`, sleep until it is finished, return the reply.

        Raises:
            OSError: ENOTCONN if the connection is already gone; ECONNABORTED if it goes while we
                sleep; EINTR if a signal withdrew it; EIO if the daemon answered nonsense;
                otherwise the errno of the reply.
        """
        if not self.connected:
            request.move("refuse")
            raise os_error(errno.ENOTCONN)
        self.enqueue(request)
        request.references += 1
        if events.hook is not None:
            await step(Step.QUEUE)
        self.waitq.wake()
        await request_wait_answer(request)
        if request.error:
            raise os_error(request.error)
        return request.reply or Reply(request.unique)

    def enqueue(self, request: Request, unique: int | None = None) -> None:
        """Put `request` on `pending`, where it has a number; whoever calls this wakes a reader."""
        request.encode(self.new_unique() if unique is None else unique)
        request.move("send")
        self.pending.append(request)

    def new_unique(self) -> int:
        self.last_unique += self.profile.unique_step
        return self.last_unique

    def drop(self, request: Request) -> None:
        """Give a reference back; with the last one the request itself."""
        request.references -= 1
        if request.references:
            return
        if events.hook is not None:
            note(Step.PUT)
        if self.pool.give_back(request):
            self.blocked_waitq.wake()
        self._one_less_waits()

    def _one_less_waits(self) -> None:
        self.num_waiting -= 1
        if not self.num_waiting and not self.connected:
            self.blocked_waitq.wake_all()  # whoever unmounts waits for this

    # What nobody waits for.

    def ask_background(
        self,
        name: str,
        nodeid: int,
        body: WireStruct | None = None,
        *,
        data: bytes = b"",
        end: End | None = None,
        force: bool = False,
        nocreds: bool = False,
    ) -> None:
        """Queue a request and return, whatever limits there are. Never sleeps.

        `end` is called once, when the request is finished: its `error` (a positive errno) and `reply` are set
        then. That is at once, with ENOTCONN, if the connection is already gone.
        """
        request = self.pool.make()
        request.force = force
        self.num_waiting += 1
        if not nocreds:
            self._sign(request)
        elif self.timer is not None:
            request.created = self.clock.now()
        request.ask(name, nodeid, body, (), data)
        request.end = end
        self.send_background(request)

    async def ask_background_gated(
        self,
        name: str,
        nodeid: int,
        body: WireStruct | None = None,
        *,
        data: bytes = b"",
        end: End | None = None,
        nocreds: bool = False,
    ) -> None:
        """The same, but sleep first while too many are under way.

        Raises:
            OSError: EINTR if a fatal signal came first; ENOTCONN once aborted; ECONNREFUSED if INIT failed.
        """
        self.num_waiting += 1
        await self._pass_gate(self._may_pass_in_background)
        self.num_waiting -= 1  # the request counts itself
        self.ask_background(name, nodeid, body, data=data, end=end, nocreds=nocreds)

    def _may_pass_in_background(self) -> bool:
        return (self.initialized and not self.background.blocked) or not self.connected

    def send_background(self, request: Request) -> None:
        """Queue `request`; its `end` is called when it is finished."""
        if not self.connected:
            self.finish(request, "refuse", errno.ENOTCONN)
        elif self.profile.limits_background:
            self.background.add(request)
        else:
            self.enqueue(request)
            note(Step.QUEUE)
            self.waitq.wake()

    def forget(self, nodeid: int, nlookup: int) -> None:
        """Give `nlookup` references to `nodeid` back to the daemon, sooner or later. Lost after an abort."""
        if not self.connected:
            return
        if self.profile.forgets_are_requests:
            self.ask_background("FORGET", nodeid, ForgetIn(nlookup), nocreds=True)
            return
        self.forgets.queue.append((nodeid, nlookup))
        note(Step.QUEUE_FORGET)
        self.waitq.wake()

    async def notify_reply(self, unique: int, nodeid: int, body: NotifyRetrieveIn, data: bytes) -> None:
        """Send the daemon what its NOTIFY_RETRIEVE of number `unique` asked for. Does not wait until it is read.

        Raises:
            OSError: whatever `get` raises; ENOTCONN if the connection is gone.
        """
        request = await self.get()
        request.uid = request.gid = request.pid = 0
        request.ask("NOTIFY_REPLY", nodeid, body, (), data)
        if not self.connected:
            self.finish(request, "refuse", errno.ENOTCONN)
            raise os_error(errno.ENOTCONN)
        self.enqueue(request, unique)
        note(Step.QUEUE)
        self.waitq.wake()

    # What the devices call.

    @property
    def readable(self) -> bool:
        return bool(self.pending or self.interrupts or self.forgets.queue)

    def queue_interrupt(self, request: Request) -> None:
        """Have a daemon told that the sender of `request` was sent a signal."""
        if self.no_interrupt or request.stage is Stage.FINISHED:
            return
        if request not in self.interrupts:
            self.interrupts.append(request)
            note(Step.QUEUE_INTERRUPT)
            self.waitq.wake()

    def finish(self, request: Request, verb: str, error: int = 0) -> None:
        """End `request` by `verb` with `error` (a positive errno), let its sender go, and drop a reference.

        What has ended already does not end again: one reference is dropped, and that is all.
        """
        if request.stage is not Stage.FINISHED:
            request.move(verb)
            if not request.given_up:
                request.error = error
            self._ended(request)
        self.drop(request)

    def _ended(self, request: Request) -> None:
        if request.interrupted and request in self.interrupts:
            self.interrupts.remove(request)
        if request.background:
            self.background.ended(request)
        request.wake()
        if request.end is not None:
            request.end(request)
        if request.unpin is not None:
            request.unpin()

    def violated(self, rule: int, text: str, unique: int, code: int) -> None:
        """Note down what a daemon should not have written."""
        if len(self.violations) < MOST:
            self.violations.append(Violation(rule, text, unique, code))

    # The end.

    def abort(self, with_error: bool = False) -> None:
        """Fail every unfinished request with ECONNABORTED and wake everyone. Idempotent.

        A request of which a page is being copied is left to its copier. `with_error` is what a
        daemon asked for with ABORT_ERROR: that its next read says ECONNABORTED.
        """
        self.aborted_with_error |= with_error
        if not self.connected:
            return
        note(Step.ABORT)
        self.connected = False
        self.initialized = True  # those at the gate go on, and see that there is nothing to wait for
        self.timer = None
        ending = [request for device in self.devices for request in device.disconnect()]
        ending += self.background.abort()
        ending += self.pending
        self.pending.clear()
        self.interrupts = deque(request for request in self.interrupts if request.locked)
        self.forgets.queue.clear()
        self.waitq.wake_all()
        for file in self.polled.values():
            if file.poll_waitq is not None:
                file.poll_waitq.wake_all()
        self.blocked_waitq.wake_all()
        for request in ending:
            self.finish(request, "abort", errno.ECONNABORTED)
