"""Operations that Linux never sends on a mount like ours, and what it does in their place."""

from __future__ import annotations

from typing import Final

from fusewire.explain.operations.rows import Operation, an_open_file
from fusewire.kernel import Process

__all__ = ["NEVER"]

PAGE: Final = 4096  # bytes


async def a_mapped_file(process: Process, path: str) -> int:
    """Make a file, map it, and touch it; return the address."""
    fd = await an_open_file(process, path)
    mapping = await process.mmap(fd, PAGE)
    await process.load(mapping.address, 1)
    return mapping.address


async def map_and_touch(process: Process, path: str, fd: int) -> None:
    mapping = await process.mmap(fd, PAGE)
    await process.load(mapping.address, 1)


async def unmap(process: Process, path: str, address: int) -> None:
    await process.munmap(address, PAGE)


NEVER: Final = (
    Operation(
        "setupmapping",
        "share memory with the daemon (DAX): never sent here",
        "Program: map {path}",
        map_and_touch,
        "Linux sends SETUPMAPPING to virtiofs alone, whose daemon and kernel share a piece of memory. On any other "
        "mount a mapped file is read into the page cache, by READ, as it is touched.",
        before=an_open_file,
    ),
    Operation(
        "removemapping",
        "the end of such a mapping: never sent here",
        "Program: unmap {path}",
        unmap,
        "Linux sends REMOVEMAPPING to virtiofs alone, as SETUPMAPPING. On any other mount the daemon hears of the end "
        "of a mapping only if pages are dirty: they are written then.",
        before=a_mapped_file,
    ),
)
