"""auto_unmount: no dead mount stays behind, however the daemon dies.

A process that is killed can do nothing more, so another one must be there already. It waits at
the other end of a pipe, or a socket, which the kernel closes with us. fusermount3 has such a
guard of its own; for a direct mount we start one, a Python that runs `guardian.py`.

A guard unmounts what is dead, nothing else: when it is sent home from a mount that is over, or
served by somebody else by now, it does nothing. It is deaf to signals that mean the daemon, and
holds no terminal and no pipe of ours but the one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import subprocess
import sys
from typing import Final, Protocol

from fusewire.mounting.errors import cannot_mount
from fusewire.mounting.fork import close_in_children, no_fork

__all__ = ["Guard", "HelperGuard", "OwnGuard"]

PATIENCE: Final = 5.0  # seconds; a guard that takes longer goes on alone


class Guard(Protocol):
    """Something that unmounts when we are dead."""

    def release(self) -> None:
        """Have it unmount what is dead now, and end. Idempotent."""


class OwnGuard:
    """A Python process of ours. It is made before the mount, so that there is no moment without it."""

    def __init__(self, mountpoint: str) -> None:
        """Start it, and wait until it is on guard.

        Raises:
            MountError: ECHILD if it does not run.
        """
        with no_fork:
            self.process = subprocess.Popen(
                [sys.executable, "-S", "-m", "fusewire.mounting.guardian", mountpoint],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
            )
            assert self.process.stdin is not None
            close_in_children(self.process.stdin.fileno())
        assert self.process.stdout is not None
        with self.process.stdout as ready:
            is_on_guard = ready.read(1) != b""
        if not is_on_guard:
            self.release()
            why = f"the process that auto_unmount needs cannot run ({sys.executable} -m fusewire.mounting.guardian)"
            raise cannot_mount(mountpoint, errno.ECHILD, f"{why}. Leave auto_unmount away")

    def release(self) -> None:
        assert self.process.stdin is not None
        if not self.process.stdin.closed:
            close_in_children(self.process.stdin.fileno(), False)
            self.process.stdin.close()
        wait(self.process)


class HelperGuard:
    """A fusermount3 that stays."""

    def __init__(self, sock: socket.socket, process: subprocess.Popen[bytes]) -> None:
        self.sock = sock
        self.process = process

    def release(self) -> None:
        if self.sock.fileno() >= 0:
            close_in_children(self.sock.fileno(), False)
            self.sock.close()
        wait(self.process)


def wait(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(PATIENCE)
