"""A run as a recording, of which diagrams are drawn: each task has its column, and moments stand between the rows.

Where the run ends because nobody can go on, the recording says so, and why.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fusewire.diagrams.recording import Recording
from fusewire.diagrams.state import State
from fusewire.explore.found import Finding
from fusewire.explore.run import NoSuchStepError, Run
from fusewire.explore.scene import Scenario, Scene
from fusewire.explore.stuck import Ending, ending, in_words
from fusewire.explore.ways_out import WAYS

__all__ = ["record", "record_finding"]

MOST_COLUMNS: Final = 3  # that 80 characters have room for; the tasks that are left share the last


def record(
    scenario: Scenario,
    steps: str,
    *,
    title: str = "",
    look: Callable[[Scene], State] | None = None,
    then: str = "",
) -> Recording:
    """Make these steps, and go on in fixed order until nobody can; return what happened.

    Args:
        look: sees after each event what everything is like (diagrams/state.py).
        then: what comes after that, a key of `WAYS`; or the words with which the run stops after its steps.

    Raises:
        NoSuchStepError: a step cannot be made.
    """
    recording = Recording(title, {})
    run = Run(scenario, lambda task, event: recording.hear(task.name, event, look(run.scene) if look else None))
    recording.columns = columns(run.scene)
    try:
        with run:
            _follow(run, steps, recording)
            if then and then not in WAYS:
                recording.say("end", then)
                return recording
            run.go_on()
            _say_how_it_ended(ending(run.scene), recording)
            if then:
                _take(run, then, recording)
    except NoSuchStepError:
        raise
    except Exception as error:  # a mistake, which is what there is to see
        recording.say("end", f"{type(error).__name__}: {error}")
    return recording


def record_finding(
    scenario: Scenario, steps: str, finding: Finding, look: Callable[[Scene], State] | None = None
) -> Recording:
    """Return the run that shows `finding`, which was met after these steps."""
    then = {"no way out": finding.names[0], "broken": finding.words}.get(finding.kind, "")
    return record(scenario, steps, look=look, then=then)


def columns(scene: Scene) -> dict[str, str]:
    """Return the title of each task's column."""
    names = [task.name for task in scene.tasks]
    shared = ", ".join(names[MOST_COLUMNS - 1 :])
    return {name: name if place < MOST_COLUMNS - 1 else shared for place, name in enumerate(names)}


def _follow(run: Run, steps: str, recording: Recording) -> None:
    for letter in steps:
        if letter.isupper() and letter in run.to_come():
            recording.say("text", f"At this moment: {run.task(letter).name}.")
        run.follow(letter)


def _say_how_it_ended(how: Ending, recording: Recording) -> None:
    if how.cycle:
        recording.say("deadlock", in_words(how.cycle))
    for kind, waits in (("A lost wake-up", how.lost), ("Left alone", how.alone)):
        for wait in waits:
            recording.say("text", f"{kind}: {in_words((wait,))}")


def _take(run: Run, way: str, recording: Recording) -> None:
    recording.say("heading", f"After {way}")
    for rescuer in WAYS[way](run.scene):
        rescuer.resume()
        run.go_on()
    left = [task.name for task in run.scene.tasks if not task.finished]
    recording.say("end", f"{', '.join(left)} did not end." if left else "Every task has ended.")
