"""A hang is found wherever it is looked at from: through other filesystems, other namespaces, symlinks, by others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import hung_mounts
from fusewire.watch import Certainty, Scenario, State, diagnose
from hung_mounts import Hang, until
from kernel_mounts import mounts
from namespaces import MNT_DETACH, bind, mount, umount
from ordinary_user import python_as_user


@pytest.fixture
def hang(tmp_path: Path) -> Iterator[Hang]:
    """A mount whose daemon is stopped."""
    (tmp_path / "mnt").mkdir()
    hang = hung_mounts.start(tmp_path / "mnt", "idle")
    hang.daemon.send_signal(signal.SIGSTOP)
    until(lambda: hung_mounts.state(hang.daemon.pid) == "T")
    yield hang
    hang.end()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory, on which something may be mounted."""
    path = tmp_path / "place"
    path.mkdir()
    yield path
    while any(found.path == path for found in mounts()):
        umount(path, MNT_DETACH)


def who_waits(hang: Hang) -> list[tuple[int, str]]:
    """Return the pids of those who are seen to wait for a mount and no other, and the paths that they ask for."""
    (found,) = diagnose(hang.connection, gap=0)
    return [(edge.pid, edge.path) for edge in found.edges if edge.connections == (hang.connection,)]


def test_by_a_symlink(hang: Hang, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(hang.mountpoint)
    caller = hang.call("stat", f"{tmp_path}/link/file")
    assert who_waits(hang) == [(caller.pid, f"{tmp_path}/link/file")]


def test_by_a_relative_path(hang: Hang, tmp_path: Path) -> None:
    caller = hang.call("sh", "-c", f"cd {tmp_path}; exec stat mnt/file")
    assert who_waits(hang) == [(caller.pid, f"{tmp_path}/mnt/file")]


def test_by_a_bind_mount(hang: Hang, place: Path) -> None:
    bind(hang.mountpoint, place)
    caller = hang.call("stat", f"{place}/file")
    assert who_waits(hang) == [(caller.pid, f"{place}/file")]
    (found,) = diagnose(hang.connection, gap=0)
    assert sorted(found.mountpoints) == sorted([str(hang.mountpoint), str(place)])


def test_by_an_overlay_on_top(tmp_path: Path, place: Path) -> None:
    """It is mounted while the daemon answers."""
    (tmp_path / "mnt").mkdir()
    (tmp_path / "empty").mkdir()
    hang = hung_mounts.start(tmp_path / "mnt", "idle")
    try:
        try:
            mount("overlay", place, "overlay", 0, f"lowerdir={tmp_path}/mnt:{tmp_path}/empty")
        except OSError as error:
            pytest.skip(f"no overlay can be mounted on FUSE here: {error}")
        hang.daemon.send_signal(signal.SIGSTOP)
        until(lambda: hung_mounts.state(hang.daemon.pid) == "T")
        caller = hang.call("stat", f"{place}/file")
        assert who_waits(hang) == [(caller.pid, f"{place}/file")]
    finally:
        hang.end()


def test_from_another_mount_namespace(hang: Hang) -> None:
    """Which is what a container is, to a mount."""
    caller = hang.call("unshare", "-m", "sh", "-c", f"mount --bind {hang.mountpoint} /mnt; exec stat /mnt/file")
    assert who_waits(hang) == [(caller.pid, "/mnt/file")]
    (found,) = diagnose(hang.connection, gap=0)
    assert found.mountpoints[0] == str(hang.mountpoint)
    assert f"/mnt (as stat, pid {caller.pid}, sees it)" in found.mountpoints


def test_by_close_which_has_let_go_of_its_descriptor(tmp_path: Path) -> None:
    (tmp_path / "mnt").mkdir()
    hang = hung_mounts.start(tmp_path / "mnt", "idle")
    try:
        script = "import os, sys; fd = os.open(sys.argv[1], 0); print(flush=True); sys.stdin.read(1); os.close(fd)"
        command = [sys.executable, "-I", "-S", "-c", script, hang.path("file")]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/") as caller:
            hang.callers.append(caller)
            assert caller.stdin is not None
            assert caller.stdout is not None
            caller.stdout.readline()
            hang.daemon.send_signal(signal.SIGSTOP)
            until(lambda: hung_mounts.state(hang.daemon.pid) == "T")
            caller.stdin.write(b"\n")
            caller.stdin.flush()
            until(lambda: hung_mounts.sleeps_in(caller.pid, caller.pid, "request_wait"))
            assert who_waits(hang) == [(caller.pid, "")]
            os.kill(hang.daemon.pid, signal.SIGCONT)
    finally:
        hang.end()


# --- by an ordinary user

AS_USER = """
import json, sys
from pathlib import Path
import hung_mounts
from fusewire.watch import diagnose
place = Path("mnt").absolute()
place.mkdir()
hang = hung_mounts.start(place, sys.argv[1])
try:
    if sys.argv[2]:
        hang.call(*sys.argv[2].split(), hang.path("file"))
    hang.settle(sys.argv[3])
    (found,) = diagnose(hang.connection, gap=0.05)
    print(json.dumps(found.as_data()))
finally:
    hang.end()
"""


@pytest.mark.parametrize(
    ("way", "caller", "function", "scenario"),
    [
        ("unlink", "rm -f", "do_unlinkat", "self_access"),
        ("getattr", "stat", "request_wait", "self_access"),
        ("page_fault", "", "folio_wait", "page_fault"),
    ],
)
def test_an_ordinary_user_sees_what_is_his_own(way: str, caller: str, function: str, scenario: str) -> None:
    """Without stacks, which are root's to see."""
    found = json.loads(python_as_user(AS_USER, way, caller, function))
    assert (found["state"], found["scenario"]) == ("deadlocked", scenario), found
    assert found["certainty"] == "certain"


def test_an_ordinary_user_frees_a_daemon_of_his_own() -> None:
    script = AS_USER.replace(
        "print(json", "from fusewire.watch import cure; found = cure(hang.connection, str); print(json"
    )
    found = json.loads(python_as_user(script, "unlink", "rm -f", "do_unlinkat"))
    assert (found["state"], [server["ready"] for server in found["servers"]]) == ("idle", [1])


# --- daemons in C, and the command


@pytest.mark.parametrize(
    ("options", "certainty"), [(["-s"], Certainty.CERTAIN), ([], Certainty.PROBABLE)], ids=["one thread", "threads"]
)
def test_a_daemon_in_c_is_no_different(
    reentered: Path, tmp_path: Path, options: list[str], certainty: Certainty
) -> None:
    hang = hung_mounts.start_program(tmp_path / "mnt", [str(reentered), "-f", *options])
    try:
        caller = hang.call("rm", "-f", hang.path("file"))
        hang.settle("do_unlinkat")
        (found,) = diagnose(hang.connection, gap=0.05)
        assert (found.state, found.certainty) == (State.DEADLOCKED, certainty)
        assert found.scenario is Scenario.SELF_ACCESS
        assert [edge.pid for edge in found.edges] == [hang.daemon.pid, caller.pid]
    finally:
        hang.end()


@pytest.fixture
def doctor(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Runs the command as a person does."""

    def doctor(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "fusewire", "doctor", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env={"COLUMNS": "80"}, check=False)
        return done.returncode, done.stdout + done.stderr

    return doctor


def test_the_doctor_says_it_in_few_lines_and_ends_with_what_to_type(
    hang: Hang, doctor: Callable[..., tuple[int, str]]
) -> None:
    hang.call("stat", hang.path("file"))
    code, text = doctor(str(hang.mountpoint))
    lines = text.splitlines()
    assert code == 2
    assert lines[0].endswith("STOPPED: the daemon is stopped") or lines[1].endswith("the daemon is stopped")
    assert lines[-1] == f"Next: kill -CONT {hang.daemon.pid}"
    assert len(lines) <= 20
    assert max(map(len, lines)) <= max(80, len(str(hang.mountpoint)) + 20)


def test_the_doctor_takes_a_path_in_the_mount_or_the_number(hang: Hang, doctor: Callable[..., tuple[int, str]]) -> None:
    for argument in (hang.path("file"), str(hang.connection)):
        code, text = doctor(argument, "--json")
        (found,) = json.loads(text)
        assert (code, found["state"], found["connection"]) == (2, "stopped", hang.connection)


def test_the_doctor_knows_what_is_no_mount(doctor: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    assert doctor(str(tmp_path)) == (2, f"fusewire: no FUSE mount is at {tmp_path}\n")
    assert doctor("999999") == (2, "fusewire: there is no FUSE connection 999999\n")


def test_what_is_dead_in_another_namespace_is_unmounted_there(tmp_path: Path) -> None:
    (tmp_path / "mnt").mkdir()
    hang = hung_mounts.start(tmp_path / "mnt", "idle")
    script = f"mount --bind {hang.mountpoint} /mnt; echo; exec sleep 60"
    with subprocess.Popen(["unshare", "-m", "sh", "-c", script], stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None
            other.stdout.readline()
            umount(hang.mountpoint, MNT_DETACH)
            hang.daemon.kill()
            hang.daemon.wait()
            (found,) = diagnose(hang.connection, gap=0)
            assert found.state is State.DEAD
            assert found.cure.startswith(f"nsenter --mount=/proc/{other.pid}/ns/mnt umount --lazy ")
        finally:
            other.kill()
            hang.end()
