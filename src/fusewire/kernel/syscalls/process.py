"""A process: all system calls in one class."""

from __future__ import annotations

from fusewire.kernel.syscalls.attributes import Attributes
from fusewire.kernel.syscalls.changing import Changes
from fusewire.kernel.syscalls.control import Control
from fusewire.kernel.syscalls.data import Data
from fusewire.kernel.syscalls.directories import Directories
from fusewire.kernel.syscalls.files import Files
from fusewire.kernel.syscalls.identity import Identity
from fusewire.kernel.syscalls.lifetime import Lifetime
from fusewire.kernel.syscalls.locking import Locking
from fusewire.kernel.syscalls.memory import Memory
from fusewire.kernel.syscalls.mounts import Mounts
from fusewire.kernel.syscalls.names import Names
from fusewire.kernel.syscalls.signals import Signals
from fusewire.kernel.syscalls.xattrs import Xattrs

__all__ = ["Process"]


class Process(
    Names,
    Attributes,
    Changes,
    Xattrs,
    Files,
    Data,
    Directories,
    Locking,
    Control,
    Identity,
    Lifetime,
    Memory,
    Mounts,
    Signals,
):
    """A process. Its methods are what `os` has, by the same names, and each is awaited."""
