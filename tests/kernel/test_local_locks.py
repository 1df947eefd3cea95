"""Locks that the kernel keeps by itself: ranges, waiting, and waiting for each other."""

from __future__ import annotations

import errno
import random
from collections.abc import Coroutine, Iterator
from itertools import pairwise
from typing import Any

import pytest

from fusewire.kernel.tasks import Task
from fusewire.kernel.vfs.file_locks import TO_THE_END, FileLocks, Lock
from on_memory import OnMemory, on_memory

READ, WRITE = False, True


class Locks:
    """A file's locks, and tasks that want some."""

    def __init__(self, on: OnMemory) -> None:
        self.on = on
        self.file = self.another()

    def another(self) -> FileLocks:
        return FileLocks(self.on.kernel.superblock.root_inode)

    def set(self, owner: Any, exclusive: bool, start: int, end: int = TO_THE_END) -> str | None:
        """Take a lock, without waiting."""
        return self.on.error(self.file.lock(Lock(owner, exclusive, start, end), wait=False))

    def held(self) -> list[tuple[Any, bool, int, int]]:
        return [(lock.owner, lock.exclusive, lock.start, lock.end) for lock in self.file.posix.held]

    def start(self, call: Coroutine[Any, Any, None]) -> Task:
        """Have a task make a call that may sleep."""
        task = Task("waiter", call)
        task.resume()
        return task

    def waits(self, owner: Any, exclusive: bool, start: int, end: int, file: FileLocks | None = None) -> Task:
        return self.start((file or self.file).lock(Lock(owner, exclusive, start, end), wait=True))


@pytest.fixture
def locks() -> Iterator[Locks]:
    with on_memory() as on:
        yield Locks(on)


def outcome(task: Task) -> str | None:
    """What became of a task that may go on: 'asleep', the name of an errno, or None."""
    if task.ready:
        task.resume()
    if not task.finished:
        return "asleep"
    return errno.errorcode[task.result.errno or 0] if isinstance(task.result, OSError) else None


# Ranges.


def test_a_lock_amid_another_of_the_same_owner_splits_it(locks: Locks) -> None:
    locks.set(1, WRITE, 0, 99)
    locks.set(1, READ, 40, 59)
    assert locks.held() == [(1, WRITE, 0, 39), (1, READ, 40, 59), (1, WRITE, 60, 99)]


def test_locks_of_one_kind_that_touch_are_merged(locks: Locks) -> None:
    locks.set(1, WRITE, 0, 9)
    locks.set(1, WRITE, 20, 29)
    locks.set(1, WRITE, 10, 19)
    assert locks.held() == [(1, WRITE, 0, 29)]


def test_neighbours_of_another_kind_are_not_merged(locks: Locks) -> None:
    locks.set(1, WRITE, 0, 9)
    locks.set(1, READ, 10, TO_THE_END)
    assert locks.held() == [(1, WRITE, 0, 9), (1, READ, 10, TO_THE_END)]


def test_unlocking_the_middle_leaves_both_ends(locks: Locks) -> None:
    locks.set(1, READ, 0, 99)
    locks.file.unlock(1, 10, 19)
    assert locks.held() == [(1, READ, 0, 9), (1, READ, 20, 99)]
    locks.file.unlock(1)
    assert locks.held() == []


def test_any_sequence_leaves_each_byte_as_last_set(locks: Locks) -> None:
    chance = random.Random(5)
    model: dict[int, bool] = {}
    for _ in range(400):
        start, end, kind = chance.randrange(40), chance.randrange(40), chance.choice((READ, WRITE, None))
        start, end = min(start, end), max(start, end)
        if kind is None:
            locks.file.unlock(1, start, end)
            model = {byte: each for byte, each in model.items() if not start <= byte <= end}
        else:
            locks.set(1, kind, start, end)
            model |= dict.fromkeys(range(start, end + 1), kind)
        held = locks.file.posix.held
        assert {byte: lock.exclusive for lock in held for byte in range(lock.start, lock.end + 1)} == model
        assert held == sorted(held, key=lambda lock: lock.start)
        assert all(first.end < second.start - (first.exclusive == second.exclusive) for first, second in pairwise(held))


def test_readers_share_and_writers_do_not(locks: Locks) -> None:
    assert locks.set(1, READ, 0, 9) is None
    assert locks.set(2, READ, 5, 14) is None
    assert locks.set(3, WRITE, 9, 9) == "EAGAIN"
    assert locks.set(3, WRITE, 15, 20) is None
    assert locks.set(1, WRITE, 0, 4) is None
    assert locks.set(1, WRITE, 0, 5) == "EAGAIN"


def test_the_first_conflict_is_shown(locks: Locks) -> None:
    locks.set(1, READ, 10, 19)
    locks.set(2, READ, 0, 19)
    found = locks.file.find_conflict(Lock(3, WRITE, 0, TO_THE_END))
    assert found is not None
    assert (found.owner, found.start, found.end) == (1, 10, 19)
    assert locks.file.find_conflict(Lock(3, READ)) is None


# Waiting.


