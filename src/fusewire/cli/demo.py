"""`fusewire demo`: the main job, done before your eyes, and checked.

Act 1: two filesystems are mounted in a temporary directory, used as a person would, and unmounted.
A line a step: what was done, what came of it, how long it took and how many requests the
kernel sent for it. Requests that the kernel sends late (RELEASE, FORGET) count for the step
in which they come.

Act 2: what went on underneath, drawn (demo_drawing.py). One more file is removed where act 1 has just worked; and a
daemon that uses its own mount deadlocks, and is freed.

Act 3: the same deadlock once more, found and healed as `fusewire doctor --fix` does it: the daemon lives.

Where nothing can be mounted, the same is done with a kernel's end in this process, and said so.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import fusewire
from fusewire import MountError
from fusewire.cli.demo_drawing import draw_deadlock, draw_removal, heal_deadlock
from fusewire.cli.demo_places import InKernel, OnMount, Place
from fusewire.cli.demo_steps import EXAMPLE_STEPS, MEMORY_STEPS, Skipped, Step, Wrong, example
from fusewire.cli.report import FAILURE, sentence
from fusewire.explain.real import CannotStage
from fusewire.filesystems import Memory

__all__ = ["parser", "run"]

GREEN, YELLOW, RED = "32", "33", "31"  # as terminals number them
WIDTH: Final = 80  # columns
MARKS: Final = {"right": ("✓", "+", GREEN), "skipped": ("-", "-", YELLOW), "wrong": ("✗", "!", RED)}
ACTS: Final = (1, 2, 3)
ONE_RM: Final = "One rm on this mount, as Linux and the daemon saw it (\N{MIDDLE DOT}: inferred)"
LINE: Final = "{title:<31}  {result:<25} {time:>8} {requests:>8}"


def parser() -> argparse.ArgumentParser:
    """The arguments of `fusewire demo`."""
    parser = argparse.ArgumentParser(
        prog="fusewire demo",
        description="Mount two filesystems, do what a person does with them, check every byte, and unmount; "
        "then draw one request, and a deadlock and its cure; and heal a mount that hangs. "
        "It takes a few seconds, works in a temporary directory and leaves nothing behind. "
        "Where nothing can be mounted, an embedded kernel takes the place of Linux's.",
        epilog="exit codes: 0 every step gave the right bytes, 1 one did not",
    )
    parser.add_argument(
        "--act",
        type=int,
        choices=ACTS,
        help="only this one: 1 the filesystems, 2 what goes on underneath: a request and a deadlock, drawn, "
        "3 a mount that hangs is healed",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="where a step goes wrong show the traceback")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Do the demo; 1 if a step went wrong."""
    demo = Demo(verbose=arguments.verbose)
    acts = ACTS if arguments.act is None else (arguments.act,)
    with terminating(), tempfile.TemporaryDirectory(prefix="fusewire-demo-") as directory:
        demo.why_not = why_nothing_is_mounted(directory)
        demo.heading()
        if 1 in acts:
            demo.act("Python objects as files", example(), Path(directory, "nodes"), EXAMPLE_STEPS)
        if 1 in acts or 2 in acts:
            steps = MEMORY_STEPS if 1 in acts else ()
            demo.act("memory:, which starts empty", Memory(), Path(directory, "memory"), steps, underneath=2 in acts)
        if 2 in acts:
            demo.deadlock()
        if 3 in acts:
            demo.rescue()
    return demo.sum_up()


def why_nothing_is_mounted(directory: str) -> MountError | None:
    """Try to mount something; return what is in the way, or None."""
    mountpoint = Path(directory, "try")
    mountpoint.mkdir()
    try:
        with fusewire.mount({}, str(mountpoint)):
            return None
    except MountError as error:
        return error


