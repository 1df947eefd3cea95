"""Direct I/O: bytes that pass the page cache by, because the daemon wants it or the program."""

from __future__ import annotations

import errno
import os

import pytest

from fusewire.kernel.vfs.attr import STATX_ATIME
from fusewire.wire import InitFlags, OpenFlags, ReadFlags, SetattrValid, WriteFlags, WriteOut
from one_file import FILE, PAGE, USUAL, Rig, one_file

DIRECT = OpenFlags.FOPEN_DIRECT_IO
PARALLEL = DIRECT | OpenFlags.FOPEN_PARALLEL_DIRECT_WRITES
AT_ONCE = USUAL | InitFlags.FUSE_ASYNC_DIO
TEXT = bytes(range(251)) * 200


def direct(rig: Rig) -> int:
    return rig.open(os.O_RDWR | os.O_DIRECT)


def test_each_read_is_a_read_as_it_was_asked_for() -> None:
    with one_file(TEXT, open_flags=DIRECT) as rig:
        fd = rig.open()
        assert rig.pread(fd, 100, 7) == rig.pread(fd, 100, 7) == TEXT[7:107]
        assert rig.asked == [("READ", 7, 100), ("READ", 7, 100)]
        assert rig.superblock.inodes[FILE].pages is None


def test_the_daemon_is_told_who_reads_and_writes() -> None:
    with one_file(TEXT, open_flags=DIRECT, uid=1000, mode=0o666) as rig:
        fd = rig.open()
        rig.read(fd, 1)
        rig.write(fd, b"x")
        read, write = (message.body for message in rig.daemon.messages)
        assert read.read_flags == ReadFlags.FUSE_READ_LOCKOWNER
        assert write.write_flags == WriteFlags.FUSE_WRITE_LOCKOWNER | WriteFlags.FUSE_WRITE_KILL_SUIDGID
        assert read.lock_owner == write.lock_owner != 0


def test_the_size_that_we_know_does_not_end_a_read_of_a_daemon_that_wants_direct_io() -> None:
    with one_file(TEXT, open_flags=DIRECT) as rig:
        rig.daemon.sizes[FILE] = 0
        assert rig.read(rig.open(), 10) == TEXT[:10]
        assert rig.asked == [("READ", 0, 10)]


def test_a_short_answer_ends_a_read_and_a_write() -> None:
    with one_file(TEXT, open_flags=DIRECT, max_pages=1) as rig:
        fd = rig.open()
        rig.daemon.least = 100
        assert rig.read(fd, 3 * PAGE) == TEXT[:100]
        assert rig.write(fd, b"x" * 3 * PAGE) == 100
        assert rig.asked == [("READ", 0, PAGE), ("WRITE", 100, PAGE)]


def test_what_is_larger_than_a_request_goes_in_turn() -> None:
    with one_file(TEXT, open_flags=DIRECT, max_pages=4, max_write=2 * PAGE) as rig:
        fd = rig.open()
        assert rig.read(fd, 10 * PAGE) == TEXT[: 10 * PAGE]
        assert rig.asked == [("READ", 0, 4 * PAGE), ("READ", 4 * PAGE, 4 * PAGE), ("READ", 8 * PAGE, 2 * PAGE)]
        assert rig.pwrite(fd, b"x" * 3 * PAGE, 5) == 3 * PAGE
        assert rig.asked == [("WRITE", 5, 2 * PAGE), ("WRITE", 5 + 2 * PAGE, PAGE)]


def test_an_error_after_some_bytes_leaves_what_came() -> None:
    with one_file(TEXT, open_flags=DIRECT, max_pages=1) as rig:
        fd = rig.open()
        rig.daemon.hold = {"READ"}
        reading = rig.start(rig.process.read(fd, 2 * PAGE))
        rig.answer_held()
        rig.daemon.errors["READ"] = errno.EIO
        rig.answer_held()
        assert reading.result == TEXT[:PAGE]
        rig.daemon.hold = set()
        with pytest.raises(OSError, match="Input/output error"):
            rig.read(fd, 1)


