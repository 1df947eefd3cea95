"""Programs by chance on the embedded kernel alone, looked at after each step: where Linux could be preempted, too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from differential.generate import generate

from differential import embedded
from fusewire import events
from watched_mounts import WatchedMount

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="programs run as several users: run the tests as root")


@pytest.fixture
def steps() -> Iterator[list[str]]:
    """Have every step be a stop; yield what is said at each."""
    said: list[str] = []
    events.hook = lambda event: said.append(event.text)
    yield said
    events.hook = None


@pytest.mark.parametrize("seed", range(12))
def test_the_invariants_hold_at_each_step(
    seed: int, tmp_path: Path, steps: list[str], watched: list[WatchedMount]
) -> None:
    embedded.run(generate(seed), str(tmp_path))
    assert len(steps) > 500
    assert len(watched) == 1
