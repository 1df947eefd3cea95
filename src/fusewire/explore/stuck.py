"""How a run ends in which some sleep for ever, and why they do.

When no task can go on, those that are left sleep. Of each we know on which queue, which condition it would
look at if it were woken, and, if the queue can tell, of which tasks one must act first (`holders`).

    a lost wake-up   the condition holds, so it would go on if it only looked
    a deadlock       it waits for tasks, all of which are in the deadlock too
    left alone       it waits for tasks, and they have finished: nobody is left who would act
    at rest          none of these: a daemon that waits for the next request, or one who waits for somebody who
                     waits for that

A deadlock is told as a circle: each waits for the next, the last for the first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import GeneratorType
from typing import Any

from fusewire.events import Step
from fusewire.explore.scene import Scene
from fusewire.kernel.checks.connection import listed
from fusewire.kernel.connection import Connection
from fusewire.kernel.request import Request
from fusewire.kernel.stages import Stage
from fusewire.kernel.tasks import Task
from fusewire.kernel.waitq import WaitQueue

__all__ = ["Ending", "Wait", "asleep_in", "ending", "in_deadlock", "in_words", "wait_cycle", "why"]


@dataclass(frozen=True)
class Wait:
    """A task that sleeps: on what, and who would have to act."""

    task: str
    queue: str
    words: str  # a sentence, without its full stop


@dataclass
class Ending:
    """How a run ended."""

    asleep: dict[str, str] = field(default_factory=dict)  # task: what it sleeps on
    cycle: tuple[Wait, ...] = ()  # a deadlock; the last waits for the first
    lost: tuple[Wait, ...] = ()  # wake-ups
    alone: tuple[Wait, ...] = ()  # who waits for those that have gone

    @property
    def names(self) -> list[str]:
        """The circle as names: task, what it sleeps on, its holder..."""
        return [name for wait in self.cycle for name in (wait.task, wait.queue)]

    @property
    def is_good(self) -> bool:
        return not (self.cycle or self.lost or self.alone)


def asleep_in(scene: Scene) -> dict[Task, WaitQueue]:
    """Return who sleeps, and on what."""
    return {task: queue for task in scene.tasks if (queue := task.asleep_on) is not None}


def ending(scene: Scene) -> Ending:
    """Look at `scene`, in which no task can go on."""
    asleep = asleep_in(scene)
    lost = [task for task in asleep if _would_go_on(task)]
    circle = wait_cycle(asleep) if not lost else []
    alone = [task for task, queue in asleep.items() if task not in lost and _is_alone(task, queue)]
    waits = partial(_waits, scene.connection, asleep)
    return Ending({task.name: queue.name for task, queue in asleep.items()}, waits(circle), waits(lost), waits(alone))


def wait_cycle(asleep: Mapping[Task, WaitQueue]) -> list[Task]:
    """Return a circle of the wait-for graph, [] if there is none: each waits for the next.

    It begins with the one of it that comes first in `asleep`.
    """
    deadlocked = in_deadlock(asleep)
    chain: list[Task] = []
    task = next((task for task in asleep if task in deadlocked), None)
    while task is not None and task not in chain:
        chain.append(task)
        holders = [holder for holder in asleep[task].holders() if holder in deadlocked]
        task = next((holder for holder in holders if holder is not task), task)  # itself, if there is no other
    circle = chain[chain.index(task) :] if task is not None else []
    first = next((place for task in asleep for place, other in enumerate(circle) if other is task), 0)
    return circle[first:] + circle[:first]


def in_deadlock(asleep: Mapping[Task, WaitQueue]) -> set[Task]:
    """Return the tasks that wait for none but each other: any one of its holders may let a task go on."""
    waiting = {task: set(queue.holders()) for task, queue in asleep.items()}
    stuck = set(waiting)
    while free := {task for task in stuck if not waiting[task] or not waiting[task] <= stuck}:
        stuck -= free
    return stuck


def _would_go_on(task: Task) -> bool:
    """Whether what `task` sleeps for has come true, though nobody has woken it."""
    until = _condition(task)
    return until is not None and until()


def _condition(task: Task) -> Callable[[], bool] | None:
    """The `until` of the sleep in which `task` is: of the innermost function that has one."""
    chain: list[Any] = [task.coroutine]
    while chain[-1] is not None:
        is_generator = isinstance(chain[-1], GeneratorType)
        chain.append(chain[-1].gi_yieldfrom if is_generator else getattr(chain[-1], "cr_await", None))
    for awaiting in reversed(chain[:-1]):
        frame = awaiting.gi_frame if isinstance(awaiting, GeneratorType) else getattr(awaiting, "cr_frame", None)
        until = None if frame is None else frame.f_locals.get("until")
        if callable(until):
            return until  # type: ignore[no-any-return]
    return None


def _is_alone(task: Task, queue: WaitQueue) -> bool:
    """Whether it sleeps for something that only those could do who have gone."""
    if queue.on_wake is Step.RELEASE or queue.name == "req->waitq":
        return all(holder.finished for holder in queue.holders())
    return False


# In words.


def why(scene: Scene, task: Task) -> str:
    """Say for what `task` waits, and for what those do for whom it waits."""
    told: list[Task] = []
    waiting, words = [task], list[str]()
    while waiting:
        task = waiting.pop(0)
        queue = task.asleep_on
        if queue is not None and task not in told:
            told.append(task)
            words.append(_wait(scene.connection, task, queue).words)
            waiting += queue.holders()
    return ", and ".join(words)


def _waits(connection: Connection, asleep: Mapping[Task, WaitQueue], tasks: Sequence[Task]) -> tuple[Wait, ...]:
    return tuple(_wait(connection, task, asleep[task]) for task in tasks)


def _wait(connection: Connection, task: Task, queue: WaitQueue) -> Wait:
    return Wait(task.name, queue.name, f"{task.name} waits for {_what(connection, queue)}")


def _what(connection: Connection, queue: WaitQueue) -> str:
    holders = _either([holder.name for holder in queue.holders()])
    request = next((request for request in listed(connection) if request._waitq is queue), None)
    if request is not None:
        return _answer(request, holders)
    if queue is connection.waitq:
        return "something to read"
    if queue.name == "what it awaits":  # of a method (embedded/task_server.py)
        return f"the {holders}" if holders else "something of asyncio that never comes"
    name = f"the {queue.name}" if "semaphore" in queue.name else queue.name
    return f"{name}, which {holders or 'nobody'} holds"


def _answer(request: Request, holders: str) -> str:
    name = request.operation.name
    if request.stage in (Stage.PENDING, Stage.BACKGROUND):
        return f"the answer to {name}, which {holders or 'nobody who is left'} would have to read"
    return f"the answer to {name}, which {holders or 'nobody who is left'} owes"


def _either(names: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def in_words(cycle: Sequence[Wait]) -> str:
    """Return one sentence: each of the circle and for what it waits."""
    return ", and ".join(wait.words for wait in cycle) + "."
