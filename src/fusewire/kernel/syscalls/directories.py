"""System calls: reading directories.

`getdents` is the system call; `listdir` and `scandir` are what a program does who calls them in
Python: open, fstat, getdents until nothing comes, close, with the buffer that glibc would use.

Source: fs/readdir.c, iterate_dir; glibc's opendir and readdir.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fusewire.errors import os_error
from fusewire.kernel.operations.attributes import fuse_getattr
from fusewire.kernel.operations.directory import Room, fuse_readdir
from fusewire.kernel.operations.releasing import put_file
from fusewire.kernel.paths.open_flags import Opening
from fusewire.kernel.paths.open_path import open_path
from fusewire.kernel.paths.resolve import Path, filename_of
from fusewire.kernel.syscalls.base import syscall
from fusewire.kernel.tasks import current
from fusewire.kernel.vfs.caller import Caller
from fusewire.kernel.waitq import Sleep

if TYPE_CHECKING:
    from fusewire.kernel.vfs.directory_cache import Entry
    from fusewire.kernel.vfs.open_file import OpenFile

__all__ = ["DirEntry", "Directories"]

LEAST_BUFFER: Final = 32 << 10  # bytes
LARGEST_BUFFER: Final = 1 << 20
DOTS: Final = (b".", b"..")
OPENDIR: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_DIRECTORY


@dataclass(frozen=True, slots=True)
class DirEntry:
    """What `scandir` tells of a name. `type` is DT_*, 0 if the daemon did not say; symlinks are not followed."""

    name: str
    path: str
    ino: int
    type: int

    def inode(self) -> int:
        return self.ino

    def is_dir(self) -> bool:
        return self.type << 12 == stat.S_IFDIR

    def is_file(self) -> bool:
        return self.type << 12 == stat.S_IFREG

    def is_symlink(self) -> bool:
        return self.type << 12 == stat.S_IFLNK


class Directories(Caller):
    """Reading directories."""

    @syscall
    async def getdents(self, fd: int, size: int) -> list[Entry]:
        """Return the next entries of the directory `fd`, as many as fit `size` bytes (getdents64); none at its end.

        Raises:
            OSError: EBADF if `fd` is not open, or with O_PATH; ENOTDIR; ENOENT if it was removed;
                EINVAL if not even one entry fits; EIO if the daemon answers nonsense; EINTR if a
                fatal signal came first; otherwise as the daemon says.
        """
        return await read_entries(self.opened_file(fd), size)

    @syscall
    async def listdir(self, path: Path | int = ".") -> list[Any]:
        """Return the names in the directory `path`, or of that descriptor, but for '.' and '..', in the daemon's order.

        They are bytes if `path` is, else strings.

        Raises:
            OSError: as open, fstat and getdents.
        """
        entries = await self._list(path)
        return [entry.name if isinstance(path, bytes) else os.fsdecode(entry.name) for entry in entries]

    @syscall
    async def scandir(self, path: Path | int = ".") -> list[DirEntry]:
        """Return the entries of the directory `path`, or of that descriptor, but for '.' and '..', all at once.

        Raises:
            OSError: as `listdir`.
        """
        above = "" if isinstance(path, int) else os.fsdecode(path)
        named = [(os.fsdecode(entry.name), entry) for entry in await self._list(path)]
        return [DirEntry(name, os.path.join(above, name), entry.ino, entry.type) for name, entry in named]

    async def _list(self, path: Path | int) -> list[Entry]:
        if isinstance(path, int):
            file = self.opened_file(path).hold()
        else:
            self.free_fd(self.reserve_fd())  # there must be a descriptor, as for any open
            file = await open_path(self, path, Opening(OPENDIR, 0))
        try:
            return await _list_all(file)
        except OSError as error:
            error.filename = path if isinstance(path, int) else filename_of(path)
            raise
        finally:
            if isinstance(path, int):
                file.position = 0  # whoever lists the descriptor again begins anew
            put_file(file)


async def _list_all(file: OpenFile) -> list[Entry]:
    """Do what opendir(3) and readdir(3) do: several system calls, at whose ends signals are taken."""
    current().take_signals()
    attributes = await fuse_getattr(file.inode)
    current().take_signals()
    if not stat.S_ISDIR(attributes.st_mode):
        raise os_error(errno.ENOTDIR)
    size = min(max(attributes.st_blksize, LEAST_BUFFER), LARGEST_BUFFER)
    entries: list[Entry] = []
    try:
        while found := await read_entries(file, size):
            entries += found
            current().take_signals()
    except FileNotFoundError:
        pass  # it was removed meanwhile, which to readdir(3) is its end
    return [entry for entry in entries if entry.name not in DOTS]


async def read_entries(file: OpenFile, size: int) -> list[Entry]:
    """Return the next entries that fit `size` bytes, in the form of getdents64; none at the end of the directory."""
    if not file.inode.is_dir:
        raise os_error(errno.ENOTDIR)
    room = Room(size)
    try:
        async with file.position_lock.exclusive(), file.inode.rwsem.shared(Sleep.KILLABLE):
            if file.dentry.dead:
                raise os_error(errno.ENOENT)
            await fuse_readdir(file, room)
    except OSError:
        if not room.entries:
            raise
    if room.too_small and not room.entries:
        raise os_error(errno.EINVAL)
    return room.entries
