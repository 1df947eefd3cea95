"""Is there a way out? What ends a deadlock, tried from every state that was found.

    abort    the connection is aborted, and everything goes on as far as it can: then every task has ended
    kills    every task is killed, one after the other. A cure of 2005 alone: today a killed sender waits for the
             daemon as it did before

A state is reached again by its schedule; what follows the rescue runs in fixed order. Whoever wants to know of
every order explores the scenario with an abort among the moments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from fusewire.explore.run import Run
from fusewire.explore.scene import Scenario, Scene
from fusewire.kernel.profile import Profile
from fusewire.kernel.tasks import Task

__all__ = ["WAYS", "rescue", "ways_of"]

Rescue: TypeAlias = Callable[[Scene], Iterator[Task]]


def abort(scene: Scene) -> Iterator[Task]:
    async def aborts() -> None:
        scene.connection.abort()

    yield Task("abort", aborts())


def kills(scene: Scene) -> Iterator[Task]:
    async def kills(task: Task) -> None:
        task.kill()

    for task in list(scene.tasks):
        if not task.finished:
            yield Task("kill", kills(task))


WAYS: Final[dict[str, Rescue]] = {"an abort": abort, "enough kills": kills}


def ways_of(profile: Profile) -> tuple[str, ...]:
    """Return what has to end everything, in this profile."""
    return ("an abort",) if profile.interrupts else tuple(WAYS)


def rescue(scenario: Scenario, steps: str, way: str) -> str:
    """Go to the state after `steps` and take `way`; return what is wrong then, or ''."""
    try:
        with Run(scenario) as run:
            run.follow(steps)
            for rescuer in WAYS[way](run.scene):
                rescuer.resume()
                run.go_on()
            left = [f"{task.name} sleeps on {queue.name}" for task in run.scene.tasks if (queue := task.asleep_on)]
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ", ".join(left)
