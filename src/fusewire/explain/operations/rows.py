"""One row an operation: the smallest program that has the kernel send it, and what there is to say.

    before(process, path)          what has to be there, done unwatched; what it returns goes to the program
    program(process, path, got)    what is watched

Both are run by a process of the user who was asked for. What a request goes through from queue to
queue is told by `fusewire explain unlink`; here a request is drawn in a few steps, and everything
with --all.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Self, TypeAlias

from fusewire.explain.operations.filesystem import Everything
from fusewire.kernel import PROFILES, Process

__all__ = [
    "HELLO",
    "Before",
    "Named",
    "Operation",
    "Program",
    "a_directory",
    "a_file",
    "a_written_file",
    "an_empty_place",
    "an_open_file",
    "beside",
]

Before: TypeAlias = Callable[[Process, str], Coroutine[Any, Any, Any]]
Program: TypeAlias = Callable[[Process, str, Any], Coroutine[Any, Any, Any]]

HELLO: Final = b"hello, world\n"


def beside(path: str, name: str = "other") -> str:
    """Return the path of another file in the directory of `path`."""
    return posixpath.join(posixpath.dirname(path), name if posixpath.basename(path) != name else f"{name}-2")


class Named(int):
    """A number, which a diagram shows by the name that it has in C."""

    name: str

    def __new__(cls, number: int, name: str) -> Self:
        made = super().__new__(cls, number)
        made.name = name
        return made

    def __str__(self) -> str:
        return self.name


async def an_empty_place(process: Process, path: str) -> None:
    """Make the directory of `path`, and nothing in it."""
    await process.makedirs(os.path.dirname(path), exist_ok=True)
    await process.stat(os.path.dirname(path))


async def a_file(process: Process, path: str, content: bytes = HELLO) -> None:
    """Make a file, whose name is known to the kernel, and of whose content nothing is cached."""
    await an_empty_place(process, path)
    fd = await process.open(path, os.O_CREAT | os.O_WRONLY)
    await process.write(fd, content)
    await process.close(fd)
    process.cwd.superblock.drop_caches()
    await process.stat(path)


async def an_open_file(process: Process, path: str) -> int:
    """Make a file, and open it to read and write."""
    await a_file(process, path)
    return await process.open(path, os.O_RDWR)


async def a_written_file(process: Process, path: str) -> int:
    """Make a file, and open it, to which something has been written through the same descriptor."""
    fd = await an_open_file(process, path)
    await process.pwrite(fd, HELLO, 0)
    return fd


async def a_directory(process: Process, path: str) -> None:
    """Make a directory, with a file in it."""
    await process.makedirs(path, exist_ok=True)
    await a_file(process, f"{path}/inner")


@dataclass(frozen=True)
class Operation:
    """One operation, explained."""

    name: str  # what it is asked for by: the opcode in lower case
    summary: str  # one line, of at most 60 characters
    command: (
        str  # what a user would type, or 'Program: ...', `{path}` and `{other}` in it: the title of the left column
    )
    program: Program
    remark: str  # what is worth seeing, in one to three sentences
    before: Before = a_file
    filesystem: type[Everything] = Everything
    fuseblk: bool = False  # mounted as from a block device
    profiles: tuple[str, ...] = tuple(PROFILES)
