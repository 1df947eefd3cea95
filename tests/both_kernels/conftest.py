"""Tests in this directory run on both kernels: Linux's own, mounted, and the embedded one of each ABI that people run.

They make system calls through an actor of the POSIX suite (torture/conformance), which is a child of the run on
Linux, and a process of the embedded kernel otherwise. What it does, and what it must find, is written once.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the package `torture` is not installed

from two_kernels import MINORS, AnyKernel, Asked, EmbeddedKernel, LinuxKernel


@pytest.fixture(params=[pytest.param("linux", marks=pytest.mark.kernel), *MINORS], ids=str)
def kernel(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AnyKernel]:
    """Linux, or an embedded kernel of a minor."""
    if request.param == "linux":
        mountpoint: Path = request.getfixturevalue("mountpoint")
        with LinuxKernel(mountpoint) as linux:
            yield linux
    else:
        yield EmbeddedKernel(request.param)


@pytest.fixture
def asked(caplog: pytest.LogCaptureFixture) -> Asked:
    """Return what the filesystem was asked since the last call, as far as the line matches a pattern."""
    caplog.set_level(logging.DEBUG, "fusewire.requests")

    def since(pattern: str = "") -> list[str]:
        found = [line for line in caplog.messages if re.match(pattern, line)]
        caplog.clear()
        return found

    return since
