"""Locks: whole files with flock, ranges with fcntl.

Two kinds that do not see each other. The first belongs to an open file, the second to a
process and an inode: closing any descriptor of the file drops them.

Source: flock(2), fcntl(2).
"""

from __future__ import annotations

import os
from errno import EACCES, EAGAIN
from fcntl import LOCK_EX, LOCK_SH, LOCK_UN

from torture.conformance.tester import Tester, case

HELD = (EAGAIN, EACCES)


def opened(t: Tester) -> tuple[int, int]:
    """A file, and a descriptor of it for alice and for bob."""
    t.root.create("file", 0o666, b"0123456789")
    return t.alice.open("file", os.O_RDWR), t.bob.open("file", os.O_RDWR)


@case("locks", needs="users")
def whole_files(t: Tester) -> None:
    mine, theirs = opened(t)
    t.works(t.alice.flock, mine, LOCK_EX)
    t.fails(HELD, t.bob.flock, theirs, LOCK_EX)
    t.fails(HELD, t.bob.flock, theirs, LOCK_SH)
    t.works(t.alice.flock, mine, LOCK_SH)
    t.works(t.bob.flock, theirs, LOCK_SH)
    t.fails(HELD, t.alice.flock, mine, LOCK_EX)
    t.works(t.bob.flock, theirs, LOCK_UN)
    t.works(t.alice.flock, mine, LOCK_EX)
    t.works(t.alice.close, mine)
    t.works(t.bob.flock, theirs, LOCK_EX)


@case("locks", needs="users")
def whole_files_by_descriptor(t: Tester) -> None:
    mine, _ = opened(t)
    again = t.alice.open("file", os.O_RDWR)
    t.works(t.alice.flock, mine, LOCK_EX)
    t.fails(HELD, t.alice.flock, again, LOCK_EX)
    t.works(t.alice.close, mine)
    t.works(t.alice.flock, again, LOCK_EX)


@case("locks", needs="users")
def ranges(t: Tester) -> None:
    mine, theirs = opened(t)
    t.works(t.alice.lock, mine, LOCK_EX, 0, 5)
    t.fails(HELD, t.bob.lock, theirs, LOCK_EX, 4, 1)
    t.fails(HELD, t.bob.lock, theirs, LOCK_SH, 0, 1)
    t.works(t.bob.lock, theirs, LOCK_EX, 5, 5)
    t.fails(HELD, t.alice.lock, mine, LOCK_EX, 0, 0)
    t.works(t.alice.lock, mine, LOCK_UN, 0, 3)
    t.works(t.bob.lock, theirs, LOCK_EX, 0, 3)
    t.fails(HELD, t.bob.lock, theirs, LOCK_EX, 0, 4)
    t.works(t.alice.lock, mine, LOCK_SH, 3, 2)
    t.works(t.bob.lock, theirs, LOCK_SH, 3, 2)


@case("locks", needs="users")
def ranges_end_with_any_close(t: Tester) -> None:
    mine, theirs = opened(t)
    again = t.alice.open("file", os.O_RDWR)
    t.works(t.alice.lock, mine, LOCK_EX)
    t.works(t.alice.lock, again, LOCK_EX)
    t.fails(HELD, t.bob.lock, theirs, LOCK_EX)
    t.works(t.alice.close, again)
    t.works(t.bob.lock, theirs, LOCK_EX)


@case("locks", needs="users")
def the_two_kinds_are_strangers(t: Tester) -> None:
    mine, theirs = opened(t)
    t.works(t.alice.flock, mine, LOCK_EX)
    t.works(t.bob.lock, theirs, LOCK_EX)
    t.works(t.bob.pwrite, theirs, b"X", 0)
    t.equal("what is read", t.alice.pread(mine, 2, 0), b"X1")
