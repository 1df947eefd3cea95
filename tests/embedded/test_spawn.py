"""Daemons in other processes: how they get their device, what becomes of them, and what people are told."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import fusewire
from fusewire.embedded.spawned import process

CAP_SYS_ADMIN = 21
DAEMON = str(Path(__file__).parent.parent / "spawned_daemon.py")


def spawned(manner: str, **more: object) -> fusewire.Kernel:
    return fusewire.Kernel.spawn([sys.executable, DAEMON, manner, "{mountpoint}"], **more)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def own_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """After each test nothing is left of what stood around its daemon."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    assert list(tmp_path.glob("fusewire-*")) == []


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# --- serving


def test_a_daemon_serves_through_a_descriptor() -> None:
    with spawned("plain") as kernel:
        kernel.mkdir("/d")
        kernel.write_bytes("/d/a", b"x" * 300_000)
        assert kernel.read_bytes("/d/a") == b"x" * 300_000
        assert kernel.listdir("/d") == ["a"]
        assert kernel.daemon.pid != os.getpid()
        assert kernel.requests[0].name == "INIT"
        assert (kernel.leaks(), kernel.violations) == ([], [])
    assert kernel.daemon.returncode == 0


def test_a_daemon_serves_that_calls_fusermount3() -> None:
    with spawned("helped") as kernel:
        assert kernel.listdir("/") == []
        assert kernel.superblock.options.max_read == 8192  # what it said to fusermount3 counts
        with pytest.raises(OSError, match="Read-only"):
            kernel.write_bytes("/a", b"")


def test_a_daemon_is_not_tried_in_another_way_than_the_one_that_is_forced() -> None:
    with (
        pytest.raises(fusewire.SpawnError, match=r"(?s)ended with status 1.*/mountpoint is no descriptor"),
        spawned("plain", through="fusermount3"),
    ):
        pass


def test_a_daemon_unmounts_by_fusermount3() -> None:
    with spawned("unmounting", through="fusermount3") as kernel:
        assert not kernel.exists("/a")
        with pytest.raises(RuntimeError, match="nothing is mounted"):
            kernel.listdir("/")


def test_a_kernel_in_an_event_loop_spawns_a_daemon() -> None:
    async def main() -> None:
        async with fusewire.Kernel.spawn([sys.executable, DAEMON, "plain", "{mountpoint}"]) as kernel:
            await asyncio.gather(*(kernel.write_bytes(f"/{number}", b"hi") for number in range(5)))
            assert sorted(await kernel.listdir("/")) == ["0", "1", "2", "3", "4"]

    asyncio.run(main())


def test_an_answer_given_twice_is_a_violation_though_the_daemon_is_not_told() -> None:
    with spawned("wrong") as kernel:
        kernel.mkdir("/d")
        assert kernel.listdir("/") == ["d"]
        assert [violation.rule for violation in kernel.violations] == [7]


# --- ending


def test_a_daemon_in_the_background_is_ended_with_its_kernel() -> None:
    with spawned("background") as kernel:
        kernel.mkdir("/d")
        assert kernel.daemon.returncode == 0  # the process that was started has ended, and all is well


def test_a_daemon_that_ends_of_nothing_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE", 0.1)
    monkeypatch.setattr(process, "AFTER_TERM", 0.1)
    with spawned("stubborn") as kernel:
        kernel.mkdir("/d")
        pid = kernel.daemon.pid
    assert kernel.daemon.returncode == -signal.SIGKILL
    assert not is_running(pid)


def test_a_daemon_that_was_stopped_is_ended_and_its_callers_are_freed() -> None:
    with spawned("plain") as kernel:
        kernel.daemon.hang()
        call = kernel.begin(kernel.awaitable.mkdir("/d"))
        pid = kernel.daemon.pid
    with pytest.raises(OSError):  # noqa: PT011  # ECONNABORTED, or EINTR of the process that was ended
        call.result()
    assert not is_running(pid)


def test_a_daemon_goes_on_where_it_was_stopped() -> None:
    with spawned("plain") as kernel:
        kernel.daemon.hang()
        call = kernel.begin(kernel.awaitable.mkdir("/d"))
        assert not call.done
        kernel.daemon.resume()
        call.result()
        assert kernel.listdir("/") == ["d"]


def test_a_killed_daemon_fails_its_callers() -> None:
    with spawned("plain") as kernel:
        kernel.daemon.kill()
        with pytest.raises(OSError, match=os.strerror(errno.ENOTCONN)):
            kernel.listdir("/")
        assert not kernel.daemon.alive


