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
Then what still runs is interrupted, and waited for, for `GRACE` seconds. A method that never
returns keeps nobody: all threads are daemons, and those that wait for others too.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from types import CoroutineType
from typing import Any, Final

from fusewire.daemon.device import Device
from fusewire.daemon.session import Buffers, Call, Session
from fusewire.daemon.workers import LoopThread, Workers, in_a_thread
from fusewire.errors import ProtocolError, os_error
from fusewire.wire import InHeader, encode_error

__all__ = ["AsyncServer", "ThreadServer"]

logger = logging.getLogger("fusewire")

GRACE: Final = 5.0  # seconds that methods get to return, once the mount is gone
PAUSE: Final = 0.1  # seconds after which a thread that had no memory tries again
Failed = Callable[[BaseException], None]
Told = Callable[[], object]


class Server:
    """What both shells do: run a call, write its reply, and notice the end.

    `failed` is called with an exception that was no OSError, once: `strict` mounts end on it.
    `gone` is called when all is over and every descriptor closed. `abort` is to end the
    connection: a bug of ours has cost a message, whose sender would wait for ever.
    """

    def __init__(self, session: Session, device: Device, failed: Failed | None, gone: Told, abort: Told) -> None:
        self.session = session
        self.device = device
        self.failed = failed
        self.gone = gone
        self.abort = abort
        self.ending = False  # the device has said that the connection is gone

    def take_in(self, message: memoryview) -> Buffers | Call | None:
        """Give the session a message. One that has no number to be answered by is logged, and nothing else."""
        try:
            return self.session.receive(message)
        except ProtocolError as error:
            logger.error("a message that cannot be read is passed over: %s", error)
            return None
        except MemoryError:
            return (encode_error(InHeader.unpack_from(message).unique, errno.ENOMEM),)

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
        self._write(device, self.session.reply(call, result))

    def fail(self, call: Call, device: Device, error: BaseException) -> None:
        self._write(device, self.session.fail(call, error))

    def _write(self, device: Device, buffers: Buffers | None) -> None:
        if buffers is not None:
            device.write(buffers)
        if self.session.failure is not None:
            failed, self.failed = self.failed, None
            if failed is not None:
                failed(self.session.failure)

    def tidy_up(self) -> None:
        """Name the methods that would not end, and let the filesystem go."""
        for call in list(self.session.calls.values()):
            logger.warning("%s is still running after its mount is gone, and is left to itself", call.request)
        try:
            self.session.destroy()
        except BaseException:  # whoever waits for the end must learn of it
            logger.exception("destroy failed")


class ThreadServer(Server):
    """Serves on threads of its own, until the connection is gone."""

    def __init__(
        self,
        session: Session,
        device: Device,
        threads: int,
        failed: Failed | None,
        gone: Told,
        abort: Told = lambda: None,
    ) -> None:
        super().__init__(session, device, failed, gone, abort)
        self.ended = threading.Event()
        self.threads = threads
        self.readers: list[threading.Thread] = []
        self.slots = threads  # methods that may still be started
        self.backlog: deque[tuple[Call, Device]] = deque()
        self.loop: LoopThread | None = None
        self.loop_may_start = True
        self.lock = threading.Lock()  # of the four above, and of `ending`

    def start(self) -> None:
        """Answer INIT on this thread, then start the others.

        Raises:
            OSError: EPROTO if the kernel speaks no version that we do; ENOTCONN if it goes away
                meanwhile; EMFILE if there are not as many descriptors as threads.
        """
        answer_init(self.session, self.device)
        guard = 1 if self.session.filesystem.blocking else 0
        with self.lock:  # nobody may begin, nor end, before all have started
            try:
                self._start_reader(self.device)
                for _ in range(self.threads + guard - 1):
                    self._start_reader(self._another_device())
            except BaseException:
                self.ending = True  # so those that have started do nothing
                raise

    def _start_reader(self, device: Device) -> None:
        name = f"fusewire-{len(self.readers)}"
        thread = threading.Thread(target=self._read, args=(device,), name=name, daemon=True)
        try:  # a daemon: a method that never returns must not keep the process alive
            thread.start()
        except RuntimeError:
            device.close()
            raise
        self.readers.append(thread)

    def _another_device(self) -> Device:
        try:
            return self.device.clone()
        except OSError:
            return self.device.share()

    def _read(self, device: Device) -> None:
        with self.lock:
            start_failed = self.ending
        if not start_failed:
            self._serve(device)
        device.close()

    def _serve(self, device: Device) -> None:
        try:
            self._receive_all(device)
        except BaseException:
            logger.exception("a thread that served a mount died, and the mount ends")
            self.abort()
        with self.lock:
            first, self.ending = not self.ending, True
        if first:
            self._end(device)

    def _receive_all(self, device: Device) -> None:
        while True:
            try:
                message = device.read()
            except MemoryError:  # until a method lets go of what it holds
                time.sleep(PAUSE)
                continue
            if message is None:
                return
            self._receive(message, device)
            del message  # so that its buffer can be used again

    def _receive(self, message: memoryview, device: Device) -> None:
        outcome = self.take_in(message)
        if outcome is None:
            return
        if isinstance(outcome, tuple):
            device.write(outcome)
        elif outcome.is_async:
            self._carry_out(outcome, device)
        else:
            self._run_when_allowed(outcome, device)

    def _carry_out(self, call: Call, device: Device) -> None:
        coroutine = self.run(call, device)
        if coroutine is None:
            return
        try:
            self._loop_thread().submit(self.finish(call, device, coroutine))
        except (OSError, RuntimeError) as error:  # no descriptor, or no thread, is left
            coroutine.close()
            self.fail(call, device, error)

    def _run_when_allowed(self, call: Call, device: Device) -> None:
        """Run `call` and then the backlog; or leave it there, if as many as may run do so."""
        with self.lock:
            if self.slots == 0:
                self.backlog.append((call, device))
                return
            self.slots -= 1
        while True:
            self._carry_out(call, device)
            with self.lock:
                if not self.backlog:
                    self.slots += 1
                    return
                call, device = self.backlog.popleft()

    def _loop_thread(self) -> LoopThread:
        with self.lock:
            if not self.loop_may_start:
                raise os_error(errno.ENOTCONN)
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
        try:
            self.session.abandon()
            self._wait_for_methods()
            self.tidy_up()
            device.close()
            self.gone()
        finally:
            self.ended.set()

    def _wait_for_methods(self) -> None:
        deadline = time.monotonic() + GRACE
        for thread in self.readers:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
        with self.lock:
            self.loop_may_start = False
        if self.loop is not None:
            self.loop.stop(GRACE)


class AsyncServer(Server):
    """Serves in the event loop that runs, until the connection is gone."""

    def __init__(
        self,
        session: Session,
        device: Device,
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
        self.loop.add_reader(self.device.fd, self._readable)

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
        self.loop.remove_reader(self.device.fd)
        self.session.abandon()
        if self.workers is not None:
            self.workers.stop()
        waiting = self.loop.create_task(self._wait_for_methods())
        waiting.add_done_callback(self._put_away)  # even if the loop's end cancels it

    async def _wait_for_methods(self) -> None:
        try:
            async with asyncio.timeout(GRACE):
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
