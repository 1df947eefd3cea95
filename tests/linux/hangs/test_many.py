"""Long ones: many looks at mounts that are well but busy, and a look at a machine with many processes."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import fusewire
import hung_mounts
from fusewire.filesystems import LocalDirectory
from fusewire.watch import Certainty, State, diagnose
from kernel_mounts import fuse_mounts

pytestmark = pytest.mark.stress

LOAD = """
while :; do
    ls -l {0}; cat {0}/*; mkdir {0}/made; mv {0}/made {0}/moved; rmdir {0}/moved
    for name in a b c; do echo text > {0}/new$name; rm -f {0}/new$name; done
done
"""


@pytest.fixture
def loaded(tmp_path: Path) -> Iterator[int]:
    """The connection of a mount that four processes use as fast as they can."""
    (tmp_path / "source").mkdir()
    (tmp_path / "mnt").mkdir()
    for number in range(20):
        (tmp_path / "source" / f"file{number}").write_bytes(bytes(200_000))
    with fusewire.mount(LocalDirectory(tmp_path / "source"), tmp_path / "mnt"):
        script = LOAD.format(tmp_path / "mnt")
        command = ["sh", "-c", script]
        users = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(4)]
        yield next(mount.minor for mount in fuse_mounts() if mount.path == tmp_path / "mnt")
        for user in users:
            user.kill()
            user.wait()


@pytest.mark.limit(300)
def test_five_hundred_looks_at_a_busy_mount_call_it_nothing_worse(loaded: int) -> None:
    seen: Counter[tuple[State, Certainty]] = Counter()
    for number in range(500):
        seen.update((found.state, found.certainty) for found in diagnose(loaded, gap=0.01 * (number % 5)))
    assert {state for state, _ in seen} <= {State.IDLE, State.BUSY, State.SLOW}, seen
    assert seen[State.BUSY, Certainty.CERTAIN] > 100


@pytest.mark.limit(120)
def test_a_look_at_two_thousand_processes_takes_less_than_two_seconds(tmp_path: Path) -> None:
    (tmp_path / "mnt").mkdir()
    hang = hung_mounts.start(tmp_path / "mnt", "getattr")
    sleepers = [subprocess.Popen(["sleep", "600"]) for _ in range(2000)]
    try:
        hang.call("stat", hang.path("file"))
        hang.settle("request_wait_answer")
        began = time.monotonic()
        (found,) = diagnose(hang.connection)
        assert time.monotonic() - began < 2
        assert (found.state, found.certainty) == (State.DEADLOCKED, Certainty.CERTAIN)
    finally:
        hang.end()
        for sleeper in sleepers:
            sleeper.kill()
        for sleeper in sleepers:
            sleeper.wait()
