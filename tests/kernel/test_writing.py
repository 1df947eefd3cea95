"""Writing: what goes to the daemon, what stays in the cache, and what a writer is told."""

from __future__ import annotations

import errno
import os
import stat
from typing import Any

import pytest

from fusewire.kernel.vfs.iocb import RWF_APPEND, RWF_DSYNC, RWF_NOAPPEND
from fusewire.kernel.vfs.page_cache import Page
from fusewire.wire import InitFlags, WriteFlags, WriteOut
from one_file import FILE, PAGE, USUAL, Rig, failure, one_file

WRITE = "WRITE"


def page(rig: Rig, index: int) -> Page:
    pages = rig.superblock.inodes[FILE].pages
    assert pages is not None
    return pages.pages[index]


def writes(rig: Rig) -> list[tuple[int, int]]:
    return [(offset, size) for name, offset, size in (each for each in rig.asked if each[0] == WRITE)]


def test_a_write_is_one_request_and_can_be_read_back() -> None:
    with one_file() as rig:
        fd = rig.open()
        assert rig.write(fd, b"hello") == 5
        assert rig.asked == [("GETXATTR",), (WRITE, 0, 5)]  # whether it has capabilities to lose
        assert rig.write(fd, b" world") == 6
        assert rig.asked == [(WRITE, 5, 6)]  # it has no xattrs at all, it said
        assert rig.daemon.content[FILE] == b"hello world"
        assert rig.pread(fd, 100, 0) == b"hello world"
        assert rig.fstat(fd).st_size == 11


def test_a_page_written_in_part_is_asked_for_when_it_is_read() -> None:
    with one_file(b"x" * 2 * PAGE) as rig:
        fd = rig.open()
        rig.pwrite(fd, b"new", 10)
        assert not page(rig, 0).uptodate
        assert rig.asked[-1] == (WRITE, 10, 3)
        assert rig.pread(fd, 5, 9) == b"xnewx"
        assert rig.asked == [("READ", 0, PAGE)]


def test_a_page_written_whole_needs_no_read() -> None:
    with one_file(b"x" * 3 * PAGE) as rig:
        fd = rig.open()
        rig.pwrite(fd, b"n" * PAGE, PAGE)
        assert rig.asked[-1] == (WRITE, PAGE, PAGE)
        assert rig.pread(fd, PAGE, PAGE) == b"n" * PAGE
        assert rig.asked == []


def test_a_page_written_in_part_ends_a_request_and_stays_locked_until_it_is_answered() -> None:
    with one_file(b"x" * 3 * PAGE) as rig:
        fd = rig.open()
        rig.daemon.errors["GETXATTR"] = errno.ENOSYS
        rig.daemon.hold = {WRITE}
        writing = rig.start(rig.process.pwrite(fd, b"n" * 2 * PAGE, 100))
        assert writes(rig) == [(100, PAGE - 100)]
        assert page(rig, 0).locked
        reading = rig.start(rig.process.pread(fd, 1, 100))
        assert reading.asleep_on is not None
        assert reading.asleep_on.name == "page 0"
        rig.answer_held()
        assert reading.result == b"n"
        assert writes(rig) == [(PAGE, PAGE + 100)]
        assert not page(rig, 1).locked  # it is whole, and can be read while it is sent
        assert page(rig, 2).locked
        rig.answer_held()
        assert writing.result == 2 * PAGE


def test_an_uptodate_page_is_unlocked_while_a_part_of_it_is_sent() -> None:
    with one_file(b"x" * PAGE) as rig:
        fd = rig.open()
        rig.read(fd, 1)
        rig.daemon.hold = {WRITE}
        writing = rig.start(rig.process.pwrite(fd, b"new", 0))
        assert rig.pread(fd, 4, 0) == b"newx"  # before the daemon has agreed
        rig.answer_held()
        assert writing.result == 3


@pytest.mark.parametrize(
    ("flags", "init", "expected"),
    [
        (USUAL, {}, [(0, 40 * PAGE)]),
        (USUAL, {"max_pages": 16}, [(0, 16 * PAGE), (16 * PAGE, 16 * PAGE), (32 * PAGE, 8 * PAGE)]),
        (USUAL, {"max_write": 30 * PAGE}, [(0, 30 * PAGE), (30 * PAGE, 10 * PAGE)]),
        (USUAL & ~InitFlags.FUSE_BIG_WRITES, {}, [(index * PAGE, PAGE) for index in range(40)]),
    ],
)
def test_how_a_large_write_is_cut(flags: int, init: dict[str, Any], expected: list[tuple[int, int]]) -> None:
    with one_file(flags=flags, **{"max_pages": 256, "max_write": 1 << 20, **init}) as rig:
        assert rig.write(rig.open(), os.urandom(40 * PAGE)) == 40 * PAGE
        assert writes(rig) == expected


