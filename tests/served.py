"""Programs that mount and serve, as a person starts them: `served` runs one and ends it.

A test that uses a mount from the process that serves it can deadlock with itself; here the daemon
is a process of its own, and the test may do what it likes.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from kernel_mounts import fuse_mounts

CHECKOUT = Path(__file__).resolve().parent.parent
FUSEWIRE = [sys.executable, "-m", "fusewire"]
LIMIT = 15.0  # seconds that a program gets to mount, or to end


def fusewire(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command of fusewire to its end."""
    return run(*FUSEWIRE, *arguments, cwd=cwd)


def run(*command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run any command to its end; never fails by itself."""
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, cwd=cwd, check=False)


@contextmanager
def served(
    *command: str | Path,
    mountpoint: Path,
    end: int | None = signal.SIGINT,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Iterator[subprocess.Popen[str]]:
    """Start a program that mounts, wait until it has, and in the end send it `end` and see it exit with 0.

    `end=None` leaves ending it to the test.
    """
    pipe, inherited = subprocess.PIPE, {**os.environ, **(environment or {})}
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=inherited, cwd=cwd)
    try:
        wait_until_mounted(process, mountpoint)
        yield process
        if end is not None:
            process.send_signal(end)
        out, err = process.communicate(timeout=LIMIT)
        assert process.returncode == 0, f"exit code {process.returncode}\n{out}{err}"
    finally:
        process.kill()
        process.communicate()


def wait_until_mounted(process: subprocess.Popen[str], mountpoint: Path) -> None:
    """Wait until something is mounted there. It answers from then on: or at least, INIT is under way."""
    deadline = time.monotonic() + LIMIT
    while not is_mounted(mountpoint):
        assert process.poll() is None, f"it ended with {process.returncode}: {process.communicate()[1]}"
        assert time.monotonic() < deadline, "it has not mounted"
        select.select([], [], [], 0.01)


def is_mounted(mountpoint: Path) -> bool:
    return any(mount.path == mountpoint for mount in fuse_mounts())
