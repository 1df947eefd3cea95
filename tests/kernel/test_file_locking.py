"""Locks on files: which the daemon keeps, what it is told, and what a close gives up."""

from __future__ import annotations

import errno
import fcntl
import os
import stat

import pytest

from fusewire.kernel import Process
from fusewire.kernel.operations.lock_owner import lock_owner
from fusewire.wire import FileLock, InitFlags, LkOut, LockFlags, OpenFlags, OpenOut, ReleaseFlags
from hand_daemon import DIRECTORY, FILE, OK, HandDaemon, entry, errno_of, hand_daemon, process

POSIX, FLOCK = InitFlags.FUSE_POSIX_LOCKS, InitFlags.FUSE_FLOCK_LOCKS
SH, EX, UN, NB = fcntl.LOCK_SH, fcntl.LOCK_EX, fcntl.LOCK_UN, fcntl.LOCK_NB
END = 2**63 - 1


def opened(daemon: HandDaemon, p: Process, flags: int = os.O_RDWR, mode: int = FILE) -> int:
    """Open /a, 100 bytes long."""
    if daemon.superblock.root.child(b"a") is None:
        daemon.call(p.lstat("/a"), entry(2, mode, size=100))
    fd: int = daemon.call(p.open("/a", flags), OpenOut(7, OpenFlags.FOPEN_KEEP_CACHE))
    return fd


# Kept by the daemon.


@pytest.mark.parametrize(
    ("cmd", "name", "kind"),
    [
        (SH, "SETLKW", fcntl.F_RDLCK),
        (EX | NB, "SETLK", fcntl.F_WRLCK),
        (EX, "SETLKW", fcntl.F_WRLCK),
        (UN, "SETLKW", fcntl.F_UNLCK),
    ],
)
def test_lockf_tells_the_daemon_the_bytes_the_owner_and_the_process(cmd: int, name: str, kind: int) -> None:
    daemon = hand_daemon(POSIX)
    p = process(daemon)
    fd = opened(daemon, p)
    task = daemon.start(p.lockf(fd, cmd, 10, 5))
    message = daemon.read()
    assert message.operation.name == name
    assert message.body.fh == 7
    assert message.body.owner == lock_owner(p.owner, daemon.superblock.dev)
    assert message.body.lk == FileLock(5, 14, kind, 0 if kind == fcntl.F_UNLCK else p.pid)
    assert message.body.lk_flags == 0
    daemon.answer(message)
    assert task.finished


@pytest.mark.parametrize("operation", [SH, EX | NB, UN, UN | NB])
def test_flock_is_the_open_files_and_of_all_bytes(operation: int) -> None:
    daemon = hand_daemon(FLOCK)
    p = process(daemon)
    one, two = opened(daemon, p), opened(daemon, p)
    owners = []
    for fd in (one, daemon.call(p.dup(one)), two):
        task = daemon.start(p.flock(fd, operation))
        message = daemon.read()
        assert message.operation.name == ("SETLK" if operation & NB else "SETLKW")
        assert (message.body.lk.start, message.body.lk.end) == (0, END)
        assert message.body.lk_flags == LockFlags.FUSE_LK_FLOCK
        owners.append(message.body.owner)
        daemon.answer(message)
        assert task.finished
    assert owners[0] == owners[1] != owners[2]
    assert lock_owner(p.owner, daemon.superblock.dev) not in owners


def test_a_close_is_told_by_flush_and_the_last_by_release() -> None:
    daemon = hand_daemon(POSIX | FLOCK)
    p = process(daemon)
    fd = opened(daemon, p)
    task = daemon.start(p.flock(fd, EX))
    flock = daemon.read()
    daemon.answer(flock)
    assert task.finished
    daemon.start(p.close(fd))
    flush = daemon.read()
    assert flush.body.lock_owner == lock_owner(p.owner, daemon.superblock.dev)
    daemon.answer(flush)
    release = daemon.read().body
    assert release.release_flags == ReleaseFlags.FUSE_RELEASE_FLOCK_UNLOCK
    assert release.lock_owner == flock.body.owner


def test_release_says_nothing_of_posix_locks() -> None:
    daemon = hand_daemon(POSIX | FLOCK)
    p = process(daemon)
    fd = opened(daemon, p)
    daemon.call(p.lockf(fd, EX), OK)
    daemon.start(p.close(fd))
    daemon.answer(daemon.read())
    assert daemon.read().body.release_flags == 0


def test_locks_of_an_open_file_are_the_open_files() -> None:
    daemon = hand_daemon(POSIX)
    p = process(daemon)
    fd = opened(daemon, p)
    for wait, name in ((False, "SETLK"), (True, "SETLKW")):
        daemon.start(p.setlk(fd, fcntl.F_WRLCK, 0, 1, wait=wait, ofd=True))
        message = daemon.read()
        assert message.operation.name == name
        assert message.body.owner != lock_owner(p.owner, daemon.superblock.dev)
        assert message.body.lk_flags == 0
        daemon.answer(message)


