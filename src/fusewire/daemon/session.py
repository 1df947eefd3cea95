"""The daemon's end of one connection, without I/O: bytes in, bytes or a `Call` out.

A shell (serve.py, or the embedded kernel) owns the descriptor and the threads. It reads a
message and gives it to `receive`, which returns

    None          nothing to do now
    a tuple       the buffers of one reply, to be written as one message, where it was read
    a Call        a method to run: its result goes to `reply`, its exception to `fail`

so the same session serves /dev/fuse, the embedded device and a recorded transcript. It never
sleeps, and may be used by several threads at once: each table here is touched by single
operations of a dict, which are atomic.

An INTERRUPT names a request by its unique. It may overtake it, where another thread has read
the request and not yet come here; then its number waits in `_overtaken`, and `receive` looks
there after it has written the call down, as the interrupt looks for the call after it has
written its number down: whichever comes first, one sees the other. What comes after the
reply waits there too, in vain and in bounded number, since no unique is used twice.
"""

from __future__ import annotations

import asyncio
import errno
import inspect
import logging
import reprlib
import traceback
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from fusewire.daemon.answers import ANSWERS, SUCCESS, Answering, Parts, Put
from fusewire.daemon.filesystem import Filesystem
from fusewire.daemon.negotiation import Agreement, Limits, negotiate
from fusewire.daemon.notify import Notifier
from fusewire.daemon.request import Request, current
from fusewire.daemon.timeouts import Timeouts
from fusewire.daemon.values import Entry
from fusewire.errors import ProtocolError
from fusewire.wire import (
    Buffer,
    ForgetOne,
    Message,
    UnknownOperation,
    decode_request,
    encode_error,
    encode_reply,
    forgets,
    operation,
    reply_header,
)

__all__ = ["Call", "Session"]

Buffers: TypeAlias = tuple[Buffer, ...]
logger = logging.getLogger("fusewire")

INIT: Final = operation("INIT").code
INTERRUPT: Final = operation("INTERRUPT").code
DESTROY: Final = operation("DESTROY").code
LOOKUP: Final = operation("LOOKUP").code
OVERTAKEN: Final = 1024  # interrupts that found no call; more than threads can have under way
SHORTENED: Final = reprlib.Repr()
SHORTENED.maxother = SHORTENED.maxstring = 200  # characters of a result that does not fit
BYTES: Final = (bytes, bytearray, memoryview)  # ready to be sent
LARGEST_ERRNO: Final = 511  # Linux refuses a reply with a greater one (fs/fuse/dev.c, fuse_dev_do_write)


@dataclass(slots=True)
class Handler:
    """One operation of one filesystem, bound when the session is made."""

    run: Callable[..., Any] | None  # None: the method is absent
    arguments: Callable[[Message], tuple[Any, ...]]
    put: Put
    absent: int
    is_async: bool


class Call:
    """A method to run for a request. The shell decides where; see `Filesystem.threads`."""

    __slots__ = ("arguments", "handler", "request")

    def __init__(self, request: Request, handler: Handler, arguments: tuple[Any, ...]) -> None:
        self.request = request
        self.handler = handler
        self.arguments = arguments

    @property
    def is_async(self) -> bool:
        """True if `run` returns at once, with a coroutine that is still to be awaited."""
        return self.handler.is_async

    def run(self) -> Any:
        """Call the method; return what it returns, which may be an awaitable."""
        assert self.handler.run is not None
        token = current.set(self.request)
        try:
            return self.handler.run(*self.arguments)
        finally:
            current.reset(token)

    async def finish(self, awaitable: Awaitable[Any]) -> Any:
        """Await what `run` returned, as the request that is being carried out."""
        token = current.set(self.request)
        try:
            return await awaitable
        finally:
            current.reset(token)

    def __repr__(self) -> str:
        return f"<Call {self.request!r}>"


