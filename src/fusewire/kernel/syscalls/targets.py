"""What a system call is about: a path, or a descriptor where `os` takes one instead.

A daemon that answers ESTALE, be it in the walk or in what follows, has everything done once more
from the beginning, with every name looked up anew (fs/namei.c, retry_estale).
"""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from typing import TypeVar

from fusewire.errors import os_error
from fusewire.kernel.operations.lookup import REVAL
from fusewire.kernel.operations.releasing import put_file
from fusewire.kernel.paths.resolve import Path, is_stale, known_end, name_it, resolve
from fusewire.kernel.vfs.caller import Caller
from fusewire.kernel.vfs.dentry import Dentry
from fusewire.kernel.vfs.inode import Inode

__all__ = ["at", "at_fd", "at_path", "inode_of", "writable_inode_of"]

T = TypeVar("T")
Operation = Callable[[Dentry], Awaitable[T]]


async def at(
    process: Caller, path: Path | int, operation: Operation[T], *, follow: bool = True, dir_fd: int | None = None
) -> T:
    """Return what `operation` makes of what `path`, which may be a descriptor, leads to.

    Raises:
        OSError: with `path` as its filename; EBADF for a descriptor that is not open, or with
            O_PATH; as `resolve`, and as `operation`.
    """
    if not isinstance(path, int):
        return await at_path(process, path, operation, follow=follow, dir_fd=dir_fd)
    try:
        return await at_fd(process, path, operation)
    except OSError as error:
        error.filename = path
        raise


async def at_fd(process: Caller, fd: int, operation: Operation[T], *, path_only: bool = False) -> T:
    """The same for a descriptor; `path_only` if one that was opened with O_PATH will do."""
    file = process.file(fd) if path_only else process.opened_file(fd)
    file.hold()  # another task may close it meanwhile
    try:
        return await operation(file.dentry)
    finally:
        put_file(file)


async def at_path(
    process: Caller, path: Path, operation: Operation[T], *, follow: bool = True, dir_fd: int | None = None
) -> T:
    """The same for a path; `follow` leads on from a symlink at its end."""
    known = known_end(process, path) if dir_fd is None else None
    try:
        if known is not None:
            return await operation(known)
        async with resolve(process, path, follow=follow, dir_fd=dir_fd) as dentry:
            return await operation(dentry)
    except OSError as error:
        if not is_stale(error):
            name_it(error, path)
            raise
    finally:
        if known is not None:
            known.put()
    async with resolve(process, path, follow=follow, dir_fd=dir_fd, intent=REVAL) as dentry:
        return await operation(dentry)


def inode_of(dentry: Dentry) -> Inode:
    """Return what `dentry` leads to: a path ends at something that exists."""
    assert dentry.inode is not None
    return dentry.inode


def writable_inode_of(dentry: Dentry) -> Inode:
    """The same, if anything can be changed on its mount (mnt_want_write).

    Raises:
        OSError: EROFS.
    """
    if dentry.superblock.options.read_only:
        raise os_error(errno.EROFS)
    return inode_of(dentry)
