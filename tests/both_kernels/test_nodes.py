"""Small filesystems, most of them of nodes, on both kernels: what they are asked, and what callers find."""

from __future__ import annotations

import errno
import os
import stat

import pytest
from torture.conformance.calls import UTIME_NOW as NOW
from torture.conformance.calls import UTIME_OMIT as OMIT

from fusewire import UTIME_NOW as NOW_ASKED
from fusewire import Attributes, Entry, Filesystem, Request, SetAttributes
from memory_caller import refused
from notes import Folder, Note
from two_kernels import AnyKernel, Asked

HUGE = [1 << 40, (1 << 63) - 4096, (1 << 63) - 1]
SECOND = 10**9

# --- data


@pytest.mark.parametrize("offset", HUGE)
def test_offsets_that_are_too_large_reach_nobody_or_are_refused(kernel: AnyKernel, offset: int) -> None:
    with kernel.serve(Folder(note=Note(b"content"))) as system:
        fd = system.open("note", os.O_RDWR)
        for call, *arguments in (
            (system.pwrite, fd, b"x", offset),
            (system.ftruncate, fd, offset),
            (system.truncate, "note", offset),
        ):
            with pytest.raises(OSError) as caught:  # noqa: PT011
                call(*arguments)
            assert caught.value.errno in (errno.EFBIG, errno.EINVAL)
        with pytest.raises(OSError) as caught:  # noqa: PT011
            system.posix_fallocate(fd, offset - 1, 1)
        assert caught.value.errno in (errno.EFBIG, errno.EOPNOTSUPP)
        assert system.lseek(fd, offset, os.SEEK_SET) == offset
        assert system.pread(fd, 1, offset - 1) == b""
        assert system.read_file("note") == b"content"


@pytest.mark.parametrize("offset", [-1, -(1 << 63)])
def test_negative_offsets_are_refused(kernel: AnyKernel, offset: int) -> None:
    with kernel.serve(Folder(note=Note(b"content"))) as system:
        fd = system.open("note", os.O_RDWR)
        for call, *arguments in (
            (system.lseek, fd, offset, os.SEEK_SET),
            (system.pread, fd, 1, offset),
            (system.pwrite, fd, b"x", offset),
            (system.ftruncate, fd, offset),
            (system.posix_fallocate, fd, offset, 1),
        ):
            with refused(errno.EINVAL):
                call(*arguments)
        assert system.read_file("note") == b"content"


# --- times


def test_now_and_omit_are_kept_apart(kernel: AnyKernel) -> None:
    note = Note()
    wanted = [
        (NOW, OMIT, SetAttributes(atime_ns=NOW_ASKED)),
        (OMIT, NOW, SetAttributes(mtime_ns=NOW_ASKED)),
        (NOW, NOW, SetAttributes(atime_ns=NOW_ASKED, mtime_ns=NOW_ASKED)),
        ((5, 7), OMIT, SetAttributes(atime_ns=5_000_000_007)),
        (NOW, (-3, 9), SetAttributes(atime_ns=NOW_ASKED, mtime_ns=-2_999_999_991)),
    ]
    with kernel.serve(Folder(note=note)) as system:
        for atime, mtime, _ in wanted:
            system.utimensat("note", atime, mtime)
    assert note.changes == [changes for *_, changes in wanted]


@pytest.mark.parametrize("ns", [1, 987_654_321, 1_700_000_000_123_456_789, -1, -(10**18) - 1])
def test_times_survive_to_the_nanosecond(kernel: AnyKernel, ns: int) -> None:
    with kernel.serve(Folder(note=Note())) as system:
        system.utimensat("note", divmod(ns, SECOND), divmod(ns + 1, SECOND))
        found = system.stat("note")
        assert (found.st_atime_ns, found.st_mtime_ns) == (ns, ns + 1)


# --- names and lives


