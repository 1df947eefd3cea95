"""How much passes through each connection, how long it takes and how much of it fails.

It is measured from two tracepoints: `fuse_request_send`, where a request is queued, and `fuse_request_end`, where it
is over. The time between the two is what the caller waits: until the daemon reads the request, and until it answers.
What no tracepoint tells of is not counted: FORGET, INTERRUPT, notifications.

Figures are those of the last seconds (`WINDOW`), so that a quiet mount has some, and one that was quick an hour ago
does not look quick today.

    meter = Meter()
    meter.feed(tracing.read(), now)
    meter.traffic(46, now).p99

Source: fs/fuse/dev.c, fuse_send_one and fuse_request_end.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from fusewire.watch.trace_events import RequestEnd, RequestSend, Traced

__all__ = ["TRACEPOINTS", "Meter", "Traffic"]

TRACEPOINTS: Final = ("fuse/fuse_request_send", "fuse/fuse_request_end")

WINDOW: Final = 10.0  # seconds that figures are about
MOST: Final = 20_000  # answers of one connection that are kept; of a busier one the window is shorter
RESENT: Final = 1 << 63  # FUSE_UNIQUE_RESEND: a request that was handed out again is the same one


class Traffic(NamedTuple):
    """What passed through one connection in the last seconds."""

    per_second: float  # requests that were answered
    errors: float | None  # the share of them that failed, 0 to 1; None if there were none
    p50: float | None  # seconds from send to answer: half of them took less
    p99: float | None  # seconds; one of a hundred took more


class Answer(NamedTuple):
    """One request that is over."""

    time: float
    took: float | None  # seconds; None if it was sent before we looked
    failed: bool


@dataclass
class Meter:
    """Takes events of the two tracepoints, and gives figures. Times are those of the trace's clock."""

    began: float = 0.0  # when measuring did
    sent: dict[tuple[int, int], float] = field(default_factory=dict)  # by connection and unique: not answered yet
    answers: dict[int, deque[Answer]] = field(default_factory=dict)  # by connection, the oldest first

    def feed(self, events: Iterable[Traced]) -> None:
        """Take what has happened, in order."""
        for traced in events:
            match traced.event:
                case RequestSend(connection, unique):
                    self.sent[connection, unique & ~RESENT] = traced.time
                case RequestEnd(connection, unique, _, error):
                    self._end(connection, unique & ~RESENT, traced.time, error != 0)

    def _end(self, connection: int, unique: int, time: float, failed: bool) -> None:
        sent = self.sent.pop((connection, unique), None)
        took = None if sent is None else time - sent
        self.answers.setdefault(connection, deque(maxlen=MOST)).append(Answer(time, took, failed))

    def forget_all_but(self, connections: Iterable[int]) -> None:
        """Forget connections that are no more: their numbers will be those of others."""
        left = set(connections)
        self.sent = {key: time for key, time in self.sent.items() if key[0] in left}
        self.answers = {number: answers for number, answers in self.answers.items() if number in left}

    def traffic(self, connection: int, now: float) -> Traffic:
        """Return the figures of one connection for the seconds before `now`."""
        answers = self.answers.get(connection, deque())
        while answers and answers[0].time < now - WINDOW:
            answers.popleft()
        since = answers[0].time if len(answers) == MOST else max(self.began, now - WINDOW)
        times = sorted(answer.took for answer in answers if answer.took is not None)
        return Traffic(
            per_second=len(answers) / max(now - since, 1e-3),
            errors=sum(answer.failed for answer in answers) / len(answers) if answers else None,
            p50=percentile(times, 0.50),
            p99=percentile(times, 0.99),
        )


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """Return the least value that so large a share of them does not exceed; None if there are none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None
