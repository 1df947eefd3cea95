"""The watchdog: no test can hang the run, whatever hangs.

A test of FUSE can hang in ways that no code in its own process can end: in a system call that no signal interrupts,
in a thread that holds Python's lock. So the watchdog is a process of its own, started once. It is told on a pipe
when a test begins and ends, and when one takes too long it acts, harder with every stage:

1. it aborts all FUSE connections of the run: whoever waits for one goes on, with an error;
2. a test that still hangs waited for something else: the run gets a signal whose handler raises in its main thread;
3. the last resort: it says where every task hangs, kills the run's processes, and pytest.

The test fails, and says that the watchdog ended it. When pytest is gone, for whatever reason, the watchdog ends what
is left of the run, and itself.
"""

from __future__ import annotations

import contextlib
import faulthandler
import math
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from kernel_mounts import abort, fuse_mounts
from namespaces import MNT_FORCE, umount
from own_run import MARK, OwnRun, Process, kill, read_process

DEFAULT_LIMIT = 30.0  # seconds
PATIENCE = 5.0  # seconds between the stages; the test's own limit if that is shorter
SIGNAL = signal.SIGRTMAX


class TestHangs(BaseException):
    """Raised in the main thread by stage 2. No `except Exception` under test may swallow it."""

    __test__ = False  # pytest collects classes by their names


# -- in pytest's process -------------------------------------------------------------------------------------------


class Watchdog:
    """The process, as seen from pytest."""

    def __init__(self, run: OwnRun) -> None:
        signal.signal(SIGNAL, raise_in_main_thread)
        arguments = [str(run.pid), run.namespace or "", ",".join(map(str, run.foreign_connections))]
        self.process = subprocess.Popen(
            [sys.executable, "-S", __file__, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd="/",
            bufsize=0,
            start_new_session=True,  # Ctrl-C is for pytest
        )
        self.turn = 0

    def arm(self, seconds: float) -> None:
        """Begin a test, which may take so long."""
        self.turn += 1
        self._say(f"{self.turn} {seconds}\n")

    def disarm(self) -> None:
        """End a test."""
        self._say("\n")

    def _say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode())

    def deed(self) -> str | None:
        """Return what the watchdog did during this test, None if nothing."""
        assert self.process.stdout is not None
        deeds = []
        while select.select([self.process.stdout], [], [], 0)[0]:
            line = self.process.stdout.readline().decode()
            if not line:
                return "the watchdog died"
            turn, _, text = line.strip().partition(" ")
            if int(turn) == self.turn:
                deeds.append(text)
        return "; ".join(deeds) or None

    def stop(self) -> None:
        """End the process. By a word: a forked child that is left may hold our end of the pipe open."""
        self._say("end\n")
        self.process.communicate(timeout=DEFAULT_LIMIT)


def raise_in_main_thread(_signal: int, _frame: FrameType | None) -> None:
    faulthandler.dump_traceback(2)  # of all threads: the one that hangs may be another
    raise TestHangs


# -- in the watchdog's process: a stage yields what it is about to do, for pytest asks as soon as it is done ---------


def abort_connections(run: OwnRun) -> Iterator[str]:
    """Stage 1."""
    numbers = sorted(run.connections())
    yield f"aborted FUSE connections {numbers}" if numbers else "found no FUSE connection to abort"
    refused = [number for number in numbers if not abort(number)]
    for mount in fuse_mounts():  # where fusectl is not to be had, umount -f aborts as well
        if mount.minor in refused:
            with contextlib.suppress(OSError):
                umount(mount.path, MNT_FORCE)


def signal_pytest(run: OwnRun) -> Iterator[str]:
    """Stage 2."""
    yield "interrupted the test"
    os.kill(run.pid, SIGNAL)


def kill_all(run: OwnRun) -> Iterator[str]:
    """Stage 3."""
    ours = [process for process in run.processes() if process.pid != os.getpid()]
    pytest = read_process(run.pid)
    for process in [*ours, *([pytest] if pytest else [])]:
        print(f"watchdog: killing {process.pid} {process.name!r}, which hangs{where(process)}", file=sys.stderr)
        kill(process)
    yield "killed everything"


def where(process: Process) -> str:
    """Return for every task of a process the kernel function in which it sleeps."""
    places = ""
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{process.pid}/task").iterdir():
            places += f"\n  task {task.name} in {(task / 'wchan').read_text()}"
    return places


STAGES: list[Callable[[OwnRun], Iterator[str]]] = [abort_connections, signal_pytest, kill_all]


def watch(run: OwnRun) -> None:
    """Read what pytest says, and act when it says nothing for too long. Return when pytest is gone, or says `end`."""
    pytest = os.pidfd_open(run.pid)
    turn, limit, deadline, stages = "", math.inf, math.inf, STAGES
    while turn != "end":
        ready = select.select([0, pytest], [], [], seconds_until(deadline))[0]
        if pytest in ready:
            return
        if ready:
            said = os.read(0, 65536)
            if not said:  # it exits: a moment later it is gone, and can be cleared up behind
                select.select([pytest], [], [], PATIENCE)
                return
            turn, _, seconds = last_line(said).partition(" ")
            limit = float(seconds or math.inf)
            deadline, stages = time.monotonic() + limit, STAGES
        else:
            for deed in stages[0](run):
                print(turn, deed, flush=True)
            deadline, stages = time.monotonic() + min(limit, PATIENCE), stages[1:] or stages


def seconds_until(deadline: float) -> float | None:
    """Return the time left, as select takes it: None is for ever."""
    return None if deadline == math.inf else max(0.0, deadline - time.monotonic())


def last_line(said: bytes) -> str:
    """Return the newest of several lines."""
    return said.decode().splitlines()[-1]


def end_what_is_left(run: OwnRun) -> None:
    """Clear up behind a pytest that died. One that lives has checked that nothing is left."""
    pytest = read_process(run.pid)
    if pytest is None or pytest.is_zombie:
        for stage in (abort_connections, kill_all):
            list(stage(run))


def main() -> None:
    """Watch the run that the arguments describe."""
    pid, namespace, foreign = sys.argv[1:]
    run = OwnRun(int(pid), os.environ[MARK], namespace or None, frozenset(map(int, filter(None, foreign.split(",")))))
    with contextlib.suppress(ProcessLookupError):
        watch(run)
    end_what_is_left(run)


if __name__ == "__main__":
    main()
