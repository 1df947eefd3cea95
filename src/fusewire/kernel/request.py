"""A request and its stages, as data.

    unused -> (background ->) pending -> faulting out <-> copying out -> processing -> copying in <-> faulting in
                                                                             |               |
                                                     resend: back to pending <               > finished

A request is copied to and from memory that its sender owns, so nothing may end it in the middle of
a copy: it is then `locked`. A copy goes page by page, and each page of the daemon's buffer is
faulted in while the request is *not* locked, for a fault may sleep for as long as it likes, and may
need this very request to be ended first. Hence two stages on either way, and the last paragraph of
kernel.txt is two columns of the table:

    copying     locked: an abort only marks it ABORTED, and its copier, who looks when the page is done, ends it
    faulting    not locked: it is ended at once, and its copier, when the fault is over, finds it FINISHED

Linux lets nobody go whose request the daemon has read: it asks the daemon to hurry. In 2005 a
killed sender went, and the request stayed until its reply was thrown away: the rows of GIVING_UP.

A request is counted as long as somebody refers to it: its sender, the queue it is on, an abort that
is about to end it. With the last reference it goes back to `unused`.

Source: fs/fuse/dev.c; kernel.txt.
"""

from __future__ import annotations

import enum
import errno
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from fusewire.errors import os_error
from fusewire.kernel.tasks import Task
from fusewire.kernel.waitq import WaitQueue
from fusewire.wire import (
    FUSE_KERNEL_MINOR_VERSION,
    NO_EXTENSIONS,
    Extensions,
    InHeader,
    Operation,
    OutHeader,
    Reply,
    WireStruct,
    decode_reply,
    encode_request,
    operation,
)

if TYPE_CHECKING:
    from fusewire.kernel.connection import Connection

__all__ = [
    "COPYING_IN",
    "COPYING_OUT",
    "FAULTING",
    "FINISHED",
    "GIVEN_UP",
    "GIVING_UP",
    "TRANSITIONS",
    "Request",
    "Stage",
    "Transitions",
]


class Stage(enum.Enum):
    UNUSED = "unused"  # in the connection's pool, or being filled in by its sender
    BACKGROUND = "background"  # waits until fewer of its kind are under way
    PENDING = "pending"  # queued; the daemon has not read it
    FAULTING_OUT = "faulting out"  # on a device's `io`: a reader's buffer is faulted in
    COPYING_OUT = "copying out"  # on `io`, locked: a page of it goes to the reader
    PROCESSING = "processing"  # read; the reader owes a reply
    COPYING_IN = "copying in"  # on `io` again, locked: a page of the reply comes in
    FAULTING_IN = "faulting in"  # on `io`: the writer's buffer is faulted in
    ABORTED = "aborted"  # on `io`, locked: its copier will end it
    GIVEN_UP = "given up"  # processing still, but its sender has gone
    LEFT = "left"  # on `io`, being faulted, but its sender has gone: its copier will end it
    FINISHED = "finished"  # answered, aborted or withdrawn; the sender may return

    __hash__ = object.__hash__  # by identity: Enum's own is written in Python, and the table is looked up all the time


Transitions = Mapping[tuple[Stage, str], Stage]

