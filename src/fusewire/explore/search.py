"""Explore a scenario: every interleaving, searched by one process or several, and told in a report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from fusewire.explore.depth_first import How, Search
from fusewire.explore.found import ROOT, Finding, Found, Key
from fusewire.explore.graph import count_runs, length, shortest
from fusewire.explore.report import Report, Shown
from fusewire.explore.rewind import Rewinding
from fusewire.explore.scene import Scenario, SetUpError
from fusewire.explore.schedule import Setting
from fusewire.explore.ways_out import ways_of
from fusewire.explore.workers import search_together
from fusewire.kernel.tasks import close

__all__ = ["explore"]

STATE: Final = 16  # bytes of a state; what follows is of the search with a bound


def explore(
    scenario: Scenario | Setting,
    *,
    preemptions: int | None = None,
    prune: bool = True,
    processes: int = 1,
    check: bool = True,
    ways_out: Sequence[str] | None = None,
    seconds: float = float("inf"),
    title: str = "",
) -> Report:
    """Run `scenario` under every interleaving of its steps; return what there is to tell.

    Args:
        scenario: makes a scene, the same each time; or one of ours, by its name.
        preemptions: how often in a run a task is made to wait that could go on; None: as often as may be.
        prune: go into no state twice. Without it each run is made, and states are not counted.
        processes: how many search at once.
        check: see after every step that all holds that must always hold.
        ways_out: what must end everything from every state, keys of `WAYS`; None: as the profile has it, if
            states are told apart.
        seconds: stop after so many; `Report.left` says whether something was left.
        title: the first line of the report.

    Raises:
        NotThereError: `scenario` is a setting that cannot be made.
    """
    began = time.monotonic()
    make: Scenario = Rewinding(scenario.scene if isinstance(scenario, Setting) else scenario)
    if ways_out is None:
        ways_out = _ways(make) if prune else ()
    how = How(preemptions, prune, check, tuple(ways_out))
    found, left = _search(make, how, processes, began + seconds)
    name = str(scenario) if isinstance(scenario, Setting) else ""
    return Report(
        title=title or name or "every interleaving",
        interleavings=_count(found) if prune and not left else found.runs,
        states=len({state[:STATE] for state in found.states}) if prune else 0,
        runs=found.runs + found.cut,
        seconds=time.monotonic() - began,
        shown=[Shown(finding, steps, name) for finding, steps in shortened(found)],
        checked=check,
        ways_out=how.ways_out,
        preemptions=preemptions,
        left=left,
        opaque=sorted(found.opaque),
    )


def _ways(make: Scenario) -> Sequence[str]:
    """Make the scene once, to see of which profile it is."""
    try:
        scene = make()
    except SetUpError:
        return ()  # which the search tells of
    close([*scene.tasks, *scene.moments])
    return ways_of(scene.connection.profile)


def _search(make: Scenario, how: How, processes: int, until: float) -> tuple[Found, int]:
    if processes > 1:
        found, branches = search_together(make, how, processes, until)
        return found, len(branches)
    search = Search(make, how)
    search.go_on(until)
    return search.found, len(search.branches)


def _count(found: Found) -> int | None:
    return count_runs(found.graph, ROOT, found.ends)


def shortened(found: Found) -> list[tuple[Finding, str]]:
    """Return each finding with the shortest steps that lead to it, the shortest first."""
    paths = shortest(found.graph, ROOT, {state for states in found.where.values() for state in states})

    def best(key: Key, steps: str) -> str:
        return min([steps, *(paths[state] for state in found.where.get(key, ()) if state in paths)], key=length)

    shown = [(finding, best(key, steps)) for key, (finding, steps) in found.findings.items()]
    return sorted(shown, key=lambda each: length(each[1]))
