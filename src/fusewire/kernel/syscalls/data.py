"""System calls: read, write, lseek, fsync and other moving of data."""

from __future__ import annotations

from fusewire.kernel.syscalls.base import Caller

__all__ = ["Data"]


class Data(Caller):
    """read, write, lseek, fsync and other moving of data."""