def test_a_daemon_that_takes_nothing_is_no_error_but_one_that_takes_too_much_is() -> None:
    with one_file(open_flags=DIRECT) as rig:
        fd = rig.open()
        rig.daemon.least = 0
        assert rig.write(fd, b"x") == 0
        rig.daemon.write = lambda message: (WriteOut(2),)  # type: ignore[method-assign]
        with pytest.raises(OSError, match="Input/output error"):
            rig.write(fd, b"x")


def test_a_direct_write_drops_the_pages_that_others_read() -> None:
    with one_file(b"x" * 3 * PAGE) as rig:
        cached = rig.open()
        rig.read(cached, 3 * PAGE)
        rig.daemon.open_flags = DIRECT | OpenFlags.FOPEN_KEEP_CACHE
        rig.pwrite(rig.open(), b"new", PAGE)
        pages = rig.superblock.inodes[FILE].pages
        assert pages is not None
        assert sorted(pages.pages) == [0, 2]
        assert rig.pread(cached, 4, PAGE) == b"newx"


def test_no_write_asks_for_capabilities_under_direct_io() -> None:
    with one_file(open_flags=DIRECT) as rig:
        rig.write(rig.open(os.O_RDWR | os.O_SYNC), b"x")
        assert rig.asked == [("WRITE", 0, 1)]  # nor is it followed by FSYNC


def test_direct_writes_to_one_file_wait_for_each_other_unless_the_daemon_allows_them() -> None:
    for open_flags, together in ((DIRECT, 1), (PARALLEL, 2)):
        with one_file(TEXT, open_flags=open_flags) as rig:
            fd, fd2 = rig.open(), rig.open()
            rig.daemon.hold = {"WRITE"}
            tasks = [rig.start(rig.process.pwrite(fd, b"1", 0)), rig.start(rig.process.pwrite(fd2, b"2", 9))]
            assert len(rig.daemon.held) == together
            rig.answer_held()
            rig.answer_held()
            assert [task.result for task in tasks] == [1, 1]
            assert rig.superblock.inodes[FILE].iocachectr == 0


def test_a_write_that_extends_the_file_or_appends_is_alone() -> None:
    for flags, offset in ((os.O_RDWR, len(TEXT)), (os.O_RDWR | os.O_APPEND, 0)):
        with one_file(TEXT, open_flags=PARALLEL) as rig:
            fd = rig.open(flags)
            rig.daemon.hold = {"WRITE"}
            rig.start(rig.process.pwrite(fd, b"1", offset))
            rig.start(rig.process.pwrite(fd, b"2", 0))
            assert len(rig.daemon.held) == 1


def test_parallel_writes_and_users_of_the_page_cache_do_not_meet() -> None:
    with one_file(TEXT, open_flags=PARALLEL) as rig:
        fd = rig.open()
        rig.daemon.hold = {"WRITE"}
        writing = rig.start(rig.process.pwrite(fd, b"1", 0))
        assert rig.superblock.inodes[FILE].iocachectr == -1
        rig.daemon.open_flags = 0
        opening = rig.start(rig.process.open("/f", os.O_RDONLY))
        assert not opening.finished
        rig.answer_held()
        assert writing.result == 1
        assert opening.finished
        rig.start(rig.process.pwrite(fd, b"1", 0))
        rig.start(rig.process.pwrite(fd, b"2", 9))
        assert len(rig.daemon.held) == 1  # now that somebody uses the cache, writes are alone


def test_o_direct_reads_no_further_than_the_file_is_known_to_reach() -> None:
    with one_file(TEXT) as rig:
        rig.daemon.sizes[FILE] = PAGE
        fd = direct(rig)
        assert rig.pread(fd, 10, PAGE) == b""
        assert rig.asked == []


def test_what_an_o_direct_read_lacks_is_read_through_the_cache() -> None:
    with one_file(TEXT) as rig:
        fd = direct(rig)
        rig.daemon.hold = {"READ"}
        reading = rig.start(rig.process.read(fd, PAGE))
        rig.daemon.least = 100
        rig.answer_held(1)
        rig.daemon.least = None
        rig.answer_held()
        assert reading.result == TEXT[:PAGE]
        assert rig.asked == [("READ", 0, PAGE), ("READ", 0, 4 * PAGE)]


