"""What a program did on one kernel: what each step returned, and what the filesystem was asked for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from differential.calls import Result
from differential.recorder import RecordedSession, Request, decoded

__all__ = ["Transcript", "transcribe"]


@dataclass(frozen=True, slots=True)
class Transcript:
    """One entry a step in each list. What a step left to be done in the background is among its own requests.

    `requests` has one entry more, at its beginning: what was sent before the first step.
    """

    results: tuple[Result, ...]
    requests: tuple[tuple[Request, ...], ...]

    def mapped(self, change: Callable[[Request], Request]) -> Transcript:
        """Return it with each request changed, in their order."""
        return replace(self, requests=tuple(tuple(change(each) for each in step) for step in self.requests))

    def count(self) -> int:
        return sum(map(len, self.requests))


def transcribe(session: RecordedSession, results: Sequence[Result], roles: dict[int, str]) -> Transcript:
    """Decode what a session has recorded. `roles` name the program's processes by pid."""
    requests = [decoded(session, message, roles) for message in session.messages]
    bounds = [0, *session.marks]
    return Transcript(tuple(results), tuple(tuple(requests[start:end]) for start, end in pairwise(bounds)))
