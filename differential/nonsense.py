#!/usr/bin/env python3
"""Have daemons answer nonsense on both kernels, and say where they differ: python differential/nonsense.py

Where run.py compares what programs are told, here it is what daemons are. A daemon of bytes
(daemons/scripted.py) serves a small filesystem (world.py) well, but for one request of a short program
(scenarios.py), to which it answers something out of a table (daemons/nonsense.py). Compared are

    what each write to the device returned: its length, or the errno
    what the caller got
    what harmless steps see afterwards: a bad inode, a forgotten name, a file that is closed
    what the daemon is asked meanwhile, and in the end the FORGETs

Each program runs with infinite timeouts and with none. Nothing is random: a difference is an error, or
stands in `EXCUSED` with its reason. What need not be equal, scripted.py puts names in the place of, or
lets float:

    lock owners, pids, poll handles, addresses, what clocks tell     numbers of each kernel's own
    RELEASE, RELEASEDIR                                              sent as the caller leaves, or before
    FORGET                                                           how many a step, not in which order
    who sends NOTIFY_REPLY                                           the daemon, which is no process here
    PASSTHROUGH in INIT                                              not modelled

Not compared: memory that faults while a reply is copied, splices, and io_uring.

It takes root, and mounts in namespaces of its own, on all CPUs. `--scenario 'a file is read'` runs one program.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # also when run as a file

from differential.daemons import embedded, linux
from differential.daemons.nonsense import deeds
from differential.daemons.notices import notices
from differential.daemons.scenarios import SCENARIOS, Scenario, told
from differential.daemons.scripted import Deed, Plan
from differential.real import Machine

__all__ = ["Case", "cases", "compare"]

NOTICES: Final = "notifications"
SHOWN: Final = 40  # differences


@dataclass(frozen=True, slots=True)
class Case:
    """A program, how long things may be cached, and what is done to its request; None: the daemon tells something."""

    scenario: Scenario
    valid: int
    deed: Deed | None = None

    def __str__(self) -> str:
        cached = "cached" if self.valid else "asked each time"
        done = f"{self.scenario.operation} answered with {self.deed.name}" if self.deed else "told"
        return f"{self.scenario.name}, {cached}: {done}"

    @property
    def plan(self) -> Plan | None:
        return None if self.deed is None else Plan(self.scenario.operation, self.deed)


def cases(names: Sequence[str], wanted: str = "") -> Iterator[Case]:
    """Yield all cases of these scenarios whose deeds have `wanted` in their names."""
    for name in names:
        if name == NOTICES:
            programs = [told(notice) for notice in notices() if wanted in notice.name]
            yield from (Case(program, valid) for program in programs for valid in program.valid)
        else:
            scenario = SCENARIOS[name]
            done = [deed for deed in deeds(scenario.operation) if wanted in deed.name and sensible(scenario, deed)]
            yield from (Case(scenario, valid, deed) for valid in scenario.valid for deed in done)


NO_ERRNO: Final = "Linux lets the number through, and no program can tell it from success; ours says EIO"
EXCUSED: Final[Mapping[tuple[str, str], str]] = {  # by scenario and deed
    ("flags are asked for", "result = -0x1388"): NO_ERRNO,
    ("flags are asked for", "result = -0x80000000"): NO_ERRNO,
}


def sensible(scenario: Scenario, deed: Deed) -> bool:
    """Whether there is something to compare: nothing comes of a signal where nobody waits for the request itself."""
    interrupts = deed.name.startswith("interrupted")
    return not (scenario.background and interrupts) and (scenario.name, deed.name) not in EXCUSED


def compare(case: Case, mountpoint: str) -> str | None:
    """Run a case on both; return how they differ, as text."""
    try:
        ours = embedded.run(case.scenario, case.valid, case.plan)
    except Exception:
        return f"{case}\n{traceback.format_exc()}"
    theirs = linux.run(case.scenario, case.valid, case.plan, mountpoint)
    if ours == theirs:
        return None
    return "\n".join([str(case), *difference(theirs, ours)])


def difference(theirs: list[list[str]], ours: list[list[str]]) -> Iterator[str]:
    for number, (their, our) in enumerate(zip(theirs, ours, strict=True)):
        if their == our:
            yield f"  step {number}: {their[0] if their else ''}"
        else:
            yield from (f"  step {number}, Linux: {line}" for line in their)
            yield from (f"  step {number}, ours:  {line}" for line in our)


# --- workers


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker is to do."""

    name: str
    deed: str
    every: int = 1  # so manieth case,
    first: int = 0  # from this one on


def work(order: Order) -> tuple[int, list[str]]:
    """Compare the cases of one scenario; return how many, and what differed."""
    count, found = 0, []
    home = tempfile.mkdtemp(prefix="fusewire-nonsense-")
    try:
        mountpoint = os.path.join(home, "mnt")
        os.mkdir(mountpoint)
        for case in list(cases([order.name], order.deed))[order.first :: order.every]:
            count += 1
            differs = compare(case, mountpoint)
            if differs:
                found.append(differs)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return count, found


def main() -> int:
    every = [*SCENARIOS, NOTICES]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--scenario", action="append", choices=[*SCENARIOS, NOTICES], metavar="NAME", help="only this one; repeat"
    )
    parser.add_argument("--deed", default="", help="only those with this in their names")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only each Nth case")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    asked = parser.parse_args()
    begun = time.monotonic()
    names = asked.scenario or every
    orders = [Order(name, asked.deed, asked.every, number % asked.every) for number, name in enumerate(names)]
    count, found = 0, list[str]()
    with multiprocessing.get_context("spawn").Pool(asked.jobs, Machine.enter_namespace) as pool:
        for some, differing in pool.imap_unordered(work, orders):
            count += some
            for one in differing:
                found.append(one)
                if len(found) <= SHOWN:
                    print(one, end="\n\n", flush=True)
    print(f"{count} cases in {time.monotonic() - begun:.0f} s, {len(found)} differ")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