@dataclass(slots=True)
class Session:
    """A filesystem in conversation with one kernel.

    `timeouts` decide how long the kernel may keep what it is told; `limits` what is asked for
    at INIT. `failure` is the last exception that was not an OSError, for `strict` shells.
    `new_request` makes what methods are given: callers who are not in /proc want one of their own.
    `notify_now` writes notifications, once whoever owns the descriptor has given it a device.
    """

    filesystem: Filesystem
    timeouts: Timeouts = field(default_factory=Timeouts)
    limits: Limits = field(default_factory=Limits)
    new_request: Callable[[Message, Notifier], Request] = Request
    notify_now: Notifier = field(default_factory=Notifier)
    agreement: Agreement | None = None  # None until INIT is answered
    requests: int = 0  # received so far, all of them
    failure: BaseException | None = None
    calls: dict[int, Call] = field(default_factory=dict)  # under way, by unique
    abandoned: bool = False  # nobody waits for an answer any more
    destroyed: bool = False
    _handlers: dict[int, Handler] = field(default_factory=dict)
    _overtaken: dict[int, None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        fs = self.filesystem
        self.timeouts = self.timeouts.defaulting_to(fs.entry_timeout, fs.attr_timeout, fs.negative_timeout)
        self._handlers = dict(_bind(self.filesystem))

    # --- bytes in

    def receive(self, buffer: Buffer) -> Buffers | Call | None:
        """Take one message as it was read. `buffer` must stay as it is until the call is answered.

        Raises:
            ProtocolError: if it has not even a header; there is nobody to answer.
        """
        self.requests += 1
        minor = 45 if self.agreement is None else self.agreement.minor
        extended = self.agreement is not None and self.agreement.setxattr_ext
        try:
            message = decode_request(buffer, minor, setxattr_ext=extended)
        except UnknownOperation as error:
            return (encode_error(error.unique, errno.ENOSYS),)
        except ProtocolError as error:
            return self._refuse(error)
        handler = self._handlers.get(message.header.opcode)
        if handler is None:
            return self._receive_ours(message)
        if handler.run is None:
            return self._absent(message, handler)
        return self._call(message, handler)

    def _call(self, message: Message, handler: Handler) -> Buffers | Call:
        request = self.new_request(message, self.notify_now)
        try:
            arguments = (request, *handler.arguments(message))
        except (ValueError, IndexError, AttributeError) as error:
            return self._refuse(ProtocolError(request.unique, str(error)))
        unique = message.header.unique
        call = self.calls[unique] = Call(request, handler, arguments)
        if self.abandoned or (self._overtaken and self._overtaken.pop(unique, self) is None):
            request.interrupt()
        return call

    def _refuse(self, error: ProtocolError) -> Buffers:
        if not error.unique:
            raise error
        logger.error("a message that cannot be read is answered EIO: %s", error)
        return (encode_error(error.unique, errno.EIO),)

    def _absent(self, message: Message, handler: Handler) -> Buffers | None:
        unique = message.header.unique
        if handler.put is put_no_reply:
            return None
        if handler.absent:
            return (encode_error(unique, handler.absent),)
        return self._message(unique, handler.put(self, self.new_request(message, self.notify_now), None))

    def _receive_ours(self, message: Message) -> Buffers | None:
        """What the engine answers by itself."""
        match message.header.opcode:
            case code if code == INIT and self.agreement is None:
                return self._init(message)
            case code if code == INTERRUPT:
                self._interrupt(message.body.unique)
            case code if code == DESTROY:
                self.destroy()
                return (encode_reply(message.header.unique),)
            case _ if message.operation.reply is not None:
                return (encode_error(message.header.unique, errno.ENOSYS),)
        return None

    def _init(self, message: Message) -> Buffers:
        present = {name for name in ANSWERS if self._handlers[operation(name).code].run is not None}
        agreement, reply = negotiate(message.body, self.limits, self.filesystem.init_flags, present)
        if agreement is not None:
            self.filesystem.init()
        self.agreement = agreement
        self.notify_now.minor = 0 if agreement is None else agreement.minor
        return (encode_reply(message.header.unique, reply, minor=message.body.minor),)

    def _interrupt(self, unique: int) -> None:
        self._overtaken[unique] = None
        call = self.calls.get(unique)
        if call is not None and self._overtaken.pop(unique, self) is None:
            call.request.interrupt()
        elif len(self._overtaken) > OVERTAKEN:
            for oldest in list(self._overtaken)[: OVERTAKEN // 2]:  # a list: other threads may change the dict
                self._overtaken.pop(oldest, None)

    def abandon(self) -> None:
        """Interrupt every call, those under way and those that may still come: the mount is gone."""
        self.abandoned = True
        for call in list(self.calls.values()):
            call.request.interrupt()

    def give_back(self, nodeid: int) -> None:
        """Return a lookup that was granted, and did not fit into the reply."""
        self.filesystem.forget(nodeid, 1)

    def destroy(self) -> None:
        """Tell the filesystem that the mount is gone. Idempotent.

        Shells call it when the device says ENODEV, for Linux sends DESTROY on block devices alone.
        """
        if not self.destroyed and self.agreement is not None:
            self.destroyed = True
            self.filesystem.destroy()

    # --- results out

    def reply(self, call: Call, result: Any) -> Buffers | None:
        """Put the method's result into a reply; None where none is sent.

        A result that does not fit its operation is logged, and the caller gets EIO.
        """
        request = call.request
        self.calls.pop(request.header.unique, None)
        if call.handler.put is put_no_reply:
            return None
        try:
            return self._message(request.header.unique, call.handler.put(self, request, result))
        except BaseException as error:  # a wrong type, a number that does not fit, all that a generator may raise
            error.add_note(f"it returned {SHORTENED.repr(result):.200}")
            return self._failed(request, error)

    def fail(self, call: Call, error: BaseException) -> Buffers | None:
        """Put the exception that the method raised into a reply; None where none is sent."""
        request = call.request
        self.calls.pop(request.header.unique, None)
        if call.handler.put is put_no_reply:
            self._note_failure(request, error, "nobody waits for it")
            return None
        if request.header.opcode == LOOKUP and isinstance(error, FileNotFoundError):
            return self._not_found(request)
        return self._failed(request, error)

    def _not_found(self, request: Request) -> Buffers:
        """ENOENT is never remembered; a lookup of nodeid 0 is, for as long as it says."""
        if self.timeouts.negative(None) == (0, 0):
            return (encode_error(request.unique, errno.ENOENT),)
        return self._message(request.unique, ANSWERS["LOOKUP"].put(self, request, Entry.negative()))

    def _failed(self, request: Request, error: BaseException) -> Buffers:
        code = errno_of(error)
        if isinstance(error, asyncio.CancelledError) and not request.interrupted:
            code = None  # not our doing; and of EINTR without a signal many callers would make an endless loop
        if code is None:
            self._note_failure(request, error, "its caller gets EIO")
        return (encode_error(request.header.unique, code or errno.EIO),)

    def _note_failure(self, request: Request, error: BaseException, outcome: str) -> None:
        self.failure = error
        logger.error(
            "%s of nodeid %d for pid %d, uid %d failed, and %s: %s",
            request.name,
            request.nodeid,
            request.pid,
            request.uid,
            outcome,
            "; ".join(line.strip() for line in traceback.format_exception_only(error)),
            exc_info=error,
        )

    def _message(self, unique: int, parts: Parts) -> Buffers:
        if len(parts) == 1 and isinstance(parts[0], BYTES):
            payload = parts[0]
            if isinstance(payload, memoryview) and not payload.c_contiguous:
                payload = payload.tobytes()  # writev takes no other
            length = payload.nbytes if isinstance(payload, memoryview) else len(payload)
            return reply_header(unique, length), payload
        minor = 45 if self.agreement is None else self.agreement.minor
        return (encode_reply(unique, *parts, minor=minor),)


def put_no_reply(session: Answering, request: Request, result: object) -> Parts:
    """Stands for an operation that is never answered."""
    return ()


METHODS: Final = (
    tuple(  # code of the operation, its method's name, that of `Filesystem`, and what stands for its absence
        (
            operation(name).code,
            answer.method,
            getattr(Filesystem, answer.method),
            Handler(None, answer.arguments, answer.put, answer.absent, False),
        )
        for name, answer in ANSWERS.items()
    )
)


def _bind(filesystem: Filesystem) -> Iterator[tuple[int, Handler]]:
    kind = type(filesystem)
    for code, name, raw, absent in METHODS:
        if getattr(kind, name, None) is raw:
            yield code, absent
        else:
            method = getattr(filesystem, name)
            is_async = inspect.iscoroutinefunction(method)
            yield code, Handler(method, absent.arguments, absent.put, absent.absent, is_async)
    for name in ("FORGET", "BATCH_FORGET"):
        yield operation(name).code, _forgetting(filesystem)


def _forgetting(filesystem: Filesystem) -> Handler:
    """FORGET as a call like the others, so that it never runs beside more of them than `threads` says."""

    def forget_all(request: Request, given_back: Iterable[ForgetOne]) -> None:
        failures = []
        for one in given_back:
            try:
                filesystem.forget(one.nodeid, one.nlookup)
            except Exception as error:  # the others are given back nevertheless
                failures.append(error)
        if failures:
            raise failures[0]

    absent = type(filesystem).forget is Filesystem.forget
    return Handler(None if absent else forget_all, lambda message: (forgets(message),), put_no_reply, SUCCESS, False)


BY_CLASS: Final = {  # for those who raise `FileNotFoundError()` without a number
    FileNotFoundError: errno.ENOENT,
    FileExistsError: errno.EEXIST,
    IsADirectoryError: errno.EISDIR,
    NotADirectoryError: errno.ENOTDIR,
    PermissionError: errno.EACCES,
    InterruptedError: errno.EINTR,
    BlockingIOError: errno.EAGAIN,
    TimeoutError: errno.ETIMEDOUT,
}


def errno_of(error: BaseException) -> int | None:
    """The errno that the caller gets; None if `error` is not of a filesystem's making.

    A cancellation is an interrupt. An OSError without a number has its class's. To be out of
    memory is the machine's fault, not the filesystem's.
    """
    if isinstance(error, asyncio.CancelledError):
        return errno.EINTR
    if isinstance(error, MemoryError):
        return errno.ENOMEM
    if not isinstance(error, OSError):
        return None
    code: object = error.errno or next((BY_CLASS[kind] for kind in type(error).__mro__ if kind in BY_CLASS), 0)
    return code if isinstance(code, int) and 0 < code <= LARGEST_ERRNO else None
