"""The embedded device, as the daemon's shells use /dev/fuse (daemon/device.py).

The shells read and write from threads, or from an event loop, and know nothing of tasks: each call
here is one task of the kernel's runner. Instead of a descriptor that a loop may watch, `watch` has
a task sleep until there is something to read.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from fusewire.daemon.device import GONE, UNANSWERABLE
from fusewire.errors import os_error
from fusewire.kernel.runners.locked import Locked
from fusewire.kernel.tasks import Task, current
from fusewire.kernel.waitq import Sleep
from fusewire.wire import Buffer, OutHeader, encode_error

if TYPE_CHECKING:
    from fusewire.embedded.daemon_device import Stall
    from fusewire.kernel.connection import Connection
    from fusewire.kernel.device import Device

__all__ = ["EmbeddedDevice"]

logger = logging.getLogger("fusewire")


class EmbeddedDevice:
    """An open device of an embedded kernel, for `ThreadServer` and `AsyncServer`."""

    def __init__(self, runner: Locked, device: Device, size: int, stall: Stall, another: Callable[[], Device]) -> None:
        """`size` bytes hold the longest message; `another` opens a device that is not bound yet."""
        self.runner = runner
        self.device = device
        self.stall = stall
        self.another = another
        self.size = size
        self.closed = False
        self._watcher: Task | None = None

    @property
    def connection(self) -> Connection:
        assert self.device.connection is not None
        return self.device.connection

    def read(self) -> memoryview | None:
        """As `Device.read`."""
        try:
            return memoryview(self.runner.call(self._read()))
        except OSError as error:
            if error.errno in GONE:
                return None
            raise

    async def _read(self) -> bytes:
        if self.stall.hangs and self.device.nonblocking and self.device.connected:
            raise os_error(errno.EAGAIN)
        try:
            message = await self.device.read(self.size)
            if self.stall.hangs:
                await self.stall.hold_up(self.device)
            return message
        finally:
            self.device.readers.pop(current(), None)  # each read is another task

    def write(self, buffers: Sequence[Buffer]) -> None:
        """As `Device.write`."""
        try:
            self.runner.call(self.device.write(b"".join(buffers)))
        except OSError as error:
            if error.errno in UNANSWERABLE:
                return
            logger.error("the kernel refused a reply, and its caller gets EIO: %s", error)
            with suppress(OSError):
                self.runner.call(self.device.write(encode_error(OutHeader.unpack_from(buffers[0]).unique, errno.EIO)))

    def clone(self) -> EmbeddedDevice:
        """As `Device.clone`."""
        device = self.another()
        self.runner.do(lambda: device.clone(self.device))
        return self._like(device)

    def share(self) -> EmbeddedDevice:
        """As `Device.share`."""
        self.runner.do(self.device.dup)
        return self._like(self.device)

    def _like(self, device: Device) -> EmbeddedDevice:
        return EmbeddedDevice(self.runner, device, self.size, self.stall, self.another)

    def set_blocking(self, blocking: bool) -> None:
        self.device.nonblocking = not blocking

    def watch(self, loop: asyncio.AbstractEventLoop, readable: Callable[[], object]) -> None:
        """Have `loop` call `readable` whenever there is something to read, or the connection is gone."""

        def look() -> None:
            if self._watcher is watcher:  # else: meanwhile it was told to watch no more
                readable()
                if self._watcher is watcher:
                    self.watch(loop, readable)

        def woken(task: Task) -> None:
            with suppress(RuntimeError):  # the loop was closed before the kernel was
                loop.call_soon_threadsafe(look)

        self._watcher = watcher = Task("daemon", self._until_readable())
        watcher.ended = woken
        self.runner.start(watcher)

    async def _until_readable(self) -> None:
        await self.connection.waitq.sleep(until=self._readable, depth=Sleep.INTERRUPTIBLE)

    def _readable(self) -> bool:
        return not self.device.connected or (self.connection.readable and not self.stall.hangs)

    def unwatch(self, loop: asyncio.AbstractEventLoop) -> None:
        """End that."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.ended = None
            self.runner.do(watcher.interrupt)

    def close(self) -> None:
        """As `Device.close`."""
        if not self.closed:
            self.closed = True
            self.runner.do(self.device.close)
