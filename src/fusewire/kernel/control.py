"""fusectl: four files about each connection, with which a stuck one is seen and aborted.

    waiting               how many requests, and would-be requests, wait for the daemon
    abort                 whatever is written to it ends the connection
    max_background        how many requests in the background the daemon may be given at once
    congestion_threshold  from how many on, work that can be left undone is

On Linux they stand in /sys/fs/fuse/connections/N, where N is the mount's `st_dev`, in a directory
that nobody but the mount's owner, and root, may enter. Here `superblock.control["abort"]` opens one:
each opening has its own position, as an open file has.

Source: fs/fuse/control.c; lib/kstrtox.c.
"""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING, Final

from fusewire.errors import os_error
from fusewire.wire import InitFlags

if TYPE_CHECKING:
    from fusewire.kernel.vfs.credentials import Credentials
    from fusewire.kernel.vfs.superblock import Superblock

__all__ = ["MODES", "Control", "ControlFile"]

MODES: Final = {"waiting": 0o400, "abort": 0o200, "max_background": 0o600, "congestion_threshold": 0o600}
LIMITS: Final = ("max_background", "congestion_threshold")
MOST: Final = 0xFFFF  # of either limit
LONGEST: Final = 66  # bytes of a number that are looked at
NUMBER: Final = re.compile(rb"\+?(0x(?=[0-9a-f])[0-9a-f]+|0[0-7]*|[1-9][0-9]*)\n?", re.IGNORECASE)


class Control:
    """The directory of one connection: its files by name, opened."""

    mode: Final = 0o500

    def __init__(self, superblock: Superblock, user_limit: int = MOST) -> None:
        self.superblock = superblock
        self.user_limit = user_limit  # of one without CAP_SYS_ADMIN (max_user_bgreq, max_user_congthresh)

    @property
    def name(self) -> str:
        """What the directory is called: the number of the mount's device."""
        return str(self.superblock.dev)

    def __getitem__(self, name: str) -> ControlFile:
        """Open the file of this name, as root."""
        return self.open(name)

    def open(self, name: str, credentials: Credentials | None = None) -> ControlFile:
        """Open a file, as somebody or, without `credentials`, as root.

        Raises:
            OSError: ENOENT; EACCES of one who is neither root nor the mount's owner.
        """
        if name not in MODES:
            raise os_error(errno.ENOENT)
        privileged = credentials is None or credentials.privileged
        if not privileged and credentials is not None and credentials.fsuid != self.superblock.options.user_id:
            raise os_error(errno.EACCES)
        return ControlFile(self.superblock, name, MOST if privileged else min(MOST, self.user_limit))


class ControlFile:
    """One of the four, open. After an unmount it reads as empty, and takes whatever is written."""

    def __init__(self, superblock: Superblock, name: str, limit: int) -> None:
        self.superblock = superblock
        self.name = name
        self.limit = limit
        self.position = 0
        self._waiting = 0  # as it was when it was read from the beginning

    @property
    def mode(self) -> int:
        return MODES[self.name]

    def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes (negative: all) of a number and a newline, from `position` on.

        Raises:
            OSError: EINVAL of `abort`, which cannot be read.
        """
        if self.name == "abort":
            raise os_error(errno.EINVAL)
        if not self.superblock.active:
            return b""
        text = b"%d\n" % self._number()
        part = text[self.position :] if size < 0 else text[self.position : self.position + size]
        self.position += len(part)
        return part

    def _number(self) -> int:
        connection = self.superblock.connection
        if self.name == "max_background":
            return connection.background.maximum & 0xFFFFFFFF
        if self.name == "congestion_threshold":
            return connection.background.congestion_threshold
        if not self.position:
            self._waiting = connection.num_waiting
        return self._waiting

    def write(self, data: bytes) -> int:
        """Abort, or set a limit to the number in `data`: decimal, 0x... or 0..., with or without a newline.

        Returns how many bytes `data` has.

        Raises:
            OSError: EINVAL if it is no number or too great, or `position` is not 0, or of
                `waiting`, which cannot be written; ERANGE if it does not fit 64 bits.
        """
        if self.name == "waiting":
            raise os_error(errno.EINVAL)
        if self.name == "abort":
            self._abort()
        else:
            self._limit(data)
        self.position += len(data)
        return len(data)

    def _abort(self) -> None:
        if self.superblock.active:
            connection = self.superblock.connection
            connection.abort(connection.has(InitFlags.FUSE_ABORT_ERROR))

    def _limit(self, data: bytes) -> None:
        if self.position:
            raise os_error(errno.EINVAL)
        number = parse_number(data)
        if number > self.limit:
            raise os_error(errno.EINVAL)
        if not self.superblock.active:
            return
        background = self.superblock.connection.background
        if self.name == "max_background":
            background.raise_maximum(number)
        else:
            background.congestion_threshold = number


def parse_number(data: bytes) -> int:
    """Return the number in `data`, in C's three notations (kstrtoul_from_user with base 0).

    Raises:
        OSError: EINVAL if it is none; ERANGE if it does not fit 64 bits.
    """
    match = NUMBER.fullmatch(data[:LONGEST].split(b"\0")[0])
    if match is None:
        raise os_error(errno.EINVAL)
    digits = match[1].lower()
    base = 16 if digits.startswith(b"0x") else 8 if digits.startswith(b"0") else 10
    number = int(digits, base)
    if number >> 64:
        raise os_error(errno.ERANGE)
    return number
