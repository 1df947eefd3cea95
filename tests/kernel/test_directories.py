"""Reading directories: READDIR and READDIRPLUS, what is kept of them, and where reading goes on."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable

import pytest

from fusewire.kernel import Process
from fusewire.kernel.tasks import close
from fusewire.kernel.vfs.attr import STATX_ATIME
from fusewire.kernel.vfs.directory_cache import Entry
from fusewire.wire import Attr, EntryOut, ForgetIn, InitFlags, OpenFlags, OpenOut, pack_dirent, pack_direntplus
from hand_daemon import (
    DIRECTORY,
    FILE,
    FOREVER,
    OK,
    HandDaemon,
    attributes,
    entry,
    errno_of,
    error_of,
    hand_daemon,
    process,
)

PLUS = InitFlags.FUSE_DO_READDIRPLUS
AUTO = PLUS | InitFlags.FUSE_READDIRPLUS_AUTO
CACHE = OpenFlags.FOPEN_CACHE_DIR | OpenFlags.FOPEN_KEEP_CACHE
NOTHING = b""


def opened(daemon: HandDaemon, p: Process, open_flags: int = 0, path: str = "/") -> int:
    fd: int = daemon.call(p.open(path, os.O_RDONLY | os.O_DIRECTORY), OpenOut(7, open_flags))
    return fd


def listing(*names: str, first: int = 1) -> bytes:
    """A reply of READDIR: cookies count from `first`, inode numbers from 100 above."""
    records = enumerate(names, first)
    return b"".join(pack_dirent(name.encode(), 100 + cookie, cookie, stat.S_IFREG >> 12) for cookie, name in records)


def listing_plus(entries: Iterable[tuple[str, EntryOut]]) -> bytes:
    """A reply of READDIRPLUS."""
    records = enumerate(entries, 1)
    return b"".join(pack_direntplus(out, name.encode(), 100 + cookie, cookie, 8) for cookie, (name, out) in records)


def names_of(entries: list[Entry]) -> list[str]:
    return [entry.name.decode() for entry in entries]


# READDIR.


def test_entries_come_with_their_cookies_and_the_next_call_goes_on_behind_them() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p)
    assert daemon.call(p.getdents(fd, 4096), listing("a", "b")) == [Entry(101, 1, 8, b"a"), Entry(102, 2, 8, b"b")]
    task = daemon.start(p.getdents(fd, 4096))
    message = daemon.read()
    assert message.operation.name == "READDIR"
    body = message.body
    assert (body.fh, body.offset, body.size, body.flags) == (7, 2, 4096, os.O_DIRECTORY | 0o100000)
    daemon.answer(message, NOTHING)
    assert task.result == []


@pytest.mark.parametrize(("room", "asked"), [(24, 4096), (5000, 5000), (1 << 20, 1 << 20), (2 << 20, 1 << 20)])
def test_as_much_is_asked_for_as_there_is_room_but_a_page_at_least(room: int, asked: int) -> None:
    daemon = hand_daemon(InitFlags.FUSE_MAX_PAGES)
    p = process(daemon)
    fd = opened(daemon, p)
    task = daemon.start(p.getdents(fd, room))
    message = daemon.read()
    assert message.body.size == asked
    daemon.answer(message, listing("a"))
    assert names_of(task.result) == ["a"]  # type: ignore[arg-type]


def test_what_does_not_fit_is_asked_for_again() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p)
    assert names_of(daemon.call(p.getdents(fd, 48), listing("a", "b", "c"))) == ["a", "b"]
    task = daemon.start(p.getdents(fd, 48))
    message = daemon.read()
    assert message.body.offset == 2
    daemon.answer(message, listing("c", first=3))
    assert task.finished


def test_room_for_no_entry_is_an_error_and_nothing_is_lost() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p)
    assert errno_of(daemon, p.getdents(fd, 20), listing("a")) == errno.EINVAL
    assert names_of(daemon.call(p.getdents(fd, 100), listing("a"))) == ["a"]


@pytest.mark.parametrize("bad", [b"a/b", b"x" * 5000])
def test_a_bad_name_is_eio_but_not_for_the_entries_before_it(bad: bytes) -> None:
    daemon = hand_daemon(InitFlags.FUSE_MAX_PAGES)
    p = process(daemon)
    fd = opened(daemon, p)
    reply = listing("a") + pack_dirent(bad, 9, 9, 8)
    assert names_of(daemon.call(p.getdents(fd, 1 << 16), reply)) == ["a"]
    assert errno_of(daemon, p.getdents(fd, 1 << 16), pack_dirent(bad, 9, 9, 8)) == errno.EIO


def test_a_record_that_is_cut_off_is_passed_over() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p)
    assert names_of(daemon.call(p.getdents(fd, 4096), listing("a", "long name")[:-8])) == ["a"]


def test_seeking_to_a_cookie_reads_on_from_there() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p)
    daemon.call(p.getdents(fd, 4096), listing("a", "b"))
    assert daemon.call(p.lseek(fd, 0, os.SEEK_CUR)) == 2
    daemon.call(p.lseek(fd, 1, os.SEEK_SET))
    daemon.start(p.getdents(fd, 4096))
    assert daemon.read().body.offset == 1


def test_who_reads_through_one_open_file_goes_on_where_the_other_stopped() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p)
    twin = daemon.call(p.dup(fd))
    first = daemon.start(p.getdents(fd, 4096))
    second = daemon.start(p.getdents(twin, 4096))
    message = daemon.read()
    assert daemon.pending() == []  # the position is the first's
    daemon.answer(message, listing("a", "b"))
    assert first.finished
    message = daemon.read()
    assert message.body.offset == 2
    daemon.answer(message, NOTHING)
    assert second.result == []


@pytest.mark.parametrize(("flags", "at_once"), [(0, 1), (InitFlags.FUSE_PARALLEL_DIROPS, 2)])
def test_two_read_one_directory_at_once_if_the_daemon_can(flags: int, at_once: int) -> None:
    daemon = hand_daemon(flags)
    p = process(daemon)
    one, two = opened(daemon, p), opened(daemon, p)
    tasks = [daemon.start(p.getdents(fd, 4096)) for fd in (one, two)]
    assert len(daemon.pending()) == at_once
    close(tasks)


def test_the_directory_is_held_shared_while_it_is_read() -> None:
    daemon = hand_daemon(InitFlags.FUSE_PARALLEL_DIROPS)
    p = process(daemon)
    fd = opened(daemon, p)
    reading = daemon.start(p.getdents(fd, 4096))
    message = daemon.read()
    making = daemon.start(p.mkdir("/new"))
    assert daemon.pending() == []
    daemon.answer(message, NOTHING)
    assert reading.finished
    assert [each.operation.name for each in daemon.pending()] == ["LOOKUP"]
    close([making])


def test_reading_makes_the_time_of_access_unknown() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p)
    root = daemon.superblock.root_inode
    root.invalid = 0
    daemon.call(p.getdents(fd, 4096), NOTHING)
    assert root.invalid == STATX_ATIME


def test_a_directory_that_was_removed_has_no_entries() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    daemon.call(p.lstat("/d"), entry(2, DIRECTORY))
    fd = opened(daemon, p, path="/d")
    daemon.call(p.rmdir("/d"), OK)
    assert errno_of(daemon, p.getdents(fd, 4096)) == errno.ENOENT
    assert daemon.call(p.listdir(fd), attributes(2, DIRECTORY)) == []


def test_what_is_no_directory_cannot_be_listed() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = daemon.call(p.open("/a", os.O_RDONLY), entry(2), OpenOut())
    assert errno_of(daemon, p.getdents(fd, 4096)) == errno.ENOTDIR
    assert errno_of(daemon, p.listdir("/a")) == errno.ENOTDIR
    assert errno_of(daemon, p.getdents(99, 4096)) == errno.EBADF


def test_errors_are_the_daemons() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p)
    for code in (errno.EIO, errno.ENOSYS, errno.ESTALE):
        assert errno_of(daemon, p.getdents(fd, 4096), code) == code


# listdir and scandir.


def test_listdir_opens_stats_reads_to_the_end_and_closes() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    answers = (OpenOut(7), attributes(1, DIRECTORY), listing(".", "..", "b", "a"), NOTHING, OK)
    assert daemon.call(p.listdir("/"), *answers) == ["b", "a"]
    assert daemon.asked == ["OPENDIR 1", "GETATTR 1", "READDIR 1", "READDIR 1", "RELEASEDIR 1"]
    assert not p.files


def test_listdir_gives_bytes_for_bytes_and_the_path_with_its_errors() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    daemon.superblock.root_inode.accept(Attr(ino=1, mode=DIRECTORY, nlink=1), FOREVER, 0)
    assert daemon.call(p.listdir(b"/"), OpenOut(7), listing("a"), NOTHING, OK) == [b"a"]
    error = error_of(daemon, p.listdir("/"), OpenOut(7), attributes(1, DIRECTORY), errno.EREMOTEIO, OK)
    assert (error.errno, error.filename) == (errno.EREMOTEIO, "/")


def test_a_descriptor_can_be_listed_twice() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    daemon.superblock.root_inode.accept(Attr(ino=1, mode=DIRECTORY, nlink=1), FOREVER, 0)
    fd = opened(daemon, p)
    assert daemon.call(p.listdir(fd), listing("a"), NOTHING) == ["a"]
    assert daemon.call(p.listdir(fd), attributes(1, DIRECTORY), listing("a"), NOTHING) == ["a"]
    assert sorted(p.files) == [fd]


def test_scandir_tells_types_without_asking_for_them() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    reply = b"".join(pack_dirent(name, 9, 1, mode >> 12) for name, mode in ((b"f", FILE), (b"d", DIRECTORY)))
    file, directory = daemon.call(p.scandir("/"), OpenOut(), attributes(1, DIRECTORY), reply, NOTHING, OK)
    assert (file.name, file.path, file.inode(), file.is_file(), file.is_dir()) == ("f", "/f", 9, True, False)
    assert (directory.is_dir(), directory.is_symlink()) == (True, False)


# READDIRPLUS.


def test_readdirplus_spares_the_lookups() -> None:
    daemon = hand_daemon(PLUS)
    p = process(daemon)
    fd = opened(daemon, p)
    reply = listing_plus([(".", entry(1, DIRECTORY)), ("..", entry(1, DIRECTORY)), ("a", entry(2, size=5))])
    assert names_of(daemon.call(p.getdents(fd, 4096), reply)) == [".", "..", "a"]
    assert daemon.asked == ["READDIRPLUS 1"]
    assert daemon.call(p.stat("/a")).st_size == 5
    assert daemon.superblock.inodes[2].nlookup == 1
    assert daemon.superblock.root_inode.nlookup == 0


def test_what_did_not_fit_is_remembered_all_the_same() -> None:
    daemon = hand_daemon(PLUS)
    p = process(daemon)
    fd = opened(daemon, p)
    assert names_of(daemon.call(p.getdents(fd, 24), listing_plus([("a", entry(2)), ("b", entry(3))]))) == ["a"]
    assert daemon.superblock.root.child(b"b").inode.nodeid == 3  # type: ignore[union-attr]
    daemon.call(p.getdents(fd, 24), listing_plus([("b", entry(3))]))
    assert daemon.superblock.inodes[3].nlookup == 2


def test_an_entry_without_nodeid_is_a_name_alone() -> None:
    daemon = hand_daemon(PLUS)
    p = process(daemon)
    fd = opened(daemon, p)
    assert names_of(daemon.call(p.getdents(fd, 4096), listing_plus([("a", EntryOut())]))) == ["a"]
    assert daemon.superblock.root.child(b"a") is None


@pytest.mark.parametrize("wrong", [entry(1), entry(9, 0o644), entry(9, size=1 << 63)])
def test_what_cannot_be_remembered_is_forgotten_and_waited_for(wrong: EntryOut) -> None:
    daemon = hand_daemon(PLUS)
    p = process(daemon)
    fd = opened(daemon, p)
    task = daemon.start(p.getdents(fd, 4096))
    daemon.answer(daemon.read(), listing_plus([("a", wrong), ("b", entry(3))]))
    assert not task.finished
    forget = daemon.read()
    assert (forget.operation.name, forget.header.nodeid, forget.body) == ("FORGET", wrong.nodeid, ForgetIn(1))
    daemon.system.runner.run()
    assert names_of(task.result) == ["a", "b"]  # type: ignore[arg-type]


def test_another_file_under_a_known_name_takes_its_place() -> None:
    daemon = hand_daemon(PLUS)
    p = process(daemon)
    daemon.call(p.lstat("/a"), entry(2))
    fd = opened(daemon, p)
    daemon.call(p.getdents(fd, 4096), listing_plus([("a", entry(3))]))
    assert daemon.superblock.root.child(b"a").inode.nodeid == 3  # type: ignore[union-attr]
    daemon.pending()
    assert daemon.asked[-1] == "FORGET 2 1"


def test_auto_uses_it_at_the_beginning_and_when_what_it_told_was_used() -> None:
    daemon = hand_daemon(AUTO)
    p = process(daemon)
    fd = opened(daemon, p)
    daemon.call(p.getdents(fd, 4096), listing_plus([("a", entry(2))]))
    daemon.call(p.getdents(fd, 4096), listing("b", first=2))
    daemon.call(p.lstat("/a"))
    daemon.call(p.getdents(fd, 4096), NOTHING)
    assert daemon.asked == ["READDIRPLUS 1"]
    daemon.call(p.getdents(fd, 4096), NOTHING)
    assert daemon.asked == ["READDIR 1"]


# FOPEN_CACHE_DIR.


def read_all(daemon: HandDaemon, p: Process, fd: int, *answers: bytes) -> list[str]:
    """Read from the beginning, each answer being one reply, and see that all were asked for."""
    daemon.call(p.lseek(fd, 0, os.SEEK_SET))
    left = list(answers)
    names: list[str] = []
    while True:
        task = daemon.start(p.getdents(fd, 4096))
        if not task.finished:
            daemon.answer(daemon.read(), left.pop(0))
        assert isinstance(task.result, list)
        if not task.result:
            assert not left
            return names
        names += names_of(task.result)


def test_a_directory_that_was_read_to_its_end_is_not_asked_for_again() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p, CACHE)
    first = read_all(daemon, p, fd, listing("a", "b"), listing("c", first=3), NOTHING)
    assert first == ["a", "b", "c"]
    assert read_all(daemon, p, fd) == first
    assert read_all(daemon, p, opened(daemon, p, CACHE)) == first


def test_without_the_flag_nothing_is_kept() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p)
    for _ in range(2):
        assert read_all(daemon, p, fd, listing("a"), NOTHING) == ["a"]


def test_reading_may_begin_in_the_middle_of_what_is_kept() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p, CACHE)
    read_all(daemon, p, fd, listing("a", "b", "c"), NOTHING)
    daemon.call(p.lseek(fd, 1, os.SEEK_SET))
    assert names_of(daemon.call(p.getdents(fd, 24))) == ["b"]
    assert names_of(daemon.call(p.getdents(fd, 4096))) == ["c"]
    assert daemon.call(p.getdents(fd, 4096)) == []


def test_a_cookie_that_is_not_kept_is_asked_for() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p, CACHE)
    read_all(daemon, p, fd, listing("a"), NOTHING)
    daemon.call(p.lseek(fd, 77, os.SEEK_SET))
    assert names_of(daemon.call(p.getdents(fd, 4096), listing("z", first=78))) == ["z"]


def test_a_change_of_ours_has_it_read_again() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p, CACHE)
    read_all(daemon, p, fd, listing("a"), NOTHING)
    daemon.call(p.mkdir("/d"), errno.ENOENT, entry(5, DIRECTORY))
    assert read_all(daemon, p, fd, listing("a", "d"), NOTHING) == ["a", "d"]
    assert read_all(daemon, p, fd) == ["a", "d"]


def test_a_new_mtime_has_it_read_again() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p, CACHE)
    read_all(daemon, p, fd, listing("a"), NOTHING)
    daemon.call(p.stat("/"), attributes(1, DIRECTORY, mtime=77))
    assert read_all(daemon, p, fd, listing("b"), NOTHING) == ["b"]


def test_auto_inval_data_asks_for_the_mtime_first() -> None:
    daemon = hand_daemon(InitFlags.FUSE_AUTO_INVAL_DATA)
    p = process(daemon)
    fd = opened(daemon, p, CACHE)
    task = daemon.start(p.getdents(fd, 4096))
    message = daemon.read()
    assert message.operation.name == "GETATTR"
    daemon.answer(message, attributes(1, DIRECTORY))
    daemon.answer(daemon.read(), listing("a"))
    assert task.finished


def test_inc_epoch_has_it_read_again() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p, CACHE)
    read_all(daemon, p, fd, listing("a"), NOTHING)
    daemon.connection.epoch += 1
    assert read_all(daemon, p, fd, listing("b"), NOTHING) == ["b"]


def test_opening_without_keep_cache_has_it_read_again() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    read_all(daemon, p, opened(daemon, p, CACHE), listing("a"), NOTHING)
    fd = opened(daemon, p, OpenFlags.FOPEN_CACHE_DIR)
    assert read_all(daemon, p, fd, listing("b"), NOTHING) == ["b"]
    assert read_all(daemon, p, fd) == ["b"]


def test_several_readers_fill_it_together() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    one, two = opened(daemon, p, CACHE), opened(daemon, p, CACHE)
    daemon.call(p.getdents(one, 4096), listing("a", "b"))
    daemon.call(p.getdents(two, 24), listing("a", "b"))
    daemon.call(p.getdents(two, 4096), listing("b", "c", first=2))
    daemon.call(p.getdents(one, 4096), listing("c", first=3))
    daemon.call(p.getdents(one, 4096), NOTHING)
    assert read_all(daemon, p, one) == ["a", "b", "c"]


def test_a_reader_in_the_middle_sees_that_it_was_begun_anew() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd, other = opened(daemon, p, CACHE), opened(daemon, p, CACHE)
    read_all(daemon, p, fd, listing("a", "b"), NOTHING)
    daemon.call(p.lseek(fd, 0, os.SEEK_SET))
    assert names_of(daemon.call(p.getdents(fd, 24))) == ["a"]
    daemon.superblock.root_inode.version += 1
    read_all(daemon, p, other, listing("a", "x", "b"), NOTHING)
    assert names_of(daemon.call(p.getdents(fd, 4096))) == ["x", "b"]
