"""What was asked, and what was answered: `kernel.requests`.

Both are noted where they are one: a request when it is queued, when it is read and when it is
finished. Of forgets and interrupts there is no request before they are read. It is noted by a
connection of a class of its own, and by the device, so a kernel that keeps no record does nothing more
than it would without this module.

A record is bounded: `most` requests, the last ones, and of each the first `DATA` bytes of data.
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass, field, fields
from typing import Any, Final, NamedTuple

from fusewire.embedded.ledger import Ledger
from fusewire.errors import errno_name
from fusewire.kernel.clock import Clock
from fusewire.kernel.connection import Connection
from fusewire.kernel.request import Request
from fusewire.kernel.stages import Stage
from fusewire.kernel.waitq import WaitQueue
from fusewire.wire import FUSE_INT_REQ_BIT, OPERATIONS, InHeader, Message, decode_request, forgets

__all__ = ["DATA", "Record", "RecordedConnection", "RecordedRequest"]

DATA: Final = 4096  # bytes of data that are kept of a request, and of its reply
UNANSWERED: Final = frozenset(row.name for row in OPERATIONS.values() if row.reply is None)


class Caller(NamedTuple):
    """Whose system call a request is for; all 0 if it is the kernel's own."""

    uid: int
    gid: int
    pid: int


@dataclass(slots=True, eq=False)
class RecordedRequest:
    """One message that the kernel sent, and what became of it. Times are seconds by the kernel's clock."""

    name: str  # such as 'UNLINK'
    unique: int
    nodeid: int
    body: Any  # the struct that followed the header, such as `ReadIn`; None where there is none
    names: tuple[str, ...]
    data: bytes  # what followed it, such as what is to be written: the first `DATA` bytes
    size: int  # all of its bytes
    uid: int  # the caller's; 0 of the kernel's own
    gid: int
    pid: int
    sent: float
    read: float | None = None  # None: not read (yet)
    answered: float | None = None  # None: not answered (yet)
    error: int | None = None  # the errno of its answer, 0 if none; None while there is no answer
    reply: tuple[Any, ...] = ()  # the structs of the answer, such as `EntryOut`
    reply_data: bytes = b""  # what followed them: the first `DATA` bytes
    reply_size: int = 0  # all of its bytes

    def __repr__(self) -> str:
        asked = [f"nodeid={self.nodeid}", *map(repr, self.names), *_shown(self.body)]
        if self.size:
            asked.append(f"{self.size} bytes")
        return f"<{self.name} {' '.join(asked)} for pid {self.pid}, uid {self.uid}: {self._outcome}>"

    @property
    def caller(self) -> Caller:
        """Who is behind it."""
        return Caller(self.uid, self.gid, self.pid)

    @property
    def _outcome(self) -> str:
        if self.error is None:
            return (
                "not read"
                if self.read is None
                else "read"
                if self.name in UNANSWERED or self.unique & FUSE_INT_REQ_BIT
                else "not answered"
            )
        if self.error:
            return errno_name(self.error)
        return f"{self.reply_size} bytes" if self.reply_size else "ok"


def _shown(body: Any) -> list[str]:
    """What is said in a struct, but for zeros."""
    return [] if body is None else [f"{it.name}={value}" for it in fields(body) if (value := getattr(body, it.name))]


@dataclass(slots=True)
class Record:
    """The last requests of one connection, in the order in which they were sent."""

    clock: Clock
    most: int
    requests: deque[RecordedRequest] = field(init=False)
    ledger: Ledger = field(init=False, default_factory=Ledger)
    waitq: WaitQueue = field(init=False, default_factory=lambda: WaitQueue("what the daemon reads and answers"))
    _open: dict[int, RecordedRequest] = field(init=False, default_factory=dict)  # not finished, by unique

    def __post_init__(self) -> None:
        self.requests = deque(maxlen=self.most)

    async def settled(self, connection: Connection, timeout: float) -> None:
        """Sleep until the daemon has read all that was sent, and answered that for which nobody else waits.

        For `timeout` seconds at most.
        """
        deadline = self.clock.now() + timeout
        alarm = self.clock.call_at(deadline, self.waitq.wake_all)
        await self.waitq.sleep(
            until=lambda: not (connection.readable or connection.background.number) or self.clock.now() >= deadline
        )
        alarm.cancel()

    @property
    def unanswered(self) -> list[RecordedRequest]:
        """Those that have been sent, and neither answered nor withdrawn."""
        return list(self._open.values())

    def sent(self, request: Request) -> None:
        """Note a request that has got its number."""
        recorded = RecordedRequest(
            request.operation.name,
            request.unique,
            request.nodeid,
            request.body,
            tuple(map(os.fsdecode, request.names)),
            bytes(request.data[:DATA]),
            len(request.data),
            request.uid,
            request.gid,
            request.pid,
            self.clock.now(),
        )
        self.requests.append(recorded)
        self._open[request.unique] = recorded

    def read(self, message: bytes, minor: int) -> None:
        """Note that a daemon has read `message`; of those that are no requests, that it was sent."""
        recorded = self._open.get(InHeader.unpack_from(message).unique)
        if recorded is None:
            recorded = self._told(decode_request(message, minor))
        recorded.read = self.clock.now()
        if recorded.name in UNANSWERED:
            self._open.pop(recorded.unique, None)
        self._give_back(recorded, message, minor)
        self._tell()

    def _give_back(self, recorded: RecordedRequest, message: bytes, minor: int) -> None:
        if recorded.name in ("FORGET", "BATCH_FORGET"):
            self.ledger.forgot(forgets(decode_request(message, minor)))
        elif recorded.name in ("RELEASE", "RELEASEDIR"):
            self.ledger.released(recorded)

    def _told(self, message: Message) -> RecordedRequest:
        header = message.header
        recorded = RecordedRequest(
            message.operation.name,
            header.unique,
            header.nodeid,
            message.body,
            tuple(map(os.fsdecode, message.names)),
            bytes(message.data),
            len(message.data),
            header.uid,
            header.gid,
            header.pid,
            self.clock.now(),
        )
        self.requests.append(recorded)
        return recorded

    def finished(self, request: Request) -> None:
        """Note how a request has ended."""
        self._tell()
        recorded = self._take(request)
        if recorded is None:
            return
        recorded.answered = self.clock.now()
        reply = request.reply
        if reply is not None:
            recorded.reply, data = reply.structs, reply.data
            recorded.reply_data, recorded.reply_size = bytes(data[:DATA]), len(data)
            self.ledger.answered(recorded, data)

    def dropped(self, request: Request) -> None:
        """Note that nothing more comes of a request: if it has not been finished, it was withdrawn."""
        self._tell()
        self._take(request)

    def _tell(self) -> None:
        """Let those look who wait until all is `settled`."""
        if self.waitq.sleepers:
            self.waitq.wake_all()

    def _take(self, request: Request) -> RecordedRequest | None:
        if request.operation.name in UNANSWERED and not request.error:
            return None  # it is just being read, and has ended by that
        recorded = self._open.pop(request.unique, None)
        if recorded is not None:
            recorded.error = request.error
        return recorded


class RecordedConnection(Connection):
    """Notes what is sent, and how it ends."""

    record: Record

    def enqueue(self, request: Request, unique: int | None = None) -> None:
        super().enqueue(request, unique)
        self.record.sent(request)

    def _ended(self, request: Request) -> None:
        super()._ended(request)
        if request.stage is Stage.FINISHED:
            self.record.finished(request)

    def drop(self, request: Request) -> None:
        super().drop(request)
        if not request.references:
            self.record.dropped(request)
