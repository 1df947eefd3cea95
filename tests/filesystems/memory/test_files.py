"""The filesystem in memory, asked directly: times, and the content of files."""

from __future__ import annotations

import errno
import os

import pytest

from fusewire.daemon.values import UTIME_NOW, Attributes, SetAttributes
from memory_caller import Caller, all_refused, refused

HUGE = 2**63
PAGE = 4096
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16
LONG_AGO = SetAttributes(atime_ns=1, mtime_ns=1, ctime_ns=1)


def old(caller: Caller, *nodeids: int) -> None:
    """Set all times of some nodes to the beginning of time."""
    for nodeid in nodeids:
        caller.setattr(nodeid, LONG_AGO)


def marked(caller: Caller, nodeid: int) -> str:
    """Which times of a node are no longer what `old` made of them."""
    attributes: Attributes = caller.getattr(nodeid, None)
    times = {"a": attributes.atime_ns, "m": attributes.mtime_ns, "c": attributes.ctime_ns}
    return "".join(letter for letter, time in times.items() if time != 1)


# --- times


def test_times_are_marked_as_posix_says(root: Caller) -> None:
    here, there = root.directory("here"), root.directory("there")
    file, other = root.file("f", b"123", parent=here), root.file("o", parent=there)
    link, directory = root.symlink(here, "s", "x").nodeid, root.directory("d", here)
    target = root.file("t", b"abc", parent=there)
    fh = root.opendir(here, 0).fh
    nodes = {"here": here, "there": there, "f": file, "o": other, "s": link, "d": directory, "t": target}
    for what, do, wanted in (
        ("read", lambda: root.read(file, 0, 0, 1), {"f": "a"}),
        ("write", lambda: root.write(file, 0, 0, memoryview(b"x")), {"f": "mc"}),
        ("write nothing", lambda: root.write(file, 0, 0, memoryview(b"")), {}),
        ("readlink", lambda: root.readlink(link), {"s": "a"}),
        ("readdir", lambda: root.readdir(here, fh, 0), {"here": "a"}),
        ("create", lambda: root.file("new", parent=here), {"here": "mc"}),
        ("unlink", lambda: root.unlink(here, "new"), {"here": "mc"}),
        ("link", lambda: root.link(file, there, "g"), {"f": "c", "there": "mc"}),
        ("unlink one of two", lambda: root.unlink(there, "g"), {"f": "c", "there": "mc"}),
        ("rename", lambda: root.rename(here, "f", there, "f", 0), {"f": "c", "here": "mc", "there": "mc"}),
        ("rename back", lambda: root.rename(there, "f", here, "f", 0), {"f": "c", "here": "mc", "there": "mc"}),
        ("replace", lambda: root.rename(here, "f", there, "o", 0), {"f": "c", "o": "c", "here": "mc", "there": "mc"}),
        ("exchange", lambda: root.rename(here, "d", there, "o", 2), {"f": "c", "d": "c", "here": "mc", "there": "mc"}),
        ("chmod", lambda: root.setattr(file, SetAttributes(mode=0o600)), {"f": "c"}),
        ("chown", lambda: root.setattr(file, SetAttributes(uid=5)), {"f": "c"}),
        ("utime", lambda: root.setattr(file, SetAttributes(mtime_ns=5)), {"f": "mc"}),
        ("utime now", lambda: root.setattr(file, SetAttributes(atime_ns=UTIME_NOW)), {"f": "ac"}),
        ("truncate", lambda: root.setattr(file, SetAttributes(size=7)), {"f": "mc"}),
        ("ftruncate to the same", lambda: root.setattr(file, SetAttributes(size=7, fh=0)), {"f": "mc"}),
        ("O_TRUNC", lambda: root.setattr(other, SetAttributes(size=0)), {"o": "mc"}),
        ("fallocate", lambda: root.fallocate(file, 0, 0, 1, KEEP_SIZE), {"f": "mc"}),
        ("setxattr", lambda: root.setxattr(file, "user.x", b"1", 0), {"f": "c"}),
        ("removexattr", lambda: root.removexattr(file, "user.x"), {"f": "c"}),
        ("copy", lambda: root.copy_file_range(target, 0, 0, file, 0, 0, 3, 0), {"f": "mc", "t": "a"}),
    ):
        old(root, *nodes.values())
        do()
        assert {name: marked(root, nodeid) for name, nodeid in nodes.items() if marked(root, nodeid)} == wanted, what


