"""Every interleaving of somebody's own programs on his own filesystem: what tests cannot hope to meet by chance.

    async def remove(process):
        await process.unlink("/a")

    async def look(process):
        await process.listdir("/")

    report = fusewire.explore.interleavings(MyFilesystem, [remove, look])
    print(report)                    # deadlocks, exceptions, programs that never end: each with its schedule
    print(report.replay())           # the diagram of the shortest run to the first of them
    report.check()                   # raises AssertionError, whose text is all that

In a test: `fusewire.explore.check_interleavings(...)` makes the report and checks it.

A run with few preemptions comes before those with more, so what is easy to meet is met soon, and by a short
diagram: first all runs in which nobody is made to wait who could go on, then those in which it happens once,
and so on up to `preemptions`, until something is found.

What a step is, who the daemon is, and what a failure is: own_filesystem.py. How runs are searched: depth_first.py.
"""

from __future__ import annotations

import dataclasses
import inspect
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from fusewire.diagrams.columns import Detail
from fusewire.diagrams.recording import Recording
from fusewire.diagrams.text import render
from fusewire.embedded.plan import profile_named
from fusewire.events import Step
from fusewire.explore.drawing import record
from fusewire.explore.given import (
    Programs,
    check_numbers,
    check_same,
    checked_filesystem,
    mount_options,
    name_of,
    named,
)
from fusewire.explore.own_filesystem import OwnFilesystem, Program
from fusewire.explore.report import Report, Shown
from fusewire.explore.schedule import expand
from fusewire.explore.search import explore
from fusewire.kernel.profile import LINUX, Profile
from fusewire.kernel.syscalls.base import OTHER_NAMES
from fusewire.kernel.syscalls.process import Process
from fusewire.served import Served

__all__ = ["Interleavings", "check_interleavings", "interleavings"]

DAEMON: Final = "FUSE filesystem daemon"
LONGEST: Final = 150  # lines of a diagram in a report
EASIER: Final = (0, 1, 2)  # bounds that are tried before there is none

METHODS: Final = [name for name, _ in inspect.getmembers(Process, inspect.iscoroutinefunction)]
SYSTEM_CALLS: Final = frozenset(f"sys_{OTHER_NAMES.get(name, name)}" for name in METHODS)
DETAIL: Final = Detail(
    steps=frozenset({Step.QUEUE, Step.PERFORM, Step.MATCH, Step.SLEEP, Step.ACQUIRE, Step.RELEASE, Step.LOCK_PAGE}),
    calls=SYSTEM_CALLS | {"fuse_dev_write"},
    without=frozenset({"fc->waitq", "what it awaits"}),
    words={
        Step.QUEUE: "[queue {detail}]",
        Step.MATCH: "[answer {detail}]",
        (Step.CALL, "fuse_dev_write"): ">sys_write()",
        (Step.RETURN, "fuse_dev_write"): "<sys_write()",
    },
)


@dataclass
class Interleavings(Report):
    """What came of it; `str` of it is what people read, with the diagram of the shortest run to what is wrong."""

    scene: OwnFilesystem | None = None

    @property
    def found(self) -> list[Shown]:
        """All that is wrong, the shortest run first."""
        return self.shown

    def replay(self, schedule: str = "") -> str:
        """Return the diagram of a run: that of `schedule`, else the shortest to what is wrong, else in fixed order.

        Raises:
            ValueError: it is no schedule of these programs.
        """
        shown = self.shown[0] if self.shown and schedule in ("", self.shown[0].schedule) else None
        return render(self.record(shown.schedule if shown else schedule or "-", shown.words if shown else ""), DETAIL)

    def record(self, schedule: str, words: str = "") -> Recording:
        """Return the run of `schedule` as a recording, to be drawn as one likes; `words` say how it ended."""
        assert self.scene is not None
        with unlogged():
            recording = record(self.scene, expand(schedule), title=self.title)
        recording.columns = {name: f'"{name}"' for name in self.scene.programs} | {DAEMON: DAEMON}
        if words and not any(remark.kind in ("deadlock", "end") for remark in recording.remarks):
            recording.say("end", words)
        return recording

    def check(self) -> None:
        """Raise AssertionError, whose text is the report, if something is wrong."""
        __tracebackhide__ = True  # pytest shows the test, not us
        if self.shown:
            raise AssertionError(f"{self}")

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text}\n\n{shortened(self.replay())}" if self.shown and self.scene is not None else text


