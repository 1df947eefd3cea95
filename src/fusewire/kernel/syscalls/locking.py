"""System calls: fcntl locks and flock."""

from __future__ import annotations

from fusewire.kernel.syscalls.base import Caller

__all__ = ["Locking"]


class Locking(Caller):
    """fcntl locks and flock."""
