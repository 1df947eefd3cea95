"""The flags and the mode of open(2), checked and completed.

Source: fs/open.c, build_open_flags.
"""

from __future__ import annotations

import errno
import os
from typing import Final

from fusewire.errors import os_error
from fusewire.kernel.operations.permission import MAY_READ, MAY_WRITE
from fusewire.kernel.vfs.open_file import O_LARGEFILE

__all__ = ["Opening"]

KNOWN: Final = (
    os.O_ACCMODE
    | os.O_CREAT
    | os.O_EXCL
    | os.O_NOCTTY
    | os.O_TRUNC
    | os.O_APPEND
    | os.O_NONBLOCK
    | os.O_SYNC
    | os.O_DSYNC
    | os.O_ASYNC
    | os.O_DIRECT
    | os.O_DIRECTORY
    | os.O_NOFOLLOW
    | os.O_NOATIME
    | os.O_PATH
    | os.O_TMPFILE
)
MUST_BE_NEW: Final = os.O_CREAT | os.O_EXCL
WITH_PATH: Final = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_PATH
UNNAMED: Final = os.O_TMPFILE & ~os.O_DIRECTORY  # the bit that O_TMPFILE has to itself
BOTH: Final = MAY_READ | MAY_WRITE
ACCESS: Final = (MAY_READ, MAY_WRITE, BOTH, BOTH)  # by O_RDONLY, O_WRONLY, O_RDWR, and 3, which is for ioctl alone
PERMISSIONS: Final = 0o7777


class Opening:
    """What open(2) was told, checked and completed."""

    __slots__ = ("access", "flags", "mode")

    def __init__(self, flags: int, mode: int) -> None:
        """Check both.

        Raises:
            OSError: EINVAL for flags that contradict each other.
            TypeError: for a mode as of the builtin `open`.
        """
        if isinstance(flags, str):
            raise TypeError(
                f"flags={flags!r}: they are numbers here, as for os.open: os.O_RDONLY, os.O_RDWR | os.O_CREAT"
            )
        flags &= KNOWN
        if flags & os.O_PATH:
            flags &= WITH_PATH
        if flags & os.O_DIRECTORY and flags & os.O_CREAT:
            raise os_error(errno.EINVAL)
        self.access = 0 if flags & os.O_PATH else ACCESS[flags & os.O_ACCMODE]
        if flags & UNNAMED and not (flags & os.O_DIRECTORY and self.access & MAY_WRITE):
            raise os_error(errno.EINVAL)
        if flags & (os.O_SYNC & ~os.O_DSYNC):
            flags |= os.O_DSYNC
        if flags & os.O_TRUNC:
            self.access |= MAY_WRITE
        self.flags = flags if flags & os.O_PATH else flags | O_LARGEFILE
        self.mode = mode & PERMISSIONS

    @property
    def unnamed(self) -> bool:
        return bool(self.flags & UNNAMED)

    @property
    def follow(self) -> bool:
        """Whether a symlink at the end leads on."""
        return not self.flags & os.O_NOFOLLOW and self.flags & MUST_BE_NEW != MUST_BE_NEW
