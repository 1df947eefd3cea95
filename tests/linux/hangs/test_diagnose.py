"""Every way to hang is found, and called by its name; what does not hang is not said to.

The daemons are those of tests/hanging_daemon.py, each in a process of its own.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import hung_mounts
from fusewire.watch import Certainty, Diagnosis, Scenario, State, diagnose
from fusewire.watch.wait_graph import Kind
from hung_mounts import Hang, state, until

Start = Callable[..., Hang]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a daemon that hangs in the way that is named; all is cleared away at the end."""
    started: list[Hang] = []

    def start(way: str, *arguments: str) -> Hang:
        mountpoint = tmp_path / f"mnt{len(started)}"
        mountpoint.mkdir()
        started.append(hung_mounts.start(mountpoint, way, *arguments))
        return started[-1]

    yield start
    for hang in started:
        hang.end()


def look_at(hang: Hang) -> Diagnosis:
    """Diagnose one mount, in less time than people take."""
    (found,) = diagnose(hang.connection, gap=0.05)
    return found


def read(path: str) -> tuple[str, ...]:
    return "cat", path


def remove(path: str) -> tuple[str, ...]:
    return "rm", "-f", path


def stat(path: str) -> tuple[str, ...]:
    return "stat", path


# way, what somebody does to `file`, where the daemon then sleeps, the verdict
HANGS = [
    ("unlink", remove, "do_unlinkat", Certainty.CERTAIN, Scenario.SELF_ACCESS),
    ("lookup", stat, "d_alloc_parallel", Certainty.CERTAIN, Scenario.SELF_ACCESS),
    ("getattr", stat, "request_wait_answer", Certainty.CERTAIN, Scenario.SELF_ACCESS),
    ("read", read, "request_wait_answer", Certainty.CERTAIN, Scenario.SELF_ACCESS),
    ("invalidate", remove, "fuse_reverse_inval_entry", None, Scenario.INVALIDATION),
    ("fsync", remove, "folio_wait", Certainty.CERTAIN, Scenario.WRITEBACK),
    ("unlink_in_part", remove, "do_unlinkat", Certainty.PROBABLE, Scenario.SELF_ACCESS),
]


@pytest.mark.parametrize(("way", "deed", "function", "certainty", "scenario"), HANGS, ids=[row[0] for row in HANGS])
def test_a_hang_is_found(
    start: Start,
    way: str,
    deed: Callable[[str], tuple[str, ...]],
    function: str,
    certainty: Certainty | None,
    scenario: Scenario,
) -> None:
    hang = start(way)
    caller = hang.call(*deed(hang.path("file")))
    hang.settle(function)
    found = look_at(hang)
    assert (found.state, found.scenario) == (State.DEADLOCKED, scenario), found
    assert found.certainty is certainty or certainty is None
    assert found.partial == (way == "unlink_in_part")
    assert found.mountpoints == (str(hang.mountpoint),)
    assert [server.pid for server in found.servers] == [hang.daemon.pid]
    assert found.edges[0].serves
    assert found.edges[0].pid == hang.daemon.pid
    assert caller.pid in {edge.pid for edge in found.edges}


def test_the_holder_of_a_lock_is_named(start: Start) -> None:
    hang = start("unlink")
    caller = hang.call(*remove(hang.path("file")))
    hang.settle("do_unlinkat")
    edge, other = look_at(hang).edges
    assert (edge.kind, edge.call, edge.path, edge.holder) == (Kind.LOCK, "unlink", hang.path("file"), caller.pid)
    assert (other.kind, other.tid, other.connections) == (Kind.REQUEST, caller.pid, (hang.connection,))


def test_all_threads_of_a_daemon_may_be_stuck(start: Start) -> None:
    hang = start("threads")
    for _ in range(3):
        hang.call(*stat(hang.path("file")))
    until(lambda: sum(server.blocked for server in look_at(hang).servers) == 3)
    found = look_at(hang)
    assert (found.state, found.certainty) == (State.DEADLOCKED, Certainty.CERTAIN)
    assert found.scenario is Scenario.ALL_REENTERED


def test_daemons_that_wait_for_each_other_are_both_found(start: Start, tmp_path: Path) -> None:
    one = start("cross", str(tmp_path / "mnt1" / "file"))
    other = start("cross", str(tmp_path / "mnt0" / "other"))
    one.call(*stat(one.path("file")))
    other.settle("request_wait_answer")
    for hang in (one, other):
        found = look_at(hang)
        assert (found.state, found.certainty) == (State.DEADLOCKED, Certainty.CERTAIN), found
        assert found.scenario is Scenario.CROSS_MOUNT


