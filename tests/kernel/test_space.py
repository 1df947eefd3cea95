"""lseek, fallocate, copying and syncing."""

from __future__ import annotations

import errno
import os

import pytest

from fusewire.kernel.vfs.superblock import Options
from fusewire.wire import CopyFileRangeOut, InitFlags
from one_file import FILE, PAGE, USUAL, Rig, failure, one_file

KEEP, PUNCH, ZERO = 1, 2, 16
G = FILE + 1
LARGEST = (1 << 63) - 1


def names(rig: Rig) -> list[str]:
    return [name for name, *_ in rig.asked]


# lseek


def test_who_seeks_from_the_beginning_or_from_where_he_is_asks_nobody() -> None:
    with one_file(b"hello", attr_valid=0) as rig:
        fd = rig.open()
        assert rig.lseek(fd, 100, os.SEEK_SET) == 100
        assert rig.lseek(fd, -98, os.SEEK_CUR) == 2
        assert rig.read(fd, 2) == b"ll"
        assert rig.asked == [("READ", 0, PAGE)]
        assert failure(rig.lseek, fd, -5, os.SEEK_CUR) == errno.EINVAL
        assert failure(rig.lseek, fd, 0, 5) == errno.EINVAL
        assert failure(rig.lseek, 77, 0, 0) == errno.EBADF


def test_who_seeks_from_the_end_asks_for_the_size_if_it_may_be_out_of_date() -> None:
    with one_file(b"hello", attr_valid=0) as rig:
        assert rig.lseek(rig.open(), -2, os.SEEK_END) == 3
        assert rig.asked == [("GETATTR",)]
    with one_file(b"hello") as rig:
        assert rig.lseek(rig.open(), 2, os.SEEK_END) == 7
        assert rig.asked == []


def test_only_the_daemon_knows_where_data_is_and_where_not() -> None:
    with one_file(b"hello") as rig:
        fd = rig.open()
        assert rig.lseek(fd, 1, os.SEEK_DATA) == 1
        assert rig.lseek(fd, 1, os.SEEK_HOLE) == 5
        assert rig.lseek(fd, 0, os.SEEK_CUR) == 5
        assert rig.asked == [("LSEEK", 1, os.SEEK_DATA), ("LSEEK", 1, os.SEEK_HOLE)]
        assert failure(rig.lseek, fd, 9, os.SEEK_DATA) == errno.ENXIO


def test_a_daemon_that_does_not_know_has_data_up_to_the_end() -> None:
    with one_file(b"hello") as rig:
        rig.daemon.errors["LSEEK"] = errno.ENOSYS
        fd = rig.open()
        assert rig.lseek(fd, 1, os.SEEK_HOLE) == 5
        assert rig.lseek(fd, 1, os.SEEK_DATA) == 1
        assert names(rig) == ["LSEEK"]
        assert failure(rig.lseek, fd, 5, os.SEEK_DATA) == errno.ENXIO


def test_a_file_without_positions_cannot_be_sought_in() -> None:
    for open_flags in (4, 16):  # FOPEN_NONSEEKABLE, FOPEN_STREAM
        with one_file(b"hello", open_flags=open_flags) as rig:
            fd = rig.open()
            assert failure(rig.lseek, fd, 0, os.SEEK_SET) == errno.ESPIPE


# fallocate


def test_room_is_provided_and_the_file_grows_with_it() -> None:
    with one_file(b"hello") as rig:
        fd = rig.open()
        rig.fallocate(fd, 0, 0, 100)
        assert rig.asked == [("GETXATTR",), ("FALLOCATE", 0, 0, 100)]
        assert rig.superblock.inodes[FILE].size == 100
        rig.fallocate(fd, KEEP, 0, 1000)
        assert rig.superblock.inodes[FILE].size == 100
        rig.posix_fallocate(fd, 0, 200)
        assert rig.fstat(fd).st_size == 200


def test_a_hole_is_a_hole_in_the_cache_too() -> None:
    with one_file(b"x" * 3 * PAGE) as rig:
        fd = rig.open()
        rig.read(fd, 3 * PAGE)
        rig.fallocate(fd, PUNCH | KEEP, 100, 2 * PAGE)
        assert rig.pread(fd, 3 * PAGE, 0) == b"x" * 100 + bytes(2 * PAGE) + b"x" * (PAGE - 100)
        rig.fallocate(fd, ZERO, 0, 100)
        assert rig.pread(fd, 200, 0) == bytes(200)


