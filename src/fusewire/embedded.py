"""Both ends in one process: the kernel's, and a daemon that serves it.

The one file that knows both. The daemon's end is a task among the others, under the same runner:
it reads its device, lets the session say what to do, does it, and writes the reply. A method that
is `async def` may make system calls of its own and wait for them, as a real daemon may; whether
that is wise is another matter (kernel.txt, "There are a couple of ways in which to deadlock").

Not modelled yet: kernel and processes as objects with everyday calls; daemons of several threads
that end together; methods that await asyncio.
"""

from __future__ import annotations

import errno
import inspect

from fusewire.daemon.session import Buffers, Call, Session
from fusewire.errors import os_error
from fusewire.events import Step, note
from fusewire.kernel.device import Device
from fusewire.kernel.inode import Inode
from fusewire.kernel.profile import LINUX, Profile
from fusewire.kernel.syscalls import sys_mount, sys_read, sys_write
from fusewire.kernel.tasks import Task, run


def mount(session: Session, profile: Profile = LINUX) -> tuple[Device, Inode]:
    """Mount `session`'s filesystem in this process; return its device and the root, INIT answered.

    Who serves the device from then on is the caller's to say, with `serve` or `daemon`.

    Raises:
        OSError: whatever broke INIT off; ECONNREFUSED if the kernel's end did not like the answer.
    """
    device = Device()
    mounting, answering = Task("mount", sys_mount(device, profile)), Task("daemon", serve_one(device, session))
    run([mounting, answering])
    for task in (mounting, answering):
        if isinstance(task.result, BaseException):
            raise task.result
    assert isinstance(mounting.result, Inode)
    if mounting.result.connection.refused:
        raise os_error(errno.ECONNREFUSED)
    return device, mounting.result


async def daemon(device: Device, session: Session) -> None:
    """Be a daemon of one thread: serve until the mount is gone, and take the device along at the end."""
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
        if error.errno not in (errno.ENODEV, errno.ECONNABORTED):
            raise
        session.destroy()


async def serve_one(device: Device, session: Session) -> None:
    """Read one message, do what it asks, write the reply if there is one."""
    message = await sys_read(device, session.limits.buffer_size)
    received = session.receive(message)
    reply = await perform(session, received) if isinstance(received, Call) else received
    if reply is None:
        return
    try:
        await sys_write(device, b"".join(reply))
    except FileNotFoundError:
        pass  # whoever asked has gone meanwhile


async def perform(session: Session, call: Call) -> Buffers | None:
    """Run the filesystem's method; return its reply, or that of the exception it raised."""
    note(Step.PERFORM, call.request.name.lower())
    try:
        result = call.run()
        if inspect.isawaitable(result):
            result = await call.finish(result)
    except Exception as error:
        return session.fail(call, error)
    return session.reply(call, result)
