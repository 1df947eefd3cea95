"""/dev/fuse, as the daemon sees it: one message a read, one reply a write.

A buffer is read into again and again, unless somebody still holds a view of what was in it:
a `write`'s data that a coroutine has not yet written, or that a filesystem kept. Python can
tell, for a bytearray with views refuses to be resized; then we take a new one.

Every descriptor made here is closed in forked children, so that no child keeps a dead mount
alive.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import threading
from collections.abc import Callable, Sequence
from typing import Final, Protocol, Self

from fusewire import events
from fusewire.daemon.workers import in_a_thread
from fusewire.errors import os_error
from fusewire.events import Step, note
from fusewire.mounting import clone_device, close_device, close_in_children
from fusewire.wire import Buffer, OutHeader, encode_error

__all__ = ["Device", "DeviceFile"]

logger = logging.getLogger("fusewire")

GONE: Final = frozenset({errno.ENODEV, errno.ECONNABORTED, errno.EBADF})  # what read says after unmount or abort
LOST: Final = frozenset({errno.ENOENT, errno.ENOMEM})  # aborted while it was copied; no memory to copy it
UNANSWERABLE: Final = frozenset({errno.ENOENT}) | GONE  # what write says of a request that nobody awaits any more


class DeviceFile(Protocol):
    """What the shells need of a device: this module's, or that of an embedded kernel."""

    def read(self) -> memoryview | None: ...
    def write(self, buffers: Sequence[Buffer]) -> None: ...
    def clone(self) -> Self: ...
    def share(self) -> Self: ...
    def set_blocking(self, blocking: bool) -> None: ...
    def watch(self, loop: asyncio.AbstractEventLoop, readable: Callable[[], object]) -> None: ...
    def unwatch(self, loop: asyncio.AbstractEventLoop) -> None: ...
    def close(self) -> None: ...


class Device:
    """An open descriptor of /dev/fuse. One thread reads it; any may write."""

    def __init__(self, fd: int, size: int) -> None:
        """Take over `fd`. `size` bytes hold the longest message."""
        self.fd = fd
        self.size = size
        self._buffer = bytearray(size)
        self._notifying = 0  # notifications that are being written
        self._ending = threading.Lock()  # of `fd`, once others than readers may write: of that number, too
        close_in_children(fd)

    def read(self) -> memoryview | None:
        """Wait for a message and return it; None once the connection is gone.

        Good until the next `read`, or for as long as a view of it is held.

        Raises:
            BlockingIOError: if the descriptor does not block, and there is none.
            MemoryError: if every buffer is held, and there is no room for one more; none was read.
        """
        while True:
            if events.hook is not None:
                note(Step.CALL, "sys_read")
            try:
                length = os.readv(self.fd, [self._free_buffer()])
            except OSError as error:
                if error.errno in GONE:
                    return None
                if error.errno not in LOST:  # then the kernel has ended the request: read the next
                    raise
            else:
                if events.hook is not None:
                    note(Step.RETURN, "sys_read")
                return memoryview(self._buffer)[:length] if length else None  # 0: a socket in the device's place ends

    def _free_buffer(self) -> bytearray:
        try:
            self._buffer.append(0)
        except BufferError:
            self._buffer = bytearray(self.size)
        else:
            self._buffer.pop()
        return self._buffer

    def write(self, buffers: Sequence[Buffer]) -> None:
        """Write one reply. That its request is gone (aborted, or the mount is) is no error."""
        if events.hook is not None:
            note(Step.CALL, "sys_write")
        try:
            os.writev(self.fd, buffers)
        except (OSError, BufferError, ValueError) as error:  # the latter two: of data that changed meanwhile
            if isinstance(error, OSError) and error.errno in UNANSWERABLE:
                return
            logger.error("the kernel refused a reply, and its caller gets EIO: %s", error)
            self._write_eio(OutHeader.unpack_from(buffers[0]).unique)
        finally:
            if events.hook is not None:
                note(Step.RETURN, "sys_write")

    def _write_eio(self, unique: int) -> None:
        """End a request whose reply was refused: some the kernel has ended then, others would wait for ever."""
        with contextlib.suppress(OSError):
            os.write(self.fd, encode_error(unique, errno.EIO))

    def notify(self, message: bytes) -> None:
        """Write a notification; return when the kernel has done what it says.

        Raises:
            OSError: ENODEV once this is closed; else what the kernel says.
        """
        with self._ending:
            fd = self.fd
            if fd < 0:
                raise os_error(errno.ENODEV)
            self._notifying += 1
        try:
            os.write(fd, message)
        finally:
            with self._ending:
                self._notifying -= 1
                is_last = self.fd < 0 and not self._notifying
            if is_last:  # `close` has left it to us, lest the number become another file's while we write
                close_device(fd)

    async def notify_async(self, message: bytes) -> None:
        """The same, in a thread of its own: a notification that waits must not keep the loop from answering."""

        def notification() -> None:
            self.notify(message)

        await in_a_thread(notification)

    def clone(self) -> Device:
        """Open a further descriptor of the same connection, with a processing queue of its own.

        Raises:
            OSError: if the kernel has no FUSE_DEV_IOC_CLONE, or /dev/fuse may not be opened here.
        """
        return Device(clone_device(self.fd), self.size)

    def share(self) -> Device:
        """Open a further descriptor that shares this one's processing queue: for kernels without clones."""
        return Device(os.dup(self.fd), self.size)

    def set_blocking(self, blocking: bool) -> None:
        flags = fcntl.fcntl(self.fd, fcntl.F_GETFL)
        fcntl.fcntl(self.fd, fcntl.F_SETFL, flags & ~os.O_NONBLOCK if blocking else flags | os.O_NONBLOCK)

    def watch(self, loop: asyncio.AbstractEventLoop, readable: Callable[[], object]) -> None:
        """Have `loop` call `readable` whenever there is something to read, or the connection is gone."""
        loop.add_reader(self.fd, readable)

    def unwatch(self, loop: asyncio.AbstractEventLoop) -> None:
        """End that."""
        loop.remove_reader(self.fd)

    def close(self) -> None:
        """Close the descriptor; the last of a connection aborts it. Idempotent."""
        with self._ending:
            fd, self.fd = self.fd, -1
            if fd < 0 or self._notifying:
                return
        close_device(fd)