def test_without_big_writes_no_request_reaches_over_a_page() -> None:
    with one_file(flags=USUAL & ~InitFlags.FUSE_BIG_WRITES) as rig:
        rig.pwrite(rig.open(), b"x" * 5000, 10)
        assert writes(rig) == [(10, 4086), (4096, 914)]


def test_o_append_writes_at_the_end_wherever_one_is() -> None:
    with one_file(b"hello") as rig:
        fd = rig.open(os.O_RDWR | os.O_APPEND)
        assert rig.write(fd, b" world") == 6
        assert rig.lseek(fd, 0, os.SEEK_CUR) == 11
        assert rig.pwrite(fd, b"!", 0) == 1
        assert writes(rig) == [(5, 6), (11, 1)]
        assert rig.pwritev(fd, [b"J"], 0, RWF_NOAPPEND) == 1
        assert rig.daemon.content[FILE] == b"Jello world!"


def test_flags_of_pwritev_are_those_of_open_for_once() -> None:
    with one_file(b"hello") as rig:
        fd = rig.open()
        assert rig.pwritev(fd, [b" ", b"world"], 0, RWF_APPEND) == 6
        assert rig.pwritev(fd, [b"J"], 0, RWF_DSYNC) == 1
        assert rig.asked[1:] == [(WRITE, 5, 6), (WRITE, 0, 1), ("FSYNC", 1)]
        assert rig.pwritev(fd, [b"ab", b"c"], -1) == 3
        assert rig.lseek(fd, 0, os.SEEK_CUR) == 3
        with pytest.raises(OSError, match="not supported"):
            rig.pwritev(fd, [b"x"], 0, 0x40)
        with pytest.raises(OSError, match="Invalid argument"):
            rig.pwritev(fd, [b"x"], 0, RWF_APPEND | RWF_NOAPPEND)
        assert rig.writev(fd, []) == 0


@pytest.mark.parametrize(("flag", "datasync"), [(os.O_SYNC, 0), (os.O_DSYNC, 1)])
def test_o_sync_has_each_write_followed_by_fsync(flag: int, datasync: int) -> None:
    with one_file() as rig:
        fd = rig.open(os.O_RDWR | flag)
        rig.write(fd, b"x")
        assert rig.asked[1:] == [(WRITE, 0, 1), ("FSYNC", datasync)]
        assert rig.daemon.messages[1].body.flags & os.O_SYNC == flag
        rig.daemon.errors["FSYNC"] = errno.EIO
        with pytest.raises(OSError, match="Input/output error"):
            rig.write(fd, b"x")


def test_the_daemon_may_take_less_and_the_rest_is_not_uptodate() -> None:
    with one_file(b"x" * 4 * PAGE) as rig:
        fd = rig.open()
        rig.read(fd, 4 * PAGE)
        rig.daemon.least = PAGE + 10
        assert rig.pwrite(fd, b"n" * 3 * PAGE, 0) == PAGE + 10
        assert writes(rig) == [(0, 3 * PAGE)]
        assert [page(rig, index).uptodate for index in range(4)] == [True, False, False, True]
        rig.daemon.least = None
        assert rig.pread(fd, 4 * PAGE, 0) == b"n" * (PAGE + 10) + b"x" * (3 * PAGE - 10)


def test_the_daemon_may_refuse_and_nothing_that_was_written_is_believed() -> None:
    with one_file(b"x" * 2 * PAGE) as rig:
        fd = rig.open()
        rig.read(fd, 1)
        rig.daemon.errors[WRITE] = errno.ENOSPC
        with pytest.raises(OSError, match="No space left"):
            rig.pwrite(fd, b"n" * PAGE, 0)
        del rig.daemon.errors[WRITE]
        assert rig.pread(fd, 1, 0) == b"x"


def test_an_error_further_on_leaves_the_writer_what_was_written() -> None:
    with one_file(max_pages=1) as rig:
        fd = rig.open()
        rig.daemon.hold = {WRITE}
        writing = rig.start(rig.process.write(fd, b"x" * 2 * PAGE))
        rig.answer_held()
        rig.daemon.errors[WRITE] = errno.EIO
        rig.answer_held()
        assert writing.result == PAGE
        assert rig.lseek(fd, 0, os.SEEK_CUR) == PAGE