def test_a_truncate_to_the_same_size_is_no_change(root: Caller) -> None:
    file = root.file("f", b"1234567")
    old(root, file)
    root.setattr(file, SetAttributes(size=7))
    assert root.getattr(file, None).mtime_ns == 1


def test_atime_is_brought_up_to_date_only_when_it_is_behind(root: Caller) -> None:
    file = root.file("f", b"x")
    root.read(file, 0, 0, 1)
    first = root.getattr(file, None).atime_ns
    root.read(file, 0, 0, 1)
    assert root.getattr(file, None).atime_ns == first
    root.write(file, 0, 0, memoryview(b"y"))
    root.read(file, 0, 0, 1)
    assert root.getattr(file, None).atime_ns > first


def test_atime_is_behind_a_modification_in_the_future(root: Caller) -> None:
    file = root.file("f", b"x")
    root.setattr(file, SetAttributes(mtime_ns=2**62))
    root.read(file, 0, 0, 1)
    first = root.getattr(file, None)
    root.read(file, 0, 0, 1)
    assert root.getattr(file, None).atime_ns > first.atime_ns > first.ctime_ns


def test_o_noatime_is_honoured(root: Caller) -> None:
    file = root.file("f", b"x")
    old(root, file)
    root.filesystem.read(root.request("READ", flags=os.O_NOATIME), file, 0, 0, 1)
    assert marked(root, file) == ""


def test_linux_may_keep_pages_unless_a_reader_would_go_unnoticed(root: Caller) -> None:
    file = root.file("f", b"x")
    assert not root.open(file, os.O_RDONLY).keep_cache  # nobody has read what was written
    assert not root.open(file, os.O_RDWR).keep_cache
    assert root.open(file, os.O_WRONLY).keep_cache
    root.read(file, 0, 0, 1)
    assert root.open(file, os.O_RDONLY).keep_cache


def test_times_before_1970_and_far_off_are_kept(root: Caller) -> None:
    file = root.file("f")
    attributes = root.setattr(file, SetAttributes(atime_ns=-1, mtime_ns=10**20))
    assert (attributes.atime_ns, attributes.mtime_ns) == (-1, 10**20)


def test_the_time_of_birth_never_changes(root: Caller) -> None:
    file = root.file("f")
    born = root.statx(file).btime_ns
    root.setattr(file, SetAttributes(mode=0, mtime_ns=1))
    assert root.statx(file).btime_ns == born > 0


# --- content


def test_content_is_bytes_and_holes(root: Caller) -> None:
    file = root.file("f", b"abc")
    assert root.write(file, 0, 5 * PAGE, memoryview(b"end")) == 3
    attributes = root.getattr(file, None)
    assert (attributes.size, attributes.blocks, attributes.blksize) == (5 * PAGE + 3, 16, PAGE)
    assert root.read(file, 0, 1, 4) == b"bc\0\0"
    assert root.read(file, 0, 5 * PAGE + 1, 100) == b"nd"
    assert root.read(file, 0, 6 * PAGE, 100) == b""


def test_what_was_cut_off_does_not_come_back(root: Caller) -> None:
    file = root.file("f", b"secret")
    root.setattr(file, SetAttributes(size=2))
    root.setattr(file, SetAttributes(size=10))
    assert root.read(file, 0, 0, 100) == b"se" + bytes(8)


def test_seeking_finds_data_and_holes(root: Caller) -> None:
    file = root.file("f")
    root.write(file, 0, 2 * PAGE, memoryview(bytes([1]) * PAGE))
    root.setattr(file, SetAttributes(size=9 * PAGE))
    assert root.lseek(file, 0, 0, os.SEEK_DATA) == 2 * PAGE
    assert root.lseek(file, 0, 0, os.SEEK_HOLE) == 0
    assert root.lseek(file, 0, 2 * PAGE + 7, os.SEEK_DATA) == 2 * PAGE + 7
    assert root.lseek(file, 0, 2 * PAGE + 7, os.SEEK_HOLE) == 3 * PAGE
    for offset, whence in ((3 * PAGE, os.SEEK_DATA), (9 * PAGE, os.SEEK_HOLE), (9 * PAGE, os.SEEK_DATA), (-1, 3)):
        with refused(errno.ENXIO):
            root.lseek(file, 0, offset, whence)
    with refused(errno.EINVAL):
        root.lseek(file, 0, 0, os.SEEK_END)


