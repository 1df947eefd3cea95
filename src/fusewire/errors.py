"""The two errors that everything here raises.

A filesystem says no with an `OSError`, whose errno reaches the caller. A message that cannot
be read is a `ProtocolError`. The wire carries `-errno`; everywhere else errno is positive.
"""

from __future__ import annotations

import os

__all__ = ["ProtocolError", "os_error"]


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
