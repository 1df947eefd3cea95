"""Small filesystems on Linux's own FUSE, most of them of nodes: what Linux asks, and what callers find.

What single system calls do is tested in tests/both_kernels.
"""

from __future__ import annotations

import logging
import mmap
import os
import re
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import fusewire
from fusewire import Attributes, Entry, Filesystem, Request, Special
from notes import Folder, Note

MIB = 1 << 20

Asked = Callable[[str], list[str]]


@pytest.fixture
def asked(caplog: pytest.LogCaptureFixture) -> Asked:
    """Return what Linux asked since the last call, as far as the line matches a pattern."""
    caplog.set_level(logging.DEBUG, "fusewire.requests")

    def since(pattern: str) -> list[str]:
        found = [line for line in caplog.messages if re.match(pattern, line)]
        caplog.clear()
        return found

    return since


# --- data


def test_reads_and_writes_are_of_a_mebibyte(mountpoint: Path, asked: Asked) -> None:
    content = os.urandom(4 * MIB)
    note = Note()
    with fusewire.mount(Folder(note=note), str(mountpoint)), mmap.mmap(-1, 4 * MIB) as buffer:
        with (mountpoint / "note").open("r+b", buffering=0) as file:
            file.write(content)  # through the page cache
        descriptor = os.open(mountpoint / "note", os.O_RDWR | os.O_DIRECT)
        assert os.preadv(descriptor, [buffer], 0) == 4 * MIB
        assert buffer[:] == content
        assert os.pwritev(descriptor, [buffer], 4 * MIB) == 4 * MIB
        os.close(descriptor)
        assert note.content == content * 2
    lines = asked("READ |WRITE ")
    assert sum(line.startswith("READ") and f" size={MIB} " in line for line in lines) == 4
    assert sum(f" data={MIB} bytes " in line for line in lines) == 4 + 4


# --- names and lives


def test_a_long_directory_is_listed_in_pages_with_its_attributes(mountpoint: Path, asked: Asked) -> None:
    notes = {f"note {number:04}": Note(bytes(number)) for number in range(2000)}
    with fusewire.mount(Folder(**notes), str(mountpoint)):
        with os.scandir(mountpoint) as found:
            sizes = {entry.name: entry.stat().st_size for entry in found}
        assert sizes == {name: len(note.content) for name, note in notes.items()}
        lines = asked("")
    assert sum(line.startswith("READDIRPLUS") for line in lines) > 2
    assert sum(line.startswith(("LOOKUP", "GETATTR")) for line in lines) < 2000


def test_fifos_sockets_and_devices_work(mountpoint: Path) -> None:
    with fusewire.mount(Folder(null=Special(stat.S_IFCHR | 0o666, os.makedev(1, 3))), str(mountpoint), dev=True):
        os.mkfifo(mountpoint / "fifo")
        descriptor = os.open(mountpoint / "fifo", os.O_RDWR)
        os.write(descriptor, b"through")
        assert os.read(descriptor, 99) == b"through"
        os.close(descriptor)
        with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as calling:
            listening.bind(f"/proc/self/fd/{(there := os.open(mountpoint, os.O_PATH))}/socket")
            listening.listen()
            calling.connect(f"/proc/self/fd/{there}/socket")
            os.close(there)
        found = os.stat(mountpoint / "null")
        assert (stat.S_ISCHR(found.st_mode), found.st_rdev) == (True, os.makedev(1, 3))
        assert {entry.name: entry.is_file() for entry in os.scandir(mountpoint)} == dict.fromkeys(
            ("null", "fifo", "socket"), False
        )


# --- forgets


def test_forgets_come_in_batches_while_the_daemon_is_busy(mountpoint: Path, asked: Asked) -> None:
    inside, free = threading.Event(), threading.Event()

    class Busy(Filesystem):
        blocking = False  # one thread, and none beside it
        forgotten: list[tuple[int, int]] = []

        def lookup(self, request: Request, parent: int, name: str) -> Entry:
            if name == "wait":
                inside.set()
                assert free.wait(20)
                raise FileNotFoundError
            return Entry(int(name), Attributes(mode=stat.S_IFREG | 0o644))

        def getattr(self, request: Request, nodeid: int, fh: int | None) -> Attributes:
            return Attributes(mode=stat.S_IFDIR | 0o755)

        def unlink(self, request: Request, parent: int, name: str) -> None: ...

        def forget(self, nodeid: int, nlookup: int) -> None:
            self.forgotten.append((nodeid, nlookup))

    with fusewire.mount(Busy(), str(mountpoint)):
        descriptors = [os.open(mountpoint / str(nodeid), os.O_PATH) for nodeid in range(10, 15)]
        for nodeid in range(10, 15):
            os.unlink(mountpoint / str(nodeid))
        waiting = threading.Thread(target=(mountpoint / "wait").exists)
        waiting.start()
        assert inside.wait(20)
        for descriptor in descriptors:
            os.close(descriptor)
        free.set()
        waiting.join()
        assert not (mountpoint / "wait").exists()  # what is asked later is answered later
    assert sorted(Busy.forgotten) == [(nodeid, 1) for nodeid in range(10, 15)]
    assert asked("BATCH_FORGET")
