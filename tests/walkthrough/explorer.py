"""Every interleaving of a scenario, depth first.

A coroutine cannot be copied, so a state is reached again by running the scenario from its start under the same
*schedule*: one digit a step, the position of the task that makes it. Wherever another task could have gone on, that is
a schedule still to be tried. Tasks asleep at the end are stuck: in a deadlock if each waits for some that are stuck
too; otherwise nobody is left who would wake them, for a wake-up was lost.

As fine as the steps: what runs between two of them is one. Nothing is pruned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fusewire.events import Event
from fusewire.kernel.tasks import Task, close, run
from fusewire.kernel.waitq import WaitQueue

Scenario = Callable[[], Sequence[Task]]  # makes its tasks anew each time


@dataclass
class Outcome:
    """How one run ended."""

    schedule: str = ""  # `replay` with it shows the run again
    asleep: dict[str, str] = field(default_factory=dict)  # task: what it sleeps on
    cycle: list[str] = field(default_factory=list)  # task, what it sleeps on, its holder...
    untried: list[str] = field(default_factory=list)  # schedules that branch off from this one


def explore(scenario: Scenario) -> Iterator[Outcome]:
    """Run `scenario` under every schedule."""
    untried = [""]
    while untried:
        outcome = replay(scenario, untried.pop())
        untried += outcome.untried
        yield outcome


def replay(
    scenario: Scenario, schedule: str, watch: Callable[[Task, Event], None] = lambda task, event: None
) -> Outcome:
    """Run `scenario` as `schedule` says, then in fixed order. An exception carries its schedule."""
    outcome, tasks = Outcome(), scenario()

    def choose(ready: Sequence[Task]) -> Task:
        taken, (task, *others) = outcome.schedule, ready
        if len(taken) < len(schedule):
            task = tasks[int(schedule[len(taken)])]
        else:
            outcome.untried += [f"{taken}{tasks.index(other)}" for other in others]
        outcome.schedule += str(tasks.index(task))
        return task

    try:
        asleep = run(tasks, choose, watch)
        outcome.asleep = {task.name: queue.name for task, queue in asleep.items()}
        outcome.cycle = wait_cycle(asleep)
    except Exception as error:
        error.add_note(f"schedule: {outcome.schedule}")
        raise
    finally:
        close(tasks)
    return outcome


def wait_cycle(asleep: Mapping[Task, WaitQueue]) -> list[str]:
    """Return a circle of the wait-for graph, [] if there is none."""
    deadlocked = in_deadlock(asleep)
    names: list[str] = []
    task = next((task for task in asleep if task in deadlocked), None)
    while task is not None and task.name not in names:
        names += [task.name, asleep[task].name]
        task = asleep[task].holders()[0]
    return names[names.index(task.name) :] if task is not None else []


def in_deadlock(asleep: Mapping[Task, WaitQueue]) -> set[Task]:
    """Return the tasks that wait for none but each other: any one of its holders may let a task go on."""
    waiting = {task: set(queue.holders()) for task, queue in asleep.items()}
    stuck = set(waiting)
    while free := {task for task in stuck if not waiting[task] or not waiting[task] <= stuck}:
        stuck -= free
    return stuck
