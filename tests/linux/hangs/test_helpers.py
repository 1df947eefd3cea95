"""A daemon that has another process do its work hangs when that one does; one that is merely kept waiting does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import hung_mounts
from fusewire.watch import Certainty, Scenario, State, cure, diagnose
from hung_mounts import Hang, until


@pytest.fixture
def hang(tmp_path: Path) -> Iterator[Hang]:
    """A daemon that starts a program to remove a file, which waits for the lock of who asked for it."""
    (tmp_path / "mnt").mkdir()
    hang = hung_mounts.start(tmp_path / "mnt", "child")
    try:
        hang.call("rm", "-f", hang.path("file"))
        until(lambda: hung_mounts.sleeps_in(child_of(hang), child_of(hang), "do_unlinkat"))
        yield hang
    finally:
        hang.end()


def child_of(hang: Hang) -> int:
    """Return the process that a daemon has started; 0 if there is none."""
    texts = (Path(f"/proc/{hang.daemon.pid}/task/{tid}/children") for tid in hung_mounts.tasks(hang.daemon.pid))
    return next((int(word) for text in texts for word in text.read_text().split()), 0)


def test_a_child_that_hangs_on_the_mount_is_found_and_named(hang: Hang) -> None:
    (found,) = diagnose(hang.connection, gap=0.05)
    assert (found.state, found.certainty) == (State.DEADLOCKED, Certainty.PROBABLE)
    assert found.scenario is Scenario.SELF_ACCESS
    edge = next(edge for edge in found.edges if edge.pid == child_of(hang))
    assert (edge.serves, edge.call, edge.holder) == (True, "unlink", hang.callers[0].pid)


def test_it_is_freed_and_its_daemon_lives(hang: Hang) -> None:
    said: list[str] = []
    after = cure(hang.connection, said.append)
    assert after is not None
    assert not after.is_sick, said
    assert hang.callers[0].wait(10) == 1
    assert hang.daemon.poll() is None
    assert not any("Kill" in sentence or "Abort" in sentence for sentence in said)
