"""Small filesystems on Linux's own FUSE, most of them of nodes: what Linux asks, and what callers find."""

from __future__ import annotations

import ctypes
import errno
import logging
import mmap
import os
import re
import socket
import stat
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import fusewire
from fusewire import (
    UTIME_NOW,
    Attributes,
    Directory,
    Entry,
    File,
    Filesystem,
    Node,
    Request,
    SetAttributes,
    Special,
    Symlink,
)

MIB = 1 << 20
AT_FDCWD = -100
NOW, OMIT = (0, (1 << 30) - 1), (0, (1 << 30) - 2)  # UTIME_NOW and UTIME_OMIT of <sys/stat.h>
HUGE = [1 << 40, (1 << 63) - 4096, (1 << 63) - 1]

libc = ctypes.CDLL(None, use_errno=True)


class Note(File):
    """A file that can be written, up to 16 MiB."""

    mode = 0o644

    def __init__(self, content: bytes = b"") -> None:
        self.content = bytearray(content)
        self.changes: list[SetAttributes] = []

    def getattr(self) -> Attributes:
        attributes = self.attributes()
        attributes.size = len(self.content)
        return attributes

    def keep(self, changes: SetAttributes) -> None:
        self.changes.append(changes)
        super().keep(changes)

    def read(self, offset: int, size: int) -> bytes:
        return bytes(self.content[offset : offset + size])

    def write(self, offset: int, data: memoryview) -> None:
        if len(self.content) < offset:
            self.truncate(offset)
        self.content[offset : offset + len(data)] = data

    def truncate(self, size: int) -> None:
        if size > 16 * MIB:
            raise OSError(errno.EFBIG, "too long for a note")
        del self.content[size:]
        self.content.extend(bytes(size - len(self.content)))


class Folder(Directory):
    """A directory in which everything can be made."""

    def __init__(self, **children: Node) -> None:
        self.children: dict[str, Node] = children
        self.xattrs: dict[str, bytes] = {}

    def list(self) -> dict[str, Node]:
        return self.children

    def create(self, name: str, mode: int) -> File:
        made = self.children[name] = Note()
        return made

    def mknod(self, name: str, mode: int, rdev: int) -> Node:
        made = self.children[name] = Special(mode, rdev)
        return made

    def mkdir(self, name: str, mode: int) -> Directory:
        made = self.children[name] = Folder()
        return made

    def symlink(self, name: str, target: str) -> Symlink:
        made = self.children[name] = Symlink(target)
        return made

    def link(self, name: str, node: Node) -> None:
        self.children[name] = node

    def unlink(self, name: str) -> None:
        del self.children[name]

    rmdir = unlink

    def rename(self, name: str, new_directory: Folder, new_name: str, flags: int) -> None:
        if flags:
            raise OSError(errno.EINVAL, "no flags here")
        new_directory.children[new_name] = self.children.pop(name)

    def setxattr(self, name: str, value: memoryview, flags: int) -> None:  # type: ignore[override]
        self.xattrs[name] = bytes(value)

    def getxattr(self, name: str) -> bytes:
        if name not in self.xattrs:
            raise OSError(errno.ENODATA, "no such xattr")
        return self.xattrs[name]

    def listxattr(self) -> Iterator[str]:
        return iter(self.xattrs)

    def removexattr(self, name: str) -> None:
        del self.xattrs[name]


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


@pytest.mark.parametrize("offset", HUGE)
def test_offsets_that_are_too_large_reach_nobody_or_are_refused(mountpoint: Path, offset: int) -> None:
    note = Note(b"content")
    with fusewire.mount(Folder(note=note), str(mountpoint)):
        descriptor = os.open(mountpoint / "note", os.O_RDWR)
        for act in (
            lambda: os.pwrite(descriptor, b"x", offset),
            lambda: os.ftruncate(descriptor, offset),
            lambda: os.truncate(mountpoint / "note", offset),
        ):
            with pytest.raises(OSError) as caught:  # noqa: PT011
                act()
            assert caught.value.errno in (errno.EFBIG, errno.EINVAL)
        with pytest.raises(OSError) as caught:  # noqa: PT011
            os.posix_fallocate(descriptor, offset - 1, 1)
        assert caught.value.errno in (errno.EFBIG, errno.EOPNOTSUPP)
        assert os.lseek(descriptor, offset, os.SEEK_SET) == offset
        assert os.pread(descriptor, 1, offset - 1) == b""
        os.close(descriptor)
        assert (mountpoint / "note").read_bytes() == b"content"


