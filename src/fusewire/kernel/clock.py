"""What time it is, for entries and attributes that expire, and what is to happen at a certain time.

A kernel in fixed order has a clock that stands still until it is told to advance, so that a run
is the same every time; one on threads or asyncio goes by the real one.

An *alarm* is a plain function, to be called at a time: the check for requests that have lasted too
long is one. The standing clock calls it while it is advanced, at exactly its time; the real one
from a thread of its own, which there is only while there are alarms, and under the kernel lock.

Where nothing but time is missing, a kernel in fixed order sets its clock forward to the next alarm. So
an alarm that comes again and again says whether anybody may wait for it (`waited_for`): else time would
run on for ever, and a deadlock never be told.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

__all__ = ["NEVER", "Alarm", "Clock", "MonotonicClock", "StandingClock"]

NEVER: Final = float("inf")  # a deadline that does not come

WaitedFor: TypeAlias = Callable[[], bool]

_numbers = itertools.count()


def always() -> bool:
    return True


@dataclass(order=True, slots=True)
class Alarm:
    """A function to be called at `when`, by the clock that it was given to."""

    when: float
    number: int = field(init=False, default_factory=_numbers.__next__)  # of two at the same time, the older is first
    function: Callable[[], object] = field(compare=False)
    waited_for: WaitedFor = field(compare=False, default=always)
    cancelled: bool = field(init=False, default=False, compare=False)

    def cancel(self) -> None:
        """Have it not be called any more. Idempotent."""
        self.cancelled = True


class Clock(Protocol):
    """Seconds since some moment, and since the epoch."""

    def now(self) -> float:
        """Return seconds that never go backwards: what deadlines are made of."""

    def wall(self) -> int:
        """Return nanoseconds since 1970: what a file's times are made of."""

    def call_at(self, when: float, function: Callable[[], object], waited_for: WaitedFor = always) -> Alarm:
        """Have plain kernel code called when `now()` is `when`, which may be past.

        `waited_for` says whether somebody may be waiting for that.
        """


class Alarms:
    """Those of one clock, the next one first."""

    def __init__(self) -> None:
        self._heap: list[Alarm] = []

    def add(self, alarm: Alarm) -> None:
        heapq.heappush(self._heap, alarm)

    def next(self) -> Alarm | None:
        """Return the next that has not been cancelled; it stays."""
        while self._heap and self._heap[0].cancelled:
            heapq.heappop(self._heap)
        return self._heap[0] if self._heap else None

    def next_waited_for(self) -> float:
        """Return when the next is due for which somebody may wait; NEVER if there is none."""
        return min((alarm.when for alarm in self._heap if not alarm.cancelled and alarm.waited_for()), default=NEVER)

    def take(self) -> Alarm:
        """Take that one away."""
        return heapq.heappop(self._heap)


class StandingClock:
    """A clock that moves when it is told to."""

    def __init__(self, wall: int = 1_000_000_000_000_000_000) -> None:
        self._seconds = 0.0
        self._wall = wall
        self._alarms = Alarms()

    def now(self) -> float:
        return self._seconds

    def wall(self) -> int:
        return self._wall + round(self._seconds * 1e9)

    def call_at(self, when: float, function: Callable[[], object], waited_for: WaitedFor = always) -> Alarm:
        alarm = Alarm(when, function, waited_for)
        self._alarms.add(alarm)
        return alarm

    def next_alarm(self) -> float:
        """Return when the next alarm is due for which somebody may wait; NEVER if there is none."""
        return self._alarms.next_waited_for()

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass, and what is due meanwhile happen."""
        if not 0 <= seconds < NEVER:
            raise ValueError(f"time goes forwards, and not for ever: {seconds} seconds")
        self.advance_to(self._seconds + seconds)

    def advance_to(self, moment: float) -> None:
        """Let time pass until `now()` is `moment`, unless it is past; and what is due meanwhile happen."""
        while (alarm := self._alarms.next()) is not None and alarm.when <= moment:
            self._alarms.take()
            self._seconds = max(self._seconds, alarm.when)
            alarm.function()
        self._seconds = max(self._seconds, moment)


class MonotonicClock:
    """The machine's own clock.

    `ring` is called with the function of an alarm that is due, and calls it: under the kernel lock, if there is one.
    """

    def __init__(self, ring: Callable[[Callable[[], object]], object] = lambda function: function()) -> None:
        self.ring = ring
        self._alarms = Alarms()
        self._changed = threading.Condition()  # guards the alarms, and what follows
        self._thread: threading.Thread | None = None

    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> int:
        return time.time_ns()

    def call_at(self, when: float, function: Callable[[], object], waited_for: WaitedFor = always) -> Alarm:
        alarm = Alarm(when, function, waited_for)
        with self._changed:
            self._alarms.add(alarm)
            if self._thread is None:
                self._thread = threading.Thread(target=self._wait_for_alarms, name="fusewire-clock", daemon=True)
                self._thread.start()
            self._changed.notify()
        return alarm

    def close(self) -> None:
        """Forget the alarms, and wait for the thread, if we are not it."""
        with self._changed:
            self._alarms = Alarms()
            self._changed.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _wait_for_alarms(self) -> None:
        while (alarm := self._next_due()) is not None:
            self.ring(alarm.function)

    def _next_due(self) -> Alarm | None:
        """Wait until one is due, and take it; None, and the thread ends, if there are none left."""
        with self._changed:
            while (alarm := self._alarms.next()) is not None:
                remaining = alarm.when - self.now()
                if remaining <= 0:
                    return self._alarms.take()
                self._changed.wait(remaining)
            self._thread = None
            return None
