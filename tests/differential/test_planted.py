"""The comparison finds what is wrong: errors planted in the kernel's end are found.

A few in each run of the tests; all of them with `make stress`, and after each `make differential`.
"""

from __future__ import annotations

import pytest
from differential.planted import PLANTED, Planted, Search
from differential.real import Machine

pytestmark = pytest.mark.kernel

SEEDS = range(400)
QUICK = frozenset({"LOOKUP", "GETATTR", "MKDIR", "OPEN", "WRITE", "FLUSH", "RENAME"})  # which need but a few programs


@pytest.fixture(scope="session")
def search(machine: Machine) -> Search:
    return Search(machine, SEEDS)


@pytest.mark.parametrize("error", [error for error in PLANTED if error.opcode in QUICK], ids=str)
def test_a_planted_error_is_found(search: Search, error: Planted) -> None:
    assert search.finds(error) is not None


@pytest.mark.stress
@pytest.mark.limit(600)
@pytest.mark.parametrize("error", PLANTED, ids=str)
def test_every_planted_error_is_found(search: Search, error: Planted) -> None:
    assert search.finds(error) is not None
