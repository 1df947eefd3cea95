"""What is always true of a conversation between a kernel and a daemon, whoever the two are.

A transcript is what passed the device, in order: messages that were read, and messages that were
written with what the write returned. So it can be had of the embedded kernel and of the real one.
It is meant for a daemon that does one thing at a time: where several threads read and write, what
one of them recorded first need not have happened first.

The numbers go on from those of invariants.py.

Source: fs/fuse/dev.c; the protocol's rules in include/uapi/linux/fuse.h.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from fusewire.errors import ProtocolError
from fusewire.wire import (
    FUSE_INT_REQ_BIT,
    FUSE_NAME_MAX,
    FUSE_ROOT_ID,
    FUSE_UNIQUE_RESEND,
    EntryOut,
    InHeader,
    InitFlags,
    InitOut,
    Message,
    OpenOut,
    OutHeader,
    decode_reply,
    decode_request,
    forgets,
    iter_direntplus,
    join_init_flags,
)

__all__ = ["Exchange", "check_transcript"]

PAGE: Final = 4096
NO_NODE: Final = {"INIT", "DESTROY", "INTERRUPT", "BATCH_FORGET", "STATFS", "SYNCFS"}
LATCHED: Final = {
    *("OPEN", "OPENDIR", "FLUSH", "FSYNC", "FSYNCDIR", "ACCESS", "CREATE", "TMPFILE", "SETXATTR", "GETXATTR"),
    *("LISTXATTR", "REMOVEXATTR", "LINK", "RENAME2", "POLL", "BMAP", "LSEEK", "FALLOCATE", "COPY_FILE_RANGE_64"),
    *("COPY_FILE_RANGE", "SYNCFS", "STATX"),
}
OPENING: Final = {"OPEN", "OPENDIR", "CREATE", "TMPFILE"}
NOBODYS: Final = {"INIT", "FORGET", "BATCH_FORGET", "INTERRUPT", "RELEASE", "RELEASEDIR", "DESTROY"}
RESEND: Final = 7  # the notification's code


class Exchange(NamedTuple):
    """One message that passed the device."""

    read: bool  # by the daemon; else written by it
    message: bytes
    error: int = 0  # errno with which the write was refused; 0 if it was not


def check_transcript(exchanges: Iterable[Exchange]) -> None:
    """Raise AssertionError, beginning with the rule's number, if the conversation breaks a rule."""
    conversation = _Conversation()
    for exchange in exchanges:
        if exchange.read:
            conversation.was_read(exchange.message)
        elif not exchange.error:
            conversation.was_written(exchange.message)


def _require(number: int, holds: bool, text: str) -> None:
    if not holds:
        raise AssertionError(f"{number}: {text}")


