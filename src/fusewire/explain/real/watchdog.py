"""Nobody hangs for ever: a process that stands by, and aborts the staged mount when it is time.

A deadlock cannot be ended by those who are in it, and whoever staged it may be killed. So another process knows
of the connection from the moment that it exists. It waits for

    the word that all is over   it goes home
    a deadline                  it aborts the connection, and kills the stage
    the end of the stage, or of the program that wanted to see it, however that came

and it is deaf to signals that mean them. Connections are numbered, and numbers are used again; so it opens the file
`abort` at once and keeps it, and what it writes there later reaches that connection or none. Where fusectl is out of
reach, as for an ordinary user, it unmounts by force, which aborts; it lives in the same mount namespace.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from typing import Final

from fusewire.mounting import MountError, close_in_children, fusectl
from fusewire.mounting.syscalls import MNT_DETACH, MNT_FORCE, umount
from fusewire.watch.tracefs import NoTracing, remove_leftovers

__all__ = ["Watchdog"]

HOME: Final = b"home\n"
DEAF: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Watchdog:
    """The process, as seen from the stage."""

    def __init__(self, seconds: float, lifeline: int) -> None:
        """Start it. `lifeline` is a descriptor that is readable once the program that wanted to see it has ended."""
        reading, self.writing = os.pipe()
        stage = os.pidfd_open(os.getpid())  # a number may be another's by the time that it is needed
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self.writing)
                Watching(stage, reading, lifeline, seconds).run()
            finally:
                os._exit(0)
        for fd in (reading, stage):
            os.close(fd)
        close_in_children(self.writing)  # else those who hang keep it open when the stage is gone

    def watch(self, connection: int, mountpoint: str) -> None:
        """Have it abort this connection, if it comes to that."""
        os.write(self.writing, f"{connection} {mountpoint}\n".encode())

    def send_home(self) -> None:
        """Say that all is over. Idempotent."""
        if self.writing < 0:
            return
        with contextlib.suppress(BrokenPipeError):
            os.write(self.writing, HOME)
        close_in_children(self.writing, False)
        os.close(self.writing)
        self.writing = -1
        os.waitpid(self.pid, 0)


class Watching:
    """The process, as seen from itself."""

    def __init__(self, stage: int, orders: int, lifeline: int, seconds: float) -> None:
        self.stage, self.orders, self.lifeline = stage, orders, lifeline
        self.deadline = time.monotonic() + seconds
        self.watched: list[tuple[int | None, str]] = []  # the open file `abort`, the mountpoint

    def run(self) -> None:
        """Wait; and unless we are sent home, end everything."""
        os.setsid()
        for number in DEAF:
            signal.signal(number, signal.SIG_IGN)
        if not self.is_sent_home():
            self.abort()
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(
                    self.stage, signal.SIGKILL
                )  # and with it whom it has forked: they die with their parent
            time.sleep(0.1)
            self.abort()  # of what was mounted meanwhile, or waited in an exit
            with contextlib.suppress(NoTracing):
                remove_leftovers()

    def is_sent_home(self) -> bool:
        while (left := self.deadline - time.monotonic()) > 0:
            ready = select.select([self.orders, self.lifeline], [], [], left)[0]
            if self.orders in ready:
                said = os.read(self.orders, 65536)
                if HOME in said or not said:
                    return bool(said)
                self.take(said.decode())
            elif self.lifeline in ready:
                return False
        return False

    def take(self, said: str) -> None:
        for line in said.splitlines():
            connection, _, mountpoint = line.partition(" ")
            try:
                self.watched.append((fusectl.opened(int(connection), "abort", os.O_WRONLY), mountpoint))
            except MountError:
                self.watched.append((None, mountpoint))

    def abort(self) -> None:
        for file, mountpoint in self.watched:
            with contextlib.suppress(OSError):
                if file is None:
                    umount(mountpoint, MNT_FORCE)
                else:
                    os.write(file, b"1")
        for _, mountpoint in self.watched:
            with contextlib.suppress(OSError):
                umount(mountpoint, MNT_DETACH)
