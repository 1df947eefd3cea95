"""The two deadlocks on the kernel that runs here, drawn from what it says itself.

    recording = run("simple-deadlock", Options(threads=3))

Nothing of this is seen outside, and nothing is left: the mount lies in a namespace of its own, its processes end with
the run, and a watchdog, a process too, aborts the mount whatever happens (`watchdog.py`).

    performance.py   the process in which a scene is played      namespace.py  where it can harm nobody
    simple.py        scenario 1                                  stage.py      the mount, and its processes
    tricky.py        scenario 2                                  programs.py   what they do
    theatre.py       the deadlock, and what is done about it     watchdog.py   that nobody hangs for ever
    facts.py         what tracefs and /proc say                  telling.py    the same in the words of kernel.txt
    ways.py          through which steps a call passes           told.py       how far a thread has been told
    live.py          one call on a mount that this process serves
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from typing import Final

from fusewire.diagrams.columns import Detail
from fusewire.diagrams.recording import Recording
from fusewire.events import Step
from fusewire.explain.explanation import Options
from fusewire.explain.real.namespace import CannotStage
from fusewire.explain.real.ways import DIED

__all__ = ["DETAIL", "NAMES", "CannotStage", "brief_deadlock", "healed_deadlock", "run"]

NAMES: Final = ("simple-deadlock", "tricky-deadlock")
MOST_PROCESSES: Final = 3  # each has a column
LIMIT: Final = 30.0  # seconds; the watchdog is faster

DETAIL: Final = Detail(
    words={
        (Step.CALL, "sys_unlink"): ">{name}({detail})",
        Step.QUEUE: "[queue {operation} request]",
        Step.TAKE_INTERRUPT: "[remove {detail} from fc->interrupts]",
        Step.QUEUE_INTERRUPT: "[queue {detail} on fc->interrupts]",
        Step.INTERRUPT: "[interrupted by {detail}]",
        DIED: "[killed by {detail}]",
        (Step.RETURN, "sys_unlink"): "<{name}() = {detail}",
        (Step.RETURN, "sys_read"): "<{name}() = {detail}",
        (Step.RETURN, "sys_write"): "<{name}() = {detail}",
    },
    beside=frozenset({Step.SERVE, Step.TRIGGER}),
)


def run(name: str, options: Options) -> Recording:
    """Have a deadlock come about on this kernel, free who hangs in it, and return what was seen of it.

    Takes one to four seconds.

    Args:
        name: one of `NAMES`.
        options: path, threads (serving processes, on one descriptor) and uid; the profile is the kernel that runs.

    Raises:
        CannotStage: that is not possible here, or not asked for sensibly; the text says why, and the cure.
        ValueError: there is no such scene.
    """
    if name not in NAMES:
        raise ValueError(f"There is no {name!r} on a real kernel, only {' and '.join(NAMES)}.")
    if options.threads > MOST_PROCESSES:
        raise CannotStage(f"on a real kernel there are 1 to {MOST_PROCESSES} serving processes, not {options.threads}")
    if options.uid and os.geteuid() not in (0, options.uid):
        raise CannotStage(f"only root can be uid {options.uid}; you are uid {os.geteuid()}")
    return recorded(name, options)


def brief_deadlock(options: Options) -> Recording:
    """Have the simple deadlock come about, and abort: in about a second. Raises CannotStage, as `run`."""
    return recorded("brief-deadlock", options)


def healed_deadlock(options: Options) -> Recording:
    """Have the simple deadlock come about, find it and free it by surgery. Raises CannotStage, as `run`."""
    return recorded("healed-deadlock", options)


def recorded(name: str, options: Options) -> Recording:
    """Return the recording of a scene; CannotStage says why there is none."""
    outcome = performed(name, options)
    if isinstance(outcome, str):
        raise CannotStage(outcome)
    return outcome


def performed(name: str, options: Options) -> Recording | str:
    """Return what the process in which the scene is played hands over."""
    arguments = (name, options.path, str(options.threads), str(options.uid))
    with subprocess.Popen(
        [sys.executable, "-m", "fusewire.explain.real.performance", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for us: our end is its end
    ) as process:
        try:
            assert process.stdout is not None
            text = process.stdout.read()
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(LIMIT)
    outcome: Recording | str = pickle.loads(text) if text else "the process that was to show it has died"
    return outcome
