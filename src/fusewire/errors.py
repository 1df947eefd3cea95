"""The two errors that everything here raises.

A filesystem says no with an `OSError`, whose errno reaches the caller. A message that cannot
be read is a `ProtocolError`. The wire carries `-errno`; everywhere else errno is positive.
"""

from __future__ import annotations

import errno
import os
from typing import Final

__all__ = ["ProtocolError", "errno_name", "os_error"]

# Names that the field uses where Python's table has another of the same number; and two that no program ever sees.
NAMES: Final = {
    **errno.errorcode,
    errno.EDEADLK: "EDEADLK",
    errno.EOPNOTSUPP: "EOPNOTSUPP",
    512: "ERESTARTSYS",  # include/linux/errno.h
    513: "ERESTARTNOINTR",
}


class ProtocolError(Exception):
    """A message is not what the ABI says it should be.

    `unique` is the number of the request at fault, so that it can be answered; 0 if its
    header could not be read.
    """

    def __init__(self, unique: int, reason: str) -> None:
        super().__init__(f"request {unique}: {reason}" if unique else reason)
        self.unique = unique
        self.reason = reason


def os_error(code: int, filename: str | None = None) -> OSError:
    """Build the OSError of `code` (a positive errno), with its text and its Python subclass."""
    return OSError(code, os.strerror(code), filename) if filename is not None else OSError(code, os.strerror(code))


def errno_name(code: int) -> str:
    """Return the name of `code` (a positive errno), such as 'ENOENT'; its digits if it has none."""
    return NAMES.get(code, str(code))
