"""How far one thread has been told: the calls that it is in, and its place on their way.

A fact shows that its thread has come to a certain step of a way (ways.py). The steps before it must have been taken,
so they are told too: as inferred, unless the stack shows that their function was being run. What is optional is told
only where something shows it. When a call returns, what it was in is left, from within.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from fusewire.diagrams.recording import Moment, Recording
from fusewire.events import Event, Step
from fusewire.explain.real.facts import Fact
from fusewire.explain.real.ways import WAYS, Spot

__all__ = ["Request", "Told"]

SCENES: Final = ("UNLINK", "READ")  # the requests that scenes are about


@dataclass
class Request:
    """A request as the trace shows it."""

    unique: int
    operation: str
    length: int  # bytes
    taken: bool = False  # read by the daemon
    interrupted: bool = False

    def __str__(self) -> str:
        return f"{self.operation} {self.unique}"

    @property
    def is_told(self) -> bool:
        """Whether it is drawn step by step."""
        return self.operation in SCENES


@dataclass
class Told:
    """One thread."""

    name: str
    recording: Recording
    way: Sequence[Spot] = ()
    position: int = 0  # of the next step on its way
    open: list[str] = field(default_factory=list)  # the functions that it is in, the outermost first
    holds: bool = False  # the semaphore
    asleep: bool = False
    sent: Request | None = None  # that it waits for
    serves: Request | None = None  # that it has read
    opened: int = -1  # its descriptor of the file that it maps

    def is_in(self, call: str) -> bool:
        return bool(self.open) and self.open[0] == call

    def begin(self, call: str) -> None:
        """It is at the beginning of a call. Nothing is told yet."""
        self.way, self.position, self.open, self.holds = WAYS[call], 0, [], False

    def reach(self, fact: Fact, step: str, name: str = "", detail: str = "", woken: Told | None = None) -> None:
        """Tell that it has come to a step of its way, and what must have been before it."""
        places = [at for at, spot in enumerate(self.way) if spot[:2] == (step, name)]
        ahead = [at for at in places if at >= self.position]
        if ahead:
            self._pass(fact, self.way[self.position : ahead[0]])
            self.position = ahead[0] + 1
        elif places:
            self._enter_again(fact, self.way[: places[0]])
        self.take_down(fact, step, name, detail, woken)

    def _pass(self, fact: Fact, spots: Iterable[Spot]) -> None:
        for spot in spots:
            seen = bool(spot.functions) and fact.passes(*spot.functions)
            if seen or not spot.optional:
                self.take_down(fact._replace(certain=fact.certain and seen), spot.step, spot.name)

    def _enter_again(self, fact: Fact, way: Sequence[Spot]) -> None:
        """A step is taken a second time: tell of the functions that were entered anew for it, as the stack shows."""
        for spot in way:
            if spot.step == Step.CALL and spot.name not in self.open and fact.passes(*spot.functions):
                self.take_down(fact, spot.step, spot.name)

    def leave(self, fact: Fact, detail: str) -> None:
        """Tell that its call returns: what it is in is left, from within; and the call is over."""
        self.close(fact, 1)
        if self.holds and self.open:
            self.take_down(fact._replace(certain=False), Step.RELEASE)
        if self.open:
            self.take_down(fact, Step.RETURN, self.open[0], detail)
        self.way, self.open, self.holds, self.sent = (), [], False, None

    def close(self, fact: Fact, depth: int) -> None:
        """Tell that it leaves all functions but the outermost so many; there is no seeing that."""
        while len(self.open) > depth:
            self.take_down(fact._replace(certain=False), Step.RETURN, self.open[-1])

    def take_down(self, fact: Fact, step: str, name: str = "", detail: str = "", woken: Told | None = None) -> None:
        """Put one step into the recording."""
        if step == Step.CALL:
            self.open.append(name)
        elif step == Step.RETURN and name in self.open:
            self.open.remove(name)
        self.asleep = step == Step.SLEEP or (self.asleep and step == Step.SERVE)
        if woken is not None:
            woken.asleep = False
        if self.recording.began is None:
            self.recording.began = fact.time
        event = Event(step, name, () if woken is None else (woken.name,), Step.WOKEN, detail)
        moment = Moment(self.name, event, max(0.0, fact.time - self.recording.began), None, fact.certain)
        self.recording.entries.append(moment)
