"""Why tasks sleep at the end of a run: in a circle, for a lost wake-up, alone, or because nothing is to be done."""

from __future__ import annotations

from functools import partial

from fusewire.explore.schedule import Setting, expand, run_again
from fusewire.explore.search import explore
from fusewire.explore.stuck import in_deadlock, wait_cycle
from fusewire.kernel.tasks import Task, close
from fusewire.kernel.waitq import WaitQueue


async def nothing() -> None:
    pass


def waiting(**waits: str) -> dict[Task, WaitQueue]:
    """Tasks by name, a letter each; each waits for one of some others."""
    tasks = {name: Task(name, nothing()) for name in waits}
    close(list(tasks.values()))
    holders = {name: [tasks[other] for other in others] for name, others in waits.items()}
    return {task: WaitQueue(name, partial(list, holders[name])) for name, task in tasks.items()}


def names(tasks: object) -> list[str]:
    assert isinstance(tasks, list | set)
    return [task.name for task in tasks]


def test_a_circle_begins_with_the_first_that_is_in_it() -> None:
    assert names(wait_cycle(waiting(a="b", b="c", c="d", d="b"))) == ["b", "c", "d"]
    assert names(wait_cycle(waiting(a="c", b="c", c="a"))) == ["a", "c"]


def test_who_waits_for_one_of_several_is_stuck_if_all_are() -> None:
    assert wait_cycle(waiting(a="bc", b="a", c="")) == []
    assert names(wait_cycle(waiting(a="bc", b="a", c="a"))) == ["a", "b"]
    assert sorted(names(in_deadlock(waiting(a="bc", b="a", c="a", d="")))) == ["a", "b", "c"]


def test_who_waits_for_himself_is_a_circle_of_one_unless_another_could_help() -> None:
    assert names(wait_cycle(waiting(a="a"))) == ["a"]
    assert names(wait_cycle(waiting(a="ab", b="a"))) == ["a", "b"]


def test_in_2005_a_daemon_of_one_thread_waits_for_itself_once_its_caller_was_killed() -> None:
    setting = Setting("simple-deadlock", "seed2005", moments=("kill=rm",))
    (alone,) = (deadlock for deadlock in explore(setting).deadlocks if deadlock.names[0] == "daemon")
    assert alone.words == "daemon waits for the answer to LOOKUP, which daemon would have to read."


def test_who_waits_for_an_answer_of_somebody_who_has_gone_is_left_alone() -> None:
    """One of two threads is killed when it has read the request: the other knows nothing of it, and has the device."""
    setting = Setting("unlink", threads=2, moments=("kill=daemon-1",))
    report = explore(setting, preemptions=1)
    (alone,) = report.alone
    assert alone.words == "rm waits for the answer to UNLINK, which daemon 1 owes."
    assert report.no_way_out == []


def test_a_daemon_that_waits_for_the_next_request_is_at_rest() -> None:
    ending = run_again(Setting("unlink", threads=2).scene, expand("-")).ending
    assert ending.asleep == {"daemon 1": "fc->waitq", "daemon 2": "fc->waitq"}
    assert ending.is_good