def test_a_daemon_without_fallocate_is_asked_once() -> None:
    with one_file(b"hello") as rig:
        rig.daemon.errors["FALLOCATE"] = errno.ENOSYS
        fd = rig.open()
        assert failure(rig.fallocate, fd, 0, 0, 10) == errno.EOPNOTSUPP
        assert failure(rig.fallocate, fd, 0, 0, 10) == errno.EOPNOTSUPP
        assert names(rig) == ["GETXATTR", "FALLOCATE"]


def test_without_fallocate_the_c_library_writes_a_byte_into_each_block() -> None:
    with one_file(b"hello") as rig:
        rig.daemon.errors["FALLOCATE"] = errno.EOPNOTSUPP
        fd = rig.open()
        rig.posix_fallocate(fd, 0, 2 * PAGE + 10)
        assert [entry for entry in rig.asked if entry[0] == "WRITE"] == [("WRITE", 9 + PAGE * i, 1) for i in range(3)]
        assert rig.daemon.content[FILE] == b"hello" + bytes(2 * PAGE + 5)


@pytest.mark.parametrize(
    ("mode", "offset", "length", "code"),
    [
        (0, -1, 10, errno.EINVAL),
        (0, 0, 0, errno.EINVAL),
        (PUNCH, 0, 10, errno.EOPNOTSUPP),  # KEEP_SIZE is missing
        (8, 0, 10, errno.EOPNOTSUPP),  # COLLAPSE_RANGE: no FUSE
        (8 | KEEP, 0, 10, errno.EOPNOTSUPP),
        (64, 0, 10, errno.EOPNOTSUPP),
        (4, 0, 10, errno.EOPNOTSUPP),
        (0, LARGEST, 1, errno.EFBIG),
    ],
)
def test_an_allocation_that_cannot_be_is_refused_without_asking(mode: int, offset: int, length: int, code: int) -> None:
    with one_file(b"hello") as rig:
        fd = rig.open()
        assert failure(rig.fallocate, fd, mode, offset, length) == code
        assert rig.asked == []


def test_an_allocation_needs_a_file_that_is_open_for_writing() -> None:
    with one_file(b"hello") as rig:
        assert failure(rig.fallocate, rig.open(os.O_RDONLY), 0, 0, 1) == errno.EBADF
        assert failure(rig.fallocate, 99, 0, 0, 1) == errno.EBADF


# copy_file_range, sendfile


def test_the_daemon_copies_if_it_can() -> None:
    with one_file(b"hello world") as rig:
        del rig.daemon.errors["COPY_FILE_RANGE_64"]
        f, g = rig.open(), rig.open(name="/g")
        assert rig.copy_file_range(f, g, 100, 6) == 5
        assert rig.asked == [("GETXATTR",), ("COPY_FILE_RANGE_64", 6, 0, 5)]  # up to the end of what there is
        assert rig.copy_file_range(f, g, 3) == 3
        assert (rig.lseek(f, 0, os.SEEK_CUR), rig.lseek(g, 0, os.SEEK_CUR)) == (3, 8)
        assert rig.daemon.content[G] == b"worldhel"
        assert rig.fstat(g).st_size == 8


def test_an_older_daemon_is_asked_with_the_older_operation() -> None:
    with one_file(b"hello") as rig:
        f, g = rig.open(), rig.open(name="/g")
        assert rig.copy_file_range(f, g, 5, 0, 0) == 5
        assert rig.copy_file_range(f, g, 5, 0, 0) == 5
        assert names(rig) == ["GETXATTR", "COPY_FILE_RANGE_64", "COPY_FILE_RANGE", "COPY_FILE_RANGE"]


def test_without_either_it_is_read_and_written() -> None:
    with one_file(b"hello") as rig:
        rig.daemon.errors["COPY_FILE_RANGE"] = errno.ENOSYS
        f, g = rig.open(), rig.open(name="/g")
        assert rig.copy_file_range(f, g, 5, 0, 0) == 5
        assert names(rig) == ["GETXATTR", "COPY_FILE_RANGE_64", "COPY_FILE_RANGE", "READ", "WRITE"]
        assert rig.copy_file_range(f, g, 5, 0, 5) == 5
        assert rig.daemon.content[G] == b"hellohello"
        assert names(rig) == ["WRITE"]


