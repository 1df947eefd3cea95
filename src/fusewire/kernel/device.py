"""/dev/fuse as a file: what a daemon opens, and what it can do with that.

    read    device_reading.py: the right column of kernel.txt, its first half
    write   device_writing.py: its second half

Each open device has an `io` list, of requests that are being copied, and a `processing` table, of
those that were read from it and are owed a reply. Several devices may serve one connection
(`clone`): what one has read, only it may answer. Descriptors may share a device (`dup`); with the
last descriptor of the last device the connection is aborted.

A daemon's buffer may be plain bytes, or memory of a process, which is copied page by page and may
fault (copying.py). So an abort, or a close, finds two kinds of requests on `io`: those that are
locked are left to their copier, who ends them early; all others are ended at once.

Source: fs/fuse/dev.c, fuse_dev_poll, fuse_dev_ioctl, fuse_dev_release and end_requests.
"""

from __future__ import annotations

import errno
import select
from collections.abc import Sequence
from typing import Final

from fusewire.errors import os_error
from fusewire.kernel import device_reading, device_writing
from fusewire.kernel.connection import Connection
from fusewire.kernel.copying import PAGE
from fusewire.kernel.request import Request
from fusewire.kernel.stages import Stage
from fusewire.kernel.tasks import Task
from fusewire.kernel.waitq import Sleep, WaitQueue
from fusewire.wire import (
    FUSE_DEV_IOC_BACKING_CLOSE,
    FUSE_DEV_IOC_BACKING_OPEN,
    FUSE_DEV_IOC_CLONE,
    FUSE_DEV_IOC_SYNC_INIT,
)

__all__ = ["Device"]

_WRITABLE: Final = select.POLLOUT | select.POLLWRNORM
_READABLE: Final = select.POLLIN | select.POLLRDNORM


