"""What an exploration has come to, as its readers want it: in words, with a schedule for each thing found."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from fusewire.explore.found import Finding
from fusewire.explore.schedule import shorten

__all__ = ["Report", "Shown"]

WIDTH: Final = 80

TITLES: Final = {  # of what is found, in the order in which it is told
    "failure": "Failure",
    "broken": "What must always hold does not",
    "lost wake-up": "Lost wake-up",
    "deadlock": "Deadlock",
    "left alone": "Left alone",
    "no way out": "No way out",
}


@dataclass(frozen=True)
class Shown:
    """Something that was found, and the shortest steps that lead to it."""

    finding: Finding
    steps: str  # one letter each
    setting: str = ""  # what a schedule begins with; '' if it cannot be made by name

    @property
    def words(self) -> str:
        return self.finding.words

    @property
    def names(self) -> tuple[str, ...]:
        """Of a deadlock: a task, what it sleeps on, its holder, and so on round the circle."""
        return self.finding.names

    @property
    def schedule(self) -> str:
        """What makes it happen again."""
        return f"{self.setting}:{shorten(self.steps)}" if self.setting else shorten(self.steps)

    def __str__(self) -> str:
        count = len(self.steps)
        title = f"{TITLES[self.finding.kind]}, after {count} step{'s' if count != 1 else ''}:"
        again = f"  fusewire explain --replay {self.schedule}" if self.setting else f"  schedule: {self.schedule}"
        return "\n".join([title, textwrap.indent(textwrap.fill(self.words, WIDTH - 2), "  "), again])


@dataclass
class Report:
    """All that came of it; `str` of it is what people read."""

    title: str
    interleavings: int | None  # runs there are, made or not; None if some have no end
    states: int  # distinct; 0 if they were not told apart
    runs: int  # that were made
    seconds: float
    shown: list[Shown] = field(default_factory=list)
    checked: bool = True  # what must always hold, after each step
    ways_out: Sequence[str] = ()  # that were tried from every state
    preemptions: int | None = None  # the bound
    opaque: Sequence[str] = ()  # classes that hide what they hold, for which no two states are taken for one
    left: int = 0  # runs that were not made, for time ran out

    def _of(self, kind: str) -> list[Shown]:
        return [shown for shown in self.shown if shown.finding.kind == kind]

    @property
    def deadlocks(self) -> list[Shown]:
        """One for each circle."""
        return self._of("deadlock")

    @property
    def lost(self) -> list[Shown]:
        """Tasks that sleep though what they wait for has come true."""
        return self._of("lost wake-up")

    @property
    def alone(self) -> list[Shown]:
        """Tasks that wait for some who have gone."""
        return self._of("left alone")

    @property
    def broken(self) -> list[Shown]:
        """Rules that do not hold, and exceptions that nobody expects."""
        return self._of("broken")

    @property
    def failures(self) -> list[Shown]:
        """What somebody's own programs, or methods, raised (own_filesystem.py)."""
        return self._of("failure")

    @property
    def no_way_out(self) -> list[Shown]:
        """What is still asleep after each of `ways_out`."""
        return self._of("no way out")

    @property
    def complete(self) -> bool:
        """Whether every run was made, or cut for a reason."""
        return not self.left

    def __str__(self) -> str:
        parts = [self._summary(), *(str(shown) for kind in TITLES for shown in self._of(kind)), self._verdict()]
        return "\n\n".join(filter(None, parts))

    def _summary(self) -> str:
        lines = [
            self.title,
            f"  {self._counted()}",
            f"  {_many(self.runs, 'run')} made to tell, in {self.seconds:.1f} s.",
        ]
        if self.preemptions is not None:
            lines.append(f"  Only such in which a task that could go on is made to wait {_times(self.preemptions)}.")
        if self.opaque:
            lines.append(f"  Cannot see into {', '.join(self.opaque)}: states that have any are all told apart.")
        if self.left:
            lines.append(f"  Stopped before the end: at least {_many(self.left, 'run')} not made.")
        return "\n".join(textwrap.fill(line, WIDTH, subsequent_indent="  ") for line in lines)

    def _counted(self) -> str:
        many = "Endlessly many" if self.interleavings is None else f"{self.interleavings:,}"
        interleavings = f"{'at least ' if self.left else ''}{many} interleaving{'s' * (self.interleavings != 1)}"
        return interleavings + (f" through {self.states:,} distinct states" if self.states else "")

    def _verdict(self) -> str:
        """What was looked for and not found."""
        good = [] if self.deadlocks else ["No deadlock."]
        if not self.lost:
            good.append("No lost wake-up.")
        if self.checked and not self.broken:
            good.append("All that must always hold does, after every step.")
        good += [
            f"From every state there is a way out: after {way} every task ends."
            for way in self.ways_out
            if not any(shown.names[0] == way for shown in self.no_way_out)
        ]
        heading = ["In what was looked at:"] if good and not self.complete else []
        return "\n".join(textwrap.fill(sentence, WIDTH) for sentence in heading + good)


def _many(number: int, noun: str) -> str:
    return f"{number:,} {noun} was" if number == 1 else f"{number:,} {noun}s were"


def _times(number: int) -> str:
    return "never" if not number else "once at most" if number == 1 else f"{number} times at most"
