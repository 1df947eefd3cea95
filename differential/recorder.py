"""What a filesystem was asked, and what it answered: a session that keeps it all, and may hold requests back.

Bytes are kept as they came, and decoded when the program is over (`decoded`), so that recording
costs a copy and nothing more.

A request is held back because the program wants it (`wanted`), or because its method says `Wait`,
as one that waits for a lock does. Neither is answered while anything else goes on: whoever drives the
program asks for what is `due` when all is quiet.
"""

from __future__ import annotations

import errno
import inspect
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field, fields
from typing import Any, Final, TypeVar

from fusewire.daemon.session import Buffers, Call, Session
from fusewire.errors import ProtocolError, os_error
from fusewire.wire import (
    Buffer,
    InHeader,
    Message,
    OpenOut,
    OutHeader,
    WireStruct,
    decode_request,
    encode_error,
    forgets,
)

__all__ = ["Held", "RecordedSession", "Request", "Wait", "carried_out", "decoded", "finished"]

T = TypeVar("T")
OPENING: Final = frozenset({"OPEN", "OPENDIR", "CREATE", "TMPFILE"})
FUSE_POLL_SCHEDULE_NOTIFY: Final = 1
ROOM: Final = 24  # bytes of data that are shown of a request


class Wait(Exception):
    """Raised by a method that cannot answer yet: it is called again when all is quiet."""


@dataclass(slots=True)
class Held:
    """A request that is not answered yet."""

    call: Call
    by_program: bool  # it stays until it is let go; else until its method does not say `Wait` any more
    obedient: bool  # an INTERRUPT ends it with EINTR


@dataclass(slots=True)
class RecordedSession(Session):
    """Keeps every message, and the errno of every reply."""

    messages: list[bytes] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)  # how many messages there were when each step had ended
    errors: dict[int, int] = field(default_factory=dict)  # by unique; without an entry: never answered
    handles: dict[int, int] = field(default_factory=dict)  # that an open file was given, by unique
    wanted: dict[str, bool] = field(default_factory=dict)  # the next request of that name is held back; obedient?
    lacks: frozenset[int] = frozenset()  # opcodes that it does not know, though the filesystem has a method
    polls: dict[int, None] = field(default_factory=dict)  # what is to be notified when it may be ready, by kh
    held: list[Held] = field(default_factory=list)  # the first one for longest

    def receive(self, buffer: Buffer) -> Buffers | Call | None:
        message = bytes(buffer)  # one of its own, for it may be held back
        self.messages.append(message)
        header = InHeader.unpack_from(message)
        if header.opcode in self.lacks:
            return self.note((encode_error(header.unique, errno.ENOSYS),))
        outcome = Session.receive(self, message)
        if isinstance(outcome, tuple):
            self.note(outcome)
        elif outcome is not None:
            return self.taken(outcome)
        return outcome

    def taken(self, call: Call) -> Call | None:
        """Return a call that is to be carried out now, None if it is held back."""
        name, body = call.request.name, call.request.body
        if name == "POLL" and body.flags & FUSE_POLL_SCHEDULE_NOTIFY:
            self.polls[body.kh] = None
        if name not in self.wanted:
            return call
        self.held.append(Held(call, True, self.wanted.pop(name)))
        return None

    def polled(self) -> list[int]:
        """Return what is to be notified, by kh."""
        return list(self.polls)

    def reply(self, call: Call, result: Any) -> Buffers | None:
        buffers = self.note(Session.reply(self, call, result))
        if buffers is not None and call.request.name in OPENING and not self.errors[call.request.unique]:
            opened = b"".join(buffers)[-OpenOut.SIZE :]
            self.handles[call.request.unique] = OpenOut.unpack_from(opened).fh
        return buffers

    def fail(self, call: Call, error: BaseException) -> Buffers | None:
        if isinstance(error, Wait):
            self.held.append(Held(call, False, True))
            return None
        return self.note(Session.fail(self, call, error))

    def let_go(self) -> Iterator[Buffers]:
        """Carry out what the program has held back for longest; yield the reply, if there is one."""
        for held in [held for held in self.held if held.by_program][:1]:
            yield from self._end(held)

    def due(self) -> Iterator[Buffers]:
        """Yield the replies to whoever need not wait any longer. Call it when all is quiet."""
        for held in list(self.held):
            if held.call.request.interrupted and held.obedient:
                self.held.remove(held)
                reply = self.fail(held.call, os_error(errno.EINTR))
                yield from () if reply is None else (reply,)
            elif not held.by_program:
                yield from self._end(held)

    def _end(self, held: Held) -> Iterator[Buffers]:
        self.held.remove(held)
        reply = carried_out(self, held.call)
        if reply is not None:
            yield reply

    def note(self, reply: Buffers | None) -> Buffers | None:
        if reply is not None:
            header = OutHeader.unpack_from(reply[0])
            self.errors[header.unique] = -header.error
        return reply


