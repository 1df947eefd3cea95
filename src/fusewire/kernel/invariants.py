"""What is always true of a connection and its mount, between any two steps.

`check` looks at the lists, the stages and the counters as they are, and at what has changed since it
last looked. It is made to be run after each step of a run in fixed order, and costs too much to be run
anywhere else. `check_transcript` (transcript.py) does the same for what was read and written.

The numbers are those under which the rules stand below; a rule that is broken is an AssertionError
that begins with its number.

Source: fs/fuse/fuse_i.h, struct fuse_req, and the comments there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from weakref import WeakKeyDictionary

from fusewire.kernel.connection import Connection
from fusewire.kernel.device import Device
from fusewire.kernel.request import Request, Stage
from fusewire.kernel.transcript import check_transcript
from fusewire.kernel.vfs.inode import Inode
from fusewire.kernel.vfs.superblock import Superblock
from fusewire.wire import FUSE_ROOT_ID, FUSE_UNIQUE_RESEND

__all__ = ["check", "check_transcript"]

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
    _check_lists(connection)
    _check_pending(connection)
    for device in connection.devices:
        _check_device(device)
    _check_interrupts(connection)
    _check_background(connection)
    _check_end(connection)
    _check_changes(connection)
    if connection.superblock is not None:
        _check_mount(connection.superblock)


def _require(number: int, holds: bool, text: str) -> None:
    if not holds:
        raise AssertionError(f"{number}: {text}")


def _listed(connection: Connection) -> Iterator[Request]:
    yield from connection.background.queue
    yield from connection.pending
    for device in connection.devices:
        yield from device.io
        yield from device.processing.values()


def _check_lists(connection: Connection) -> None:
    listed = list(_listed(connection))
    _require(1, len(set(listed)) == len(listed), "a request is on at most one list, and once")
    for request in listed:
        _require(4, request.stage is not Stage.FINISHED, f"{request} has finished, and is on no list")
        _require(10, request.references > 0, f"{request} is on a list, which refers to it")
        _require(1, request.stage is not Stage.UNUSED, f"{request} is on a list, so it was sent")
    _require(16, connection.num_waiting >= len(listed), "`waiting` counts every request")
    size = connection.pool.size
    _require(10, size is None or len(connection.unused) <= size, "no request is given back twice")


def _check_pending(connection: Connection) -> None:
    last = 0
    for request in connection.pending:
        _require(2, request.stage is Stage.PENDING and request.unique != 0, f"{request} is on `pending`")
        if request.operation.name != "NOTIFY_REPLY" and not request.unique & FUSE_UNIQUE_RESEND:
            _require(15, request.unique > last, f"{request} stands on `pending` in the order of numbers")
            last = request.unique
    for request in connection.background.queue:
        _require(1, request.stage is Stage.BACKGROUND, f"{request} is on the background's queue")


def _check_device(device: Device) -> None:
    for unique, request in device.processing.items():
        _require(3, request.stage in OWED and unique == request.unique, f"{request} is on `processing`")
    for request in device.io:
        _require(5, request.stage in ON_IO, f"{request} is on `io`")
        _require(7, request.stage is not Stage.ABORTED or not device.connected, f"{request}: nobody has aborted")
    if not device.connected:
        left = all(request.locked or request.stage is Stage.LEFT for request in device.io)
        _require(13, not device.processing and left, "a device that is gone keeps what is being copied")


def _check_interrupts(connection: Connection) -> None:
    _require(8, len(set(connection.interrupts)) == len(connection.interrupts), "an INTERRUPT is queued once")
    for request in connection.interrupts:
        ours = request.interrupted and request.stage is not Stage.FINISHED
        _require(8, ours, f"{request} is on `interrupts`")
        _require(9, not request.background, f"{request}: nobody waits for what is in the background")


def _check_background(connection: Connection) -> None:
    background = connection.background
    _require(17, background.number == len(background.queue) + background.active, "what is counted is queued or active")
    full = background.active >= background.maximum
    _require(19, not background.queue or full or background.raised, "who waits in the background has to")
    _require(20, not background.blocked or background.number >= background.maximum, "the gate is blocked by many")
    for request in background.queue:
        _require(9, request._waitq is None, f"{request}: nobody waits for what is in the background")
    before = _seen.get(connection)
    if before is not None and background.active > max(before.active, background.maximum):
        _require(18, False, "more are handed over than may be active")


def _check_end(connection: Connection) -> None:
    if connection.connected:
        return
    _require(12, not connection.pending and not connection.forgets.queue, "after an abort nothing is left to read")
    copied = all(request.locked for request in connection.interrupts)
    _require(12, copied, "after an abort only what is being copied may still have an INTERRUPT")


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
    _require(14, before.connected or not now.connected, "an abort is final")
    kept = all(new or not old for old, new in zip(before.latches, now.latches, strict=True))
    _require(14, kept and before.absent <= now.absent, "what is latched stays latched")
    grown = all(old <= new for old, new in zip(before.versions, now.versions, strict=True))
    _require(93, grown, "versions only grow")


def _check_mount(superblock: Superblock) -> None:
    for nodeid, inode in superblock.inodes.items():
        _require(45, nodeid == inode.nodeid, f"{inode} is found by its nodeid")
        known = inode.nlookup > 0 or nodeid == FUSE_ROOT_ID
        _require(45, known, f"{inode} is in the table, so the daemon was not told to forget it")
        _require(93, inode.attr_version <= superblock.connection.attr_version, f"{inode} is of a version to come")
        _check_pages(inode)
    _check_io_modes(superblock)


def _check_pages(inode: Inode) -> None:
    if inode.pages is None:
        return
    for index, page in inode.pages.pages.items():
        _require(98, page.index == index and page.cached, f"{inode}: {page} is in its cache")
        _require(98, len(page.data) == 4096, f"{inode}: {page} has the bytes of a page")
        _require(98, page.uptodate or not page.dirty, f"{inode}: {page} is dirty, so it holds something")
        _require(99, page.locked or page.locker is None, f"{inode}: {page} is locked by whoever locked it")


def _check_io_modes(superblock: Superblock) -> None:
    """Who is known to use the page cache of an inode is counted there."""
    cached: dict[Inode, int] = {}
    files = {file for process in superblock.system.processes.values() for file in process.files.values()}
    for file in files:
        if file.cached_reference and file.inode.superblock is superblock:
            cached[file.inode] = cached.get(file.inode, 0) + 1
    for inode, users in cached.items():
        _require(23, inode.iocachectr >= users, f"{inode} has {users} users of its page cache")
