#!/usr/bin/env python3
"""Check what POSIX and Linux promise about files, in a directory: python torture/posix.py DIR

Run it as root on a mount that other users may enter (allow_other); otherwise the checks
that need other users are skipped, by name. Or on an embedded kernel, which needs no root and
mounts nothing: python torture/posix.py --embedded memory [--minor 31]. The report is TAP; the exit
code is 1 if a check failed and 2 if a system call did not come back.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # also when run as a file

from torture.conformance import subjects
from torture.conformance.actors import OnLinux, Place
from torture.conformance.embedded import FILESYSTEMS, on_embedded_kernel
from torture.conformance.expected import Expected
from torture.conformance.tester import CASES, Case, Hung, Result, Tester

NEWEST = 45
LONG = ("times", "readdir", "sticky", "data", "paths")  # groups that take most of the time


class Report:
    """Prints results as they come, and counts them."""

    def __init__(self, verbose: bool, expected: Expected) -> None:
        self.verbose = verbose
        self.expected = expected
        self.counts: Counter[str] = Counter()

    def __call__(self, result: Result) -> None:
        reason = self.expected.reason(result.label) if result.verdict == "not ok" else ""
        self.counts["expected" if reason else result.verdict] += 1
        number = sum(self.counts.values())
        if result.verdict == "skip":
            print(f"ok {number} - {result.label} # SKIP {result.detail}", flush=True)
        elif result.verdict == "not ok":
            todo = f" # TODO {reason}" if reason else ""
            if self.verbose or not reason:
                print(f"not ok {number} - {result.label}{todo}\n#      {result.detail}", flush=True)
        elif self.verbose:
            print(f"ok {number} - {result.label}", flush=True)


def chosen(only: list[str], quick: bool) -> list[Case]:
    """The cases of some groups, or the cases named `group.case`, or all; but for LONG, if it is to be quick."""
    cases = [case for case in CASES if not only or case.group in only or f"{case.group}.{case.name}" in only]
    return [case for case in cases if not (quick and case.group in LONG)]


@contextmanager
def in_directory(directory: str) -> Iterator[Place]:
    """A new directory below one of this machine's, for a while."""
    home = tempfile.mkdtemp(prefix="posix-", dir=directory)
    os.chmod(home, 0o755)
    base = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    yield OnLinux(base)
    os.close(base)
    os.rmdir(home)


def check(place: Place, cases: list[Case], report: Report) -> int:
    """Run cases at a place; the exit code."""
    tester = Tester(place, report)
    try:
        for number, case in enumerate(cases):
            tester.run(case, number)
    except Hung as call:
        print(f"Bail out! no answer to {tester.prefix}: {call}", flush=True)
        return 2
    tester.end()
    return 1 if report.counts["not ok"] else 0


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description="Check what POSIX and Linux promise about files, in a directory.")
    groups = ", ".join(sorted({case.group for case in CASES}))
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("directory", metavar="DIR", nargs="?")
    where.add_argument("--embedded", choices=FILESYSTEMS, help="a filesystem on an embedded kernel")
    parser.add_argument("--minor", type=int, default=NEWEST, help="of the embedded kernel's ABI, 7.minor (default: 45)")
    parser.add_argument("--quick", action="store_true", help=f"without {', '.join(LONG)}")
    parser.add_argument("-v", "--verbose", action="store_true", help="print the checks that pass, too")
    parser.add_argument(
        "--only", action="append", default=[], metavar="GROUP", help=f"a group, or GROUP.CASE: {groups}"
    )
    return parser.parse_args()


def main() -> int:
    """Run the suite; the exit code."""
    asked = arguments()
    cases = chosen(asked.only, asked.quick)
    if not cases:
        print(f"No such group: {', '.join(asked.only)}. Groups: {', '.join(sorted({case.group for case in CASES}))}")
        return 2
    expected = Expected(asked.embedded, asked.minor) if asked.embedded else Expected("", NEWEST)
    report, started = Report(asked.verbose, expected), time.monotonic()
    place = on_embedded_kernel(asked.embedded, asked.minor) if asked.embedded else in_directory(asked.directory)
    with place as here:
        code = check(here, cases, report)
    if not asked.only:
        run = {case.group for case in cases}
        for row in [row for row in expected.unused if row.checks.split(".")[0] in run]:
            print(f"not ok - {row.checks}: fails. {row.reason}\n#      nothing of it failed")
            code = 1
    counts = report.counts
    print(f"1..{sum(counts.values())}")
    summary = f"{counts['ok']} ok, {counts['not ok']} not ok, {counts['skip']} cases skipped"
    older = f", {counts['expected']} as expected" if counts["expected"] else ""
    name = f"{asked.embedded} on 7.{asked.minor}" if asked.embedded else asked.directory
    print(f"# {name}: {summary}{older}, {len(cases)} cases in {time.monotonic() - started:.1f} s")
    return code


if __name__ == "__main__":
    assert subjects  # importing them fills CASES
    sys.exit(main())
