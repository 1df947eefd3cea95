"""The search that goes into no state twice finds what the search of every run finds."""

from __future__ import annotations

import multiprocessing

import pytest

from fusewire.explore.depth_first import How, Search
from fusewire.explore.found import ROOT, Found
from fusewire.explore.graph import count_runs
from fusewire.explore.run import Run
from fusewire.explore.scenes import SCENARIOS
from fusewire.explore.schedule import Setting, expand, run_again
from fusewire.explore.search import explore
from fusewire.explore.ways_out import WAYS
from fusewire.explore.workers import Shared

SETTINGS = [
    Setting("forget", "seed2005"),
    Setting("simple-deadlock"),
    Setting("simple-deadlock", "seed2005"),
    pytest.param(Setting("unlink", moments=("abort",)), marks=pytest.mark.stress),
    pytest.param(Setting("simple-deadlock", moments=("abort",)), marks=pytest.mark.stress),
    pytest.param(Setting("unlink", "seed2005", moments=("kill=rm",)), marks=pytest.mark.stress),
]
each_setting = pytest.mark.parametrize("setting", SETTINGS, ids=str)


class Nothing:
    """Has seen no state, so that every run is made."""

    def add(self, state: bytes) -> bool:
        return True


def every_run(setting: Setting, how: How) -> Found:
    search = Search(setting.scene, how, Nothing())
    search.go_on()
    return search.found


@each_setting
def test_it_finds_the_same_states_steps_ends_and_deadlocks_as_every_run(setting: Setting) -> None:
    how = How(check=False)
    full, search = every_run(setting, how), Search(setting.scene, how)
    search.go_on()
    pruned = search.found
    assert full.runs > 100
    assert pruned.runs + pruned.cut < full.runs / 3
    assert pruned.graph == full.graph
    assert pruned.ends == full.ends
    assert pruned.where == full.where
    assert count_runs(pruned.graph, ROOT, pruned.ends) == full.runs


@pytest.mark.parametrize("scenario", ["unlink", "tricky-deadlock"])
@pytest.mark.parametrize("preemptions", [0, 1])
def test_it_finds_the_same_with_a_bound(scenario: str, preemptions: int) -> None:
    setting, how = Setting(scenario), How(preemptions, check=False)
    full, search = every_run(setting, how), Search(setting.scene, how)
    search.go_on()
    assert search.found.graph == full.graph
    assert search.found.where == full.where
    assert count_runs(full.graph, ROOT, full.ends) == full.runs


def test_a_greater_bound_lets_more_runs_be_made_until_it_bounds_nothing() -> None:
    counts = [explore(Setting("unlink"), preemptions=bound, ways_out=()).interleavings for bound in (0, 1, 2, 50, None)]
    assert counts[0] == 2  # who begins, decides it all
    assert counts == sorted(counts, key=lambda count: count or 0)
    assert counts[2] != counts[3] == counts[4]


def test_the_same_steps_lead_to_the_same_state_wherever_it_lies_in_memory() -> None:
    found = [Search(Setting("tricky-deadlock").scene, How(0, check=False)) for _ in range(2)]
    for search in found:
        search.go_on()
    assert found[0].found.graph == found[1].found.graph


@pytest.mark.parametrize("moments", [(), ("abort",)])
def test_several_processes_find_what_one_finds(moments: tuple[str, ...]) -> None:
    setting = Setting("simple-deadlock", moments=moments)
    one, two = explore(setting), explore(setting, processes=2)
    assert (one.interleavings, one.states) == (two.interleavings, two.states)
    assert [str(shown) for shown in one.shown] == [str(shown) for shown in two.shown]


def test_what_one_process_has_seen_is_known_to_the_others() -> None:
    seen, states = Shared(), [bytes([number]) * 16 for number in range(1, 9)]
    child = multiprocessing.get_context("fork").Process(target=lambda: [seen.add(state) for state in states[:4]])
    child.start()
    child.join()
    assert [seen.add(state) for state in states] == [False] * 4 + [True] * 4
    assert not any(seen.add(state) for state in states)
    assert [seen.add(b"longer than a state") for _ in range(2)] == [True, False]


