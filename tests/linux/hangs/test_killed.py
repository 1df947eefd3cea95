"""A daemon that was killed and cannot die, since a thread of it waits, deaf to signals, for the daemon's own mount.

Its leader is gone by then, and with it what /proc shows of a process by its leader: descriptors, memory, namespaces.
The thread that is left has the device all the same, so nothing but an abort ends it.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import hung_mounts
from fusewire.watch import Certainty, Diagnosis, Scenario, State, cure, diagnose
from fusewire.watch.overview import Overview
from fusewire.watch.words import headline
from hung_mounts import Hang, state, until


@pytest.fixture
def hang(tmp_path: Path) -> Iterator[Hang]:
    """A daemon of two threads: the leader that waits for the other, and that one, which hangs. It was killed."""
    (tmp_path / "mnt").mkdir()
    hang = hung_mounts.start(tmp_path / "mnt", "unlink")
    try:
        hang.call("rm", "-f", hang.path("file"))
        hang.settle("do_unlinkat")
        hang.daemon.send_signal(signal.SIGKILL)
        until(lambda: state(hang.daemon.pid) == "Z")
        yield hang
    finally:
        hang.end()


def look_at(hang: Hang) -> Diagnosis:
    (found,) = diagnose(hang.connection, gap=0.05)
    return found


def test_it_is_found_though_its_leader_is_gone(hang: Hang) -> None:
    found = look_at(hang)
    assert [(server.pid, server.certain) for server in found.servers] == [(hang.daemon.pid, True)]
    assert (found.state, found.certainty) == (State.DEADLOCKED, Certainty.CERTAIN)
    first = found.edges[0]
    assert (first.serves, first.pid, first.holder) == (True, hang.daemon.pid, hang.callers[0].pid)
    assert (first.call, first.path) == ("unlink", hang.path("file"))


def test_it_is_said_that_it_dies_and_that_only_an_abort_helps(hang: Hang) -> None:
    found = look_at(hang)
    assert found.scenario is Scenario.KILLED
    assert "the daemon was killed, and cannot die" in headline(found)
    assert not found.killable
    assert found.cure.endswith(f"connections/{hang.connection}/abort")


def test_the_abort_lets_everybody_go_on(hang: Hang) -> None:
    said: list[str] = []
    after = cure(hang.connection, said.append)
    assert after is None or not after.is_sick
    assert said[0] == "Abort the connection: every call on the mount fails"
    assert hang.callers[0].wait(10) == 1
    assert hang.daemon.wait(10) == -signal.SIGKILL


def test_top_names_it_too(hang: Hang) -> None:
    with Overview(trace=False) as overview:
        row = next(row for row in overview.refresh().rows if row.number == hang.connection)
    assert (row.blocked, row.blocked_in) == (1, ["do_unlinkat"])
    assert row.diagnosis.daemon == f"python (pid {hang.daemon.pid})"


def test_a_leader_that_merely_left_its_threads_behind_is_no_corpse(tmp_path: Path) -> None:
    """A daemon whose main thread has ended by pthread_exit goes on serving."""
    (tmp_path / "mnt").mkdir()
    hang = hung_mounts.start(tmp_path / "mnt", "leaderless")
    try:
        until(lambda: state(hang.daemon.pid) == "Z")
        (tmp_path / "mnt" / "file").stat()
        found = look_at(hang)
        assert [server.pid for server in found.servers] == [hang.daemon.pid]
        assert (found.state, found.scenario) == (State.IDLE, None)
    finally:
        hang.end()