def shortened(diagram: str) -> str:
    """Return the end of a diagram, and its titles, if it is too long for a report."""
    lines = diagram.splitlines()
    left_out = len(lines) - LONGEST
    if left_out <= 0:
        return diagram
    return "\n".join([lines[0], f"  ({left_out:,} lines are left out: `replay` has them)", *lines[-LONGEST:]])


def interleavings(
    filesystem: Callable[[], Served],
    programs: Programs,
    *,
    before: Program | None = None,
    after: Program | None = None,
    threads: int = 1,
    preemptions: int | None = 2,
    seconds: float = 20.0,
    profile: str | Profile = LINUX,
    moments: Iterable[str] = (),
    every_step: bool = False,
    prune: bool = True,
    processes: int = 1,
    **more_options: Any,
) -> Interleavings:
    """Run `programs` on a filesystem in every order in which they and the daemon can take their steps.

    A program is `async def program(process)`, whose `process` has the calls of `os`, each awaited; with a second
    parameter it gets the filesystem, too. What it raises is wrong, an OSError as well: it catches what it expects.

    Args:
        filesystem: a class, or a function: makes what `fusewire.Kernel` takes, anew for each run.
        programs: at least one; a list, or a dict which names them.
        before: a program that runs first, and is not explored.
        after: a program that has a look when all is at rest, if all others have ended.
        threads: that serve.
        preemptions: how often in a run somebody is made to wait who could go on, at most; None: as often as may be.
        seconds: after which no more runs are made; `complete` says whether some were left.
        profile: 'linux' or 'seed2005'.
        moments: what may come before any step, or never: 'abort', 'close', 'kill NAME', 'interrupt NAME'.
        every_step: also let others go on between the single steps of the kernel's end, as `fusewire explore` does,
            and not only where a lock is to be taken, a request or a method waits, or a system call begins.
        prune: go into no state twice. It does not see what a filesystem keeps in variables of a module or a class.
        processes: how many search at once.
        more_options: mount options by name, such as `attr_timeout=0`.

    Raises:
        TypeError: `filesystem` makes none, or the same twice; a program is not `async def`.
        ValueError: there are no programs, or two runs in the same order were not the same.
        AssertionError: something is wrong already before the programs begin.
    """
    check_numbers(threads, preemptions)
    scene = OwnFilesystem(
        filesystem=checked_filesystem(filesystem),
        programs=named(programs),
        threads=threads,
        profile=profile if isinstance(profile, Profile) else profile_named(profile),
        before=before,
        after=after,
        moments=tuple(moments),
        every_step=every_step,
        options=mount_options(more_options),
    )
    with unlogged():
        check_same(scene)
        report = search(scene, preemptions, time.monotonic() + seconds, prune=prune, processes=processes)
    given = {each.name: getattr(report, each.name) for each in dataclasses.fields(report)}
    title = f"{name_of(filesystem, 'a filesystem')}: {', '.join(scene.programs)}"
    return Interleavings(**{**given, "title": title}, scene=scene)


def search(scene: OwnFilesystem, preemptions: int | None, until: float, **how: Any) -> Report:
    """Explore with few preemptions first, until something is found or it is `until`."""
    for bound in bounds(preemptions):
        report = explore(scene, preemptions=bound, ways_out=(), seconds=max(0.0, until - time.monotonic()), **how)
        if report.shown or report.left:
            break
    return report


@contextmanager
def unlogged() -> Iterator[None]:
    """Let what methods raise stand in the report alone, and not in the log as often as they raise it."""
    logger, silence = logging.getLogger("fusewire"), logging.Filter("nobody")
    logger.addFilter(silence)
    try:
        yield
    finally:
        logger.removeFilter(silence)


def check_interleavings(filesystem: Callable[[], Served], programs: Programs, **options: Any) -> Interleavings:
    """Do as `interleavings`, and raise AssertionError, whose text is the report, if something is wrong: for tests.

    Raises:
        AssertionError: as above; or not all runs could be made in time, so that nothing is known.
    """
    __tracebackhide__ = True
    report = interleavings(filesystem, programs, **options)
    report.check()
    if not report.complete:
        raise AssertionError(f"{report}\n\nGive it more `seconds`, or fewer `preemptions`.")
    return report


def bounds(preemptions: int | None) -> Iterator[int | None]:
    """Yield how many preemptions are allowed, the fewest first."""
    yield from EASIER if preemptions is None else range(preemptions + 1)
    if preemptions is None:
        yield None