def test_it_makes_every_run_if_told_so() -> None:
    for processes in (1, 2):
        report = explore(Setting("simple-deadlock"), prune=False, processes=processes)
        assert (report.interleavings, report.runs, report.states) == (158, 158, 0)
        assert len(report.deadlocks) == 1


def test_it_stops_when_its_time_is_over_and_says_so() -> None:
    report = explore(Setting("tricky-deadlock", threads=3), seconds=0.2)
    assert not report.complete
    assert report.seconds < 5
    assert "Stopped before the end" in str(report)


# Deadlocks.


def test_the_simple_deadlock_is_the_only_one_of_one_thread() -> None:
    for profile, lock in (("linux", 'inode semaphore for "/"'), ("seed2005", 'inode semaphore for "file"')):
        (deadlock,) = explore(Setting("simple-deadlock", profile)).deadlocks
        assert deadlock.names == ("rm", "req->waitq", "daemon", lock)
        assert deadlock.words == (
            f"rm waits for the answer to UNLINK, which daemon owes, and daemon waits for the {lock}, which rm holds."
        )


def test_the_shortest_way_into_it_makes_no_step_too_many() -> None:
    """As many steps as rm makes until it sleeps, and the daemon until it does: it need not sleep before."""
    (deadlock,) = explore(Setting("simple-deadlock")).deadlocks
    assert deadlock.steps == expand("a6b6")


def test_the_thread_that_makes_the_mistake_may_be_any() -> None:
    report = explore(Setting("simple-deadlock", threads=2), ways_out=())
    assert {deadlock.names[2] for deadlock in report.deadlocks} == {"daemon 1", "daemon 2"}


def test_the_tricky_deadlock_is_found_and_an_abort_ends_it() -> None:
    for profile in ("linux", "seed2005"):
        report = explore(Setting("tricky-deadlock", profile))
        (deadlock,) = report.deadlocks
        assert deadlock.names == ("thread 1", "req->waitq", "thread 2", "page 0")
        assert report.no_way_out == []
        assert (report.interleavings or 0) > 100_000


def test_killing_is_a_way_out_in_2005_and_none_today() -> None:
    for profile, freed in (("seed2005", True), ("linux", False)):
        report = explore(Setting("simple-deadlock", profile), ways_out=tuple(WAYS))
        assert [shown.names[0] for shown in report.no_way_out] == ([] if freed else ["enough kills"])


@pytest.mark.parametrize("moments", [("abort",), ("close",), ("timeout",), ("kill=rm", "interrupt=rm")])
def test_whatever_comes_at_whatever_moment_all_that_must_hold_does(moments: tuple[str, ...]) -> None:
    report = explore(Setting("forget", moments=moments), ways_out=())
    assert report.shown == []
    assert report.complete


def test_an_abort_at_any_moment_ends_the_simple_deadlock_in_every_order() -> None:
    """The run ends with all tasks in whatever order they go on; without the abort it deadlocks."""
    setting = Setting("simple-deadlock", moments=("abort",))
    search = Search(setting.scene, How())
    search.go_on()
    assert [key[0] for key in search.found.where] == ["deadlock"]
    (stuck,) = search.found.where.values()
    assert stuck < search.found.ends
    assert all("A" in search.found.graph[state] for state in stuck)  # there, the abort may still come


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_nothing_in_our_scenarios_hides_what_it_holds(scenario: str) -> None:
    report = explore(Setting(scenario, moments=("abort", "timeout")), preemptions=0, ways_out=())
    assert report.opaque == []


# What is found again.


def test_a_schedule_leads_to_what_it_was_shown_for() -> None:
    setting = Setting("simple-deadlock", "seed2005", threads=2, moments=("kill=rm",))
    for deadlock in explore(setting, preemptions=1, ways_out=()).deadlocks:
        outcome = run_again(setting.scene, deadlock.steps)
        assert outcome.steps == deadlock.steps
        assert tuple(outcome.ending.names) == deadlock.names


def test_nothing_is_left_of_a_run(recwarn: pytest.WarningsRecorder) -> None:
    with Run(Setting("simple-deadlock", moments=("abort", "kill=daemon")).scene) as run:
        run.follow("aab")
    assert all(getattr(task.coroutine, "cr_frame", None) is None for task in (*run.scene.tasks, *run.scene.moments))
