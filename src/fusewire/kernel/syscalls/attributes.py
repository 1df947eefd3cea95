"""System calls: stat, chmod, chown, truncate, utime, access, statvfs."""

from __future__ import annotations

from fusewire.kernel.syscalls.base import Caller

__all__ = ["Attributes"]


class Attributes(Caller):
    """stat, chmod, chown, truncate, utime, access, statvfs."""
