"""One message of a connection, and what has become of it.

The stages that it goes through stand in stages.py. While a page of it is being copied it is `locked`:
nothing ends it then.

A request is counted as long as somebody refers to it: its sender, the queue it is on, an abort that
is about to end it. With the last reference it goes back to `unused`.

Source: fs/fuse/dev.c; kernel.txt.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from fusewire import events
from fusewire.errors import ProtocolError, os_error
from fusewire.events import Step, note
from fusewire.kernel.sender_memory import SenderMemory
from fusewire.kernel.stages import FAULTING, FINISHED, LOCKED, UNUSED, Stage
from fusewire.kernel.tasks import Task
from fusewire.kernel.waitq import WaitQueue
from fusewire.wire import (
    FUSE_KERNEL_MINOR_VERSION,
    FUSE_UNIQUE_RESEND,
    NO_EXTENSIONS,
    Extensions,
    InHeader,
    Operation,
    OutHeader,
    Rename2In,
    Reply,
    WireStruct,
    decode_reply,
    encode_request,
    operation,
)

if TYPE_CHECKING:
    from fusewire.kernel.connection import Connection

__all__ = ["Request"]


_NONE: Final = type(None)
SETXATTR: Final = operation("SETXATTR")  # whose struct is shorter where SETXATTR_EXT was not agreed on
_pack_header: Final = InHeader.STRUCT.pack


NO_ID: Final = 0xFFFFFFFF
WHITEOUT: Final = 4  # RENAME_WHITEOUT
MAKING: Final = frozenset({"MKNOD", "SYMLINK", "MKDIR", "TMPFILE", "CREATE"})


class Request:
    """What is asked, how far it has come, and what was answered.

    A foreground request has a sender, asleep on `waitq`; a background one has an `end` instead,
    called once when it is finished.
    """

    __slots__ = (
        "_waitq",
        "background",
        "body",
        "connection",
        "created",
        "data",
        "end",
        "error",
        "extensions",
        "force",
        "gid",
        "interrupted",
        "kill_aborts",
        "memory",
        "message",
        "names",
        "nodeid",
        "only_killable",
        "operation",
        "pid",
        "pooled",
        "reader",
        "references",
        "reply",
        "reply_length",
        "stage",
        "transitions",
        "uid",
        "unique",
        "unpin",
    )

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.transitions = connection.profile.transitions
        # What is asked, as `ask` fills it in.
        self.operation: Operation
        self.nodeid = 0
        self.body: WireStruct | None = None
        self.names: Sequence[bytes] = ()
        self.data = b""
        self.extensions: Extensions = NO_EXTENSIONS
        self.reply_length: int | None = None  # bytes that its reply must have, where its kind does not say
        self.uid = self.gid = self.pid = 0  # whose system call it is; 0 of the kernel's own
        # Where it is in its life.
        self.stage = UNUSED
        self.unique = 0  # given when it is queued on `pending`
        self.message = b""  # as the daemon reads it, from then on
        self.created = 0.0  # by the system's clock; 0 while no request may time out
        self.references = 1
        self.force = False  # it passes every gate, and no signal ends it
        self.only_killable = False  # in 2005: nothing but a fatal signal ends the wait, even before the read
        self.kill_aborts = False  # a kill of its sender aborts the connection
        self.pooled = False  # it has a place in 2005's pool, to be given back
        self.background = False  # it counts in the connection's background, until it ends
        self.interrupted = False  # its sender was sent a signal while it waited
        self._waitq: WaitQueue | None = None  # its `waitq`, once somebody has slept there
        self.reader: Task | None = None  # the task that owes the reply
        self.memory: SenderMemory | None = None  # where its reply is copied to, if page by page
        self.end: Callable[[Request], None] | None = None
        self.unpin: Callable[[], None] | None = None  # lets go of what is held on its account, once it is given up
        # What came of it.
        self.error = 0  # positive errno; 0 if none
        self.reply: Reply | None = None  # None while there is none

    def __repr__(self) -> str:
        return f"<Request {self.unique} {self.stage.value}>"

    def __str__(self) -> str:
        """What is asked, and its number once it has one: 'UNLINK 4'. Empty before anything is asked.

        One that was sent before says so: 'UNLINK 4 again'.
        """
        name = self.operation.name if hasattr(self, "operation") else ""
        again = " again" if self.unique & FUSE_UNIQUE_RESEND else ""
        return f"{name} {self.unique & ~FUSE_UNIQUE_RESEND}{again}" if self.unique else name

    def ask(
        self,
        name: str,
        nodeid: int,
        body: WireStruct | None = None,
        names: Sequence[bytes] = (),
        data: bytes = b"",
        extensions: Extensions = NO_EXTENSIONS,
    ) -> None:
        """Fill in what is asked: an operation by its name, such as 'UNLINK', and its parts on the wire."""
        self.operation = operation(name)
        self.nodeid, self.body = nodeid, body
        if names or data or extensions is not NO_EXTENSIONS:
            self.names, self.data, self.extensions = names, data, extensions
        if self.connection.hides_ids and self.pid and not self._makes_something():
            self.uid = self.gid = NO_ID

    def _makes_something(self) -> bool:
        """Whether the daemon needs to know whose the new file is to be (fs/fuse/dev.c, fuse_get_req)."""
        body = self.body
        return self.operation.name in MAKING or (isinstance(body, Rename2In) and bool(body.flags & WHITEOUT))

    @property
    def waitq(self) -> WaitQueue:
        """Where its sender sleeps, and in 2005 whoever waits until it is unlocked."""
        if self._waitq is None:
            self._waitq = WaitQueue("req->waitq", self._holders, about=self)
        return self._waitq

    def wake(self) -> None:
        """Let whoever sleeps on `waitq` look again."""
        if self._waitq is not None:
            self._waitq.wake()

    # Its stages.

    def move(self, verb: str) -> None:
        """Go to the next stage; KeyError if `verb` is illegal in this one."""
        self.stage = self.transitions[self.stage, verb]

    def is_finished(self) -> bool:
        return self.stage is FINISHED

    @property
    def locked(self) -> bool:
        """A copy to or from the sender's memory is taking place."""
        return self.stage in LOCKED

    @property
    def given_up(self) -> bool:
        """Its sender has gone, or goes as soon as it is unlocked."""
        return self.interrupted and not self.connection.profile.interrupts

    def lock(self) -> None:
        """Begin to copy a page: no fault from here on (lock_request).

        Raises:
            OSError: ENOENT if it ended, or was given up, while it was not locked.
        """
        if self.stage not in FAULTING or (self.interrupted and self.given_up):
            raise os_error(errno.ENOENT)
        self.move("lock")
        if events.hook is not None:
            note(Step.LOCK, about=self)

    def unlock(self) -> None:
        """End the copy of a page: a fault may come (unlock_request).

        Raises:
            OSError: ENOENT if it was aborted meanwhile; it stays locked, until its copier ends it.
        """
        if self.stage is Stage.ABORTED:
            raise os_error(errno.ENOENT)
        self.move("unlock")
        if events.hook is not None:
            note(Step.UNLOCK, about=self)
        if self.given_up:
            self.wake()

    # On the wire.

    def encode(self, unique: int) -> None:
        """Give it its number, and make the message that the daemon will read.

        Raises:
            ValueError: its parts are not what its operation's row says, or a value does not fit.
        """
        self.unique = unique
        row, body, names = self.operation, self.body, self.names
        plain = not self.data and self.extensions is NO_EXTENSIONS and (body is None or not body.SIZES)
        if not plain or type(body) is not (row.body or _NONE) or len(names) != row.names or row is SETXATTR:
            self.message = self._encode_in_full()
            return
        tail = b"" if body is None else body.pack()
        for name in names:
            if b"\0" in name:
                self.message = self._encode_in_full()  # which says what is wrong
            tail += name + b"\0"
        length = InHeader.SIZE + len(tail)
        self.message = _pack_header(length, row.code, unique, self.nodeid, self.uid, self.gid, self.pid, 0) + tail

    def _encode_in_full(self) -> bytes:
        """The same for any request, and five times as slow."""
        connection = self.connection
        return encode_request(
            self.operation,
            unique=self.unique,
            nodeid=self.nodeid,
            uid=self.uid,
            gid=self.gid,
            pid=self.pid,
            body=self.body,
            names=self.names,
            data=self.data,
            extensions=self.extensions,
            minor=connection.common_minor,
            setxattr_ext=connection.setxattr_ext,
        )

    def decode(self, message: bytes, length: int) -> None:
        """Take the reply in `message`, of `length` bytes and without an error.

        Raises:
            ProtocolError: it is not what was asked for.
        """
        row = self.operation
        if self.reply_length is not None and length != self.reply_length:
            raise ProtocolError(self.unique, f"{row.name} is answered by {self.reply_length} bytes, {length} came")
        structs = row.reply_structs
        if len(structs) == 1 and not row.reply_data:  # one struct of its full size: half the time of `decode_reply`
            kind = structs[0]
            whole = not kind.SIZES or self.connection.common_minor == FUSE_KERNEL_MINOR_VERSION
            if whole and length == OutHeader.SIZE + kind.SIZE:
                self.reply = Reply(self.unique, 0, (kind.unpack_from(message, OutHeader.SIZE),))
                return
        self.reply = decode_reply(message, row, minor=self.connection.common_minor, request_body=self.body)

    def renumber(self, unique: int) -> None:
        """Give it another number, in its message too."""
        self.unique = unique
        at = InHeader.OFFSETS["unique"]
        self.message = self.message[:at] + unique.to_bytes(8, sys.byteorder) + self.message[at + 8 :]

    def _holders(self) -> Sequence[Task]:
        """One of many may read a request; who has read it must answer."""
        if self.stage in (Stage.PENDING, Stage.BACKGROUND):
            return self.connection.readers
        return [self.reader] if self.reader is not None else []
