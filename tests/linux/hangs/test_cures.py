"""The mildest cure works: the daemon lives where it can, who waited goes on, and the mount answers or is gone."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import hung_mounts
from fusewire.watch import State, cure, diagnose
from hung_mounts import Hang, state, until
from kernel_mounts import mounts

Start = Callable[..., Hang]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a daemon that hangs in the way that is named."""
    started: list[Hang] = []

    def start(way: str) -> Hang:
        (tmp_path / "mnt").mkdir()
        started.append(hung_mounts.start(tmp_path / "mnt", way))
        return started[0]

    yield start
    for hang in started:
        hang.end()


def answers(hang: Hang) -> bool:
    """Tell whether the mount answers within some seconds."""
    probe = subprocess.run(["stat", hang.mountpoint], capture_output=True, timeout=10, check=False)
    return probe.returncode == 0 and b"directory" in probe.stdout


def is_mounted(hang: Hang) -> bool:
    return any(found.path == hang.mountpoint for found in mounts())


OPERATIONS = [
    # way, caller, where the daemon sleeps, what the caller returns
    ("unlink", ["rm", "-f"], "do_unlinkat", 1),
    *(
        pytest.param(*row, marks=pytest.mark.stress)
        for row in [
            ("unlink_in_part", ["rm", "-f"], "do_unlinkat", 1),
            ("lookup", ["stat"], "d_alloc_parallel", 1),
            ("getattr", ["stat"], "request_wait_answer", 1),
            ("invalidate", ["rm", "-f"], "fuse_reverse_inval_entry", 1),
        ]
    ),
]


@pytest.mark.parametrize(("way", "caller", "function", "status"), OPERATIONS)
def test_one_request_is_answered_and_the_daemon_lives(
    start: Start, way: str, caller: list[str], function: str, status: int
) -> None:
    hang = start(way)
    process = hang.call(*caller, hang.path("file"))
    hang.settle(function)
    said: list[str] = []
    after = cure(hang.connection, said.append)
    assert after is not None
    assert not after.is_sick, (after, said)
    assert process.wait(10) == status
    assert hang.daemon.poll() is None
    assert answers(hang)
    assert said[0] == "Answer the request that closes the circle with EDEADLK"
    assert not any("Kill" in sentence or "Abort" in sentence for sentence in said)


def test_where_every_thread_asks_its_own_mount_no_caller_sees_an_error(start: Start) -> None:
    hang = start("threads")
    callers = [hang.call("stat", hang.path("file")) for _ in range(3)]
    until(
        lambda: (
            sum(hung_mounts.sleeps_in(hang.daemon.pid, t, "request_wait") for t in hung_mounts.tasks(hang.daemon.pid))
            == 3
        )
    )
    after = cure(hang.connection, lambda _: None)
    assert after is not None
    assert not after.is_sick
    assert [caller.wait(10) for caller in callers] == [0, 0, 0]
    assert hang.daemon.poll() is None


def test_daemons_that_wait_for_each_other_are_parted(tmp_path: Path) -> None:
    """The request of the one to the other is answered: its caller may see an error, the others' callers none."""
    hangs: list[Hang] = []
    try:
        for name, other in (("one", "other/file"), ("other", "one/other")):
            (tmp_path / name).mkdir()
            hangs.append(hung_mounts.start(tmp_path / name, "cross", f"{tmp_path}/{other}"))
        caller = hangs[0].call("stat", hangs[0].path("file"))
        hangs[1].settle("request_wait_answer")
        said: list[str] = []
        after = cure(hangs[0].connection, said.append)
        assert after is not None
        assert not after.is_sick, said
        caller.wait(10)
        assert [hang.daemon.poll() for hang in hangs] == [None, None]
        assert all(map(answers, hangs))
        assert not any("Abort" in sentence for sentence in said)
    finally:
        for hang in hangs:
            hang.end()