def test_getlk_returns_what_the_daemon_finds() -> None:
    daemon = hand_daemon(POSIX)
    p = process(daemon)
    fd = opened(daemon, p)
    found = FileLock(3, 4, fcntl.F_RDLCK, 77)
    task = daemon.start(p.getlk(fd, fcntl.F_WRLCK, 2, 5))
    message = daemon.read()
    assert (message.operation.name, message.body.lk) == ("GETLK", FileLock(2, 6, fcntl.F_WRLCK, 0))
    daemon.answer(message, LkOut(found))
    assert task.result == found
    assert daemon.call(p.getlk(fd, fcntl.F_WRLCK), LkOut(FileLock(type=fcntl.F_UNLCK))) is None


@pytest.mark.parametrize("nonsense", [FileLock(type=3), FileLock(5, 4, fcntl.F_RDLCK), FileLock(0, 1 << 63, 0)])
def test_getlk_refuses_nonsense(nonsense: FileLock) -> None:
    daemon = hand_daemon(POSIX)
    p = process(daemon)
    fd = opened(daemon, p)
    assert errno_of(daemon, p.getlk(fd, fcntl.F_WRLCK), LkOut(nonsense)) == errno.EIO


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.EDEADLK, errno.ENOSYS, errno.ENOLCK])
def test_a_refusal_is_the_daemons_and_is_not_remembered(code: int) -> None:
    daemon = hand_daemon(POSIX | FLOCK)
    p = process(daemon)
    fd = opened(daemon, p)
    for call in (p.lockf, p.flock):
        for _ in range(2):
            assert errno_of(daemon, call(fd, EX), code) == code


def test_a_wait_that_is_interrupted_is_begun_again() -> None:
    daemon = hand_daemon(POSIX)
    p = process(daemon)
    fd = opened(daemon, p)
    task = daemon.start(p.lockf(fd, EX))
    first = daemon.read()
    task.interrupt()
    interrupt = daemon.read()
    assert (interrupt.operation.name, interrupt.body.unique) == ("INTERRUPT", first.header.unique)
    daemon.answer(first, errno.EINTR)
    second = daemon.read()
    assert (second.operation.name, second.body) == ("SETLKW", first.body)
    daemon.answer(second)
    assert task.result is None
    assert task.finished


def test_eintr_that_no_signal_has_asked_for_comes_out_as_what_the_kernel_makes_of_it() -> None:
    """Linux returns -ERESTARTSYS to the program, which no signal turns into anything else."""
    daemon = hand_daemon(POSIX)
    p = process(daemon)
    fd = opened(daemon, p)
    assert errno_of(daemon, p.lockf(fd, EX), errno.EINTR) == 512


def test_before_minor_17_flock_goes_with_the_posix_locks() -> None:
    for flags, remote in ((POSIX, 1), (FLOCK, 0)):
        daemon = hand_daemon(flags)
        p = process(daemon)
        fd = opened(daemon, p)
        object.__setattr__(daemon.connection.settings, "minor", 16)
        daemon.call(p.flock(fd, EX), *[OK] * remote)


# Kept by the kernel.


def test_without_the_flags_no_daemon_hears_of_a_lock() -> None:
    daemon = hand_daemon()
    p, other = process(daemon), process(daemon)
    fd, theirs = opened(daemon, p), opened(daemon, other)
    for lock in ("flock", "lockf"):
        daemon.call(getattr(p, lock)(fd, EX))
        assert errno_of(daemon, getattr(other, lock)(theirs, SH | NB)) == errno.EAGAIN
        daemon.call(getattr(p, lock)(fd, UN))
        daemon.call(getattr(other, lock)(theirs, EX | NB))
        daemon.call(getattr(other, lock)(theirs, UN))
        assert daemon.asked == []


@pytest.mark.parametrize("mode", [DIRECTORY, stat.S_IFIFO | 0o666])
def test_of_what_is_no_regular_file_the_kernel_keeps_the_locks(mode: int) -> None:
    daemon = hand_daemon(POSIX | FLOCK)
    p, other = process(daemon), process(daemon)
    daemon.call(p.lstat("/a"), entry(2, mode))
    answers = [OpenOut()] if mode == DIRECTORY else []
    fd, theirs = (daemon.call(who.open("/a", os.O_RDONLY | os.O_NONBLOCK), *answers) for who in (p, other))
    daemon.call(p.flock(fd, EX))
    assert errno_of(daemon, other.flock(theirs, EX | NB)) == errno.EAGAIN
    daemon.call(p.lockf(fd, SH))
    assert daemon.asked == []


def test_getlk_finds_what_the_kernel_keeps() -> None:
    daemon = hand_daemon()
    p, other = process(daemon), process(daemon)
    fd, theirs = opened(daemon, p), opened(daemon, other)
    daemon.call(p.lockf(fd, EX, 10, 5))
    assert daemon.call(other.getlk(theirs, fcntl.F_RDLCK, 0, 7)) == FileLock(5, 14, fcntl.F_WRLCK, p.pid)
    assert daemon.call(p.getlk(fd, fcntl.F_WRLCK)) is None
    assert daemon.call(other.getlk(theirs, fcntl.F_RDLCK, 15)) is None


