"""fusewire's own memory filesystem, with direct I/O on every file, as its peers have it here.

    fusewire mount benchmarks/peers/memory_fusewire.py:Memory MOUNTPOINT

Opened with O_DIRECT alone, a file still has its attributes asked for before each read.
"""

from __future__ import annotations

from dataclasses import replace

from fusewire import Request
from fusewire.daemon import Entry, OpenFile
from fusewire.filesystems import Memory as CachedMemory


class Memory(CachedMemory):
    """The same filesystem; what differs is what it says of an open file."""

    def open(self, request: Request, nodeid: int, flags: int) -> OpenFile:
        return replace(super().open(request, nodeid, flags), direct_io=True)

    def create(self, request: Request, parent: int, name: str, flags: int, mode: int) -> tuple[Entry, OpenFile]:
        entry, opened = super().create(request, parent, name, flags, mode)
        return entry, replace(opened, direct_io=True)
