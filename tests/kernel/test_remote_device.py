"""The device of a daemon in another process, whose end of the socket is the test's."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import pytest

from fusewire.kernel import Connection, Device, Options, Process, StandingClock, System
from fusewire.kernel.mounting import mount
from fusewire.kernel.remote_device import PAGE, RemoteDevice, most_pages, socket_pair
from fusewire.kernel.runners.locked import Locked
from fusewire.kernel.tasks import Task
from fusewire.kernel.vfs.credentials import Credentials
from fusewire.wire import Attr, AttrOut, InitOut, Message, WireStruct, decode_request, encode_reply

ROOM = 1 << 20
PATIENCE = 10.0  # seconds


class Daemon:
    """A mount, and the daemon's end of it."""

    def __init__(self) -> None:
        self.system = System(StandingClock())
        self.runner = self.system.runner = Locked()
        self.device = Device()
        self.connection = Connection(clock=self.system.clock)
        superblock = mount(self.system, self.device, Options(allow_other=True), connection=self.connection)
        self.process = Process.new(self.system, Credentials.of(0, 0, frozenset()), superblock.root)
        self.ours, self.theirs = socket_pair()
        self.theirs.settimeout(PATIENCE)
        self.remote = RemoteDevice(self.device, self.runner, self.ours)
        self.remote.start()
        self.answer(self.read(), InitOut(major=7, minor=45, max_write=4096))

    def read(self) -> Message:
        return decode_request(self.theirs.recv(ROOM))

    def answer(self, message: Message, *structs: WireStruct) -> None:
        self.theirs.send(encode_reply(message.header.unique, *structs))

    def stat(self) -> Task:
        """Begin to ask for the attributes of the root, which the daemon is asked for each time."""
        task = Task("caller", self.process.stat("/"))
        self.runner.start(task)
        return task

    def ended(self, task: Task) -> object:
        self.runner.wait(task, PATIENCE)
        assert task.finished
        return task.result

    def end(self) -> None:
        self.runner.do(self.connection.abort)
        self.theirs.close()
        self.remote.close()
        self.ours.close()
        self.runner.close()


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    daemon = Daemon()
    yield daemon
    daemon.end()


ROOT = AttrOut(attr=Attr(ino=1, mode=0o040755, nlink=2))


def test_a_request_is_read_and_its_answer_written(daemon: Daemon) -> None:
    task = daemon.stat()
    message = daemon.read()
    assert message.operation.name == "GETATTR"
    daemon.answer(message, ROOT)
    assert daemon.ended(task).st_nlink == 2  # type: ignore[attr-defined]


def test_a_message_is_sent_only_when_the_one_before_has_been_taken(daemon: Daemon) -> None:
    tasks = [daemon.stat(), daemon.stat()]
    daemon.theirs.recv(ROOM, socket.MSG_PEEK)  # so the first has been sent, and not been taken
    assert (len(daemon.device.processing), len(daemon.connection.pending)) == (1, 1)
    for message in (daemon.read(), daemon.read()):
        daemon.answer(message, ROOT)
    for task in tasks:
        daemon.ended(task)


def test_what_write_would_have_said_is_kept(daemon: Daemon) -> None:
    task = daemon.stat()
    message = daemon.read()
    daemon.theirs.send(b"short")
    daemon.theirs.send(encode_reply(4242, ROOT))
    daemon.answer(message, ROOT)
    daemon.ended(task)
    assert list(daemon.remote.refused) == [(0, errno.EINVAL), (4242, errno.ENOENT)]


def test_a_daemon_that_closes_its_device_fails_its_callers(daemon: Daemon) -> None:
    task = daemon.stat()
    daemon.read()
    daemon.theirs.close()
    failure = daemon.ended(task)
    assert isinstance(failure, OSError)
    assert failure.errno == errno.ECONNABORTED


def test_after_an_abort_the_daemon_reads_the_end_and_may_still_write(daemon: Daemon) -> None:
    task = daemon.stat()
    message = daemon.read()
    daemon.runner.do(daemon.connection.abort)
    assert isinstance(daemon.ended(task), OSError)
    assert daemon.theirs.recv(ROOM) == b""
    daemon.answer(message, ROOT)


@pytest.mark.parametrize("size", [40_000, 200_000, None])
def test_the_longest_request_fits_into_the_socket(size: int | None) -> None:
    ours, theirs = socket_pair()
    with ours, theirs:
        if size is not None:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
        longest = bytes(most_pages(ours) * PAGE + 4000)
        ours.setblocking(False)
        ours.send(longest)
        assert theirs.recv(2 * ROOM) == longest
