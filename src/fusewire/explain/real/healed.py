"""Scenario 1 on a real kernel, and its mildest cure: fusewire.watch finds it, and frees it by surgery.

What `fusewire doctor --fix` would do to any mount is done to this one. The daemon lives, and the mount goes on: that
is seen by a process that lists it.
"""

from __future__ import annotations

import subprocess
from typing import Final

from fusewire.explain.real.namespace import CannotStage
from fusewire.explain.real.simple import hang, set_the_stage
from fusewire.explain.real.stage import Stage
from fusewire.explain.real.theatre import Theatre, in_words
from fusewire.watch import Diagnosis, cure, diagnose
from fusewire.watch.words import headline, sentence

__all__ = ["play"]

PATIENCE: Final = 3.0  # seconds that the mount may take to answer


def play(theatre: Theatre) -> None:
    """Have it come about, have it found, and cured."""
    say = theatre.recording.say
    with theatre.stage() as stage:
        set_the_stage(stage, theatre)
        hang(stage)
        found = diagnosed(stage)
        say("text", headline(found))
        places = {stage.connection: stage.mountpoint}
        for edge in found.edges:
            say("text", f"  {sentence(found, edge, places)}")
        cure(stage.connection, lambda told: say("text", told))
        stage.settle()
        say("end", f"Now {in_words(stage, stage.look())}. {answering(stage)}")


def diagnosed(stage: Stage) -> Diagnosis:
    """Return what is the matter with the mount; CannotStage if nothing is found to be."""
    found = [one for one in diagnose(stage.connection) if one.is_sick]
    if not found:
        raise CannotStage("what hangs here is not seen to hang: more of /proc is hidden than usual")
    return found[0]


def answering(stage: Stage) -> str:
    """Say whether the mount answers: another process lists it."""
    try:
        listed = subprocess.run(["ls", stage.mountpoint], capture_output=True, text=True, timeout=PATIENCE, cwd="/")
    except subprocess.TimeoutExpired:
        return "The mount does not answer."
    return f"ls {stage.mountpoint} prints {listed.stdout.strip() or listed.stderr.strip()}."
