"""A daemon of one thread, as one task: it reads, does what it is asked, answers, and reads again.

It does nothing else meanwhile, like a daemon of kernel.txt. A method that is `async def` may make
system calls of its own, and then the daemon sleeps in them; whether that is wise is another matter
(kernel.txt, "There are a couple of ways in which to deadlock"). A method that awaits asyncio gets a
RuntimeError: the daemon of `Kernel` lets it go on beside the others (task_server.py).
"""

from __future__ import annotations

import errno
import inspect
from collections.abc import Iterator
from contextlib import contextmanager

from fusewire import events
from fusewire.daemon.session import Buffers, Call, Session
from fusewire.embedded.in_c import given
from fusewire.events import Step, named, note
from fusewire.kernel.device import Device
from fusewire.kernel.tasks import current

__all__ = ["daemon", "perform", "serve", "serve_one"]

GONE = (errno.ENODEV, errno.ECONNABORTED)  # what a read says when the mount is gone


async def daemon(device: Device, session: Session) -> None:
    """Serve until the mount is gone, and take the device along at the end."""
    try:
        await serve(device, session)
    finally:
        device.close()


async def serve(device: Device, session: Session) -> None:
    """Answer one request after the other until the mount is gone."""
    try:
        while True:
            await serve_one(device, session)
    except OSError as error:
        if error.errno not in GONE:
            raise
        session.destroy()


async def serve_one(device: Device, session: Session) -> None:
    """Read one message, do what it asks, write the reply if there is one."""
    message = await read_message(device, session.limits.buffer_size)
    received = session.receive(message)
    reply = await perform(session, received) if isinstance(received, Call) else received
    if reply is not None:
        await write_reply(device, reply)


@contextmanager
def signals_taken() -> Iterator[None]:
    """Take notice of signals where the daemon's own system call returns: `Killed`, if it was killed."""
    try:
        yield
    except OSError as error:
        current().take_signals(error)
        raise
    current().take_signals()


@named("sys_read")
async def read_message(device: Device, size: int) -> bytes:
    """Read one message of at most `size` bytes."""
    with signals_taken():
        return await device.read(size)


async def write_reply(device: Device, reply: Buffers) -> None:
    """Write one reply. That nobody waits for it any more is no error."""
    try:
        await write_message(device, b"".join(reply))
    except FileNotFoundError:
        pass


@named("sys_write")
async def write_message(device: Device, message: bytes) -> None:
    """Write one message, a reply or a notification."""
    with signals_taken():
        await device.write(message)


async def perform(session: Session, call: Call) -> Buffers | None:
    """Run the filesystem's method; return its reply, or that of the exception it raised."""
    if events.hook is not None and events.hook is not events.unheard:
        note(Step.PERFORM, call.request.name.lower(), about=given(call))
    try:
        result = call.run()
        if inspect.isawaitable(result):
            result = await call.finish(result)
    except Exception as error:
        return session.fail(call, error)
    return session.reply(call, result)
