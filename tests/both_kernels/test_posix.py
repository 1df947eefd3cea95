"""The POSIX suite (torture/posix.py) on both kernels: whatever Linux's own filesystems do, these three do, too.

What an old kernel, or a filesystem of nodes, cannot do stands in a table with its reasons:
torture/conformance/expected.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from torture.conformance import subjects, tester
from torture.conformance.embedded import on_embedded_kernel
from torture.conformance.expected import DIFFERENCES, Expected
from torture.conformance.tester import CASES, Case, Result
from torture.conformance.tree import Folder

import fusewire
from fusewire.filesystems import Memory
from fusewire.served import Served
from two_kernels import MINORS

assert subjects  # importing them fills CASES

SUITE = Path(__file__).resolve().parents[2] / "torture/posix.py"
LONG = ("times", "readdir", "sticky", "data", "paths")  # groups that take most of the time

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="acts in the name of several users: run the tests as root")


def failures(filesystem: str, minor: int, cases: list[Case]) -> tuple[list[str], Expected]:
    """What fails on an embedded kernel, and what was expected to."""
    expected, found = Expected(filesystem, minor), []

    def report(result: Result) -> None:
        if result.verdict == "not ok" and not expected.reason(result.label):
            found.append(f"{result.label}: {result.detail}")

    with on_embedded_kernel(filesystem, minor) as place:
        suite = tester.Tester(place, report)
        for number, case in enumerate(cases):
            suite.run(case, number)
        suite.end()
    return found, expected


@pytest.mark.limit(120)
def test_all_of_it_on_the_newest_embedded_kernel() -> None:
    found, _ = failures("memory", 45, CASES)
    assert found == []


@pytest.mark.limit(120)
@pytest.mark.parametrize("minor", MINORS)
@pytest.mark.parametrize("filesystem", ["memory", pytest.param("local", marks=as_root), "nodes"])
def test_most_of_it_on_each_embedded_kernel(filesystem: str, minor: int) -> None:
    found, expected = failures(filesystem, minor, [case for case in CASES if case.group not in LONG])
    assert found == []
    assert [row for row in expected.unused if row.checks.split(".")[0] not in LONG] == []


def test_each_difference_has_its_reason() -> None:
    groups = {case.group for case in CASES}
    for row in DIFFERENCES:
        assert row.reason
        assert row.checks.split(".")[0].rstrip("*") in groups


@pytest.mark.kernel
@pytest.mark.limit(120)
@pytest.mark.parametrize(("filesystem", "what"), [("memory", Memory), ("nodes", Folder)])
def test_all_of_it_on_linux(mountpoint: Path, filesystem: str, what: type[Served]) -> None:
    """The local directory is compared with its source: tests/linux/test_local.py."""
    with fusewire.mount(what(), str(mountpoint), allow_other=os.geteuid() == 0, strict=True):
        done = subprocess.run(
            [sys.executable, SUITE, mountpoint], capture_output=True, text=True, timeout=110, check=False
        )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    failed = [line.split(" - ", 1)[1] for line in done.stdout.splitlines() if line.startswith("not ok")]
    expected = Expected(filesystem, 45)
    assert [label for label in failed if not expected.reason(label)] == []
    assert expected.unused == [] or os.geteuid() != 0
