"""Opening, making and closing files: what is asked of the daemon, with which flags, and what descriptors do."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from fusewire.kernel import Options, Process
from fusewire.kernel.vfs.attr import STATX_SIZE
from fusewire.wire import EntryOut, InitFlags, OpenFlags, OpenInFlags, OpenOut
from hand_daemon import (
    DIRECTORY,
    FILE,
    OK,
    SYMLINK,
    HandDaemon,
    attributes,
    daemon_at,
    entry,
    errno_of,
    error_of,
    hand_daemon,
    process,
)

LARGEFILE = 0o100000  # which the kernel adds
R, W, RW = os.O_RDONLY, os.O_WRONLY, os.O_RDWR
CREATE, EXCL, TRUNC = os.O_CREAT, os.O_EXCL, os.O_TRUNC
KEEP = OpenFlags.FOPEN_KEEP_CACHE
ATOMIC = InitFlags.FUSE_ATOMIC_O_TRUNC
Created = tuple[EntryOut, OpenOut]


def created(nodeid: int, fh: int = 0, open_flags: int = KEEP, mode: int = FILE) -> Created:
    return entry(nodeid, mode), OpenOut(fh, open_flags)


def known(daemon: HandDaemon, p: Process, path: str = "/a", nodeid: int = 2, mode: int = FILE) -> None:
    """Have the kernel know a name for ever."""
    daemon.call(p.lstat(path), entry(nodeid, mode))


def opened(daemon: HandDaemon, p: Process, flags: int = RW, open_flags: int = KEEP, fh: int = 7) -> int:
    """Open /a, which has nodeid 2."""
    if daemon.superblock.root.child(b"a") is None:
        known(daemon, p)
    fd: int = daemon.call(p.open("/a", flags), OpenOut(fh, open_flags))
    return fd


# What is sent.


@pytest.mark.parametrize(
    ("flags", "sent"),
    [
        (R, 0),
        (3, 3),
        (W | os.O_APPEND | os.O_NONBLOCK | os.O_SYNC, W | os.O_APPEND | os.O_NONBLOCK | os.O_SYNC),
        (RW | CREATE | os.O_NOCTTY | os.O_CLOEXEC, RW),
        (W | TRUNC, W),
        (R | os.O_NOFOLLOW | os.O_NOATIME | os.O_DIRECT, os.O_NOFOLLOW | os.O_NOATIME | os.O_DIRECT),
    ],
)
def test_open_sends_the_flags_that_are_left_for_the_daemon(flags: int, sent: int) -> None:
    daemon = hand_daemon()
    p = process(daemon)
    known(daemon, p)
    daemon.start(p.open("/a", flags))
    message = daemon.read()
    assert (message.operation.name, message.header.nodeid) == ("OPEN", 2)
    assert message.body.flags == sent | LARGEFILE
    assert message.body.open_flags == 0


def test_the_handle_goes_with_the_file_and_release_gives_it_back() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p, W | os.O_APPEND, fh=99)
    task = daemon.start(p.close(fd))
    flush = daemon.read()
    assert (flush.operation.name, flush.body.fh, flush.body.lock_owner != 0) == ("FLUSH", 99, True)
    daemon.answer(flush)
    release = daemon.read()
    assert task.finished  # nobody waits for it
    assert (release.operation.name, release.body.fh, release.body.flags) == (
        "RELEASE",
        99,
        W | os.O_APPEND | LARGEFILE,
    )
    assert (release.header.uid, release.header.pid) == (0, 0)
    assert (release.body.release_flags, release.body.lock_owner) == (0, 0)


def test_a_directory_is_opened_by_opendir_and_closed_without_flush() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    known(daemon, p, mode=DIRECTORY)
    fd = daemon.call(p.open("/a", R | os.O_DIRECTORY), OpenOut(5))
    daemon.call(p.close(fd), OK)
    assert daemon.asked == ["RELEASEDIR 2"]


def test_release_waits_for_the_last_descriptor_and_each_close_flushes() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p)
    twin = daemon.call(p.dup(fd))
    daemon.call(p.close(fd), OK)
    assert daemon.asked == ["FLUSH 2"]
    daemon.call(p.close(twin), OK, OK)
    assert daemon.asked == ["FLUSH 2", "RELEASE 2"]


def test_close_says_what_flush_ends_in_and_the_descriptor_is_gone() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p)
    assert errno_of(daemon, p.close(fd), errno.EDQUOT, errno.EIO) == errno.EDQUOT
    assert daemon.asked == ["FLUSH 2", "RELEASE 2"]
    assert errno_of(daemon, p.close(fd)) == errno.EBADF


def test_no_forget_overtakes_a_release() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p)
    daemon.call(p.unlink("/a"), OK)
    daemon.start(p.close(fd))
    daemon.answer(daemon.read())
    release = daemon.read()
    assert daemon.pending() == []
    daemon.answer(release)
    daemon.pending()
    assert daemon.asked[-2:] == ["RELEASE 2", "FORGET 2 1"]


# What the daemon does not know.


@pytest.mark.parametrize(("path_mode", "absent"), [(FILE, "OPEN"), (DIRECTORY, "OPENDIR")])
def test_a_daemon_without_open_is_asked_once_and_sent_no_release(path_mode: int, absent: str) -> None:
    daemon = hand_daemon()
    p = process(daemon)
    known(daemon, p, mode=path_mode)
    first = daemon.call(p.open("/a", R), errno.ENOSYS)
    assert daemon.asked == [f"{absent} 2"]
    second = daemon.call(p.open("/a", R))
    assert p.file(second).fh == 0
    assert p.file(second).open_flags & KEEP
    daemon.call(p.close(first), *([OK] if path_mode == FILE else []))
    daemon.call(p.close(second), *([errno.ENOSYS] if path_mode == FILE else []))
    assert daemon.asked == (["FLUSH 2"] if path_mode == FILE else [])


def test_a_daemon_without_flush_is_asked_once() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    first, second = opened(daemon, p), opened(daemon, p)
    daemon.call(p.close(first), errno.ENOSYS, OK)
    daemon.call(p.close(second), OK)
    assert daemon.asked == ["RELEASE 2"]


def test_noflush_spares_the_flush() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p, open_flags=OpenFlags.FOPEN_NOFLUSH)
    daemon.call(p.close(fd), OK)
    assert daemon.asked == ["RELEASE 2"]


def test_a_daemon_without_create_is_sent_mknod_and_open_from_then_on() -> None:
    daemon = hand_daemon(ATOMIC)
    p = process(daemon)
    daemon.call(p.open("/a", W | CREATE | TRUNC), errno.ENOENT, errno.ENOSYS, entry(2), OpenOut())
    assert daemon.asked == ["LOOKUP 1 a", "CREATE 1 a", "MKNOD 1 a", "OPEN 2"]
    message = daemon.last(p.open("/b", W | CREATE | TRUNC), errno.ENOENT, entry(3), OpenOut())
    assert daemon.asked[-3:] == ["LOOKUP 1 b", "MKNOD 1 b", "OPEN 3"]
    assert message.body.flags == W | TRUNC | LARGEFILE


def test_a_daemon_without_tmpfile_is_asked_once() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    assert errno_of(daemon, p.open("/", RW | os.O_TMPFILE), errno.ENOSYS) == errno.EOPNOTSUPP
    assert errno_of(daemon, p.open("/", RW | os.O_TMPFILE)) == errno.EOPNOTSUPP
    assert daemon.asked == []


# Making.


def test_create_makes_and_opens_at_once() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    daemon.call(p.umask(0o027))
    message = daemon.last(p.open("/a", RW | CREATE | os.O_NOCTTY, 0o4777), errno.ENOENT, created(2, fh=9))
    assert message.operation.name == "CREATE"
    assert message.body.flags == RW | CREATE | LARGEFILE
    assert message.body.mode == stat.S_IFREG | 0o4750
    assert message.body.umask == 0o027
    (file,) = p.files.values()
    assert (file.fh, file.inode.nodeid, file.inode.nlookup) == (9, 2, 1)
    assert file.flags == RW | LARGEFILE


def test_with_dont_mask_the_umask_is_the_daemons() -> None:
    daemon = hand_daemon(InitFlags.FUSE_DONT_MASK)
    p = process(daemon)
    message = daemon.last(p.open("/a", RW | CREATE, 0o666), errno.ENOENT, created(2))
    assert (message.body.mode, message.body.umask) == (stat.S_IFREG | 0o666, 0o022)


def test_flags_for_ioctl_alone_make_a_file_for_reading_and_writing() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    message = daemon.last(p.open("/a", 3 | CREATE), errno.ENOENT, created(2))
    assert message.body.flags & os.O_ACCMODE == RW
    (file,) = p.files.values()
    assert file.flags == 3 | LARGEFILE
    assert not file.readable
    assert not file.writable


def test_exclusive_creation_leaves_nothing_to_truncate() -> None:
    daemon = hand_daemon(ATOMIC)
    p = process(daemon)
    message = daemon.last(p.open("/a", W | CREATE | EXCL | TRUNC), errno.ENOENT, created(2))
    assert message.body.flags == W | CREATE | EXCL | LARGEFILE


def test_exclusive_creation_asks_for_what_is_known() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    known(daemon, p)
    error = error_of(daemon, p.open("/a", W | CREATE | EXCL), entry(2))
    assert (error.errno, error.filename) == (errno.EEXIST, "/a")
    assert daemon.asked == ["LOOKUP 1 a"]


def test_what_exists_is_opened_without_the_directorys_semaphore() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    known(daemon, p)
    daemon.start(p.open("/a", W | CREATE))
    assert daemon.read().operation.name == "OPEN"
    assert not daemon.superblock.root_inode.rwsem.holders


def test_creation_holds_the_directorys_semaphore_alone() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    task = daemon.start(p.open("/a", W | CREATE))
    lookup = daemon.read()
    assert daemon.superblock.root_inode.rwsem.owner is task
    daemon.answer(lookup, errno.ENOENT)
    assert daemon.superblock.root_inode.rwsem.owner is task
    daemon.answer(daemon.read(), created(2))
    assert not daemon.superblock.root_inode.rwsem.holders


def test_a_file_that_the_daemon_finds_after_all_is_looked_up_anew() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    assert errno_of(daemon, p.open("/a", W | CREATE), errno.ENOENT, errno.EEXIST) == errno.EEXIST
    assert daemon.superblock.root.child(b"a") is None


@pytest.mark.parametrize("reply", [created(0), created(1), created(2, mode=DIRECTORY)])
def test_create_refuses_nonsense_and_gives_nothing_back(reply: Created) -> None:
    daemon = hand_daemon()
    p = process(daemon)
    assert errno_of(daemon, p.open("/a", W | CREATE), errno.ENOENT, reply) == errno.EIO
    assert daemon.asked == ["LOOKUP 1 a", "CREATE 1 a"]
    assert not p.files


def test_a_file_is_made_where_a_dangling_symlink_says() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    known(daemon, p, "/l", 5, SYMLINK)
    known(daemon, p, "/d", 6, DIRECTORY)
    daemon.call(p.open("/l", W | CREATE), b"d/new", errno.ENOENT, created(7))
    assert daemon.asked == ["READLINK 5", "LOOKUP 6 new", "CREATE 6 new"]


def test_symlinks_that_go_round_are_given_up_after_forty() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    known(daemon, p, "/l", 5, SYMLINK)
    assert errno_of(daemon, p.open("/l", W | CREATE), *[b"l"] * 40) == errno.ELOOP


def test_a_path_to_be_made_that_is_stale_is_walked_again() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    known(daemon, p, "/d", 6, DIRECTORY)
    answers = (errno.ESTALE, entry(6, DIRECTORY), errno.ENOENT, created(7))
    daemon.call(p.open("/d/new", W | CREATE), *answers)
    assert daemon.asked == ["LOOKUP 6 new", "LOOKUP 1 d", "LOOKUP 6 new", "CREATE 6 new"]


def test_a_file_without_a_name_is_forgotten_when_it_is_closed() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = daemon.call(p.open("/", RW | os.O_TMPFILE, 0o600), created(2))
    assert daemon.asked == ["TMPFILE 1 /"]
    daemon.call(p.close(fd), OK, OK)
    assert daemon.asked == ["FLUSH 2", "RELEASE 2", "FORGET 2 1"]


def test_a_refused_maker_is_told_so_only_if_there_is_nothing() -> None:
    options = Options(allow_other=True, default_permissions=True, rootmode=DIRECTORY)
    daemon = hand_daemon(options=options)
    p = process(daemon, uid=1000)
    ls = attributes(1, DIRECTORY)
    assert errno_of(daemon, p.open("/a", R | CREATE), ls, ls, errno.ENOENT) == errno.EACCES
    assert daemon.asked == ["GETATTR 1", "GETATTR 1", "LOOKUP 1 a"]
    daemon.call(p.open("/b", R | CREATE), ls, entry(3, stat.S_IFREG | 0o444), OpenOut())
    assert daemon.asked[-2:] == ["LOOKUP 1 b", "OPEN 3"]


def test_who_makes_a_file_may_open_it_whatever_its_mode() -> None:
    options = Options(allow_other=True, default_permissions=True, rootmode=stat.S_IFDIR | 0o777)
    daemon = hand_daemon(options=options)
    p = process(daemon, uid=1000)
    mode = stat.S_IFREG | 0o400
    daemon.call(
        p.open("/a", W | CREATE, 0o400), attributes(1, stat.S_IFDIR | 0o777), errno.ENOENT, created(2, mode=mode)
    )
    assert errno_of(daemon, p.open("/a", W), attributes(1, stat.S_IFDIR | 0o777), attributes(2, mode)) == errno.EACCES


@pytest.mark.parametrize(("groups", "kept"), [([], 0), ([500], stat.S_ISGID)])
def test_sgid_of_a_program_is_for_members_of_the_directorys_group(groups: list[int], kept: int) -> None:
    daemon = hand_daemon()
    p = process(daemon, uid=1000, groups=groups)
    known(daemon, p, "/d", 6, stat.S_IFDIR | 0o2777)
    daemon.superblock.inodes[6].attr.gid = 500
    message = daemon.last(p.open("/d/a", W | CREATE, 0o2775), errno.ENOENT, created(7))
    assert message.body.mode & stat.S_ISGID == kept


def test_nothing_is_made_on_a_mount_that_is_read_only() -> None:
    daemon = hand_daemon(options=Options(allow_other=True, read_only=True))
    p = process(daemon)
    assert errno_of(daemon, p.open("/a", R | CREATE), errno.ENOENT) == errno.EROFS
    daemon.call(p.open("/b", R | CREATE), entry(2), OpenOut())
    assert errno_of(daemon, p.open("/b", W)) == errno.EROFS
    assert errno_of(daemon, p.open("/b", R | TRUNC)) == errno.EROFS
    assert errno_of(daemon, p.open("/", RW | os.O_TMPFILE)) == errno.EROFS


# What is refused before anything is asked.


@pytest.mark.parametrize(
    ("path", "flags", "code"),
    [
        ("/d", W, errno.EISDIR),
        ("/d", R | TRUNC, errno.EISDIR),
        ("/d", R | CREATE, errno.EISDIR),
        ("/d", R | CREATE | os.O_DIRECTORY, errno.EINVAL),
        ("/d/", W | CREATE, errno.EISDIR),
        ("/new/", W | CREATE, errno.EISDIR),
        ("/.", R | CREATE, errno.EISDIR),
        ("/d/..", R | CREATE | EXCL, errno.EEXIST),
        ("/a", R | os.O_DIRECTORY, errno.ENOTDIR),
        ("/a/", R, errno.ENOTDIR),
        ("/a/x", W | CREATE, errno.ENOTDIR),
        ("/l", R | os.O_NOFOLLOW, errno.ELOOP),
        ("/l", W | CREATE | os.O_NOFOLLOW, errno.ELOOP),
        ("/l", R | os.O_NOFOLLOW | os.O_DIRECTORY, errno.ENOTDIR),
        ("/d", R | os.O_TMPFILE, errno.EINVAL),
        ("/a", RW | os.O_TMPFILE, errno.ENOTDIR),
        ("/s", R, errno.ENXIO),
        ("/f", W | os.O_NONBLOCK, errno.ENXIO),
        ("/c", R, errno.EACCES),
        ("", R, errno.ENOENT),
    ],
)
def test_what_cannot_be_opened_so(path: str, flags: int, code: int) -> None:
    daemon = hand_daemon(options=Options(allow_other=True, nodev=True))
    p = process(daemon)
    kinds = {"/a": FILE, "/d": DIRECTORY, "/l": SYMLINK, "/s": stat.S_IFSOCK, "/f": stat.S_IFIFO, "/c": stat.S_IFCHR}
    for nodeid, (name, mode) in enumerate(kinds.items(), 10):
        known(daemon, p, name, nodeid, mode)
    error = error_of(daemon, p.open(path, flags))
    assert (error.errno, error.filename) == (code, path)
    assert daemon.asked == []
    assert not p.files


@pytest.mark.parametrize("flags", [RW, R | os.O_NONBLOCK, RW | TRUNC, RW | CREATE])
def test_a_fifo_is_the_kernels_own_affair(flags: int) -> None:
    daemon = hand_daemon()
    p = process(daemon)
    known(daemon, p, mode=stat.S_IFIFO | 0o666)
    daemon.call(p.close(daemon.call(p.open("/a", flags))))
    assert daemon.asked == []


def test_o_path_asks_for_nothing_and_gives_nothing() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    known(daemon, p, "/l", 5, SYMLINK)
    fd = daemon.call(p.open("/l", os.O_PATH | os.O_NOFOLLOW | W | CREATE))
    assert daemon.call(p.get_flags(fd)) == os.O_PATH | os.O_NOFOLLOW
    for call in (p.read(fd, 1), p.write(fd, b"x"), p.getdents(fd, 4096), p.flock(fd, 1), p.ioctl(fd, 0)):
        assert errno_of(daemon, call) == errno.EBADF
    daemon.call(p.close(fd))
    assert daemon.asked == []


def test_o_noatime_is_for_the_owner() -> None:
    daemon = hand_daemon()
    p = process(daemon, uid=1000)
    known(daemon, p)
    assert errno_of(daemon, p.open("/a", R | os.O_NOATIME)) == errno.EPERM
    daemon.superblock.inodes[2].attr.uid = 1000
    daemon.call(p.open("/a", R | os.O_NOATIME), OpenOut())


def test_o_direct_on_a_directory_is_seen_when_it_is_open_already() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    known(daemon, p, mode=DIRECTORY)
    assert errno_of(daemon, p.open("/a", R | os.O_DIRECT), OpenOut(), OK) == errno.EINVAL
    assert daemon.asked == ["OPENDIR 2", "RELEASEDIR 2"]


# Truncation.


def test_o_trunc_is_a_setattr_after_the_open() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    known(daemon, p)
    task = daemon.start(p.open("/a", R | TRUNC))
    daemon.answer(daemon.read(), OpenOut(7, KEEP))
    daemon.answer(daemon.read(), errno.ENOSYS)  # GETXATTR of security.capability
    setattr_ = daemon.read()
    assert (setattr_.operation.name, setattr_.body.valid, setattr_.body.size) == ("SETATTR", 520, 0)
    daemon.answer(setattr_, attributes(2))
    assert task.finished


def test_a_file_that_cannot_be_truncated_is_released_without_flush() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    known(daemon, p)
    answers = (OpenOut(7, KEEP), errno.ENOSYS, errno.EPERM, OK)
    assert errno_of(daemon, p.open("/a", W | TRUNC), *answers) == errno.EPERM
    assert daemon.asked[-2:] == ["SETATTR 2", "RELEASE 2"]
    assert not p.files


def test_atomic_o_trunc_leaves_it_to_open() -> None:
    daemon = hand_daemon(ATOMIC | InitFlags.FUSE_HANDLE_KILLPRIV_V2)
    p = process(daemon, uid=1000)
    known(daemon, p)
    inode = daemon.superblock.inodes[2]
    inode.attr.size, inode.invalid = 100, 0
    message = daemon.last(p.open("/a", W | TRUNC), OpenOut(), errno.ENOSYS)
    assert daemon.asked[-2:] == ["OPEN 2", "GETXATTR 2 security.capability"]
    assert message.header.uid == 1000
    assert inode.size == 0
    assert inode.invalid & STATX_SIZE


@pytest.mark.parametrize(("uid", "expected"), [(0, 0), (1000, OpenInFlags.FUSE_OPEN_KILL_SUIDGID)])
def test_who_may_not_keep_suid_has_the_daemon_clear_it(uid: int, expected: int) -> None:
    daemon = hand_daemon(ATOMIC | InitFlags.FUSE_HANDLE_KILLPRIV_V2)
    p = process(daemon, uid=uid)
    known(daemon, p)
    daemon.start(p.open("/a", W | TRUNC))
    message = daemon.read()
    assert (message.body.flags & TRUNC, message.body.open_flags) == (TRUNC, expected)


# How the file is used.


def read_once(daemon: HandDaemon, p: Process, fd: int) -> None:
    """Read a byte of /a, whose only page is up to date after that."""
    daemon.superblock.inodes[2].attr.size = 10
    assert daemon.call(p.pread(fd, 1, 0), b"0123456789") == b"0"


@pytest.mark.parametrize(("open_flags", "reads"), [(0, 1), (KEEP, 0)])
def test_pages_outlive_an_open_only_if_the_daemon_says_so(open_flags: int, reads: int) -> None:
    daemon = hand_daemon()
    p = process(daemon)
    read_once(daemon, p, opened(daemon, p))
    fd = opened(daemon, p, open_flags=open_flags)
    assert daemon.call(p.pread(fd, 1, 0), *[b"abcdefghij"] * reads) == (b"a" if reads else b"0")


def test_who_uses_the_page_cache_is_counted_until_release() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    cached, direct = opened(daemon, p), opened(daemon, p, open_flags=OpenFlags.FOPEN_DIRECT_IO)
    inode = daemon.superblock.inodes[2]
    assert inode.iocachectr == 1
    daemon.call(p.close(direct), OK, OK)
    assert inode.iocachectr == 1
    daemon.call(p.close(cached), OK, OK)
    assert inode.iocachectr == 0


def test_who_wants_the_page_cache_waits_for_those_who_write_past_it() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    parallel = OpenFlags.FOPEN_DIRECT_IO | OpenFlags.FOPEN_PARALLEL_DIRECT_WRITES
    fd = opened(daemon, p, open_flags=parallel)
    daemon.superblock.inodes[2].attr.size = 100
    daemon.connection.absent.add("GETXATTR")
    writing = daemon.start(p.pwrite(fd, b"x", 0))
    write = daemon.read()
    opening = daemon.start(p.open("/a", R))
    daemon.answer(daemon.read(), OpenOut(8, KEEP))
    assert not opening.finished
    daemon.answer(write, (1).to_bytes(8, "little"))
    assert writing.finished
    assert opening.finished


def test_parallel_writes_are_for_files_without_a_cache() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p, open_flags=OpenFlags.FOPEN_PARALLEL_DIRECT_WRITES)
    assert not p.file(fd).open_flags & OpenFlags.FOPEN_PARALLEL_DIRECT_WRITES


def test_passthrough_is_refused_and_the_file_released_at_once() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    known(daemon, p)
    task = daemon.start(p.open("/a", R))
    daemon.answer(daemon.read(), OpenOut(7, OpenFlags.FOPEN_PASSTHROUGH))
    release = daemon.read()
    assert (release.operation.name, release.body.fh) == ("RELEASE", 7)
    assert not task.finished  # here it is waited for
    daemon.answer(release)
    assert isinstance(task.result, OSError)
    assert task.result.errno == errno.EIO


@pytest.mark.parametrize("open_flags", [OpenFlags.FOPEN_NONSEEKABLE, OpenFlags.FOPEN_STREAM])
def test_a_file_without_positions(open_flags: int) -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p, open_flags=open_flags)
    assert errno_of(daemon, p.lseek(fd, 0, os.SEEK_CUR)) == errno.ESPIPE
    assert errno_of(daemon, p.pread(fd, 1, 0)) == errno.ESPIPE


def test_a_bad_file_is_not_opened() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    known(daemon, p)
    fd = opened(daemon, p)
    daemon.superblock.inodes[2].bad = True
    assert errno_of(daemon, p.close(fd), OK) == errno.EIO
    assert daemon.asked == ["RELEASE 2"]


# Descriptors.


def test_the_lowest_free_descriptor_is_used() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fds = [opened(daemon, p) for _ in range(3)]
    assert fds == [3, 4, 5]
    daemon.call(p.close(4), OK, OK)
    assert opened(daemon, p) == 4
    assert opened(daemon, p) == 6


def test_a_descriptor_is_taken_while_its_file_is_being_opened() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    known(daemon, p)
    slow = daemon.start(p.open("/a", R))
    message = daemon.read()
    assert errno_of(daemon, p.close(3)) == errno.EBADF
    assert opened(daemon, p) == 4
    assert errno_of(daemon, p.dup2(4, 3)) == errno.EBUSY
    daemon.answer(message, OpenOut())
    assert slow.result == 3


def test_without_a_descriptor_nothing_is_asked() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    known(daemon, p)
    p.open_max = 4
    opened(daemon, p)
    assert errno_of(daemon, p.open("/a", R)) == errno.EMFILE
    assert errno_of(daemon, p.dup(3)) == errno.EMFILE
    assert errno_of(daemon, p.dup_from(3, 9)) == errno.EINVAL
    assert daemon.asked == []


def test_a_failed_open_gives_its_descriptor_back() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    known(daemon, p)
    assert errno_of(daemon, p.open("/a", R), errno.EPERM) == errno.EPERM
    assert opened(daemon, p) == 3


def test_dup2_closes_what_was_there_and_keeps_quiet_about_it() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    one, two = opened(daemon, p), opened(daemon, p)
    assert daemon.call(p.dup2(one, two), errno.EIO, OK) == two
    assert daemon.asked == ["FLUSH 2", "RELEASE 2"]
    assert p.file(one) is p.file(two)
    assert daemon.call(p.dup2(one, one)) == one
    assert errno_of(daemon, p.dup2(one, p.open_max)) == errno.EBADF
    assert errno_of(daemon, p.dup2(99, one)) == errno.EBADF


def test_flags_that_may_be_changed_and_those_that_may_not() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p, RW | os.O_APPEND | os.O_SYNC)
    daemon.call(p.set_flags(fd, W | os.O_NONBLOCK | TRUNC))
    assert daemon.call(p.get_flags(fd)) == RW | os.O_SYNC | os.O_NONBLOCK | LARGEFILE
    daemon.call(p.set_blocking(fd, True))
    assert daemon.call(p.get_blocking(fd)) is True
    assert errno_of(daemon, p.set_flags(99, 0)) == errno.EBADF


def test_o_noatime_may_not_be_set_on_anothers_file() -> None:
    daemon = hand_daemon()
    p = process(daemon, uid=1000)
    fd = opened(daemon, p, R)
    assert errno_of(daemon, p.set_flags(fd, os.O_NOATIME)) == errno.EPERM


# Several processes.


def test_a_child_shares_its_parents_open_files() -> None:
    daemon = hand_daemon()
    p = process(daemon, uid=1000)
    fd = opened(daemon, p)
    daemon.call(p.umask(0o077))
    child = daemon.call(p.fork())
    assert child.file(fd) is p.file(fd)
    assert (child.credentials, child.cwd, daemon.call(child.umask(0))) == (p.credentials, p.cwd, 0o077)
    daemon.call(p.seteuid(1000))
    assert child.credentials is not p.credentials
    daemon.call(child.lseek(fd, 5, os.SEEK_SET))
    assert daemon.call(p.lseek(fd, 0, os.SEEK_CUR)) == 5
    daemon.call(p.close(fd), OK)
    assert daemon.asked == ["FLUSH 2"]
    daemon.call(child.exit(), OK, OK)
    assert daemon.asked == ["FLUSH 2", "RELEASE 2"]


def test_parent_and_child_are_different_owners_of_locks() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p)
    child = daemon.call(p.fork())
    owners = [daemon.last(each.close(fd), OK).body.lock_owner for each in (p,)]
    task = daemon.start(child.close(fd))
    flush = daemon.read()
    daemon.answer(flush)
    assert task.finished
    assert flush.body.lock_owner not in owners


def test_exec_closes_what_is_marked() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    marked, other = opened(daemon, p, R | os.O_CLOEXEC), opened(daemon, p, R)
    assert daemon.call(p.get_inheritable(marked)) is False
    assert daemon.call(p.get_inheritable(other)) is True
    twin = daemon.call(p.dup(marked))
    daemon.call(p.exec(), OK)
    assert daemon.asked == ["FLUSH 2"]
    assert sorted(p.files) == [other, twin]
    daemon.call(p.set_inheritable(twin, False))
    daemon.call(p.exec(), errno.EIO, OK)
    assert daemon.asked == ["FLUSH 2", "RELEASE 2"]


def test_exit_closes_everything_and_is_over_once() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    opened(daemon, p)
    opened(daemon, p)
    daemon.call(p.exit(), errno.EIO, OK, OK, OK)
    assert [name.split()[0] for name in daemon.asked].count("RELEASE") == 2
    daemon.call(p.exit())
    assert p.pid not in daemon.system.processes


def test_a_file_of_another_mount_is_released_to_its_own_daemon() -> None:
    upper = hand_daemon()
    p = process(upper)
    known(upper, p, "/m", 6, DIRECTORY)
    below = upper.superblock.root.child(b"m")
    lower = daemon_at(upper.system, below)
    task = lower.start(p.open("/m/a", W | CREATE))
    lower.answer(lower.read(), errno.ENOENT)
    lower.answer(lower.read(), created(2))
    assert task.result == 3
    lower.call(p.close(3), OK, OK)
    assert lower.asked == ["FLUSH 2", "RELEASE 2"]


# Who a process is.


def test_root_becomes_somebody_else_for_good() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    daemon.call(p.setgroups([7, 5]))
    daemon.call(p.setgid(100))
    daemon.call(p.setuid(1000))
    assert daemon.call(p.getresuid()) == (1000, 1000, 1000)
    assert daemon.call(p.getresgid()) == (100, 100, 100)
    assert daemon.call(p.getgroups()) == [5, 7]
    assert p.credentials.fsuid == 1000
    for call in (p.setuid(0), p.seteuid(0), p.setgid(0), p.setgroups([]), p.setreuid(0, -1), p.setresgid(-1, 0, -1)):
        assert errno_of(daemon, call) == errno.EPERM


def test_the_effective_user_is_whom_requests_name_and_the_way_back_is_open() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    daemon.call(p.setegid(50))
    daemon.call(p.seteuid(1000))
    daemon.start(p.open("/a", R))
    message = daemon.read()
    assert (message.header.uid, message.header.gid, message.header.pid) == (1000, 50, p.pid)
    daemon.answer(message, errno.ENOENT)
    daemon.call(p.seteuid(0))
    assert daemon.call(p.geteuid()) == 0


@pytest.mark.parametrize(
    ("ruid", "euid", "saved"),
    [(-1, 1000, 1000), (1000, -1, 0), (-1, 0, 0), (1000, 2000, 2000)],
)
def test_setreuid_saves_the_effective_user_if_it_is_a_new_one(ruid: int, euid: int, saved: int) -> None:
    daemon = hand_daemon()
    p = process(daemon)
    daemon.call(p.setreuid(ruid, euid))
    assert p.credentials.suid == saved


@pytest.mark.parametrize("number", [-1, 2**32 - 1])
def test_what_is_no_id_is_refused(number: int) -> None:
    daemon = hand_daemon()
    p = process(daemon)
    assert errno_of(daemon, p.setuid(number)) == errno.EINVAL
    assert errno_of(daemon, p.setgroups([number])) == errno.EINVAL
