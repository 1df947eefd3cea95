"""A semaphore that knows its owner, so that a deadlock can be named.

Lock order: the parent's inode semaphore, the victim's, page lock. A task holds one while it sleeps
on a request, which is how a filesystem deadlocks: whoever must answer wants the same semaphore.

A release hands it to the first who waits, so nobody overtakes. (Linux lets a task that is running
steal it now and then; who waits cannot tell.)

Not modelled yet: the page lock, and holding a semaphore shared, as lookup and readdir do.
"""

from __future__ import annotations

from collections.abc import Sequence

from fusewire.events import Step
from fusewire.kernel.tasks import Task, current, step
from fusewire.kernel.waitq import Sleep, WaitQueue


class Semaphore:
    """An inode's semaphore: one owner at a time, waited for uninterruptibly. `async with` holds it.

    Source: i_sem of 2005; today i_rwsem, held exclusively.
    """

    def __init__(self, file: str) -> None:
        self.name = f'inode semaphore for "{file}"'
        self.owner: Task | None = None
        self.waitq = WaitQueue(self.name, holders=self._holders, on_wake=Step.RELEASE, on_woken=Step.ACQUIRED)

    async def acquire(self) -> None:
        task = current()
        assert self.owner is not task, f"{task} holds the {self.name} already"
        await step(Step.ACQUIRE, self.name)
        await self.waitq.sleep(until=lambda: self.owner in (None, task), depth=Sleep.UNINTERRUPTIBLE)
        self.owner = task

    def release(self) -> None:
        assert self.owner is not None, f"nobody holds the {self.name}"
        self.owner = self.waitq.sleepers[0] if self.waitq.sleepers else None
        self.waitq.wake()

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(self, *_: object) -> None:
        self.release()

    def _holders(self) -> Sequence[Task]:
        return [self.owner] if self.owner is not None else []
