"""A mount whose daemon is the test: it says what each request is answered with, and sees what was asked."""

from __future__ import annotations

import stat
from collections.abc import Coroutine, Sequence
from typing import Any, TypeAlias

from fusewire.embedded.daemon_device import TappedDevice
from fusewire.kernel import Options, Process, StandingClock, System
from fusewire.kernel.device import Device
from fusewire.kernel.mounting import mount
from fusewire.kernel.profile import LINUX, Profile
from fusewire.kernel.runners.fixed_order import FixedOrder
from fusewire.kernel.tasks import Task
from fusewire.kernel.vfs.credentials import Credentials
from fusewire.kernel.vfs.superblock import Superblock
from fusewire.wire import (
    Attr,
    AttrOut,
    EntryOut,
    InitFlags,
    InitOut,
    Message,
    WireStruct,
    decode_request,
    encode_error,
    encode_reply,
    forgets,
    split_init_flags,
)

Answer: TypeAlias = "int | bytes | WireStruct | Sequence[WireStruct]"  # an errno, data, or structs
BUFFER = 1 << 17
FOREVER = 1 << 32  # seconds
DIRECTORY, FILE, SYMLINK = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o644, stat.S_IFLNK | 0o777
OK: tuple[WireStruct, ...] = ()


class HandDaemon:
    """One mount and its device."""

    def __init__(self, system: System, device: Device, superblock: Superblock, flags: int) -> None:
        self.system, self.device, self.superblock = system, device, superblock
        self.connection = superblock.connection
        assert isinstance(system.clock, StandingClock)
        self.clock = system.clock  # which a test sets forward
        self.asked: list[str] = []  # during the last call: name of the operation, nodeid, names
        low, high = split_init_flags(flags | InitFlags.FUSE_INIT_EXT)
        self.answer(self.read(), InitOut(major=7, minor=45, flags=low, flags2=high, max_write=4096, max_pages=256))
        self.asked.clear()

    # One message after the other.

    def read(self) -> Message:
        """Read the next request."""
        self.system.runner.run()
        assert self.connection.readable, "nothing is asked"
        message = decode_request(self.system.runner.call(self.device.read(BUFFER)))
        names = " ".join(name.decode() for name in message.names)
        if message.operation.name in ("FORGET", "BATCH_FORGET"):
            self.asked += [f"FORGET {one.nodeid} {one.nlookup}" for one in forgets(message)]
        else:
            self.asked.append(f"{message.operation.name} {message.header.nodeid} {names}".rstrip())
        return message

    def answer(self, message: Message, answer: Answer = OK) -> None:
        """Answer one, and let go on who waited for it."""
        unique = message.header.unique
        if isinstance(answer, int):
            reply = encode_error(unique, answer)
        else:
            reply = encode_reply(unique, *([answer] if isinstance(answer, bytes | WireStruct) else answer))
        self.system.runner.call(self.device.write(reply))
        self.system.runner.run()

    def pending(self) -> list[Message]:
        """Read all that can be read."""
        found = []
        self.system.runner.run()
        while self.connection.readable:
            found.append(self.read())
        return found

    # Whole calls.

    def last(self, coroutine: Coroutine[Any, Any, Any], *answers: Answer) -> Message:
        """Have a call made up to its last request, answered by the last answer; return that request."""
        task = self.start(coroutine)
        for answer in answers[:-1]:
            self.answer(self.read(), answer)
        message = self.read()
        self.answer(message, answers[-1])
        assert task.finished
        return message

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> Task:
        """Let a call begin, and run until it waits."""
        task = Task("caller", coroutine)
        self.system.runner.start(task)
        self.system.runner.run()
        return task

    def call(self, coroutine: Coroutine[Any, Any, Any], *answers: Answer) -> Any:
        """Have a call made, its requests answered one after the other; return what it returns, or raise."""
        self.asked.clear()
        task = self.start(coroutine)
        left = list(answers)
        while True:
            self.system.runner.run()
            if not self.connection.readable:
                break
            message = self.read()
            if message.operation.reply is not None:
                assert left, f"{self.asked[-1]} was not expected"
                self.answer(message, left.pop(0))
        assert task.finished, "it waits for ever"
        assert not left, f"only {self.asked} was asked"
        if isinstance(task.result, BaseException):
            raise task.result
        return task.result


def hand_daemon(
    flags: int = 0,
    options: Options | None = None,
    profile: Profile = LINUX,
    minor: int = 45,
) -> HandDaemon:
    """Mount at the root of a system of its own; `flags` are what INIT settles on."""
    clock = StandingClock()
    system = System(clock)
    system.runner = FixedOrder(clock)
    return daemon_at(system, None, flags, options, profile, minor)


def daemon_at(
    system: System,
    on: Any,
    flags: int = 0,
    options: Options | None = None,
    profile: Profile = LINUX,
    minor: int = 45,
) -> HandDaemon:
    """Mount on the dentry `on`."""
    device = TappedDevice()
    superblock = mount(system, device, options or Options(allow_other=True), profile, minor, on)
    return HandDaemon(system, device, superblock, flags)


def process(daemon: HandDaemon, uid: int = 0, gid: int | None = None, groups: Sequence[int] = ()) -> Process:
    """A process in the root directory."""
    system = daemon.system
    assert system.root is not None
    who = Credentials.of(uid, uid if gid is None else gid, frozenset(groups))
    return Process.new(system, who, system.root)


def entry(
    nodeid: int, mode: int = FILE, *, generation: int = 0, valid: int = FOREVER, attr_valid: int = FOREVER, **attr: int
) -> EntryOut:
    """A reply that grants `nodeid`."""
    values = {"ino": nodeid, "nlink": 1, **attr}
    return EntryOut(nodeid, generation, valid, attr_valid, attr=Attr(mode=mode, **values))


def attributes(nodeid: int, mode: int = FILE, *, valid: int = FOREVER, **attr: int) -> AttrOut:
    """A reply of GETATTR."""
    return AttrOut(valid, attr=Attr(mode=mode, **{"ino": nodeid, "nlink": 1, **attr}))


def errno_of(daemon: HandDaemon, coroutine: Coroutine[Any, Any, Any], *answers: Answer) -> int | None:
    """The errno with which a call fails; None if it does not."""
    try:
        daemon.call(coroutine, *answers)
    except OSError as error:
        return error.errno
    return None


def error_of(daemon: HandDaemon, coroutine: Coroutine[Any, Any, Any], *answers: Answer) -> OSError:
    """The error with which a call fails."""
    try:
        daemon.call(coroutine, *answers)
    except OSError as error:
        return error
    raise AssertionError("it did not fail")
