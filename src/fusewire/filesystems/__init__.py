"""Filesystems that are ready to be mounted: one in memory, one that shows a local directory.

Each is imported when it is first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fusewire.filesystems.local import LocalDirectory
    from fusewire.filesystems.memory import Memory

__all__ = ["LocalDirectory", "Memory"]

HOMES = {"LocalDirectory": "local", "Memory": "memory"}


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module 'fusewire.filesystems' has no attribute {name!r}")
    return getattr(importlib.import_module(f"fusewire.filesystems.{HOMES[name]}"), name)
