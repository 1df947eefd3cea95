"""Reading through the page cache: what is asked of the daemon, and what a reader gets."""

from __future__ import annotations

import errno
import os

import pytest

from fusewire.kernel.tasks import Killed
from fusewire.wire import InitFlags
from one_file import FILE, PAGE, USUAL, failure, one_file

TEXT = bytes(range(251)) * 100  # no two pages alike


def test_what_was_read_once_is_not_asked_for_again() -> None:
    with one_file(TEXT) as rig:
        fd = rig.open()
        assert rig.read(fd, 10) == TEXT[:10]
        assert rig.asked == [("READ", 0, 4 * PAGE)]  # one page was wanted, and three were read ahead
        assert rig.pread(fd, 3000, 500) == TEXT[500:3500]
        assert rig.asked == []


def test_reading_moves_the_position_and_pread_does_not() -> None:
    with one_file(TEXT) as rig:
        fd = rig.open()
        assert rig.pread(fd, 7, 100) == TEXT[100:107]
        assert rig.read(fd, 5) + rig.read(fd, 5) == TEXT[:10]
        assert rig.lseek(fd, 0, os.SEEK_CUR) == 10


def test_the_end_of_the_file_ends_a_read() -> None:
    with one_file(TEXT) as rig:
        fd = rig.open()
        assert rig.pread(fd, 10_000, len(TEXT) - 3) == TEXT[-3:]
        assert rig.pread(fd, 10, len(TEXT)) == b""
        assert rig.read(fd, 1 << 40) == TEXT


def test_the_last_page_is_asked_for_whole() -> None:
    with one_file(b"hello") as rig:
        assert rig.read(rig.open(), 100) == b"hello"
        assert rig.asked == [("READ", 0, PAGE)]


def test_a_read_beyond_the_end_asks_for_the_size_if_it_may_be_out_of_date() -> None:
    with one_file(b"hello", attr_valid=0) as rig:
        fd = rig.open()
        assert rig.read(fd, 5) == b"hello"
        assert rig.asked == [("READ", 0, PAGE)]
        rig.daemon.content[FILE] += b" world"
        assert rig.read(fd, 100) == b" world"
        assert rig.asked == [("GETATTR",), ("READ", 0, PAGE)]
        assert rig.daemon.messages[-2].body.fh == 7 + FILE  # through the file that is read


def test_with_auto_inval_data_a_new_time_of_modification_empties_the_cache() -> None:
    with one_file(b"old", flags=USUAL | InitFlags.FUSE_AUTO_INVAL_DATA, attr_valid=0) as rig:
        fd = rig.open()
        assert rig.read(fd, 3) == b"old"
        assert rig.asked == [("GETATTR",), ("READ", 0, PAGE)]
        assert rig.pread(fd, 3, 0) == b"old"
        assert rig.asked == [("GETATTR",)]
        rig.daemon.content[FILE][:] = b"new"
        rig.daemon.mtime += 1
        assert rig.pread(fd, 3, 0) == b"new"
        assert rig.asked == [("GETATTR",), ("READ", 0, PAGE)]


def test_a_short_answer_is_the_end_of_the_file_and_zeros_after_it() -> None:
    with one_file(b"hello") as rig:
        rig.daemon.sizes[FILE] = 3 * PAGE
        fd = rig.open()
        assert rig.read(fd, 3 * PAGE) == b"hello"
        inode = rig.superblock.inodes[FILE]
        assert inode.size == 5
        assert inode.pages is not None
        assert all(page.uptodate for page in inode.pages.pages.values())
        assert inode.pages.pages[1].data == bytes(PAGE)


def test_a_short_answer_says_nothing_if_the_attributes_have_changed_meanwhile() -> None:
    with one_file(b"hello") as rig:
        rig.daemon.sizes[FILE] = PAGE
        fd = rig.open()
        rig.daemon.hold = {"READ"}
        reading = rig.start(rig.process.read(fd, PAGE))
        rig.superblock.inodes[FILE].bump()
        rig.answer_held()
        assert reading.result == b"hello" + bytes(PAGE - 5)


