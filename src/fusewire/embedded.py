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
from collections.abc import Coroutine
from typing import Any, TypeVar

import fusewire.kernel as kernel_end
from fusewire.daemon.filesystem import Filesystem
from fusewire.daemon.session import Buffers, Call, Session
from fusewire.events import Step, note
from fusewire.kernel.device import Device
from fusewire.kernel.mounting import mount
from fusewire.kernel.profile import LINUX, Profile
from fusewire.kernel.runners.fixed_order import FixedOrder
from fusewire.kernel.syscalls.base import Credentials
from fusewire.kernel.tasks import Task
from fusewire.kernel.vfs.superblock import Options
from fusewire.kernel.vfs.system import System

T = TypeVar("T")


class Kernel:
    """A kernel's end with one filesystem mounted at its root."""

    def __init__(
        self, filesystem: Filesystem, *, minor: int = 45, profile: Profile = LINUX, options: Options | None = None
    ) -> None:
        self.system = System()
        self.system.runner = FixedOrder()
        self.session = Session(filesystem)
        self.device = Device()
        self.superblock = mount(
            self.system, self.device, options or Options(allow_other=True, default_permissions=True), profile, minor
        )
        self.system.runner.start(Task("daemon", daemon(self.device, self.session)))

    def process(self, uid: int = 0, gid: int | None = None, groups: frozenset[int] = frozenset()) -> kernel_end.Process:
        """Make a process, in the root directory."""
        credentials = Credentials.of(uid, uid if gid is None else gid, groups)
        root = self.superblock.root
        root.count += 1
        process = kernel_end.Process(self.system, self.system.new_pid(), credentials, root)
        self.system.processes[process.pid] = process
        return process

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run one system call to its end."""
        return self.system.runner.call(coroutine)


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
    message = await device.read(session.limits.buffer_size)
    received = session.receive(message)
    reply = await perform(session, received) if isinstance(received, Call) else received
    if reply is None:
        return
    try:
        await device.write(b"".join(reply))
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
