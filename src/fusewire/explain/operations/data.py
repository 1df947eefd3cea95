"""Reading and writing."""

from __future__ import annotations

from typing import Final

from fusewire.explain.operations.filesystem import Direct
from fusewire.explain.operations.rows import HELLO, Operation, a_written_file, an_open_file
from fusewire.kernel import Process

__all__ = ["DATA"]


async def read(process: Process, path: str, fd: int) -> None:
    await process.pread(fd, len(HELLO), 0)
    await process.pread(fd, len(HELLO), 0)


async def write(process: Process, path: str, fd: int) -> None:
    await process.pwrite(fd, b"HELLO", 0)


DATA: Final = (
    Operation(
        "read",
        "read a file, by way of the page cache",
        "cat {path}",
        read,
        "The first read finds no page, has one read ahead, in the background, and sleeps on it; the second finds it. "
        "With DIRECT_IO, said in the reply to OPEN, each read would be a READ of just those bytes.",
        before=an_open_file,
    ),
    Operation(
        "direct-io",
        "read a file, past the page cache",
        "cat {path}",
        read,
        "The daemon answered OPEN with DIRECT_IO: nothing is cached, and nothing read ahead. Each read is a READ of "
        "just those bytes, however often they are read, and the caller waits for it.",
        before=an_open_file,
        filesystem=Direct,
    ),
    Operation(
        "write",
        "write to a file, through the page cache",
        "Program: write to {path}",
        write,
        "Through to the daemon: write returns when it has answered. With WRITEBACK_CACHE the bytes stay in the cache, "
        "for now: see 'writeback'. The GETXATTR that comes before a first write has been: see 'getxattr'.",
        before=a_written_file,
    ),
)
