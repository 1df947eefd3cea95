"""/dev/fuse as a file: where a daemon reads requests and writes replies.

Each open device has an `io` list, of requests that are being copied, and a `processing` table, of
those that were read from it and are owed a reply. Any number of tasks may read one device; each
read returns one whole message: an INTERRUPT before all else, then forgets or the first of `pending`,
in turns. Several devices may serve one connection (`clone`): what one has read, only it may answer.

A reply is checked before it is matched, and a daemon may try again; once it has been matched
there is no second chance, and a reply that does not fit its request fails it with EIO. Each check
has a number, by which the connection's `violations` are told apart (violations.py).

A daemon's buffer may be plain bytes, or memory of a process, which is copied page by page and may
fault (copying.py).

Source: fs/fuse/dev.c, fuse_dev_do_read, fuse_dev_do_write, fuse_dev_poll and fuse_dev_ioctl.
"""

from __future__ import annotations

import errno
import select
from collections.abc import Sequence
from typing import Final

from fusewire import events
from fusewire.errors import ProtocolError, os_error
from fusewire.events import Step, named, note
from fusewire.kernel.connection import Connection
from fusewire.kernel.copying import PAGE, Copy
from fusewire.kernel.notifications import notify
from fusewire.kernel.request import Request, Stage
from fusewire.kernel.tasks import Task, current, step
from fusewire.kernel.user_memory import UserBuffer
from fusewire.kernel.waitq import Sleep, WaitQueue
from fusewire.wire import (
    FUSE_DEV_IOC_BACKING_CLOSE,
    FUSE_DEV_IOC_BACKING_OPEN,
    FUSE_DEV_IOC_CLONE,
    FUSE_DEV_IOC_SYNC_INIT,
    FUSE_INT_REQ_BIT,
    FUSE_UNIQUE_RESEND,
    InterruptIn,
    OutHeader,
    encode_request,
)

__all__ = ["Device"]

