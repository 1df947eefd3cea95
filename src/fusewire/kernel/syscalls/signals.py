"""Signals: what others do to a process, whatever it is doing.

A signal goes to every system call that the process is in. What it ends there, and how the daemon
learns of it, is the affair of the sleep that the call is in (waitq.py, waiting.py).
"""

from __future__ import annotations

from fusewire.kernel.syscalls.base import Caller
from fusewire.kernel.tasks import Task

__all__ = ["Signals"]


class Signals(Caller):
    """Being interrupted, and being killed. Called from outside the kernel, and not awaited."""

    def interrupt(self) -> None:
        """Send a signal that has a handler: an interruptible sleep ends with EINTR, a daemon gets an INTERRUPT."""
        self.system.runner.do(lambda: [task.interrupt() for task in self._under_way()])

    def kill(self) -> None:
        """Send SIGKILL: each system call under way ends with EINTR, as soon as Linux would let it end.

        What the process has open stays open until it `exit`s.
        """
        self.system.runner.do(lambda: [task.kill() for task in self._under_way()])

    def _under_way(self) -> list[Task]:
        return [task for task in self.system.runner.tasks if task.process is self]