def test_a_large_copy_goes_through_a_pipe_of_sixteen_pages() -> None:
    content = os.urandom(40 * PAGE)
    with one_file(content) as rig:
        rig.daemon.errors["COPY_FILE_RANGE"] = errno.EXDEV
        f, g = rig.open(), rig.open(name="/g")
        assert rig.copy_file_range(f, g, 40 * PAGE) == 40 * PAGE
        assert [entry[1:] for entry in rig.asked if entry[0] == "WRITE"] == [
            (0, 16 * PAGE),
            (16 * PAGE, 16 * PAGE),
            (32 * PAGE, 8 * PAGE),
        ]
        assert rig.daemon.content[G] == content


def test_the_pages_that_were_copied_over_are_dropped() -> None:
    with one_file(b"x" * 2 * PAGE) as rig:
        f, g = rig.open(), rig.open(name="/g")
        rig.write(g, b"o" * 1000)
        assert rig.pread(g, 3, 0) == b"ooo"
        del rig.daemon.errors["COPY_FILE_RANGE_64"]
        rig.copy_file_range(f, g, 10, 0, 100)
        assert rig.pread(g, 12, 99) == b"o" + b"x" * 10 + b"o"


def test_a_daemon_that_copies_more_than_it_was_asked_to_is_not_believed() -> None:
    with one_file(b"hello") as rig:
        del rig.daemon.errors["COPY_FILE_RANGE_64"]
        rig.daemon.copy_file_range_64 = lambda message: (CopyFileRangeOut(99),)  # type: ignore[method-assign]
        assert failure(rig.copy_file_range, rig.open(), rig.open(name="/g"), 5) == errno.EIO


def test_copies_that_cannot_be_are_refused_without_asking() -> None:
    with one_file(b"hello world") as rig:
        f, g = rig.open(), rig.open(name="/g")
        assert failure(rig.copy_file_range, f, 99, 1) == errno.EBADF
        assert failure(rig.copy_file_range, 99, f, 1) == errno.EBADF
        assert failure(rig.copy_file_range, f, rig.open(os.O_RDONLY), 1) == errno.EBADF
        assert failure(rig.copy_file_range, rig.open(os.O_WRONLY), g, 1) == errno.EBADF
        assert failure(rig.copy_file_range, f, rig.open(os.O_RDWR | os.O_APPEND), 1) == errno.EBADF
        assert failure(rig.copy_file_range, f, f, 5, 0, 3) == errno.EINVAL  # they overlap
        assert failure(rig.copy_file_range, f, g, 5, 0, LARGEST) == errno.EFBIG
        assert failure(rig.copy_file_range, rig.open(os.O_RDONLY, "/"), g, 5) == errno.EISDIR
        assert rig.copy_file_range(f, g, 5, 100) == 0
        assert rig.asked == []


def test_sendfile_reads_and_writes() -> None:
    with one_file(b"hello world") as rig:
        f, g = rig.open(), rig.open(name="/g")
        assert rig.sendfile(g, f, 6, 100) == 5
        assert rig.lseek(f, 0, os.SEEK_CUR) == 0
        assert rig.sendfile(g, f, None, 3) == 3
        assert rig.lseek(f, 0, os.SEEK_CUR) == 3
        assert rig.daemon.content[G] == b"worldhel"
        assert "COPY_FILE_RANGE" not in names(rig)
        assert failure(rig.sendfile, rig.open(os.O_WRONLY | os.O_APPEND), f, 0, 1) == errno.EINVAL
        assert failure(rig.sendfile, g, rig.open(os.O_RDONLY, "/"), 0, 1) == errno.EINVAL
        assert failure(rig.sendfile, rig.open(os.O_RDONLY), f, 0, 1) == errno.EBADF
        assert failure(rig.sendfile, g, rig.open(os.O_WRONLY), 0, 1) == errno.EBADF


def test_a_file_without_positions_is_no_source_of_sendfile() -> None:
    with one_file(b"hello", open_flags=4) as rig:  # FOPEN_NONSEEKABLE
        f, g = rig.open(), rig.open(name="/g")
        assert failure(rig.sendfile, g, f, 0, 1) == errno.ESPIPE
        assert failure(rig.sendfile, g, f, None, 1) == errno.EINVAL