@pytest.mark.parametrize("offset", [-1, -(1 << 63)])
def test_negative_offsets_are_refused(mountpoint: Path, offset: int) -> None:
    with fusewire.mount(Folder(note=Note(b"content")), str(mountpoint)):
        descriptor = os.open(mountpoint / "note", os.O_RDWR)
        for act in (
            lambda: os.lseek(descriptor, offset, os.SEEK_SET),
            lambda: os.pread(descriptor, 1, offset),
            lambda: os.pwrite(descriptor, b"x", offset),
            lambda: os.ftruncate(descriptor, offset),
            lambda: os.posix_fallocate(descriptor, offset, 1),
        ):
            with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
                act()
        os.close(descriptor)
        assert (mountpoint / "note").read_bytes() == b"content"


# --- times


def utimensat(path: Path, atime: tuple[int, int], mtime: tuple[int, int]) -> None:
    """Python's os.utime cannot say UTIME_OMIT."""
    assert libc.utimensat(AT_FDCWD, os.fsencode(path), struct.pack("4l", *atime, *mtime), 0) == 0


def test_now_and_omit_are_kept_apart(mountpoint: Path) -> None:
    note = Note()
    wanted = [
        (NOW, OMIT, SetAttributes(atime_ns=UTIME_NOW)),
        (OMIT, NOW, SetAttributes(mtime_ns=UTIME_NOW)),
        (NOW, NOW, SetAttributes(atime_ns=UTIME_NOW, mtime_ns=UTIME_NOW)),
        ((5, 7), OMIT, SetAttributes(atime_ns=5_000_000_007)),
        (NOW, (-3, 9), SetAttributes(atime_ns=UTIME_NOW, mtime_ns=-2_999_999_991)),
    ]
    with fusewire.mount(Folder(note=note), str(mountpoint)):
        for atime, mtime, _ in wanted:
            utimensat(mountpoint / "note", atime, mtime)
    assert note.changes == [changes for *_, changes in wanted]


@pytest.mark.parametrize("ns", [1, 987_654_321, 1_700_000_000_123_456_789, -1, -(10**18) - 1])
def test_times_survive_to_the_nanosecond(mountpoint: Path, ns: int) -> None:
    with fusewire.mount(Folder(note=Note()), str(mountpoint)):
        os.utime(mountpoint / "note", ns=(ns, ns + 1))
        found = os.stat(mountpoint / "note")
        assert (found.st_atime_ns, found.st_mtime_ns) == (ns, ns + 1)


# --- names and lives


def test_names_that_are_not_utf8_go_through_every_call(mountpoint: Path) -> None:
    root = Folder()
    there = os.fsencode(mountpoint) + b"/\xff\xfe-"
    with fusewire.mount(root, str(mountpoint)):
        os.close(os.open(there + b"file", os.O_CREAT | os.O_WRONLY))
        os.mkdir(there + b"directory")
        os.mkfifo(there + b"fifo")
        os.symlink(b"\xfd", there + b"link")
        assert os.readlink(there + b"link") == b"\xfd"
        os.link(there + b"file", there + b"further")
        os.rename(there + b"file", there + b"directory/\xfc")
        assert os.listdir(there + b"directory") == [b"\xfc"]
        os.unlink(there + b"further")
        os.setxattr(there + b"directory", b"user.\xfb", b"\xfa")
        assert os.listxattr(os.fsdecode(there + b"directory")) == [os.fsdecode(b"user.\xfb")]
        assert os.getxattr(there + b"directory", b"user.\xfb") == b"\xfa"
        os.removexattr(there + b"directory", b"user.\xfb")
        os.unlink(there + b"directory/\xfc")
        os.rmdir(there + b"directory")
    assert [os.fsencode(name) for name in root.children] == [b"\xff\xfe-fifo", b"\xff\xfe-link"]


