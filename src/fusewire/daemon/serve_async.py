"""The shell for asyncio: the loop that runs reads the device. The theory of both shells: serve.py."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Coroutine
from typing import Any

from fusewire.daemon.device import DeviceFile
from fusewire.daemon.server import Failed, Server, Told, answer_init
from fusewire.daemon.session import Call, Session
from fusewire.daemon.workers import Workers, in_a_thread

__all__ = ["AsyncServer"]

logger = logging.getLogger("fusewire")


class AsyncServer(Server):
    """Serves in the event loop that runs, until the connection is gone."""

    def __init__(
        self,
        session: Session,
        device: DeviceFile,
        threads: int,
        failed: Failed | None,
        gone: Told,
        abort: Told = lambda: None,
    ) -> None:
        super().__init__(session, device, failed, gone, abort)
        self.ended = asyncio.Event()
        self.workers = Workers(threads) if session.filesystem.blocking else None
        self.tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Answer INIT, then serve whenever the device is readable.

        Raises:
            OSError: as `ThreadServer.start`.
        """
        self.device.set_blocking(True)  # INIT is queued by the mount: there is nothing to wait for
        answer_init(self.session, self.device)
        self.device.set_blocking(False)
        self.loop = asyncio.get_running_loop()
        self.device.watch(self.loop, self._readable)

    def _readable(self) -> None:
        try:
            self._receive_some()
        except Exception:
            logger.exception("serving a mount failed, and the mount ends")
            self.abort()

    def _receive_some(self) -> None:
        """Take in what there is, but not so much that the loop's other tasks starve."""
        for _ in range(16):
            try:
                message = self.device.read()
            except (BlockingIOError, MemoryError):  # the latter: until a method lets go of what it holds
                return
            if message is None:
                self._begin_to_end()
                return
            self._receive(message)
            del message

    def _receive(self, message: memoryview) -> None:
        outcome = self.take_in(message)
        if isinstance(outcome, tuple):
            self.device.write(outcome)
        elif outcome is not None:
            if outcome.is_async or self.workers is None:
                self._go_on(outcome, self.run(outcome, self.device))
            else:
                self._hand_over(outcome, self.workers)

    def _hand_over(self, call: Call, workers: Workers) -> None:
        try:
            workers.submit(functools.partial(self._run_in_thread, call))
        except RuntimeError as error:  # no thread is left
            self.fail(call, self.device, error)

    def _run_in_thread(self, call: Call) -> None:
        coroutine = self.run(call, self.device)
        if coroutine is None:
            return
        try:
            self.loop.call_soon_threadsafe(self._go_on, call, coroutine)
        except RuntimeError:  # the loop was closed before the mount was
            coroutine.close()

    def _go_on(self, call: Call, coroutine: Coroutine[Any, Any, Any] | None) -> None:
        if coroutine is not None:
            task = self._spawn(self.finish(call, self.device, coroutine))
            task.add_done_callback(functools.partial(self._see_it_answered, call, coroutine))

    def _see_it_answered(self, call: Call, coroutine: Coroutine[Any, Any, Any], task: asyncio.Task[None]) -> None:
        """Answer for a task that was cancelled before its first step; after it, `finish` does."""
        if task.cancelled():
            coroutine.close()
            self.fail(call, self.device, asyncio.CancelledError())

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def _begin_to_end(self) -> None:
        self.ending = True
        self.device.unwatch(self.loop)
        self.session.abandon()
        if self.workers is not None:
            self.workers.stop()
        waiting = self.loop.create_task(self._wait_for_methods())
        waiting.add_done_callback(self._put_away)  # even if the loop's end cancels it

    async def _wait_for_methods(self) -> None:
        try:
            async with asyncio.timeout(self.grace):
                if self.workers is not None:
                    await asyncio.wait({in_a_thread(self.workers.join)})
                while self.tasks:
                    await asyncio.wait(self.tasks)
        except TimeoutError:
            pass

    def _put_away(self, _waiting: asyncio.Task[None]) -> None:
        self.tidy_up()
        self.device.close()
        in_a_thread(self.gone).add_done_callback(lambda _: self.ended.set())