def test_a_daemon_that_was_stopped_goes_on(start: Start) -> None:
    hang = start("idle")
    hang.daemon.send_signal(signal.SIGSTOP)
    until(lambda: state(hang.daemon.pid) == "T")
    caller = hang.call("stat", hang.path("file"))
    said: list[str] = []
    after = cure(hang.connection, said.append)
    assert after is not None
    assert after.state is State.IDLE
    assert caller.wait(10) == 0
    assert said[0] == f"Let python (pid {hang.daemon.pid}) go on: SIGCONT"
    assert said[1].startswith(f"  stat (pid {caller.pid}) goes on")


def test_a_kamikaze_is_killed_and_what_is_left_unmounted(start: Start) -> None:
    hang = start("page_fault")
    hang.settle("folio_wait")
    said: list[str] = []
    assert cure(hang.connection, said.append) is None
    assert [sentence.partition(" ")[0] for sentence in said if not sentence.startswith(" ")] == ["Kill", "Unmount"]
    assert hang.daemon.wait(10) == -signal.SIGKILL
    assert not is_mounted(hang)


@pytest.mark.parametrize("way", [pytest.param("fsync", marks=pytest.mark.stress), "exit_flush"])
def test_what_nothing_else_ends_is_aborted(start: Start, way: str) -> None:
    hang = start(way)
    if way == "fsync":
        hang.call("rm", "-f", hang.path("file"))
        hang.settle("folio_wait")
    else:
        hang.daemon.kill()
        hang.settle("request_wait")
    said: list[str] = []
    after = cure(hang.connection, said.append)
    assert after is None or not after.is_sick
    assert said[0] == "Abort the connection: every call on the mount fails"
    assert hang.daemon.wait(10) is not None


def test_a_mount_without_a_daemon_is_taken_away(start: Start) -> None:
    hang = start("idle")
    hang.daemon.kill()
    hang.daemon.wait()
    said: list[str] = []
    assert cure(hang.connection, said.append) is None
    assert said == [f"Unmount {hang.mountpoint}"]
    assert not is_mounted(hang)


def test_a_mount_that_is_well_is_left_alone(start: Start) -> None:
    hang = start("slow")
    caller = hang.call("rm", "-f", hang.path("file"))
    said: list[str] = []
    after = cure(hang.connection, said.append)
    assert after is not None
    assert after.state in (State.BUSY, State.SLOW)
    assert (said, caller.poll()) == ([], None)


OURS = """
import os, fusewire

class Reentered(fusewire.File):
    def read(self, offset, size):
        os.stat({path!r})
        return b""

root = {{"file": Reentered(), "other": b""}}
"""


@pytest.mark.stress
def test_a_daemon_that_has_its_own_request_in_a_queue_survives(tmp_path: Path) -> None:
    """Ours has a thread that reads, and others that answer: its request is read, and waits for who waits for it."""
    module = tmp_path / "reentered.py"
    module.write_text(OURS.format(path=f"{tmp_path}/mnt/other"))
    command = [sys.executable, "-m", "fusewire", "mount", f"{module}:root", "--threads", "1"]
    hang = hung_mounts.start_program(tmp_path / "mnt", command)
    try:
        callers = [hang.call("cat", hang.path("file")) for _ in range(3)]
        until(lambda: diagnose(hang.connection, gap=0.05)[0].state is State.DEADLOCKED)
        said: list[str] = []
        after = cure(hang.connection, said.append)
        assert after is not None
        assert not after.is_sick, said
        for caller in callers:
            caller.wait(10)
        assert hang.daemon.poll() is None
        assert answers(hang)
    finally:
        hang.end()


@pytest.mark.parametrize("options", [pytest.param(["-s"], marks=pytest.mark.stress), []], ids=["one thread", "threads"])
def test_a_stock_daemon_in_c_survives_the_command(reentered: Path, tmp_path: Path, options: list[str]) -> None:
    hang = hung_mounts.start_program(tmp_path / "mnt", [str(reentered), "-f", *options])
    try:
        caller = hang.call("rm", "-f", hang.path("file"))
        hang.settle("do_unlinkat")
        command = [sys.executable, "-m", "fusewire", "doctor", "--fix", str(hang.mountpoint)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == 1, done.stdout + done.stderr
        assert f"rm (pid {caller.pid}) goes on" in done.stdout
        assert caller.wait(10) == 1
        assert hang.daemon.poll() is None
        assert answers(hang)
    finally:
        hang.end()
