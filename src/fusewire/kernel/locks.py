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

from fusewire import events
from fusewire.events import Step, note
from fusewire.kernel.tasks import Task, current, step
from fusewire.kernel.waitq import Sleep, WaitQueue

__all__ = ["Held", "Semaphore"]


class Semaphore:
    """A lock held by one task, or shared by several. Waiters are served in the order in which they came.

    `async with semaphore.exclusive()` and `async with semaphore.shared()` hold it. What only those
    need who wait is made when somebody does: there is one of these for each inode.
    """

    __slots__ = ("_waitq", "holders", "name", "waiting")

    def __init__(self, name: str) -> None:
        self.name = name
        self.holders: dict[Task, bool] = {}  # who holds it; whether shared
        self.waiting: dict[Task, bool] | None = None  # who waits for it; whether to share it
        self._waitq: WaitQueue | None = None

    def exclusive(self, depth: Sleep = Sleep.UNINTERRUPTIBLE) -> Held:
        return Held(self, False, depth)

    def shared(self, depth: Sleep = Sleep.UNINTERRUPTIBLE) -> Held:
        return Held(self, True, depth)

    @property
    def owner(self) -> Task | None:
        """The task that holds it exclusively."""
        return next((task for task, shared in self.holders.items() if not shared), None)

    @property
    def waitq(self) -> WaitQueue:
        """Where those sleep who wait for it."""
        if self._waitq is None:
            self._waitq = WaitQueue(self.name, self._holders, on_wake=Step.RELEASE, on_woken=Step.ACQUIRED)
        return self._waitq

    async def acquire(self, shared: bool = False, depth: Sleep = Sleep.UNINTERRUPTIBLE) -> None:
        """Take it, alone or shared.

        Raises:
            OSError: EINTR if a signal that ends a sleep of this `depth` came first.
        """
        task = current()
        assert task not in self.holders, f"{task} holds the {self.name} already"
        if events.hook is not None:
            await step(Step.ACQUIRE, self.name)
        if self.try_acquire(shared):
            return
        if self.waiting is None:
            self.waiting = {}
        self.waiting[task] = shared
        try:
            await self.waitq.sleep(until=lambda: task in self.holders, depth=depth)
        except BaseException:
            self._give_up(task)
            raise

    def try_acquire(self, shared: bool = False) -> bool:
        """Take it if nobody has to be waited for; say whether we have it now."""
        if self.waiting or not self._free_for(shared):
            return False
        self.holders[current()] = shared
        return True

    def release(self) -> None:
        """Let go of it, in the task that holds it."""
        self.release_of(current())

    def release_of(self, task: Task) -> None:
        """Let go of what `task` holds."""
        assert task in self.holders, f"nobody holds the {self.name}: {task} does not"
        del self.holders[task]
        self._hand_on()

    def _give_up(self, task: Task) -> None:
        """End the wait of `task`, which may have been handed it meanwhile, and may have stood in others' way."""
        if self.waiting:
            self.waiting.pop(task, None)
        if task in self.holders:
            self.release_of(task)
        elif self.waiting:
            self._hand_on()

    def _hand_on(self) -> None:
        """Give it to those who may have it now, and wake them."""
        granted = []
        while self.waiting:
            task, shared = next(iter(self.waiting.items()))
            if not self._free_for(shared):
                break
            del self.waiting[task]
            self.holders[task] = shared
            granted.append(task)
        if granted:
            self.waitq.wake_these([task for task in granted if task in self.waitq.sleepers])
        elif events.hook is not None:
            note(Step.RELEASE, self.name, (), Step.ACQUIRED)

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
        if events.hook is not None or not self.semaphore.try_acquire(self.shared):
            await self.semaphore.acquire(self.shared, self.depth)

    async def __aexit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        self.semaphore.release_of(self.task)
