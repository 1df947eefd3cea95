"""System calls: extended attributes."""

from __future__ import annotations

from fusewire.kernel.syscalls.base import Caller

__all__ = ["Xattrs"]


class Xattrs(Caller):
    """extended attributes."""