@dataclass
class _Conversation:
    """What both ends know of each other, as far as one who listens can tell."""

    agreed: InitOut | None = None
    flags: int = 0
    requests: dict[int, Message] = field(default_factory=dict)  # that have been read and not answered
    uniques: set[int] = field(default_factory=set)  # ever seen
    answered: set[int] = field(default_factory=set)
    interrupted: set[int] = field(default_factory=set)  # with an INTERRUPT that was not answered EAGAIN
    last_interrupted: set[int] | None = None  # those whose INTERRUPT may be on its way, once the daemon has said ENOSYS
    resent: bool = False
    latched: set[tuple[str, int]] = field(default_factory=set)  # operation, pid of whom it was refused
    granted: dict[int, int] = field(default_factory=dict)  # lookups of a nodeid not yet given back
    handles: dict[tuple[int, int], int] = field(default_factory=dict)  # (nodeid, fh): how many times open

    # What the kernel sent.

    def was_read(self, raw: bytes) -> None:
        _require(25, len(raw) >= InHeader.SIZE, "a message has a header")
        _require(25, InHeader.unpack_from(raw).len == len(raw), "a message is as long as it says")
        minor = 45 if self.agreed is None else min(45, self.agreed.minor)
        try:
            message = decode_request(raw, minor, bool(self.flags & InitFlags.FUSE_SETXATTR_EXT))
        except ProtocolError as error:
            raise AssertionError(f"42: {error}") from None
        self._check_order(message)
        self._check_number(message)
        if message.operation.name == "INTERRUPT":
            return
        self._check_sender(message)
        self._check_names(message)
        self._check_sizes(message)
        self._check_nodeid(message)
        self._check_handle(message)
        if message.operation.name in ("FORGET", "BATCH_FORGET"):
            self._forget(message)
        elif message.operation.reply is not None:
            self.requests[message.header.unique] = message

    def _check_order(self, message: Message) -> None:
        name = message.operation.name
        _require(34, (name == "INIT") == (not self.uniques), "INIT comes first, and once")
        _require(34, name == "INIT" or self.agreed is not None, f"{name} waits for the answer to INIT")

    def _check_number(self, message: Message) -> None:
        unique = message.header.unique
        if message.operation.name == "INTERRUPT":
            self._check_interrupt(unique, message.body.unique)
            return
        _require(27, unique != 0 and unique not in self.uniques, f"the number {unique} is used once")
        if message.operation.name != "NOTIFY_REPLY":
            _require(27, self.resent or not unique & FUSE_UNIQUE_RESEND, f"{unique} was not asked for again")
        self.uniques.add(unique)
        self.requests.pop(unique ^ FUSE_UNIQUE_RESEND, None)  # it is answered by its new number alone

    def _check_interrupt(self, number: int, of: int) -> None:
        _require(27, number == of | FUSE_INT_REQ_BIT, "an INTERRUPT's number is its request's, made odd")
        _require(28, of in self.uniques, f"{of} is interrupted after it was read")
        _require(28, of not in self.answered, f"{of} is interrupted before it is answered")
        _require(29, of not in self.interrupted, f"{of} is interrupted again only after EAGAIN")
        _require(30, self.last_interrupted is None or of in self.last_interrupted, "the daemon has no INTERRUPT")
        self.interrupted.add(of)

    def _check_sender(self, message: Message) -> None:
        header, name = message.header, message.operation.name
        if name in NOBODYS:
            _require(40, (header.uid, header.gid, header.pid) == (0, 0, 0), f"{name} is nobody's")
        _require(35, (name, header.pid) not in self.latched, f"the daemon said that it has no {name}")

    def _check_names(self, message: Message) -> None:
        if message.operation.name in ("GETXATTR", "SETXATTR", "REMOVEXATTR"):
            return
        symlink = message.operation.name == "SYMLINK"  # whose second is where it leads
        for name in message.names[:1] if symlink else message.names:
            _require(37, 0 < len(name) <= FUSE_NAME_MAX and b"/" not in name, f"{name!r} is a name")
            dots = name in (b".", b"..")
            _require(37, not dots or bool(self.flags & InitFlags.FUSE_EXPORT_SUPPORT), f"{name!r} is not asked for")

    def _check_sizes(self, message: Message) -> None:
        if self.agreed is None or message.operation.name not in ("READ", "WRITE"):
            return
        pages = 32
        if self.flags & InitFlags.FUSE_MAX_PAGES:
            pages = max(1, self.agreed.max_pages)
        most = pages * PAGE
        if message.operation.name == "WRITE":
            most = min(most, max(PAGE, self.agreed.max_write))
        _require(36, message.body.size <= most, f"{message.operation.name} of {message.body.size} bytes, not {most}")

    def _check_nodeid(self, message: Message) -> None:
        nodeid, name = message.header.nodeid, message.operation.name
        if name in ("FORGET", "BATCH_FORGET"):
            return
        known = nodeid == FUSE_ROOT_ID or self.granted.get(nodeid, 0) > 0
        _require(38, known or name in NO_NODE, f"{name} of {nodeid}, which was not granted, or was forgotten")

    def _check_handle(self, message: Message) -> None:
        name, nodeid = message.operation.name, message.header.nodeid
        fh = getattr(message.body, "fh", 0)
        if name in ("RELEASE", "RELEASEDIR"):
            _require(51, self.handles.get((nodeid, fh), 0) > 0, f"{name} of {fh}, which is not open")
            self.handles[nodeid, fh] -= 1
        elif name in ("READ", "WRITE", "READDIR", "READDIRPLUS", "FLUSH", "FSYNC", "FSYNCDIR") and fh:
            _require(39, self.handles.get((nodeid, fh), 0) > 0, f"{name} by {fh}, which is not open")

    def _forget(self, message: Message) -> None:
        for one in forgets(message):
            _require(47, one.nodeid != FUSE_ROOT_ID, "the root is never forgotten")
            left = self.granted.get(one.nodeid, 0) - one.nlookup
            _require(43, left >= 0, f"{one.nodeid} is forgotten {-left} times too often")
            self.granted[one.nodeid] = left

    # What the daemon answered, and the kernel took.

    def was_written(self, raw: bytes) -> None:
        header = OutHeader.unpack_from(raw)
        if header.unique == 0:
            if header.error == RESEND:
                self._send_again()
            return
        if header.unique & FUSE_INT_REQ_BIT:
            self._interrupt_answered(header)
            return
        _require(59, header.unique not in self.answered, f"{header.unique} is answered once")
        request = self.requests.pop(header.unique, None)
        _require(59, request is not None, f"{header.unique} was read, and not answered yet")
        self.answered.add(header.unique)
        if request is not None:
            self._answered(request, header, raw)

    def _send_again(self) -> None:
        """Expect what was read again; what had been sent again before keeps its number."""
        self.resent = True
        self.uniques -= {unique for unique in self.requests if unique & FUSE_UNIQUE_RESEND}
        self.interrupted -= self.requests.keys()

    def _interrupt_answered(self, header: OutHeader) -> None:
        if header.error == -errno.EAGAIN:
            self.interrupted.discard(header.unique ^ FUSE_INT_REQ_BIT)
        elif header.error == -errno.ENOSYS and self.last_interrupted is None:
            self.last_interrupted = {*self.requests} - self.interrupted

    def _answered(self, request: Message, header: OutHeader, raw: bytes) -> None:
        name = request.operation.name
        if header.error:
            if header.error == -errno.ENOSYS and name in LATCHED and request.header.pid:  # who asks again, knows
                self.latched.add((name, request.header.pid))
            return
        minor = 45 if self.agreed is None else min(45, self.agreed.minor)
        reply = decode_reply(raw, request.operation, minor=minor, request_body=request.body)
        for struct in reply.structs:
            self._granted(struct)
        effect = _EFFECTS.get(name)
        if effect is not None:
            effect(self, request, reply)

    def _granted(self, struct: Any) -> None:
        if isinstance(struct, EntryOut) and struct.nodeid:
            self.granted[struct.nodeid] = self.granted.get(struct.nodeid, 0) + 1

    def _agree(self, request: Message, reply: Any) -> None:
        answer = self.agreed = reply.structs[0]
        self.flags = join_init_flags(answer.flags, answer.flags2)

    def _open(self, request: Message, reply: Any) -> None:
        created = next((struct.nodeid for struct in reply.structs if isinstance(struct, EntryOut)), None)
        nodeid = request.header.nodeid if created is None else created
        fh = next(struct.fh for struct in reply.structs if isinstance(struct, OpenOut))
        self.handles[nodeid, fh] = self.handles.get((nodeid, fh), 0) + 1

    def _list(self, request: Message, reply: Any) -> None:
        for record, name in iter_direntplus(reply.data):
            if name not in (b".", b".."):
                self._granted(record.entry_out)


_EFFECTS: Final[dict[str, Callable[[_Conversation, Message, Any], None]]] = {
    "INIT": _Conversation._agree,
    "READDIRPLUS": _Conversation._list,
    **dict.fromkeys(OPENING, _Conversation._open),
}
