"""Locks on a file that the kernel keeps by itself, because the daemon does not want to (POSIX_LOCKS, FLOCK_LOCKS).

Two kinds, which take no notice of each other:

    posix    fcntl(2): of bytes, readers and writers; owned by a process, which never conflicts with
             itself, so that a new lock takes the place of what it covers: old ones are cut, split
             and, if of the same kind, merged with their neighbours. Locks of an open file
             (F_OFD_SETLK) are of this kind too, but owned by the open file.
    flock    flock(2): of the whole file, owned by an open file. One that is converted is given up
             first, and lost if somebody else gets in between.

Who waits is granted his lock by whoever gives up what stood in its way, first come, first served,
but nobody waits for one who himself waits: a writer may starve while readers come and go, as in
Linux. A process that waits for one that waits for it, in however many steps up to ten, gets
EDEADLK instead; of locks of open files nobody can say who waits for whom.

Source: fs/locks.c, posix_lock_inode, flock_lock_inode, posix_locks_deadlock.
"""

from __future__ import annotations

import errno
import fcntl
from typing import TYPE_CHECKING, Final

from fusewire.errors import os_error
from fusewire.kernel.waitq import Sleep, WaitQueue

if TYPE_CHECKING:
    from fusewire.kernel.vfs.inode import Inode
    from fusewire.kernel.vfs.open_file import OpenFile

__all__ = ["TO_THE_END", "FileLocks", "Lock"]

TO_THE_END: Final = (1 << 63) - 1  # the last byte that a file may have
LONGEST_CHAIN: Final = 10  # of owners who wait for each other, as far as Linux looks


class Lock:
    """A lock that is held or wanted: bytes `start` to `end`, both included, by `owner`."""

    __slots__ = ("end", "exclusive", "owner", "pid", "start")

    def __init__(self, owner: object, exclusive: bool, start: int = 0, end: int = TO_THE_END, pid: int = 0) -> None:
        self.owner = owner  # a process's number, or an open file
        self.exclusive = exclusive
        self.start, self.end = start, end
        self.pid = pid  # as F_GETLK shows it; -1 of an open file's

    def __repr__(self) -> str:
        kind = "write" if self.exclusive else "read"
        return f"<Lock {kind} {self.start}-{self.end} of {self.owner}>"

    @property
    def type(self) -> int:
        return fcntl.F_WRLCK if self.exclusive else fcntl.F_RDLCK

    def overlaps(self, other: Lock) -> bool:
        return self.start <= other.end and other.start <= self.end

    def touches(self, other: Lock) -> bool:
        """Whether the two overlap, or one begins where the other ends."""
        return self.start <= other.end + 1 and other.start <= self.end + 1

    def conflicts(self, other: Lock) -> bool:
        return self.owner != other.owner and (self.exclusive or other.exclusive) and self.overlaps(other)

    def part(self, start: int, end: int) -> Lock:
        """The same, of other bytes."""
        return Lock(self.owner, self.exclusive, start, end, self.pid)


class Waiter:
    """A lock that somebody waits for. `blocker` is what stands in its way."""

    __slots__ = ("blocker", "error", "granted", "lock", "table")

    def __init__(self, table: Table, lock: Lock, blocker: Lock) -> None:
        self.table, self.lock, self.blocker = table, lock, blocker
        self.granted = False
        self.error = 0  # it will not be granted: EDEADLK


