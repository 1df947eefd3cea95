"""Programs that run on both kernels: the package `differential` stands beside `src`, and is not installed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from differential.comparer import Comparer
from differential.real import Machine


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    """Where programs run on Linux; the whole run of the tests is in a mount namespace of its own already."""
    if os.geteuid() != 0:
        pytest.skip("programs run as several users: run the tests as root")
    with Machine() as made:
        yield made


@pytest.fixture
def comparer(machine: Machine) -> Comparer:
    return Comparer(machine)