def test_fallocate_reserves_zeroes_and_punches(root: Caller) -> None:
    file = root.file("f", b"x" * 3 * PAGE)
    root.fallocate(file, 0, 4 * PAGE, 10, KEEP_SIZE)
    assert (root.getattr(file, None).size, root.getattr(file, None).blocks) == (3 * PAGE, 32)
    root.fallocate(file, 0, 4 * PAGE, 10, 0)
    assert (root.getattr(file, None).size, root.getattr(file, None).blocks) == (4 * PAGE + 10, 32)
    root.fallocate(file, 0, 1, PAGE, ZERO_RANGE)
    assert root.read(file, 0, 0, PAGE + 2) == b"x" + bytes(PAGE) + b"x"
    root.fallocate(file, 0, PAGE, PAGE, PUNCH_HOLE | KEEP_SIZE)
    assert (root.getattr(file, None).size, root.getattr(file, None).blocks) == (4 * PAGE + 10, 24)
    root.fallocate(file, 0, 5 * PAGE, PAGE, ZERO_RANGE)
    assert root.getattr(file, None).size == 6 * PAGE


@pytest.mark.parametrize(
    ("code", "offset", "length", "mode"),
    [
        (errno.EINVAL, -1, 1, 0),
        (errno.EINVAL, 0, 0, 0),
        (errno.EINVAL, 0, -1, 0),
        (errno.EFBIG, HUGE - 2, 2, KEEP_SIZE),
        (errno.EOPNOTSUPP, 0, 1, PUNCH_HOLE),
        (errno.EOPNOTSUPP, 0, 1, 8),
        (errno.EOPNOTSUPP, 0, 1, ZERO_RANGE | PUNCH_HOLE),
        (errno.ENOSPC, 0, 2 << 20, 0),
    ],
)
def test_fallocate_refuses_what_it_cannot_do(root: Caller, code: int, offset: int, length: int, mode: int) -> None:
    file = root.file("f", b"x")
    with refused(code):
        root.fallocate(file, 0, offset, length, mode)
    assert (root.getattr(file, None).size, root.getattr(file, None).blocks) == (1, 8)


def test_offsets_out_of_all_bounds_are_refused(root: Caller) -> None:
    file = root.file("f", b"x")
    all_refused(
        (errno.EFBIG, lambda: root.write(file, 0, HUGE, memoryview(b"x"))),
        (errno.EFBIG, lambda: root.write(file, 0, HUGE - 1, memoryview(b"x"))),
        (errno.EFBIG, lambda: root.setattr(file, SetAttributes(size=HUGE))),
        (errno.EFBIG, lambda: root.copy_file_range(file, 0, 0, file, 0, HUGE, 1, 0)),
        (errno.EINVAL, lambda: root.read(file, 0, -1, 1)),
        (errno.EINVAL, lambda: root.write(file, 0, -1, memoryview(b"x"))),
        (errno.EINVAL, lambda: root.setattr(file, SetAttributes(size=-1))),
        (errno.EINVAL, lambda: root.copy_file_range(file, 0, -1, file, 0, 5, 1, 0)),
        (errno.EINVAL, lambda: root.copy_file_range(file, 0, 0, file, 0, -1, 1, 0)),
    )
    assert root.read(file, 0, HUGE, 5) == b""
    assert root.read(file, 0, 0, 5) == b"x"


def test_copying_goes_from_file_to_file_and_within_one(root: Caller) -> None:
    source, target = root.file("s", b"0123456789"), root.file("t")
    assert root.copy_file_range(source, 0, 2, target, 0, 1, 4, 0) == 4
    assert root.read(target, 0, 0, 100) == b"\x002345"
    assert root.copy_file_range(source, 0, 0, source, 0, 10, 10, 0) == 10
    assert root.read(source, 0, 0, 100) == b"0123456789" * 2
    assert root.copy_file_range(source, 0, 20, target, 0, 0, 5, 0) == 0
    with refused(errno.EINVAL):  # they overlap
        root.copy_file_range(source, 0, 0, source, 0, 5, 6, 0)
    with refused(errno.EINVAL):
        root.copy_file_range(source, 0, 0, target, 0, 5, 6, 1)
