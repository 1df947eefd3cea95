"""System calls: mmap and the memory of a process."""

from __future__ import annotations

from fusewire.kernel.syscalls.base import Caller

__all__ = ["Memory"]


class Memory(Caller):
    """mmap and the memory of a process."""
