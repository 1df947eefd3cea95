"""A daemon as one bare task, beside which other tasks run: mounting, serving, and what a method may do."""

from __future__ import annotations

import asyncio
import errno
import logging

import pytest

from fusewire.daemon.filesystem import Filesystem
from fusewire.daemon.request import Request, current_request
from fusewire.daemon.session import Buffers, Session
from fusewire.daemon.values import Entry
from fusewire.embedded import daemon, serve
from fusewire.explore.scene import mounted
from fusewire.kernel.connection import Connection
from fusewire.kernel.profile import LINUX, PROFILES, SEED2005, Profile
from fusewire.kernel.tasks import Task, close, run, step
from fusewire.wire import Buffer, InHeader, encode_error
from kernel_end import errno_of


class Recorder(Filesystem):
    """Notes when it begins and ends."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def init(self) -> None:
        self.said.append("init")

    def destroy(self) -> None:
        self.said.append("destroy")


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_both_ends_settle_on_the_same(profile: Profile) -> None:
    filesystem = Recorder()
    process, device, session = mounted(filesystem, profile)
    serving = Task("daemon", daemon(device, session))
    run([serving])
    connection = process.cwd.superblock.connection
    assert filesystem.said == ["init"]
    assert connection.initialized
    assert session.agreement is not None
    assert connection.settings.max_write == session.agreement.max_write
    close([serving])


def test_a_session_that_refuses_the_kernels_end_has_nothing_asked_of_it() -> None:
    class Refuses(Session):
        def receive(self, buffer: Buffer) -> Buffers:
            return (encode_error(InHeader.unpack_from(buffer).unique, errno.EPROTO),)

    scene = mounted(Filesystem(), LINUX)
    serving, looking = Task("daemon", daemon(scene.device, Refuses(Filesystem()))), Task("ls", scene.process.stat("/f"))
    run([looking, serving])
    assert isinstance(looking.result, ConnectionRefusedError)
    close([serving])


def test_a_reply_that_comes_too_late_does_not_end_the_daemon() -> None:
    class Dawdles(Filesystem):
        async def lookup(self, request: Request, parent: int, name: str) -> Entry:
            callers.pop().kill()
            await step("meanwhile the caller goes")
            raise FileNotFoundError(errno.ENOENT, "none")

    process, device, session = mounted(Dawdles(), SEED2005)
    looking, serving = Task("ls", process.stat("/file")), Task("daemon", daemon(device, session))
    callers = [looking]
    run([looking, serving], choose=lambda ready: ready[-1], watch=lambda task, event: None)
    assert isinstance(looking.result.__cause__, InterruptedError)  # type: ignore[attr-defined]
    assert serving.asleep_on is connection_of(serving, device.connection).waitq
    close([serving])


def connection_of(serving: Task, connection: Connection | None) -> Connection:
    assert not serving.finished
    assert connection is not None
    return connection


def test_the_daemon_ends_with_the_mount_and_its_filesystem_is_told() -> None:
    filesystem = Recorder()
    process, device, session = mounted(filesystem, LINUX)
    serving = [Task(name, serve(device, session)) for name in ("first", "second")]
    run(serving)
    process.cwd.superblock.connection.abort()
    assert run(serving) == {}
    assert [task.result for task in serving] == [None, None]
    assert filesystem.said == ["init", "destroy"]


def served(filesystem: Filesystem) -> Task:
    """Mount `filesystem`, look a name up, unmount; return the task that looked it up."""
    process, device, session = mounted(filesystem, LINUX)
    looking, serving = Task("ls", process.stat("/file")), Task("daemon", daemon(device, session))
    run([looking, serving])
    process.cwd.superblock.connection.abort()
    run([serving])
    assert serving.result is None
    return looking


def test_an_async_method_may_wait_for_the_kernels_end() -> None:
    class Waits(Filesystem):
        async def lookup(self, request: Request, parent: int, name: str) -> Entry:
            await step("a step of its own")
            assert current_request() is request
            raise FileNotFoundError(errno.ENOENT, "none")

    assert errno_of(served(Waits())) == errno.ENOENT


def test_a_method_that_awaits_asyncio_fails_alone(caplog: pytest.LogCaptureFixture) -> None:
    class Sleeps(Filesystem):
        async def lookup(self, request: Request, parent: int, name: str) -> Entry:
            await loop.create_future()
            raise AssertionError("not reached")

    loop = asyncio.new_event_loop()
    assert errno_of(served(Sleeps())) == errno.EIO
    loop.close()
    assert "awaits nothing but the kernel's end" in caplog.text


def test_a_mistake_in_a_method_is_its_callers_eio_and_the_daemon_lives_on(caplog: pytest.LogCaptureFixture) -> None:
    class Mistaken(Filesystem):
        def lookup(self, request: Request, parent: int, name: str) -> Entry:
            raise ZeroDivisionError

    with caplog.at_level(logging.CRITICAL, "fusewire"):
        assert errno_of(served(Mistaken())) == errno.EIO
