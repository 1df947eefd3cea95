"""Notifications, right and wrong, of what is cached and of what is not: data for one program.

Each is told between two steps, when the file is open, its pages are cached, and names are known.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from differential.daemons.scenarios import Tell, tell
from differential.daemons.world import DIR, EMPTY, FILE, INNER, LINK, ROOT
from fusewire.wire import (
    NOTIFICATIONS,
    NotifyDeleteOut,
    NotifyInvalEntryOut,
    NotifyInvalInodeOut,
    NotifyPollWakeupOut,
    NotifyPruneOut,
    NotifyRetrieveOut,
    NotifyStoreOut,
    OutHeader,
    pack_nodeids,
)

__all__ = ["notices"]

UNKNOWN: Final = 77
NODES: Final = (0, ROOT, FILE, DIR, INNER, LINK, EMPTY, UNKNOWN, 2**64 - 1)
SIZES: Final = (0, 1, 8, 15, 16, 17, 23, 24, 25, 26, 31, 32, 33, 40, 48, 4096, 100_000)
LAST: Final = 2**63 - 1
RANGES: Final = ((-1, 0), (0, 0), (0, 1), (0, -1), (4096, 4096), (4095, 2), (LAST, 1), (-(2**63), 0), (1, LAST))


def raw(code: int, payload: bytes, length: int = 0) -> Tell:
    message = OutHeader(OutHeader.SIZE + len(payload) + length, code, 0).pack() + payload
    return Tell(f"code {code}, {len(payload)} bytes, {length:+}", message)


def named(one: Tell, *values: object) -> Tell:
    return Tell(f"{one.name} {values}", one.message)


def malformed() -> Iterator[Tell]:
    for code in (*range(-2, 14), 100, 2**31 - 1):
        for size in SIZES:
            yield raw(code, bytes(size))
        yield raw(code, bytes(24), 1)
        yield raw(code, bytes(24), -1)
    for code in NOTIFICATIONS:
        yield raw(code, b"\xff" * 24)
        yield raw(code, b"\xff" * 16)
        yield raw(code, b"\xff" * 32)


def inodes() -> Iterator[Tell]:
    for node in NODES:
        for off, size in (
            (-1, 0),
            (0, 0),
            (0, 1),
            (0, -1),
            (4096, 4096),
            (4095, 2),
            (LAST, 1),
            (-(2**63), 0),
            (1, LAST),
        ):
            yield named(tell("INVAL_INODE", NotifyInvalInodeOut(node, off, size)), node, off, size)
        yield named(tell("PRUNE", NotifyPruneOut(1), data=pack_nodeids([node])), node)
    yield tell("PRUNE", NotifyPruneOut(0), data=b"")
    yield named(tell("PRUNE", NotifyPruneOut(4), data=pack_nodeids([INNER, DIR, LINK, UNKNOWN])), "several")
    yield raw(9, NotifyPruneOut(2).pack() + bytes(8))
    yield raw(9, NotifyPruneOut(1).pack() + bytes(9))
    yield raw(9, NotifyPruneOut(2**32 - 1).pack() + bytes(8))
    for handle in (0, 1, 2**64 - 1):
        yield named(tell("POLL", NotifyPollWakeupOut(handle)), handle)


def names() -> Iterator[Tell]:
    for parent, name in (
        *((node, b"file") for node in NODES),
        *((ROOT, name) for name in (b"dir", b"link", b"new", b"other", b"x" * 255, b".", b"a/b")),
        (DIR, b"inner"),
    ):
        for flags in (0, 1, 2, 2**32 - 1):
            body = NotifyInvalEntryOut(parent, len(name), flags)
            yield named(tell("INVAL_ENTRY", body, [name]), parent, name, flags)
        for child in (0, FILE, DIR, EMPTY, UNKNOWN):
            yield named(tell("DELETE", NotifyDeleteOut(parent, child, len(name)), [name]), parent, child, name)
    for length in (0, 3, 5, 6, 255, 1024, 1025, 4096, 2**31, 2**32 - 1):
        yield named(raw(3, NotifyInvalEntryOut(ROOT, length).pack() + b"file\0"), "namelen", length)
        yield named(raw(6, NotifyDeleteOut(ROOT, FILE, length).pack() + b"file\0"), "namelen", length)
    for length in (0, 1, 255, 256, 1024, 1025, 2000):
        yield named(tell("INVAL_ENTRY", NotifyInvalEntryOut(ROOT, length), [b"n" * length]), length)
        yield named(tell("DELETE", NotifyDeleteOut(ROOT, FILE, length), [b"n" * length]), length)
    yield named(raw(3, NotifyInvalEntryOut(ROOT, 4).pack() + b"filex"), "no NUL at the end")
    yield named(raw(3, NotifyInvalEntryOut(ROOT, 4).pack() + b"fi\0e\0"), "a NUL inside")


def pages() -> Iterator[Tell]:
    for node in NODES:
        for offset, size in ((0, 4), (4096, 4096), (10, 0), (9990, 10), (9990, 100), (20_000, 5), (12_288, 5000)):
            body = NotifyStoreOut(node, offset, size)
            yield named(tell("STORE", body, data=b"s" * size), node, offset, size)
        for offset, size in ((0, 100), (5000, 100_000), (0, 0), (9_999, 10), (10_000, 1), (20_000, 1), (4095, 2)):
            yield named(tell("RETRIEVE", NotifyRetrieveOut(8, node, offset, size)), node, offset, size)
    for offset in (2**31, LAST - 4096, LAST - 4, LAST - 1, LAST, LAST + 1, 2**64 - 1):
        yield named(tell("STORE", NotifyStoreOut(EMPTY, offset, 4), data=b"s" * 4), "of a directory", offset)
        yield named(tell("RETRIEVE", NotifyRetrieveOut(8, FILE, offset, 4)), FILE, offset)
    for size in (0, 3, 5, 4096, 2**32 - 1):
        yield named(raw(4, NotifyStoreOut(FILE, 0, size).pack() + b"four"), "size", size)
    for unique in (0, 1, 2**64 - 1):
        yield named(tell("RETRIEVE", NotifyRetrieveOut(unique, FILE, 0, 10)), "unique", unique)
    yield named(tell("RETRIEVE", NotifyRetrieveOut(8, FILE, 0, 2**32 - 1)), "all")


def connection() -> Iterator[Tell]:
    for data in (b"", b"x", bytes(5000)):
        yield named(tell("RESEND", data=data), len(data))
        yield named(tell("INC_EPOCH", data=data), len(data))


def notices() -> Iterator[Tell]:
    """Yield all of them."""
    yield from malformed()
    yield from inodes()
    yield from names()
    yield from pages()
    yield from connection()
