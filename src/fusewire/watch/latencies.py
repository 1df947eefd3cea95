"""How long things took, counted in little memory; and what people want to know of requests.

A trace may run for hours, so times are not kept but counted: in buckets each of which is a sixteenth of a power of two
wide. A percentile that comes from these is too high by at most a sixteenth (6 %), and never above the longest. Times
are whole microseconds.

`Statistics` has such counts for each operation, of the pending phase, of processing and of both together; the errors;
and who called.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from fusewire.watch.requests import Request

__all__ = ["Latencies", "OperationStatistics", "Statistics"]

STEPS: Final = 16  # buckets for each doubling
PERCENTILES: Final = (50, 90, 99)
MOST_CALLERS: Final = 10_000  # processes that are kept apart; of more, those who called least are forgotten


def bucket_of(value: int) -> int:
    """Return the number of the bucket of so many microseconds."""
    doublings = max(0, value.bit_length() - 5)
    return doublings * STEPS + (value >> doublings)


def end_of(bucket: int) -> int:
    """Return the longest time, in microseconds, that falls into a bucket."""
    doublings = max(0, bucket // STEPS - 1)
    return ((bucket - doublings * STEPS + 1) << doublings) - 1


@dataclass
class Latencies:
    """Some times, as far as they are remembered."""

    counts: Counter[int] = field(default_factory=Counter)  # by bucket
    count: int = 0
    total: float = 0.0  # seconds
    longest: float = 0.0  # seconds

    def add(self, seconds: float) -> None:
        """Count one more."""
        self.counts[bucket_of(round(max(0.0, seconds) * 1e6))] += 1
        self.count += 1
        self.total += seconds
        self.longest = max(self.longest, seconds)

    def percentile(self, percent: float) -> float | None:
        """Return the seconds within which so many percent of them lie; None if there are none."""
        left = self.count * percent / 100
        for bucket in sorted(self.counts):
            left -= self.counts[bucket]
            if left <= 1e-9:
                return min(end_of(bucket) / 1e6, self.longest)
        return None

    def by_doubling(self) -> dict[int, int]:
        """Return how many took less than 2**n microseconds, and not less than half of that, by n; none left out."""
        found: Counter[int] = Counter()
        for bucket, count in self.counts.items():
            found[end_of(bucket).bit_length()] += count
        return {power: found[power] for power in range(min(found), max(found) + 1)} if found else {}

    def as_data(self) -> dict[str, object]:
        """Return what there is to know, in microseconds."""
        percentiles = {f"p{percent}": in_us(self.percentile(percent)) for percent in PERCENTILES}
        mean = in_us(self.total / self.count) if self.count else None
        histogram = {str(1 << power): count for power, count in self.by_doubling().items()}
        return {
            "count": self.count,
            "mean_us": mean,
            **{f"{name}_us": value for name, value in percentiles.items()},
            "max_us": in_us(self.longest) if self.count else None,
            "less_than_us": histogram,
        }


def in_us(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1e6, 1)


@dataclass
class OperationStatistics:
    """The requests of one operation."""

    total: Latencies = field(default_factory=Latencies)
    pending: Latencies = field(default_factory=Latencies)
    processing: Latencies = field(default_factory=Latencies)
    errors: Counter[str] = field(default_factory=Counter)  # by name
    bytes_sent: int = 0
    bytes_replied: int = 0

    def add(self, request: Request) -> None:
        """Count one request that is over."""
        phases = (self.total, request.total), (self.pending, request.pending), (self.processing, request.processing)
        for latencies, seconds in phases:
            if seconds is not None:
                latencies.add(seconds)
        if request.error:
            self.errors[request.error_name] += 1
        self.bytes_sent += request.length
        self.bytes_replied += request.reply_length

    def as_data(self) -> dict[str, object]:
        """Return all of it, for JSON."""
        return {
            "total": self.total.as_data(),
            "pending": self.pending.as_data(),
            "processing": self.processing.as_data(),
            "errors": dict(self.errors),
            "bytes_sent": self.bytes_sent,
            "bytes_replied": self.bytes_replied,
        }


class Caller(NamedTuple):
    """What one process has asked for."""

    comm: str
    pid: int
    requests: int
    waited: float  # seconds


@dataclass
class Statistics:
    """All requests that are over."""

    operations: dict[str, OperationStatistics] = field(default_factory=dict)
    callers: dict[tuple[str, int], Caller] = field(default_factory=dict)  # by name and pid

    @property
    def count(self) -> int:
        return sum(one.total.count for one in self.operations.values())

    @property
    def error_count(self) -> int:
        return sum(one.errors.total() for one in self.operations.values())

    def add(self, request: Request) -> None:
        """Count one request that is over."""
        self.operations.setdefault(request.operation, OperationStatistics()).add(request)
        key = request.caller.comm, request.caller.pid or request.caller.tid
        caller = self.callers.get(key) or Caller(*key, 0, 0.0)
        self.callers[key] = caller._replace(requests=caller.requests + 1, waited=caller.waited + (request.total or 0.0))
        if len(self.callers) > MOST_CALLERS:
            self.callers = {(one.comm, one.pid): one for one in self.top_callers(MOST_CALLERS // 2)}

    def by_count(self) -> list[tuple[str, OperationStatistics]]:
        """Return the operations, the most frequent first."""
        return sorted(self.operations.items(), key=lambda item: (-item[1].total.count, item[0]))

    def top_callers(self, most: int = 10) -> list[Caller]:
        """Return those who called most."""
        return sorted(self.callers.values(), key=lambda one: (-one.requests, one.comm, one.pid))[:most]

    def as_data(self) -> dict[str, object]:
        """Return all of it, for JSON."""
        callers = [
            {"comm": one.comm, "pid": one.pid, "count": one.requests, "waited_us": in_us(one.waited)}
            for one in self.top_callers()
        ]
        return {
            "count": self.count,
            "errors": self.error_count,
            "operations": {name: one.as_data() for name, one in self.by_count()},
            "top_callers": callers,
        }
