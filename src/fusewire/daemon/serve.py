"""The shells: who reads the device, and where a filesystem's methods run.

Threads (`ThreadServer`): `threads` methods run at once, each on the thread that read its
request, so nothing is handed over. One thread more than that reads, so that the device is
never left alone: it takes in an INTERRUPT for the methods that run, and puts what it may not
run yet on the `backlog`, which whoever is done looks at first. A filesystem that is not
`blocking` needs no such guard, and gets none. Each thread reads a descriptor of its own
(FUSE_DEV_IOC_CLONE), or all share one where that fails. Coroutines go on in one event loop,
in a thread of its own, 'fusewire-loop', where they take no turn from the `def`s.

asyncio (`AsyncServer`): the running loop reads the device; coroutines are its tasks, and
`def`s run in an executor of `threads` threads, unless the filesystem never blocks.

What a filesystem must promise for its number of threads:

    threads=1   nothing: no two `def`s ever run at once
    threads=N   that N `def`s may run at once
    coroutines  that they may meet at any `await`, and a `def` at any moment, whatever N is

Either shell ends when the device says that the connection is gone: unmounted, or aborted.
Then what still runs is interrupted, and waited for, for `GRACE` seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from types import CoroutineType
from typing import Any, Final

from fusewire.daemon.device import Device
from fusewire.daemon.session import Buffers, Call, Session
from fusewire.errors import ProtocolError, os_error

__all__ = ["AsyncServer", "ThreadServer"]

logger = logging.getLogger("fusewire")

GRACE: Final = 5.0  # seconds that methods get to return, once the mount is gone
Failed = Callable[[BaseException], None]
Gone = Callable[[], None]


class Server:
    """What both shells do: run a call, write its reply, and notice the end.

    `failed` is called with an exception that was no OSError, once: `strict` mounts end on it.
    `gone` is called when all is over and every descriptor closed.
    """

    def __init__(self, session: Session, device: Device, *, failed: Failed | None = None, gone: Gone) -> None:
        self.session = session
        self.device = device
        self.failed = failed
        self.gone = gone
        self.ending = False  # the device has said that the connection is gone

    def take_in(self, message: memoryview) -> Buffers | Call | None:
        """Give the session a message. One that has no number to be answered by is logged, and nothing else."""
        try:
            return self.session.receive(message)
        except ProtocolError as error:
            logger.error("a message that cannot be read is passed over: %s", error)
            return None

    def run(self, call: Call, device: Device) -> Coroutine[Any, Any, Any] | None:
        """Run a method and answer; return the coroutine that it returned, if that is still to be awaited."""
        try:
            result = call.run()
        except BaseException as error:
            self.fail(call, device, error)
            return None
        if isinstance(result, CoroutineType):
            return result
        self.reply(call, device, result)
        return None

    async def finish(self, call: Call, device: Device, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Await what a method returned, and answer. An interrupt cancels this task."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        call.request.on_interrupt(lambda: loop.call_soon_threadsafe(task.cancel))
        try:
            result = await call.finish(coroutine)
        except BaseException as error:
            self.fail(call, device, error)
        else:
            self.reply(call, device, result)

    def reply(self, call: Call, device: Device, result: Any) -> None:
        buffers = self.session.reply(call, result)
        if buffers is not None:
            device.write(buffers)
        if self.session.failure is not None:
            self._tell_failure()

    def fail(self, call: Call, device: Device, error: BaseException) -> None:
        buffers = self.session.fail(call, error)
        if buffers is not None:
            device.write(buffers)
        if self.session.failure is not None:
            self._tell_failure()

    def _tell_failure(self) -> None:
        failed, self.failed = self.failed, None
        if failed is not None and self.session.failure is not None:
            failed(self.session.failure)

    def interrupt_all(self) -> None:
        """Tell every method that still runs that nobody waits for it."""
        for call in list(self.session.calls.values()):
            call.request.interrupt()

    def tidy_up(self) -> None:
        """Name the methods that would not end, and let the filesystem go."""
        for call in list(self.session.calls.values()):
            logger.warning("%s is still running after its mount is gone, and is left to itself", call.request)
        try:
            self.session.destroy()
        except Exception:
            logger.exception("destroy failed")


class ThreadServer(Server):
    """Serves on threads of its own, until the connection is gone."""

    def __init__(self, session: Session, device: Device, threads: int, failed: Failed | None, gone: Gone) -> None:
        super().__init__(session, device, failed=failed, gone=gone)
        self.ended = threading.Event()
        self.threads = threads
        self.readers: list[threading.Thread] = []
        self.slots = threads  # methods that may still be started
        self.backlog: deque[tuple[Call, Device]] = deque()
        self.loop: LoopThread | None = None
        self.lock = threading.Lock()  # of the three above

    def start(self) -> None:
        """Answer INIT on this thread, then start the others.

        Raises:
            OSError: EPROTO if the kernel speaks no version that we do; ENOTCONN if it goes away meanwhile.
        """
        answer_init(self.session, self.device)
        guard = 1 if self.session.filesystem.blocking else 0
        devices = [self.device, *(self._another_device() for _ in range(self.threads + guard - 1))]
        self.readers = [
            threading.Thread(target=self._read, args=(device,), name=f"fusewire-{number}", daemon=True)
            for number, device in enumerate(devices)
        ]  # daemons: a method that never returns must not keep the process alive
        with self.lock:  # nobody may end before all have started
            for thread in self.readers:
                thread.start()

    def _another_device(self) -> Device:
        try:
            return self.device.clone()
        except OSError:
            return self.device.share()

    def _read(self, device: Device) -> None:
        try:
            while (message := device.read()) is not None:
                self._receive(message, device)
                del message  # so that its buffer can be used again
        except Exception:
            logger.exception("a thread that served a mount died")
        with self.lock:
            first, self.ending = not self.ending, True
        if first:
            self._end(device)
        device.close()

    def _receive(self, message: memoryview, device: Device) -> None:
        outcome = self.take_in(message)
        if outcome is None:
            return
        if isinstance(outcome, tuple):
            device.write(outcome)
        elif outcome.is_async:
            self._loop_thread().submit(self._run_in_loop(outcome, device))
        else:
            self._run_when_allowed(outcome, device)

    def _run_when_allowed(self, call: Call, device: Device) -> None:
        """Run `call` and then the backlog; or leave it there, if as many as may run do so."""
        with self.lock:
            if self.slots == 0:
                self.backlog.append((call, device))
                return
            self.slots -= 1
        while True:
            coroutine = self.run(call, device)
            if coroutine is not None:
                self._loop_thread().submit(self.finish(call, device, coroutine))
            with self.lock:
                if not self.backlog:
                    self.slots += 1
                    return
                call, device = self.backlog.popleft()

    async def _run_in_loop(self, call: Call, device: Device) -> None:
        coroutine = self.run(call, device)
        if coroutine is not None:
            await self.finish(call, device, coroutine)

    def _loop_thread(self) -> LoopThread:
        with self.lock:
            self.loop = self.loop or LoopThread()
            return self.loop

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all is over, for `timeout` seconds at most; return whether it is."""
        ended = self.ended.wait(timeout)
        if ended:
            for thread in self.readers:
                thread.join(0.0 if self.session.calls else GRACE)  # those of methods that would not end stay
        return ended

    def _end(self, device: Device) -> None:
        """What the first thread does that learns of the end: it waits for the others, and tidies up."""
        self.interrupt_all()
        deadline = time.monotonic() + GRACE
        for thread in self.readers:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
        if self.loop is not None:
            self.loop.stop()
        self.tidy_up()
        device.close()
        self.gone()
        self.ended.set()


