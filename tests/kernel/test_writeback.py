"""Writing back: what is written stays in the cache until somebody needs the daemon to know."""

from __future__ import annotations

import errno
import os

import pytest

from file_daemon import PAGE, PLAIN, WRITEBACK, FileDaemon, errno_of
from fusewire.kernel.clock import NEVER
from fusewire.kernel.operations.pages import truncate_pages
from fusewire.kernel.operations.times import flush_time_update
from fusewire.kernel.operations.writeback import no_writes, sync_inodes, sync_writes, write_back, write_inode
from fusewire.kernel.waitq import WaitQueue
from fusewire.wire import InitFlags, SetattrValid, WriteFlags

TIMES = SetattrValid.FATTR_MTIME | SetattrValid.FATTR_CTIME | SetattrValid.FATTR_FH


def written(
    content: bytes = b"", data: bytes = b"new", offset: int = 0, max_write: int = 1 << 17
) -> tuple[FileDaemon, int]:
    """A file into whose cache something was written."""
    file = FileDaemon(content, flags=WRITEBACK, max_write=max_write)
    fd = file.open()
    assert file.run(file.process.pwrite(fd, data, offset)) == len(data)
    return file, fd


# What is sent, and when.


def test_a_write_sends_nothing_until_the_file_is_closed() -> None:
    file, fd = written(data=b"a" * PAGE)
    assert not file.names("WRITE", "SETATTR", "FLUSH")
    file.run(file.process.close(fd))
    assert file.names("WRITE", "SETATTR", "FLUSH", "RELEASE") == ["WRITE", "SETATTR", "FLUSH", "RELEASE"]
    assert bytes(file.content) == b"a" * PAGE


def test_a_write_of_pages_bears_nobodys_name_and_the_flag_cache() -> None:
    file, fd = written()
    file.run(file.process.fsync(fd))
    (write,) = (request for request in file.requests if request.operation.name == "WRITE")
    assert (write.header.uid, write.header.gid, write.header.pid) == (0, 0, 0)
    assert write.body.write_flags == WriteFlags.FUSE_WRITE_CACHE
    assert write.body.fh == 7


def test_neighbouring_pages_go_out_in_one_write_and_others_in_another() -> None:
    file, fd = written(data=b"a" * 3 * PAGE)
    file.run(file.process.pwrite(fd, b"b" * PAGE, 8 * PAGE))
    file.run(file.process.fsync(fd))
    assert file.writes() == [(0, 3 * PAGE), (8 * PAGE, PAGE)]


def test_no_write_is_longer_than_the_daemon_takes() -> None:
    file, fd = written(data=b"a" * 5 * PAGE, max_write=2 * PAGE)
    file.run(file.process.fsync(fd))
    assert file.writes() == [(0, 2 * PAGE), (2 * PAGE, 2 * PAGE), (4 * PAGE, PAGE)]


def test_no_write_goes_beyond_the_end_of_the_file() -> None:
    file, fd = written(data=b"abc", offset=PAGE)
    file.run(file.process.fsync(fd))
    assert file.writes() == [(PAGE, 3)]
    assert len(file.content) == PAGE + 3


def test_a_part_of_a_page_is_put_into_what_the_daemon_has() -> None:
    file, fd = written(b"0123456789", b"ab", 3)
    assert file.reads() == [(0, PAGE)]
    file.run(file.process.fsync(fd))
    assert bytes(file.content) == b"012ab56789"


def test_a_page_that_is_read_only_to_be_written_was_not_accessed() -> None:
    file, fd = written(b"0123456789", b"ab", 3)
    asked = len(file.bodies("GETATTR"))
    file.run(file.process.fstat(fd))
    assert len(file.bodies("GETATTR")) == asked


def test_a_whole_page_and_one_beyond_the_end_are_not_read_first() -> None:
    file, fd = written(b"x" * 10, b"y" * PAGE)
    file.run(file.process.pwrite(fd, b"z", 5 * PAGE))
    assert not file.reads()


