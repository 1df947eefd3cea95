"""Where a kernel lacks something, or hides it, the verdict holds or is said to be less sure; and a sentence says why.

Each facility is hidden for real (hiding.py), from a `fusewire doctor` in a mount namespace of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import hung_mounts
from hung_mounts import Hang
from ordinary_user import run_as_user

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can cover files of /proc and drop capabilities"),
]

HIDING = Path(__file__).parents[1] / "hiding.py"
DOCTOR = sys.executable, "-m", "fusewire", "doctor"


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Hang]:
    """A daemon that removes a file of its own mount, while somebody removes it."""
    (tmp_path / "mnt").mkdir()
    yield from removing(tmp_path / "mnt")


@pytest.fixture(scope="module")
def hang(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hang]:
    """The same, for all who only look."""
    mountpoint = tmp_path_factory.mktemp("hang") / "mnt"
    mountpoint.mkdir()
    yield from removing(mountpoint)


def removing(mountpoint: Path) -> Iterator[Hang]:
    hang = hung_mounts.start(mountpoint, "unlink")
    try:
        hang.call("rm", "-f", hang.path("file"))
        hang.settle("do_unlinkat")
        yield hang
    finally:
        hang.end()


def doctor(hang: Hang, hidden: tuple[str, ...], *options: str) -> subprocess.CompletedProcess[str]:
    """Run `fusewire doctor` where these are hidden."""
    pids = ",".join(str(process.pid) for process in [hang.daemon, *hang.callers])
    command = [sys.executable, str(HIDING), pids, *hidden, "--", *DOCTOR, *options, str(hang.connection)]
    return subprocess.run(command, capture_output=True, text=True, timeout=25, check=False, cwd="/")


GUESS = "This kernel does not tell who serves what: that it is this process is a guess."
NO_SYSCALL = "which files the calls are about, without /proc/PID/syscall: a deadlock is probable at most"

ROWS = [
    # hidden, the verdict, what is said, the command to type next
    ([], "deadlocked", "certain", None, "fusewire doctor --fix"),
    (["fdinfo"], "deadlocked", "probable", GUESS, "echo 1 >"),
    (
        ["stack"],
        "deadlocked",
        "certain",
        "how threads got where they sleep, without /proc/PID/stack",
        "fusewire doctor",
    ),
    (["wchan"], "deadlocked", "certain probable", None, "fusewire doctor --fix"),  # by whether others are busy
    (["syscall"], "deadlocked", "suspected", NO_SYSCALL, "fusewire doctor"),
    (["fusectl"], "deadlocked", "certain", None, "fusewire doctor --fix"),
    (["capabilities"], "unknown", "suspected", "takes more capabilities than this root has", ""),
    (["capabilities", "fusectl"], "unknown", "suspected", "fusectl is not mounted, and only root can mount it", ""),
]


@pytest.mark.parametrize(("hidden", "state", "certainty", "said", "cure"), ROWS, ids=["-".join(r[0]) for r in ROWS])
def test_what_is_hidden_makes_it_less_sure_and_is_said(
    hang: Hang, hidden: list[str], state: str, certainty: str, said: str | None, cure: str
) -> None:
    done = doctor(hang, tuple(hidden), "--json")
    (found,) = json.loads(done.stdout)
    assert found["state"] == state, done.stderr
    assert found["certainty"] in certainty.split()
    assert done.returncode == (2 if state == "deadlocked" else 3)
    assert found["cure"].startswith(cure)
    sentences: list[Any] = [*found["remarks"], *found["unseen"]]
    assert said is None or any(said in sentence for sentence in sentences), sentences


def assert_aborted(hang: Hang, output: str) -> None:
    assert "Abort the connection: every call on the mount fails\n" in output, output
    assert f"rm (pid {hang.callers[0].pid}) goes on: unlinkat fails with ECONNABORTED" in output


@pytest.mark.stress  # it guesses for every mount of the machine, and others' may be in any state
def test_on_an_old_kernel_nobody_is_killed_on_a_guess(fresh: Hang) -> None:
    """The connection is aborted, which needs no guess; and its daemon ends by itself."""
    done = doctor(fresh, ("fdinfo",), "--fix")
    assert_aborted(fresh, done.stdout)
    assert "Kill" not in done.stdout
    assert "with EDEADLK" not in done.stdout


def test_yama_is_named_with_its_cure_and_the_next_step_is_taken(fresh: Hang) -> None:
    done = doctor(fresh, ("yama",), "--fix")
    assert "sysctl kernel.yama.ptrace_scope=0" in done.stdout, done.stdout + done.stderr
    assert_aborted(fresh, done.stdout)


def test_before_linux_5_6_the_device_cannot_be_taken(fresh: Hang) -> None:
    done = doctor(fresh, ("getfd",), "--fix")
    assert "That cannot be done: this kernel cannot take the device from the daemon" in done.stdout, done.stdout
    assert_aborted(fresh, done.stdout)


def test_without_tracing_it_is_said_that_results_are_not_seen(fresh: Hang) -> None:
    done = doctor(fresh, ("tracing",), "--fix")
    assert f"rm (pid {fresh.callers[0].pid}) goes on\n" in done.stdout, done.stdout + done.stderr
    assert "What their calls return was not seen: Linux's tracing" in done.stdout
    assert done.returncode == 1


def test_an_ordinary_user_is_told_that_he_cannot_see_what_is_others(hang: Hang) -> None:
    done = run_as_user(*DOCTOR, str(hang.connection), may_mount=False)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "unknown" in done.stdout
    assert "of other users" in done.stdout
    assert done.stdout.rstrip().endswith("To see all: sudo fusewire doctor")
