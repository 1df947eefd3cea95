"""Threads beside an event loop, and a loop beside threads: neither keeps the program alive.

asyncio has an executor for blocking work, but its threads are shared with the whole program, and
the end of the loop and of the process wait for them. Callers of our own mount who block in all
of them would keep us from unmounting it, and a method that never returns would keep the program.
So these threads are daemons, and ours alone.

`to_its_end` is for what must not be left half done: a mount that is made while its task is
cancelled would stay, served by nobody.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

__all__ = ["LoopThread", "Workers", "in_a_thread", "to_its_end"]

logger = logging.getLogger("fusewire")

T = TypeVar("T")


class Workers:
    """At most `count` threads, which run what they are given, in its order."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.threads: list[threading.Thread] = []
        self.jobs: SimpleQueue[Callable[[], object] | None] = SimpleQueue()

    def submit(self, job: Callable[[], object]) -> None:
        """Have `job` run, which must not raise.

        Raises:
            RuntimeError: if a thread is to be started, and cannot; the job is not run then.
        """
        if len(self.threads) < self.count:
            thread = threading.Thread(target=self._run, name=f"fusewire-{len(self.threads)}", daemon=True)
            thread.start()
            self.threads.append(thread)
        self.jobs.put(job)

    def _run(self) -> None:
        while (job := self.jobs.get()) is not None:
            job()

    def stop(self) -> None:
        """Have the threads end once all that was submitted has run. Nothing more may come."""
        for _ in self.threads:
            self.jobs.put(None)

    def join(self) -> None:
        """Wait for that."""
        for thread in self.threads:
            thread.join()


class LoopThread:
    """An event loop in a thread of its own: where coroutines go on that a thread has begun."""

    def __init__(self) -> None:
        """Start it.

        Raises:
            OSError: EMFILE; a loop needs three descriptors.
            RuntimeError: if no thread can be started.
        """
        self.loop = asyncio.new_event_loop()
        self.stopping = False
        self.thread = threading.Thread(target=self._run, name="fusewire-loop", daemon=True)
        try:
            self.thread.start()
        except RuntimeError:
            self.loop.close()
            raise

    def _run(self) -> None:
        while not self.stopping:
            try:
                self.loop.run_forever()
            except BaseException:  # asyncio lets a SystemExit out of a task that a method has made
                logger.exception("a task ended the event loop of a mount, which goes on")
        self.loop.close()

    def submit(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Have it awaited.

        Raises:
            RuntimeError: after `stop`.
        """
        try:
            asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        except RuntimeError:
            coroutine.close()
            raise

    def stop(self, patience: float) -> None:
        """Wait for the coroutines that run, for `patience` seconds, and end the thread."""

        async def last() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            if others:
                await asyncio.wait(others, timeout=patience)
            self.stopping = True
            self.loop.call_soon(self.loop.stop)

        self.submit(last())
        self.thread.join(2 * patience)


def in_a_thread(function: Callable[[], T]) -> asyncio.Future[T]:
    """Run `function` in a thread of its own; return the future of what it returns. It cannot be cancelled."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name=f"fusewire-{function.__name__}", daemon=True).start()
    return asyncio.wrap_future(future)


async def to_its_end(work: Awaitable[T]) -> T:
    """Await `work` to its end, and raise a cancellation that comes meanwhile only then."""
    future, cancelled = asyncio.ensure_future(work), None
    while not future.done():
        try:
            await asyncio.wait({future})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        return future.result()
    if not future.cancelled():
        future.exception()  # asked for, so that asyncio does not complain that nobody did
    raise cancelled
