"""System calls: ioctl and poll."""

from __future__ import annotations

from fusewire.kernel.syscalls.base import Caller

__all__ = ["Control"]


class Control(Caller):
    """ioctl and poll."""
