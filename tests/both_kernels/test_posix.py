"""The POSIX suite (torture/posix.py) on both kernels: whatever Linux's own filesystems do, these three do, too.

What an old kernel, or a filesystem of nodes, cannot do stands in a table with its reasons:
torture/conformance/expected.py. The suite is a program of its own: here, each step of an embedded kernel
would be looked at, which takes ten times as long; a few groups are enough for that.
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
from torture.conformance.tester import CASES, Result
from torture.conformance.tree import Folder

import fusewire
from fusewire.filesystems import Memory
from fusewire.served import Served
from two_kernels import MINORS

assert subjects  # importing them fills CASES

SUITE = Path(__file__).resolve().parents[2] / "torture/posix.py"
WATCHED = ("open", "link", "unlink", "renameat2", "offsets", "locks", "mkdir", "symlink")  # groups

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="acts in the name of several users: run the tests as root")


def suite(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SUITE, *arguments], capture_output=True, text=True, errors="replace", timeout=110, check=False
    )


@pytest.mark.limit(120)
@pytest.mark.parametrize("minor", MINORS)
@pytest.mark.parametrize("filesystem", ["memory", pytest.param("local", marks=as_root), "nodes"])
def test_on_an_embedded_kernel(filesystem: str, minor: int) -> None:
    all_of_it = (filesystem, minor) == ("memory", 45)
    done = suite("--embedded", filesystem, "--minor", str(minor), *(() if all_of_it else ("--quick",)))
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 not ok," in done.stdout


@pytest.mark.limit(60)
def test_with_every_step_of_the_kernel_looked_at() -> None:
    failed: list[Result] = []
    with on_embedded_kernel("memory", 45) as place:
        run = tester.Tester(place, lambda result: failed.append(result) if result.verdict == "not ok" else None)
        for number, case in enumerate(CASES):
            if case.group in WATCHED:
                run.run(case, number)
        run.end()
    assert failed == []


@pytest.mark.kernel
@pytest.mark.limit(120)
@pytest.mark.parametrize(("filesystem", "what"), [("memory", Memory), ("nodes", Folder)])
def test_on_linux(mountpoint: Path, filesystem: str, what: type[Served]) -> None:
    """The local directory is compared with its source: tests/linux/test_local.py."""
    with fusewire.mount(what(), str(mountpoint), allow_other=os.geteuid() == 0, strict=True):
        done = suite(mountpoint)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    failed = [line.split(" - ", 1)[1] for line in done.stdout.splitlines() if line.startswith("not ok")]
    expected = Expected(filesystem, 45)
    assert [label for label in failed if not expected.reason(label)] == []
    assert expected.unused == [] or os.geteuid() != 0


def test_each_difference_has_its_reason() -> None:
    groups = {case.group for case in CASES}
    for row in DIFFERENCES:
        assert row.reason
        assert row.checks.split(".")[0] in groups