Buffer = bytes | bytearray | memoryview
_HEADER: Final = OutHeader.SIZE
_unpack_header: Final = OutHeader.STRUCT.unpack_from
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

    # The right column, its first half.

    @named("fuse_dev_read")
    async def read(self, room: int | UserBuffer) -> bytes:
        """Sleep until there is a message and hand it to the daemon, whose buffer is, or has, so much `room`.

        A request that is longer than the buffer fails, with EIO or E2BIG; the daemon gets the next.

        Raises:
            OSError: EPERM if nothing is mounted; EINVAL if there is not room enough for some request;
                EAGAIN if there is nothing to read and the device does not block; ENODEV once aborted,
                or ECONNABORTED if the daemon asked for that; EINTR if a signal came first; EFAULT if
                the buffer is no memory, and then the message is lost, and a request in it fails.
        """
        connection = self.connection or await self._bound()
        size = room if isinstance(room, int) else len(room)
        if size < connection.least_read and connection.profile.least_read:
            raise os_error(errno.EINVAL)
        self.readers[current()] = None
        while True:
            if not connection.pending or events.hook is not None:
                await self._request_wait()
            if self.closed or not connection.connected:
                raise self._gone()
            if connection.interrupts:
                return await self._read_interrupt(room)
            if connection.forgets.have_their_turn(bool(connection.pending)):
                return await self._read_forgets(room, size)
            request = connection.pending.popleft()
            if len(request.message) <= size:
                return await self._read_request(request, room)
            self._too_long(request)

    async def _bound(self) -> Connection:
        """Return the connection; if the daemon asked for SYNC_INIT, wait for it."""
        if self.connection is None and self.sync_init:
            await self.bound_waitq.sleep(until=lambda: self.connection is not None, depth=Sleep.INTERRUPTIBLE)
        if self.connection is None:
            raise os_error(errno.EPERM)
        return self.connection

    def _gone(self) -> OSError:
        aborted_with_error = self.connection is not None and self.connection.aborted_with_error
        return os_error(errno.ECONNABORTED if aborted_with_error else errno.ENODEV)

    @named("request_wait")
    async def _request_wait(self) -> None:
        connection = self.connection
        assert connection is not None
        if self.nonblocking and self.connected and not connection.readable:
            raise os_error(errno.EAGAIN)
        await connection.waitq.sleep(self._may_read, Sleep.INTERRUPTIBLE)

    def _may_read(self) -> bool:
        connection = self.connection
        assert connection is not None
        if connection.pending or connection.interrupts or connection.forgets.queue:
            return True
        return self.closed or not connection.connected

    async def _read_interrupt(self, room: int | UserBuffer) -> bytes:
        assert self.connection is not None
        unique = self.connection.interrupts.popleft().unique
        await step(Step.TAKE_INTERRUPT)
        message = encode_request("INTERRUPT", unique=unique | FUSE_INT_REQ_BIT, body=InterruptIn(unique))
        return await self._hand_over(message, room)

    async def _read_forgets(self, room: int | UserBuffer, size: int) -> bytes:
        connection = self.connection
        assert connection is not None
        message = connection.forgets.take(connection.new_unique(), size, connection.common_minor)
        await step(Step.TAKE_FORGET)
        return await self._hand_over(message, room)

    async def _hand_over(self, message: bytes, room: int | UserBuffer) -> bytes:
        """Copy a message that is no request, and is lost if it cannot be copied."""
        if not isinstance(room, int):
            await Copy(room, write=True).store(message)
        return message

    def _too_long(self, request: Request) -> None:
        connection = request.connection
        code = errno.E2BIG if request.operation.name == "SETXATTR" else errno.EIO
        connection.finish(request, "too long", code)
        if connection.profile.short_read:
            raise os_error(connection.profile.short_read)

    async def _read_request(self, request: Request, room: int | UserBuffer) -> bytes:
        request.reader = current()
        request.move("read")
        self.io.append(request)
        try:
            if events.hook is not None:
                await step(Step.TAKE)
            if isinstance(room, int):
                request.lock()
                if events.hook is not None:
                    await step(Step.COPY_OUT)
            else:
                await Copy(room, write=True, request=request).store(request.message)
        except OSError as error:
            raise self._ended_early(request, error, self._gone()) from None
        except BaseException:  # the reader is being closed
            self._ended_early(request, os_error(errno.EINTR), self._gone())
            raise
        if request.stage is not Stage.COPYING_OUT or request.given_up:
            raise self._ended_early(request, None, self._gone())
        self.io.remove(request)
        message = request.message
        if request.operation.reply is None:
            request.connection.finish(request, "told")
            return message
        request.move("copied")
        self.processing[request.unique] = request
        # A signal from now on finds the request here, and its sender sees to it: never both of us.
        interrupted = request.interrupted
        if events.hook is not None:
            await step(Step.READ)
        if interrupted and self.processing.get(request.unique) is request:
            request.connection.queue_interrupt(request)
        return message

    def _ended_early(self, request: Request, error: OSError | None, gone: OSError) -> OSError:
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

    # Its second half.

    @named("fuse_dev_write")
    async def write(self, message: Buffer | UserBuffer) -> int:
        """Finish the request that `message` answers; return the length of `message`.

        Raises:
            OSError: EPERM if nothing is mounted; EINVAL if the message is malformed; ENOENT if no
                request read from here is owed a reply of that unique, or if an abort came first;
                EFAULT if the buffer is no memory; for a notification what notifications.py says.
        """
        connection = self.connection or await self._bound()
        length = len(message)
        if length < _HEADER:
            raise self._refused(2, f"{length} bytes, where a header has {_HEADER}")
        copy: Copy | None = None
        if isinstance(message, bytes):
            head = message
        elif isinstance(message, bytearray | memoryview):
            head = bytes(message)  # a reply outlives the daemon's buffer
        else:
            copy = Copy(message, write=False)
            head = await self._load_header(copy)
        said, error, unique = _unpack_header(head)
        if said != length:
            raise self._refused(4, f"the header says {said} bytes, {length} came", unique)
        if unique == 0:
            await self._notified(head, copy, length)
            return length
        if not -connection.profile.largest_error <= error <= 0:
            raise self._refused(6, f"error {error} is no errno", unique)
        if events.hook is not None:
            note(Step.LOOK_UP)
        request = self._look_up(unique)
        if unique & FUSE_INT_REQ_BIT and connection.profile.interrupts:
            self._interrupt_answered(request, unique, error, length)
        else:
            await self._finish(request, error, copy or head, length)
        return length

    async def _load_header(self, copy: Copy) -> bytes:
        try:
            return await copy.load(_HEADER)
        except OSError as error:
            raise self._refused(3, "the header cannot be read", code=error.errno or errno.EFAULT) from None

    def _refused(self, rule: int, text: str, unique: int = 0, code: int = errno.EINVAL) -> OSError:
        assert self.connection is not None
        self.connection.violated(rule, text, unique, code)
        return os_error(code)

    async def _notified(self, head: bytes, copy: Copy | None, length: int) -> None:
        """Let a notification have its effect, whatever that takes."""
        connection = self.connection
        assert connection is not None
        message = head if copy is None else head + await copy.load(length - _HEADER)
        try:
            await notify(connection, message)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENAMETOOLONG):  # else it came too late, or a signal came
                connection.violated(5, f"notification {_unpack_header(head)[1]} is refused", 0, error.errno)
            raise

    def _look_up(self, unique: int) -> Request:
        connection = self.connection
        assert connection is not None
        of_interrupt = bool(unique & FUSE_INT_REQ_BIT) and connection.profile.interrupts
        request = self.processing.get(unique ^ FUSE_INT_REQ_BIT if of_interrupt else unique)
        if request is not None:
            return request
        if not self.connected:
            raise os_error(errno.ENOENT)
        if of_interrupt and unique & ~(FUSE_INT_REQ_BIT | FUSE_UNIQUE_RESEND) <= connection.last_unique:
            raise os_error(errno.ENOENT)  # an INTERRUPT may well be answered after its request
        code = connection.profile.unknown_unique
        raise self._refused(7, "nobody waits for this reply", unique, code)

    def _interrupt_answered(self, request: Request, unique: int, error: int, length: int) -> None:
        """Heed 'I have no INTERRUPT' and 'I do not know that request yet'; any other answer says nothing."""
        again = error == -errno.EAGAIN
        if length != _HEADER:
            raise self._refused(8, "something follows the answer to an INTERRUPT", unique)
        if again and not request.interrupted:
            raise self._refused(8, "EAGAIN to an INTERRUPT that was never sent", unique)
        if error == -errno.ENOSYS:
            request.connection.no_interrupt = True
        elif again:
            request.connection.queue_interrupt(request)

    async def _finish(self, request: Request, error: int, source: bytes | Copy, length: int) -> None:
        connection = request.connection
        del self.processing[request.unique]
        if request.stage is Stage.GIVEN_UP:
            note(Step.MATCH)
            connection.finish(request, "write")
            raise os_error(errno.ENOENT)
        request.move("write")
        self.io.append(request)
        refused: OSError | None = None
        try:
            if events.hook is not None:
                await step(Step.MATCH)
            if error:
                if length > _HEADER:
                    refused = self._refused(9, f"{length - _HEADER} bytes follow an error", request.unique)
            elif isinstance(source, Copy):
                refused = self._decode(request, await source.load_reply(request, length), length)
            else:
                refused = self._decode(request, source, length)
            if events.hook is not None and not isinstance(source, Copy):
                await step(Step.COPY_IN)
        except OSError as failure:
            raise self._ended_early(request, self._not_read(request, failure), os_error(errno.ENOENT)) from None
        except BaseException:  # the writer is being closed
            self._ended_early(request, os_error(errno.EINTR), os_error(errno.ENOENT))
            raise
        if request.stage is not Stage.COPYING_IN or request.given_up:
            raise self._ended_early(request, None, os_error(errno.ENOENT))
        self.io.remove(request)
        connection.finish(request, "copied", errno.EIO if refused else -error)
        if refused is not None:
            raise refused

    def _decode(self, request: Request, message: bytes, length: int) -> OSError | None:
        """Take the reply into `request`; return EINVAL if it is not what `request` asked for."""
        try:
            request.decode(message, length)
        except ProtocolError as error:
            return self._refused(10, error.reason, request.unique)
        return None

    def _not_read(self, request: Request, failure: OSError) -> OSError:
        if request.stage is Stage.FAULTING_IN:
            return self._refused(11, "the reply cannot be read", request.unique, failure.errno or errno.EFAULT)
        return failure

    # What else a descriptor can do.

    async def splice_write(self, pipe: Sequence[bytes], length: int) -> int:
        """Write the first `length` bytes that are in `pipe`, buffer by buffer; errors as those of `write`.

        Raises:
            OSError: EINVAL if the pipe holds fewer bytes.
        """
        await self._bound()
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
            connection = await self._bound()
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
