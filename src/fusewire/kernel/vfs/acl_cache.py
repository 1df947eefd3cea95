"""Access control lists: what an inode's two xattrs mean, and how long that is remembered.

A list names classes of users with the rights of each. Its xattr is

    version u32 | entries, each: tag u16, permissions u16, id u32

`AclCache` is what is known of the lists of one inode. Whoever asks for attributes, or changes
them, throws it away; who has asked the daemon for a list meanwhile puts his answer into one that
nobody looks at any more.

Source: fs/posix_acl.c; include/uapi/linux/posix_acl_xattr.h.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from fusewire.errors import os_error

if TYPE_CHECKING:
    from fusewire.kernel.vfs.credentials import Credentials

__all__ = [
    "ACL_ACCESS",
    "ACL_DEFAULT",
    "Acl",
    "AclCache",
    "AclEntry",
    "check_acl",
    "decode_acl",
    "encode_acl",
    "grants",
]

ACL_ACCESS: Final = b"system.posix_acl_access"
ACL_DEFAULT: Final = b"system.posix_acl_default"

VERSION: Final = 2
USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
TAGS: Final = (USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER)
NAMED: Final = (USER, GROUP)  # whose entries have an id
NOBODY: Final = 0xFFFFFFFF  # the id of the others, and nobody's
HEADER: Final = struct.Struct("<I")
ENTRY: Final = struct.Struct("<HHI")


class AclEntry(NamedTuple):
    tag: int
    permissions: int  # r 4, w 2, x 1
    id: int  # uid or gid of USER and GROUP


Acl: TypeAlias = tuple[AclEntry, ...]


class AclCache:
    """The lists of one inode as far as they are known: absent, None if there is none, or a list."""

    __slots__ = ("asked", "lists")

    def __init__(self) -> None:
        self.asked: tuple[bytes, ...] = ()  # lists that somebody asks for just now, and alone remembers (get_acl)
        self.lists: dict[bytes, Acl | None] = {}  # by the name of their xattr


def decode_acl(value: bytes) -> Acl | None:
    """Return the list in the xattr's `value`; None if it is empty.

    Raises:
        OSError: EINVAL if it is none; EOPNOTSUPP if it is of another version.
    """
    if not value:
        return None
    if len(value) < HEADER.size:
        raise os_error(errno.EINVAL)
    if HEADER.unpack_from(value)[0] != VERSION:
        raise os_error(errno.EOPNOTSUPP)
    if (len(value) - HEADER.size) % ENTRY.size:
        raise os_error(errno.EINVAL)
    return tuple(_entry(*fields) for fields in ENTRY.iter_unpack(value[HEADER.size :])) or None


def _entry(tag: int, permissions: int, id: int) -> AclEntry:
    if tag not in TAGS or (tag in NAMED and id == NOBODY):
        raise os_error(errno.EINVAL)
    return AclEntry(tag, permissions, id if tag in NAMED else NOBODY)


def encode_acl(acl: Acl) -> bytes:
    """Return the xattr's value of `acl`."""
    return HEADER.pack(VERSION) + b"".join(ENTRY.pack(*entry) for entry in acl)


def check_acl(acl: Acl) -> None:
    """Check that `acl` is in order: each class once, named ones once each, and a mask if there are such.

    Linux does not look for an id that is named twice, nor do we.

    Raises:
        OSError: EINVAL.

    Source: fs/posix_acl.c, posix_acl_valid.
    """
    tags = [entry.tag for entry in acl]
    named = USER in tags or GROUP in tags
    once = all(tags.count(tag) == 1 for tag in (USER_OBJ, GROUP_OBJ, OTHER)) and tags.count(MASK) <= 1
    if not once or tags != sorted(tags) or (named and MASK not in tags):
        raise os_error(errno.EINVAL)
    if any(entry.permissions & ~7 for entry in acl):
        raise os_error(errno.EINVAL)


def grants(acl: Acl, uid: int, gid: int, mask: int, who: Credentials) -> bool:
    """Whether `acl` grants `mask` (r 4, w 2, x 1) of a file of `uid` and `gid` to `who`.

    The first entry that names him decides; of the groups, any that grants it.

    Raises:
        OSError: EIO if the list does not provide for him.

    Source: fs/posix_acl.c, posix_acl_permission.
    """
    in_a_group = False
    for entry in acl:
        if entry.tag == USER_OBJ:
            if who.fsuid == uid:
                return not mask & ~entry.permissions
        elif entry.tag == USER:
            if who.fsuid == entry.id:
                return not mask & ~_masked(acl, entry)
        elif entry.tag in (GROUP_OBJ, GROUP):
            if who.in_group(gid if entry.tag == GROUP_OBJ else entry.id):
                in_a_group = True
                if not mask & ~entry.permissions:
                    return not mask & ~_masked(acl, entry)
        elif entry.tag == OTHER:
            return not in_a_group and not mask & ~entry.permissions
    raise os_error(errno.EIO)


def _masked(acl: Acl, entry: AclEntry) -> int:
    """The rights of a named entry or of the group, which are limited by the mask, if there is one."""
    return next((entry.permissions & other.permissions for other in acl if other.tag == MASK), entry.permissions)
