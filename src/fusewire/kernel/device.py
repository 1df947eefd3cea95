"""/dev/fuse as a file: where a daemon reads requests and writes replies.

Each open device has an `io` list, of requests that are being copied, and a `processing` table, of
those that were read from it and are owed a reply. Any number of tasks may read one device; each
read returns one whole message: an INTERRUPT before all else, then the first of `pending`.

A reply is checked before it is matched, and a daemon may try again; once it has been matched
there is no second chance, and a reply that does not fit its request fails it with EIO.

Not modelled yet: forgets, notifications (they are refused), several devices of one connection,
poll and O_NONBLOCK, splice, and user memory: a buffer never faults.

Source: fs/fuse/dev.c, fuse_dev_do_read, fuse_dev_do_write.
"""

from __future__ import annotations

import errno

from fusewire.errors import ProtocolError, os_error
from fusewire.events import Step, named, note
from fusewire.kernel.connection import Connection
from fusewire.kernel.request import Request, Stage
from fusewire.kernel.tasks import Task, current, step
from fusewire.kernel.waitq import Sleep
from fusewire.wire import FUSE_INT_REQ_BIT, InHeader, InterruptIn, OutHeader, WriteIn, decode_reply, encode_request


class Device:
    """One open /dev/fuse. Not bound to a connection before `bind`, and of no use until then."""

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.closed = False
        self.io: list[Request] = []
        self.processing: dict[int, Request] = {}
        self.readers: dict[Task, None] = {}  # in the order in which they came

    def bind(self, connection: Connection) -> None:
        """Make this a device of `connection`, as mount(2) does with its option `fd`."""
        assert self.connection is None, "a device is bound once"
        self.connection = connection
        connection.devices.append(self)

    @property
    def connected(self) -> bool:
        return self.connection is not None and self.connection.connected and not self.closed

    # The right column, its first half.

    @named("fuse_dev_read")
    async def read(self, size: int) -> bytes:
        """Sleep until there is a message and hand it to the daemon, whose buffer has `size` bytes.

        A request that is longer than the buffer fails, with EIO or E2BIG; the daemon gets the next.

        Raises:
            OSError: EPERM if nothing is mounted; EINVAL if `size` is too small for some request;
                ENODEV once aborted, or ECONNABORTED if the daemon asked for that; EINTR if a
                signal came first.
        """
        connection = self._bound()
        if connection.profile.least_read and size < max(connection.profile.least_read, self._longest_write()):
            raise os_error(errno.EINVAL)
        self.readers[current()] = None
        while True:
            await self._wait_request()
            if not self.connected:
                raise self._gone()
            if connection.interrupts:
                return await self._read_interrupt()
            request = connection.pending.popleft()
            message = request.message
            if len(message) <= size:
                return await self._read_request(request, message)
            self._too_long(request)

    def _bound(self) -> Connection:
        if self.connection is None:
            raise os_error(errno.EPERM)
        return self.connection

    def _longest_write(self) -> int:
        return InHeader.SIZE + WriteIn.SIZE + self._bound().settings.max_write

    def _gone(self) -> OSError:
        return os_error(errno.ECONNABORTED if self._bound().aborted_with_error else errno.ENODEV)

    @named("request_wait")
    async def _wait_request(self) -> None:
        connection = self._bound()
        await connection.waitq.sleep(until=lambda: connection.readable or not self.connected, depth=Sleep.INTERRUPTIBLE)

    async def _read_interrupt(self) -> bytes:
        request = self._bound().interrupts.popleft()
        await step(Step.TAKE_INTERRUPT)
        return encode_request("INTERRUPT", unique=request.unique | FUSE_INT_REQ_BIT, body=InterruptIn(request.unique))

    def _too_long(self, request: Request) -> None:
        connection = self._bound()
        code = errno.E2BIG if request.operation.name == "SETXATTR" else errno.EIO
        connection.finish(request, "too long", code)
        if connection.profile.short_read:
            raise os_error(connection.profile.short_read)

    async def _read_request(self, request: Request, message: bytes) -> bytes:
        connection = self._bound()
        request.reader = current()
        request.move("read")
        self.io.append(request)
        await step(Step.TAKE)
        await step(Step.COPY_OUT)
        self.io.remove(request)
        if not self.connected:
            connection.finish(request, "abort", errno.ECONNABORTED)
            raise self._gone()
        request.move("copied")
        self.processing[request.unique] = request
        # A signal from now on finds the request here, and its sender sees to it: never both of us.
        interrupted = request.interrupted
        await step(Step.READ)
        if interrupted and request.stage is Stage.PROCESSING:
            connection.sent(request)
        return message

    # Its second half.

    @named("fuse_dev_write")
    async def write(self, message: bytes) -> int:
        """Finish the request that `message` answers; return the length of `message`.

        Raises:
            OSError: EPERM if nothing is mounted; EINVAL if the message is malformed; ENOENT if no
                request read from here is owed a reply of that unique, or if an abort came first.
        """
        connection = self._bound()
        header = self._header(message)
        note(Step.LOOK_UP)
        of_interrupt = bool(header.unique & FUSE_INT_REQ_BIT) and connection.profile.interrupts
        request = self.processing.get(header.unique ^ FUSE_INT_REQ_BIT if of_interrupt else header.unique)
        if request is None:
            raise os_error(connection.profile.unknown_unique if self.connected else errno.ENOENT)
        if of_interrupt:
            self._interrupt_answered(request, header)
        else:
            await self._finish(request, header, message)
        return len(message)

    def _header(self, message: bytes) -> OutHeader:
        if len(message) < OutHeader.SIZE:
            raise os_error(errno.EINVAL)
        header = OutHeader.unpack_from(message)
        notification = header.unique == 0
        if header.len != len(message) or notification or not -self._bound().profile.largest_error <= header.error <= 0:
            raise os_error(errno.EINVAL)
        return header

    def _interrupt_answered(self, request: Request, header: OutHeader) -> None:
        """Heed 'I have no INTERRUPT' and 'I do not know that request yet'; any other answer says nothing."""
        connection = self._bound()
        again = header.error == -errno.EAGAIN
        if header.len != OutHeader.SIZE or (again and not request.interrupted):
            raise os_error(errno.EINVAL)
        if header.error == -errno.ENOSYS:
            connection.no_interrupt = True
        elif again:
            connection.queue_interrupt(request)

    async def _finish(self, request: Request, header: OutHeader, message: bytes) -> None:
        del self.processing[request.unique]
        if request.stage is Stage.GIVEN_UP:
            note(Step.MATCH)
            self._bound().finish(request, "write")
            raise os_error(errno.ENOENT)
        request.move("write")
        self.io.append(request)
        await step(Step.MATCH)
        error = self._copy_in(request, header, message)
        await step(Step.COPY_IN)
        self.io.remove(request)
        if not self.connected:
            self._bound().finish(request, "abort", errno.ECONNABORTED)
            raise os_error(errno.ENOENT)
        self._bound().finish(request, "copied", errno.EIO if error else -header.error)
        if error:
            raise error

    def _copy_in(self, request: Request, header: OutHeader, message: bytes) -> OSError | None:
        """Decode the reply into `request`; return EINVAL if it is not what `request` asked for."""
        if header.error:
            return os_error(errno.EINVAL) if len(message) > OutHeader.SIZE else None
        minor = self._bound().settings.minor
        try:
            request.reply = decode_reply(message, request.operation, minor=minor, request_body=request.body)
        except ProtocolError:
            return os_error(errno.EINVAL)
        return None

    # The end.

    def drop(self) -> None:
        """Fail what is owed a reply from here with ECONNABORTED."""
        while self.processing:
            self._bound().finish(self.processing.popitem()[1], "abort", errno.ECONNABORTED)

    def close(self) -> None:
        """Close the file, as the exit of the daemon does; the last of a connection aborts it. Idempotent."""
        self.closed = True
        if self.connection is None or self not in self.connection.devices:
            return
        self.drop()
        self.connection.devices.remove(self)
        if not self.connection.devices:
            self.connection.abort()
