"""Locks that know who holds them, so that a deadlock can be named.

Lock order: the rename mutex, a parent's inode semaphore, its child's, page lock. A task holds one
while it sleeps on a request, which is how a filesystem deadlocks: whoever must answer wants the
same lock.

A release hands the lock on to the first who waits, so nobody overtakes. (Linux lets a task that is
running steal it now and then; who waits cannot tell.)

Source: kernel/locking/rwsem.c; i_sem of 2005 is today's i_rwsem, held exclusively.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from fusewire.events import Step
from fusewire.kernel.tasks import Task, current, step
from fusewire.kernel.waitq import Sleep, WaitQueue

__all__ = ["Held", "Semaphore"]


class Semaphore:
    """A lock held by one task, or shared by several. Waiters are served in the order in which they came.

    `async with semaphore.exclusive()` and `async with semaphore.shared()` hold it.
    """

    __slots__ = ("holders", "name", "waiting", "waitq")

    def __init__(self, name: str) -> None:
        self.name = name
        self.holders: dict[Task, bool] = {}  # who holds it; whether shared
        self.waiting: dict[Task, bool] = {}  # who waits for it; whether to share it
        self.waitq = WaitQueue(name, holders=self._holders, on_wake=Step.RELEASE, on_woken=Step.ACQUIRED)

    def exclusive(self, depth: Sleep = Sleep.UNINTERRUPTIBLE) -> Held:
        return Held(self, False, depth)

    def shared(self, depth: Sleep = Sleep.UNINTERRUPTIBLE) -> Held:
        return Held(self, True, depth)

    @property
    def owner(self) -> Task | None:
        """The task that holds it exclusively."""
        return next((task for task, shared in self.holders.items() if not shared), None)

    async def acquire(self, shared: bool = False, depth: Sleep = Sleep.UNINTERRUPTIBLE) -> None:
        """Take it, alone or shared.

        Raises:
            OSError: EINTR if a signal that ends a sleep of this `depth` came first.
        """
        task = current()
        assert task not in self.holders, f"{task} holds the {self.name} already"
        await step(Step.ACQUIRE, self.name)
        if not self.waiting and self._free_for(shared):
            self.holders[task] = shared
            return
        self.waiting[task] = shared
        try:
            await self.waitq.sleep(until=lambda: task in self.holders, depth=depth)
        except BaseException:
            self.waiting.pop(task, None)
            if task in self.holders:  # it was handed over to one that is being closed
                self._release(task)
            raise

    def release(self) -> None:
        self._release(current())

    def _release(self, task: Task) -> None:
        del self.holders[task]
        granted = 0
        for waiter, shared in list(self.waiting.items()):
            if not self._free_for(shared):
                break
            del self.waiting[waiter]
            self.holders[waiter] = shared
            granted += 1
        self.waitq.wake_these([waiter for waiter in self.holders if waiter in self.waitq.sleepers][:granted])

    def _free_for(self, shared: bool) -> bool:
        return not self.holders or (shared and all(self.holders.values()))

    def _holders(self) -> Sequence[Task]:
        return list(self.holders)


class Held:
    """A semaphore while it is held by a block."""

    __slots__ = ("depth", "semaphore", "shared", "task")

    def __init__(self, semaphore: Semaphore, shared: bool, depth: Sleep) -> None:
        self.semaphore, self.shared, self.depth = semaphore, shared, depth

    async def __aenter__(self) -> None:
        self.task = current()
        await self.semaphore.acquire(self.shared, self.depth)

    async def __aexit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        self.semaphore._release(self.task)
