"""Operations on directories."""

from __future__ import annotations

import os
from typing import Any, Final

from fusewire.explain.operations.filesystem import NoReaddirplus
from fusewire.explain.operations.rows import Named, Operation, a_directory
from fusewire.kernel import Process

__all__ = ["DIRECTORIES"]

BUFFER: Final = 32768  # bytes, as ls has it


async def an_open_directory(process: Process, path: str) -> int:
    await a_directory(process, path)
    process.cwd.superblock.drop_caches()
    return await process.open(path, os.O_RDONLY | os.O_DIRECTORY)


async def opendir(process: Process, path: str, got: Any) -> None:
    await process.open(path, Named(os.O_RDONLY | os.O_DIRECTORY, "O_DIRECTORY"))


async def read_it_all(process: Process, path: str, fd: int) -> None:
    while await process.getdents(fd, BUFFER):
        pass


async def read_it_and_stat(process: Process, path: str, fd: int) -> None:
    await read_it_all(process, path, fd)
    await process.stat(f"{path}/inner")


async def close(process: Process, path: str, fd: int) -> None:
    await process.close(fd)


async def fsync(process: Process, path: str, fd: int) -> None:
    await process.fsync(fd)


DIRECTORIES: Final = (
    Operation(
        "opendir",
        "open a directory",
        "ls {path}",
        opendir,
        "The reply has a handle, as that of OPEN. A daemon that answers ENOSYS is not asked again, and its listings "
        "are kept by the kernel.",
        before=a_directory,
    ),
    Operation(
        "readdir",
        "the names in a directory",
        "ls {path}",
        read_it_all,
        "Until an empty reply says that there are no more. The directory's semaphore is held, shared, while the "
        "daemon is asked.",
        before=an_open_directory,
        filesystem=NoReaddirplus,
    ),
    Operation(
        "readdirplus",
        "names and attributes in one",
        "ls -l {path}",
        read_it_and_stat,
        "Each entry is answered as a LOOKUP would be, and counts as one, so the stat that follows asks nothing. With "
        "READDIRPLUS_AUTO the kernel goes on with READDIR unless somebody uses what was told.",
        before=an_open_directory,
    ),
    Operation(
        "releasedir",
        "nobody has an open directory any more",
        "Program: closedir",
        close,
        "As RELEASE: in the background, after close has returned. There is no FLUSH of a directory.",
        before=an_open_directory,
    ),
    Operation(
        "fsyncdir",
        "the names in a directory are to be safe",
        "sync {path}",
        fsync,
        "A program that has renamed a file calls it, so that the new name survives a power cut.",
        before=an_open_directory,
    ),
)
