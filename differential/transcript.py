"""What a program did on one kernel: what each step returned, and what the filesystem was asked for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from differential.calls import Result
from differential.recorder import RecordedSession, Request, decoded
from fusewire.wire import InHeader

__all__ = ["Transcript", "transcribe"]


@dataclass(frozen=True, slots=True)
class Transcript:
    """One entry a step in each list. What a step left to be done in the background is among its own requests."""

    results: tuple[Result, ...]
    requests: tuple[tuple[Request, ...], ...]
    ends: tuple[int, ...] = ()  # in which step the call of each ended; () if each in its own

    def mapped(self, change: Callable[[Request], Request]) -> Transcript:
        """Return it with each request changed, in their order."""
        return replace(self, requests=tuple(tuple(change(each) for each in step) for step in self.requests))

    def count(self) -> int:
        return sum(map(len, self.requests))

    def end(self, number: int) -> int:
        """Return the step in which the call of step `number` ended."""
        return self.ends[number] if self.ends else number


def transcribe(
    session: RecordedSession, results: Sequence[Result], ends: Sequence[int], roles: dict[int, str]
) -> Transcript:
    """Decode what a session has recorded. `roles` name the program's processes by pid."""
    requests = with_names_of_interrupted(session, [decoded(session, message, roles) for message in session.messages])
    bounds = [0, *session.marks]
    steps = tuple(tuple(requests[start:end]) for start, end in pairwise(bounds))
    return Transcript(tuple(results), steps, tuple(ends))


def with_names_of_interrupted(session: RecordedSession, requests: list[Request]) -> list[Request]:
    """Have each INTERRUPT say what it interrupts: a number is known to one kernel alone."""
    if not any(request.name == "INTERRUPT" for request in requests):
        return requests
    uniques = [InHeader.unpack_from(message).unique for message in session.messages]
    known = {unique: f"{it.name} of {it.nodeid} by {it.role}" for unique, it in zip(uniques, requests, strict=True)}
    return [
        replace(it, body=(("unique", known.get(it.get("unique"), "unknown")),)) if it.name == "INTERRUPT" else it
        for it in requests
    ]
