"""The daemon, as something that can fail: `kernel.daemon`.

What happens to it is what would happen to a daemon's process. How the kernel takes that is the
matter of the kernel's end.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fusewire.embedded.ends import Ends

__all__ = ["Daemon"]


class Daemon:
    """The daemon's end, from outside."""

    def __init__(self, ends: Ends) -> None:
        self.ends = ends

    def __repr__(self) -> str:
        return f"<Daemon, {'dead' if not self.alive else 'hanging' if self.ends.stall.hangs else 'alive'}>"

    @property
    def alive(self) -> bool:
        """It has its device open."""
        return bool(self.ends.connection.devices)

    @property
    def pid(self) -> int:
        """Of its process: this one, or that which `Kernel.spawn` has started."""
        return os.getpid()

    @property
    def output(self) -> str:
        """What a spawned daemon has written to its standard output and error, the last 64 KiB; "" of one in here."""
        return ""

    @property
    def returncode(self) -> int | None:
        """What a spawned daemon's process has ended with, as `subprocess` tells it; None while it runs."""
        return None

    def kill(self) -> None:
        """Let it die: its devices are closed, which aborts the connection. Idempotent."""
        self.ends.runner.do(self._close_all)

    def _close_all(self) -> None:
        for device in list(self.ends.connection.devices):
            while not device.closed:
                device.close()

    def hang(self) -> None:
        """Have it do nothing with what it reads from now on, until `resume`. Methods under way go on."""
        self.ends.stall.hangs = True

    def resume(self) -> None:
        """Have it go on."""
        self.ends.stall.hangs = False
        self.ends.runner.do(self.ends.connection.waitq.wake_all)
