"""What time it is, for entries and attributes that expire, and for requests that may time out.

A kernel in fixed order has a clock that stands still until it is told to advance, so that a run
is the same every time; one on threads or asyncio goes by the real one.
"""

from __future__ import annotations

import time
from typing import Final, Protocol

__all__ = ["NEVER", "Clock", "MonotonicClock", "StandingClock"]

NEVER: Final = float("inf")  # a deadline that does not come


class Clock(Protocol):
    """Seconds since some moment, and since the epoch."""

    def now(self) -> float:
        """Return seconds that never go backwards: what deadlines are made of."""

    def wall(self) -> int:
        """Return nanoseconds since 1970: what a file's times are made of."""


class MonotonicClock:
    """The machine's own clock."""

    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> int:
        return time.time_ns()


class StandingClock:
    """A clock that moves when it is told to."""

    def __init__(self, wall: int = 1_000_000_000_000_000_000) -> None:
        self._seconds = 0.0
        self._wall = wall

    def now(self) -> float:
        return self._seconds

    def wall(self) -> int:
        return self._wall

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        if seconds < 0:
            raise ValueError(f"time does not go backwards: {seconds} seconds")
        self._seconds += seconds
        self._wall += round(seconds * 1e9)
