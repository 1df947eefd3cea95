"""System calls: open, close, dup and what concerns descriptors."""

from __future__ import annotations

from fusewire.kernel.syscalls.base import Caller

__all__ = ["Files"]


class Files(Caller):
    """open, close, dup and what concerns descriptors."""
