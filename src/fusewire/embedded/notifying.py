"""Notifications of a filesystem that an embedded kernel serves (daemon/notify.py).

A plain notification is a system call of who makes it, and waits like one. In fixed order a `def`
method cannot wait, for it runs within a task: its notification is carried out if it need not, and is an
error that says for whom it would.
"""

from __future__ import annotations

import errno
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from fusewire.errors import os_error
from fusewire.kernel.runners import Deadlock, outcome_for_program
from fusewire.kernel.runners.fixed_order import FixedOrder, who_waits_for_whom
from fusewire.kernel.tasks import Task, current, running

if TYPE_CHECKING:
    from fusewire.embedded.ends import Ends

__all__ = ["EmbeddedNotifications", "at_once"]


class EmbeddedNotifications:
    """The device of an embedded kernel, for a `Notifier`."""

    def __init__(self, ends: Ends) -> None:
        self.ends = ends

    def notify(self, message: bytes) -> None:
        """As `NotifyingDevice.notify`.

        Raises:
            Deadlock: in fixed order, by a `def` method, if it would have to wait.
        """
        ends = self.ends
        self._check_alive()
        if isinstance(ends.runner, FixedOrder) and running() is not None:
            at_once(ends.device.write(message))
        else:
            ends.call(ends.device.write(message))

    async def notify_async(self, message: bytes) -> None:
        self._check_alive()
        await self.ends.runner.perform(self.ends.device.write(message))

    def _check_alive(self) -> None:
        if self.ends.over:
            raise os_error(errno.ENODEV)


def at_once(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run kernel code to its end, within a task that cannot wait for it.

    Raises:
        Deadlock: it would have to wait; it is dropped, and has done nothing.
    """
    method = current()
    task = Task(method.name, coroutine)
    while task.ready:
        task.resume()
    if task.finished:
        return outcome_for_program(task)
    waiting = who_waits_for_whom(task).replace(f"\n  {method.name} can go on", "")  # it is where we are
    task.context.run(coroutine.close)
    raise Deadlock(
        f"{waiting}\nA `def` method cannot wait in fixed order. If whom it waits for is not whom it serves, make it "
        "`async def` and await the call of `notify_now.awaitable`; else notify after the answer"
    )
