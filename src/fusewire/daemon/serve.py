"""The shells: who reads the device, and where a filesystem's methods run.

Threads (`ThreadServer`): `threads` methods run at once, each on the thread that read its
request, so nothing is handed over. One thread more than that reads, so that the device is
never left alone: it takes in an INTERRUPT for the methods that run, and puts what it may not
run yet on the `backlog`, which whoever is done looks at first. A filesystem that is not
`blocking` needs no such guard, and gets none. Each thread reads a descriptor of its own
(FUSE_DEV_IOC_CLONE), or all share one where that fails. Coroutines go on in one event loop,
in a thread of its own, 'fusewire-loop', where they take no turn from the `def`s.

asyncio (`AsyncServer`, serve_async.py): the running loop reads the device; coroutines are its tasks, and
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

import errno
import logging
import threading
import time
from collections import deque
from typing import Final

from fusewire.daemon.device import DeviceFile
from fusewire.daemon.server import Failed, Server, Told, answer_init
from fusewire.daemon.session import Call, Session
from fusewire.daemon.workers import LoopThread
from fusewire.errors import os_error

__all__ = ["ThreadServer"]

logger = logging.getLogger("fusewire")

PAUSE: Final = 0.1  # seconds after which a thread that had no memory tries again


class ThreadServer(Server):
    """Serves on threads of its own, until the connection is gone."""

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
        self.ended = threading.Event()
        self.threads = threads
        self.readers: list[threading.Thread] = []
        self.slots = threads  # methods that may still be started
        self.backlog: deque[tuple[Call, DeviceFile]] = deque()
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

    def _start_reader(self, device: DeviceFile) -> None:
        name = f"fusewire-{len(self.readers)}"
        thread = threading.Thread(target=self._read, args=(device,), name=name, daemon=True)
        try:  # a daemon: a method that never returns must not keep the process alive
            thread.start()
        except RuntimeError:
            device.close()
            raise
        self.readers.append(thread)

    def _another_device(self) -> DeviceFile:
        try:
            return self.device.clone()
        except OSError:
            return self.device.share()

    def _read(self, device: DeviceFile) -> None:
        with self.lock:
            start_failed = self.ending
        if not start_failed:
            self._serve(device)
        device.close()

    def _serve(self, device: DeviceFile) -> None:
        try:
            self._receive_all(device)
        except BaseException:
            logger.exception("a thread that served a mount died, and the mount ends")
            self.abort()
        with self.lock:
            first, self.ending = not self.ending, True
        if first:
            self._end(device)

    def _receive_all(self, device: DeviceFile) -> None:
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

    def _receive(self, message: memoryview, device: DeviceFile) -> None:
        outcome = self.take_in(message)
        if outcome is None:
            return
        if isinstance(outcome, tuple):
            device.write(outcome)
        elif outcome.is_async:
            self._carry_out(outcome, device)
        else:
            self._run_when_allowed(outcome, device)

    def _carry_out(self, call: Call, device: DeviceFile) -> None:
        coroutine = self.run(call, device)
        if coroutine is None:
            return
        try:
            self._loop_thread().submit(self.finish(call, device, coroutine))
        except (OSError, RuntimeError) as error:  # no descriptor, or no thread, is left
            coroutine.close()
            self.fail(call, device, error)

    def _run_when_allowed(self, call: Call, device: DeviceFile) -> None:
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
                thread.join(0.0 if self.session.calls else self.grace)  # those of methods that would not end stay
        return ended

    def _end(self, device: DeviceFile) -> None:
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
        deadline = time.monotonic() + self.grace
        for thread in self.readers:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
        with self.lock:
            self.loop_may_start = False
        if self.loop is not None:
            self.loop.stop(self.grace)
