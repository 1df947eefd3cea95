"""Where the steps of `fusewire demo` take place: on a mount, or in a kernel's end in this process.

Both have the calls of pathlib by the same names; a path begins with '/', which is the root of the
filesystem. Only a mount has a `directory` that other programs can enter.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, Protocol

import fusewire

__all__ = ["InKernel", "OnMount", "Place"]


class Place(Protocol):
    """A filesystem that can be used."""

    directory: Path | None

    def read_bytes(self, path: str) -> bytes: ...
    def write_bytes(self, path: str, data: bytes) -> int: ...
    def open(self, path: str, mode: str) -> Any: ...
    def drop(self, path: str) -> None: ...
    def truncate(self, path: str, length: int) -> None: ...
    def exists(self, path: str) -> bool: ...
    def stat(self, path: str) -> os.stat_result: ...
    def listdir(self, path: str) -> list[str]: ...
    def mkdir(self, path: str) -> None: ...
    def rename(self, path: str, target: str) -> None: ...
    def hardlink_to(self, path: str, target: str) -> None: ...
    def symlink_to(self, path: str, target: str) -> None: ...
    def readlink(self, path: str) -> str: ...
    def unlink(self, path: str) -> None: ...
    def clear(self) -> None: ...
    def statvfs(self) -> os.statvfs_result: ...


class OnMount:
    """A mountpoint, used through the kernel of this machine."""

    def __init__(self, directory: Path) -> None:
        self.directory: Path | None = directory
        self.root = directory

    def at(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def read_bytes(self, path: str) -> bytes:
        return self.at(path).read_bytes()

    def write_bytes(self, path: str, data: bytes) -> int:
        return self.at(path).write_bytes(data)

    def open(self, path: str, mode: str) -> Any:
        return self.at(path).open(mode)

    def drop(self, path: str) -> None:
        """Have the kernel throw its copy of a file's data away."""
        with self.at(path).open("rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def truncate(self, path: str, length: int) -> None:
        os.truncate(self.at(path), length)

    def exists(self, path: str) -> bool:
        return self.at(path).exists()

    def stat(self, path: str) -> os.stat_result:
        return self.at(path).stat()

    def listdir(self, path: str) -> list[str]:
        return os.listdir(self.at(path))

    def mkdir(self, path: str) -> None:
        self.at(path).mkdir()

    def rename(self, path: str, target: str) -> None:
        self.at(path).rename(self.at(target))

    def hardlink_to(self, path: str, target: str) -> None:
        self.at(path).hardlink_to(self.at(target))

    def symlink_to(self, path: str, target: str) -> None:
        self.at(path).symlink_to(target)

    def readlink(self, path: str) -> str:
        return os.readlink(self.at(path))

    def unlink(self, path: str) -> None:
        self.at(path).unlink()

    def clear(self) -> None:
        """Remove everything."""
        for path in self.root.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def statvfs(self) -> os.statvfs_result:
        return os.statvfs(self.root)


class InKernel(fusewire.Kernel):
    """A kernel's end in this process, and a filesystem that it is served."""

    directory: Path | None = None

    def drop(self, path: str) -> None:
        """Have the kernel throw its copy of a file's data away."""
        with self.process() as process:
            process.posix_fadvise(process.open(path, os.O_RDONLY), 0, 0, os.POSIX_FADV_DONTNEED)

    def clear(self) -> None:
        """Remove everything."""
        self.rmtree("/")

    def statvfs(self) -> os.statvfs_result:
        with self.process() as process:
            return process.statvfs("/")
