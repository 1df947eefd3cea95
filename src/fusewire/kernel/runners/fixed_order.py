"""One thread, one order: the task that ran last goes on while it can, then the first that can."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from fusewire.kernel.syscalls.base import Caller
from fusewire.kernel.tasks import Task, running

__all__ = ["FixedOrder"]

T = TypeVar("T")


class FixedOrder:
    """Runs tasks one at a time, in this thread."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []

    def call(self, coroutine: Coroutine[Any, Any, T], process: Caller | None = None) -> T:
        """Run `coroutine`, and whatever it waits for, to its end.

        Raises:
            RuntimeError: called from a task; or nothing can go on, and it would wait for ever.
        """
        outer = running()
        if outer is not None:
            coroutine.close()
            raise RuntimeError(f"{outer.name} may not run other tasks while it runs: it must be async, and await them")
        task = Task(process.name if process else "kernel", coroutine, process)
        self.tasks.append(task)
        while not task.finished:
            ready = next((each for each in reversed(self.tasks) if each.ready), None)
            if ready is None:
                raise RuntimeError(f"{task.name} would wait for ever, on {task.asleep_on and task.asleep_on.name}")
            ready.resume()
            if ready.finished:
                self.tasks.remove(ready)
        if isinstance(task.result, BaseException):
            raise task.result
        return task.result  # type: ignore[return-value]

    async def perform(self, coroutine: Coroutine[Any, Any, T], process: Caller | None = None) -> T:
        raise NotImplementedError

    def start(self, task: Task) -> None:
        self.tasks.append(task)
