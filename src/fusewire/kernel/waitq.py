"""Wait queues: the only place where kernel code sleeps.

A sleeper joins the queue, tests its condition, then sleeps; a waker changes the condition, *then*
wakes. Whichever comes first, one of them sees the other. Were there a step between a test and the
joining after it, a condition that comes true in between would find nobody to wake: a lost wake-up.

`wake` is exclusive: one change lets one sleeper go on, so waking all would be a stampede. What a
woken task waited for may be gone when it runs, hence it tests again.

How deep a sleep is says which signal ends it. What waits for a daemon is killable at least, since
a daemon may never answer; what waits for another task of the kernel's end, such as an inode
semaphore, is not, and that is one half of every FUSE deadlock.

Source: include/linux/wait.h, wait_event_killable_exclusive.
"""

from __future__ import annotations

import enum
import errno
import types
from collections.abc import Callable, Generator, Sequence
from typing import Final

from fusewire import events
from fusewire.errors import os_error
from fusewire.events import Step, note
from fusewire.kernel.tasks import TRAP, Task, current

__all__ = ["INTERRUPTIBLE", "Sleep", "WaitQueue"]


class Sleep(enum.IntEnum):
    """How deep a sleep is: the least `Signal` that ends it."""

    INTERRUPTIBLE = 1
    KILLABLE = 2
    UNINTERRUPTIBLE = 3


INTERRUPTIBLE: Final = Sleep.INTERRUPTIBLE  # of most sleeps; `Sleep.INTERRUPTIBLE` costs 0.12 us in Python 3.11


def nobody() -> Sequence[Task]:
    return ()


class WaitQueue:
    """Tasks asleep, first come, first woken.

    `holders` names the tasks of which one must act before a sleeper can go on, as far as that is
    known: the arrows of the wait-for graph.
    """

    __slots__ = ("about", "holders", "name", "on_wake", "on_woken", "sleepers")

    def __init__(
        self,
        name: str,
        holders: Callable[[], Sequence[Task]] = nobody,
        on_wake: Step = Step.WAKE,
        on_woken: Step = Step.WOKEN,
        about: object = None,
    ) -> None:
        self.name = name
        self.about = about  # whose it is, where its name does not say
        self.holders = holders
        self.on_wake, self.on_woken = on_wake, on_woken
        self.sleepers: list[Task] = []

    @types.coroutine
    def sleep(self, until: Callable[[], bool], depth: Sleep = Sleep.KILLABLE) -> Generator[object, None, None]:
        """Sleep until `until()` holds; not at all if it does.

        Raises:
            OSError: EINTR if the task has a signal that ends a sleep of this `depth`, and
                `until()` does not hold.
        """
        task = current()
        while not until():
            if task.signal >= depth:
                raise os_error(errno.EINTR)
            self.sleepers.append(task)
            task.joined = self
            try:
                if events.hook is not None:
                    note(Step.SLEEP, self.name, about=self.about)
                    task.trapped = None
                    yield TRAP
                task.trapped = self
                yield TRAP
            except BaseException:  # it is being closed, and must not be woken in another's place
                self.leave(task)
                raise

    def leave(self, task: Task) -> None:
        """Take `task` off the queue, if it is on it."""
        if task in self.sleepers:
            self.sleepers.remove(task)

    def wake(self, count: int = 1) -> None:
        """Let the first `count` sleepers test their conditions again. Never sleeps."""
        woken = self.sleepers[:count]
        del self.sleepers[:count]
        for task in woken:
            if task.runnable is not None:  # its runner looks there
                task.runnable.append(task)
        if events.hook is not None:
            note(self.on_wake, self.name, tuple(task.name for task in woken), self.on_woken, self.about)

    def wake_these(self, tasks: Sequence[Task]) -> None:
        """Let `tasks`, all of them sleepers, test their conditions again. Never sleeps."""
        self.sleepers = [*tasks, *(task for task in self.sleepers if task not in tasks)]
        self.wake(len(tasks))

    def wake_all(self) -> None:
        self.wake(len(self.sleepers))