def carried_out(session: Session, call: Call) -> Buffers | None:
    """Run a method; return the reply."""
    try:
        result = call.run()
        if inspect.iscoroutine(result):
            result = finished(result)
    except Exception as error:
        return session.fail(call, error)
    return session.reply(call, result)


def finished(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    raise RuntimeError("what waits cannot be compared here")


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it is compared: its unique and its sender's number are not in it.

    `body` are the fields of its struct, with those of a nested one in their place.
    """

    name: str
    role: str  # 'p0', 'p1'...; 'kernel' where the header has pid 0; '?' for a stranger
    uid: int
    gid: int
    nodeid: int
    body: tuple[tuple[str, Any], ...] = ()
    names: tuple[bytes, ...] = ()
    data: bytes = b""
    extensions: str = ""
    error: int | None = None  # that it was answered with; None if it was not answered
    handle: int | None = None  # that an open file was given

    def __str__(self) -> str:
        shown = [f"{name}={value:#x}" if "flags" in name else f"{name}={value!r}" for name, value in self.body]
        shown += [repr(name) for name in self.names]
        shown += [f"{len(self.data)} bytes {self.data[:ROOM]!r}"] if self.data else []
        shown += [self.extensions] if self.extensions else []
        outcome = "" if not self.error else f" -> {errno.errorcode.get(self.error, self.error)}"
        return f"{self.name} of {self.nodeid} by {self.role} {self.uid}:{self.gid} {' '.join(shown)}{outcome}"

    def get(self, name: str) -> Any:
        """Return a field of the body; KeyError if it has none of that name."""
        return dict(self.body)[name]


def decoded(session: RecordedSession, message: bytes, roles: dict[int, str]) -> Request:
    """Return one message as it is compared. `roles` name processes by pid."""
    agreement = session.agreement
    try:
        found = decode_request(
            message,
            45 if agreement is None else agreement.minor,
            setxattr_ext=agreement is not None and agreement.setxattr_ext,
        )
    except ProtocolError as error:
        return Request(f"unreadable: {error}", "?", 0, 0, 0, data=message)
    header = found.header
    role = "kernel" if header.pid == 0 else roles.get(header.pid, "?")
    return Request(
        found.operation.name,
        role,
        header.uid,
        header.gid,
        header.nodeid,
        tuple(flattened(found.body)) if found.body is not None else (),
        found.names,
        data_of(found),
        repr(found.extensions) if found.extensions else "",
        session.errors.get(header.unique),
        session.handles.get(header.unique),
    )


def data_of(message: Message) -> bytes:
    if message.operation.name == "BATCH_FORGET":
        return repr([(one.nodeid, one.nlookup) for one in forgets(message)]).encode()
    return bytes(message.data)


def flattened(body: WireStruct) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for each in fields(body):  # type: ignore[arg-type]
        value = getattr(body, each.name)
        found += flattened(value) if isinstance(value, WireStruct) else [(each.name, value)]
    return found