def test_under_async_dio_all_requests_go_out_at_once() -> None:
    with one_file(TEXT, flags=AT_ONCE, max_pages=2) as rig:
        fd = direct(rig)
        rig.daemon.hold = {"READ", "WRITE"}
        reading = rig.start(rig.process.read(fd, 6 * PAGE))
        assert rig.asked == [("READ", 0, 2 * PAGE), ("READ", 2 * PAGE, 2 * PAGE), ("READ", 4 * PAGE, 2 * PAGE)]
        assert not reading.finished
        rig.daemon.held.reverse()
        rig.answer_held()
        assert reading.result == TEXT[: 6 * PAGE]
        writing = rig.start(rig.process.pwrite(fd, b"x" * 4 * PAGE, 0))
        assert len(rig.daemon.held) == 2
        rig.answer_held()
        assert writing.result == 4 * PAGE


def test_under_async_dio_the_time_of_access_is_old_before_the_answer_is_there() -> None:
    with one_file(TEXT, flags=AT_ONCE) as rig:
        fd = direct(rig)
        rig.daemon.hold = {"READ"}
        rig.start(rig.process.read(fd, PAGE))
        assert rig.superblock.inodes[FILE].stale(STATX_ATIME)
        rig.answer_held()


def test_of_requests_at_once_only_what_has_no_gap_counts() -> None:
    with one_file(TEXT, flags=AT_ONCE, max_pages=1) as rig:
        fd = direct(rig)
        rig.daemon.hold = {"READ"}
        reading = rig.start(rig.process.pread(fd, 3 * PAGE, 0))
        rig.answer_held(1)
        rig.daemon.least = 10
        rig.answer_held(1)
        rig.daemon.least = None
        rig.daemon.hold = set()
        rig.answer_held()
        assert reading.result == TEXT[: 3 * PAGE]  # the rest came through the cache
        assert rig.asked[3:] == [("READ", PAGE, PAGE), ("READ", 2 * PAGE, PAGE)]


def test_an_error_in_any_of_them_is_the_error_of_all() -> None:
    with one_file(TEXT, flags=AT_ONCE, max_pages=1) as rig:
        fd = direct(rig)
        rig.daemon.hold = {"READ"}
        reading = rig.start(rig.process.pread(fd, 3 * PAGE, 0))
        rig.answer_held(1)
        rig.daemon.errors["READ"] = errno.EACCES
        rig.answer_held(1)
        assert not reading.finished
        del rig.daemon.errors["READ"]
        rig.answer_held()
        assert isinstance(reading.result, PermissionError)


def test_an_extending_write_that_fails_is_cut_back() -> None:
    with one_file(b"hello", flags=AT_ONCE) as rig:
        fd = direct(rig)
        rig.daemon.errors["WRITE"] = errno.ENOSPC
        with pytest.raises(OSError, match="No space left"):
            rig.pwrite(fd, b"x" * PAGE, 3)
        through_the_file = SetattrValid.FATTR_SIZE | SetattrValid.FATTR_FH | SetattrValid.FATTR_LOCKOWNER
        assert rig.asked[-1] == ("SETATTR", through_the_file, 5)


def test_a_short_write_at_once_is_an_error_and_in_turn_is_finished_through_the_cache() -> None:
    with one_file(b"hello" * PAGE, flags=AT_ONCE) as rig:
        rig.daemon.least = 10
        with pytest.raises(OSError, match="Input/output error"):
            rig.pwrite(direct(rig), b"x" * 100, 0)
    with one_file(b"hello" * PAGE) as rig:
        rig.daemon.least = 60
        assert rig.pwrite(direct(rig), b"x" * 100, 0) == 100
        assert rig.asked == [("GETXATTR",), ("WRITE", 0, 100), ("WRITE", 60, 40)]


def test_the_gate_holds_back_requests_at_once_and_a_kill_fails_those() -> None:
    with one_file(TEXT, flags=AT_ONCE, max_pages=1, max_background=2) as rig:
        fd = direct(rig)
        rig.daemon.hold = {"READ"}
        reading = rig.start(rig.process.pread(fd, 4 * PAGE, 0))
        assert len(rig.daemon.held) == 2
        reading.kill()
        rig.go_on()
        assert not reading.finished  # it waits for the two that are under way
        rig.answer_held()
        assert reading.finished
