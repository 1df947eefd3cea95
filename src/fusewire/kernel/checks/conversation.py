"""What both ends of a connection know of each other, as far as one who listens can tell, and the rules for it.

What the numbers mean, and which rules cannot be heard: transcript.py.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from fusewire.errors import ProtocolError
from fusewire.kernel.checks.rules import require
from fusewire.kernel.checks.transcript_accounts import Handles, Lookups
from fusewire.wire import (
    FUSE_INT_REQ_BIT,
    FUSE_KERNEL_MINOR_VERSION,
    FUSE_MAX_ERRNO,
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
    SetattrValid,
    WriteFlags,
    decode_reply,
    decode_request,
    forgets,
    iter_direntplus,
    join_init_flags,
)

__all__ = ["Conversation", "Exchange"]

PAGE: Final = 4096
LEAST_OF_A_BATCH: Final = 2
FIRST_BATCH_MINOR: Final = 16
NO_NODE: Final = {"INIT", "DESTROY", "INTERRUPT", "BATCH_FORGET", "STATFS", "SYNCFS"}
FORGETS: Final = {"FORGET", "BATCH_FORGET"}
LATCHED: Final = {
    *("OPEN", "OPENDIR", "FLUSH", "FSYNC", "FSYNCDIR", "ACCESS", "CREATE", "TMPFILE", "SETXATTR", "GETXATTR"),
    *("LISTXATTR", "REMOVEXATTR", "LINK", "RENAME2", "POLL", "BMAP", "LSEEK", "FALLOCATE", "COPY_FILE_RANGE_64"),
    *("COPY_FILE_RANGE", "SYNCFS", "STATX"),
}
OPENING: Final = {"OPEN", "OPENDIR", "CREATE", "TMPFILE"}
NOBODYS: Final = {"INIT", "BATCH_FORGET", "INTERRUPT", "RELEASE", "RELEASEDIR", "DESTROY"}
MADE: Final = {"MKDIR": stat.S_IFDIR, "SYMLINK": stat.S_IFLNK, "CREATE": stat.S_IFREG, "TMPFILE": stat.S_IFREG}
FTRUNCATE: Final = SetattrValid.FATTR_SIZE | SetattrValid.FATTR_FH | SetattrValid.FATTR_MTIME
RESEND: Final = 7  # the notification's code


class Exchange(NamedTuple):
    """One message that passed the device."""

    read: bool  # by the daemon; else written by it
    message: bytes
    error: int = 0  # errno with which the write was refused; 0 if it was not


@dataclass
class Conversation:
    """What both ends know of each other, as far as one who listens can tell."""

    interrupts: bool = True
    agreed: InitOut | None = None
    minor: int = FUSE_KERNEL_MINOR_VERSION  # that both know
    flags: int = 0
    requests: dict[int, Message] = field(default_factory=dict)  # that have been read and not answered
    uniques: set[int] = field(default_factory=set)  # ever seen
    last: int = 0  # the number of the last request
    answered: set[int] = field(default_factory=set)
    interrupted: set[int] = field(default_factory=set)  # with an INTERRUPT that was not answered EAGAIN
    again: set[int] = field(default_factory=set)  # whose INTERRUPT is queued, since it was
    last_interrupted: set[int] | None = None  # those whose INTERRUPT may be on its way, once the daemon has said ENOSYS
    resent: bool = False
    latched: set[tuple[str, int]] = field(default_factory=set)  # operation, pid of whom it was refused
    lookups: Lookups = field(default_factory=Lookups)
    handles: Handles = field(default_factory=Handles)

    def goes_on(self, exchange: Exchange) -> None:
        """Hear one message more."""
        if exchange.read:
            self.was_read(exchange.message)
        elif not exchange.error:
            self.was_written(exchange.message)
        elif exchange.error in (errno.EINVAL, errno.EFAULT):
            self.was_refused(exchange.message)

    def was_refused(self, raw: bytes) -> None:
        """A reply that is found and does not fit ends its request; another write that is refused changes nothing."""
        if len(raw) < OutHeader.SIZE:
            return
        header = OutHeader.unpack_from(raw)
        if header.len == len(raw) and -FUSE_MAX_ERRNO <= header.error <= 0:
            self.requests.pop(header.unique, None)

    # What the kernel sent.

    def was_read(self, raw: bytes) -> None:
        require(25, len(raw) >= InHeader.SIZE, "a message has a header")
        require(25, InHeader.unpack_from(raw).len == len(raw), "a message is as long as it says")
        try:
            message = decode_request(raw, self.minor, bool(self.flags & InitFlags.FUSE_SETXATTR_EXT))
        except ProtocolError as error:
            raise AssertionError(f"42: {error}") from None
        self._check_order(message)
        self._check_number(message)
        name = message.operation.name
        if name == "INTERRUPT":
            return
        for check in (self._check_sender, self._check_names, self._check_sizes, self._check_times):
            check(message)
        if name in FORGETS:
            self._forget(message)
            return
        if name not in NO_NODE:
            self.lookups.used(message)
        self.handles.used(message, self.requests.values())
        if message.operation.reply is not None:
            self.requests[message.header.unique] = message

    def _check_order(self, message: Message) -> None:
        name = message.operation.name
        require(34, (name == "INIT") == (not self.uniques), "INIT comes first, and once")
        require(34, name == "INIT" or self.agreed is not None, f"{name} waits for the answer to INIT")
        require(31, name == "INTERRUPT" or not self.again, f"{name} is read, though an INTERRUPT waits")

    def _check_number(self, message: Message) -> None:
        unique, name = message.header.unique, message.operation.name
        if name == "INTERRUPT":
            self._check_interrupt(unique, message.body.unique)
            return
        if name == "NOTIFY_REPLY":  # whose number is the daemon's own
            return
        require(27, unique != 0 and unique not in self.uniques, f"the number {unique} is used once")
        require(27, not self.interrupts or not unique & FUSE_INT_REQ_BIT, f"{name} has the odd number {unique}")
        require(27, self.resent or not unique & FUSE_UNIQUE_RESEND, f"{unique} was not asked for again")
        self._check_sequence(unique, name)
        self.uniques.add(unique)
        self.requests.pop(unique ^ FUSE_UNIQUE_RESEND, None)  # it is answered by its new number alone

    def _check_sequence(self, unique: int, name: str) -> None:
        """Requests are read in the order of their numbers; forgets are numbered when queued, or when read."""
        if not unique & FUSE_UNIQUE_RESEND and name not in FORGETS:
            require(27, unique > self.last, f"{unique} was numbered before {self.last}, and is read after it")
            self.last = unique

    def _check_interrupt(self, number: int, of: int) -> None:
        require(27, number == of | FUSE_INT_REQ_BIT, "an INTERRUPT's number is its request's, made odd")
        require(28, of in self.uniques, f"{of} is interrupted after it was read")
        require(28, of not in self.answered, f"{of} is interrupted before it is answered")
        require(29, of not in self.interrupted, f"{of} is interrupted again only after EAGAIN")
        require(30, self.last_interrupted is None or of in self.last_interrupted, "the daemon has no INTERRUPT")
        self.interrupted.add(of)
        self.again.discard(of)

    def _check_sender(self, message: Message) -> None:
        header, name = message.header, message.operation.name
        written_back = name == "WRITE" and message.body.write_flags & WriteFlags.FUSE_WRITE_CACHE
        if name in NOBODYS or (written_back and self.interrupts):
            require(40, (header.uid, header.gid, header.pid) == (0, 0, 0), f"{name} is nobody's")
        require(35, (name, header.pid) not in self.latched, f"the daemon said that it has no {name}")

    def _check_names(self, message: Message) -> None:
        if message.operation.name in ("GETXATTR", "SETXATTR", "REMOVEXATTR", "TMPFILE"):
            return  # names of attributes, and of what has none: b"/" (fs/namei.c, vfs_tmpfile)
        symlink = message.operation.name == "SYMLINK"  # whose second is where it leads
        for name in message.names[:1] if symlink else message.names:
            require(37, 0 < len(name) <= FUSE_NAME_MAX and b"/" not in name, f"{name!r} is a name")
            dots = name in (b".", b"..")
            require(37, not dots or bool(self.flags & InitFlags.FUSE_EXPORT_SUPPORT), f"{name!r} is not asked for")

    def _check_sizes(self, message: Message) -> None:
        if self.agreed is None or message.operation.name not in ("READ", "WRITE"):
            return
        pages = 32
        if self.flags & InitFlags.FUSE_MAX_PAGES:
            pages = max(1, self.agreed.max_pages)
        most = pages * PAGE
        if message.operation.name == "WRITE":
            most = min(most, max(PAGE, self.agreed.max_write))
        require(36, message.body.size <= most, f"{message.operation.name} of {message.body.size} bytes, not {most}")

    def _check_times(self, message: Message) -> None:
        """Who truncates an open file has its times set by the daemon, which truncates it."""
        if message.operation.name == "SETATTR" and not self.flags & InitFlags.FUSE_WRITEBACK_CACHE:
            require(41, message.body.valid & FTRUNCATE != FTRUNCATE, "ftruncate leaves mtime to the daemon")

    def _forget(self, message: Message) -> None:
        ones = forgets(message)
        if message.operation.name == "BATCH_FORGET":
            require(33, self.minor >= FIRST_BATCH_MINOR, f"7.{self.minor} has no BATCH_FORGET")
            require(33, len(ones) >= LEAST_OF_A_BATCH, "one forget is no batch")
        for one in ones:
            self.lookups.forgotten(one.nodeid, one.nlookup)
            if not self.lookups.granted.get(one.nodeid) and one.nodeid != FUSE_ROOT_ID:
                self._check_last(one.nodeid)

    def _check_last(self, nodeid: int) -> None:
        """Nobody uses what is forgotten altogether."""
        require(46, not self.handles.of(nodeid), f"{nodeid} is forgotten before it is released")
        asked = [one.operation.name for one in self.requests.values() if one.header.nodeid == nodeid]
        require(46, not asked, f"{nodeid} is forgotten before {', '.join(asked)} is answered")

    # What the daemon answered, and the kernel took.

    def was_written(self, raw: bytes) -> None:
        header = OutHeader.unpack_from(raw)
        if header.unique == 0:
            if header.error == RESEND:
                self._send_again()
            return
        if header.unique & FUSE_INT_REQ_BIT and self.interrupts:
            self._interrupt_answered(header)
            return
        require(59, header.unique not in self.answered, f"{header.unique} is answered once")
        request = self.requests.pop(header.unique, None)
        require(59, request is not None, f"{header.unique} was read, and not answered yet")
        self.answered.add(header.unique)
        self.again.discard(header.unique)
        if request is not None:
            self._answered(request, header, raw)

    def _send_again(self) -> None:
        """Expect what was read again; what had been sent again before keeps its number."""
        self.resent = True
        self.uniques -= {unique for unique in self.requests if unique & FUSE_UNIQUE_RESEND}
        self.interrupted -= self.requests.keys()
        self.again.clear()

    def _interrupt_answered(self, header: OutHeader) -> None:
        of = header.unique ^ FUSE_INT_REQ_BIT
        if header.error == -errno.EAGAIN:
            self.interrupted.discard(of)
            if of in self.requests and self.last_interrupted is None:
                self.again.add(of)
        elif header.error == -errno.ENOSYS and self.last_interrupted is None:
            self.last_interrupted = {*self.requests} - self.interrupted

    def _answered(self, request: Message, header: OutHeader, raw: bytes) -> None:
        name = request.operation.name
        if header.error:
            if header.error == -errno.ENOSYS and name in LATCHED and request.header.pid:  # who asks again, knows
                self.latched.add((name, request.header.pid))
            self.handles.refused(name, -header.error)
            return
        reply = decode_reply(raw, request.operation, minor=self.minor, request_body=request.body)
        for struct in reply.structs:
            if isinstance(struct, EntryOut):
                self.lookups.grant(struct, self._made(request))
        effect = _EFFECTS.get(name)
        if effect is not None:
            effect(self, request, reply)

    def _made(self, request: Message) -> int | None:
        """Return the type of file that `request` makes; None if it makes none."""
        match request.operation.name:
            case "MKNOD":
                return stat.S_IFMT(request.body.mode)
            case "LINK":
                return self.lookups.type_of(request.body.oldnodeid)
            case name:
                return MADE.get(name)

    def _agree(self, request: Message, reply: Any) -> None:
        answer = self.agreed = reply.structs[0]
        self.flags = join_init_flags(answer.flags, answer.flags2)
        self.minor = min(request.body.minor, answer.minor)

    def _open(self, request: Message, reply: Any) -> None:
        created = next((struct.nodeid for struct in reply.structs if isinstance(struct, EntryOut)), None)
        nodeid = request.header.nodeid if created is None else created
        self.handles.open(
            nodeid, next(struct.fh for struct in reply.structs if isinstance(struct, OpenOut)), request.operation.name
        )

    def _list(self, request: Message, reply: Any) -> None:
        for record, name in iter_direntplus(reply.data):
            if name not in (b".", b".."):
                self.lookups.grant(record.entry_out)


_EFFECTS: Final[dict[str, Callable[[Conversation, Message, Any], None]]] = {
    "INIT": Conversation._agree,
    "READDIRPLUS": Conversation._list,
    **dict.fromkeys(OPENING, Conversation._open),
}
