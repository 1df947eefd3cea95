"""System calls: listing directories."""

from __future__ import annotations

from fusewire.kernel.syscalls.base import Caller

__all__ = ["Directories"]


class Directories(Caller):
    """listing directories."""
