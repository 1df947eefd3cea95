"""What the daemon of somebody's own filesystem runs on in a scene: a runner, and notifications.

The daemon is `TaskServer`, that of the embedded kernel in fixed order. It asks its runner for two things: to run a
task beside the others, and to carry out a coroutine that may await asyncio. Here the first puts the task
among those of the scene, and the second is the scene's own event loop. A system call that a method awaits
is a task, too, which can be held up like any other.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from fusewire.embedded.notifying import at_once
from fusewire.errors import os_error
from fusewire.explore.event_loop import SceneLoop
from fusewire.explore.scene import Scene
from fusewire.kernel.clock import StandingClock
from fusewire.kernel.device import Device
from fusewire.kernel.runners import method_here
from fusewire.kernel.syscalls.process import Process
from fusewire.kernel.tasks import Killed, Task, running

__all__ = ["MOST_TASKS", "OwnNotifications", "OwnRunner"]

T = TypeVar("T")

MOST_TASKS: Final = 26  # for so many letters there are


class OwnRunner:
    """Who runs a scene's tasks, as far as those that run ask: new ones are put beside the others."""

    def __init__(self, scene: Scene) -> None:
        self.tasks = scene.tasks
        clock = scene.system.clock
        assert isinstance(clock, StandingClock)
        self.to_begin: list[Coroutine[Any, Any, Any]] = []  # system calls of methods, whose tasks have not begun
        self.loop = SceneLoop(clock, self.start)  # type: ignore[abstract]  # what is missing is refused

    def start(self, task: Task) -> None:
        """Put `task` in the place of one of its name that has finished, or behind all."""
        for place, other in enumerate(self.tasks):
            if other.finished and other.name == task.name:
                self.tasks[place] = task
                return
        if len(self.tasks) == MOST_TASKS:
            raise AssertionError(f"more than {MOST_TASKS} tasks at once: such a scene is too large to be explored")
        self.tasks.append(task)

    def do(self, function: Callable[[], T]) -> T:
        return function()

    def begin(self, coroutine: Coroutine[Any, Any, T]) -> Any:
        """Have a method that is `async def` run in the event loop."""
        return self.loop.begin(coroutine)

    async def perform(self, coroutine: Coroutine[Any, Any, T], process: Process | None = None) -> T:
        """Run kernel code that a method awaits, as a task beside the others."""
        done = self.loop.create_future()
        method = method_here.get()
        name = "a call" if method is None else f"call of {method.name}"
        self.to_begin.append(coroutine)
        task = Task(name, self._carried_out(coroutine, done), process)
        if method is not None:
            method.begun.append(task)
        self.start(task)
        try:
            return await done  # type: ignore[no-any-return]
        except BaseException:
            task.kill()
            raise

    async def _carried_out(self, coroutine: Coroutine[Any, Any, Any], done: Any) -> None:
        """Await `coroutine`, and have `done` tell its outcome."""
        self.to_begin.remove(coroutine)
        result: Any = None
        error: BaseException | None = None
        try:
            result = await coroutine
        except Killed as killed:
            error = os_error(errno.EINTR)
            error.__cause__ = killed
        except Exception as raised:
            error = raised
        if not done.done():
            done.set_exception(error) if error is not None else done.set_result(result)

    def put_away(self) -> None:
        """Close what is left, once the tasks are closed."""
        self.loop.put_away()
        for coroutine in self.to_begin:
            coroutine.close()


class OwnNotifications:
    """The device, for a `Notifier` (daemon/notify.py)."""

    def __init__(self, runner: OwnRunner, device: Device) -> None:
        self.runner = runner
        self.device = device

    def notify(self, message: bytes) -> None:
        """Write a notification of a `def` method, which cannot wait."""
        at_once(self.device.write(message))

    async def notify_async(self, message: bytes) -> None:
        written = self.device.write(message)
        await (written if running() is not None else self.runner.perform(written))
