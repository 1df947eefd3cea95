"""The kernel's end: what fs/fuse does, in a Python process.

It sends requests and takes replies as Linux does, so that a filesystem cannot tell the difference.
`fusewire.Kernel` (../embedded) puts a daemon's end beside it; here nothing is known of one.

The rooms, from the ground up:

    tasks.py waitq.py locks.py clock.py   who runs, who sleeps until when, who holds what; runners/ resumes them
    connection.py request.py stages.py    the queues of one mount: a request's life, to the daemon and back;
    device.py                             where a daemon reads and writes
    vfs/          the objects: names, inodes, open files, pages, locks, mounts, who somebody is. They ask nothing
    operations/   what FUSE does for them, `fuse_...`: what is sent, and what the reply changes
    paths/        from a path to what it leads to; open(2)
    syscalls/     what a process may ask, by the names of `os`: walks, takes locks, hands over
    checks/       what is always true: of the state of it all, and of what passed the device; nobody here imports it

One request is walked down and up again:

    Names.unlink     syscalls/names.py     finds the directory, takes its semaphore, looks the name up, checks
    fuse_unlink      operations/names.py   knows that UNLINK is a nodeid and a name, and what is old afterwards
    Connection.ask   sending.py            gets a request, queues it on `pending`, wakes a reader, and sleeps
    Device.read      device_reading.py     moves it to `processing` and copies it out: the daemon has it
    Device.write     device_writing.py     finds it there, copies the reply in, and wakes its sender

Rules, which a test holds us to (tests/test_layering.py):

- a room imports what stands above it in the list, and nothing below: objects no operations, operations
  no paths, paths no system calls. What is imported for annotations alone is free
- vfs, operations, paths and system calls use no connection but that of the mount they are about:
  they import neither connection nor device. Only mounting, which makes both, does
- the queues know nothing of what is asked, but for three who act upon the VFS as the daemon's word
  says: mounting.py, notifications.py, and pinning.py, which keeps what a request is about
- no import stands in a function, and no two modules import each other, in however many steps

and which hold everywhere: the world changes at an `await` and nowhere else; who has slept looks
again; clean-up never awaits; locks are taken in the order that locks.py has. What is not modelled
stands at the head of each module.
"""

from __future__ import annotations

from fusewire.kernel.clock import Clock, MonotonicClock, StandingClock
from fusewire.kernel.connection import Connection
from fusewire.kernel.device import Device
from fusewire.kernel.init import Settings
from fusewire.kernel.mounting import mount
from fusewire.kernel.profile import LINUX, PROFILES, SEED2005, Profile
from fusewire.kernel.statistics import Statistics
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