def test_an_answer_of_nothing_or_of_too_much_is_an_io_error() -> None:
    with one_file(b"hello") as rig:
        fd = rig.open()
        rig.daemon.least = 0
        with pytest.raises(OSError, match="Input/output error"):
            rig.write(fd, b"x")
        rig.daemon.write = lambda message: (WriteOut(9),)  # type: ignore[method-assign]
        with pytest.raises(OSError, match="Input/output error"):
            rig.write(fd, b"x")


def test_writers_of_one_file_wait_for_each_other() -> None:
    with one_file() as rig:
        fd, fd2 = rig.open(), rig.open()
        rig.daemon.hold = {WRITE}
        first, second = rig.start(rig.process.write(fd, b"one")), rig.start(rig.process.write(fd2, b"two"))
        assert writes(rig) == [(0, 3)]
        assert second.asleep_on is not None
        assert second.asleep_on.name.startswith("inode semaphore")
        rig.answer_held()
        rig.answer_held()
        assert (first.result, second.result) == (3, 3)


def test_a_size_that_is_told_while_a_write_extends_the_file_is_not_believed() -> None:
    with one_file(b"hello", attr_valid=0) as rig:
        fd = rig.open()
        rig.daemon.hold = {WRITE}
        writing = rig.start(rig.process.pwrite(fd, b"x" * 10, 5))
        rig.daemon.sizes[FILE] = 2
        rig.fstat(fd)
        assert rig.superblock.inodes[FILE].size == 5
        rig.answer_held()
        assert writing.result == 10
        assert rig.superblock.inodes[FILE].size == 15
        assert not rig.superblock.inodes[FILE].size_unstable


def test_a_write_has_the_attributes_asked_for_anew() -> None:
    with one_file(b"hello") as rig:
        fd = rig.open()
        rig.fstat(fd)
        assert rig.asked == []
        rig.write(fd, b"x")
        rig.fstat(fd)
        assert rig.asked[-1] == ("GETATTR",)


def test_a_signal_to_a_writer_is_told_to_the_daemon_and_its_answer_counts() -> None:
    with one_file() as rig:
        fd = rig.open()
        rig.daemon.hold = {WRITE}
        writing = rig.start(rig.process.write(fd, b"x" * 10))
        writing.interrupt()
        rig.go_on()
        assert not writing.finished
        rig.answer_held()
        assert writing.result == 10


def test_who_may_not_keep_suid_has_the_daemon_take_it_off() -> None:
    flags = USUAL | InitFlags.FUSE_HANDLE_KILLPRIV_V2
    for uid, expected in ((0, 0), (1000, WriteFlags.FUSE_WRITE_KILL_SUIDGID)):
        with one_file(flags=flags, uid=uid, mode=0o666) as rig:
            rig.write(rig.open(), b"x")
            assert rig.daemon.messages[-1].body.write_flags == expected


def test_a_write_takes_suid_off_where_the_daemon_does_not() -> None:
    with one_file(mode=stat.S_ISUID | 0o777, uid=1000) as rig:
        rig.write(rig.open(), b"x")
        assert [name for name, *_ in rig.asked] == ["GETXATTR", "GETATTR", "SETATTR", WRITE]


@pytest.mark.parametrize(
    ("name", "arguments", "code"),
    [
        ("pwrite", (b"x", -1), errno.EINVAL),
        ("pwrite", (b"x", (1 << 63) - 1), errno.EINVAL),
        ("pwrite", (b"", (1 << 63) - 1), 0),
        ("pwritev", ([b"x"], -2), errno.EINVAL),
        ("writev", ([b"x"] * 1025,), errno.EINVAL),
    ],
)
def test_a_write_that_cannot_be_is_refused_without_asking(name: str, arguments: tuple[object, ...], code: int) -> None:
    with one_file(b"hello") as rig:
        fd = rig.open()
        assert failure(getattr(rig, name), fd, *arguments) == code
        assert rig.asked == []


def test_a_descriptor_that_is_not_for_writing_is_bad() -> None:
    with one_file(b"hello") as rig:
        fd = rig.open(os.O_RDONLY)
        assert failure(rig.write, fd, b"x") == errno.EBADF
        assert failure(rig.pwrite, fd, b"x", 0) == errno.EBADF
        assert failure(rig.writev, fd, []) == errno.EBADF
        assert failure(rig.write, 99, b"x") == errno.EBADF


def test_an_empty_write_asks_nothing() -> None:
    with one_file() as rig:
        assert rig.write(rig.open(), b"") == 0
        assert rig.asked == []


def test_any_buffer_of_bytes_can_be_written() -> None:
    with one_file() as rig:
        fd = rig.open()
        rig.write(fd, bytearray(b"ab"))
        rig.write(fd, memoryview(b"cdef")[::1])
        assert rig.daemon.content[FILE] == b"abcdef"
