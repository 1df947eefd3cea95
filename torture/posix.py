#!/usr/bin/env python3
"""Check what POSIX and Linux promise about files, in a directory: python torture/posix.py DIR

Run it as root on a mount that other users may enter (allow_other); otherwise the checks
that need other users are skipped, by name. The report is TAP; the exit code is 1 if a check
failed and 2 if a system call did not come back.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # also when run as a file

from torture.conformance import subjects
from torture.conformance.tester import CASES, Case, Hung, Result, Tester


class Report:
    """Prints results as they come, and counts them."""

    def __init__(self, verbose: bool) -> None:
        self.verbose = verbose
        self.counts: Counter[str] = Counter()

    def __call__(self, result: Result) -> None:
        self.counts[result.verdict] += 1
        number = sum(self.counts.values())
        if result.verdict == "skip":
            print(f"ok {number} - {result.label} # SKIP {result.detail}", flush=True)
        elif result.verdict == "not ok":
            print(f"not ok {number} - {result.label}\n#      {result.detail}", flush=True)
        elif self.verbose:
            print(f"ok {number} - {result.label}", flush=True)


def chosen(only: list[str]) -> list[Case]:
    """The cases of some groups, or the cases named `group.case`, or all."""
    return [case for case in CASES if not only or case.group in only or f"{case.group}.{case.name}" in only]


def check(directory: str, cases: list[Case], report: Report) -> int:
    """Run cases in a new directory below `directory`; the exit code."""
    home = tempfile.mkdtemp(prefix="posix-", dir=directory)
    os.chmod(home, 0o755)
    base = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    tester = Tester(base, report)
    try:
        for number, case in enumerate(cases):
            tester.run(case, number)
    except Hung as call:
        print(f"Bail out! no answer to {tester.prefix}: {call}", flush=True)
        return 2
    tester.end()
    os.close(base)
    os.rmdir(home)
    return 1 if report.counts["not ok"] else 0


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description="Check what POSIX and Linux promise about files, in a directory.")
    groups = ", ".join(sorted({case.group for case in CASES}))
    parser.add_argument("directory", metavar="DIR")
    parser.add_argument("-v", "--verbose", action="store_true", help="print the checks that pass, too")
    parser.add_argument(
        "--only", action="append", default=[], metavar="GROUP", help=f"a group, or GROUP.CASE: {groups}"
    )
    return parser.parse_args()


def main() -> int:
    """Run the suite; the exit code."""
    asked = arguments()
    cases = chosen(asked.only)
    if not cases:
        print(f"No such group: {', '.join(asked.only)}. Groups: {', '.join(sorted({case.group for case in CASES}))}")
        return 2
    report, started = Report(asked.verbose), time.monotonic()
    code = check(asked.directory, cases, report)
    counts = report.counts
    print(f"1..{sum(counts.values())}")
    summary = f"{counts['ok']} ok, {counts['not ok']} not ok, {counts['skip']} cases skipped"
    print(f"# {asked.directory}: {summary}, {len(cases)} cases in {time.monotonic() - started:.1f} s")
    return code


if __name__ == "__main__":
    assert subjects  # importing them fills CASES
    sys.exit(main())
