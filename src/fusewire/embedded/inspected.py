"""What there is to see of an embedded kernel, and what can be done to it from outside: plain calls, all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import fusewire.kernel as kernel_end
from fusewire.embedded.daemon_control import Daemon
from fusewire.embedded.ends import Ends
from fusewire.embedded.recording import RecordedRequest

if TYPE_CHECKING:
    from fusewire.daemon.notify import Notifier
    from fusewire.daemon.session import Session
    from fusewire.kernel.control import Control
    from fusewire.kernel.violations import Violation

__all__ = ["Inspected"]


class Inspected:
    """A kernel, seen from outside."""

    ends: Ends

    @property
    def requests(self) -> list[RecordedRequest]:
        """What the kernel has sent, in order: the last 10,000, or as many as `Kernel` was told to keep.

        Raises:
            RuntimeError: it was told to keep none.
        """
        return list(self.ends.recorded().requests)

    @property
    def violations(self) -> list[Violation]:
        """What the daemon has written that it should not have: each with the number of the rule that it broke."""
        return self.ends.connection.violations

    @property
    def control(self) -> Control:
        """The files about the connection in fusectl: `kernel.control["abort"].write(b"1")`."""
        return self.ends.superblock.control

    @property
    def daemon(self) -> Daemon:
        """The daemon's end, to be killed or to hang."""
        return self.ends.daemon_class(self.ends)

    @property
    def notify_now(self) -> Notifier:
        """What tells the kernel's end that something is old, as the filesystem may (daemon/notify.py)."""
        return self.ends.session.notify_now

    @property
    def session(self) -> Session:
        """The daemon's end of the connection."""
        return self.ends.session

    @property
    def system(self) -> kernel_end.System:
        """The kernel's end: its clock, its mounts and its processes."""
        return self.ends.system

    @property
    def superblock(self) -> kernel_end.Superblock:
        """The kernel's end of the mount."""
        return self.ends.superblock

    @property
    def connection(self) -> kernel_end.Connection:
        """The kernel's end of the connection: its queues, and what was negotiated."""
        return self.ends.connection

    @property
    def device(self) -> kernel_end.Device:
        """The device that the daemon reads."""
        return self.ends.device

    def abort(self) -> None:
        """Abort the connection: whoever waits for an answer gets ECONNABORTED, whoever comes later ENOTCONN."""
        self.ends.abort()

    def advance(self, seconds: float) -> None:
        """Let time pass, by a clock that stands still otherwise: timeouts expire, and what is due happens.

        Raises:
            RuntimeError: this kernel goes by the real clock, as all but those in fixed order.
        """
        self.ends.advance(seconds)
