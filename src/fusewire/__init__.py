"""FUSE, both ends of the wire, in Python.

    with fusewire.mount({"hello": b"hi"}, "/mnt/x") as mount:
        mount.wait()

    with fusewire.Kernel({"hello": b"hi"}) as kernel:    # the same, where nothing can be mounted
        kernel.read_bytes("/hello")

The names here are those of daily use; each is imported when it is first asked for, so that
`import fusewire` costs nothing. `fusewire.daemon`, `fusewire.kernel` and `fusewire.wire` have
the rest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fusewire.daemon import (
        UTIME_NOW,
        Attributes,
        Directory,
        Dirent,
        Entry,
        File,
        Filesystem,
        Handle,
        Node,
        OpenFile,
        Request,
        SetAttributes,
        Special,
        StatFs,
        Symlink,
        current_request,
    )
    from fusewire.embedded import Deadlock, Kernel, Process, SpawnError
    from fusewire.errors import ProtocolError, os_error
    from fusewire.mounted import Mount, mount
    from fusewire.mounting import MountError, MountOptions
    from fusewire.program import run, run_async

__version__ = "0.1.0"

__all__ = [
    "UTIME_NOW",
    "Attributes",
    "Deadlock",
    "Directory",
    "Dirent",
    "Entry",
    "File",
    "Filesystem",
    "Handle",
    "Kernel",
    "Mount",
    "MountError",
    "MountOptions",
    "Node",
    "OpenFile",
    "Process",
    "ProtocolError",
    "Request",
    "SetAttributes",
    "SpawnError",
    "Special",
    "StatFs",
    "Symlink",
    "current_request",
    "mount",
    "os_error",
    "run",
    "run_async",
]

_HOMES = {
    "Deadlock": "embedded",
    "Kernel": "embedded",
    "Process": "embedded",
    "SpawnError": "embedded",
    "Mount": "mounted",
    "mount": "mounted",
    "run": "program",
    "run_async": "program",
    "MountError": "mounting",
    "MountOptions": "mounting",
    "ProtocolError": "errors",
    "os_error": "errors",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'fusewire' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"fusewire.{_HOMES.get(name, 'daemon')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
