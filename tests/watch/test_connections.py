"""Who holds the device of a connection, where the kernel does not tell: what is guessed, and what is not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from fusewire.mounting.table import parse_table
from fusewire.watch.connections import Connection, Fusectl, Holding, find_holders, guess_holders
from fusewire.watch.mounts import Mounts, View

OURS = os.getuid()
TABLE = f"""\
20 1 8:1 / / rw - ext4 /dev/sda1 rw
30 20 0:40 / /mnt/x rw - fuse.sshfs host: rw,user_id={OURS},group_id=0
31 20 0:41 / /mnt/y rw - fuse.sshfs host: rw,user_id={OURS},group_id=0
"""


@pytest.fixture
def mounts() -> Mounts:
    view = View("mnt:[1]", "/", os.getpid(), parse_table(TABLE.encode()))
    return Mounts({(view.namespace, view.root): view})


@pytest.fixture
def daemon() -> Iterator[int]:
    """A process that names a mountpoint in its command line, as daemons do."""
    command = [sys.executable, "-I", "-S", "-c", "import sys; print(flush=True); sys.stdin.read()", "host:", "/mnt/x"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid


def test_a_holder_is_guessed_by_the_mountpoint_in_its_command_line(mounts: Mounts, daemon: int) -> None:
    connections = {40: Connection(40, 0), 41: Connection(41, 0)}
    guess_holders([(daemon, 3), (os.getpid(), 4)], connections, mounts)
    assert connections[40].holders == [Holding(daemon, 3, False)]
    assert connections[41].holders == []


def test_the_only_holder_of_the_only_connection_is_guessed_whatever_it_is_called(mounts: Mounts) -> None:
    connections = {41: Connection(41, 0)}
    guess_holders([(os.getpid(), 4)], connections, mounts)
    assert connections[41].holders == [Holding(os.getpid(), 4, False)]


def test_a_connection_that_is_mounted_nowhere_has_no_holder_that_could_be_guessed(mounts: Mounts) -> None:
    connections = {42: Connection(42, 0)}
    guess_holders([(os.getpid(), 4)], connections, mounts)
    assert connections[42].holders == []


def test_processes_without_a_device_hold_nothing(mounts: Mounts, daemon: int) -> None:
    connections = {40: Connection(40, 0)}
    find_holders([daemon, 1 << 22], connections, mounts)
    assert connections[40].holders == []


def test_a_connection_that_is_not_there_cannot_be_held_or_aborted() -> None:
    with Fusectl() as fusectl:
        assert fusectl.identity(999_999) is None
        assert not fusectl.hold(999_999)
        assert not fusectl.abort(999_999)