class Device:
    """One open /dev/fuse. Not bound to a connection before `bind`, and of no use until then."""

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.nonblocking = False  # O_NONBLOCK
        self.sync_init = False  # mount(2) is to wait for INIT, and so are readers for mount(2)
        self.bound_waitq = WaitQueue("fuse_dev_waitq")  # those readers
        self.descriptors = 1  # that share it
        self.closed = False
        self.io: list[Request] = []
        self.processing: dict[int, Request] = {}
        self.readers: dict[Task, None] = {}  # in the order in which they came

    def bind(self, connection: Connection) -> None:
        """Make this a device of `connection`, as mount(2) does with its option `fd`."""
        assert self.connection is None, "a device is bound once"
        self.connection = connection
        connection.devices.append(self)
        self.bound_waitq.wake_all()

    @property
    def connected(self) -> bool:
        return self.connection is not None and self.connection.connected and not self.closed

    read = device_reading.read
    write = device_writing.write

    # What both need.

    async def bound(self) -> Connection:
        """Return the connection; if the daemon asked for SYNC_INIT, wait for it."""
        if self.connection is None and self.sync_init:
            await self.bound_waitq.sleep(until=lambda: self.connection is not None, depth=Sleep.INTERRUPTIBLE)
        if self.connection is None:
            raise os_error(errno.EPERM)
        return self.connection

    def gone(self) -> OSError:
        aborted_with_error = self.connection is not None and self.connection.aborted_with_error
        return os_error(errno.ECONNABORTED if aborted_with_error else errno.ENODEV)

    def may_read(self) -> bool:
        connection = self.connection
        assert connection is not None
        if connection.pending or connection.interrupts or connection.forgets.queue:
            return True
        return self.closed or not connection.connected

    def ended_early(self, request: Request, error: OSError | None, gone: OSError) -> OSError:
        """Clean up after a copy that did not come to its end; return what the copier fails with.

        That is `gone` after an abort, ENOENT if the sender has gone, and otherwise `error`.
        """
        if request in self.io:
            self.io.remove(request)
        connection = request.connection
        match request.stage:
            case Stage.FINISHED:  # by an abort, while we were at the fault
                connection.drop(request)
                return gone
            case Stage.ABORTED:
                connection.finish(request, "copied", errno.ECONNABORTED)
                return gone
            case _ if request.given_up:
                connection.finish(request, "left")
                return os_error(errno.ENOENT)
        assert error is not None, f"{request} ended early"
        if request.locked:
            request.unlock()
        connection.finish(request, "fault", errno.EIO)
        return error

    # What else a descriptor can do.

    async def splice_write(self, pipe: Sequence[bytes], length: int) -> int:
        """Write the first `length` bytes that are in `pipe`, buffer by buffer; errors as those of `write`.

        Raises:
            OSError: EINVAL if the pipe holds fewer bytes.
        """
        await self.bound()
        if sum(map(len, pipe)) < length:
            raise os_error(errno.EINVAL)
        return await self.write(b"".join(pipe)[:length])

    async def splice_read(self, size: int, slots: int) -> bytes:
        """Read a message into a pipe that has so many free `slots`, each of a page; errors as those of `read`.

        Raises:
            OSError: EIO if they are too few; the message is lost then, and a request in it waits for its reply.
        """
        message = await self.read(size)
        if -(-len(message) // PAGE) > slots:
            raise os_error(errno.EIO)
        return message

    async def poll(self) -> int:
        """Return what can be done without sleeping, as the flags of `select.poll`: POLLERR when all is over."""
        try:
            connection = await self.bound()
        except PermissionError:
            return select.POLLERR
        if not self.connected:
            return select.POLLERR
        return _WRITABLE | (_READABLE if connection.readable else 0)

    def ioctl(self, command: int, argument: object = None) -> int:
        """Do what `command` (FUSE_DEV_IOC_...) says; `argument` is the device to clone.

        Raises:
            OSError: ENOTTY if there is no such command; EOPNOTSUPP of backing files, which are not
                modelled; else as `clone` and `ask_sync_init` say.
        """
        match command:
            case cmd if cmd == FUSE_DEV_IOC_CLONE:
                if not isinstance(argument, Device):
                    raise os_error(errno.EINVAL)
                self.clone(argument)
            case cmd if cmd == FUSE_DEV_IOC_SYNC_INIT:
                self.ask_sync_init()
            case cmd if cmd in (FUSE_DEV_IOC_BACKING_OPEN, FUSE_DEV_IOC_BACKING_CLOSE):
                raise os_error(errno.EOPNOTSUPP)
            case _:
                raise os_error(errno.ENOTTY)
        return 0

    def clone(self, other: Device) -> None:
        """Become another device of the connection of `other`.

        Raises:
            OSError: EINVAL if this one is bound or either is closed; EPERM if `other` is not bound.
        """
        if other.closed or self.closed or self.connection is not None:
            raise os_error(errno.EINVAL)
        if other.connection is None:
            raise os_error(errno.EPERM)
        self.bind(other.connection)

    def ask_sync_init(self) -> None:
        """Have mount(2) wait for the answer to INIT, and readers for mount(2).

        Raises:
            OSError: EINVAL if something is mounted already.
        """
        if self.connection is not None:
            raise os_error(errno.EINVAL)
        self.sync_init = True

    def dup(self) -> Device:
        """Return the same device, which takes one `close` more to close."""
        self.descriptors += 1
        return self

    # The end.

    def disconnect(self) -> list[Request]:
        """Take from here what can be ended now, and return it; what is locked is left to its copier."""
        ending = []
        for request in self.io:
            if request.locked:
                if request.stage is not Stage.ABORTED:  # it may be, if an abort came before the close
                    request.move("abort")
            else:
                request.references += 1  # for whoever ends it: its copier, asleep in a fault, has another
                ending.append(request)
        self.io = [request for request in self.io if request.locked]
        ending += self.processing.values()
        self.processing.clear()
        return ending

    def close(self) -> None:
        """Close a descriptor of it, as the exit of the daemon does; the last of a connection aborts it. Idempotent.

        What is owed a reply from here fails with ECONNABORTED.
        """
        self.descriptors -= self.descriptors > 0
        if self.descriptors or self.closed:
            return
        self.closed = True
        connection = self.connection
        if connection is None or self not in connection.devices:
            return
        for request in self.disconnect():
            connection.finish(request, "abort", errno.ECONNABORTED)
        connection.devices.remove(self)
        if not connection.devices:
            connection.abort()
        else:
            connection.waitq.wake_all()  # of its own readers, if it has any