class AsyncServer(Server):
    """Serves in the event loop that runs, until the connection is gone."""

    def __init__(self, session: Session, device: Device, threads: int, failed: Failed | None, gone: Gone) -> None:
        super().__init__(session, device, failed=failed, gone=gone)
        self.ended = asyncio.Event()
        self.executor = ThreadPoolExecutor(threads, "fusewire") if session.filesystem.blocking else None
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
        self.loop.add_reader(self.device.fd, self._readable)

    def _readable(self) -> None:
        """Take in what there is, but not so much that the loop's other tasks starve."""
        for _ in range(16):
            try:
                message = self.device.read()
            except BlockingIOError:
                return
            if message is None:
                self.loop.remove_reader(self.device.fd)
                self._spawn(self._end())
                return
            self._receive(message)
            del message

    def _receive(self, message: memoryview) -> None:
        outcome = self.take_in(message)
        if isinstance(outcome, tuple):
            self.device.write(outcome)
        elif outcome is not None:
            if outcome.is_async or self.executor is None:
                self._go_on(outcome, self.run(outcome, self.device))
            else:
                self.loop.run_in_executor(self.executor, self._run_in_thread, outcome)

    def _run_in_thread(self, call: Call) -> None:
        coroutine = self.run(call, self.device)
        self.loop.call_soon_threadsafe(self._go_on, call, coroutine)

    def _go_on(self, call: Call, coroutine: Coroutine[Any, Any, Any] | None) -> None:
        if coroutine is not None:
            self._spawn(self.finish(call, self.device, coroutine))

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _end(self) -> None:
        self.ending = True
        self.interrupt_all()
        others = self.tasks - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=GRACE)
        if self.executor is not None:
            await self._drain_executor(self.executor)
        self.tidy_up()
        self.device.close()
        await asyncio.to_thread(self.gone)
        self.ended.set()

    async def _drain_executor(self, executor: ThreadPoolExecutor) -> None:
        waiting = asyncio.to_thread(executor.shutdown, cancel_futures=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(waiting), GRACE)


def answer_init(session: Session, device: Device) -> None:
    """Read and answer until both ends have agreed.

    Raises:
        OSError: EPROTO if the kernel speaks no version that we do; ENOTCONN if it goes away meanwhile.
    """
    while session.agreement is None:
        message = device.read()
        if message is None:
            raise os_error(errno.ENOTCONN)
        outcome = session.receive(message)
        if isinstance(outcome, tuple):
            device.write(outcome)


class LoopThread:
    """An event loop in a thread of its own: where coroutines go on that a thread has begun."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._run, name="fusewire-loop", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        self.loop.run_forever()
        self.loop.close()

    def submit(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def stop(self) -> None:
        """Wait for the coroutines that run, for `GRACE` seconds, and end the thread."""

        async def last() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            if others:
                await asyncio.wait(others, timeout=GRACE)
            self.loop.call_soon(self.loop.stop)

        self.submit(last())
        self.thread.join(2 * GRACE)
