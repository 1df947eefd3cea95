"""The left column: how somebody who wants something of the daemon gets a request, sends it and waits.

    ask
      get           through the gate, which INIT opens; a request, signed with who asks
      send
        enqueue     it gets its number, and is on `pending`
        wake        one of the readers
        sleep       until it is finished (waiting.py)
      drop          the request goes back

The functions here are the methods of `Connection` by the same names. While it is under way, a
request has two references: its sender's and that of the queues. Whoever drops the last one gives
it back.

Source: fs/fuse/dev.c, fuse_get_req, __fuse_request_send, fuse_put_request.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from fusewire import events
from fusewire.errors import os_error
from fusewire.events import Step, named, note
from fusewire.kernel.request import Request
from fusewire.kernel.tasks import running, step
from fusewire.kernel.waiting import request_wait_answer
from fusewire.wire import NO_EXTENSIONS, Extensions, NotifyRetrieveIn, Reply, WireStruct

if TYPE_CHECKING:
    from fusewire.kernel.connection import Connection

__all__ = ["ask", "drop", "enqueue", "get", "notify_reply", "pass_gate", "send", "sign"]


async def ask(
    connection: Connection,
    name: str,
    nodeid: int,
    body: WireStruct | None = None,
    names: Sequence[bytes] = (),
    data: bytes = b"",
    *,
    extensions: Extensions = NO_EXTENSIONS,
    force: bool = False,
    nocreds: bool = False,
    reply_length: int | None = None,
) -> Reply:
    """Get a request, send it, give it back; return the reply, empty if none is ever sent.

    Args:
        force: pass the gate, and let no signal end it (FLUSH).
        nocreds: say that nobody asks: uid, gid and pid are 0.
        reply_length: bytes that the reply must have, header included, if that is not as the operation says.

    Raises:
        OSError: whatever `get` and `send` raise.
    """
    request = _get_now(connection, force) or await connection.get(force)
    try:
        request.ask(name, nodeid, body, names, data, extensions)
        if nocreds:
            request.uid = request.gid = request.pid = 0
        if reply_length is not None:
            request.reply_length = reply_length
        return await connection.send(request)
    finally:
        connection.drop(request)


def _get_now(connection: Connection, force: bool) -> Request | None:
    """Do as `get` where there is nothing to wait for, no pool, and nobody who watches: the everyday case.

    With its `drop` it takes 0.6 us, and `get` 1.8.
    """
    open_ = connection.initialized and connection.connected and not connection.refused
    if not open_ or connection.pool.size is not None or events.hook is not None:
        return None
    connection.num_waiting += 1
    request = Request(connection)
    if force:
        request.force = connection.profile.forces
    sign(connection, request)
    return request


async def get(connection: Connection, force: bool = False) -> Request:
    """Take a request for the current task, sleeping until INIT is answered and there is one.

    Raises:
        OSError: EINTR if a signal came first; ENOTCONN once aborted; ECONNREFUSED if INIT failed.
    """
    connection.num_waiting += 1
    if not (force and connection.profile.forces):
        await pass_gate(connection, lambda: _may_pass(connection))
    request = connection.pool.take()
    request.force = force and connection.profile.forces
    sign(connection, request)
    try:
        await step(Step.GET)
    except BaseException:
        connection.drop(request)
        raise
    return request


def _may_pass(connection: Connection) -> bool:
    return (connection.initialized and connection.pool.has_place) or not connection.connected


async def pass_gate(connection: Connection, opened: Callable[[], bool]) -> None:
    """Sleep until `opened()`, for somebody who is counted as waiting already; on an error he is not any more.

    Raises:
        OSError: as `get`.
    """
    try:
        await connection.blocked_waitq.sleep(until=opened, depth=connection.profile.gate_depth)
        if not connection.connected:
            raise os_error(errno.ENOTCONN)
        if connection.refused:
            raise os_error(errno.ECONNREFUSED)
    except BaseException:
        connection.num_waiting -= 1
        if not connection.connected:
            _tell_who_waits_for_the_end(connection)
        raise


def sign(connection: Connection, request: Request) -> None:
    """Say whose request it is, and since when."""
    task = running()
    if task is not None and task.process is not None:
        process = task.process
        request.uid, request.gid = process.credentials.fsuid, process.credentials.fsgid
        request.pid = process.pid
    if connection.timer is not None:
        request.created = connection.clock.now()


@named("request_send")
async def send(connection: Connection, request: Request) -> Reply:
    """Queue `request`, sleep until it is finished, return the reply.

    Raises:
        OSError: ENOTCONN if the connection is already gone; ECONNABORTED if it goes while we
            sleep; EINTR if a signal withdrew it; EIO if the daemon answered nonsense;
            otherwise the errno of the reply.
    """
    if not connection.connected:
        request.move("refuse")
        raise os_error(errno.ENOTCONN)
    connection.enqueue(request)
    request.references += 1
    if events.hook is not None:
        await step(Step.QUEUE, about=request)
    connection.waitq.wake()
    await request_wait_answer(request)
    if request.error:
        raise os_error(request.error)
    return request.reply or Reply(request.unique)


def enqueue(connection: Connection, request: Request, unique: int | None = None) -> None:
    """Put `request` on `pending`, where it has a number; whoever calls this wakes a reader."""
    request.encode(connection.new_unique() if unique is None else unique)
    request.move("send")
    connection.pending.append(request)


def drop(connection: Connection, request: Request) -> None:
    """Give a reference back; with the last one the request itself."""
    request.references -= 1
    if request.references:
        return
    if request.memory is not None:
        request.memory.check()
    request._waitq = None  # which refers to its request: only the garbage collector would free the two, and the reply
    if events.hook is not None:
        note(Step.PUT, about=request)
    if connection.pool.size is not None and connection.pool.give_back(request):
        connection.blocked_waitq.wake()
    connection.num_waiting -= 1
    if not connection.connected:
        _tell_who_waits_for_the_end(connection)


def _tell_who_waits_for_the_end(connection: Connection) -> None:
    """Let who unmounts a connection that is gone go on, if nothing waits any more."""
    if not connection.num_waiting:
        connection.blocked_waitq.wake_all()


async def notify_reply(connection: Connection, unique: int, nodeid: int, body: NotifyRetrieveIn, data: bytes) -> None:
    """Send the daemon what its NOTIFY_RETRIEVE of number `unique` asked for, in the name of the task that notified.

    Does not wait until it is read.

    Raises:
        OSError: whatever `get` raises; ENOTCONN if the connection is gone.
    """
    request = await connection.get()
    request.ask("NOTIFY_REPLY", nodeid, body, (), data)
    if not connection.connected:
        connection.finish(request, "refuse", errno.ENOTCONN)
        raise os_error(errno.ENOTCONN)
    connection.enqueue(request, unique)
    note(Step.QUEUE, about=request)
    connection.waitq.wake()
