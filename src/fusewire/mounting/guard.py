"""auto_unmount: no dead mount stays behind, however the daemon dies.

A process that is killed can do nothing more, so another one must be there already: a Python
that runs `guardian.py`. It waits at the other end of a pipe, which the kernel closes with us.

It unmounts what is dead, nothing else: sent home from a mount that is over, or that somebody
else serves by now, it does nothing. It is deaf to signals that mean the daemon, and holds no
terminal and no pipe of ours but the one. It is us, exec'ed: who may mount by capabilities that
exec takes away (in a user namespace, as another than its root) has none for its guard.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
from typing import Final

from fusewire.mounting.errors import cannot_mount
from fusewire.mounting.fork import close_in_children, no_fork

__all__ = ["Guard"]

PATIENCE: Final = 5.0  # seconds; a guard that takes longer goes on alone


class Guard:
    """Unmounts when we are dead. It is made before the mount, so that there is no moment without it."""

    def __init__(self, mountpoint: str) -> None:
        """Start it, and wait until it is on guard.

        Raises:
            MountError: ECHILD if it does not run.
        """
        with no_fork:
            self.process = start(mountpoint)
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
        """Have it unmount what is dead now, and end. Idempotent."""
        assert self.process.stdin is not None
        if not self.process.stdin.closed:
            close_in_children(self.process.stdin.fileno(), False)
            self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(PATIENCE)


def start(mountpoint: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-S", "-m", "fusewire.mounting.guardian", mountpoint],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )
