"""Methods that do what one does not expect of them: whatever it is, their caller is answered once."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import fusewire
from conversation import Conversation
from fusewire.daemon import (
    Attributes,
    Directory,
    Dirent,
    File,
    Filesystem,
    NodeFilesystem,
    Request,
    Session,
    Tree,
)
from fusewire.daemon.device import Device
from fusewire.daemon.logged import LoggedSession
from fusewire.daemon.serve import ThreadServer
from fusewire.wire import (
    BatchForgetIn,
    CreateIn,
    ForgetOne,
    GetattrIn,
    InitIn,
    InterruptIn,
    OpenIn,
    ReadIn,
    SetattrIn,
    SetattrValid,
    WriteIn,
    encode_request,
    iter_direntplus,
)

READ = ReadIn(size=4096)


class Does(Filesystem):
    """Reading, listing and forgetting are one function's."""

    def __init__(self, do: Callable[..., Any]) -> None:
        self.do = do

    def read(self, request: Request, nodeid: int, fh: int, offset: int, size: int) -> Any:
        return self.do()

    def readdir(self, request: Request, nodeid: int, fh: int, offset: int) -> Any:
        return self.do()

    def forget(self, nodeid: int, nlookup: int) -> None:
        self.do(nodeid, nlookup)


def raises(error: BaseException) -> Callable[[], Any]:
    def do() -> Any:
        raise error

    return do


# --- exceptions


@pytest.mark.parametrize(
    "error",
    [
        OSError("two", "words"),
        OSError(1.5, "x"),
        OSError(10**30, "x"),
        SystemExit(3),
        KeyboardInterrupt(),
        StopIteration(),
    ],
    ids=repr,
)
def test_an_odd_exception_is_eio(error: BaseException) -> None:
    kernel = Conversation(Does(raises(error)))
    assert kernel.ask("READ", nodeid=1, body=READ).error == errno.EIO
    assert not kernel.session.calls


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), ValueError()], ids=repr)
def test_an_odd_exception_in_a_generator_is_eio(error: BaseException) -> None:
    def listing() -> Iterator[Dirent]:
        yield Dirent("a", 2, stat.S_IFREG, 1)
        raise error

    assert Conversation(Does(listing)).ask("READDIR", nodeid=1, body=READ).error == errno.EIO


def test_an_oserror_of_ones_own_has_the_errno_of_the_class_that_it_extends() -> None:
    class NoSuchKey(FileNotFoundError):
        pass

    assert Conversation(Does(raises(NoSuchKey("k")))).ask("READ", nodeid=1, body=READ).error == errno.ENOENT


def test_a_cancellation_is_eintr_only_if_the_caller_was_interrupted() -> None:
    """Who is told EINTR without a signal tries again, and again: Python does."""
    kernel = Conversation(Does(raises(asyncio.CancelledError())))
    assert kernel.ask("READ", nodeid=1, body=READ).error == errno.EIO
    call = kernel.send("READ", nodeid=1, body=READ)
    call.request.interrupt()
    assert kernel.decode("READ", kernel.finish(call), READ).error == errno.EINTR


# --- results


@pytest.mark.parametrize("data", [memoryview(b"axbxcx")[::2], bytearray(b"abc"), memoryview(b"abc")], ids=repr)
def test_data_may_be_any_buffer_of_bytes(data: Any) -> None:
    kernel = Conversation(Does(lambda: data))
    assert bytes(kernel.ask("READ", nodeid=1, body=READ).data) == b"abc"
    _, payload = kernel.finish(kernel.send("READ", nodeid=1, body=READ))
    assert memoryview(payload).c_contiguous, "writev takes no other"


@pytest.mark.parametrize("kind", [Session, LoggedSession])
def test_the_data_of_a_write_may_be_released(kind: type[Session]) -> None:
    class Releases(Filesystem):
        def write(self, request: Request, nodeid: int, fh: int, offset: int, data: memoryview) -> None:
            data.release()

    logging.getLogger("fusewire.requests").setLevel(logging.DEBUG)
    try:
        kernel = Conversation(Releases())
        kernel.session = kind(kernel.session.filesystem, agreement=kernel.session.agreement)
        assert kernel.ask("WRITE", nodeid=1, body=WriteIn(size=3), data=b"abc").structs[0].size == 3
    finally:
        logging.getLogger("fusewire.requests").setLevel(logging.NOTSET)