def test_a_write_that_cannot_read_its_page_fails_and_one_that_got_further_is_short() -> None:
    file = FileDaemon(b"x" * 3 * PAGE, flags=WRITEBACK)
    fd = file.open()
    file.fail["READ"] = errno.EPERM
    with pytest.raises(PermissionError):
        file.run(file.process.pwrite(fd, b"abc", 0))
    assert file.run(file.process.pwrite(fd, b"a" * (PAGE + 1), 0)) == PAGE


def test_what_is_read_is_what_was_written_though_the_daemon_does_not_know() -> None:
    file, fd = written(b"0123456789", b"ab", 3)
    assert file.run(file.process.pread(fd, 20, 0)) == b"012ab56789"
    assert bytes(file.content) == b"0123456789"


def test_times_are_told_once_and_again_only_when_time_has_passed() -> None:
    file, fd = written()
    file.run(file.process.fsync(fd))
    file.run(file.process.pwrite(fd, b"b", 1))
    file.run(file.process.fsync(fd))
    assert [body.valid for body in file.bodies("SETATTR")] == [TIMES]
    file.clock.advance(2)
    file.run(file.process.pwrite(fd, b"c", 2))
    file.run(file.process.fsync(fd))
    first, second = file.bodies("SETATTR")
    assert second.mtime == first.mtime + 2 == second.ctime


def test_chmod_waits_until_the_daemon_has_all() -> None:
    file, fd = written()
    file.run(file.process.fchmod(fd, 0o600))
    assert file.names("WRITE", "SETATTR") == ["WRITE", "SETATTR", "SETATTR"]


def test_truncation_drops_what_lies_beyond_without_writing_it() -> None:
    file, fd = written(data=b"a" * 4 * PAGE)
    file.run(file.process.ftruncate(fd, PAGE + 10))
    assert file.names("SETATTR", "WRITE") == ["SETATTR", "WRITE", "WRITE"]
    assert file.writes() == [(0, PAGE), (PAGE, 10)]  # one by one: what is left is dropped, too (fuse_do_setattr)


def test_the_flusher_writes_what_is_old() -> None:
    file, _ = written()
    file.run(write_back(file.superblock))
    assert not file.writes()
    file.clock.advance(31)
    file.run(write_back(file.superblock))
    assert file.names("WRITE", "SETATTR") == ["WRITE", "SETATTR"]


def test_the_flusher_comes_by_itself_and_goes_when_nothing_is_dirty() -> None:
    file, _ = written()
    assert file.superblock.flusher is not None
    let_pass(file, 25)
    assert not file.writes()
    let_pass(file, 5)
    assert file.names("WRITE", "SETATTR") == ["WRITE", "SETATTR"]
    assert file.superblock.flusher is None
    assert file.clock.next_alarm() == NEVER


def test_the_flusher_goes_with_the_connection() -> None:
    file, _ = written()
    file.runner.do(file.superblock.connection.abort)
    let_pass(file, 5)
    assert file.superblock.flusher is None


def let_pass(file: FileDaemon, seconds: int) -> None:
    """Let time pass, and whoever it wakes go on at each second."""
    for _ in range(seconds):
        file.runner.do(lambda: file.clock.advance(1))


def test_the_flusher_leaves_a_daemon_alone_that_has_enough_to_do() -> None:
    file, _ = written()
    file.superblock.control["congestion_threshold"].write(b"0")
    file.run(write_back(file.superblock, older_than=0))
    assert not file.writes()
    file.run(sync_inodes(file.superblock))
    assert file.writes()


# While a WRITE is under way.