TRANSITIONS: Final[Transitions] = {
    (Stage.UNUSED, "send"): Stage.PENDING,
    (Stage.UNUSED, "send in background"): Stage.BACKGROUND,
    (Stage.UNUSED, "refuse"): Stage.FINISHED,  # the connection is gone
    (Stage.BACKGROUND, "send"): Stage.PENDING,
    (Stage.BACKGROUND, "abort"): Stage.FINISHED,
    (Stage.PENDING, "read"): Stage.FAULTING_OUT,
    (Stage.PENDING, "too long"): Stage.FINISHED,  # for its reader's buffer
    (Stage.PENDING, "kill"): Stage.FINISHED,  # the daemon never sees it
    (Stage.PENDING, "abort"): Stage.FINISHED,
    (Stage.FAULTING_OUT, "lock"): Stage.COPYING_OUT,
    (Stage.FAULTING_OUT, "fault"): Stage.FINISHED,  # there is no such memory
    (Stage.FAULTING_OUT, "abort"): Stage.FINISHED,
    (Stage.COPYING_OUT, "unlock"): Stage.FAULTING_OUT,
    (Stage.COPYING_OUT, "copied"): Stage.PROCESSING,
    (Stage.COPYING_OUT, "told"): Stage.FINISHED,  # it wants no reply
    (Stage.COPYING_OUT, "abort"): Stage.ABORTED,
    (Stage.PROCESSING, "write"): Stage.COPYING_IN,
    (Stage.PROCESSING, "abort"): Stage.FINISHED,
    (Stage.PROCESSING, "resend"): Stage.PENDING,
    (Stage.COPYING_IN, "unlock"): Stage.FAULTING_IN,
    (Stage.COPYING_IN, "copied"): Stage.FINISHED,
    (Stage.COPYING_IN, "abort"): Stage.ABORTED,
    (Stage.FAULTING_IN, "lock"): Stage.COPYING_IN,
    (Stage.FAULTING_IN, "fault"): Stage.FINISHED,
    (Stage.FAULTING_IN, "abort"): Stage.FINISHED,
    (Stage.ABORTED, "copied"): Stage.FINISHED,
}

GIVING_UP: Final[Transitions] = {
    (Stage.PROCESSING, "kill"): Stage.GIVEN_UP,
    (Stage.GIVEN_UP, "write"): Stage.FINISHED,  # nobody is left who would want the reply
    (Stage.GIVEN_UP, "abort"): Stage.FINISHED,
    (Stage.FAULTING_OUT, "kill"): Stage.LEFT,
    (Stage.FAULTING_IN, "kill"): Stage.LEFT,
    (Stage.LEFT, "left"): Stage.FINISHED,  # said by its copier, like the next four
    (Stage.COPYING_OUT, "left"): Stage.FINISHED,  # its sender waits for the end of this page in order to go
    (Stage.COPYING_IN, "left"): Stage.FINISHED,
    (Stage.FAULTING_OUT, "left"): Stage.FINISHED,  # its sender may go, and has not come to it yet
    (Stage.FAULTING_IN, "left"): Stage.FINISHED,
    (Stage.LEFT, "abort"): Stage.FINISHED,
}

# Stages that are asked for with every request: `Stage.FINISHED` costs 0.12 us in Python 3.11, a global name 0.01.
UNUSED: Final = Stage.UNUSED
COPYING_OUT: Final = Stage.COPYING_OUT
COPYING_IN: Final = Stage.COPYING_IN
GIVEN_UP: Final = Stage.GIVEN_UP
FINISHED: Final = Stage.FINISHED

LOCKED: Final = frozenset({Stage.COPYING_OUT, Stage.COPYING_IN, Stage.ABORTED})
_NONE: Final = type(None)
SETXATTR: Final = operation("SETXATTR")  # whose struct is shorter where SETXATTR_EXT was not agreed on
_pack_header: Final = InHeader.STRUCT.pack
FAULTING: Final = frozenset({Stage.FAULTING_OUT, Stage.FAULTING_IN})


class Request:
    """One message of a connection and what has become of it.

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
        self.end: Callable[[Request], None] | None = None
        self.unpin: Callable[[], None] | None = None  # lets go of what is held on its account, once it is given up
        # What came of it.
        self.error = 0  # positive errno; 0 if none
        self.reply: Reply | None = None  # None while there is none

    def __repr__(self) -> str:
        return f"<Request {self.unique} {self.stage.value}>"

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

    @property
    def waitq(self) -> WaitQueue:
        """Where its sender sleeps, and in 2005 whoever waits until it is unlocked."""
        if self._waitq is None:
            self._waitq = WaitQueue("req->waitq", self._holders)
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

    def unlock(self) -> None:
        """End the copy of a page: a fault may come (unlock_request).

        Raises:
            OSError: ENOENT if it was aborted meanwhile; it stays locked, until its copier ends it.
        """
        if self.stage is Stage.ABORTED:
            raise os_error(errno.ENOENT)
        self.move("unlock")
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
