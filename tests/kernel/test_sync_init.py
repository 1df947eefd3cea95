"""A daemon that has mount(2) wait until it has answered INIT (SYNC_INIT)."""

from __future__ import annotations

import errno

import pytest

from fusewire.kernel.device import Device
from fusewire.kernel.tasks import Task
from fusewire.wire import InitOut, decode_request, encode_error, encode_reply
from hand_daemon import BUFFER, DIRECTORY, HandDaemon, entry, hand_daemon, process


class Mounting:
    """Somebody is mounting at /m what a daemon that wants to be waited for serves."""

    def __init__(self) -> None:
        self.outer: HandDaemon = hand_daemon()
        self.system = self.outer.system
        self.process = process(self.outer)
        self.outer.call(self.process.access("/m", 0), entry(2, DIRECTORY), errno.ENOSYS)
        self.device = Device()
        self.device.ask_sync_init()
        self.task: Task = self.outer.start(self.process.mount(self.device, "/m"))

    def answer(self, reply: bytes) -> None:
        self.system.runner.call(self.device.write(reply))

    def unique(self) -> int:
        """Read INIT; return its number."""
        message = decode_request(self.system.runner.call(self.device.read(BUFFER)))
        assert message.operation.name == "INIT"
        return message.header.unique


def test_mount_returns_when_init_is_answered_and_nobody_finds_it_before() -> None:
    mounting = Mounting()
    unique = mounting.unique()
    assert not mounting.task.finished
    assert len(mounting.system.superblocks) == 1
    mounting.answer(encode_reply(unique, InitOut(major=7, minor=45)))
    assert mounting.task.result is mounting.system.superblocks[1]


@pytest.mark.parametrize("major", [0, 6])
def test_a_mount_whose_init_fails_is_no_mount(major: int) -> None:
    mounting = Mounting()
    unique = mounting.unique()
    refusal = encode_reply(unique, InitOut(major=major, minor=45)) if major else encode_error(unique, errno.EPROTO)
    mounting.answer(refusal)
    assert isinstance(mounting.task.result, OSError)
    assert mounting.task.result.errno == errno.ENOTCONN
    assert len(mounting.system.superblocks) == 1
    with pytest.raises(OSError, match="No such device"):
        mounting.system.runner.call(mounting.device.read(BUFFER))


def test_who_is_killed_while_he_mounts_ends_the_connection() -> None:
    mounting = Mounting()
    mounting.unique()
    mounting.task.kill()
    mounting.system.runner.run()
    assert mounting.task.finished
    assert len(mounting.system.superblocks) == 1
    with pytest.raises(OSError, match="No such device"):
        mounting.system.runner.call(mounting.device.read(BUFFER))


def test_of_two_who_mount_at_once_the_later_stands_upon_the_quicker() -> None:
    mounting = Mounting()
    unique = mounting.unique()
    quicker = mounting.outer.call(mounting.process.mount(Device(), "/m"))
    mounting.answer(encode_reply(unique, InitOut(major=7, minor=45)))
    later = mounting.task.result
    assert mounting.system.superblocks[1:] == [quicker, later]
    assert quicker.root.mounted is later