def test_names_that_are_not_utf8_go_through_every_call(kernel: AnyKernel) -> None:
    root = Folder()
    there = b"\xff\xfe-"
    with kernel.serve(root) as system:
        system.close(system.open(there + b"file", os.O_CREAT | os.O_WRONLY))
        system.mkdir(there + b"directory")
        system.mkfifo(there + b"fifo")
        system.symlink(b"\xfd", there + b"link")
        assert system.readlink(there + b"link") == b"\xfd"
        system.link(there + b"file", there + b"further")
        system.rename(there + b"file", there + b"directory/\xfc")
        assert system.listdir(there + b"directory") == [b"\xfc"]
        system.unlink(there + b"further")
        system.setxattr(there + b"directory", b"user.\xfb", b"\xfa")
        assert system.listxattr(os.fsdecode(there + b"directory")) == [os.fsdecode(b"user.\xfb")]
        assert system.getxattr(there + b"directory", b"user.\xfb") == b"\xfa"
        system.removexattr(there + b"directory", b"user.\xfb")
        system.unlink(there + b"directory/\xfc")
        system.rmdir(there + b"directory")
    assert [os.fsencode(name) for name in root.children] == [b"\xff\xfe-fifo", b"\xff\xfe-link"]


def test_an_unlinked_note_lives_until_it_is_closed(kernel: AnyKernel) -> None:
    with kernel.serve(Folder(note=Note(b"content"))) as system:
        fd = system.open("note", os.O_RDWR)
        system.unlink("note")
        assert system.fstat(fd).st_nlink == 0
        system.write(fd, b"CONT")
        system.create("note", 0o644, b"another")  # of the same name
        assert system.pread(fd, 99, 0) == b"CONTent"
        assert system.fstat(fd).st_ino != system.stat("note").st_ino
        system.close(fd)
        assert system.read_file("note") == b"another"


def test_hard_links_are_one_file(kernel: AnyKernel) -> None:
    with kernel.serve(Folder(note=Note(b"content"), folder=Folder())) as system:
        system.link("note", "folder/link")
        system.write_file("note", b"CON")
        assert system.read_file("folder/link") == b"CONtent"
        here, there = system.stat("note"), system.stat("folder/link")
        assert (here.st_ino, here.st_nlink) == (there.st_ino, 2)
        system.unlink("note")
        assert system.stat("folder/link").st_nlink == 1


# --- nodeids


class Numbered(Filesystem):
    """Has one file, of a nodeid and a generation. Opening, closing and syncing it is left out."""

    entry_timeout = 0.0
    generation = 1

    def lookup(self, request: Request, parent: int, name: str) -> Entry:
        return Entry(2, self.getattr(request, 2, None), self.generation)

    def getattr(self, request: Request, nodeid: int, fh: int | None) -> Attributes:
        return Attributes(mode=stat.S_IFDIR | 0o755 if nodeid == 1 else stat.S_IFREG | 0o644)


def test_a_nodeid_of_another_generation_is_another_file(kernel: AnyKernel) -> None:
    numbered = Numbered()
    with kernel.serve(numbered) as system:
        fd = system.open("file", os.O_PATH)
        system.fstat(fd)
        numbered.generation = 2
        system.stat("file")
        with refused(errno.EIO):
            system.fstat(fd)
        system.close(fd)


def test_absent_methods_are_asked_for_once_unless_that_would_switch_something_off(
    asked: Asked, kernel: AnyKernel
) -> None:
    with kernel.serve(Numbered()) as system:
        for _ in range(3):
            fd = system.open("file", os.O_RDWR)
            system.fsync(fd)
            system.close(fd)
            system.listdir(".")
            system.statvfs(".")
        names = [line.split()[0] for line in asked()]
    counts = {name: names.count(name) for name in ("OPEN", "OPENDIR", "STATFS", "FSYNC", "FLUSH")}
    assert counts == {"OPEN": 3, "OPENDIR": 3, "STATFS": 3, "FSYNC": 1, "FLUSH": 1}
