"""Small filesystems that the tests of the embedded kernel are served by."""

from __future__ import annotations

import errno
import stat
from typing import Any

import fusewire
from fusewire import Attributes, Entry, Filesystem, Request


class Flat(Filesystem):
    """A root directory with some empty files, of which the kernel remembers nothing. `kernel` is for methods."""

    entry_timeout = attr_timeout = 0.0

    def __init__(self, *names: str) -> None:
        self.nodeids = {name: nodeid for nodeid, name in enumerate(names or ("a", "b"), start=2)}
        self.kernel: Any = None
        self.said: list[Any] = []

    def getattr(self, request: Request, nodeid: int, fh: int | None) -> Attributes:
        mode = stat.S_IFDIR | 0o755 if nodeid == 1 else stat.S_IFREG | 0o644
        return Attributes(mode=mode, ino=nodeid, nlink=1)

    def lookup(self, request: Request, parent: int, name: str) -> Entry:
        if name not in self.nodeids:
            raise fusewire.os_error(errno.ENOENT)
        return Entry(self.nodeids[name], self.getattr(request, self.nodeids[name], None))

    def destroy(self) -> None:
        self.said.append("destroy")


def kernel_of(filesystem: Flat, **options: Any) -> fusewire.Kernel:
    """A kernel that `filesystem` can use as well."""
    filesystem.kernel = fusewire.Kernel(filesystem, **options)
    kernel: fusewire.Kernel = filesystem.kernel
    return kernel
