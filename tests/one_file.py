"""A daemon with a few files, `f` first, and a kernel's end before it: what was asked, in order, and who waits.

The daemon speaks the wire and does as it is told: which flags it agrees to, how it opens, what it
refuses, answers short or not yet.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from fusewire.embedded.daemon_device import TappedDevice
from fusewire.errors import os_error
from fusewire.kernel.mounting import mount
from fusewire.kernel.runners.fixed_order import FixedOrder
from fusewire.kernel.syscalls.process import Process
from fusewire.kernel.tasks import Task
from fusewire.kernel.vfs.credentials import Credentials
from fusewire.kernel.vfs.superblock import Options
from fusewire.kernel.vfs.system import System
from fusewire.wire import (
    Attr,
    AttrOut,
    CopyFileRangeOut,
    EntryOut,
    InitFlags,
    InitOut,
    LseekOut,
    Message,
    OpenOut,
    SetattrValid,
    StatfsOut,
    WireStruct,
    WriteOut,
    decode_request,
    encode_error,
    encode_reply,
    split_init_flags,
)

T = TypeVar("T")

PAGE = 4096
ROOT, FILE = 1, 2
SILENT = {"INIT", "FORGET", "BATCH_FORGET", "LOOKUP", "FLUSH", "INTERRUPT"}
SILENT |= {"OPEN", "RELEASE", "OPENDIR", "RELEASEDIR"}  # not recorded
USUAL = InitFlags.FUSE_ASYNC_READ | InitFlags.FUSE_BIG_WRITES | InitFlags.FUSE_MAX_PAGES


class FileDaemon:
    """Answers requests about files that stand in `names`; `asked` is what came."""

    def __init__(
        self,
        content: bytes = b"",
        *,
        flags: int = USUAL,
        open_flags: int = 0,
        attr_valid: int = 1000,
        mode: int = 0o644,
        **init: int,
    ) -> None:
        self.content = {FILE: bytearray(content), FILE + 1: bytearray()}
        self.names = {b"f": FILE, b"g": FILE + 1}
        self.flags = flags
        self.open_flags = open_flags
        self.attr_valid = attr_valid
        self.mode = stat.S_IFREG | mode
        self.mtime = 1000
        self.init = {"max_readahead": 1 << 17, "max_write": 1 << 17, "max_pages": 32, **init}
        self.errors: dict[str, int] = {"GETXATTR": errno.ENOSYS, "COPY_FILE_RANGE_64": errno.ENOSYS}
        self.least: int | None = None  # bytes that a READ or WRITE is answered with, at most
        self.sizes: dict[int, int] = {}  # what is said of a size, if it is not true
        self.asked: list[tuple[Any, ...]] = []
        self.messages: list[Message] = []
        self.hold: set[str] = set()  # operations that are not answered yet
        self.held: list[Message] = []

    def answer(self, message: Message) -> bytes | None:
        """Note a request, and return the answer; None if there is none, or not yet."""
        name = message.operation.name
        if name not in SILENT:
            self.asked.append(said(message))
            self.messages.append(message)
        if name in self.hold:
            self.held.append(message)
            return None
        if message.operation.reply is None or name == "INTERRUPT":
            return None
        return self.answer_now(message)

    def answer_now(self, message: Message) -> bytes:
        name, unique = message.operation.name, message.header.unique
        if name in self.errors:
            return encode_error(unique, self.errors[name])
        try:
            return encode_reply(unique, *getattr(self, name.lower())(message))
        except OSError as error:
            return encode_error(unique, error.errno or errno.EIO)
        except AttributeError:
            return encode_error(unique, errno.ENOSYS)

    def attr(self, nodeid: int) -> Attr:
        if nodeid == ROOT:
            return Attr(ino=ROOT, mode=stat.S_IFDIR | 0o777, nlink=2, blksize=PAGE)
        size = self.sizes.get(nodeid, len(self.content[nodeid]))
        return Attr(ino=nodeid, mode=self.mode, nlink=1, size=size, mtime=self.mtime, blksize=PAGE)

    def init_reply(self) -> InitOut:
        low, high = split_init_flags(self.flags)
        return InitOut(7, 45, flags=low, flags2=high, **self.init)

    def lookup(self, message: Message) -> tuple[WireStruct, ...]:
        nodeid = self.names.get(message.names[0])
        if nodeid is None:
            raise os_error(errno.ENOENT)
        return (EntryOut(nodeid, 0, 1000, self.attr_valid, 0, 0, self.attr(nodeid)),)

    def getattr(self, message: Message) -> tuple[WireStruct, ...]:
        return (AttrOut(self.attr_valid, 0, self.attr(message.header.nodeid)),)

    def setattr(self, message: Message) -> tuple[WireStruct, ...]:
        content = self.content[message.header.nodeid]
        if message.body.valid & SetattrValid.FATTR_SIZE:
            size = message.body.size
            content[size:] = bytes(max(0, size - len(content)))
        return self.getattr(message)

    def open(self, message: Message) -> tuple[WireStruct, ...]:
        return (OpenOut(7 + message.header.nodeid, self.open_flags),)

    opendir = open

    def read(self, message: Message) -> tuple[bytes]:
        size = message.body.size if self.least is None else min(self.least, message.body.size)
        return (bytes(self.content[message.header.nodeid][message.body.offset :][:size]),)

    def write(self, message: Message) -> tuple[WireStruct]:
        data = message.data if self.least is None else message.data[: self.least]
        content, offset = self.content[message.header.nodeid], message.body.offset
        content.extend(bytes(max(0, offset - len(content))))
        content[offset : offset + len(data)] = data
        return (WriteOut(len(data)),)

    def empty(self, message: Message) -> tuple[()]:
        return ()

    release = releasedir = flush = fsync = fsyncdir = syncfs = empty

    def fallocate(self, message: Message) -> tuple[()]:
        content, end = self.content[message.header.nodeid], message.body.offset + message.body.length
        if not message.body.mode & 1:
            content.extend(bytes(max(0, end - len(content))))
        if message.body.mode & (2 | 16):
            stop = min(end, len(content))
            content[message.body.offset : stop] = bytes(max(0, stop - message.body.offset))
        return ()

    def lseek(self, message: Message) -> tuple[WireStruct]:
        size = len(self.content[message.header.nodeid])
        if message.body.offset >= size:
            raise os_error(errno.ENXIO)
        return (LseekOut(message.body.offset if message.body.whence == os.SEEK_DATA else size),)

    def statfs(self, message: Message) -> tuple[WireStruct]:
        out = StatfsOut()
        out.st.bsize = out.st.frsize = PAGE
        return (out,)

    def copy_file_range(self, message: Message) -> tuple[WireStruct]:
        return (WriteOut(self._copy(message)),)

    def copy_file_range_64(self, message: Message) -> tuple[WireStruct]:
        return (CopyFileRangeOut(self._copy(message)),)

    def _copy(self, message: Message) -> int:
        body = message.body
        data = self.content[message.header.nodeid][body.off_in : body.off_in + body.len]
        target = self.content[body.nodeid_out]
        target.extend(bytes(max(0, body.off_out - len(target))))
        target[body.off_out : body.off_out + len(data)] = data
        return len(data)


def failure(call: Callable[..., object], *arguments: object) -> int:
    """Return the errno that a call fails with; 0 if it does not."""
    try:
        call(*arguments)
    except OSError as error:
        return error.errno or -1
    return 0


def said(message: Message) -> tuple[Any, ...]:
    """Return a request as short as a test can say it."""
    name, body = message.operation.name, message.body
    if name in ("READ", "WRITE"):
        return name, body.offset, body.size
    if name == "FALLOCATE":
        return name, body.mode, body.offset, body.length
    if name == "LSEEK":
        return name, body.offset, body.whence
    if name.startswith("COPY_FILE_RANGE"):
        return name, body.off_in, body.off_out, body.len
    if name == "SETATTR":
        return name, body.valid, body.size
    if name in ("FSYNC", "FSYNCDIR"):
        return name, body.fsync_flags
    return (name,)


class Rig:
    """A kernel's end in fixed order before `daemon`, with one process; `rig.write(fd, data)` runs its system call."""

    def __init__(self, daemon: FileDaemon, options: Options | None = None, uid: int = 0) -> None:
        self.daemon = daemon
        self.system = System()
        self.runner = FixedOrder(self.system.clock)  # type: ignore[arg-type]
        self.system.runner = self.runner
        self.device = TappedDevice()
        self.superblock = mount(self.system, self.device, options or Options(allow_other=True))
        self.connection = self.superblock.connection
        self.serving = Task("daemon", self._serve())
        self.runner.start(self.serving)
        self.process = self.new_process(uid)

    def new_process(self, uid: int = 0) -> Process:
        return Process.new(self.system, Credentials.of(uid, uid), self.superblock.root)

    async def _serve(self) -> None:
        while True:
            try:
                message = decode_request(await self.device.read(1 << 21))
            except OSError:
                return
            if message.operation.name == "INIT":
                reply: bytes | None = encode_reply(message.header.unique, self.daemon.init_reply())
            else:
                reply = self.daemon.answer(message)
            if reply is not None:
                await self.device.write(reply)

    def open(self, flags: int = os.O_RDWR, name: str = "/f") -> int:
        return self.run(self.process.open(name, flags))

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        self.system.clock.advance(0.01)  # type: ignore[attr-defined]
        return self.runner.call(coroutine, self.process)

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> Task:
        """Begin a system call, and run all as far as it goes."""
        task = Task("task", coroutine, self.process)
        self.runner.start(task)
        self.go_on()
        return task

    def go_on(self) -> None:
        self.runner.run()

    def answer_held(self, count: int = 1000) -> None:
        """Answer the first `count` of the requests that were held back, and run on."""
        for _ in range(min(count, len(self.daemon.held))):
            message = self.daemon.held.pop(0)
            self.start(self._write(self.daemon.answer_now(message)))

    async def _write(self, reply: bytes) -> None:
        await self.device.write(reply)

    def __getattr__(self, name: str) -> Any:
        syscall = getattr(self.process, name)
        return lambda *args, **kwargs: self.run(syscall(*args, **kwargs))

    @property
    def asked(self) -> list[tuple[Any, ...]]:
        """What was asked since this was last looked at."""
        asked, self.daemon.asked = self.daemon.asked, []
        return asked


@contextmanager
def one_file(content: bytes = b"", *, uid: int = 0, options: Options | None = None, **daemon: Any) -> Iterator[Rig]:
    """A kernel's end before a daemon with the file `f`; what is left of it is put away at the end."""
    rig = Rig(FileDaemon(content, **daemon), options, uid)
    yield rig
    rig.device.close()
    rig.runner.run()
    rig.runner.close()
