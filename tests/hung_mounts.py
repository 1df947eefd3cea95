"""Mounts that hang, one for each way: made, looked at, and cleared away, whatever state they are in."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from kernel_mounts import abort, fuse_mounts
from namespaces import MNT_DETACH, umount

DAEMON = Path(__file__).parent / "hanging_daemon.py"
PATIENCE = 10.0  # seconds until what was begun must have come so far


@dataclass
class Hang:
    """One mount, its daemon, and those who wait for it."""

    mountpoint: Path
    daemon: subprocess.Popen[bytes]
    connection: int
    callers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def path(self, name: str) -> str:
        return f"{self.mountpoint}/{name}"

    def call(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a program that asks for something, and wait until it waits."""
        caller = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
        self.callers.append(caller)
        until(lambda: sleeps_in(caller.pid, caller.pid, "request_wait", "folio_wait", "d_alloc"))
        return caller

    def settle(self, *functions: str) -> None:
        """Wait until a thread of the daemon sleeps in one of these functions of the kernel."""
        pid = self.daemon.pid
        until(lambda: any(sleeps_in(pid, tid, *functions) for tid in tasks(pid)))

    def end(self) -> None:
        """Clear all away: an abort lets everybody go on."""
        abort(self.connection)
        for process in [self.daemon, *self.callers]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGCONT)
                process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()
        with contextlib.suppress(OSError):
            umount(self.mountpoint, MNT_DETACH)


def start(mountpoint: Path, way: str, *arguments: str) -> Hang:
    """Mount a daemon that hangs in this way as soon as somebody asks."""
    command = [sys.executable, "-I", "-S", str(DAEMON), str(mountpoint), way, *arguments]
    daemon = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd="/")
    assert daemon.stdout is not None
    assert daemon.stdout.readline() == b"ready\n", f"the daemon that is to hang by '{way}' did not come up"
    return Hang(mountpoint, daemon, next(m.minor for m in fuse_mounts() if m.path == mountpoint))


def start_program(mountpoint: Path, command: list[str]) -> Hang:
    """Mount a daemon that takes the mountpoint as its last argument."""
    mountpoint.mkdir()
    daemon = subprocess.Popen([*command, str(mountpoint)], stderr=subprocess.DEVNULL, cwd="/")
    until(lambda: any(found.path == mountpoint for found in fuse_mounts()))
    return Hang(mountpoint, daemon, next(found.minor for found in fuse_mounts() if found.path == mountpoint))


def tasks(pid: int) -> list[int]:
    try:
        return [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    except OSError:
        return []


def sleeps_in(pid: int, tid: int, *functions: str) -> bool:
    """Tell whether a thread sleeps in a function whose name begins so."""
    try:
        return Path(f"/proc/{pid}/task/{tid}/wchan").read_text().startswith(functions)
    except OSError:
        return False


def state(pid: int) -> str:
    """Return the letter of a process's state, X if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def until(holds: Callable[[], object]) -> None:
    """Wait until something is so, or fail."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it never came so far"
        select.select([], [], [], 0.01)
