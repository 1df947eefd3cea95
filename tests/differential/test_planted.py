"""The comparison finds what is wrong: errors planted in the kernel's end are found.

A few in each run of the tests; all of them with `make stress`, and after each `make differential`.
"""

from __future__ import annotations

import pytest
from differential.block_device import can_be_had
from differential.planted import ON_DEVICE, PLANTED, Planted, Search
from differential.real import Machine

pytestmark = pytest.mark.kernel

SEEDS = range(400)
QUICK = frozenset(  # which need but a few programs
    {"INIT", "LOOKUP", "GETATTR", "MKDIR", "OPEN", "WRITE", "FLUSH", "RENAME", "NOTIFY_REPLY", *ON_DEVICE}
)


@pytest.fixture(scope="session")
def search(machine: Machine) -> Search:
    return Search(machine, SEEDS)


def skip_without_its_device(error: Planted) -> None:
    if error.opcode in ON_DEVICE and not can_be_had():
        pytest.skip("no loop device can be had here")


@pytest.mark.parametrize("error", [error for error in PLANTED if error.opcode in QUICK], ids=str)
def test_a_planted_error_is_found(search: Search, error: Planted) -> None:
    skip_without_its_device(error)
    assert search.finds(error) is not None


@pytest.mark.stress
@pytest.mark.limit(600)
@pytest.mark.parametrize("error", PLANTED, ids=str)
def test_every_planted_error_is_found(search: Search, error: Planted) -> None:
    skip_without_its_device(error)
    assert search.finds(error) is not None
