"""One mount's connection: the queues between those who ask and the daemon that answers.

    unused --ask()--> pending --read()--> processing --write()--> unused

What it does is told where it belongs; the functions there are its methods:

    sending.py      ask, get, send: the left column of the first diagram of kernel.txt
    waiting.py      request_wait_answer: what a signal does to a sender
    background.py   requests for which nobody waits, and how many there may be
    forgets.py      references given back, which are no requests
    pool.py         the requests of 2005
    timeouts.py     an answer that does not come
    resend.py       answers that a new daemon cannot give

and the right column is device_reading.py and device_writing.py. Here is what they all share: the
queues, what both ends have settled, and the two ways in which something ends: `finish` one request,
`abort` everything.

What a daemon has read it must answer on the device from which it was read, so the requests that it
owes stand with the device.

Whoever wants to send something passes a gate first, which INIT opens. An abort ends everything:
whoever waits for an answer gets ECONNABORTED, whoever comes later ENOTCONN, the daemon ENODEV.

Not modelled: callers whose ids have no meaning in the mount's user namespace (EOVERFLOW).

Source: fs/fuse/dev.c, fuse_get_req, __fuse_request_send, fuse_request_end and fuse_abort_conn.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from fusewire.events import Step, note
from fusewire.kernel import background, forgets, sending, statistics
from fusewire.kernel.clock import Clock, StandingClock
from fusewire.kernel.init import Settings, Sysctls
from fusewire.kernel.pool import Pool
from fusewire.kernel.profile import LINUX, Profile
from fusewire.kernel.request import Request
from fusewire.kernel.stages import FINISHED
from fusewire.kernel.tasks import Task
from fusewire.kernel.timeouts import Timer
from fusewire.kernel.violations import MOST, Violation
from fusewire.kernel.waitq import WaitQueue
from fusewire.wire import (
    FUSE_KERNEL_MINOR_VERSION,
    FUSE_MIN_READ_BUFFER,
    OPERATIONS,
    InHeader,
    InitFlags,
    WriteIn,
)

if TYPE_CHECKING:
    from fusewire.kernel.device import Device
    from fusewire.kernel.vfs.open_file import OpenFile
    from fusewire.kernel.vfs.superblock import Superblock

__all__ = ["Connection"]

LONGEST_HEAD: Final = InHeader.SIZE + WriteIn.SIZE  # bytes of a WRITE before its data


class Connection:
    """The queues of one mount.

    `pending` is read first in, first out, `interrupts` before it. `processing` is looked up by
    unique, for replies come in any order. A request is on at most one of the background's queue,
    `pending`, and a device's `io` and `processing`.
    """

    # More than 30 attributes in a dict are found slowly by Python 3.11: slots save a getattr 0.5 us.
    __slots__ = (
        "__weakref__",
        "aborted_with_error",
        "absent",
        "attr_version",
        "background",
        "blocked_waitq",
        "clock",
        "common_minor",
        "connected",
        "devices",
        "epoch",
        "evict_ctr",
        "forgets",
        "hides_ids",
        "initialized",
        "interrupts",
        "khctr",
        "last_unique",
        "least_read",
        "minor",
        "no_interrupt",
        "num_waiting",
        "pending",
        "polled",
        "pool",
        "profile",
        "refused",
        "settings",
        "setxattr_ext",
        "superblock",
        "sysctls",
        "timer",
        "violations",
        "waitq",
        "withheld",
    )

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
        self.withheld = 0  # InitFlags that this kernel knows, and does not offer
        self.settle(Settings(minor=minor))  # until INIT is answered
        # Where a connection is in its life: each changes once.
        self.connected = True
        self.initialized = False  # INIT has been answered, well or badly
        self.refused = False  # badly: every request fails with ECONNREFUSED
        self.aborted_with_error = False  # a read says ECONNABORTED rather than ENODEV
        # The queues.
        self.pool = Pool(self, profile.unused)
        self.blocked_waitq = WaitQueue(profile.gate)  # senders who may not have a request yet
        self.background = background.Background(self)
        self.pending: deque[Request] = deque()
        self.interrupts: deque[Request] = deque()  # of which the daemon is to be told
        self.forgets = forgets.Forgets()
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
        self.hides_ids = self.has(InitFlags.FUSE_ALLOW_IDMAP)  # of callers who make nothing
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

    statistics = statistics.statistics

    # What it does: see the modules.

    ask = sending.ask
    get = sending.get
    send = sending.send
    enqueue = sending.enqueue
    drop = sending.drop
    notify_reply = sending.notify_reply
    ask_background = background.ask_background
    ask_background_gated = background.ask_background_gated
    send_background = background.send_background
    forget = forgets.forget

    def new_unique(self) -> int:
        """Return the number of the next request."""
        self.last_unique += self.profile.unique_step
        return self.last_unique

    # What the devices call.

    @property
    def readable(self) -> bool:
        return bool(self.pending or self.interrupts or self.forgets.queue)

    def queue_interrupt(self, request: Request) -> None:
        """Have a daemon told that the sender of `request` was sent a signal."""
        if self.no_interrupt or request.stage is FINISHED:
            return
        if request not in self.interrupts:
            self.interrupts.append(request)
            note(Step.QUEUE_INTERRUPT, about=request)
            self.waitq.wake()

    def finish(self, request: Request, verb: str, error: int = 0) -> None:
        """End `request` by `verb` with `error` (a positive errno), let its sender go, and drop a reference.

        What has ended already does not end again: one reference is dropped, and that is all.
        """
        if request.stage is not FINISHED:
            request.move(verb)
            if not (request.interrupted and request.given_up):
                request.error = error
            self._ended(request)
        self.drop(request)

    def _ended(self, request: Request) -> None:
        if request.interrupted and request in self.interrupts:
            self.interrupts.remove(request)
        if request.background:
            self.background.ended(request)
        if request._waitq is not None:
            request._waitq.wake()
        if request.end is not None:
            request.end(request)
        if request.unpin is not None:
            request.unpin()
        if request.memory is not None:
            request.memory.free()

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
        if self.timer is not None:
            self.timer.stop()
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
