"""Whether two transcripts agree, and how they are shown side by side if they do not."""

from __future__ import annotations

import textwrap
from collections import Counter
from dataclasses import dataclass
from itertools import zip_longest

from differential.program import Program
from differential.recorder import Request
from differential.rules import FLOATING, RENAMING, steps_of_several
from differential.subjects import SUBJECTS
from differential.transcript import Transcript

__all__ = ["Difference", "compare"]

WIDTH = 96  # columns of each side
ROWS = 6  # requests that are shown before and behind one that differs
DOTS = ("...", "...")
LONG = 300  # characters of a result that are shown


@dataclass(frozen=True, slots=True)
class Difference:
    """Two transcripts of one program, with names in place of numbers, that differ."""

    program: Program
    real: Transcript
    embedded: Transcript

    def differs_at(self, number: int) -> bool:
        return (
            self.real.results[number] != self.embedded.results[number]
            or self.real.requests[number] != self.embedded.requests[number]
            or self.real.end(number) != self.embedded.end(number)
        )

    @property
    def steps(self) -> list[int]:
        """Which steps differ."""
        return [number for number in range(len(self.program.steps)) if self.differs_at(number)]

    @property
    def several_at_once(self) -> bool:
        """Whether more than one process was in a call at some time, as far as Linux is concerned."""
        return bool(steps_of_several(self.real))

    @property
    def kind(self) -> tuple[object, ...]:
        """What sort of difference it is: a program that is shrunk must keep it."""
        number = self.steps[0]
        call = self.program.steps[number].call
        real, embedded = self.real.results[number], self.embedded.results[number]
        if real[0] != embedded[0] or (real != embedded and real[0] != "ok"):
            return call, real[0], str(embedded)
        names = [(a.name if a else "", b.name if b else "") for a, b in self.pairs(number) if a != b]
        return call, real != embedded, names[0] if names else None

    def pairs(self, number: int) -> list[tuple[Request | None, Request | None]]:
        return list(zip_longest(self.real.requests[number], self.embedded.requests[number]))

    def __str__(self) -> str:
        """Return the program with both transcripts side by side; a bar stands where they differ."""
        lines = [f"on {self.program.subject!r}:"]
        for number, step in enumerate(self.program.steps):
            lines.append(f"  {number:3} {step}")
            if self.differs_at(number):
                lines += self.shown(number)
        return "\n".join(lines)

    def shown(self, number: int) -> list[str]:
        rows = [shortened(repr(self.real.results[number]), repr(self.embedded.results[number]))]
        rows += around_differences([(str(a or ""), str(b or "")) for a, b in self.pairs(number)])
        lines = [f"      {'Linux':{WIDTH}} | embedded"]
        for left, right in rows:
            mark = " " if left == right else "|"
            folded = zip_longest(textwrap.wrap(left, WIDTH), textwrap.wrap(right, WIDTH), fillvalue="")
            lines += [f"      {a:{WIDTH}} {mark} {b}" for a, b in folded]
        return lines


def around_differences(rows: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the first rows that differ, and those before and behind them; dots stand for the others."""
    differing = [at for at, (left, right) in enumerate(rows) if left != right][:ROWS]
    near = {at for each in differing for at in range(each - ROWS, each + ROWS) if 0 <= at < len(rows)}
    shown = sorted(near)[: 3 * ROWS]
    found: list[tuple[str, str]] = []
    for at in range(len(rows)):
        if at in shown:
            found.append(rows[at])
        elif not found or found[-1] != DOTS:
            found.append(DOTS)
    return found


def shortened(left: str, right: str) -> tuple[str, str]:
    """Cut two long texts to where they begin to differ."""
    if max(len(left), len(right)) <= LONG:
        return left, right
    same = next((at for at, pair in enumerate(zip(left, right, strict=False)) if pair[0] != pair[1]), len(left))
    start = max(0, same - LONG // 2)
    cut = [text[:20] + f"...[{start}:]" * (start > 20) + text[max(20, start) :][:LONG] for text in (left, right)]
    return f"{cut[0]} ({len(left)} in all)", f"{cut[1]} ({len(right)} in all)"


def compare(program: Program, real: Transcript, embedded: Transcript, fired: Counter[str]) -> Difference | None:
    """Return how they differ, None if they do not; count the rules that were at work in `fired`."""
    subject = SUBJECTS[program.subject]
    for rule in RENAMING:
        renamed = rule.apply(real, subject), rule.apply(embedded, subject)
        fired[rule.name] += renamed != (real, embedded)
        real, embedded = renamed
    if real == embedded:
        return None
    difference = Difference(program, real, embedded)
    for rule in FLOATING:
        floated = rule.apply(real, subject), rule.apply(embedded, subject)
        after = Difference(program, *floated)
        if len(after.steps) < len(difference.steps):
            fired[rule.name] += 1
            difference = after
            real, embedded = floated
        if real == embedded:
            return None
    return difference
