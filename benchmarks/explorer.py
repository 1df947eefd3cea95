#!/usr/bin/env python3
"""How many runs the explorer makes: python benchmarks/explorer.py

    complete runs    of scenario 1 of kernel.txt, its daemon of two threads, each run made to its end: a scene, all
                     its steps, and after each step that is new all that must always hold. No state is told from
                     another, so none is cut; as many processes as are asked for
    whole searches   of our scenarios, no state gone into twice, and from each the ways out tried: how many runs
                     there are, how many states, and how long it took

A rate is the best of several rounds, each of which lasts some seconds. Where others use the machine, that by CPU
time says what two CPUs of our own would do. Searches of a fraction of a second tell what it costs to begin, too.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Final, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))  # also where it is not installed

from fusewire.explore.schedule import Setting
from fusewire.explore.search import explore

WANTED: Final = 5_000  # complete runs a second, on two CPUs
WHOLE: Final = (
    Setting("unlink"),
    Setting("simple-deadlock"),
    Setting("simple-deadlock", "seed2005", threads=2),
    Setting("simple-deadlock", "seed2005", threads=2, moments=("kill=rm",)),
    Setting("tricky-deadlock"),
    Setting("tricky-deadlock", "seed2005", moments=("kill=thread-1",)),
)


class Rate(NamedTuple):
    """Runs, by two clocks."""

    a_second: float
    a_cpu_second: float  # of the time that our processes have had a CPU: others do not count


def complete_runs(profile: str, processes: int, seconds: float) -> Rate:
    """Return the rates of one round."""
    setting, before = Setting("simple-deadlock", profile, threads=2), os.times()
    report = explore(setting, prune=False, processes=processes, seconds=seconds)
    used = sum(os.times()[:4]) - sum(before[:4])
    return Rate(report.runs / report.seconds, report.runs / used)


def main() -> None:
    parser = argparse.ArgumentParser(description="How many runs the explorer makes.")
    parser.add_argument("--processes", type=int, default=2, help="at most so many at once (default: 2)")
    parser.add_argument("--seconds", type=float, default=3, help="how long a round lasts (default: 3)")
    parser.add_argument("--rounds", type=int, default=3, help="(default: 3)")
    parser.add_argument("--quick", action="store_true", help="no whole searches")
    arguments = parser.parse_args()
    print(f"{'complete runs':<28} {'/s':>8} {'/s of a CPU':>14}")
    for profile in ("linux", "seed2005"):
        for processes in range(1, arguments.processes + 1):
            rates = [complete_runs(profile, processes, arguments.seconds) for _ in range(arguments.rounds)]
            wall, cpu = (max(figures) for figures in zip(*rates, strict=True))
            print(f"{f'{profile}, {processes} at once':<28} {wall:>8,.0f} {cpu:>14,.0f}")
    print(f"{'wanted of 2':<28} {WANTED:>8,} {WANTED // 2:>14,}\n")
    for setting in () if arguments.quick else WHOLE:
        report = explore(setting, processes=arguments.processes)
        told = f"{report.interleavings:,} runs, {report.states:,} states, {report.seconds:.2f} s"
        print(f"{setting}:\n    {told}")


if __name__ == "__main__":
    main()