# fsync, syncfs


def test_fsync_and_fdatasync_are_told_apart() -> None:
    with one_file(b"hello") as rig:
        fd = rig.open(os.O_RDONLY)
        rig.fsync(fd)
        rig.fdatasync(fd)
        assert rig.asked == [("FSYNC", 0), ("FSYNC", 1)]
        rig.fsync(rig.open(os.O_RDONLY, "/"))
        assert rig.asked == [("FSYNCDIR", 0)]
        assert failure(rig.fsync, 99) == errno.EBADF


def test_a_daemon_without_fsync_is_asked_once_and_nobody_is_told() -> None:
    with one_file(b"hello") as rig:
        rig.daemon.errors.update(FSYNC=errno.ENOSYS, FSYNCDIR=errno.ENOSYS)
        for fd in (rig.open(), rig.open(os.O_RDONLY, "/")):
            rig.fsync(fd)
            rig.fsync(fd)
        assert names(rig) == ["FSYNC", "FSYNCDIR"]


def test_fsync_says_what_the_daemon_says() -> None:
    with one_file(b"hello") as rig:
        rig.daemon.errors["FSYNC"] = errno.ENOSPC
        assert failure(rig.fsync, rig.open()) == errno.ENOSPC


def test_what_was_only_in_the_cache_is_written_before_fsync() -> None:
    with one_file(flags=USUAL | InitFlags.FUSE_WRITEBACK_CACHE) as rig:
        fd = rig.open()
        rig.write(fd, b"hello")
        assert "WRITE" not in names(rig)
        rig.fsync(fd)
        asked = names(rig)
        assert asked.index("WRITE") < asked.index("FSYNC")
        assert rig.daemon.content[FILE] == b"hello"


def test_an_error_of_writing_later_is_told_by_fsync_once() -> None:
    with one_file(flags=USUAL | InitFlags.FUSE_WRITEBACK_CACHE) as rig:
        fd = rig.open()
        rig.write(fd, b"hello")
        rig.daemon.errors["WRITE"] = errno.ENOSPC
        assert failure(rig.fsync, fd) == errno.ENOSPC
        rig.fsync(fd)


def test_only_a_mount_of_a_block_device_is_told_of_syncfs() -> None:
    for fuseblk, expected in ((False, []), (True, ["SYNCFS"])):
        with one_file(options=Options(allow_other=True, fuseblk=fuseblk)) as rig:
            rig.syncfs(rig.open())
            assert names(rig) == expected
            rig.daemon.errors["SYNCFS"] = errno.EIO
            rig.sync()  # which has no way to say so


def test_one_thing_at_a_time_is_asked_about_a_file() -> None:
    with one_file(b"hello") as rig:
        fd = rig.open()
        rig.daemon.hold = {"FSYNC", "FALLOCATE", "LSEEK", "WRITE"}
        tasks = [
            rig.start(call)
            for call in (
                rig.process.fsync(fd),
                rig.process.fallocate(fd, 0, 0, 10),
                rig.process.lseek(fd, 0, os.SEEK_DATA),
                rig.process.pwrite(fd, b"x", 0),
            )
        ]
        for done in range(4):
            assert len(rig.daemon.held) == 1
            assert sum(task.finished for task in tasks) == done
            rig.answer_held()
        assert all(task.finished for task in tasks)


def test_a_pipe_is_written_until_it_is_empty_or_nothing_more_is_taken() -> None:
    content = os.urandom(3 * PAGE)
    with one_file(content) as rig:
        f, g = rig.open(), rig.open(name="/g")
        rig.pread(f, 3 * PAGE, 0)
        rig.daemon.least = 2 * PAGE
        assert rig.sendfile(g, f, 0, 3 * PAGE) == 3 * PAGE
        assert rig.asked[-2:] == [("WRITE", 0, 3 * PAGE), ("WRITE", 2 * PAGE, PAGE)]
        assert rig.daemon.content[G] == content
        rig.daemon.errors["WRITE"] = errno.ENOSPC
        assert failure(rig.sendfile, g, f, 0, 10) == errno.ENOSPC
