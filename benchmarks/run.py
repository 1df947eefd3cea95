#!/usr/bin/env python3
"""Measure round trips of fusewire and its peers in one run: python benchmarks/run.py

Every contestant serves the same small filesystem in memory on a mountpoint of its own, in a
private mount namespace. Rounds and steps are alternated: each step is run on each contestant
before the next one, so that what disturbs the machine disturbs all alike. A number is the
median over the rounds. The wrong bytes, or a step that does not end in time, take the
contestant's number away; the connection is aborted and its daemon ended.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # also when run as a file

from torture.mounts import Mount, MountError, TooLong, enter_private_namespace, run_bounded

from benchmarks import requests_seen
from benchmarks.client import STEPS
from benchmarks.contestants import CONTESTANTS, REFERENCE, Contestant, Missing

CLIENT = Path(__file__).resolve().parent / "client.py"
PREPARE = "create"  # making the files that are listed is measured, too
PER_FILE = (PREPARE, "list", "list and stat")  # shown for each of the files


@dataclass(frozen=True)
class Effort:
    """How much is done."""

    rounds: int
    seconds: float  # of each step, in each round
    files: int  # that are listed
    limit: float = 60  # seconds that a step may take before it counts as hung


FULL = Effort(rounds=5, seconds=0.5, files=10_000)
QUICK = Effort(rounds=3, seconds=0.1, files=2_000)


@dataclass
class Entrant:
    """A contestant while it is measured."""

    contestant: Contestant
    mount: Mount
    samples: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    requests: dict[str, dict[str, float]] = field(default_factory=dict)
    trouble: str = ""

    @property
    def name(self) -> str:
        return self.contestant.name

    def run(self, step: str, amount: str, limit: float) -> dict[str, float] | None:
        """Run the client for one step; None, and no more steps, if that went wrong."""
        command = [sys.executable, "-I", str(CLIENT), step, self.mount.mountpoint, amount]
        try:
            done = run_bounded(command, limit, self.mount)
        except TooLong as hung:
            self.trouble = str(hung)
            return None
        if done.code:
            self.trouble = f"{step}: {done.output.strip().splitlines()[-1]}"
            return None
        result: dict[str, float] = json.loads(done.output)
        return result

    def measure(self, step: str, amount: str, limit: float) -> None:
        """Run one step, unless something went wrong before, and keep what it says."""
        result = None if self.trouble else self.run(step, amount, limit)
        if result is not None:
            self.samples.setdefault(step, []).append(result)

    def median(self, step: str, what: str) -> float | None:
        """The median of the rounds of `us` or `rate`."""
        values = [sample[what] for sample in self.samples.get(step, [])]
        return statistics.median(values) if values else None


def enter(contestants: list[Contestant], home: Path, install: bool) -> list[Entrant]:
    """Mount each contestant that can be mounted; say of the others why not, and how to."""
    entrants = []
    for number, contestant in enumerate(contestants):
        try:
            entrants.append(mounted(contestant, home / f"m{number}", install))
        except (Missing, MountError) as reason:
            help_line = f"; to install it: {contestant.install}" if isinstance(reason, Missing) else ""
            print(f"{contestant.name}: left out, {reason}{help_line}", flush=True)
    return entrants


def mounted(contestant: Contestant, mountpoint: Path, install: bool) -> Entrant:
    """Start one contestant.

    Raises:
        Missing: something it needs is not there.
        MountError: it does not mount.
    """
    try:
        command = contestant.command(str(mountpoint))
    except Missing:
        if not install:
            raise
        subprocess.run(contestant.install, shell=True, check=False, timeout=900)
        command = contestant.command(str(mountpoint))
    mount = Mount(command, str(mountpoint), mountpoint.with_suffix(".log"))
    mount.start()
    return Entrant(contestant, mount)


def compete(entrants: list[Entrant], steps: list[str], effort: Effort) -> None:
    """All rounds of all steps. The order of the contestants is turned in each round."""
    for entrant in entrants:
        entrant.measure(PREPARE, str(effort.files), effort.limit)
    for round_number in range(effort.rounds):
        for step in steps:
            turn = round_number % len(entrants)
            for entrant in entrants[turn:] + entrants[:turn]:
                entrant.measure(step, str(effort.seconds), effort.limit)
        print(f"round {round_number + 1} of {effort.rounds} done", file=sys.stderr, flush=True)


def count_requests(entrants: list[Entrant], steps: list[str], effort: Effort) -> None:
    """Find out what each step sends, where the kernel tells."""
    if not requests_seen.available():
        return
    for entrant in entrants:
        for step in steps:
            few, many = (1, 2) if step in PER_FILE else (10, 60)
            if not entrant.trouble:
                entrant.requests[step] = requests_seen.per_repetition(
                    entrant.mount.connection,
                    lambda count, entrant=entrant, step=step: entrant.run(step, f"x{count}", effort.limit),  # type: ignore[misc]
                    few,
                    many,
                )


# The report.


def machine() -> dict[str, str]:
    """What the numbers were measured on."""
    model = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return {
        "cpus": f"{len(os.sched_getaffinity(0))} x {model[0] if model else platform.machine()}",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load before": f"{os.getloadavg()[0]:.2f}",
    }


def row(title: str, cells: list[str]) -> str:
    return f"{title:<16}" + "".join(f"{cell:>12}" for cell in cells)


def number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def table(title: str, entrants: list[Entrant], steps: list[str], cell: object) -> list[str]:
    """One table: a line for each step, a column for each contestant."""
    assert callable(cell)
    lines = [title, row("", [entrant.name for entrant in entrants])]
    return [*lines, *(row(step, [cell(entrant, step) for entrant in entrants]) for step in steps), ""]


def tables(entrants: list[Entrant], steps: list[str], effort: Effort) -> str:
    """The report, at most 80 columns wide."""
    reference = next((entrant for entrant in entrants if entrant.name == REFERENCE), None)

    def us(entrant: Entrant, step: str) -> float | None:
        value = entrant.median(step, "us")
        return value / effort.files if value is not None and step in PER_FILE[1:] else value

    def rate(entrant: Entrant, step: str) -> float | None:
        value = entrant.median(step, "rate")
        return value * effort.files if value is not None and step in PER_FILE[1:] else value

    def ratio(entrant: Entrant, step: str) -> float | None:
        mine, theirs = us(entrant, step), us(reference, step) if reference else None
        return mine / theirs if mine is not None and theirs else None

    def requests(entrant: Entrant, step: str) -> float | None:
        return sum(entrant.requests[step].values()) if step in entrant.requests else None

    shown = [PREPARE, *steps]
    lines = table(
        "Microseconds, median (create, list: for each file)", entrants, shown, lambda e, s: number(us(e, s), 1)
    )
    lines += table("In a second (create, list: files)", entrants, shown, lambda e, s: number(rate(e, s), 0))
    if reference and len(entrants) > 1:
        lines += table(f"Time, {REFERENCE} = 1", entrants, shown, lambda e, s: number(ratio(e, s), 2))
    if any(entrant.requests for entrant in entrants):
        lines += table("Requests (list: for all files)", entrants, steps, lambda e, s: number(requests(e, s), 1))
    lines += [f"{entrant.name}: {entrant.trouble}" for entrant in entrants if entrant.trouble]
    return "\n".join(lines).rstrip()


def as_data(entrants: list[Entrant], effort: Effort, measured_on: dict[str, str]) -> dict[str, object]:
    """Everything that was measured, for --json."""
    return {
        "machine": measured_on,
        "effort": vars(effort),
        "contestants": {
            entrant.name: {
                "version": entrant.contestant.version(),
                "samples": entrant.samples,
                "requests": entrant.requests,
                "trouble": entrant.trouble,
            }
            for entrant in entrants
        },
    }


def arguments() -> argparse.Namespace:
    """What the command line says."""
    names = ", ".join(contestant.name for contestant in CONTESTANTS)
    parser = argparse.ArgumentParser(description="Measure round trips of fusewire and its peers on one machine.")
    parser.add_argument("--quick", action="store_true", help="less exact: about one minute instead of five")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all numbers there")
    parser.add_argument("--only", action="append", metavar="NAME", help=f"a contestant (of {names}) or a step")
    parser.add_argument("--one-cpu", action="store_true", help="keep all on one CPU: nobody has to be woken on another")
    parser.add_argument("--install", action="store_true", help="install what is missing, with apt-get and pip")
    return parser.parse_args()


def chosen(only: list[str] | None) -> tuple[list[Contestant], list[str]]:
    """The contestants and the steps that --only leaves; of a sort that it does not name, all."""
    names, steps = [contestant.name for contestant in CONTESTANTS], list(STEPS)
    wrong = [name for name in only or () if name not in (*names, *steps)]
    if wrong:
        sys.exit(f"There is no {wrong[0]!r}. Contestants: {', '.join(names)}. Steps: {', '.join(steps)}.")
    some = [contestant for contestant in CONTESTANTS if contestant.name in (only or ())]
    return some or list(CONTESTANTS), [step for step in steps if step in (only or ())] or steps


def main() -> int:
    """Run the benchmark; 1 if a contestant had trouble or none could be mounted."""
    asked = arguments()
    contestants, steps = chosen(asked.only)
    enter_private_namespace()
    if asked.one_cpu:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # the children inherit it
    measured_on = machine()
    effort, begun = QUICK if asked.quick else FULL, time.monotonic()
    home = Path(tempfile.mkdtemp(prefix="fusewire-benchmark-"))
    entrants = enter(contestants, home, asked.install)
    try:
        if entrants:
            compete(entrants, steps, effort)
            count_requests(entrants, steps, effort)
    finally:
        for entrant in entrants:
            entrant.mount.stop()
    print("\n".join(f"{key}: {value}" for key, value in measured_on.items()))
    print(f"contestants: {', '.join(dict.fromkeys(entrant.contestant.version() for entrant in entrants))}")
    amount = f"{effort.rounds} rounds of {effort.seconds} s a step, {effort.files:,} files"
    print(f"{amount}; {time.monotonic() - begun:.0f} s\n")
    print(tables(entrants, steps, effort))
    if asked.json:
        asked.json.write_text(json.dumps(as_data(entrants, effort, measured_on), indent=1) + "\n")
    shutil.rmtree(home, ignore_errors=True)
    return 1 if not entrants or any(entrant.trouble for entrant in entrants) else 0


if __name__ == "__main__":
    sys.exit(main())