# --- interrupts


def test_a_callback_that_raises_does_not_keep_an_interrupt_from_the_others(caplog: pytest.LogCaptureFixture) -> None:
    kernel, told = Conversation(Does(bytes)), list[str]()
    call = kernel.send("READ", nodeid=1, body=READ)
    call.request.on_interrupt(raises(SystemExit(3)))
    call.request.on_interrupt(lambda: told.append("second"))
    call.request.interrupt()
    assert told == ["second"]
    assert "a callback for the interrupt" in caplog.text


def test_a_call_that_comes_after_the_end_is_interrupted_too() -> None:
    kernel = Conversation(Does(bytes))
    before = kernel.send("READ", nodeid=1, body=READ)
    kernel.session.abandon()
    after = kernel.send("READ", nodeid=1, body=READ)
    assert before.request.interrupted
    assert after.request.interrupted


def test_interrupts_that_come_too_late_may_come_on_many_threads() -> None:
    kernel, failures = Conversation(Does(bytes)), list[BaseException]()

    def come_too_late(first: int) -> None:
        try:
            for number in range(first, first + 160_000, 8):
                kernel.send("INTERRUPT", unique=number + 1, body=InterruptIn(unique=number))
        except RuntimeError as error:
            failures.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=come_too_late, args=(2 * first,)) for first in range(1, 5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert not failures


# --- forgetting


def test_what_one_forget_raises_costs_the_others_nothing() -> None:
    forgotten = list[int]()

    def forget(nodeid: int, nlookup: int) -> None:
        forgotten.append(nodeid)
        if nodeid == 2:
            raise ZeroDivisionError

    kernel = Conversation(Does(forget))
    data = b"".join(ForgetOne(nodeid, 1).pack() for nodeid in (2, 3, 4))
    call = kernel.send("BATCH_FORGET", body=BatchForgetIn(count=3), data=data)
    assert kernel.finish(call) is None
    assert forgotten == [2, 3, 4]
    assert isinstance(kernel.session.failure, ZeroDivisionError)  # `strict` ends on it


@pytest.mark.parametrize("name", ["init", "forget", "destroy"])
def test_what_nobody_awaits_must_be_a_def(name: str) -> None:
    async def method(*_: Any) -> None: ...

    with pytest.raises(TypeError, match=f"{name} must be a `def`"):
        fusewire.mount(type("Wrong", (Filesystem,), {name: method})(), "/nowhere")


# --- nodes


class Hidden(File):
    """A file whose attributes nobody may see."""

    def getattr(self) -> Attributes:
        raise PermissionError


def nlookups(filesystem: NodeFilesystem) -> dict[int, int]:
    return {nodeid: node.nlookup for nodeid, node in filesystem.nodes.items()}


def test_a_node_without_attributes_is_listed_without() -> None:
    filesystem = NodeFilesystem({"a": b"x", "hidden": Hidden(), "z": b"y"})
    kernel = Conversation(filesystem)
    fh = kernel.ask("OPENDIR", nodeid=1, body=OpenIn()).structs[0].fh
    listed = kernel.ask("READDIRPLUS", nodeid=1, body=ReadIn(fh=fh, size=4096))
    entries = {name: record.entry_out.nodeid for record, name in iter_direntplus(listed.data)}
    assert entries == {b".": 0, b"..": 0, b"a": 2, b"hidden": 0, b"z": 3}
    assert nlookups(filesystem) == {1: 1, 2: 1, 3: 1}


def test_a_listing_that_is_interrupted_grants_no_lookups() -> None:
    class Slow(File):
        async def getattr(self) -> Attributes:
            raise asyncio.CancelledError

    filesystem = NodeFilesystem({"a": b"x", "slow": Slow()})
    kernel = Conversation(filesystem)
    fh = kernel.ask("OPENDIR", nodeid=1, body=OpenIn()).structs[0].fh
    assert kernel.ask("READDIRPLUS", nodeid=1, body=ReadIn(fh=fh, size=4096)).error == errno.EIO
    assert nlookups(filesystem) == {1: 1}


def test_a_file_that_is_made_but_not_told_of_is_not_open() -> None:
    class Makes(Directory):
        def create(self, name: str, mode: int) -> File:
            return Hidden()

    filesystem = NodeFilesystem(Makes())
    kernel = Conversation(filesystem)
    assert kernel.ask("CREATE", nodeid=1, names=(b"a",), body=CreateIn(mode=0o644)).error == errno.EACCES
    assert not filesystem.handles
    assert nlookups(filesystem) == {1: 1}


def test_a_file_may_be_truncated_by_a_coroutine() -> None:
    class Cut(File):
        size = 9

        def write(self, offset: int, data: memoryview) -> None: ...

        async def truncate(self, size: int) -> None:
            await asyncio.sleep(0)
            self.size = size

    kernel = Conversation(NodeFilesystem({"a": Cut()}))
    nodeid = kernel.ask("LOOKUP", nodeid=1, names=(b"a",)).structs[0].nodeid
    (out,) = kernel.ask("SETATTR", nodeid=nodeid, body=SetattrIn(valid=SetattrValid.FATTR_SIZE, size=4)).structs
    assert out.attr.size == 4


def test_a_tree_that_was_not_mounted_is_free() -> None:
    tree = Tree({"a": b"x"})
    fusewire.mount(tree, "/nowhere")
    first, second = NodeFilesystem(tree), NodeFilesystem(tree)
    assert Conversation(second).ask("LOOKUP", nodeid=1, names=(b"a",)).error == 0
    with pytest.raises(ValueError, match="mounted elsewhere"):
        Conversation(first)
    second.destroy()
    assert Conversation(first).ask("LOOKUP", nodeid=1, names=(b"a",)).structs[0].nodeid == 2


def test_a_filesystem_of_nodes_can_be_mounted_again() -> None:
    filesystem = NodeFilesystem({"a": b"x", "b": b"y"})
    for _ in range(2):
        kernel = Conversation(filesystem)
        nodeid = kernel.ask("LOOKUP", nodeid=1, names=(b"a",)).structs[0].nodeid
        assert nlookups(filesystem) == {1: 1, nodeid: 1}
        kernel.session.destroy()
        assert not nlookups(filesystem)


# --- out of memory


def test_a_thread_without_room_for_a_message_waits_for_some() -> None:
    class Keeps(Filesystem):
        blocking = False  # so there is one thread, with the device that we see
        kept: list[memoryview] = []

        def getattr(self, request: Request, nodeid: int, fh: int | None) -> Attributes:
            return Attributes(mode=stat.S_IFDIR)

        def write(self, request: Request, nodeid: int, fh: int, offset: int, data: memoryview) -> None:
            self.kept.append(data)
            device.size = 1 << 60  # of the next buffer

    kernel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    kernel.settimeout(10)
    kernel.send(encode_request("INIT", unique=2, body=InitIn(major=7, minor=45)))
    device = Device(theirs.detach(), 1 << 16)
    server = ThreadServer(Session(Keeps()), device, 1, None, lambda: None)
    server.start()
    with kernel:
        for number, message in enumerate([("WRITE", WriteIn(size=1), b"x"), ("GETATTR", GetattrIn(), b"")]):
            name, body, data = message
            kernel.recv(1 << 16)
            kernel.send(encode_request(name, unique=4 + 2 * number, nodeid=1, body=body, data=data))
        kernel.settimeout(0.1)
        with pytest.raises(TimeoutError):
            kernel.recv(1 << 16)
        kernel.settimeout(10)
        Keeps.kept.clear()
        assert kernel.recv(1 << 16)
    assert server.wait(10)
