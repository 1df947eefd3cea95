"""What a search has found: the states and steps, how runs end, and what is wrong.

Parts of it may be found by several processes; `add` puts them together.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from fusewire.explore.graph import Graph, length

__all__ = ["BROKEN", "ROOT", "UNKNOWN", "Finding", "Found", "Key"]

ROOT: Final = b"root"  # the state in which the scenario begins
BROKEN: Final = b"broken "  # begins what stands for a state in which something does not hold
UNKNOWN: Final = b""  # the state, where states are not told apart

Key: TypeAlias = tuple[str, tuple[str, ...]]


class Finding(NamedTuple):
    """Something that is wrong; those of one kind and the same names are one."""

    kind: str  # 'failure', 'deadlock', 'lost wake-up', 'left alone', 'broken', 'no way out'
    names: tuple[str, ...]  # of a deadlock: task, what it sleeps on, its holder...
    words: str  # a sentence or two

    @property
    def key(self) -> Key:
        return self.kind, self.names


@dataclass
class Found:
    """What came of a search, or of a part of one."""

    runs: int = 0  # made to their end
    cut: int = 0  # made until a state that was seen
    steps: int = 0  # that were new
    graph: Graph = field(default_factory=lambda: defaultdict(dict))
    ends: set[bytes] = field(default_factory=set)  # states in which no task can go on
    opaque: set[str] = field(default_factory=set)  # classes that hide what they hold: states with any are all new
    findings: dict[Key, tuple[Finding, str]] = field(default_factory=dict)  # with the shortest steps to it so far
    where: defaultdict[Key, set[bytes]] = field(default_factory=lambda: defaultdict(set))  # the states that have it

    @property
    def states(self) -> set[bytes]:
        """All states, the first and the last ones included."""
        reached = (state for after in self.graph.values() for state in after.values())
        return {state for state in (ROOT, *reached) if not state.startswith(BROKEN)}

    def note(self, finding: Finding, steps: str, state: bytes) -> None:
        """Keep `finding`, which was met after these steps."""
        known = self.findings.get(finding.key)
        if known is None or length(steps) < length(known[1]):
            self.findings[finding.key] = finding, steps
        if state is not UNKNOWN:
            self.where[finding.key].add(state)

    def add(self, other: Found) -> None:
        """Take in what another part of the search has found."""
        self.runs, self.cut, self.steps = self.runs + other.runs, self.cut + other.cut, self.steps + other.steps
        for state, after in other.graph.items():
            self.graph[state].update(after)
        self.ends |= other.ends
        self.opaque |= other.opaque
        for finding, steps in other.findings.values():
            self.note(finding, steps, UNKNOWN)
        for key, states in other.where.items():
            self.where[key] |= states
