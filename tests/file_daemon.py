"""A mount with one file, "/file", served by a task that answers from bytes and writes down what it was asked.

Operations that are held are not answered until they are let go: what is under way meanwhile can be
looked at.
"""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Coroutine
from typing import Any, TypeVar

from fusewire.embedded.daemon_device import TappedDevice
from fusewire.errors import os_error
from fusewire.kernel.mounting import mount
from fusewire.kernel.profile import LINUX, Profile
from fusewire.kernel.runners.fixed_order import FixedOrder
from fusewire.kernel.syscalls.memory import Mapping
from fusewire.kernel.syscalls.process import Process
from fusewire.kernel.tasks import Task
from fusewire.kernel.vfs.credentials import Credentials
from fusewire.kernel.vfs.inode import Inode
from fusewire.kernel.vfs.superblock import Options
from fusewire.kernel.vfs.system import System
from fusewire.wire import (
    Attr,
    AttrOut,
    EntryOut,
    InitFlags,
    InitOut,
    Message,
    OpenOut,
    SetattrValid,
    WireStruct,
    WriteOut,
    decode_request,
    encode_error,
    encode_reply,
    split_init_flags,
)

T = TypeVar("T")

BUFFER = 1 << 20
FILE = 2  # its nodeid
FOR_EVER = 1_000_000  # seconds
UNANSWERED = ("FORGET", "BATCH_FORGET", "INTERRUPT", "NOTIFY_REPLY")
PAGE = 4096
PLAIN = InitFlags.FUSE_ASYNC_READ | InitFlags.FUSE_BIG_WRITES | InitFlags.FUSE_MAX_PAGES
WRITEBACK = PLAIN | InitFlags.FUSE_WRITEBACK_CACHE


