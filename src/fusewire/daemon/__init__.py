"""The right column: who answers. One engine, and the doors to writing a filesystem.

`session` is the engine without I/O, `serve` runs it; `filesystem` is the raw door, on nodeids,
and `nodes` the front door, on objects. `notify` is what a filesystem tells the kernel unasked.
"""

from __future__ import annotations

from fusewire.daemon.filesystem import Filesystem
from fusewire.daemon.negotiation import Limits
from fusewire.daemon.node_filesystem import NodeFilesystem
from fusewire.daemon.nodes import Directory, File, Handle, Node, Special, Symlink, Tree
from fusewire.daemon.notify import AwaitableNotifier, Notifier
from fusewire.daemon.request import Request, current_request
from fusewire.daemon.session import Call, Session
from fusewire.daemon.timeouts import Timeouts
from fusewire.daemon.values import (
    UTIME_NOW,
    Attributes,
    Dirent,
    Entry,
    Lock,
    OpenFile,
    SetAttributes,
    StatFs,
)

__all__ = [
    "UTIME_NOW",
    "Attributes",
    "AwaitableNotifier",
    "Call",
    "Directory",
    "Dirent",
    "Entry",
    "File",
    "Filesystem",
    "Handle",
    "Limits",
    "Lock",
    "Node",
    "NodeFilesystem",
    "Notifier",
    "OpenFile",
    "Request",
    "Session",
    "SetAttributes",
    "Special",
    "StatFs",
    "Symlink",
    "Timeouts",
    "Tree",
    "current_request",
]