class Table:
    """The locks of one kind on one file, in the order in which Linux lists them: by owner, then by start."""

    __slots__ = ("held", "inode", "name", "waiters", "waitq")

    def __init__(self, inode: Inode, name: str) -> None:
        self.inode = inode
        self.name = name
        self.held: list[Lock] = []
        self.waiters: list[Waiter] = []  # first come, first served
        self.waitq: WaitQueue | None = None

    def conflict(self, wanted: Lock) -> Lock | None:
        """Return the first lock that stands in the way of `wanted`."""
        return next((lock for lock in self.held if lock.conflicts(wanted)), None)

    async def acquire(self, wanted: Lock, wait: bool) -> None:
        """Take `wanted`, at once or, if `wait`, when it can be had.

        Raises:
            OSError: EAGAIN if it cannot be had and `wait` is false; EDEADLK; EINTR if a signal came first.
        """
        blocker = self.conflict(wanted)
        if blocker is None:
            self.put(wanted)
            self.settle()
            return
        if not wait:
            raise os_error(errno.EAGAIN)
        if self._would_deadlock(wanted, blocker):
            raise os_error(errno.EDEADLK)
        await self._wait(Waiter(self, wanted, blocker))

    async def _wait(self, waiter: Waiter) -> None:
        if self.waitq is None:
            self.waitq = WaitQueue(f"{self.name} locks of nodeid {self.inode.nodeid}")
        everybody = self._all_waiters
        self.waiters.append(waiter)
        everybody.append(waiter)
        try:
            await self.waitq.sleep(lambda: waiter.granted or bool(waiter.error), Sleep.INTERRUPTIBLE)
        finally:
            everybody.remove(waiter)
            if not waiter.granted:
                self.waiters.remove(waiter)
        if waiter.error:
            raise os_error(waiter.error)

    def put(self, new: Lock) -> None:
        """Have `new` take the place of what its owner has there."""
        mine = [lock for lock in self.held if lock.owner == new.owner]
        start, end, kept = new.start, new.end, []
        for old in mine:
            if old.exclusive == new.exclusive and old.touches(new):
                start, end = min(start, old.start), max(end, old.end)
            else:
                kept += _without(old, new.start, new.end)
        merged = new.part(start, end)
        self._exchange(new.owner, sorted([*kept, merged], key=lambda lock: lock.start))

    def take_away(self, owner: object, start: int = 0, end: int = TO_THE_END) -> None:
        """Give up what `owner` has from `start` to `end`, and grant it to those who wait."""
        mine = [lock for lock in self.held if lock.owner == owner]
        if mine:
            self._exchange(owner, [part for lock in mine for part in _without(lock, start, end)])
            self.settle()

    def _exchange(self, owner: object, locks: list[Lock]) -> None:
        """Put `locks` where the first of `owner` stood; at the end if he had none."""
        at = next((index for index, lock in enumerate(self.held) if lock.owner == owner), len(self.held))
        others = [lock for lock in self.held if lock.owner != owner]
        self.held = others[:at] + locks + others[at:]

    def settle(self) -> None:
        """Grant what can be granted now, first come, first served, and tell those who can wait no longer."""
        for waiter in list(self.waiters):
            blocker = self.conflict(waiter.lock)
            if blocker is None:
                self.waiters.remove(waiter)
                waiter.granted = True
                self.put(waiter.lock)
            elif blocker is not waiter.blocker:
                waiter.blocker = blocker
                waiter.error = errno.EDEADLK if self._would_deadlock(waiter.lock, blocker) else 0
        if self.waitq is not None and self.waitq.sleepers:
            self.waitq.wake_all()

    @property
    def _all_waiters(self) -> list[Waiter]:
        """Of all files: processes wait for each other across them."""
        return self.inode.superblock.system.lock_waiters

    def _would_deadlock(self, wanted: Lock, blocker: Lock) -> bool:
        """Whether the owner of `blocker` waits, in some steps, for that of `wanted`."""
        if not isinstance(wanted.owner, int):
            return False
        waiting = {waiter.lock.owner: waiter for waiter in self._all_waiters if waiter.lock is not wanted}
        for _ in range(LONGEST_CHAIN):
            waiter = waiting.get(blocker.owner)
            if waiter is None:
                return False
            blocker = waiter.table.conflict(waiter.lock) or waiter.blocker
            if blocker.owner == wanted.owner:
                return True
        return False


def _without(lock: Lock, start: int, end: int) -> list[Lock]:
    """What is left of `lock` without the bytes `start` to `end`: up to two parts."""
    if lock.end < start or end < lock.start:
        return [lock]
    parts = []
    if lock.start < start:
        parts.append(lock.part(lock.start, start - 1))
    if end < lock.end:
        parts.append(lock.part(end + 1, lock.end))
    return parts


class FileLocks:
    """All locks on one file."""

    __slots__ = ("flock", "posix")

    def __init__(self, inode: Inode) -> None:
        self.posix = Table(inode, "posix")
        self.flock = Table(inode, "flock")

    # fcntl(2)

    def find_conflict(self, wanted: Lock) -> Lock | None:
        """Return a lock that stands in the way of `wanted`, as F_GETLK shows it; None if it could be had."""
        return self.posix.conflict(wanted)

    async def lock(self, wanted: Lock, wait: bool) -> None:
        """Take `wanted`, in place of what its owner has there (F_SETLK; with `wait` F_SETLKW).

        Raises:
            OSError: EAGAIN if somebody else has a lock there and `wait` is false; EDEADLK if he waits
                for one of ours; EINTR if a signal came first.
        """
        await self.posix.acquire(wanted, wait)

    def unlock(self, owner: object, start: int = 0, end: int = TO_THE_END) -> None:
        """Give up what `owner`, a process or an open file, has from `start` to `end`."""
        self.posix.take_away(owner, start, end)

    def forget_owner(self, owner: int) -> None:
        """A process has closed a descriptor of the file, and loses all its locks on it."""
        self.posix.take_away(owner)

    # flock(2)

    async def lock_file(self, file: OpenFile, exclusive: bool, wait: bool) -> None:
        """Lock the whole file for `file` (LOCK_SH, LOCK_EX; without `wait` LOCK_NB).

        Raises:
            OSError: EAGAIN (EWOULDBLOCK) if somebody else has locked it and `wait` is false: a lock of
                the other kind that `file` had is then lost; EINTR if a signal came first.
        """
        mine = next((lock for lock in self.flock.held if lock.owner is file), None)
        if mine is not None and mine.exclusive == exclusive:
            return
        wanted = Lock(file, exclusive)
        if mine is not None:
            self.flock.held.remove(mine)
            if self.flock.conflict(wanted) is not None:
                self.flock.settle()
        await self.flock.acquire(wanted, wait)

    def unlock_file(self, file: OpenFile) -> None:
        """Give up the lock that `file` has."""
        self.flock.take_away(file)

    # Both.

    def forget_file(self, file: OpenFile) -> None:
        """The last descriptor of `file` has been closed: it loses its locks of both kinds."""
        self.flock.take_away(file)
        self.posix.take_away(file)
