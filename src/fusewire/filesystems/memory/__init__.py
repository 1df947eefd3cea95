"""The filesystem in memory. `filesystem.py` is where to begin reading."""

from fusewire.filesystems.memory.filesystem import Memory

__all__ = ["Memory"]
