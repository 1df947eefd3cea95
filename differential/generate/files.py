"""What calls are given that open something, list it, or close it."""

from __future__ import annotations

import os
from typing import Final

from differential.generate.belief import SLOTS, Arguments, Generator

__all__ = ["close", "dup", "file_only", "getdents", "listdir", "open_"]

ACCESS: Final = (os.O_RDONLY, os.O_WRONLY, *(os.O_RDWR,) * 5)
SOMETIMES: Final = (  # a flag of open, and how often it is set
    (os.O_CREAT, 0.4),
    (os.O_TRUNC, 0.12),
    (os.O_EXCL, 0.05),
    (os.O_APPEND, 0.12),
    (os.O_DIRECTORY, 0.03),
    (os.O_NOFOLLOW, 0.05),
    (os.O_DIRECT, 0.04),
    (os.O_SYNC, 0.03),
    (os.O_DSYNC, 0.03),
    (os.O_NOATIME, 0.03),
    (os.O_PATH, 0.04),
    (os.O_CLOEXEC, 0.2),
    (os.O_NOCTTY, 0.02),
)


def file_only(it: Generator) -> Arguments:
    return (it.file(),)


def open_(it: Generator) -> Arguments:
    """Mostly what succeeds, else the steps that want an open file have none."""
    slot, path, flags, mode = opening(it)
    it.paths[it.role, slot] = it.plain(path)
    return slot, path, flags, mode


def opening(it: Generator) -> tuple[int, str, int, int]:
    slot, flags = it.random.randrange(SLOTS), it.random.choice(ACCESS)
    for flag, often in SOMETIMES:
        flags |= flag if it.chance(often) else 0
    it.open_directories[it.role].discard(slot)
    match it.random.random():
        case small if small < 0.06:
            it.open[it.role].discard(slot)
            return opendir(it)
        case small if small < 0.09:
            it.open[it.role].add(slot)
            return slot, it.old(it.directories), os.O_TMPFILE | os.O_RDWR, it.mode()
        case small if small < 0.4 or not it.files:
            it.open[it.role].add(slot)
            return slot, it.new(it.files), flags | os.O_CREAT, it.mode() if it.chance(0.2) else 0o666
    if not flags & (os.O_PATH | os.O_DIRECTORY):
        it.open[it.role].add(slot)
    kinds = it.files, it.links if it.chance(0.3) else {}, it.directories if it.chance(0.1) else {}
    return slot, it.old(*kinds), flags & ~os.O_EXCL, it.mode()


def opendir(it: Generator) -> tuple[int, str, int, int]:
    slot = it.random.randrange(SLOTS)
    it.open[it.role].discard(slot)
    it.open_directories[it.role].add(slot)
    return slot, it.old(it.directories), os.O_RDONLY | os.O_DIRECTORY, 0


def close(it: Generator) -> Arguments:
    slot = it.slot(it.open[it.role] | it.open_directories[it.role])
    it.open[it.role].discard(slot)
    it.open_directories[it.role].discard(slot)
    return (slot,)


def dup(it: Generator) -> Arguments:
    slot, other = it.file(), it.random.randrange(SLOTS)
    it.open[it.role].add(other)
    return slot, other


def listdir(it: Generator) -> Arguments:
    return (it.old(it.directories, it.directories, it.directories, it.files),)


def getdents(it: Generator) -> Arguments:
    return it.slot(it.open_directories[it.role]), it.random.choice((64, 200, 1024, 32768))
