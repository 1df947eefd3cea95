"""A schedule as a short string, by which a run is made again, step by step:

    simple-deadlock:linux:a6b6
    simple-deadlock:seed2005:threads=2:kill=rm:a5bAb4

First the scenario, its profile, and what else it was made with; last the steps: a letter for who makes them, and
how many at a stretch. `a`, `b`... are the tasks of the scene in their order, `A`, `B`... the moments. No steps at
all are `-`. When they are made, the run goes on in fixed order.

In a string, as on a command line, the name of a task has hyphens in place of spaces.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from fusewire.explore.run import Run, Watch
from fusewire.explore.scene import NotThereError, Scenario, Scene, add_moment
from fusewire.explore.scenes import SCENARIOS
from fusewire.explore.stuck import Ending, ending
from fusewire.kernel.profile import PROFILES
from fusewire.kernel.tasks import close

__all__ = ["Outcome", "Schedule", "Setting", "checked", "expand", "parse", "replay", "run_again", "shorten"]

T = TypeVar("T")

STRETCH: Final = re.compile(r"([A-Za-z])(\d*)")
STEPS: Final = re.compile(rf"(?:{STRETCH.pattern})+|-")
TIMEOUT: Final = 15  # seconds: the least that Linux allows
LONGEST: Final = 100_000  # steps
MOST_THREADS: Final = 9


def shorten(steps: str) -> str:
    """Return steps as they are written: 'aaab' is 'a3b'."""
    stretches = ((letter, len(list(same))) for letter, same in itertools.groupby(steps))
    return "".join(f"{letter}{count if count > 1 else ''}" for letter, count in stretches) or "-"


def expand(text: str) -> str:
    """Return what `shorten` made short.

    Raises:
        ValueError: it is no such text.
    """
    if not STEPS.fullmatch(text):
        raise ValueError(f"'{text}' are no steps: they are letters and numbers, such as a6b3, or - if there are none.")
    stretches = [(letter, int(count or 1)) for letter, count in STRETCH.findall(text)]
    if sum(count for _, count in stretches) > LONGEST:
        raise ValueError(f"'{text}' are more than {LONGEST:,} steps.")
    return "".join(letter * count for letter, count in stretches)


@dataclass(frozen=True)
class Setting:
    """A scenario, and with what it is made."""

    scenario: str
    profile: str = "linux"
    threads: int = 1  # that serve
    moments: tuple[str, ...] = ()  # what may come: 'abort', 'kill=rm'...

    def __str__(self) -> str:
        threads = [f"threads={self.threads}"] if self.threads != 1 else []
        return ":".join([self.scenario, self.profile, *threads, *self.moments])

    def scene(self) -> Scene:
        """Make the scene.

        Raises:
            ValueError: there is no such scenario, profile, task or moment; the text says which there are.
        """
        make = _one_of(SCENARIOS, self.scenario, "scenario")
        profile = _one_of(PROFILES, self.profile, "profile")
        scene = make.scene(profile, self.threads, TIMEOUT if "timeout" in self.moments else 0)
        try:
            for moment in self.moments:
                what, _, name = moment.partition("=")
                add_moment(scene, what, _task_named(scene, name))
        except ValueError:
            close([*scene.tasks, *scene.moments])
            raise
        return scene


def _one_of(table: Mapping[str, T], name: str, kind: str) -> T:
    if name not in table:
        near = difflib.get_close_matches(name, table, n=1)
        guess = f" Did you mean '{near[0]}'?" if near else ""
        raise NotThereError(f"There is no {kind} '{name}', only {', '.join(table)}.{guess}")
    return table[name]


def _task_named(scene: Scene, name: str) -> str:
    """Return the name of the task that is written as `name`."""
    return next((task.name for task in scene.tasks if name == task.name.replace(" ", "-")), name)


@dataclass(frozen=True)
class Schedule:
    """A run of a setting: who makes its steps."""

    setting: Setting
    steps: str

    def __str__(self) -> str:
        return f"{self.setting}:{shorten(self.steps)}"

    def scene(self) -> Scene:
        """Make the scene; errors as `Setting.scene`."""
        return self.setting.scene()


def parse(text: str) -> Schedule:
    """Return the schedule that was printed as `text`.

    Raises:
        ValueError: it is none; the text says why.
    """
    scenario, *parts = text.strip().split(":")
    if len(parts) < 2:
        raise ValueError(
            f"'{text}' is no schedule: it is a scenario, a profile and steps, such as simple-deadlock:linux:a6b6."
        )
    profile, *more, steps = parts
    setting = Setting(scenario, profile, _threads(more), tuple(part for part in more if not _is_threads(part)))
    return Schedule(checked(setting), expand(steps))


def checked(setting: Setting) -> Setting:
    """Return `setting`, if there is such a scene.

    Raises:
        ValueError: there is none; the text says why.
    """
    if not 1 <= setting.threads <= MOST_THREADS:
        raise ValueError(f"There may be 1 to {MOST_THREADS} threads, not {setting.threads}.")
    if len(set(setting.moments)) < len(setting.moments):
        raise ValueError(f"Each of {', '.join(setting.moments)} may come once.")
    scene = setting.scene()
    close([*scene.tasks, *scene.moments])
    return setting


def _is_threads(part: str) -> bool:
    return part.startswith("threads=")


def _threads(parts: list[str]) -> int:
    given = [part.removeprefix("threads=") for part in parts if _is_threads(part)] or ["1"]
    if len(given) > 1 or not given[0].isdecimal():
        raise ValueError(f"'{':'.join(parts)}' does not say once how many threads there are, such as threads=2.")
    return int(given[0])


# A run, made again.


@dataclass
class Outcome:
    """How a run ended."""

    scene: Scene  # whose tasks have been closed; their results are there
    steps: str  # all of them
    ending: Ending


def replay(schedule: Schedule, watch: Watch | None = None) -> Outcome:
    """Make the steps of `schedule`, then go on in fixed order until no task can.

    Args:
        watch: told of each event, with the task whose it is.

    Raises:
        NoSuchStepError: a step cannot be made.
        Exception: a task came upon a mistake, such as an assertion that does not hold.
    """
    return run_again(schedule.scene, schedule.steps, watch)


def run_again(scenario: Scenario, steps: str, watch: Watch | None = None) -> Outcome:
    """The same for any scenario."""
    with Run(scenario, watch) as run:
        run.follow(steps)
        run.go_on()
        return Outcome(run.scene, run.steps, ending(run.scene))
