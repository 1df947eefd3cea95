"""Scenario 2 of kernel.txt: a reply is written from memory that only this reply can fill.

Two threads of one process. Thread 1 maps a file of their own filesystem, closes it, and reads a byte of
the mapping: its READ holds the page's lock. Thread 2 serves; the FLUSH of the close was the sign that
the next READ is the one. It puts a reply's header right before the mapping, and writes header and page in
one go: to copy the reply, the kernel faults on the very page.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
from typing import Final

from fusewire.daemon.filesystem import Filesystem
from fusewire.daemon.negotiation import Limits
from fusewire.daemon.request import Request
from fusewire.daemon.session import Call, Session
from fusewire.daemon.values import Attributes, Entry, OpenFile
from fusewire.embedded.task_daemon import GONE, perform, read_message, signals_taken, write_reply
from fusewire.errors import os_error
from fusewire.events import Step, named, note
from fusewire.explore.scene import Mounted, Scene, mounted
from fusewire.kernel.device import Device
from fusewire.kernel.profile import Profile
from fusewire.kernel.syscalls.memory import MAP_FIXED
from fusewire.kernel.syscalls.process import Process
from fusewire.kernel.tasks import Task
from fusewire.kernel.user_memory import UserBuffer
from fusewire.kernel.vfs.credentials import Credentials
from fusewire.wire import OutHeader

__all__ = ["Kamikaze", "serve", "touch", "tricky_deadlock"]

PAGE: Final = 4096
FILE: Final = 2  # its nodeid
ANONYMOUS: Final = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
ADDRESS: Final = "addr"


class Address(int):
    """An address, which is shown as the expression that it is the value of."""

    def __new__(cls, value: int, expression: str) -> Address:
        address = super().__new__(cls, value)
        address.expression = expression
        return address

    expression: str

    def __str__(self) -> str:
        return self.expression


class Kamikaze(Filesystem):
    """One file of one page. `magic` is set by the FLUSH; from then on, READs are answered from `address`."""

    entry_timeout = attr_timeout = 1e6

    def __init__(self, name: str = "file") -> None:
        self.name = name
        self.magic = False
        self.address = 0  # where the page is to be mapped

    def lookup(self, request: Request, parent: int, name: str) -> Entry:
        if name != self.name:
            raise os_error(errno.ENOENT)
        return Entry(FILE, Attributes(mode=stat.S_IFREG | 0o644, size=PAGE))

    def open(self, request: Request, nodeid: int, flags: int) -> OpenFile:
        return OpenFile(fh=7)

    def flush(self, request: Request, nodeid: int, fh: int) -> None:
        note(Step.TRIGGER)
        self.magic = True

    def read(self, request: Request, nodeid: int, fh: int, offset: int, size: int) -> bytes:
        return b"k" * size


async def touch(process: Process, filesystem: Kamikaze) -> bytes:
    """Do what thread 1 does: map the file, close it, read a byte of the mapping."""
    note(Step.OPEN, f'"/{filesystem.name}"')
    fd = await process.open(f"/{filesystem.name}", os.O_RDONLY)
    note(Step.MMAP, ADDRESS)
    await process.mmap(fd, PAGE, mmap.PROT_READ, mmap.MAP_SHARED | MAP_FIXED, address=filesystem.address)
    note(Step.CLOSE)
    await process.close(fd)
    note(Step.TOUCH, ADDRESS)
    return await process.load(filesystem.address, 1)


async def serve(device: Device, session: Session, process: Process, filesystem: Kamikaze) -> None:
    """Do what thread 2 does: serve, and answer a READ after the FLUSH from the mapping."""
    try:
        while True:
            received = session.receive(await read_message(device, session.limits.buffer_size))
            if isinstance(received, Call) and received.request.name == "READ" and filesystem.magic:
                await _answer_from_mapping(device, process, filesystem.address, received.request)
                continue
            reply = await perform(session, received) if isinstance(received, Call) else received
            if reply is not None:
                await write_reply(device, reply)
            if not filesystem.magic:
                note(Step.SERVE)
    except OSError as error:
        if error.errno not in GONE:
            raise
    finally:
        device.close()


async def _answer_from_mapping(device: Device, process: Process, address: int, request: Request) -> None:
    length, start = OutHeader.SIZE + PAGE, Address(address - OutHeader.SIZE, f"{ADDRESS} - headerlength")
    note(Step.READ_REQUEST)
    note(Step.MAKE_HEADER, ADDRESS)
    await process.store(start, OutHeader(length, 0, request.unique).pack())
    try:
        await _write(device, start, process.buffer(start, length))
    except FileNotFoundError:
        pass  # nobody waits for it any more


@named("sys_write")
async def _write(device: Device, address: Address, message: UserBuffer) -> None:
    with signals_taken():
        await device.write(message)


def tricky_deadlock(
    profile: Profile, threads: int = 1, request_timeout: int = 0, name: str = "file", uid: int = 0
) -> Scene:
    """Both threads of the Kamikaze filesystem; with `threads`, so many of the second kind."""
    filesystem = Kamikaze(name)
    mount = mounted(filesystem, profile, Limits(max_readahead=0), request_timeout)
    mount.process.credentials = Credentials.of(uid, uid)
    mount.run(mount.process.stat(f"/{name}"))
    memory = mount.run(mount.process.mmap(-1, 2 * PAGE, flags=ANONYMOUS))  # the header's page, and the one after it
    mount.run(mount.process.store(memory.address, bytes(PAGE)))
    filesystem.address = memory.address + PAGE
    return Scene.of(
        mount, lambda: [Task("thread 1", touch(mount.process, filesystem)), *_serving(mount, filesystem, threads)]
    )


def _serving(mount: Mounted, filesystem: Kamikaze, threads: int) -> list[Task]:
    mount.device.descriptors = threads
    return [
        Task(f"thread {number}", serve(mount.device, mount.session, mount.process, filesystem))
        for number in range(2, threads + 2)
    ]
