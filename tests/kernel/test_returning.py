"""A system call as its caller sees it: who is said to ask, for what name, and how it returns when a signal came."""

from __future__ import annotations

import errno
import os

import pytest

from fusewire.embedded import Kernel
from fusewire.filesystems.memory import Memory
from fusewire.kernel.profile import PROFILES
from fusewire.kernel.tasks import Killed, Signal, current
from hand_daemon import DIRECTORY, HandDaemon, entry, hand_daemon, process


@pytest.fixture(params=[*PROFILES.values()], ids=[*PROFILES])
def daemon(request: pytest.FixtureRequest) -> HandDaemon:
    return hand_daemon(profile=request.param)


def test_the_daemon_is_told_who_asks(daemon: HandDaemon) -> None:
    caller = process(daemon, uid=1000, gid=100)
    daemon.start(caller.mkdir("/d"))
    header = daemon.read().header
    assert (header.uid, header.gid, header.pid) == (1000, 100, caller.pid)


def test_a_name_need_not_be_utf8() -> None:
    with Kernel(Memory()) as kernel:
        kernel.write_bytes("/caf\udce9", b"x")
        assert kernel.listdir("/") == ["caf\udce9"]
        assert kernel.process().listdir(b"/") == [b"caf\xe9"]
        kernel.unlink(os.fsdecode(b"/caf\xe9"))
        assert [request.names for request in kernel.requests if request.name == "UNLINK"] == [("caf\udce9",)]


def test_a_task_that_is_killed_runs_nothing_after_its_call(daemon: HandDaemon) -> None:
    caller = process(daemon)
    after: list[str] = []

    async def program() -> None:
        try:
            await caller.mkdir("/d")
        except Exception:
            after.append("handled it")
        after.append("went on")

    task = daemon.start(program())
    task.kill()
    daemon.system.runner.run()
    assert isinstance(task.result, Killed)
    assert after == []
    assert not daemon.superblock.root_inode.rwsem.holders


def test_who_was_killed_before_it_began_asks_nothing_and_runs_nothing(daemon: HandDaemon) -> None:
    caller = process(daemon)

    async def program() -> None:
        current().kill()
        await caller.mkdir("/d")

    assert isinstance(daemon.start(program()).result, Killed)
    assert not daemon.connection.pending


def test_a_signal_with_a_handler_is_delivered_when_the_call_returns() -> None:
    daemon = hand_daemon()
    task = daemon.start(process(daemon).mkdir("/d"))
    task.interrupt()
    daemon.system.runner.run()
    assert int(task.signal) == Signal.ORDINARY
    lookup = daemon.read()
    assert daemon.read().operation.name == "INTERRUPT"
    daemon.answer(lookup, errno.ENOENT)
    daemon.answer(daemon.read(), entry(2, DIRECTORY))
    assert task.finished
    assert task.result is None
    assert int(task.signal) == Signal.NONE
