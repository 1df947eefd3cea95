"""What calls are given that read and write, map, lock and control what is open."""

from __future__ import annotations

import fcntl
import select
from typing import Final

from differential.generate.belief import MAPS, OFFSETS, Arguments, Generator, NothingThere

__all__ = [
    "GETFLAGS",
    "copy_file_range",
    "fallocate",
    "flock",
    "ioctl",
    "lock",
    "lock_wait",
    "lseek",
    "map_only",
    "mmap",
    "peek",
    "poke",
    "poll",
    "pread",
    "pwrite",
    "read",
    "write",
]

FALLOCATE: Final = (0, 0, 1, 1, 3, 3, 16, 17, 2, 8, 32)
PLACES: Final = (0, 0, 10, 10, 1000, 4000, 4096, 8000, 12288)  # in mapped memory
GETFLAGS: Final = 0x80086601  # FS_IOC_GETFLAGS
FIONREAD: Final = 0x541B
FIBMAP: Final = 1


def read(it: Generator) -> Arguments:
    return it.filled_file(), it.size()


def write(it: Generator) -> Arguments:
    return it.file_to_fill(), it.data()


def pread(it: Generator) -> Arguments:
    return it.filled_file(), it.size(), it.offset()


def pwrite(it: Generator) -> Arguments:
    return it.file_to_fill(), it.data(), it.offset()


def lseek(it: Generator) -> Arguments:
    return it.filled_file(), it.random.choice((*OFFSETS, -1, -100)), it.random.randrange(6)


def fallocate(it: Generator) -> Arguments:
    return it.file(), it.random.choice(FALLOCATE), it.offset(), it.size()


def copy_file_range(it: Generator) -> Arguments:
    offsets = it.offset() if it.chance(0.5) else None, it.offset() if it.chance(0.5) else None
    return it.filled_file(), it.file(), it.size(), *offsets


def mmap(it: Generator) -> Arguments:
    slot = it.random.randrange(MAPS)
    it.mapped[it.role].add(slot)
    flags = it.random.choice((1, 1, 1, 2))  # MAP_SHARED, MAP_PRIVATE
    return slot, it.filled_file(), it.random.choice((4096, 8192, 100, 20480)), flags, it.random.choice((1, 3, 3)), 0


def peek(it: Generator) -> Arguments:
    return it.mapping(), it.random.choice(PLACES), it.random.choice((1, 50))


def poke(it: Generator) -> Arguments:
    return it.mapping(), it.random.choice(PLACES), it.data(50)


def map_only(it: Generator) -> Arguments:
    return (it.mapping(),)


def lock(it: Generator) -> Arguments:
    kind = it.random.choice((fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_WRLCK, fcntl.F_UNLCK))
    return it.file(), kind, it.random.choice((0, 10, 100)), it.random.choice((0, 10, 100))


def lock_wait(it: Generator) -> Arguments:
    if not it.waiting:
        raise NothingThere
    return lock(it)


def flock(it: Generator) -> Arguments:
    operation = it.random.choice((fcntl.LOCK_SH, fcntl.LOCK_EX, fcntl.LOCK_EX, fcntl.LOCK_UN))
    return it.file(), operation | (0 if it.waiting and it.chance(0.6) else fcntl.LOCK_NB)


def ioctl(it: Generator) -> Arguments:
    return it.file(), it.random.choice((GETFLAGS, FIONREAD, FIBMAP)), bytes(8)


def poll(it: Generator) -> Arguments:
    return it.file(), select.POLLIN | select.POLLOUT, int(it.waiting and it.chance(0.5))