def test_a_page_under_way_can_be_read_and_written_and_is_sent_once_more() -> None:
    file = FileDaemon(flags=WRITEBACK)
    fd, other = file.open(), file.open()
    file.run(file.process.pwrite(fd, b"a" * PAGE, 0))
    file.hold.add("WRITE")
    closing = file.start(file.process.close(other))
    assert file.run(file.process.pread(fd, 3, 0)) == b"aaa"
    file.run(file.process.pwrite(fd, b"b", 0))
    assert not closing.finished
    file.release("WRITE")
    assert closing.finished
    assert file.writes() == [(0, PAGE), (0, PAGE)]
    assert file.content[0] == ord("b")


def test_fsync_has_writers_wait() -> None:
    file, fd = written(data=b"a" * PAGE)
    file.hold.add("WRITE")
    syncing = file.start(file.process.fsync(fd))
    writer = file.start(file.process.pwrite(fd, b"b", 0))
    assert not syncing.finished
    assert not writer.finished
    file.release("WRITE")
    assert syncing.finished
    assert writer.finished


def test_syncfs_sends_all_in_nobodys_name_and_waits_for_no_write() -> None:
    file, fd = written(data=b"a" * PAGE)
    file.hold.add("WRITE")
    assert file.start(file.process.syncfs(fd)).finished
    sent = [each for each in file.requests if each.operation.name in ("WRITE", "SETATTR")]
    assert [each.operation.name for each in sent] == ["WRITE", "SETATTR"]
    assert not any(each.header.pid for each in sent)


def test_who_forbids_writes_waits_for_those_in_flight() -> None:
    file, _ = written(data=b"a" * 4 * PAGE)
    file.hold.add("WRITE")

    async def forbid() -> None:
        async with file.inode.rwsem.exclusive():
            await sync_writes(file.inode)

    writing = file.start(write_inode(file.inode))
    forbidding = file.start(forbid())
    assert not forbidding.finished
    file.release("WRITE")
    assert writing.finished
    assert forbidding.finished


def test_what_is_held_back_is_sent_afterwards_as_far_as_the_file_then_reaches() -> None:
    file, _ = written(data=b"a" * 4 * PAGE)
    gate, opened = WaitQueue("gate"), [False]

    async def shorten() -> None:
        async with file.inode.rwsem.exclusive():
            async with no_writes(file.inode):
                await gate.sleep(until=lambda: opened[0])
                file.inode.attr.size = PAGE + 1
            await truncate_pages(file.inode, PAGE + 1)

    shortening = file.start(shorten())
    writing = file.start(write_inode(file.inode))
    assert not file.writes()
    opened[0] = True
    file.runner.do(gate.wake)
    assert shortening.finished
    assert writing.finished
    assert file.writes() == [(0, PAGE + 1)]


def test_who_closes_waits_for_the_times_that_another_has_sent() -> None:
    file, fd = written()
    other = file.open()
    file.hold.add("SETATTR")
    first, second = file.start(file.process.close(fd)), file.start(file.process.close(other))
    assert not second.finished
    assert file.names("SETATTR", "FLUSH") == ["SETATTR"]
    file.release("SETATTR")
    assert (first.result, second.result) == (None, None)
    assert file.names("SETATTR", "FLUSH") == ["SETATTR", "FLUSH", "FLUSH"]


def test_who_closes_hears_that_times_could_not_be_told_for_another() -> None:
    file, fd = written()
    file.hold.add("SETATTR")
    telling = file.start(flush_time_update(file.inode))
    closing = file.start(file.process.close(fd))
    file.fail["SETATTR"] = errno.EINTR
    file.release("SETATTR")
    assert telling.result is None
    assert errno_of(closing) == errno.EIO
    assert not file.names("FLUSH")


def test_what_is_written_while_another_closes_is_sent_before_release() -> None:
    file = FileDaemon(flags=WRITEBACK)
    fd, other = file.open(), file.open()
    file.run(file.process.pwrite(fd, b"new", 0))
    file.hold.add("WRITE")
    closing = file.start(file.process.close(other))
    file.run(file.process.pwrite(fd, b"more", PAGE))
    file.release("WRITE")
    assert closing.finished
    assert file.names("WRITE", "FLUSH", "RELEASE") == ["WRITE", "FLUSH", "WRITE", "RELEASE"]


