"""The memory filesystem on an embedded kernel, and what it was asked: for tests of single system calls."""

from __future__ import annotations

import errno
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from fusewire.embedded import Kernel
from fusewire.filesystems.memory import Memory
from fusewire.kernel.syscalls.process import Process
from fusewire.kernel.vfs.superblock import Options
from fusewire.wire import SetattrIn, SetattrValid

T = TypeVar("T")

UNTOLD = {
    "INIT",
    "LOOKUP",
    "FORGET",
    "BATCH_FORGET",
    "RELEASE",
    "FLUSH",
}  # in every path walk, or some time after a call


class OnMemory:
    """A kernel with the file /f and the directory /d, which belong to uid 1000."""

    def __init__(self, filesystem: Memory, options: Options) -> None:
        self.kernel = Kernel(filesystem, options)
        self.root = self.process()
        self.user = self.process(1000)
        self.do(self.root.mknod("/f", 0o100644))
        self.do(self.root.mkdir("/d"))
        for path in ("/f", "/d"):
            self.do(self.root.chown(path, 1000, 1000))

    def process(self, uid: int = 0, gid: int | None = None, groups: frozenset[int] = frozenset()) -> Process:
        """Return a process whose calls are awaited."""
        return self.kernel.process(uid, gid, groups).awaitable

    def do(self, call: Coroutine[Any, Any, T]) -> T:
        """Run a system call to its end."""
        return self.kernel.run(call)

    def error(self, call: Coroutine[Any, Any, Any]) -> str | None:
        """Run a system call; return the name of its errno, None if it has none."""
        try:
            self.do(call)
        except OSError as error:
            return errno.errorcode[error.errno or 0]
        return None

    def asked(self, call: Coroutine[Any, Any, Any]) -> list[str]:
        """Run a system call; return the requests that it cost, but for LOOKUPs."""
        return [shown(request) for request in self.requests(call)]

    def requests(self, call: Coroutine[Any, Any, Any]) -> list[Any]:
        """The same, as they were recorded."""
        before = len(self.kernel.requests)
        self.error(call)
        return [request for request in self.kernel.requests[before:] if request.name not in UNTOLD]


def shown(request: Any) -> str:
    """Return a request as it is read in a test: its name, its names, and of SETATTR what is to change."""
    parts = [request.name, *request.names]
    if isinstance(request.body, SetattrIn):
        parts.append(SetattrValid.text(request.body.valid).replace("FATTR_", ""))
    return " ".join(parts)


@contextmanager
def on_memory(
    flags: int = 0,
    *,
    timeout: float = 0.0,
    default_permissions: bool = False,
    allow_other: bool = True,
    read_only: bool = False,
    kind: type[Memory] = Memory,
) -> Iterator[OnMemory]:
    """Mount a filesystem that agrees to `flags`, of whose names and attributes nothing holds longer than `timeout`."""

    class Subject(kind):  # type: ignore[misc, valid-type]
        init_flags = flags
        attr_timeout = entry_timeout = timeout

    options = Options(allow_other=allow_other, default_permissions=default_permissions)
    made = OnMemory(Subject(), options)
    if read_only:
        made.kernel.superblock.options = Options(allow_other=allow_other, read_only=True)
    with made.kernel:
        yield made
