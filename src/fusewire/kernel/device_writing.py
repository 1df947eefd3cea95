"""The right column, its second half: a daemon writes a reply, or a notification.

    write
      header          its length and its errno are checked; unique 0 is a notification
      look up         the request in the device's `processing`
      copy            from the writer's buffer; the request is on the device's `io` meanwhile
      finish          its sender wakes

A reply is checked before it is matched, and a daemon may try again; once it has been matched
there is no second chance, and a reply that does not fit its request fails it with EIO. Each check
has a number, by which the connection's `violations` are told apart (violations.py).

Source: fs/fuse/dev.c, fuse_dev_do_write.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final, TypeAlias

from fusewire import events
from fusewire.errors import ProtocolError, os_error
from fusewire.events import Step, named, note
from fusewire.kernel.copying import Copy
from fusewire.kernel.notifications import notify
from fusewire.kernel.request import Request
from fusewire.kernel.stages import COPYING_IN, GIVEN_UP, Stage
from fusewire.kernel.tasks import step
from fusewire.kernel.user_memory import UserBuffer
from fusewire.wire import FUSE_INT_REQ_BIT, FUSE_UNIQUE_RESEND, OutHeader

if TYPE_CHECKING:
    from fusewire.kernel.device import Device

__all__ = ["write"]

Buffer: TypeAlias = bytes | bytearray | memoryview
_HEADER: Final = OutHeader.SIZE
_unpack_header: Final = OutHeader.STRUCT.unpack_from


@named("fuse_dev_write")
async def write(device: Device, message: Buffer | UserBuffer) -> int:
    """Finish the request that `message` answers; return the length of `message`.

    Raises:
        OSError: EPERM if nothing is mounted; EINVAL if the message is malformed; ENOENT if no
            request read from here is owed a reply of that unique, or if an abort came first;
            EFAULT if the buffer is no memory; for a notification what notifications.py says.
    """
    connection = device.connection or await device.bound()
    length = len(message)
    if length < _HEADER:
        raise _refused(device, 2, f"{length} bytes, where a header has {_HEADER}")
    copy: Copy | None = None
    if isinstance(message, bytes):
        head = message
    elif isinstance(message, bytearray | memoryview):
        head = bytes(message)  # a reply outlives the daemon's buffer
    else:
        copy = Copy(message, write=False)
        head = await _load_header(device, copy)
    said, error, unique = _unpack_header(head)
    if said != length:
        raise _refused(device, 4, f"the header says {said} bytes, {length} came", unique)
    if unique == 0:
        await _notified(device, head, copy, length)
        return length
    if not -connection.profile.largest_error <= error <= 0:
        raise _refused(device, 6, f"error {error} is no errno", unique)
    if events.hook is not None:
        note(Step.LOOK_UP, about=unique)
    request = device.processing.get(unique) or _look_up(device, unique)
    if unique & FUSE_INT_REQ_BIT and connection.profile.interrupts:
        _interrupt_answered(device, request, unique, error, length)
    else:
        await _finish(device, request, error, copy or head, length)
    return length


async def _load_header(device: Device, copy: Copy) -> bytes:
    try:
        return await copy.load(_HEADER)
    except OSError as error:
        raise _refused(device, 3, "the header cannot be read", code=error.errno or errno.EFAULT) from None


def _refused(device: Device, rule: int, text: str, unique: int = 0, code: int = errno.EINVAL) -> OSError:
    assert device.connection is not None
    device.connection.violated(rule, text, unique, code)
    return os_error(code)


async def _notified(device: Device, head: bytes, copy: Copy | None, length: int) -> None:
    """Let a notification have its effect, whatever that takes."""
    connection = device.connection
    assert connection is not None
    message = head if copy is None else head + await copy.load(length - _HEADER)
    try:
        await notify(connection, message)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENAMETOOLONG):  # else it came too late, or a signal came
            connection.violated(5, f"notification {_unpack_header(head)[1]} is refused", 0, error.errno)
        raise


def _look_up(device: Device, unique: int) -> Request:
    """Return the request that `unique` is about: its own number, or that of an INTERRUPT of it."""
    connection = device.connection
    assert connection is not None
    of_interrupt = bool(unique & FUSE_INT_REQ_BIT) and connection.profile.interrupts
    request = device.processing.get(unique ^ FUSE_INT_REQ_BIT if of_interrupt else unique)
    if request is not None:
        return request
    if not device.connected:
        raise os_error(errno.ENOENT)
    if of_interrupt and unique & ~(FUSE_INT_REQ_BIT | FUSE_UNIQUE_RESEND) <= connection.last_unique:
        raise os_error(errno.ENOENT)  # an INTERRUPT may well be answered after its request
    code = connection.profile.unknown_unique
    raise _refused(device, 7, "nobody waits for this reply", unique, code)


def _interrupt_answered(device: Device, request: Request, unique: int, error: int, length: int) -> None:
    """Heed 'I have no INTERRUPT' and 'I do not know that request yet'; any other answer says nothing."""
    again = error == -errno.EAGAIN
    if length != _HEADER:
        raise _refused(device, 8, "something follows the answer to an INTERRUPT", unique)
    if again and not request.interrupted:
        raise _refused(device, 8, "EAGAIN to an INTERRUPT that was never sent", unique)
    if error == -errno.ENOSYS:
        request.connection.no_interrupt = True
    elif again:
        request.connection.queue_interrupt(request)


async def _finish(device: Device, request: Request, error: int, source: bytes | Copy, length: int) -> None:
    connection = request.connection
    del device.processing[request.unique]
    if request.stage is GIVEN_UP:
        note(Step.MATCH, about=request)
        connection.finish(request, "write")
        raise os_error(errno.ENOENT)
    request.move("write")
    device.io.append(request)
    refused: OSError | None = None
    try:
        if events.hook is not None:
            note(Step.MATCH, about=request)
            await step(Step.LOCK, about=request)
        if error:
            if length > _HEADER:
                refused = _refused(device, 9, f"{length - _HEADER} bytes follow an error", request.unique)
        else:
            reply = source if isinstance(source, bytes) else await source.load_reply(request, length)
            refused = _decode(device, request, reply, length)
        if events.hook is not None and isinstance(source, bytes):
            await step(Step.COPY_IN, about=request)
    except OSError as failure:
        raise device.ended_early(request, _not_read(device, request, failure), os_error(errno.ENOENT)) from None
    except BaseException:  # the writer is being closed
        device.ended_early(request, os_error(errno.EINTR), os_error(errno.ENOENT))
        raise
    if request.stage is not COPYING_IN or (request.interrupted and request.given_up):
        raise device.ended_early(request, None, os_error(errno.ENOENT))
    device.io.remove(request)
    if events.hook is not None:
        note(Step.UNLOCK, about=request)
    connection.finish(request, "copied", errno.EIO if refused else -error)
    if refused is not None:
        raise refused


def _decode(device: Device, request: Request, message: bytes, length: int) -> OSError | None:
    """Take the reply into `request`; return EINVAL if it is not what `request` asked for."""
    try:
        request.decode(message, length)
    except ProtocolError as error:
        return _refused(device, 10, error.reason, request.unique)
    return None


def _not_read(device: Device, request: Request, failure: OSError) -> OSError:
    if request.stage is Stage.FAULTING_IN:
        return _refused(device, 11, "the reply cannot be read", request.unique, failure.errno or errno.EFAULT)
    return failure
