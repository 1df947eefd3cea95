"""What pathlib offers, of an embedded kernel: each call is some system calls of one process.

Names, arguments and outcomes are those of `pathlib.Path`, and the path comes first. What pathlib
leaves to `os` (`listdir`, `link`, `symlink`, `truncate`...), takes the order of arguments of `os`.
A path is a str, bytes or anything that has `__fspath__`, such as a `PurePosixPath`; a relative one
starts in the root.

Written once, awaited; `Kernel` has the same without `await` (kernel.py).

Source: CPython, Lib/pathlib.py.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat as modes
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from fusewire.embedded.files import AwaitableFile

if TYPE_CHECKING:
    import fusewire.kernel as kernel_end

__all__ = ["Path", "Paths"]

Path: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]

NO_SUCH: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EBADF, errno.ELOOP})  # as pathlib has it


class Paths:
    """Calls on paths, each awaited. `own_process` makes the system calls."""

    own_process: kernel_end.Process

    # --- contents

    async def open(self, path: Path, mode: str = "rb", permissions: int = 0o666) -> AwaitableFile:
        """Open a file. `mode` is that of the builtin `open`, for bytes: 'rb', 'wb', 'ab', 'xb', 'r+b'...

        What comes back has `read`, `write`, `seek`..., each awaited, and keeps nothing in buffers of its own.
        """
        return AwaitableFile(self.own_process, await self.own_process.open(path, flags_of(mode), permissions), mode)

    async def read_bytes(self, path: Path) -> bytes:
        """Return what is in a file."""
        async with await self.open(path) as file:
            return await file.read()

    async def read_text(self, path: Path, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return what is in a file, decoded; every end of a line is '\\n'."""
        text = (await self.read_bytes(path)).decode(encoding, errors)
        return text.replace("\r\n", "\n").replace("\r", "\n")

    async def write_bytes(self, path: Path, data: bytes | bytearray | memoryview) -> int:
        """Make a file, or empty it, and write `data` to it; return how many bytes that are."""
        async with await self.open(path, "wb") as file:
            return await file.write(data)

    async def write_text(self, path: Path, text: str, encoding: str = "utf-8", errors: str = "strict") -> int:
        """Make a file, or empty it, and write `text` to it, encoded; return how many characters that are."""
        if not isinstance(text, str):
            raise TypeError(f"a text is written, which is a str, not {type(text).__name__}: for bytes say write_bytes")
        await self.write_bytes(path, text.encode(encoding, errors))
        return len(text)

    async def truncate(self, path: Path, length: int) -> None:
        """Make a file `length` bytes long."""
        await self.own_process.truncate(path, length)

    # --- what there is

    async def stat(self, path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        """Return the attributes of what `path` leads to."""
        return await self.own_process.stat(path, follow_symlinks=follow_symlinks)

    async def lstat(self, path: Path) -> os.stat_result:
        """Return the attributes of `path`, of a symlink its own."""
        return await self.own_process.lstat(path)

    async def exists(self, path: Path) -> bool:
        """Whether `path` leads to something."""
        return await self._is(path, lambda mode: True)

    async def is_file(self, path: Path) -> bool:
        """Whether `path` leads to a regular file."""
        return await self._is(path, modes.S_ISREG)

    async def is_dir(self, path: Path) -> bool:
        """Whether `path` leads to a directory."""
        return await self._is(path, modes.S_ISDIR)

    async def is_symlink(self, path: Path) -> bool:
        """Whether `path` is a symlink."""
        return await self._is(path, modes.S_ISLNK, follow_symlinks=False)

    async def _is(self, path: Path, kind: Callable[[int], bool], follow_symlinks: bool = True) -> bool:
        try:
            return kind((await self.own_process.stat(path, follow_symlinks=follow_symlinks)).st_mode)
        except OSError as error:
            if error.errno not in NO_SUCH:
                raise
            return False

    async def readlink(self, path: Path) -> str:
        """Return what a symlink holds."""
        return os.fsdecode(await self.own_process.readlink(os.fsdecode(path)))

    async def listdir(self, path: Path = "/") -> list[str]:
        """Return the names in a directory, in the filesystem's order, without '.' and '..'."""
        return [os.fsdecode(name) for name in await self.own_process.listdir(path)]

    async def iterdir(self, path: Path = "/") -> list[str]:
        """Return the paths of what is in a directory, in the filesystem's order."""
        directory = os.fsdecode(path)
        return [posixpath.join(directory, name) for name in await self.listdir(path)]

    async def walk(self, path: Path = "/") -> list[tuple[str, list[str], list[str]]]:
        """Return each directory below `path`, itself first, with the names of directories and of others in it.

        Symlinks are not followed.
        """
        directory = os.fsdecode(path)
        below: list[str] = []
        others: list[str] = []
        for name in await self.listdir(directory):
            within = await self._is(posixpath.join(directory, name), modes.S_ISDIR, follow_symlinks=False)
            (below if within else others).append(name)
        found = [(directory, below, others)]
        for name in below:
            found += await self.walk(posixpath.join(directory, name))
        return found

    # --- changes

    async def mkdir(self, path: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Make a directory; with `parents` those above it that are missing, too."""
        try:
            await self.own_process.mkdir(path, mode)
        except FileNotFoundError:
            parent = posixpath.dirname(os.fsdecode(path).rstrip("/"))
            if not parents or not parent or parent == os.fsdecode(path):
                raise
            await self.mkdir(parent, parents=True, exist_ok=True)
            await self.mkdir(path, mode, exist_ok=exist_ok)
        except OSError:
            if not exist_ok or not await self.is_dir(path):
                raise

    async def touch(self, path: Path, mode: int = 0o666, exist_ok: bool = True) -> None:
        """Make an empty file; if there is one, set its times to now."""
        if exist_ok:
            try:
                return await self.own_process.utime(path)
            except OSError:
                pass  # as pathlib: making it will say what is wrong
        flags = os.O_CREAT | os.O_WRONLY | (0 if exist_ok else os.O_EXCL)
        await self.own_process.close(await self.own_process.open(path, flags, mode))
        return None

    async def unlink(self, path: Path, missing_ok: bool = False) -> None:
        """Remove a name that is no directory's."""
        try:
            await self.own_process.unlink(path)
        except FileNotFoundError:
            if not missing_ok:
                raise

    async def rmdir(self, path: Path) -> None:
        """Remove an empty directory."""
        await self.own_process.rmdir(path)

    async def rmtree(self, path: Path) -> None:
        """Remove a directory and all that is in it, as `shutil.rmtree`; of the root, all that is in it."""
        directory = os.fsdecode(path)
        for name in await self.listdir(directory):
            each = posixpath.join(directory, name)
            if await self._is(each, modes.S_ISDIR, follow_symlinks=False):
                await self.rmtree(each)
            else:
                await self.own_process.unlink(each)
        if directory.strip("/"):
            await self.own_process.rmdir(directory)

    async def rename(self, path: Path, target: Path) -> None:
        """Give `path` the name `target`, replacing a file of that name."""
        await self.own_process.rename(path, target)

    async def replace(self, path: Path, target: Path) -> None:
        """Do as `rename`."""
        await self.own_process.rename(path, target)

    async def symlink_to(self, path: Path, target: Path) -> None:
        """Make a symlink `path` that holds `target`."""
        await self.own_process.symlink(target, path)

    async def hardlink_to(self, path: Path, target: Path) -> None:
        """Make `path` another name of `target`."""
        await self.own_process.link(target, path)

    async def symlink(self, target: Path, path: Path) -> None:
        """Make a symlink `path` that holds `target`: the order of `os.symlink`."""
        await self.own_process.symlink(target, path)

    async def link(self, target: Path, path: Path) -> None:
        """Make `path` another name of `target`: the order of `os.link`."""
        await self.own_process.link(target, path)

    async def chmod(self, path: Path, mode: int) -> None:
        """Change the permissions of what `path` leads to."""
        await self.own_process.chmod(path, mode)

    async def chown(self, path: Path, uid: int, gid: int) -> None:
        """Change the owners of what `path` leads to; -1 leaves one as it is."""
        await self.own_process.chown(path, uid, gid)


def flags_of(mode: str) -> int:
    """Return the flags of open(2) for a mode of `open`.

    Raises:
        ValueError: it is none, or one for text.
    """
    kinds, rest = [letter for letter in mode if letter in "rwax"], set(mode) - set("rwax")
    if len(kinds) != 1 or not rest <= {"b", "+"} or len(set(mode)) != len(mode):
        raise ValueError(f"invalid mode: {mode!r}")
    made = {"r": 0, "w": os.O_CREAT | os.O_TRUNC, "a": os.O_CREAT | os.O_APPEND, "x": os.O_CREAT | os.O_EXCL}[kinds[0]]
    return os.O_CLOEXEC | made | (os.O_RDWR if "+" in rest else os.O_RDONLY if kinds[0] == "r" else os.O_WRONLY)