def test_who_waits_is_granted_the_lock_by_who_gives_it_up(locks: Locks) -> None:
    locks.set(1, WRITE, 0, 9)
    first, second = locks.waits(2, WRITE, 0, 9), locks.waits(3, WRITE, 5, 5)
    assert (outcome(first), outcome(second)) == ("asleep", "asleep")
    locks.file.unlock(1)
    assert locks.set(4, READ, 0, 0) == "EAGAIN", "nobody overtakes"
    assert (outcome(first), outcome(second)) == (None, "asleep")
    locks.file.forget_owner(2)
    assert outcome(second) is None
    assert locks.held() == [(3, WRITE, 5, 5)]


def test_readers_are_granted_together(locks: Locks) -> None:
    locks.set(1, WRITE, 0, 9)
    readers = [locks.waits(owner, READ, 0, 9) for owner in (2, 3)]
    locks.set(1, READ, 0, 9)
    assert [outcome(reader) for reader in readers] == [None, None]


def test_a_signal_ends_the_wait(locks: Locks) -> None:
    locks.set(1, WRITE, 0, 9)
    waiter = locks.waits(2, WRITE, 0, 9)
    waiter.interrupt()
    assert outcome(waiter) == "EINTR"
    locks.file.unlock(1)
    assert locks.held() == []
    assert locks.on.kernel.system.lock_waiters == []


# Waiting for each other.


def test_two_who_wait_for_each_other_would_wait_for_ever(locks: Locks) -> None:
    locks.set(1, WRITE, 0, 0)
    locks.set(2, WRITE, 1, 1)
    waiter = locks.waits(1, WRITE, 1, 1)
    assert outcome(locks.waits(2, WRITE, 0, 0)) == "EDEADLOCK"
    assert locks.set(2, WRITE, 0, 0) == "EAGAIN", "without waiting there is no deadlock"
    locks.file.forget_owner(2)
    assert outcome(waiter) is None


def test_a_ring_is_found_across_files(locks: Locks) -> None:
    other = locks.another()
    locks.set(1, WRITE, 0, 0)
    locks.set(2, WRITE, 1, 1)
    locks.on.do(other.lock(Lock(3, WRITE, 0, 0), wait=False))
    waiters = [locks.waits(1, WRITE, 1, 1), locks.waits(2, WRITE, 0, 0, other)]
    assert [outcome(waiter) for waiter in waiters] == ["asleep", "asleep"]
    assert outcome(locks.waits(3, WRITE, 0, 0)) == "EDEADLOCK"
    for waiter in waiters:
        waiter.coroutine.close()


def test_nobody_looks_for_deadlocks_among_open_files(locks: Locks) -> None:
    one, two = object(), object()
    locks.set(one, WRITE, 0, 0)
    locks.set(two, WRITE, 1, 1)
    waiters = [locks.waits(one, WRITE, 1, 1), locks.waits(two, WRITE, 0, 0)]
    assert [outcome(waiter) for waiter in waiters] == ["asleep", "asleep"]
    for waiter in waiters:
        waiter.coroutine.close()


# flock


class Flocks(Locks):
    """Two open files of one file."""

    def __init__(self, on: OnMemory) -> None:
        super().__init__(on)
        self.one, self.two, self.three = (on.root.file(on.do(on.root.open("/f", 0))) for _ in range(3))


@pytest.fixture
def flocks() -> Iterator[Flocks]:
    with on_memory() as on:
        yield Flocks(on)


def test_a_file_is_locked_by_many_or_by_one(flocks: Flocks) -> None:
    lock = flocks.file.lock_file
    assert flocks.on.error(lock(flocks.one, READ, wait=False)) is None
    assert flocks.on.error(lock(flocks.two, READ, wait=False)) is None
    assert flocks.on.error(lock(flocks.three, WRITE, wait=False)) == "EAGAIN"
    flocks.file.unlock_file(flocks.one)
    flocks.file.forget_file(flocks.two)
    assert flocks.on.error(lock(flocks.three, WRITE, wait=False)) is None
    assert flocks.on.error(lock(flocks.three, WRITE, wait=False)) is None, "it is his already"


def test_a_lock_that_cannot_be_converted_is_lost(flocks: Flocks) -> None:
    lock = flocks.file.lock_file
    flocks.on.do(lock(flocks.one, READ, wait=False))
    flocks.on.do(lock(flocks.two, READ, wait=False))
    assert flocks.on.error(lock(flocks.one, WRITE, wait=False)) == "EAGAIN"
    assert [held.owner for held in flocks.file.flock.held] == [flocks.two]


def test_who_waits_for_the_whole_file_gets_it(flocks: Flocks) -> None:
    flocks.on.do(flocks.file.lock_file(flocks.one, WRITE, wait=False))
    waiter = flocks.start(flocks.file.lock_file(flocks.two, WRITE, wait=True))
    assert outcome(waiter) == "asleep"
    flocks.file.unlock_file(flocks.one)
    assert outcome(waiter) is None


def test_the_two_kinds_take_no_notice_of_each_other(flocks: Flocks) -> None:
    flocks.on.do(flocks.file.lock_file(flocks.one, WRITE, wait=False))
    assert flocks.set(1, WRITE, 0, 9) is None