@contextmanager
def terminating() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind this thread as an exception does, so that everything is unmounted."""

    def leave(number: int, frame: object) -> None:
        sys.exit(128 + number)

    heeded = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, leave) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass
class Row:
    """What one step came to. `outcome` is a key of MARKS, `reason` says what was wrong."""

    title: str
    outcome: str
    result: str
    seconds: float
    requests: int
    reason: str = ""


class Demo:
    """Does steps, prints a line for each, and remembers how they went."""

    def __init__(self, *, verbose: bool) -> None:
        self.verbose = verbose
        self.rows: list[Row] = []
        self.why_not: MountError | None = None  # a mount is possible here

    def act(self, title: str, what: Any, mountpoint: Path, steps: Sequence[Step], *, underneath: bool = False) -> None:
        """Mount `what`, or give it to an embedded kernel; do the steps there, draw one removal, and unmount."""
        if not self.rows:
            print("\n    " + LINE.format(title="step", result="result", time="time", requests="requests"))
        print(f"{title}:")
        if self.why_not is None:
            self.act_on_mount(what, mountpoint, steps, underneath)
        else:
            self.act_in_kernel(what, steps, underneath)

    def act_on_mount(self, what: Any, mountpoint: Path, steps: Sequence[Step], underneath: bool) -> None:
        mountpoint.mkdir()
        mount = fusewire.mount(what, str(mountpoint))
        with ExitStack() as stack:
            began = time.perf_counter()
            stack.enter_context(mount)
            self.show(Row("mount", "right", "it answers", time.perf_counter() - began, mount.requests))
            self.do(steps, OnMount(mountpoint), lambda: mount.requests)
            if underneath:
                self.draw(ONE_RM, lambda: draw_removal(mountpoint))
            self.show(self.tried("unmount", lambda: unmounted(stack, mountpoint), lambda: mount.requests))

    def act_in_kernel(self, what: Any, steps: Sequence[Step], underneath: bool) -> None:
        began = time.perf_counter()
        with InKernel(what, requests=0) as kernel:

            def requests() -> int:
                return kernel.session.requests

            self.show(Row("serve", "right", "it answers", time.perf_counter() - began, requests()))
            self.do(steps, kernel, requests)
            if underneath:
                self.draw("One rm, at both ends", lambda: draw_removal(kernel))
            self.show(self.tried("end", lambda: ended(kernel), requests))

    def deadlock(self) -> None:
        """Stage the first deadlock of kernel.txt, and its cure."""
        self.draw("A daemon removes, through its mount, what it is asked to; an abort frees both", self.draw_deadlock)

    def rescue(self) -> None:
        """Stage it once more, and heal it."""
        if self.why_not is None:
            self.draw("Such a mount again, and what fusewire doctor --fix does about it", heal_deadlock)
        else:
            print("\nTo heal a mount that hangs, there has to be a mount: act 3 is left out.")

    def draw_deadlock(self) -> str:
        """Return the diagram: from the real kernel, or, where that may not be, from the embedded one."""
        if self.why_not is None:
            with suppress(CannotStage):
                return draw_deadlock(real=True)
        return draw_deadlock(real=False)

    def draw(self, title: str, drawing: Callable[[], str]) -> None:
        """Print a diagram below its title; what goes wrong counts as a step."""
        drawn: list[str] = []

        def work() -> str:
            drawn.append(drawing())
            return ""

        outcome, result, reason = self.outcome(work)
        if drawn:
            print(f"\n{title}:\n{drawn[0]}", flush=True)
        else:
            self.show(Row(title[:31], outcome, result, 0.0, 0, reason))

    def do(self, steps: Sequence[Step], place: Place, requests: Callable[[], int]) -> None:
        for step in steps:
            self.show(self.tried(step.title, partial(step.work, place), requests))

    def tried(self, title: str, work: Callable[[], str], requests: Callable[[], int]) -> Row:
        """Do one step; return its row, whatever happened."""
        requests_before, began = requests(), time.perf_counter()
        outcome, result, reason = self.outcome(work)
        return Row(title, outcome, result, time.perf_counter() - began, requests() - requests_before, reason)

    def outcome(self, work: Callable[[], str]) -> tuple[str, str, str]:
        """Do the work; return a key of MARKS, what to print, and the reason if it went wrong."""
        try:
            return "right", work(), ""
        except Skipped as skipped:
            return "skipped", str(skipped), ""
        except (OSError, Wrong, subprocess.SubprocessError, UnicodeError) as error:
            if self.verbose:
                traceback.print_exc()
            return "wrong", "wrong, see below", sentence(error)

    def heading(self) -> None:
        """Say where we are, and what takes the place of the kernel if nothing can be mounted."""
        release, python = os.uname().release.split("-")[0], sys.version.split()[0]
        if self.why_not is None:
            print(f"fusewire on Linux {release}, Python {python}: on the real kernel")
        else:
            print(f"fusewire on an embedded kernel, Python {python}: nothing can be mounted here.")
            print(f"{textwrap.fill(sentence(self.why_not), WIDTH, break_long_words=False, break_on_hyphens=False)}")

    def show(self, row: Row) -> None:
        """Print a row, at once, for some take a while."""
        self.rows.append(row)
        mark = marked(row.outcome)
        time = f"{row.seconds * 1000:.1f} ms" if row.seconds < 1 else f"{row.seconds:.2f} s"
        text = LINE.format(title=row.title, result=row.result, time=time, requests=row.requests)
        print(f"  {mark} {text}", flush=True)

    def sum_up(self) -> int:
        """Print the last line, and what went wrong on stderr; return the exit code."""
        wrong = [row for row in self.rows if row.outcome == "wrong"]
        skipped = [row for row in self.rows if row.outcome == "skipped"]
        right = len(self.rows) - len(wrong) - len(skipped)
        seconds, requests = sum(row.seconds for row in self.rows), sum(row.requests for row in self.rows)
        note = f", {len(skipped)} skipped" if skipped else ""
        if self.rows:
            print(f"\n{right} of {len(self.rows)} steps right{note}: {requests:,} requests in {seconds:.1f} s.")
        for row in wrong:
            print(f"fusewire: '{row.title}' went wrong: {row.reason}", file=sys.stderr)
        return FAILURE if wrong else 0


def unmounted(stack: ExitStack, mountpoint: Path) -> str:
    """Unmount by leaving what `stack` entered."""
    stack.close()
    if os.path.ismount(mountpoint) or os.listdir(mountpoint):
        raise Wrong(f"{mountpoint} is still mounted")
    return "gone"


def ended(kernel: fusewire.Kernel) -> str:
    """Unmount, and see that the daemon has ended with it."""
    kernel.close()
    if not kernel.session.destroyed:
        raise Wrong("the filesystem was not told that it is over")
    return "gone"


def marked(outcome: str) -> str:
    """A tick or cross, as far as the terminal has them; in colour, where a person looks and has not said NO_COLOR."""
    fine, plain, colour = MARKS[outcome]
    try:
        fine.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        fine = plain
    return f"\x1b[{colour}m{fine}\x1b[0m" if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else fine