def test_closing_any_descriptor_gives_up_what_the_process_has_on_the_file() -> None:
    daemon = hand_daemon()
    p, other = process(daemon), process(daemon)
    fd, spare, theirs = opened(daemon, p), opened(daemon, p), opened(daemon, other)
    daemon.call(p.lockf(fd, EX))
    daemon.call(p.close(spare), OK, OK)
    daemon.call(other.lockf(theirs, EX | NB))


def test_a_lock_of_the_open_file_goes_with_its_last_descriptor() -> None:
    daemon = hand_daemon()
    p, other = process(daemon), process(daemon)
    fd, theirs = opened(daemon, p), opened(daemon, other)
    twin = daemon.call(p.dup(fd))
    daemon.call(p.flock(fd, EX))
    daemon.call(p.close(fd), OK)
    assert errno_of(daemon, other.flock(theirs, EX | NB)) == errno.EAGAIN
    daemon.call(p.close(twin), OK, OK)
    daemon.call(other.flock(theirs, EX | NB))


def test_who_waits_gets_the_lock_when_it_is_given_up_whatever_signals_come() -> None:
    daemon = hand_daemon()
    p, other = process(daemon), process(daemon)
    fd, theirs = opened(daemon, p), opened(daemon, other)
    daemon.call(p.lockf(fd, EX))
    waiting = daemon.start(other.lockf(theirs, EX))
    waiting.interrupt()
    daemon.system.runner.run()
    assert not waiting.finished
    daemon.call(p.lockf(fd, UN))
    assert waiting.finished
    assert waiting.result is None


def test_a_child_has_none_of_its_parents_locks() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p)
    daemon.call(p.lockf(fd, EX))
    daemon.call(p.flock(fd, EX))
    child = daemon.call(p.fork())
    assert errno_of(daemon, child.lockf(fd, EX | NB)) == errno.EAGAIN
    daemon.call(child.flock(fd, EX | NB))  # which is the open file's


# What is refused.


@pytest.mark.parametrize("flags", [0, POSIX | FLOCK])
def test_a_lock_needs_a_descriptor_open_for_it(flags: int) -> None:
    daemon = hand_daemon(flags)
    p = process(daemon)
    reader, writer, neither = (opened(daemon, p, how) for how in (os.O_RDONLY, os.O_WRONLY, 3))
    assert errno_of(daemon, p.lockf(reader, EX)) == errno.EBADF
    assert errno_of(daemon, p.lockf(writer, SH)) == errno.EBADF
    assert errno_of(daemon, p.flock(neither, SH)) == errno.EBADF
    assert errno_of(daemon, p.flock(99, SH)) == errno.EBADF
    assert daemon.asked == []


@pytest.mark.parametrize(
    ("start", "length", "whence", "code"),
    [
        (-1, 1, os.SEEK_SET, errno.EINVAL),
        (5, -6, os.SEEK_SET, errno.EINVAL),
        (0, 1, 9, errno.EINVAL),
        (-101, 0, os.SEEK_END, errno.EINVAL),
        (END, 2, os.SEEK_SET, errno.EOVERFLOW),
        (END, 0, os.SEEK_END, errno.EOVERFLOW),
    ],
)
def test_bytes_that_there_are_not(start: int, length: int, whence: int, code: int) -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p)
    assert errno_of(daemon, p.lockf(fd, EX, length, start, whence)) == code


@pytest.mark.parametrize(
    ("start", "length", "whence", "first", "last"),
    [
        (5, 0, os.SEEK_SET, 5, END),
        (5, -5, os.SEEK_SET, 0, 4),
        (END, 1, os.SEEK_SET, END, END),
        (-10, 5, os.SEEK_END, 90, 94),
        (2, 3, os.SEEK_CUR, 42, 44),
    ],
)
def test_bytes_are_counted_from_where_whence_says(start: int, length: int, whence: int, first: int, last: int) -> None:
    daemon = hand_daemon(POSIX)
    p = process(daemon)
    fd = opened(daemon, p)
    daemon.call(p.lseek(fd, 40, os.SEEK_SET))
    daemon.start(p.lockf(fd, EX, length, start, whence))
    lock = daemon.read().body.lk
    assert (lock.start, lock.end) == (first, last)


def test_operations_that_there_are_not() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p)
    assert errno_of(daemon, p.flock(fd, 77)) == errno.EINVAL
    assert errno_of(daemon, p.setlk(fd, 9)) == errno.EINVAL
    assert errno_of(daemon, p.getlk(fd, fcntl.F_UNLCK)) == errno.EINVAL
    assert daemon.call(p.getlk(fd, fcntl.F_UNLCK, ofd=True)) is None
    for cmd in (0, UN | NB):
        with pytest.raises(ValueError, match="LOCK_SH"):
            daemon.system.runner.call(p.lockf(fd, cmd))


def test_owners_are_scrambled_but_always_in_the_same_way() -> None:
    assert lock_owner(100, 64) == lock_owner(100, 64)
    assert len({lock_owner(owner, dev) for owner in range(100, 200) for dev in (64, 65)}) == 200
    assert all(lock_owner(owner, 64) >> 32 for owner in range(100, 120))
