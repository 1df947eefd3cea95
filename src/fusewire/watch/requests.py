"""Requests, put together from what the tracepoints say of them.

    fuse_request_send   it is on fc->pending              by its caller
    sys_exit            a read of the daemon returned     by whoever serves it
    fuse_request_end    it is answered, or aborted        by whoever answered, or aborted

What lies before the read is the *pending* phase, what comes after it *processing*. No tracepoint says which request
was read; but the length of what a read returned is that of a request, and the daemon reads the oldest first. So it is
the oldest of that length that nobody has read, unless whoever answers shows that it was another of the same length.
Where no read was seen (io_uring has none, and the first events of a trace may lack it) only the sum is known.

A request that its caller took back while it was pending, being killed, ends without a word. It is among those
without an answer, and who looks at its caller finds him gone.

Nothing is asked of the system here: events go in, requests come out.

Source: fs/fuse/dev.c, fuse_send_one, fuse_dev_do_read, fuse_request_end, request_wait_answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from fusewire.errors import errno_name
from fusewire.watch.trace_events import RequestEnd, RequestSend, SyscallExit, Traced
from fusewire.wire import OPERATIONS

__all__ = ["FORGOTTEN", "Pairing", "Request", "Who"]

FORGOTTEN: Final = "<...>"  # what the trace has in place of a name
RESENT: Final = 1 << 63  # of a unique: it was sent a second time


class Who(NamedTuple):
    """A thread."""

    tid: int
    pid: int = 0  # of its process; 0 if that is not known
    comm: str = FORGOTTEN  # its name


@dataclass(slots=True)
class Request:
    """One request. Times are in seconds, of the clock of the trace."""

    connection: int
    unique: int
    opcode: int
    length: int  # bytes
    caller: Who
    sent: float
    read: float | None = None
    reader: Who | None = None
    ended: float | None = None
    server: Who | None = None  # who answered, or aborted
    error: int = 0  # an errno, positive; 0 if it succeeded
    reply_length: int = 0  # bytes

    @property
    def operation(self) -> str:
        return operation_name(self.opcode)

    @property
    def error_name(self) -> str:
        """ENOENT, for instance; "" if it succeeded."""
        return errno_name(self.error) if self.error else ""

    @property
    def pending(self) -> float | None:
        """Seconds until the daemon had read it; None if no read was seen."""
        return None if self.read is None else self.read - self.sent

    @property
    def processing(self) -> float | None:
        """Seconds from the read to the answer; None if one of the two was not seen."""
        return None if self.read is None or self.ended is None else max(0.0, self.ended - self.read)

    @property
    def total(self) -> float | None:
        """Seconds until it was over; None if it is not."""
        return None if self.ended is None else self.ended - self.sent

    def age(self, now: float) -> float:
        """Return for how many seconds it has been waiting."""
        return max(0.0, now - self.sent)


def operation_name(opcode: int) -> str:
    """Return the name of an operation; 'opcode 99' if the ABI that we know has none."""
    return OPERATIONS[opcode].name if opcode in OPERATIONS else f"opcode {opcode}"


@dataclass
class Pairing:
    """Events in, requests out."""

    waiting: dict[tuple[int, int], Request] = field(default_factory=dict)  # by connection and unique; the oldest first
    before: int = 0  # so many ended whose beginning was not seen

    def feed(self, traced: Iterable[Traced]) -> Iterator[Request]:
        """Yield the requests that are over by now, in the order in which they ended."""
        for one in traced:
            match one.event:
                case RequestSend() as event:
                    self._send(one, event)
                case SyscallExit(result=result):
                    self._read(one, result)
                case RequestEnd() as event:
                    yield from self._end(one, event)

    def _send(self, one: Traced, event: RequestSend) -> None:
        key = event.connection, event.unique & ~RESENT
        known = self.waiting.get(key)
        if known is not None:  # it was put back, and waits to be read again
            known.read = known.reader = None
            return
        self.waiting[key] = Request(event.connection, key[1], event.opcode, event.length, who(one), one.time)

    def _read(self, one: Traced, length: int) -> None:
        for request in self.waiting.values():
            if request.read is None and request.length == length:
                request.read, request.reader = one.time, who(one)
                return

    def _end(self, one: Traced, event: RequestEnd) -> Iterator[Request]:
        request = self.waiting.pop((event.connection, event.unique & ~RESENT), None)
        if request is None:
            self.before += 1
            return
        self._mend(request, one.tid)
        request.ended, request.server = one.time, who(one)
        request.error, request.reply_length = -event.error, event.length
        yield request

    def _mend(self, request: Request, server: int) -> None:
        """Who answers has read what he answers: where we took that for another of its length, the two change places."""
        if request.reader is not None and request.reader.tid == server:
            return
        for other in self.waiting.values():
            if other.reader is not None and other.reader.tid == server and may_change_places(request, other):
                request.read, other.read = other.read, request.read
                request.reader, other.reader = other.reader, request.reader
                return


def may_change_places(one: Request, other: Request) -> bool:
    """Tell whether the read of each may have been that of the other: none was read before it was sent."""
    in_time = (one.read or other.sent) >= other.sent and (other.read or one.sent) >= one.sent
    return one.length == other.length and in_time


def who(one: Traced) -> Who:
    """Return who ran."""
    return Who(one.tid, one.pid, one.comm)