def test_what_a_daemon_said_before_it_crashed_stands_in_the_error(caplog: pytest.LogCaptureFixture) -> None:
    with spawned("crashing") as kernel, pytest.raises(OSError, match=os.strerror(errno.ECONNABORTED)) as failure:
        kernel.mkdir("/d")
    note = "\n".join(failure.value.__notes__)
    assert "ended by SIGSEGV" in note
    assert "| this goes wrong" in note
    assert "ended by SIGSEGV" in caplog.text


SPAWN_AND_DIE = """
import os, sys, tempfile, fusewire
tempfile.tempdir = sys.argv[1]
kernel = fusewire.Kernel.spawn([sys.executable, sys.argv[2], "stubborn", "{mountpoint}"])
kernel.listdir("/")
print(kernel.daemon.pid, open(f"/proc/{kernel.daemon.pid}/stat").read().split()[3], flush=True)
sys.stdin.read()
os.kill(os.getpid(), 9)
"""


def test_a_daemon_ends_with_whoever_spawned_it_however_that_ends(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SPAWN_AND_DIE, str(tmp_path), DAEMON], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as program:
        assert program.stdout is not None
        assert program.stdin is not None
        daemon, supervisor = map(os.pidfd_open, map(int, program.stdout.readline().split()))
        program.stdin.close()
    for fd in (daemon, supervisor):
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        assert poll.poll(10_000), "it lives on"
        os.close(fd)


def test_the_last_of_what_a_daemon_says_is_kept() -> None:
    with spawned("chatty") as kernel:
        output = kernel.daemon.output
        assert output.startswith("[...].")
        assert output.endswith(" last\n")
        assert len(output) < 70_000


# --- what is told


def test_a_daemon_that_never_reads_its_device_is_given_up() -> None:
    with pytest.raises(fusewire.SpawnError, match="has not answered INIT after 1 seconds"):
        spawned("mute", patience=1, through="descriptor").listdir("/")


def test_a_daemon_that_cannot_be_executed_is_named() -> None:
    with pytest.raises(fusewire.SpawnError, match=r"^nowhere cannot be executed: No such file") as failure:
        fusewire.Kernel.spawn(["nowhere", "{mountpoint}"]).listdir("/")
    assert failure.value.errno == errno.ENOENT


def test_a_directory_that_is_not_there_is_named() -> None:
    with pytest.raises(fusewire.SpawnError, match="cannot be spawned in /nowhere: No such file"):
        fusewire.Kernel.spawn(["true", "{mountpoint}"], cwd="/nowhere").listdir("/")


def test_a_daemon_that_fits_neither_way_gets_a_clear_no() -> None:
    with pytest.raises(fusewire.SpawnError) as failure:
        fusewire.Kernel.spawn(["sh", "-c", "echo no image >&2; exit 3", "{mountpoint}"]).listdir("/")
    assert str(failure.value).splitlines() == [
        "sh does not serve:",
        "  with /dev/fd/N as its mountpoint it ended with status 3 before it had answered INIT, and said:",
        "    | no image",
        "  with our fusermount3 on its PATH it ended with status 3 before it had called that, and said:",
        "    | no image",
        "A daemon is spawned if it takes /dev/fd/N for its mountpoint, or calls fusermount3 by its PATH.",
    ]


@pytest.mark.parametrize(
    ("command", "more", "text"),
    [
        ("squashfuse image {mountpoint}", {}, "list of words"),
        ([], {}, "list of words"),
        (["squashfuse", "image"], {}, "write {mountpoint} where"),
        (["true", "{mountpoint}"], {"through": "magic"}, "'descriptor', 'fusermount3'"),
        (["true", "{mountpoint}"], {"runner": "fixed order"}, "a time of its own"),
        (["true", "{mountpoint}"], {"patience": 0}, "numbers of seconds"),
    ],
)
def test_a_wrong_call_is_refused_at_once(command: object, more: dict[str, object], text: str) -> None:
    with pytest.raises((TypeError, ValueError), match=text):
        fusewire.Kernel.spawn(command, **more)  # type: ignore[arg-type]


def test_a_spawned_daemon_may_not_mount() -> None:
    with pytest.raises(fusewire.SpawnError) as failure:
        fusewire.Kernel.spawn(["cat", "/proc/self/status", "{mountpoint}"], through="descriptor").listdir("/")
    status = dict(re.findall(r"^(\w+):\t(.*)$", failure.value.output, re.MULTILINE))
    sets = [int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")]
    assert [held >> CAP_SYS_ADMIN & 1 for held in sets] == [0, 0, 0, 0, 0]
    assert status["NoNewPrivs"] == "1"
