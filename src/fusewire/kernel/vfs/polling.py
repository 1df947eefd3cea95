"""Who waits until a file is ready: poll(2) and select(2), which wait for many files at once.

A *poller* is one such call. It registers with each file that it looks at, and stays registered until
it returns, asleep or not; a file that has any is one of which a daemon is asked to say when it
gets ready (SCHEDULE_NOTIFY). Whoever wakes a file's pollers has each look at all its files again.

Source: fs/select.c, __pollwait, poll_freewait.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from fusewire.kernel.waitq import Sleep, WaitQueue

if TYPE_CHECKING:
    from fusewire.kernel.clock import Clock
    from fusewire.kernel.vfs.open_file import OpenFile

__all__ = ["Poller", "Pollers"]


class Poller:
    """One call of poll or select, until it returns; it holds a reference on each file."""

    def __init__(self, clock: Clock, timeout: float | None) -> None:
        """`timeout` in seconds; None for ever, 0 for one look."""
        self.registers = timeout != 0  # until something was found, or all files have been seen once
        self.timed_out = timeout == 0
        self.files: list[OpenFile] = []
        self.triggered = False  # somebody has said that there is news
        self.waitq = WaitQueue("poll")
        self.alarm = clock.call_at(clock.now() + timeout, self._time_is_up) if timeout else None

    def register(self, file: OpenFile) -> None:
        """Be told of news of `file`."""
        if file.poll_waitq is None:
            file.poll_waitq = Pollers()
        file.poll_waitq.registered.append(self)
        self.files.append(file.hold())

    def trigger(self) -> None:
        self.triggered = True
        self.waitq.wake_all()

    def _time_is_up(self) -> None:
        self.timed_out = True
        self.waitq.wake_all()

    async def sleep(self) -> None:
        """Sleep until there is news, the time is up, or a signal comes."""
        with contextlib.suppress(InterruptedError):
            await self.waitq.sleep(until=lambda: self.triggered or self.timed_out, depth=Sleep.INTERRUPTIBLE)
        self.triggered = False

    def leave(self) -> list[OpenFile]:
        """Be told of nothing any more; return the files, whose references are the caller's."""
        if self.alarm is not None:
            self.alarm.cancel()
        for file in self.files:
            assert file.poll_waitq is not None
            file.poll_waitq.registered.remove(self)
        return self.files


class Pollers:
    """Those who are registered with one file."""

    __slots__ = ("registered",)

    def __init__(self) -> None:
        self.registered: list[Poller] = []

    def wake_all(self) -> None:
        for poller in list(self.registered):
            poller.trigger()