class FileDaemon:
    """The kernel, the daemon and the file, of which the daemon has `content`."""

    def __init__(
        self,
        content: bytes = b"",
        *,
        flags: int = PLAIN,
        open_flags: int = 0,
        mode: int = 0o100644,
        max_write: int = 1 << 17,
        max_readahead: int = 1 << 17,
        profile: Profile = LINUX,
    ) -> None:
        self.content = bytearray(content)
        self.open_flags = open_flags
        self.mode = mode
        low, high = split_init_flags(flags)
        self.init = InitOut(
            7, 45, max_readahead, low, max_write=max_write, max_pages=max_write // PAGE, flags2=high, time_gran=1
        )
        self.requests: list[Message] = []
        self.fail: dict[str, int] = {}  # errno by operation
        self.hold: set[str] = set()  # operations that are not answered for now
        self.held: list[Message] = []
        self.runner = FixedOrder()
        self.clock = self.runner.clock
        self.system = System(self.clock)
        self.system.runner = self.runner
        self.device = TappedDevice()
        self.superblock = mount(self.system, self.device, Options(default_permissions=True, allow_other=True), profile)
        self.connection = self.superblock.connection
        self.process = self.new_process()
        self.runner.start(Task("daemon", self._serve()))
        self.runner.run()

    @property
    def inode(self) -> Inode:
        return self.superblock.inodes[FILE]

    # What the daemon does.

    async def _serve(self) -> None:
        try:
            while True:
                message = decode_request(bytes(await self.device.read(BUFFER)))
                self.requests.append(message)
                if message.operation.name in self.hold:
                    self.held.append(message)
                elif message.operation.name not in UNANSWERED:
                    await self.device.write(self.answer(message))
        except OSError as error:
            if error.errno not in (errno.ENODEV, errno.ECONNABORTED):
                raise

    def answer(self, message: Message) -> bytes:
        name, unique = message.operation.name, message.header.unique
        if name in self.fail:
            return encode_error(unique, self.fail[name])
        try:
            return encode_reply(unique, *self.parts(name, message))
        except OSError as error:
            return encode_error(unique, error.errno or errno.EIO)

    def parts(self, name: str, message: Message) -> tuple[WireStruct | bytes, ...]:
        """Do what is asked; return what is in the reply."""
        body = message.body
        match name:
            case "INIT":
                return (self.init,)
            case "LOOKUP":
                return (self.lookup(message),)
            case "GETATTR":
                return (AttrOut(FOR_EVER, attr=self.attr(message.header.nodeid)),)
            case "SETATTR":
                if body.valid & SetattrValid.FATTR_SIZE:
                    self.truncate(body.size)
                return (AttrOut(FOR_EVER, attr=self.attr(message.header.nodeid)),)
            case "OPEN":
                return (OpenOut(fh=7, open_flags=self.open_flags),)
            case "READ":
                return (bytes(self.content[body.offset : body.offset + body.size]),)
            case "WRITE":
                self.truncate(max(len(self.content), body.offset + body.size))
                self.content[body.offset : body.offset + body.size] = message.data
                return (WriteOut(body.size),)
            case "FLUSH" | "RELEASE" | "FSYNC" | "ACCESS":
                return ()
        raise os_error(errno.ENOSYS)

    def lookup(self, message: Message) -> EntryOut:
        if message.names != (b"file",):
            raise os_error(errno.ENOENT)
        return EntryOut(FILE, 0, FOR_EVER, FOR_EVER, attr=self.attr(FILE))

    def attr(self, nodeid: int) -> Attr:
        if nodeid != FILE:
            return Attr(ino=nodeid, mode=0o040755, nlink=2)
        return Attr(ino=FILE, size=len(self.content), mode=self.mode, nlink=1)

    def truncate(self, size: int) -> None:
        del self.content[size:]
        self.content.extend(bytes(size - len(self.content)))

    def release(self, name: str) -> None:
        """Answer all that is held of `name`, and hold no more of it."""
        self.hold.discard(name)
        for message in [message for message in self.held if message.operation.name == name]:
            self.held.remove(message)
            self.tell(self.answer(message))

    def tell(self, message: bytes) -> int:
        """Write a message to the device, from another thread of the daemon's."""
        return self.runner.call(self.device.write(message))

    # What programs do.

    def new_process(self, uid: int = 0) -> Process:
        return Process.new(self.system, Credentials.of(uid, uid), self.superblock.root)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run it to its end."""
        return self.runner.call(coroutine)

    def start(self, coroutine: Coroutine[Any, Any, Any], name: str = "task") -> Task:
        """Run it as far as it goes."""
        task = Task(name, coroutine, self.process)
        self.runner.start(task)
        self.runner.run()
        return task

    def kill(self, task: Task) -> None:
        self.runner.do(task.kill)

    def open(self, flags: int = os.O_RDWR) -> int:
        return self.run(self.process.open("/file", flags))

    def map(
        self,
        size: int,
        fd: int | None = None,
        prot: int = mmap.PROT_READ | mmap.PROT_WRITE,
        flags: int = mmap.MAP_SHARED,
    ) -> Mapping:
        return self.run(self.process.mmap(self.open() if fd is None else fd, size, prot, flags))

    # What the daemon was asked.

    def names(self, *names: str) -> list[str]:
        """The operations in their order, of these or all."""
        return [each.operation.name for each in self.requests if not names or each.operation.name in names]

    def bodies(self, name: str) -> list[Any]:
        return [each.body for each in self.requests if each.operation.name == name]

    def writes(self) -> list[tuple[int, int]]:
        """Offset and size of each WRITE."""
        return [(body.offset, body.size) for body in self.bodies("WRITE")]

    def reads(self) -> list[tuple[int, int]]:
        """Offset and size of each READ."""
        return [(body.offset, body.size) for body in self.bodies("READ")]


def errno_of(task: Task) -> int | None:
    """The errno with which `task` failed; None if it did not."""
    return task.result.errno if isinstance(task.result, OSError) else None
