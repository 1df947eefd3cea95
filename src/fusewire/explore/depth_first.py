"""Every interleaving of a scenario, depth first.

A coroutine cannot be copied, so a state is reached again by making the scenario anew and making the same steps.
Wherever somebody else could have gone on, that is a run still to be made:

    follow        the steps that led to where the run branches off; they were looked at when they were new
    step          by the one who has not had this turn yet, then by whoever made the last, as long as he can
    branch off    remember all others who could have made that step
    cut           a state that was seen is not gone into again (fingerprint.py)

What is known afterwards is the graph of all states, from which the number of runs, and the shortest steps to
what was found, are told without making them (graph.py).

`preemptions` bounds how often a task is made to wait that could go on: few are enough for most mistakes. What
may still come of a state depends then on who made the last step and how often that has been, so both belong
to the state.

There is no partial-order reduction. Most steps of a scene touch the same connection, so few pairs of them
commute; and what does commute ends in one state, where one of the two orders is cut.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from fusewire.explore.fingerprint import OPAQUE, fingerprint
from fusewire.explore.found import BROKEN, ROOT, UNKNOWN, Finding, Found
from fusewire.explore.run import Run
from fusewire.explore.scene import NotThereError, Scenario, Scene
from fusewire.explore.stuck import Ending, ending, in_words
from fusewire.explore.ways_out import rescue
from fusewire.kernel.checks.connection import check, check_at_rest, check_connection, check_idle, listed
from fusewire.kernel.connection import Connection
from fusewire.kernel.tasks import Task

__all__ = ["Branch", "How", "Remembered", "Search", "Seen"]


RULE: Final = re.compile(r"\d+(?=: )")  # the number of what always holds (kernel/checks)


@dataclass(frozen=True)
class How:
    """How a scenario is searched."""

    preemptions: int | None = None  # at most so many in a run; None: any number
    prune: bool = True  # states that were seen are not gone into again
    check: bool = True  # after every step, what is always true
    ways_out: tuple[str, ...] = ()  # each of which has to end everything, from every state


class Branch(NamedTuple):
    """A run still to be made: this one could go on after `steps`."""

    steps: str
    state: bytes
    letter: str  # '' at the beginning of all
    preempted: int = 0  # times, this one included


class Seen(Protocol):
    """The states that were seen."""

    def add(self, state: bytes) -> bool:
        """Remember `state`; return whether it is new."""


class Remembered:
    """The same, in this process."""

    def __init__(self) -> None:
        self._states: set[bytes] = set()

    def add(self, state: bytes) -> bool:
        before = len(self._states)
        self._states.add(state)
        return len(self._states) > before


class Search:
    """Goes through a scenario, run by run; `found` is what has come of it so far."""

    def __init__(self, scenario: Scenario, how: How, seen: Seen | None = None) -> None:
        self.scenario = scenario
        self.how = how
        self.seen = seen or Remembered()
        self.found = Found()
        OPAQUE.clear()  # of what others have come upon
        self.branches = [Branch("", ROOT if how.prune else UNKNOWN, "")]  # still to be followed, the last one first

    def go_on(self, until: float = float("inf"), most: float = float("inf")) -> None:
        """Make runs until none are left, or it is `until` by the monotonic clock, or `most` are to be made."""
        while self.branches and len(self.branches) < most:
            self._follow(self.branches.pop())
            if time.monotonic() >= until:
                break
        self.found.opaque |= OPAQUE

    def _follow(self, branch: Branch) -> None:
        """Make one run, to its end or until it is cut; then see what ends it from each new state."""
        fresh: list[tuple[str, bytes]] = []
        run: Run | None = None
        try:
            with Run(self.scenario) as run:
                for letter in branch.steps:
                    run.step(letter)
                if self.how.check:
                    check_connection(run.scene.connection)  # so that what changes from here on is seen to
                fresh += self._fresh(run, branch)
        except NotThereError:
            raise
        except Exception as error:  # in the set-up, or in the clean-up of who is asleep
            self.found.note(broken(error), run.steps if run is not None else "", UNKNOWN)
        for way in self.how.ways_out:
            for steps, state in fresh:
                self._try(way, steps, state)

    def _fresh(self, run: Run, branch: Branch) -> Iterator[tuple[str, bytes]]:
        """Go on as long as what comes is new; yield each state and the steps to it."""
        _, state, letter, preempted = branch
        while True:
            if letter:
                after = self._step(run, state, letter, preempted)
                if after is None:
                    return
                state = after
            yield run.steps, state
            letter = self._branch_off(run, state, preempted)
            if not letter:
                return

    def _step(self, run: Run, state: bytes, letter: str, preempted: int) -> bytes | None:
        """Make a step and look at what it led to; return the state, None if the run need not go on."""
        found, connection = self.found, run.scene.connection
        found.steps += 1
        readers = Readers(connection)
        try:
            run.step(letter)
            if self.how.check:
                check(connection)
                readers.check(run.task(letter))
        except Exception as error:
            self._broken(run, state, letter, error)
            return None
        if not self.how.prune:
            return UNKNOWN
        after = self._state(run, preempted)
        found.graph[state][letter] = after
        if self.seen.add(after):
            return after
        found.cut += 1
        return None

    def _state(self, run: Run, preempted: int) -> bytes:
        scene = run.scene
        state = fingerprint(scene.tasks, scene.moments, scene.mounted)
        if self.how.preemptions is None:
            return state
        last = run.last if run.last in run.ready() else ""
        return state + f"{last}{preempted}".encode()

    def _branch_off(self, run: Run, state: bytes, preempted: int) -> str:
        """Remember who else could make the next step, and return who does: nobody at the end, or if all are cut."""
        ready, to_come = run.ready(), run.to_come()
        if not ready:
            self._end(run, state)
        last_may_go_on = bool(run.last) and ready.startswith(run.last)
        for letter in reversed(ready[1:] + to_come):
            more = preempted + (last_may_go_on and letter in ready)
            if self.how.preemptions is None or more <= self.how.preemptions:
                self.branches.append(Branch(run.steps, state, letter, more))
        return ready[:1]

    # What is wrong.

    def _end(self, run: Run, state: bytes) -> None:
        """See how the run has ended."""
        self.found.runs += 1
        if state is not UNKNOWN:
            self.found.ends.add(state)
        how = ending(run.scene)
        for finding in findings(how):
            self.found.note(finding, run.steps, state)
        if how.is_good:
            try:
                if self.how.check:
                    check_end(run.scene)
                if run.scene.at_end is not None:
                    run.scene.at_end()
            except AssertionError as error:
                self.found.note(broken(error), run.steps, state)

    def _broken(self, run: Run, state: bytes, letter: str, error: Exception) -> None:
        finding = broken(error)
        after = UNKNOWN
        if state is not UNKNOWN:
            after = BROKEN + repr(finding.key).encode()
            self.found.graph[state][letter] = after
        self.found.runs += 1
        self.found.note(finding, run.steps, after)

    def _try(self, way: str, steps: str, state: bytes) -> None:
        wrong = rescue(self.scenario, steps, way)
        if wrong:
            self.found.note(Finding("no way out", (way, wrong), f"After {way}: {wrong}."), steps, state)


def findings(how: Ending) -> list[Finding]:
    """Return what is wrong with the end of a run."""
    found = [Finding("deadlock", tuple(how.names), in_words(how.cycle))] if how.cycle else []
    for kind, waits in (("lost wake-up", how.lost), ("left alone", how.alone)):
        found += [Finding(kind, (wait.task, wait.queue), in_words((wait,))) for wait in waits]
    return found


def broken(error: Exception) -> Finding:
    """Return the finding that `error` came up."""
    text = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
    rule = RULE.match(text)
    return Finding(getattr(error, "kind", "broken"), (rule[0] if rule else text,), text)


class Readers:
    """Those asleep until there is something to read: what is queued wakes one of them.

    A step may wake several, if it queues several forgets; and one more, for what was queued in the step before. A
    reader may have read already what it queued itself, so of readers we cannot tell; nor when a device is closed.
    """

    __slots__ = ("asleep", "connection", "devices", "there")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.asleep, self.devices, self.there = self._now()

    def _now(self) -> tuple[int, int, int]:
        connection = self.connection
        there = len(connection.pending) + len(connection.interrupts) + len(connection.forgets.queue)
        return len(connection.waitq.sleepers), len(connection.devices), there

    def check(self, task: Task) -> None:
        """Raise AssertionError if a step of `task` has woken too many."""
        asleep, devices, there = self._now()
        woken = self.asleep - asleep
        if woken > 1 and self.connection.connected and devices == self.devices and task not in self.connection.readers:
            queued = max(0, there - self.there)
            assert woken <= queued + 1, f"{woken} readers are woken at once, for what one of them will read"


def check_end(scene: Scene) -> None:
    """Raise AssertionError unless all is as it must be when no task can go on, and none is in a system call."""
    connection = scene.connection
    check_at_rest(connection)
    idle = all(task.finished or task.asleep_on is connection.waitq for task in scene.tasks)
    if idle and scene.superblock.active and not any(listed(connection)):
        check_idle(scene.superblock)
