"""A system call that has begun, and need not end: for programs that want to see it sleep.

call = kernel.begin(process.awaitable.unlink("/a"))
call.done, call.sleeps_on        # False, 'req->waitq'
call.kill()
call.result()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar, cast

from fusewire.kernel.runners import outcome_for_program
from fusewire.kernel.tasks import Task

if TYPE_CHECKING:
    from fusewire.embedded.ends import Ends

__all__ = ["Begun"]

T = TypeVar("T")


class Begun(Generic[T]):
    """A call under way, or at its end."""

    def __init__(self, ends: Ends, task: Task) -> None:
        self.ends = ends
        self.task = task

    def __repr__(self) -> str:
        whose = self.task.name if self.task.process is None else self.task.process.name
        if self.done:
            return f"<call of {whose}, done>"
        return f"<call of {whose}, {f'asleep on {self.sleeps_on}' if self.sleeps_on else 'which can go on'}>"

    @property
    def done(self) -> bool:
        """It has returned, or raised."""
        return self.task.finished

    @property
    def sleeps_on(self) -> str | None:
        """The name of the wait queue or the lock that it sleeps on; None if it does not."""
        queue = self.task.asleep_on
        return None if queue is None else queue.name

    def result(self) -> T:
        """Wait until it has returned; return what it returned, or raise what it raised.

        Raises:
            Deadlock: it would wait for ever (in fixed order alone).
        """
        if not self.done:
            self.ends.runner.wait(self.task)
        return cast(T, outcome_for_program(self.task))

    def interrupt(self) -> None:
        """Send it a signal that has a handler: if it may be interrupted where it sleeps, it ends with EINTR."""
        self.ends.runner.do(self.task.interrupt)

    def kill(self) -> None:
        """Send it SIGKILL: it ends with EINTR, as soon as Linux would let it end."""
        self.ends.runner.do(self.task.kill)
