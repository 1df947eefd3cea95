"""Requests for other programs: a line of JSON each, and a file for ui.perfetto.dev or chrome://tracing.

In that file every thread has a track: on its caller's a request lasts from when it was sent until it was over, on its
server's from when it was read; an arrow leads from the one to the other. What lasts on one track may lie within
another, but not cross it. So where a thread has several requests under way, as one that reads ahead has, the track has
lanes.

Source: the Trace Event Format of Chromium's catapult, "JSON Array Format": its `]` may be missing, so that
a file is good whenever we are ended.
"""

from __future__ import annotations

import json
from collections import deque
from typing import Any, Final, TextIO

from fusewire.watch.latencies import in_us
from fusewire.watch.requests import Request, Who

__all__ = ["Perfetto", "as_data"]

REMEMBERED: Final = 256  # spans of a lane: what began before those has ended long ago
LANES: Final = 1 << 23  # numbers from here on are no thread's: PID_MAX_LIMIT is half of that


def as_data(request: Request, epoch: float = 0.0) -> dict[str, Any]:
    """Return all that is known of a request; `epoch` is when the clock of the trace was 0, as time.time() counts."""
    return {
        "time": round(epoch + request.sent, 6),
        "connection": request.connection,
        "unique": request.unique,
        "operation": request.operation,
        "caller": request.caller._asdict(),
        "pending_us": in_us(request.pending),
        "processing_us": in_us(request.processing),
        "total_us": in_us(request.total),
        "error": request.error_name or None,
        "bytes_sent": request.length,
        "bytes_replied": request.reply_length if request.ended is not None else None,
        "server": request.server._asdict() if request.server else None,
    }


class Lane:
    """A row of spans none of which crosses another."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.spans: deque[tuple[float, float]] = deque(maxlen=REMEMBERED)

    def takes(self, begin: float, end: float) -> bool:
        """Tell whether there is room for a span."""
        return all(
            end <= start or begin >= stop or (begin <= start and end >= stop) or (begin >= start and end <= stop)
            for start, stop in self.spans
        )


class Perfetto:
    """Writes the file, request by request."""

    def __init__(self, file: TextIO) -> None:
        self.file = file
        self.lanes: dict[Who, list[Lane]] = {}
        self.named: set[tuple[str, int]] = set()
        self.extra = LANES  # the number of the next lane that is not a thread's first
        self.flows = 0
        file.write("[")
        self.first = True

    def add(self, request: Request) -> None:
        """Write one request that is over."""
        if request.ended is None:
            return
        caller = self._span(request.caller, request, request.sent)
        if request.read is not None and request.reader is not None:
            server = self._span(request.reader, request, request.read)
            self.flows += 1
            flow = {"cat": "fuse", "name": "read", "id": self.flows}
            self._write({"ph": "s", **flow, **caller})
            self._write({"ph": "f", "bp": "e", **flow, **server})

    def close(self) -> None:
        """Write the end."""
        self.file.write("\n]\n")
        self.file.flush()

    def _span(self, who: Who, request: Request, begin: float) -> dict[str, Any]:
        """Write that a request is with somebody from `begin` to its end; return where that stands."""
        assert request.ended is not None
        lane = self._lane(who, begin, request.ended)
        lane.spans.append((begin, request.ended))
        self._name(who)
        place = {"pid": who.pid or who.tid, "tid": lane.number, "ts": round(begin * 1e6, 3)}
        name = f"{request.operation} {request.error_name}".rstrip()
        lasts = round((request.ended - begin) * 1e6, 3)
        self._write({"ph": "X", "cat": "fuse", "name": name, **place, "dur": lasts, "args": as_data(request)})
        return place

    def _lane(self, who: Who, begin: float, end: float) -> Lane:
        who = who._replace(comm="")  # names change
        lanes = self.lanes.setdefault(who, [])
        found = next((lane for lane in lanes if lane.takes(begin, end)), None)
        if found is None:
            found = Lane(self.extra if lanes else who.tid)
            self.extra += bool(lanes)
            lanes.append(found)
        return found

    def _name(self, who: Who) -> None:
        """Write what a thread is called, and its process, where that is not written yet."""
        pid, lanes = who.pid or who.tid, self.lanes[who._replace(comm="")]
        self._write_name("process_name", pid, pid, who.comm)
        for count, lane in enumerate(lanes, 1):
            self._write_name("thread_name", pid, lane.number, who.comm if count == 1 else f"{who.comm} ({count})")

    def _write_name(self, kind: str, pid: int, tid: int, name: str) -> None:
        if (kind, tid) not in self.named:
            self.named.add((kind, tid))
            self._write({"ph": "M", "name": kind, "pid": pid, "tid": tid, "args": {"name": name}})

    def _write(self, event: dict[str, Any]) -> None:
        self.file.write("\n" if self.first else ",\n")
        self.first = False
        json.dump(event, self.file)
