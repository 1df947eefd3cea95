"""A connection without a daemon: the tests read its device and write what they please."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from fusewire.kernel.connection import Connection
from fusewire.kernel.device import Device
from fusewire.kernel.init import Settings
from fusewire.kernel.profile import Profile
from fusewire.kernel.request import Request
from fusewire.kernel.tasks import Task, close, run
from fusewire.wire import Message, decode_request

BUFFER = 1 << 17  # bytes, enough for any request of these tests


class Bench:
    """One connection and its device, INIT behind them, and tasks that run as far as they can."""

    def __init__(self, profile: Profile) -> None:
        self.connection = Connection(profile)
        self.device = Device()
        self.device.bind(self.connection)
        self.connection.open_gate(Settings(max_write=4096))
        self.tasks: list[Task] = []

    def start(self, coroutine: Coroutine[Any, None, Any], name: str = "task", **ids: int) -> Task:
        """Run `coroutine` as a new task, and every other that can go on."""
        task = Task(name, coroutine, **ids)
        self.tasks.append(task)
        self.go_on()
        return task

    def go_on(self) -> None:
        run(self.tasks)

    def unlink(self, name: bytes = b"file") -> Task:
        """Have a task ask for an unlink; it is pending when this returns, or already read."""
        return self.start(self.connection.ask("UNLINK", 1, names=[name]), "rm")

    def read(self, size: int = BUFFER) -> Message:
        """Read one message."""
        return decode_request(self.call(self.device.read(size)))

    def write(self, message: bytes) -> int:
        """Write one message."""
        length: int = self.call(self.device.write(message))
        return length

    def call(self, coroutine: Coroutine[Any, None, Any]) -> Any:
        """Run `coroutine` to its end; return what it returns, raise what it raises."""
        task = self.start(coroutine, "daemon")
        assert task.finished, f"it sleeps on {task.asleep_on and task.asleep_on.name}"
        if isinstance(task.result, BaseException):
            raise task.result
        return task.result

    def processing(self) -> Request:
        """The one request that is owed a reply."""
        (request,) = self.connection.processing.values()
        return request


@contextmanager
def bench(profile: Profile) -> Iterator[Bench]:
    """A bench whose tasks are closed at the end."""
    made = Bench(profile)
    try:
        yield made
    finally:
        close(made.tasks)


def errno_of(task: Task) -> int | None:
    """The errno with which `task` failed; None if it did not."""
    return task.result.errno if isinstance(task.result, OSError) else None
