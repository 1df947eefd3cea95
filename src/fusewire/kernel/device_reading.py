"""The right column, its first half: a daemon reads a message.

    read
      request_wait    asleep until there is something to read
      take            an INTERRUPT before all else, then forgets or the first of `pending`, in turns
      copy            to the reader's buffer; the request is on the device's `io` meanwhile
      processing      where it stands until its reply comes; but for those that want none

Any number of tasks may read one device; each read returns one whole message. A buffer that is plain
`room` cannot fault, and is not copied to: the reader gets the message itself. One that is memory of
a process is copied to page by page, and may fault (copying.py).

A request longer than the buffer fails, and the reader goes on to the next.

Source: fs/fuse/dev.c, fuse_dev_do_read, fuse_read_interrupt and fuse_read_forget.
"""

from __future__ import annotations

import errno
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from fusewire import events
from fusewire.errors import os_error
from fusewire.events import Step, named, note
from fusewire.kernel.copying import Copy
from fusewire.kernel.request import Request
from fusewire.kernel.stages import COPYING_OUT
from fusewire.kernel.tasks import Task, current, step
from fusewire.kernel.user_memory import UserBuffer
from fusewire.kernel.waitq import INTERRUPTIBLE
from fusewire.wire import FUSE_INT_REQ_BIT, InterruptIn, encode_request

if TYPE_CHECKING:
    from fusewire.kernel.connection import Connection
    from fusewire.kernel.device import Device

__all__ = ["read"]


@named("fuse_dev_read")
async def read(device: Device, room: int | UserBuffer) -> bytes:
    """Sleep until there is a message and hand it to the daemon, whose buffer is, or has, so much `room`.

    A request that is longer than the buffer fails, with EIO or E2BIG; the daemon gets the next.

    Raises:
        OSError: EPERM if nothing is mounted; EINVAL if there is not room enough for some request;
            EAGAIN if there is nothing to read and the device does not block; ENODEV once aborted,
            or ECONNABORTED if the daemon asked for that; EINTR if a signal came first; EFAULT if
            the buffer is no memory, and then the message is lost, and a request in it fails.
    """
    connection = device.connection or await device.bound()
    size = room if isinstance(room, int) else len(room)
    if size < connection.least_read and connection.profile.least_read:
        raise os_error(errno.EINVAL)
    reader = current()
    device.readers[reader] = None
    pending, forgets = connection.pending, connection.forgets
    while True:
        if not pending or events.hook is not None:
            await _request_wait(device, connection)
        if device.closed or not connection.connected:
            raise device.gone()
        if connection.interrupts:
            return await _read_interrupt(connection, room)
        if forgets.queue and forgets.have_their_turn(bool(pending)):
            return await _read_forgets(connection, room, size)
        request = pending.popleft()
        if len(request.message) <= size:
            return await _read_request(device, request, room, reader)
        _too_long(request)


@named("request_wait")
def _request_wait(device: Device, connection: Connection) -> Awaitable[None]:
    if device.nonblocking and device.connected and not connection.readable:
        raise os_error(errno.EAGAIN)
    return connection.waitq.sleep(device.may_read, INTERRUPTIBLE)


async def _read_interrupt(connection: Connection, room: int | UserBuffer) -> bytes:
    request = connection.interrupts.popleft()
    unique = request.unique
    await step(Step.TAKE_INTERRUPT, about=request)
    message = encode_request("INTERRUPT", unique=unique | FUSE_INT_REQ_BIT, body=InterruptIn(unique))
    return await _hand_over(message, room)


async def _read_forgets(connection: Connection, room: int | UserBuffer, size: int) -> bytes:
    message = connection.forgets.take(connection.new_unique(), size, connection.common_minor)
    await step(Step.TAKE_FORGET)
    return await _hand_over(message, room)


async def _hand_over(message: bytes, room: int | UserBuffer) -> bytes:
    """Copy a message that is no request, and is lost if it cannot be copied."""
    if not isinstance(room, int):
        await Copy(room, write=True).store(message)
    return message


def _too_long(request: Request) -> None:
    connection = request.connection
    code = errno.E2BIG if request.operation.name == "SETXATTR" else errno.EIO
    connection.finish(request, "too long", code)
    if connection.profile.short_read:
        raise os_error(connection.profile.short_read)


async def _read_request(device: Device, request: Request, room: int | UserBuffer, reader: Task) -> bytes:
    request.reader = reader
    request.move("read")
    device.io.append(request)
    try:
        if events.hook is not None or not isinstance(room, int):
            await _copy_out(request, room)
        else:
            request.lock()
    except OSError as error:
        raise device.ended_early(request, error, device.gone()) from None
    except BaseException:  # the reader is being closed
        device.ended_early(request, os_error(errno.EINTR), device.gone())
        raise
    if request.stage is not COPYING_OUT or (request.interrupted and request.given_up):
        raise device.ended_early(request, None, device.gone())
    device.io.remove(request)
    message = request.message
    if request.operation.reply is None:
        note(Step.UNLOCK, about=request)
        request.connection.finish(request, "told")
        return message
    request.move("copied")
    device.processing[request.unique] = request
    if events.hook is not None:
        note(Step.UNLOCK, about=request)
    # A signal from now on finds the request here, and its sender sees to it: never both of us.
    interrupted = request.interrupted
    if events.hook is not None:
        await step(Step.READ, about=request)
    if interrupted and device.processing.get(request.unique) is request:
        request.connection.queue_interrupt(request)
    return message


async def _copy_out(request: Request, room: int | UserBuffer) -> None:
    await step(Step.TAKE, about=request)
    if isinstance(room, int):
        request.lock()
        await step(Step.COPY_OUT, about=request)
    else:
        await Copy(room, write=True, request=request).store(request.message)