def test_the_kamikaze_is_found(start: Start) -> None:
    hang = start("page_fault")
    hang.settle("folio_wait")
    found = look_at(hang)
    assert (found.state, found.certainty) == (State.DEADLOCKED, Certainty.CERTAIN), found
    assert found.scenario is Scenario.PAGE_FAULT
    assert {edge.call for edge in found.edges} == {"write", "page fault"}
    assert found.cure == f"kill -KILL {hang.daemon.pid}"


def test_a_daemon_that_dies_into_its_own_flush_is_found(start: Start) -> None:
    hang = start("exit_flush")
    hang.daemon.kill()
    until(
        lambda: any(
            hung_mounts.sleeps_in(hang.daemon.pid, tid, "request_wait") for tid in hung_mounts.tasks(hang.daemon.pid)
        )
    )
    found = look_at(hang)
    assert (found.state, found.scenario) == (State.DEADLOCKED, Scenario.EXIT_FLUSH), found
    assert found.edges[0].pid == hang.daemon.pid
    assert found.cure.endswith(f"connections/{hang.connection}/abort")


def test_a_daemon_that_is_held_back_by_its_own_pages_is_suspected(start: Start) -> None:
    hang = start("big_write")
    hang.call(*remove(hang.path("file")))
    hang.settle("balance_dirty_pages")
    looks = (look_at(hang) for _ in range(20))  # it wakes to look, now and then, and then it is just busy
    found = next(found for found in looks if found.state is State.DEADLOCKED)
    assert (found.scenario, found.certainty) == (Scenario.WRITEBACK, Certainty.SUSPECTED)


# --- sick, but no deadlock


def test_a_stopped_daemon_is_told_to_go_on(start: Start) -> None:
    hang = start("idle")
    hang.daemon.send_signal(signal.SIGSTOP)
    until(lambda: state(hang.daemon.pid) == "T")
    hang.call(*stat(hang.path("file")))
    found = look_at(hang)
    assert (found.state, found.scenario) == (State.STOPPED, Scenario.STOPPED)
    assert found.cure == f"kill -CONT {hang.daemon.pid}"


def test_a_mount_without_a_daemon_is_dead(start: Start) -> None:
    hang = start("idle")
    hang.daemon.kill()
    hang.daemon.wait()
    found = look_at(hang)
    assert (found.state, found.scenario, found.servers) == (State.DEAD, Scenario.DEAD, ())
    assert found.cure == f"fusewire umount --lazy {hang.mountpoint}"


def test_a_child_that_inherited_the_device_is_found(start: Start) -> None:
    hang = start("forked_child")
    (child,) = map(int, Path(f"/proc/{hang.daemon.pid}/task/{hang.daemon.pid}/children").read_text().split())
    hang.daemon.kill()
    hang.daemon.wait()
    try:
        hang.call(*stat(hang.path("file")))
        until(lambda: look_at(hang).state is State.SLOW)
        found = look_at(hang)
        assert found.scenario is Scenario.FORKED_CHILD
        assert [server.pid for server in found.servers] == [child]
        assert found.cure == f"kill {child}"
    finally:
        os.kill(child, signal.SIGKILL)


# --- well


def test_a_mount_of_which_nobody_asks_anything_is_idle(start: Start) -> None:
    found = look_at(start("idle"))
    assert (found.state, found.waiting, found.edges, found.cure) == (State.IDLE, 0, (), "")


@pytest.mark.parametrize("way", [pytest.param("slow", marks=pytest.mark.stress), "uses_itself"])
def test_a_daemon_that_takes_its_time_is_slow_and_not_deadlocked(start: Start, way: str) -> None:
    hang = start(way)
    caller = hang.call(*remove(hang.path("file")))
    assert look_at(hang).state in (State.BUSY, State.SLOW)
    until(lambda: look_at(hang).state is State.SLOW)
    found = look_at(hang)
    assert found.scenario is None
    assert [edge.pid for edge in found.edges] == [caller.pid]
    assert not found.is_sick


def test_a_mount_under_load_is_not_called_deadlocked(start: Start) -> None:
    hang = start("idle")
    done = threading.Event()

    def use() -> None:
        while not done.is_set():
            os.stat(hang.path("file"))
            Path(hang.path("file")).read_bytes()

    users = [threading.Thread(target=use) for _ in range(3)]
    for user in users:
        user.start()
    try:
        states = {look_at(hang).state for _ in range(3)}
    finally:
        done.set()
        for user in users:
            user.join()
    assert states <= {State.IDLE, State.BUSY}


# --- looking


def test_looking_takes_less_than_two_seconds_and_opens_nothing_of_a_mount(start: Start) -> None:
    """Had it asked anything of the mount, which is stopped, it would hang as well."""
    hang = start("idle")
    hang.daemon.send_signal(signal.SIGSTOP)
    until(lambda: state(hang.daemon.pid) == "T")
    began = time.monotonic()
    found = look_at(hang)
    assert time.monotonic() - began < 2
    assert found.waiting == 0
    assert sys.version_info >= (3, 11)
