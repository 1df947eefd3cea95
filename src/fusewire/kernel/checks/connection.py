"""What is always true of a connection and its mount, between any two steps.

`check` looks at the lists, the stages and the counters as they are, and at what has changed since it
last looked; then at the mount (mount.py). It is made to be run after each step of a run in
fixed order, and costs too much to be run anywhere else. `check_at_rest` is for when nothing can go on.
`check_transcript` (transcript.py) does the same for what was read and written.

The numbers are those under which the rules stand below; a rule that is broken is an AssertionError
that begins with its number. Some are checked elsewhere, where what they speak of can be seen:

    11, 21, 22, 55-71, 76-86, 88-92, 94-97, 103-118, 120    what a call, or a reply, comes to: by the tests
    72, 73, 75    that memory is touched while the request is locked, and only then: by copying.py itself
    101, 102      of a WRITE, where it is sent (operations/write_pages.py), and before FSYNC

Source: fs/fuse/fuse_i.h, struct fuse_req, and the comments there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from weakref import WeakKeyDictionary

from fusewire.kernel.checks.mount import check_idle, check_mount
from fusewire.kernel.checks.rules import broken, require
from fusewire.kernel.checks.transcript import check_transcript
from fusewire.kernel.connection import Connection
from fusewire.kernel.device import Device
from fusewire.kernel.request import Request
from fusewire.kernel.stages import FINISHED, LOCKED, UNUSED, Stage
from fusewire.wire import FUSE_UNIQUE_RESEND

__all__ = [
    "check",
    "check_at_rest",
    "check_connection",
    "check_idle",
    "check_mount",
    "check_transcript",
    "listed",
    "look_anew",
]

ON_IO: Final = frozenset(
    {Stage.FAULTING_OUT, Stage.COPYING_OUT, Stage.COPYING_IN, Stage.FAULTING_IN, Stage.ABORTED, Stage.LEFT}
)
OWED: Final = frozenset({Stage.PROCESSING, Stage.GIVEN_UP})


@dataclass
class Seen:
    """What a connection was like when it was last looked at."""

    connected: bool
    latches: tuple[bool, ...]
    absent: frozenset[str]
    active: int
    versions: tuple[int, ...]


_seen: WeakKeyDictionary[Connection, Seen] = WeakKeyDictionary()


def check(connection: Connection) -> None:
    """Raise AssertionError if `connection`, or the mount it belongs to, is not as it always must be."""
    check_connection(connection)
    if connection.superblock is not None and connection.superblock.active:
        check_mount(connection.superblock, listed(connection))


def look_anew(connection: Connection) -> None:
    """Forget what `connection` was like when it was last looked at: it has been put back to an earlier state."""
    _seen.pop(connection, None)


def check_connection(connection: Connection) -> None:
    """The same of the connection alone, which costs what is on its lists."""
    _check_lists(connection)
    _check_pending(connection)
    for device in connection.devices:
        _check_device(device)
    _check_interrupts(connection)
    _check_background(connection)
    _check_pool(connection)
    _check_end(connection)
    _check_changes(connection)


def listed(connection: Connection) -> Iterator[Request]:
    """Every request that is on a list."""
    yield from connection.background.queue
    yield from connection.pending
    for device in connection.devices:
        yield from device.io
        yield from device.processing.values()


def _check_lists(connection: Connection) -> None:
    requests = list(listed(connection))
    require(1, len(set(requests)) == len(requests), "a request is on at most one list, and once")
    for request in requests:
        _check_listed(request)
    at_gate = len(connection.blocked_waitq.sleepers) if connection.connected else 0  # else whoever unmounts
    require(16, connection.num_waiting >= len(requests) + at_gate, "`waiting` counts every request, and the gate")
    if not requests and not connection.num_waiting:
        require(17, not connection.background.number, "nothing is under way in the background")


def _check_listed(request: Request) -> None:
    stage, references = request.stage, request.references
    if stage is FINISHED:
        broken(4, f"{request} has finished, and is on no list")
    if references <= 0:
        broken(10, f"{request} is on a list, which refers to it")
    if stage is UNUSED:
        broken(1, f"{request} is on a list, so it was sent")
    if references < 2 and request._waitq is not None and request._waitq.sleepers:
        broken(10, f"{request} is referred to by its list and its sender")


def _check_pool(connection: Connection) -> None:
    pool = connection.pool
    if pool.size is None:
        return
    require(10, len(pool.unused) <= pool.size, "no request is given back twice")
    require(10, all(request.stage is Stage.UNUSED for request in pool.unused), "what is unused has not been sent")
    require(
        16, pool.places >= 0 and pool.debt >= 0 and not (pool.places and pool.debt), "who has a place is not in debt"
    )


def _check_pending(connection: Connection) -> None:
    last = 0
    for request in connection.pending:
        require(2, request.stage is Stage.PENDING, f"{request} is on `pending`")
        if request.operation.name == "NOTIFY_REPLY":  # whose number is the daemon's own
            continue
        require(2, request.unique != 0, f"{request} has a number")
        if not request.unique & FUSE_UNIQUE_RESEND:
            require(15, request.unique > last, f"{request} stands on `pending` in the order of numbers")
            last = request.unique
    for request in connection.background.queue:
        require(1, request.stage is Stage.BACKGROUND, f"{request} is on the background's queue")


def _check_device(device: Device) -> None:
    for unique, request in device.processing.items():
        if request.stage not in OWED or unique != request.unique:
            broken(3, f"{request} is on `processing`")
    for request in device.io:
        if request.stage not in ON_IO:
            broken(5, f"{request} is on `io`")
        if request.stage is Stage.ABORTED and device.connected:
            broken(7, f"{request}: nobody has aborted")
        copier = request.reader if request.stage is Stage.COPYING_OUT else None
        sleeps = copier is not None and copier.asleep_on is not None
        if sleeps:
            broken(72, f"{request} is locked, so who copies it does not sleep")
        if request.stage in LOCKED and request.references < 2 and (request.interrupted or request.error):
            broken(74, f"{request} is locked, so its sender, whose memory it is, does not go for a signal")
    if not device.connected:
        left = all(request.locked or request.stage is Stage.LEFT for request in device.io)
        require(13, not device.processing and left, "a device that is gone keeps what is being copied")


def _check_interrupts(connection: Connection) -> None:
    require(8, len(set(connection.interrupts)) == len(connection.interrupts), "an INTERRUPT is queued once")
    for request in connection.interrupts:
        ours = request.interrupted and request.stage is not Stage.FINISHED
        require(8, ours, f"{request} is on `interrupts`")
        require(9, not request.background, f"{request}: nobody waits for what is in the background")


def _check_background(connection: Connection) -> None:
    background = connection.background
    require(17, background.number == len(background.queue) + background.active, "what is counted is queued or active")
    full = background.active >= background.maximum
    require(19, not background.queue or full or background.raised, "who waits in the background has to")
    require(20, not background.blocked or background.number >= background.maximum, "the gate is blocked by many")
    for request in background.queue:
        require(9, request._waitq is None, f"{request}: nobody waits for what is in the background")
    before = _seen.get(connection)
    if before is not None and background.active > max(before.active, background.maximum):
        require(18, False, "more are handed over than may be active")


def _check_end(connection: Connection) -> None:
    if connection.connected:
        return
    require(12, not connection.pending and not connection.forgets.queue, "after an abort nothing is left to read")
    copied = all(request.locked for request in connection.interrupts)
    require(12, copied, "after an abort only what is being copied may still have an INTERRUPT")


def _check_changes(connection: Connection) -> None:
    now = Seen(
        connection.connected,
        (connection.initialized, connection.refused, connection.no_interrupt),
        frozenset(connection.absent),
        connection.background.active,
        (connection.attr_version, connection.evict_ctr, connection.epoch),
    )
    before = _seen.get(connection, now)
    _seen[connection] = now
    require(14, before.connected or not now.connected, "an abort is final")
    kept = all(new or not old for old, new in zip(before.latches, now.latches, strict=True))
    require(14, kept and before.absent <= now.absent, "what is latched stays latched")
    grown = all(old <= new for old, new in zip(before.versions, now.versions, strict=True))
    require(93, grown, "versions only grow")


def check_at_rest(connection: Connection) -> None:
    """Raise AssertionError if `connection` is not as it must be while no task can go on.

    Then a request is on a list, or somebody copies it, or is at the gate, where nobody waits who may pass.
    """
    background, gate = connection.background, connection.blocked_waitq.sleepers
    if not connection.connected or any(device.io for device in connection.devices):
        return
    known = sum(1 for _ in listed(connection)) + len(gate)
    require(16, connection.num_waiting == known, f"`waiting` is {connection.num_waiting}, and {known} are to be found")
    passable = connection.initialized and connection.pool.has_place and not background.blocked
    require(20, not (gate and passable and not background.number), "whoever may pass the gate has been woken")
