"""What happened, in order, and who did it: what every diagram is drawn from.

A recording is a list of moments. A moment is one event of one task, when it happened, and, where
somebody looked, what everything was like just afterwards (state.py). Between moments stand remarks:
a heading where something new begins, the words *DEADLOCK* where nobody can go on, a sentence that
explains, and at the end who is dead and who lives.

Tasks have columns, and several may share one, such as the serving threads of a daemon. A task that
has no column of its own stands in the last.

Where a run took place on a real kernel, a moment may be *certain*, seen by a tracepoint for example,
or inferred from what must have come in between.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from fusewire.events import Event

if TYPE_CHECKING:
    from fusewire.diagrams.state import State

__all__ = ["Kind", "Moment", "Recording", "Remark"]

Kind = Literal["heading", "deadlock", "text", "end"]


class Moment(NamedTuple):
    """One event of one task."""

    task: str
    event: Event
    time: float  # seconds since the recording began
    state: State | None = None  # of everything, just after the event; None if nobody looked
    certain: bool = True  # it was seen; else it is inferred


class Remark(NamedTuple):
    """What stands between moments."""

    kind: Kind
    text: str


@dataclass
class Recording:
    """One run, as far as it was watched."""

    title: str
    columns: dict[str, str]  # task -> title of its column, from the left; several may share one
    entries: list[Moment | Remark] = field(default_factory=list)
    observed: bool = False  # on a real kernel
    clock: Callable[[], float] = time.perf_counter
    began: float | None = None  # by that clock, when the first event came
    away: float = 0.0  # seconds that went by with looking, and do not count

    def hear(self, task: str, event: Event, state: State | None = None) -> None:
        """Take down what `task` does at this moment."""
        now = self.clock() - self.away
        if self.began is None:
            self.began = now
        self.entries.append(Moment(task, event, now - self.began, state))

    def say(self, kind: Kind, text: str) -> None:
        """Put a remark after what has happened so far."""
        self.entries.append(Remark(kind, text))

    @property
    def moments(self) -> Iterator[Moment]:
        return (entry for entry in self.entries if isinstance(entry, Moment))

    @property
    def remarks(self) -> Iterator[Remark]:
        return (entry for entry in self.entries if isinstance(entry, Remark))

    @property
    def titles(self) -> list[str]:
        """The titles of the columns, from the left."""
        return list(dict.fromkeys(self.columns.values()))

    def column(self, task: str) -> int:
        """Return the number of the column in which `task` stands."""
        titles = self.titles
        return titles.index(self.columns[task]) if task in self.columns else len(titles) - 1
