"""The process in which a scene is played: python -m fusewire.explain.real.performance NAME PATH THREADS UID

It is one of its own, since it enters namespaces, forks, and has children that may hang. It ends with the program
that started it: that holds the other end of its standard input. What comes of it goes to standard output, pickled: a
recording, or the sentence that says why there is none.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from typing import Final

from fusewire.diagrams.recording import Recording
from fusewire.explain.explanation import Options
from fusewire.explain.real import healed, namespace, simple, tricky
from fusewire.explain.real.theatre import Theatre
from fusewire.explain.real.watchdog import Watchdog

__all__ = ["SCENES", "main"]

SCENES: Final[dict[str, Callable[[Theatre], None]]] = {
    "simple-deadlock": simple.play,
    "tricky-deadlock": tricky.play,
    "brief-deadlock": simple.play_briefly,
    "healed-deadlock": healed.play,
}
LIMIT: Final = 20.0  # seconds after which the watchdog ends it


def main() -> None:
    """Play the scene that the arguments name."""
    name, path, threads, uid = sys.argv[1:]
    options = Options(profile="linux", path=path, threads=int(threads), uid=int(uid))
    try:
        outcome: Recording | str = perform(name, options)
    except (namespace.CannotStage, OSError) as error:
        outcome = str(error)
    with os.fdopen(os.dup(1), "wb") as file:
        pickle.dump(outcome, file)


def perform(name: str, options: Options) -> Recording:
    """Return the recording of a scene.

    Raises:
        CannotStage: it cannot be played here.
    """
    namespace.enter()
    namespace.prepare(options.mountpoint)
    namespace.adopt_orphans()
    recording = Recording(f"{name} on Linux {os.uname().release}", {}, observed=True)
    theatre = Theatre(recording, options, Watchdog(LIMIT, lifeline=0))
    try:
        theatre.tracer.start()
        SCENES[name](theatre)
    finally:
        theatre.tracer.stop()
        theatre.watchdog.send_home()
    return recording


if __name__ == "__main__":
    main()
