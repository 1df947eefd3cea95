"""How much of something may be had at once: pages of content, inodes.

Whoever makes or frees what is counted takes and gives here, at that very place; so nothing is
counted twice, and the question "how full is it" needs no walk.
"""

from __future__ import annotations

import errno

from fusewire.errors import os_error

__all__ = ["Budget"]


class Budget:
    """So many things at most; `used` of them are taken."""

    __slots__ = ("limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    @property
    def free(self) -> int:
        return self.limit - self.used

    def take(self, count: int = 1) -> None:
        """Take `count`, all or none.

        Raises:
            OSError: ENOSPC if fewer are free.
        """
        if self.used + count > self.limit:
            raise os_error(errno.ENOSPC)
        self.used += count

    def give(self, count: int = 1) -> None:
        """Give `count` back."""
        self.used -= count
