"""A request and its stages, as data.

    unused --send--> pending --read--> copying out --copied--> processing --write--> copying in
                        |                   |                      |                     |
              kill, abort, too long       abort                  abort             copied, abort
                        v                   v                      v                     v
                    finished            finished               finished              finished

A copy runs outside all locks, to or from memory that the sender owns, so a kill must not finish a
request that is `locked`: the table has no such row, and the sender waits (kernel.txt, its last
paragraph). An abort leaves it to its copier, who looks when the copy is done.

Linux lets nobody go whose request the daemon has read: it asks the daemon to hurry. In 2005 a
killed sender went, and the request stayed until its reply was thrown away: the rows of GIVING_UP.

Not modelled yet: the copy page by page, each page faulted in while the request is not `locked`.

Source: fs/fuse/dev.c; kernel.txt.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from fusewire.kernel.tasks import Task
from fusewire.kernel.waitq import WaitQueue
from fusewire.wire import Operation, Reply, WireStruct, encode_request, operation

if TYPE_CHECKING:
    from fusewire.kernel.connection import Connection


class Stage(enum.Enum):
    UNUSED = "unused"  # in the connection's pool, or being filled in by its sender
    PENDING = "pending"  # queued; the daemon has not read it
    COPYING_OUT = "copying out"  # on a device's `io`: a reader fills its buffer
    PROCESSING = "processing"  # read; the reader owes a reply
    COPYING_IN = "copying in"  # on a device's `io` again: a writer fills the reply
    GIVEN_UP = "given up"  # processing still, but its sender has gone
    FINISHED = "finished"  # answered, aborted or withdrawn; the sender may return


Transitions = Mapping[tuple[Stage, str], Stage]

TRANSITIONS: Final[Transitions] = {
    (Stage.UNUSED, "send"): Stage.PENDING,
    (Stage.PENDING, "read"): Stage.COPYING_OUT,
    (Stage.PENDING, "too long"): Stage.FINISHED,  # for its reader's buffer
    (Stage.PENDING, "kill"): Stage.FINISHED,  # the daemon never sees it
    (Stage.PENDING, "abort"): Stage.FINISHED,
    (Stage.COPYING_OUT, "copied"): Stage.PROCESSING,
    (Stage.COPYING_OUT, "abort"): Stage.FINISHED,
    (Stage.PROCESSING, "write"): Stage.COPYING_IN,
    (Stage.PROCESSING, "abort"): Stage.FINISHED,
    (Stage.COPYING_IN, "copied"): Stage.FINISHED,
    (Stage.COPYING_IN, "abort"): Stage.FINISHED,
}

GIVING_UP: Final[Transitions] = {
    (Stage.PROCESSING, "kill"): Stage.GIVEN_UP,
    (Stage.GIVEN_UP, "write"): Stage.FINISHED,  # nobody is left who would want the reply
    (Stage.GIVEN_UP, "abort"): Stage.FINISHED,
}


@dataclass(slots=True, eq=False)
class Request:
    """One message of a connection and what has become of it.

    A foreground request has a sender, asleep on `waitq`; a background one has an `end` instead,
    called once when it is finished.
    """

    connection: Connection
    operation: Operation = field(init=False)
    nodeid: int = 0
    body: WireStruct | None = None
    names: Sequence[bytes] = ()
    data: bytes = b""
    uid: int = 0
    gid: int = 0
    pid: int = 0
    unique: int = 0  # given when sent
    stage: Stage = Stage.UNUSED
    interrupted: bool = False  # its sender was sent a signal while it waited
    error: int = 0  # positive errno; 0 if none
    reply: Reply | None = None  # None while there is none
    reader: Task | None = None  # the task that owes the reply
    end: Callable[[Request], None] | None = None
    waitq: WaitQueue = field(init=False)

    def __post_init__(self) -> None:
        self.waitq = WaitQueue("req->waitq", holders=self._holders)

    def __repr__(self) -> str:
        return f"<Request {self.unique} {self.stage.value}>"

    def ask(
        self, name: str, nodeid: int, body: WireStruct | None = None, names: Sequence[bytes] = (), data: bytes = b""
    ) -> None:
        """Fill in what is asked: an operation by its name, such as 'UNLINK', and its parts on the wire."""
        self.operation = operation(name)
        self.nodeid, self.body, self.names, self.data = nodeid, body, names, data

    @property
    def locked(self) -> bool:
        """A copy to or from the sender's memory is taking place."""
        return self.stage in (Stage.COPYING_OUT, Stage.COPYING_IN)

    @property
    def message(self) -> bytes:
        """The request as the daemon reads it."""
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
            minor=self.connection.settings.minor,
        )

    def move(self, verb: str) -> None:
        """Go to the next stage; KeyError if `verb` is illegal in this one."""
        self.stage = self.connection.profile.transitions[self.stage, verb]

    def _holders(self) -> Sequence[Task]:
        """One of many may read a request; who has read it must answer."""
        if self.stage is Stage.PENDING:
            return self.connection.readers
        return [self.reader] if self.reader is not None else []
