"""A connection without a daemon: the tests read its device and write what they please."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fusewire.errors import os_error
from fusewire.events import Event
from fusewire.kernel.checks.connection import check
from fusewire.kernel.clock import StandingClock
from fusewire.kernel.device import Device
from fusewire.kernel.init import Sysctls
from fusewire.kernel.mounting import mount
from fusewire.kernel.profile import Profile
from fusewire.kernel.request import Request
from fusewire.kernel.tasks import Task, close, run
from fusewire.kernel.vfs.caller import Caller
from fusewire.kernel.vfs.credentials import Credentials
from fusewire.kernel.vfs.superblock import Options
from fusewire.kernel.vfs.system import System
from fusewire.wire import InitOut, Message, decode_request, encode_reply

BUFFER = 1 << 17  # bytes, enough for any request of these tests


class Bench:
    """One connection and its device, INIT behind them, and tasks that run as far as they can.

    The invariants of the connection are checked after each step.
    """

    def __init__(self, profile: Profile, kernel_minor: int = 45, sysctls: Sysctls | None = None, **answer: int) -> None:
        self.clock = StandingClock()
        self.system = System(self.clock)
        self.device = Device()
        self.superblock = mount(self.system, self.device, Options(), profile, kernel_minor)
        self.connection = self.superblock.connection
        if sysctls is not None:
            self.connection.sysctls = sysctls
        self.tasks: list[Task] = []
        self.heard: list[str] = []
        fields = {"major": 7, "minor": 45, "max_readahead": 1 << 17, "max_write": 4096, **answer}
        self.write(encode_reply(self.read().header.unique, InitOut(**fields)))

    def start(self, coroutine: Coroutine[Any, None, Any], name: str = "task", process: Caller | None = None) -> Task:
        """Run `coroutine` as a new task, and every other that can go on."""
        task = Task(name, coroutine, process)
        self.tasks.append(task)
        self.go_on()
        return task

    def go_on(
        self,
        watch: Callable[[Task, Event], None] = lambda task, event: None,
        choose: Callable[[Sequence[Task]], Task] = lambda ready: ready[0],
    ) -> None:
        """Run all tasks as far as they can."""

        def hear(task: Task, event: Event) -> None:
            self.heard.append(event.text)
            watch(task, event)

        def checked(ready: Sequence[Task]) -> Task:
            check(self.connection)
            return choose(ready)

        run(self.tasks, checked, hear)
        check(self.connection)

    def stop_at(self, text: str, act: Callable[[], None], first: Task | None = None) -> None:
        """Run all tasks as far as they can; at the first step of this `text`, `act`, and let `first` go on first."""
        waiting = [act]

        def watch(task: Task, event: Event) -> None:
            if event.text == text and waiting:
                waiting.pop()()

        def choose(ready: Sequence[Task]) -> Task:
            return first if first is not None and first in ready and not waiting else ready[0]

        self.go_on(watch, choose)
        assert not waiting, f"nothing said {text!r}"

    def later(self, coroutine: Coroutine[Any, None, Any], name: str = "daemon") -> Task:
        """Make a task that has yet to run."""
        task = Task(name, coroutine)
        self.tasks.append(task)
        return task

    def unlink(self, name: bytes = b"file") -> Task:
        """Have a task ask for an unlink; it is pending when this returns, or already read."""
        return self.start(self.connection.ask("UNLINK", 1, names=[name]), "rm")

    def read(self, size: int = BUFFER, device: Device | None = None) -> Message:
        """Read one message."""
        return decode_request(self.call((device or self.device).read(size)))

    def write(self, message: bytes | bytearray | memoryview, device: Device | None = None) -> int:
        """Write one message."""
        length: int = self.call((device or self.device).write(message))
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

    def caller(self, uid: int = 0, gid: int = 0, pid: int = 100) -> Caller:
        """A process that may make requests."""
        return Caller(self.system, pid, Credentials.of(uid, gid), self.superblock.root, "program")

    def clone(self) -> Device:
        """Another device of the connection."""
        device = Device()
        device.clone(self.device)
        return device


@contextmanager
def bench(profile: Profile, **options: Any) -> Iterator[Bench]:
    """A bench whose tasks are closed at the end."""
    made = Bench(profile, **options)
    try:
        yield made
    finally:
        close(made.tasks)


def errno_of(task: Task) -> int | None:
    """The errno with which `task` failed; None if it did not."""
    return task.result.errno if isinstance(task.result, OSError) else None


class Memory:
    """A daemon's buffer, pages of which may be absent.

    A page that is absent is fetched by `fetch`, which may sleep, and raises what it raises. At each
    fault `faulted` is told the offset.
    """

    def __init__(self, data: bytes | bytearray, absent: dict[int, Callable[[], Coroutine[Any, Any, None]]]) -> None:
        self.data = bytearray(data)
        self.absent = dict(absent)  # by number of the page
        self.faults: list[int] = []

    def __len__(self) -> int:
        return len(self.data)

    async def fault_in(self, offset: int, write: bool = False) -> int:
        self.faults.append(offset)
        fetch = self.absent.pop(offset // 4096, None)
        if fetch is not None:
            await fetch()
        return min(4096 - offset % 4096, len(self.data) - offset)

    def load(self, offset: int, size: int) -> bytes:
        return bytes(self.data[offset : offset + size])

    def store(self, offset: int, data: bytes | memoryview) -> None:
        self.data[offset : offset + len(data)] = data


async def no_memory() -> None:
    """What fetching a page does where there is none."""
    raise os_error(14)
