"""What a filesystem was asked, and what it answered: a session that keeps it all.

Bytes are kept as they came, and decoded when the program is over (`decoded`), so that recording
costs a copy and nothing more.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field, fields
from typing import Any, Final

from fusewire.daemon.session import Buffers, Call, Session
from fusewire.errors import ProtocolError
from fusewire.wire import Buffer, Message, OpenOut, OutHeader, WireStruct, decode_request, forgets

__all__ = ["RecordedSession", "Request", "decoded"]

OPENING: Final = frozenset({"OPEN", "OPENDIR", "CREATE", "TMPFILE"})
ROOM: Final = 24  # bytes of data that are shown of a request


@dataclass(slots=True)
class RecordedSession(Session):
    """Keeps every message, and the errno of every reply."""

    messages: list[bytes] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)  # how many messages there were when each step had ended
    errors: dict[int, int] = field(default_factory=dict)  # by unique; without an entry: never answered
    handles: dict[int, int] = field(default_factory=dict)  # that an open file was given, by unique

    def receive(self, buffer: Buffer) -> Buffers | Call | None:
        self.messages.append(bytes(buffer))
        outcome = Session.receive(self, buffer)
        if isinstance(outcome, tuple):
            self.note(outcome)
        return outcome

    def reply(self, call: Call, result: Any) -> Buffers | None:
        buffers = self.note(Session.reply(self, call, result))
        if buffers is not None and call.request.name in OPENING and not self.errors[call.request.unique]:
            opened = b"".join(buffers)[-OpenOut.SIZE :]
            self.handles[call.request.unique] = OpenOut.unpack_from(opened).fh
        return buffers

    def fail(self, call: Call, error: BaseException) -> Buffers | None:
        return self.note(Session.fail(self, call, error))

    def note(self, reply: Buffers | None) -> Buffers | None:
        if reply is not None:
            header = OutHeader.unpack_from(reply[0])
            self.errors[header.unique] = -header.error
        return reply


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
