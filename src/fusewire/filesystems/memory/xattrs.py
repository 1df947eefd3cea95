"""The extended attributes of a file in memory: which names there are, who sees them, how much goes in.

    user.       anybody with the permissions of the file
    trusted.    root alone
    security.   security modules, and file capabilities (security.capability)
    system.     the two POSIX ACLs alone; acls.py says what they mean

Whatever else is asked for is answered EOPNOTSUPP. Linux asks a filesystem only after it has
checked the caller's permissions by namespace (fs/xattr.c, xattr_permission); but a listing is
not checked, so names under `trusted.` are left out of it here.

Names and values take room from the filesystem's pages, rounded up for each file.
"""

from __future__ import annotations

import errno
import os
from typing import Final

from fusewire.errors import os_error
from fusewire.filesystems.memory.budget import Budget
from fusewire.filesystems.memory.sparse import PAGE
from fusewire.wire import Buffer

__all__ = ["ACCESS_ACL", "ACLS", "CAPABILITY", "DEFAULT_ACL", "Xattrs", "checked"]

CAPABILITY: Final = "security.capability"
ACCESS_ACL: Final = "system.posix_acl_access"
DEFAULT_ACL: Final = "system.posix_acl_default"
ACLS: Final = (ACCESS_ACL, DEFAULT_ACL)
NAMESPACES: Final = ("user.", "trusted.", "security.")
NAME_MAX: Final = 255  # bytes (XATTR_NAME_MAX)
VALUE_MAX: Final = 65536  # bytes (XATTR_SIZE_MAX)
LIST_MAX: Final = 65536  # bytes of all names of a file, each with its NUL (XATTR_LIST_MAX)


class Xattrs:
    """The xattrs of one file."""

    __slots__ = ("_pages", "_room", "_values")

    def __init__(self, room: Budget) -> None:
        self._values: dict[str, bytes] = {}
        self._room = room
        self._pages = 0  # taken from `room`

    def find(self, name: str) -> bytes | None:
        """Return a value, if there is one of that name."""
        return self._values.get(name)

    def get(self, name: str) -> bytes:
        """Return a value; ENODATA if there is none of that name."""
        value = self._values.get(name)
        if value is None:
            raise os_error(errno.ENODATA)
        return value

    @property
    def pages(self) -> int:
        """How many they take from the room."""
        return self._pages

    def names(self, privileged: bool) -> list[str]:
        """Return all names; those under `trusted.` only if `privileged`."""
        return [name for name in self._values if privileged or not name.startswith("trusted.")]

    def set(self, name: str, value: Buffer, flags: int) -> None:
        """Set a value, or change nothing.

        Raises:
            OSError: EEXIST or ENODATA as `flags` ask (os.XATTR_CREATE, os.XATTR_REPLACE); E2BIG if the
                value is longer than `VALUE_MAX`; ENOSPC if there is no room, or no place in the listing.
        """
        if flags & ~(os.XATTR_CREATE | os.XATTR_REPLACE):
            raise os_error(errno.EINVAL)
        if flags & os.XATTR_CREATE and name in self._values:
            raise os_error(errno.EEXIST)
        if flags & os.XATTR_REPLACE and name not in self._values:
            raise os_error(errno.ENODATA)
        if len(value) > VALUE_MAX:
            raise os_error(errno.E2BIG)
        self._become({**self._values, name: bytes(value)})

    def remove(self, name: str) -> None:
        """Remove a value; ENODATA if there is none of that name."""
        self.get(name)
        self._become({other: value for other, value in self._values.items() if other != name})

    def discard(self, name: str) -> None:
        """Remove a value if there is one."""
        if name in self._values:
            self.remove(name)

    def move_to(self, room: Budget) -> None:
        """Take the pages from `room`, and give them back where they came from. ENOSPC."""
        room.take(self._pages)
        self._room.give(self._pages)
        self._room = room

    def free(self) -> None:
        """Give back all room: the file is gone."""
        self._become({})

    def _become(self, values: dict[str, bytes]) -> None:
        names = sum(len(os.fsencode(name)) + 1 for name in values)
        if names > LIST_MAX:
            raise os_error(errno.ENOSPC)
        pages = -(-(names + sum(map(len, values.values()))) // PAGE)
        self._room.take(pages - self._pages)
        self._pages, self._values = pages, values


def checked(name: str) -> str:
    """Return `name` if it may be the name of an xattr.

    Raises:
        OSError: EOPNOTSUPP in a namespace that is not kept here, EINVAL if the namespace is all of it,
            ERANGE if it is longer than `NAME_MAX`.
    """
    if not name.startswith(NAMESPACES) and name not in ACLS:
        raise os_error(errno.EOPNOTSUPP)
    if name in NAMESPACES:
        raise os_error(errno.EINVAL)
    if len(os.fsencode(name)) > NAME_MAX:
        raise os_error(errno.ERANGE)
    return name
