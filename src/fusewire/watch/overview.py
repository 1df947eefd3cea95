"""All connections at a glance, again and again: what `fusewire top` shows, as data.

    with Overview() as overview:
        for row in overview.refresh().rows:
            print(row.diagnosis.place, row.diagnosis.state, row.waiting_for)

Each look is compared with the one before, as `diagnose` compares two of its own; so only the first takes longer. As
that does, it touches no mount, and hangs on none. Where tracing is ours to use, requests are counted and timed as they
pass; where not, `Snapshot.untraced` says why, and the figures are missing.

`Row.identity` tells a connection from others that had its number: whoever acts on what he sees must compare it, for
between looking and acting the connection may have ended, and its number be somebody else's (`act_on`).
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Self

from fusewire.watch.connections import Fusectl
from fusewire.watch.diagnose import describe
from fusewire.watch.diagnosis import Diagnosis
from fusewire.watch.look import Look, take
from fusewire.watch.tracefs import NoTracing, Tracing
from fusewire.watch.traffic import TRACEPOINTS, Meter, Traffic
from fusewire.watch.verdict import Verdicts

__all__ = ["Overview", "Row", "Snapshot", "act_on"]

GAP: Final = 0.25  # seconds between the first two looks
READS: Final = 20  # of the trace at one refresh: with more requests than that some are lost, and counted


@dataclass(frozen=True)
class Row:
    """One connection."""

    diagnosis: Diagnosis
    identity: int | None  # of the connection; None if fusectl is not ours to see
    max_background: int | None  # requests for which nobody waits that may be with the daemon at a time
    congestion_threshold: int | None  # of those: with more, writers are slowed down
    traffic: Traffic | None  # None if that could not be measured

    @property
    def number(self) -> int:
        return self.diagnosis.connection

    @property
    def threads(self) -> int:
        """How many threads its daemon has."""
        return sum(server.threads for server in self.diagnosis.servers)

    @property
    def blocked(self) -> int:
        """How many of them wait for something of FUSE."""
        return sum(server.blocked for server in self.diagnosis.servers)

    @property
    def blocked_in(self) -> list[str]:
        """The functions of the kernel in which they wait, most of them first."""
        places = Counter(edge.where for edge in self.diagnosis.edges if edge.serves and edge.where)
        return [place for place, _ in places.most_common()]

    @property
    def here(self) -> str | None:
        """Where it is mounted in our own view; None if nowhere."""
        return next((place for place in self.diagnosis.mountpoints if " (as " not in place), None)

    def as_data(self) -> dict[str, Any]:
        """Return all of it as JSON has it: what the diagnosis has, limits and figures."""
        traffic = self.traffic._asdict() if self.traffic else dict.fromkeys(Traffic._fields)
        return self.diagnosis.as_data() | {
            "max_background": self.max_background,
            "congestion_threshold": self.congestion_threshold,
            "traffic": {name: value if value is None else round(value, 6) for name, value in traffic.items()},
        }


@dataclass(frozen=True)
class Snapshot:
    """All connections at one time."""

    rows: list[Row]
    untraced: str = ""  # a sentence: why there are no figures
    lost: int = 0  # events of the trace that were lost so far: figures are too low
    seconds: float = 0.0  # that the look took

    @property
    def unseen(self) -> tuple[str, ...]:
        """What was not ours to see."""
        return self.rows[0].diagnosis.unseen if self.rows else ()

    @property
    def diagnoses(self) -> dict[int, Diagnosis]:
        return {row.number: row.diagnosis for row in self.rows}


@dataclass
class Overview:
    """Looks at everything, from entering the `with` until it is left."""

    trace: bool = True  # count and time requests, if we may
    untraced: str = "not asked for"
    fusectl: Fusectl = field(init=False)
    tracing: Tracing | None = field(init=False, default=None)
    meter: Meter = field(init=False)
    last: Look | None = field(init=False, default=None)

    def __enter__(self) -> Self:
        self.fusectl = Fusectl()
        self.meter = Meter(time.monotonic())
        if self.trace:
            try:
                self._begin_tracing()
            except NoTracing as error:
                self.untraced = str(error)
        return self

    def _begin_tracing(self) -> None:
        with contextlib.ExitStack() as stack:
            tracing = stack.enter_context(Tracing())
            for tracepoint in TRACEPOINTS:
                tracing.enable(tracepoint)
            self.tracing, self.untraced = tracing, ""
            stack.pop_all()

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Look no more, and leave nothing behind. Idempotent."""
        self.fusectl.close()
        tracing, self.tracing = self.tracing, None
        if tracing is not None:
            tracing.close()

    def refresh(self) -> Snapshot:
        """Look again. Takes some tens of milliseconds, the first time a quarter of a second more."""
        began = time.monotonic()
        self._measure()
        if self.last is None:
            self.last = take(self.fusectl)
            time.sleep(GAP)
        look = take(self.fusectl)
        verdicts = Verdicts(self.last, look)
        self.last = look
        self._measure()
        self.meter.forget_all_but(look.connections)
        rows = [self._row(verdicts, number) for number in sorted(look.connections)]
        return Snapshot(rows, self.untraced, self.tracing.lost if self.tracing else 0, time.monotonic() - began)

    def _measure(self) -> None:
        for _ in range(READS):
            events = self.tracing.read() if self.tracing else []
            if not events:
                break
            self.meter.feed(events)

    def _row(self, verdicts: Verdicts, number: int) -> Row:
        connection = verdicts.look.connections[number]
        return Row(
            diagnosis=describe(verdicts, number),
            identity=self.fusectl.identity(number),
            max_background=connection.max_background,
            congestion_threshold=connection.congestion_threshold,
            traffic=self.meter.traffic(number, time.monotonic()) if self.tracing else None,
        )


@contextlib.contextmanager
def act_on(row: Row) -> Iterator[Fusectl | None]:
    """Give fusectl, holding the connection of a row; None if that has ended, or is not ours to end.

    What is held stays that connection: an abort hits it or nothing.
    """
    with Fusectl() as fusectl:
        held = fusectl.hold(row.number)  # first, and then compare: else it could change in between
        yield fusectl if held and fusectl.identity(row.number) == row.identity else None
