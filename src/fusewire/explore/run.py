"""One run of a scene, step by step, each by whom one likes.

A *step* is what a task does between two traps (kernel/tasks.py): what lies between two places where Linux
could let another task run. So a run is told by who made its steps, and that is all that a schedule says: one
letter for each. Tasks are `a`, `b`, `c`... in the order of the scene, moments `A`, `B`, `C`...

A moment that has not come yet may come before any step, or never; so a run is at its end when no *task* can
go on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from types import TracebackType
from typing import Final, TypeAlias

from fusewire import events
from fusewire.events import Event
from fusewire.explore.scene import Scenario
from fusewire.kernel.tasks import Task, close, current

__all__ = ["NoSuchStepError", "Run", "Watch"]

Watch: TypeAlias = Callable[[Task, Event], None]

FIRST_TASK: Final = ord("a")
FIRST_MOMENT: Final = ord("A")
MOST_STEPS: Final = 3_000  # of a run; the longest of ours has some hundred
TASKS: Final = tuple(map(chr, range(FIRST_TASK, FIRST_TASK + 26)))


class NoSuchStepError(ValueError):
    """The one who is to make a step is not there, or cannot go on."""


class Run:
    """A scene on its way; to be used in a `with`, which ends what is left of its tasks.

    Ending them raises what their clean-up raises, unless something else is wrong already.

    No two at a time: there is one hook for all events. Set-up of a scene is not watched, so it is done before.
    """

    __slots__ = ("last", "said", "scene", "steps", "watch")

    def __init__(self, scenario: Scenario, watch: Watch | None = None) -> None:
        self.scene = scenario()
        self.watch = watch
        self.steps = ""  # made so far
        self.last = ""  # who made the last one of them that was no moment
        self.said = ""  # the last event, where it counts what it is

    def __enter__(self) -> Run:
        events.hook = events.unheard if self.watch is None and self.scene.stops is None else self._tell
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        events.hook = None
        wrong = list(filter(None, map(closed, [*self.scene.tasks, *self.scene.moments])))
        if self.scene.put_away is not None:
            self.scene.put_away()
        if wrong and error is None:
            raise wrong[0]

    def _tell(self, event: Event) -> None:
        self.said = event.step
        if self.watch is not None:
            self.watch(current(), event)

    def ready(self) -> str:
        """Return who can go on: the one that made the last step first, then the tasks in their order."""
        ready = [letter for letter, task in zip(TASKS, self.scene.tasks, strict=False) if can_go_on(task)]
        if self.last in ready:
            ready.remove(self.last)
            ready.insert(0, self.last)
        return "".join(ready)

    def to_come(self) -> str:
        """Return the moments that have not come yet."""
        return "".join(chr(FIRST_MOMENT + i) for i, moment in enumerate(self.scene.moments) if not moment.finished)

    def task(self, letter: str) -> Task:
        """Return whose steps are written as `letter`.

        Raises:
            IndexError: nobody's.
        """
        if letter >= "a":
            return self.scene.tasks[ord(letter) - FIRST_TASK]
        return self.scene.moments[ord(letter) - FIRST_MOMENT]

    def step(self, letter: str) -> None:
        """Let the one of this letter make a step.

        Raises:
            Exception: what is no outcome of a system call but a mistake, such as an assertion; or a run without end.
        """
        self.steps += letter
        if len(self.steps) > MOST_STEPS:
            raise AssertionError(f"after {MOST_STEPS:,} steps the run has not ended: does somebody wait in a loop?")
        if letter >= "a":
            self.last = letter
            task = self.scene.tasks[ord(letter) - FIRST_TASK]
            task.resume()
            if self.scene.stops is not None:
                self._go_on_to_a_stop(task, self.scene.stops)
        else:
            if self.last and not can_go_on(self.task(self.last)):
                self.last = ""  # it had come to rest by itself; should the moment wake it, others may go on as well
            self.scene.moments[ord(letter) - FIRST_MOMENT].resume()

    def _go_on_to_a_stop(self, task: Task, stops: Collection[str]) -> None:
        while can_go_on(task) and self.said not in stops:
            task.resume()

    def follow(self, steps: str) -> None:
        """Make these steps.

        Raises:
            NoSuchStepError: one of them cannot be made; the text says which.
            Exception: as `step`.
        """
        for letter in steps:
            self._check(letter)
            self.step(letter)

    def _check(self, letter: str) -> None:
        number = len(self.steps) + 1
        try:
            task = self.task(letter)
        except IndexError:
            raise NoSuchStepError(f"Step {number} is by '{letter}', who is not there: {self._who()}.") from None
        if not can_go_on(task):
            why = "has finished" if task.finished else "sleeps"
            raise NoSuchStepError(f"Step {number} is by '{letter}', {task.name}, who {why} then.")

    def _who(self) -> str:
        both = [*zip(TASKS, self.scene.tasks, strict=False)]
        both += [(chr(FIRST_MOMENT + i), moment) for i, moment in enumerate(self.scene.moments)]
        return ", ".join(f"'{letter}' is {task.name}" for letter, task in both)

    def go_on(self) -> None:
        """Go on in fixed order until no task can; errors as `step`."""
        while ready := self.ready():
            self.step(ready[0])


def closed(task: Task) -> Exception | None:
    """End what is left of `task`; return what its clean-up raised."""
    try:
        close([task])
    except Exception as error:
        return error
    return None


def can_go_on(task: Task) -> bool:
    """What `Task.ready` says, in half the time."""
    trapped = task.trapped
    return not task.finished and (trapped is None or task not in trapped.sleepers)
