"""Signals: what others do to a process, whatever it is doing.

A signal goes to every system call that the process is in. What it ends there, and how the daemon
learns of it, is the affair of the sleep that the call is in (waitq.py, waiting.py).
"""

from __future__ import annotations

from collections.abc import Callable

from fusewire.kernel.tasks import Task
from fusewire.kernel.vfs.caller import Caller

__all__ = ["Signals"]


class Signals(Caller):
    """Being interrupted, and being killed. Called from outside the kernel, and not awaited."""

    def interrupt(self) -> None:
        """Send a signal that has a handler: an interruptible sleep ends with EINTR, a daemon gets an INTERRUPT."""
        self._send(Task.interrupt)

    def kill(self) -> None:
        """Send SIGKILL: each system call under way ends with EINTR, as soon as Linux would let it end.

        What the process has open stays open until it `exit`s. The signal stays pending meanwhile, so a daemon
        that does not answer a FLUSH at once gets an INTERRUPT.
        """
        self.killed = True
        self._send(Task.kill)

    def _send(self, signal: Callable[[Task], None]) -> None:
        def send() -> None:
            for task in [task for task in self.system.runner.tasks if task.process is self]:
                signal(task)

        self.system.runner.do(send)