def test_a_read_that_fails_is_tried_once_more_alone_and_its_error_is_the_callers() -> None:
    with one_file(TEXT) as rig:
        fd = rig.open()
        rig.daemon.errors["READ"] = errno.EACCES
        with pytest.raises(PermissionError):
            rig.read(fd, 10)
        assert rig.asked == [("READ", 0, 4 * PAGE), ("READ", 0, PAGE)]
        del rig.daemon.errors["READ"]
        assert rig.read(fd, 10) == TEXT[:10]
        assert rig.asked == [("READ", 0, PAGE)]


def test_an_error_further_on_leaves_the_reader_what_he_had() -> None:
    with one_file(TEXT) as rig:
        fd = rig.open()
        rig.read(fd, 10)
        rig.daemon.errors["READ"] = errno.EIO
        assert rig.pread(fd, len(TEXT), 0) == TEXT[: 4 * PAGE]
        with pytest.raises(OSError, match="Input/output error"):
            rig.pread(fd, 10, 4 * PAGE)


def test_two_readers_of_one_page_ask_once() -> None:
    with one_file(TEXT) as rig:
        fd, fd2 = rig.open(), rig.open()
        rig.daemon.hold = {"READ"}
        first, second = rig.start(rig.process.read(fd, 10)), rig.start(rig.process.read(fd2, 10))
        assert rig.asked == [("READ", 0, 4 * PAGE)]
        rig.answer_held()
        assert first.result == second.result == TEXT[:10]


def test_who_waits_for_a_page_can_be_killed() -> None:
    with one_file(TEXT) as rig:
        fd, fd2 = rig.open(), rig.open()
        rig.daemon.hold = {"READ"}
        first, second = rig.start(rig.process.read(fd, 10)), rig.start(rig.process.read(fd2, 10))
        second.kill()
        rig.go_on()
        assert isinstance(second.result, Killed)
        rig.answer_held()
        assert first.result == TEXT[:10]


def test_nobody_who_reads_holds_the_inode_semaphore() -> None:
    with one_file(TEXT) as rig:
        fd = rig.open()
        rig.daemon.hold = {"READ"}
        reading = rig.start(rig.process.read(fd, 10))
        rig.pwrite(fd, b"x", len(TEXT))
        assert not reading.finished
        rig.answer_held()
        assert reading.result == TEXT[:10]


def test_a_read_on_its_way_holds_the_open_file() -> None:
    with one_file(TEXT) as rig:
        fd = rig.open()
        released: list[str] = []
        rig.daemon.release = lambda message: released.append("RELEASE") or ()  # type: ignore[func-returns-value,method-assign]
        rig.daemon.hold = {"READ"}
        rig.posix_fadvise(fd, 0, PAGE, os.POSIX_FADV_WILLNEED)  # which does not wait
        rig.close(fd)
        rig.go_on()
        assert released == []
        rig.answer_held()
        assert released == ["RELEASE"]


def test_an_abort_ends_a_read_and_leaves_the_page_unlocked_and_not_uptodate() -> None:
    with one_file(TEXT) as rig:
        fd = rig.open()
        rig.daemon.hold = {"READ"}
        reading = rig.start(rig.process.read(fd, 10))
        rig.connection.abort()
        rig.go_on()
        assert isinstance(reading.result, ConnectionError | OSError)
        pages = rig.superblock.inodes[FILE].pages
        assert pages is not None
        assert not any(page.locked or page.uptodate for page in pages.pages.values())


def test_cached_pages_are_readable_after_an_abort() -> None:
    with one_file(b"hello") as rig:
        fd = rig.open()
        rig.read(fd, 5)
        rig.connection.abort()
        assert rig.pread(fd, 5, 0) == b"hello"


def test_read_vectors_are_filled_one_after_the_other() -> None:
    with one_file(b"hello world") as rig:
        fd = rig.open()
        first, second = bytearray(3), bytearray(100)
        assert rig.readv(fd, [first, second]) == 11
        assert bytes(first + second[:8]) == b"hello world"
        assert rig.preadv(fd, [first, second], 6) == 5
        assert bytes(first + second[:2]) == b"world"
        assert rig.lseek(fd, 2, os.SEEK_SET) == 2
        assert rig.preadv(fd, [first], -1) == 3
        assert first == b"llo"
        assert rig.lseek(fd, 0, os.SEEK_CUR) == 5
        assert rig.preadv(fd, [], 1 << 40, 0x40) == 0


