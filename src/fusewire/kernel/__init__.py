"""The kernel's end: what fs/fuse does, in a Python process.

It sends requests and takes replies as Linux does, so that a filesystem cannot tell the difference.
One request is followed from syscalls.py to connection.py to device.py, and back through the same
files; tasks.py and waitq.py are what they run on.

So far it knows UNLINK, and the LOOKUP that precedes it. What else is not modelled yet stands at
the head of each module.
"""

from __future__ import annotations

from fusewire.kernel.clock import Clock, MonotonicClock, StandingClock
from fusewire.kernel.connection import Connection, Statistics
from fusewire.kernel.device import Device
from fusewire.kernel.init import Settings
from fusewire.kernel.mounting import mount
from fusewire.kernel.profile import LINUX, PROFILES, SEED2005, Profile
from fusewire.kernel.syscalls.process import Process
from fusewire.kernel.tasks import Killed, Signal, Task, close, run
from fusewire.kernel.vfs.credentials import Credentials
from fusewire.kernel.vfs.superblock import Options, Superblock
from fusewire.kernel.vfs.system import System

__all__ = [
    "LINUX",
    "PROFILES",
    "SEED2005",
    "Clock",
    "Connection",
    "Credentials",
    "Device",
    "Killed",
    "MonotonicClock",
    "Options",
    "Process",
    "Profile",
    "Settings",
    "Signal",
    "StandingClock",
    "Statistics",
    "Superblock",
    "System",
    "Task",
    "close",
    "mount",
    "run",
]