def test_fsync_waits_for_the_times_that_another_has_sent() -> None:
    file, fd = written()
    file.hold.add("SETATTR")
    closing = file.start(file.process.close(file.open()))
    syncing = file.start(file.process.fsync(fd))
    assert not syncing.finished
    file.release("SETATTR")
    assert (closing.result, syncing.result) == (None, None)
    assert file.names("SETATTR", "FLUSH", "FSYNC") == ["SETATTR", "FLUSH", "FSYNC"]


def test_the_flusher_leaves_to_others_what_they_are_writing() -> None:
    file, fd = written()
    file.hold.add("SETATTR")
    closing = file.start(file.process.close(file.open()))
    file.run(file.process.pwrite(fd, b"newer", 0))
    file.run(write_back(file.superblock, older_than=0))
    assert len(file.writes()) == 1
    file.release("SETATTR")
    assert closing.finished
    file.run(write_back(file.superblock, older_than=0))
    assert len(file.writes()) == 2


def test_opening_a_file_to_truncate_it_drops_what_was_held_back_meanwhile() -> None:
    file = FileDaemon(flags=WRITEBACK | InitFlags.FUSE_ATOMIC_O_TRUNC)
    fd = file.open()
    file.run(file.process.pwrite(fd, b"a" * 2 * PAGE, 0))
    file.hold.add("OPEN")
    opening = file.start(file.process.open("/file", os.O_RDWR | os.O_TRUNC))
    writing = file.start(write_inode(file.inode))
    file.release("OPEN")
    assert opening.finished
    assert writing.finished
    assert not file.writes()


# Errors.


def test_an_error_is_told_once_to_each_who_has_the_file_open_by_fsync() -> None:
    file = FileDaemon(flags=WRITEBACK)
    fd, other = file.open(), file.open(os.O_RDONLY)
    file.run(file.process.pwrite(fd, b"new", 0))
    file.fail["WRITE"] = errno.EDQUOT
    for each in (fd, other):
        with pytest.raises(OSError, match=os.strerror(errno.EDQUOT)):
            file.run(file.process.fsync(each))
        file.run(file.process.fsync(each))


def test_who_opens_the_file_after_the_error_was_told_does_not_hear_of_it() -> None:
    file, fd = written()
    file.fail["WRITE"] = errno.ENOSPC
    task = file.start(file.process.fsync(fd))
    assert errno_of(task) == errno.ENOSPC
    file.run(file.process.fsync(file.open()))


def test_close_says_no_more_than_that_it_failed() -> None:
    file, fd = written()
    file.fail["WRITE"] = errno.EDQUOT
    assert errno_of(file.start(file.process.close(fd))) == errno.EIO
    late = file.open()
    assert errno_of(file.start(file.process.fsync(late))) == errno.EDQUOT


def test_on_a_connection_that_is_gone_nobody_waits_for_a_write() -> None:
    file, fd = written()
    file.hold.add("WRITE")
    fsync = file.start(file.process.fsync(fd))
    file.superblock.control["abort"].write(b"1")
    file.runner.run()
    assert errno_of(fsync) == errno.ECONNABORTED
    assert not any(page.writeback or page.locked for page in file.inode.pages.pages.values())  # type: ignore[union-attr]


# Without WRITEBACK_CACHE.


def test_a_mapping_writes_back_on_a_write_through_mount_too() -> None:
    file = FileDaemon(b"x" * 3 * PAGE, flags=PLAIN)
    fd = file.open()
    mapping = file.map(3 * PAGE, fd)
    mapping[5] = 1
    assert not file.writes()
    file.run(file.process.fsync(fd))
    assert file.writes() == [(0, PAGE)]
    assert not file.bodies("SETATTR")
