"""System calls: making, finding and removing names."""

from __future__ import annotations

from fusewire.kernel.syscalls.base import Caller

__all__ = ["Names"]


class Names(Caller):
    """making, finding and removing names."""