def test_a_long_directory_is_listed_in_pages_with_its_attributes(mountpoint: Path, asked: Asked) -> None:
    notes = {f"note {number:04}": Note(bytes(number)) for number in range(2000)}
    with fusewire.mount(Folder(**notes), str(mountpoint)):
        with os.scandir(mountpoint) as found:
            sizes = {entry.name: entry.stat().st_size for entry in found}
        assert sizes == {name: len(note.content) for name, note in notes.items()}
        lines = asked("")
    assert sum(line.startswith("READDIRPLUS") for line in lines) > 2
    assert sum(line.startswith(("LOOKUP", "GETATTR")) for line in lines) < 2000


def test_an_unlinked_note_lives_until_it_is_closed(mountpoint: Path) -> None:
    root = Folder(note=Note(b"content"))
    with fusewire.mount(root, str(mountpoint)):
        with (mountpoint / "note").open("r+b", buffering=0) as file:
            os.unlink(mountpoint / "note")
            assert os.fstat(file.fileno()).st_nlink == 0
            file.write(b"CONT")
            (mountpoint / "note").write_bytes(b"another")  # of the same name
            assert os.pread(file.fileno(), 99, 0) == b"CONTent"
            assert os.fstat(file.fileno()).st_ino != os.stat(mountpoint / "note").st_ino
        assert (mountpoint / "note").read_bytes() == b"another"


def test_hard_links_are_one_file(mountpoint: Path) -> None:
    with fusewire.mount(Folder(note=Note(b"content"), folder=Folder()), str(mountpoint)):
        os.link(mountpoint / "note", mountpoint / "folder/link")
        (mountpoint / "note").write_bytes(b"changed")
        assert (mountpoint / "folder/link").read_bytes() == b"changed"
        here, there = os.stat(mountpoint / "note"), os.stat(mountpoint / "folder/link")
        assert (here.st_ino, here.st_nlink) == (there.st_ino, 2)
        os.unlink(mountpoint / "note")
        assert os.stat(mountpoint / "folder/link").st_nlink == 1


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


# --- nodeids


class Numbered(Filesystem):
    """Has one file, of a nodeid and a generation. Opening, closing and syncing it is left out."""

    entry_timeout = 0.0
    generation = 1

    def lookup(self, request: Request, parent: int, name: str) -> Entry:
        return Entry(2, self.getattr(request, 2, None), self.generation)

    def getattr(self, request: Request, nodeid: int, fh: int | None) -> Attributes:
        return Attributes(mode=stat.S_IFDIR | 0o755 if nodeid == 1 else stat.S_IFREG | 0o644)


def test_a_nodeid_of_another_generation_is_another_file(mountpoint: Path) -> None:
    numbered = Numbered()
    with fusewire.mount(numbered, str(mountpoint)):
        descriptor = os.open(mountpoint / "file", os.O_PATH)
        os.fstat(descriptor)
        numbered.generation = 2
        os.stat(mountpoint / "file")
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            os.fstat(descriptor)
        os.close(descriptor)


def test_absent_methods_are_asked_for_once_unless_that_would_switch_something_off(
    mountpoint: Path, asked: Asked
) -> None:
    with fusewire.mount(Numbered(), str(mountpoint)):
        for _ in range(3):
            descriptor = os.open(mountpoint / "file", os.O_RDWR)
            os.fsync(descriptor)
            os.close(descriptor)
            os.listdir(mountpoint)
            os.statvfs(mountpoint)
        names = [line.split()[0] for line in asked("")]
    counts = {name: names.count(name) for name in ("OPEN", "OPENDIR", "STATFS", "FSYNC", "FLUSH")}
    assert counts == {"OPEN": 3, "OPENDIR": 3, "STATFS": 3, "FSYNC": 1, "FLUSH": 1}
