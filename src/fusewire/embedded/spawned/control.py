"""`kernel.daemon` of a spawned daemon: what can be done to it is done by signals."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from fusewire.embedded.daemon_control import Daemon

if TYPE_CHECKING:
    from fusewire.embedded.spawned.ends import SpawnedEnds

__all__ = ["SpawnedDaemon"]


class SpawnedDaemon(Daemon):
    """A daemon's process, with all that has come of it."""

    ends: SpawnedEnds

    @property
    def pid(self) -> int:
        """Of the process that was started; a daemon that has gone to the background is another by now."""
        return self.ends.spawned.pid

    @property
    def returncode(self) -> int | None:
        """What that process has ended with, as `subprocess` tells it; None while it runs."""
        return self.ends.spawned.status

    @property
    def output(self) -> str:
        """What it has written to its standard output and error, the last 64 KiB."""
        return self.ends.spawned.output

    @property
    def through(self) -> str:
        """How it got its device: 'descriptor' or 'fusermount3'."""
        return self.ends.way

    def kill(self) -> None:
        """Send it SIGKILL; the connection is aborted. Idempotent."""
        self.ends.spawned.send(signal.SIGKILL)
        super().kill()

    def hang(self) -> None:
        """Stop it (SIGSTOP), until `resume`."""
        self.ends.spawned.send(signal.SIGSTOP)
        super().hang()

    def resume(self) -> None:
        """Have it go on (SIGCONT)."""
        self.ends.spawned.send(signal.SIGCONT)
        super().resume()
