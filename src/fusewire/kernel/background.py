"""Requests for which nobody waits: INIT, RELEASE, what the page cache reads ahead and writes back.

    queue --at most max_background of them active--> pending --> ... --> end()

Two limits keep a slow daemon from being buried. At most `max_background` are *active*, handed to
`pending` or further; the rest wait here, first come, first served. And when so many are under way or
waiting, the gate is `blocked`: whoever wants to make another sleeps, but for those that are forced,
which is why `number` may exceed the maximum. Requests for which somebody waits are never limited.

From `congestion_threshold` on, work that could as well be left undone is left undone.

The functions at the end are the methods of `Connection` by the same names. In 2005 there were no
limits: a background request went to `pending` like any other.

Source: fs/fuse/dev.c, fuse_simple_background, fuse_request_queue_background, flush_bg_queue and fuse_request_end.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from fusewire.events import Step, note
from fusewire.kernel.request import Request
from fusewire.kernel.sending import pass_gate, sign
from fusewire.wire import WireStruct

if TYPE_CHECKING:
    from fusewire.kernel.connection import Connection

__all__ = ["Background", "End", "ask_background", "ask_background_gated", "send_background"]

End: TypeAlias = Callable[[Request], None]  # called once, when the request is finished


class Background:
    """The background requests of one connection. `number` is always `len(queue) + active`."""

    __slots__ = ("active", "blocked", "congestion_threshold", "connection", "maximum", "number", "queue", "raised")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.queue: deque[Request] = deque()
        self.number = 0
        self.active = 0
        self.maximum = 12
        self.congestion_threshold = 9
        self.blocked = False  # nobody may make another
        self.raised = False  # there may be room for more, which nobody has looked for yet

    @property
    def congested(self) -> bool:
        """The daemon has enough to do: readahead and the like had better be skipped."""
        return self.number >= self.congestion_threshold

    def limit(self, maximum: int, congestion_threshold: int) -> None:
        """Set the limits, as INIT settles them."""
        self.maximum, self.congestion_threshold = maximum, congestion_threshold

    def raise_maximum(self, maximum: int) -> None:
        """Set the maximum, as fusectl does: those at the gate look again, what is queued stays until something ends."""
        self.maximum, self.raised = maximum, True
        self.blocked = self.number >= maximum
        if not self.blocked:
            self.connection.blocked_waitq.wake()

    def add(self, request: Request) -> None:
        """Queue `request`, and hand over as many as may be active."""
        request.background = True
        request.move("send in background")
        self.number += 1
        if self.number == self.maximum:
            self.blocked = True
        self.queue.append(request)
        note(Step.QUEUE_BACKGROUND, about=request)
        self.flush()

    def flush(self) -> None:
        """Hand over as many as may be active."""
        self.raised = False
        while self.queue and self.active < self.maximum:
            request = self.queue.popleft()
            self.active += 1
            note(Step.TAKE_BACKGROUND, about=request)
            self.connection.enqueue(request)
            note(Step.QUEUE, about=request)
            self.connection.waitq.wake()

    def ended(self, request: Request) -> None:
        """Take leave of `request`, which was active, and let the next have its place."""
        request.background = False
        if self.number == self.maximum:
            self.blocked = False
            self.connection.blocked_waitq.wake()
        elif not self.blocked and self.connection.blocked_waitq.sleepers:
            self.connection.blocked_waitq.wake()
        self.number -= 1
        self.active -= 1
        self.flush()

    def abort(self) -> list[Request]:
        """Lift the limits, and return all that waited: active from now on, and about to end."""
        self.blocked = False
        self.maximum = 1 << 32
        left = [*self.queue]
        self.active += len(left)
        self.queue.clear()
        return left


def ask_background(
    connection: Connection,
    name: str,
    nodeid: int,
    body: WireStruct | None = None,
    *,
    data: bytes = b"",
    end: End | None = None,
    force: bool = False,
    nocreds: bool = False,
) -> None:
    """Queue a request and return, whatever limits there are. Never sleeps.

    `end` is called once, when the request is finished: its `error` (a positive errno) and `reply` are set
    then. That is at once, with ENOTCONN, if the connection is already gone.
    """
    request = connection.pool.make()
    request.force = force
    connection.num_waiting += 1
    if not nocreds:
        sign(connection, request)
    elif connection.timer is not None:
        request.created = connection.clock.now()
    request.ask(name, nodeid, body, (), data)
    request.end = end
    connection.send_background(request)


async def ask_background_gated(
    connection: Connection,
    name: str,
    nodeid: int,
    body: WireStruct | None = None,
    *,
    data: bytes = b"",
    end: End | None = None,
    nocreds: bool = False,
) -> None:
    """The same, but sleep first while too many are under way.

    Raises:
        OSError: EINTR if a fatal signal came first; ENOTCONN once aborted; ECONNREFUSED if INIT failed.
    """
    connection.num_waiting += 1
    await pass_gate(connection, lambda: _may_pass(connection))
    connection.num_waiting -= 1  # the request counts itself
    connection.ask_background(name, nodeid, body, data=data, end=end, nocreds=nocreds)


def _may_pass(connection: Connection) -> bool:
    return (connection.initialized and not connection.background.blocked) or not connection.connected


def send_background(connection: Connection, request: Request) -> None:
    """Queue `request`; its `end` is called when it is finished."""
    if not connection.connected:
        connection.finish(request, "refuse", errno.ENOTCONN)
    elif connection.profile.limits_background:
        connection.background.add(request)
    else:
        connection.enqueue(request)
        note(Step.QUEUE, about=request)
        connection.waitq.wake()
