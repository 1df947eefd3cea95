"""What calls about attributes are given, extended ones among them."""

from __future__ import annotations

import struct
from typing import Final

from differential.generate.belief import SIZES, Arguments, Generator

__all__ = [
    "access",
    "chmod",
    "chown",
    "fchmod",
    "fchown",
    "ftruncate",
    "listxattr",
    "setxattr",
    "truncate",
    "utime",
    "xattr",
]

XATTRS: Final = (
    "user.a",
    "user.a",
    "user.a",
    "user.b",
    "user.b",
    "trusted.t",
    "security.s",
    "system.unknown",
    "user.",
    "nonsense",
)


def chmod(it: Generator) -> Arguments:
    return it.anything(), it.mode()


def fchmod(it: Generator) -> Arguments:
    return it.file(), it.mode()


def chown(it: Generator) -> Arguments:
    return it.anything(), it.owner(), it.owner()


def fchown(it: Generator) -> Arguments:
    return it.file(), it.owner(), it.owner()


def utime(it: Generator) -> Arguments:
    if it.chance(0.4):
        return it.anything(), None, None, int(it.chance(0.7))
    times = it.random.randrange(10**17), it.random.randrange(10**17)
    return it.anything(), *times, int(it.chance(0.7))


def truncate(it: Generator) -> Arguments:
    return it.old(it.files, it.files, it.links, it.directories if it.chance(0.1) else {}), it.size()


def ftruncate(it: Generator) -> Arguments:
    return it.file_to_fill(), it.random.choice((*SIZES, 4096, 8192, 20000))


def access(it: Generator) -> Arguments:
    return it.anything(), it.random.randrange(8), int(it.chance(0.3))


def acl(*entries: tuple[int, int, int]) -> bytes:
    """Return the xattr of an ACL: entries of tag, permissions and id."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


NOBODY: Final = 0xFFFFFFFF
ACLS: Final = (
    acl((1, 6, NOBODY), (4, 4, NOBODY), (32, 0, NOBODY)),
    acl((1, 7, NOBODY), (2, 5, 1000), (4, 5, NOBODY), (16, 7, NOBODY), (32, 0, NOBODY)),
    acl((1, 7, NOBODY), (2, 0, 1001), (4, 7, NOBODY), (8, 7, 2000), (16, 6, NOBODY), (32, 7, NOBODY)),
    acl((1, 7, NOBODY)),  # which is not in order
    b"",
)


def setxattr(it: Generator) -> Arguments:
    if it.chance(0.3):
        name = it.random.choice(("system.posix_acl_access", "system.posix_acl_access", "system.posix_acl_default"))
        return it.old(it.files, it.directories), name, it.random.choice(ACLS), 0, 1
    value = b"v" * it.random.choice((0, 1, 10, 300, 5000))
    path, name = it.old(it.files, it.directories) if it.chance(0.8) else it.anything(), it.random.choice(XATTRS)
    it.marked.append((it.plain(path), name))
    return path, name, value, it.random.choice((0, 0, 1, 2)), int(it.chance(0.8))


def xattr(it: Generator) -> Arguments:
    if it.marked and it.chance(0.7):
        path, name = it.random.choice(it.marked)
        return it.spelled(path), name, 1
    return it.anything(), it.random.choice(XATTRS), int(it.chance(0.8))


def listxattr(it: Generator) -> Arguments:
    return it.anything(), int(it.chance(0.8))