def test_what_finds_no_memory_in_a_later_buffer_is_not_read() -> None:
    with one_file(b"hello world") as rig:
        fd = rig.open()
        room = bytearray(5)
        nowhere = b"read only"
        assert rig.readv(fd, [room, nowhere]) == 5
        assert rig.lseek(fd, 0, os.SEEK_CUR) == 5
        assert failure(rig.readv, fd, [nowhere, room]) == errno.EFAULT
        assert rig.lseek(fd, 0, os.SEEK_CUR) == 5
        assert room == b"hello"


@pytest.mark.parametrize(
    ("name", "arguments", "code"),
    [
        ("read", (-1,), errno.EINVAL),
        ("pread", (10, -1), errno.EINVAL),
        ("pread", (10, (1 << 63) - 5), errno.EINVAL),
        ("preadv", ([bytearray(1)], -2), errno.EINVAL),
        ("preadv", ([bytearray(1)], 0, 0x40), errno.EOPNOTSUPP),
        ("readv", ([bytearray(1)] * 1025,), errno.EINVAL),
    ],
)
def test_a_read_that_cannot_be_is_refused_without_asking(name: str, arguments: tuple[object, ...], code: int) -> None:
    with one_file(b"hello") as rig:
        fd = rig.open()
        assert failure(getattr(rig, name), fd, *arguments) == code
        assert rig.asked == []


def test_a_descriptor_that_is_not_for_reading_is_bad() -> None:
    with one_file(b"hello") as rig:
        fd = rig.open(os.O_WRONLY)
        assert failure(rig.read, fd, 1) == errno.EBADF
        assert failure(rig.pread, fd, 1, 0) == errno.EBADF
        assert failure(rig.readv, fd, []) == errno.EBADF
        assert failure(rig.read, 99, 1) == errno.EBADF


def test_a_directory_cannot_be_read() -> None:
    with one_file() as rig, pytest.raises(IsADirectoryError):
        rig.read(rig.open(os.O_RDONLY, "/"), 10)


def test_a_bad_inode_is_an_io_error() -> None:
    with one_file(b"hello") as rig:
        fd = rig.open()
        rig.superblock.inodes[FILE].bad = True
        with pytest.raises(OSError, match="Input/output error"):
            rig.read(fd, 5)


def test_a_file_without_offsets_has_no_pread_and_a_stream_has_no_position() -> None:
    with one_file(b"hello", open_flags=4) as rig:  # FOPEN_NONSEEKABLE
        fd = rig.open()
        assert rig.read(fd, 2) + rig.read(fd, 2) == b"hell"
        with pytest.raises(OSError, match="Illegal seek"):
            rig.pread(fd, 1, 0)
    with one_file(b"hello", open_flags=16) as rig:  # FOPEN_STREAM
        fd = rig.open()
        assert rig.read(fd, 2) + rig.read(fd, 2) == b"hehe"


def test_who_reads_at_the_position_waits_for_who_does_already() -> None:
    with one_file(TEXT) as rig:
        fd = rig.open()
        rig.daemon.hold = {"READ"}
        first, second = rig.start(rig.process.read(fd, 10)), rig.start(rig.process.read(fd, 10))
        other = rig.start(rig.process.pread(fd, 10, 0))
        assert second.asleep_on is not None
        assert "position" in second.asleep_on.name
        assert other.asleep_on is not None
        assert other.asleep_on.name == "page 0"
        rig.answer_held()
        assert (first.result, second.result, other.result) == (TEXT[:10], TEXT[10:20], TEXT[:10])


def test_a_megabyte_is_read_in_few_requests() -> None:
    content = os.urandom(1 << 20)
    with one_file(content, max_readahead=1 << 20, max_pages=256) as rig:
        assert rig.read(rig.open(), 1 << 20) == content
        assert len(rig.asked) <= 9
