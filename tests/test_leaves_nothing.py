"""The harness itself: careless tests are planted in a run of their own, and must be found out."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from ordinary_user import CHECKOUT, run_as_user

HEAD = """
import os, signal, subprocess, sys, threading
import pytest
from kernel_mounts import raw_mount
"""


def inner_pytest(planted: Path) -> list[str]:
    """Return the command that runs planted tests under the harness of these."""
    configuration = str(CHECKOUT / "pyproject.toml")
    options = ["-c", configuration, "-p", "no:cacheprovider", "-p", "conftest", "--basetemp", str(planted.parent / "t")]
    return [sys.executable, "-m", "pytest", *options, str(planted)]


def run_planted(directory: Path, tests: str) -> subprocess.CompletedProcess[str]:
    """Run planted tests to their end."""
    planted = directory / "test_planted.py"
    planted.write_text(HEAD + tests)
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT / "tests"), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        inner_pytest(planted), cwd=directory, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def counts(output: str) -> Mapping[str, int]:
    """Return what pytest's last line counts: {'passed': 1, 'failed': 2}."""
    return {word: int(number) for number, word in re.findall(r"(\d+) (\w+)", output.splitlines()[-1])}


def test_a_test_that_leaves_nothing_passes(tmp_path: Path) -> None:
    done = run_planted(tmp_path, "def test_good(): pass\n")
    assert done.returncode == 0, done.stdout + done.stderr


def test_threads_processes_and_zombies_are_found(tmp_path: Path) -> None:
    done = run_planted(
        tmp_path,
        "def test_thread():\n"
        "    threading.Thread(target=threading.Event().wait, name='planted', daemon=True).start()\n"
        "def test_process_that_left_its_parent():\n"
        "    subprocess.run(['sh', '-c', 'setsid sleep 60 &'])\n"
        "def test_zombie():\n"
        "    child = os.posix_spawn('/bin/true', ['true'], {})\n"
        "    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)\n",
    )
    assert re.search(r"^the test left behind: thread 'planted'$", done.stdout, re.MULTILINE), done.stdout
    whole = re.search(r"^the run left behind: (.*)$", done.stdout, re.MULTILINE)
    assert whole, done.stdout
    found = re.sub(r"\d+", "N", whole[1]).split(", ")
    assert sorted(found) == ["process N 'sleep' (S)", "process N 'true' (Z)", "thread 'planted'"]


@pytest.mark.kernel
def test_a_mount_is_found_and_removed(tmp_path: Path) -> None:
    done = run_planted(
        tmp_path,
        "@pytest.mark.kernel\n"
        "def test_bad(mountpoint):\n"
        "    raw_mount(mountpoint)\n"
        "def test_good(tmp_path):\n"
        "    os.stat(tmp_path.parent / 'test_bad0' / 'mnt')\n",
    )
    assert re.search(r"the test left behind: mount on \S+/mnt \(connection \d+\)", done.stdout), done.stdout
    assert re.search(r"the test left behind: .*descriptor \d+ of /dev/fuse", done.stdout), done.stdout
    assert "the run left" not in done.stdout


@pytest.mark.kernel
def test_the_watchdog_frees_a_test_that_hangs_in_a_mount(tmp_path: Path) -> None:
    done = run_planted(
        tmp_path,
        "@pytest.mark.kernel\n"
        "@pytest.mark.limit(1)\n"
        "def test_bad(mountpoint):\n"
        "    device = raw_mount(mountpoint)\n"
        "    try:\n"
        "        with pytest.raises(OSError): os.stat(mountpoint)\n"  # nobody answers
        "    finally:\n"
        "        os.close(device)\n"
        "        subprocess.run(['umount', mountpoint], check=True)\n"
        "def test_good(): pass\n",
    )
    assert re.search(r"took too long, so the watchdog aborted FUSE connections \[\d+\]", done.stdout), done.stdout
    assert counts(done.stdout) == {"failed": 1, "passed": 1}


def test_the_watchdog_interrupts_a_test_that_hangs_elsewhere(tmp_path: Path) -> None:
    done = run_planted(
        tmp_path,
        "@pytest.mark.limit(1)\ndef test_bad(): threading.Event().wait()\ndef test_good(): pass\n",
    )
    assert "so the watchdog found no FUSE connection to abort; interrupted the test" in done.stdout
    assert counts(done.stdout) == {"failed": 1, "passed": 1}


def test_the_watchdog_kills_a_run_that_nothing_else_can_end(tmp_path: Path) -> None:
    done = run_planted(
        tmp_path,
        "@pytest.mark.limit(1)\n"
        "def test_bad():\n"
        "    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGRTMAX])\n"
        "    threading.Event().wait()\n",
    )
    assert done.returncode == -9
    assert re.search(r"watchdog: killing \d+ '\S+', which hangs\n  task \d+ in \w+", done.stderr), done.stderr


def test_the_watchdog_clears_up_behind_a_run_that_was_killed(tmp_path: Path) -> None:
    done = run_planted(
        tmp_path,
        "def test_bad(pytestconfig):\n"
        "    child = subprocess.Popen(['sleep', '60'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        "    os.write(pytestconfig.pluginmanager.getplugin('capturemanager')._global_capturing.out.targetfd_save,\n"
        "             b'child %d\\n' % child.pid)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n",
    )
    assert done.returncode == -9
    child = re.search(r"child (\d+)", done.stdout)
    assert child, done.stdout
    assert has_ended(int(child[1]), seconds=10)


def has_ended(pid: int, seconds: float) -> bool:
    """Tell whether a process that is not our child ends within so many seconds."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    with os.fdopen(descriptor):
        return bool(select.select([descriptor], [], [], seconds)[0])


KERNEL_TEST = HEAD + "@pytest.mark.kernel\ndef test_it(mountpoint): pass\n"
WRITE_AND_RUN = "import os, pathlib, sys; pathlib.Path('test_planted.py').write_text(sys.argv[1]); os.execv"


def run_kernel_test_as_user(device_mode: int, may_mount: bool, require: str) -> subprocess.CompletedProcess[str]:
    """Run one planted kernel test as an ordinary user."""
    command = inner_pytest(Path("test_planted.py"))
    script = f"{WRITE_AND_RUN}({command[0]!r}, {command!r})"
    return run_as_user(
        sys.executable,
        "-c",
        script,
        KERNEL_TEST,
        may_mount=may_mount,
        device_mode=device_mode,
        environment={"FUSEWIRE_REQUIRE_KERNEL": require},
    )


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make the device node that this needs")


@as_root
@pytest.mark.kernel
def test_without_the_device_kernel_tests_are_skipped_with_the_reason() -> None:
    done = run_kernel_test_as_user(device_mode=0o600, may_mount=False, require="")
    assert counts(done.stdout) == {"skipped": 1}
    assert "you may not open /dev/fuse (mode 0600); run the tests as root" in done.stdout


@as_root
@pytest.mark.kernel
def test_without_the_device_kernel_tests_fail_where_a_kernel_is_required() -> None:
    done = run_kernel_test_as_user(device_mode=0o600, may_mount=False, require="1")
    assert counts(done.stdout) == {"error": 1}
    assert "FUSEWIRE_REQUIRE_KERNEL is set, but you may not open /dev/fuse" in done.stdout


@as_root
@pytest.mark.kernel
def test_an_ordinary_user_can_run_the_kernel_tests() -> None:
    done = run_kernel_test_as_user(device_mode=0o666, may_mount=False, require="1")
    assert counts(done.stdout) == {"passed": 1}, done.stdout + done.stderr
