"""One program on both kernels, and what was found in many."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from differential import embedded
from differential.compare import Difference, compare
from differential.program import Program
from differential.real import Machine
from differential.shrink import shrink

__all__ = ["Comparer", "Findings"]

AGAIN: Final = 3  # times that Linux is asked again where it differs
ORDERS: Final = 8  # that are tried then, of those who may go on at once


@dataclass(slots=True)
class Findings:
    """What one worker, or all of them, have found."""

    programs: int = 0
    requests: int = 0
    differing: int = 0
    either: list[int | None] = field(default_factory=list)  # seeds that differed, but not when either was asked again
    fired: Counter[str] = field(default_factory=Counter)
    kinds: Counter[tuple[object, ...]] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=lambda: {"Linux": 0.0, "embedded": 0.0})

    def add(self, other: Findings) -> None:
        self.programs += other.programs
        self.requests += other.requests
        self.differing += other.differing
        self.either += other.either
        self.fired.update(other.fired)
        self.kinds.update(other.kinds)
        for name, spent in other.seconds.items():
            self.seconds[name] += spent


class Comparer:
    """Runs programs on both kernels. One process has one."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.findings = Findings()

    def difference(self, program: Program) -> Difference | None:
        """Run a program on both; return how they differ."""
        begun = time.perf_counter()
        real = self.machine.run(program)
        between = time.perf_counter()
        ours = embedded.run(program, self.machine.home)
        self.findings.seconds["Linux"] += between - begun
        self.findings.seconds["embedded"] += time.perf_counter() - between
        self.findings.requests += real.count()
        return compare(program, real, ours, self.findings.fired)

    def check(self, program: Program) -> Difference | None:
        """The same, counted; a difference of a new kind is shrunk."""
        self.findings.programs += 1
        found = self.difference(program)
        if found is None:
            return None
        if self.linux_does_either(found) or self.another_order_agrees(found):
            self.findings.either.append(program.seed)
            return None
        self.findings.differing += 1
        self.findings.kinds[found.kind] += 1
        if self.findings.kinds[found.kind] > 1:
            return None
        return self.shrunk(found)

    def linux_does_either(self, found: Difference) -> bool:
        """Whether Linux, asked again, does what the embedded kernel does: memory and its flusher have their moods."""
        ours = embedded.run(found.program, self.machine.home)
        for _ in range(AGAIN):
            if compare(found.program, self.machine.run(found.program), ours, Counter()) is None:
                return True
        return False

    def another_order_agrees(self, found: Difference) -> bool:
        """Whether, where processes wait for each other, we do as Linux if others go on first than those we chose."""
        if not found.several_at_once:
            return False
        real = self.machine.run(found.program)
        return any(
            compare(found.program, real, embedded.run(found.program, self.machine.home, order), Counter()) is None
            for order in range(ORDERS)
        )

    def shrunk(self, found: Difference) -> Difference:
        fired, self.findings.fired = self.findings.fired, Counter()  # what shrinking tries is not counted
        smallest = shrink(found.program, lambda program: self.is_like(found, program))
        again = self.difference(smallest)
        self.findings.fired = fired
        return again or found

    def is_like(self, found: Difference, program: Program) -> bool:
        other = self.difference(program)
        return other is not None and other.kind == found.kind and not self.another_order_agrees(other)
