"""Tracefs itself: where it is, and the instances in it that are ours.

It is where it is mounted; where it is not, root has it all the same, in a mount that has no place. It is root's
alone.

The name of an instance says whose it is: process, when that began (a number is used again), and the namespace that
counts processes so. Of a process of another namespace we cannot tell whether it lives, so its instances are left
alone; and nobody can remove one whose trace is being read.

Source: Documentation/trace/ftrace.rst; kernel/trace/trace.c, instance_rmdir.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import time
from collections.abc import Iterator
from typing import Final

from fusewire.mounting.syscalls import mount_nowhere
from fusewire.mounting.table import read_table

__all__ = ["NoTracing", "explained", "find_tracefs", "instance_name", "remove", "remove_leftovers"]

OURS: Final = re.compile(r"fusewire-(\d+)-(\d+)-(\d+)-\d+$")
PATIENCE: Final = 0.2  # seconds for which removing is tried again: an event may still be on its way
numbers = itertools.count()  # of the instances of this process


class NoTracing(OSError):
    """Linux's tracing is out of reach. `str()` is a sentence for people, `errno` is for programs."""

    def __str__(self) -> str:
        return str(self.strerror)


# --- finding tracefs


def find_tracefs() -> tuple[str, int]:
    """Return the directory of tracefs, and a descriptor that keeps it, -1 where it is mounted.

    Raises:
        NoTracing: it is out of reach.
    """
    for mount in read_table():
        if mount.fstype == "tracefs" and mount.root == "/" and os.path.isdir(f"{mount.mountpoint}/instances"):
            return mount.mountpoint, -1
    with explained():
        root = mount_nowhere("tracefs")
    return f"/proc/{os.getpid()}/fd/{root}", root


@contextlib.contextmanager
def explained(tracepoint: str = "", condition: str = "") -> Iterator[None]:
    """Make a sentence of what goes wrong."""
    try:
        yield
    except NoTracing:
        raise
    except OSError as error:
        raise NoTracing(error.errno or errno.EIO, sentence(error, tracepoint, condition)) from error


def sentence(error: OSError, tracepoint: str, condition: str) -> str:
    """Say what is wrong, and what to do about it."""
    if error.errno in (errno.EACCES, errno.EPERM):
        if os.geteuid():
            return "Linux's tracing (tracefs) is for root alone: run it with sudo"
        return "Linux's tracing (tracefs) is closed to this process, though it is root: a container, or a locked kernel"
    if tracepoint and error.errno == errno.ENOENT:
        return f"this kernel has no tracepoint {tracepoint}"
    if tracepoint and error.errno == errno.EINVAL:
        return f"the tracepoint {tracepoint} cannot be filtered by {condition!r}"
    if error.errno in (errno.ENODEV, errno.ENOSYS, errno.ENOENT):
        return "this kernel has no tracing (tracefs): it was built without"
    return f"Linux's tracing (tracefs) cannot be used: {error.strerror}"


# --- instances: whose they are, and their end


def instance_name() -> str:
    """Return a name for an instance of this process. No two are the same."""
    pid = os.getpid()
    return f"fusewire-{pid}-{began(pid)}-{pid_namespace()}-{next(numbers)}"


def began(pid: int) -> int:
    """Return when a process began, in ticks since the machine did; -1 if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return -1
    return -1 if fields[0] in (b"Z", b"X") else int(fields[19])


def pid_namespace() -> int:
    """Return the number of the namespace in which our processes are counted."""
    return int(os.readlink("/proc/self/ns/pid").partition("[")[2].rstrip("]"))


def names(tracefs: str) -> list[str]:
    with explained():
        return os.listdir(f"{tracefs}/instances")


def remove_leftovers(tracefs: str = "") -> list[str]:
    """Remove the instances of our processes that are dead; return their names.

    Raises:
        NoTracing: tracefs is out of reach.
    """
    if not tracefs:
        tracefs, root = find_tracefs()
        try:
            return remove_leftovers(tracefs)
        finally:
            if root >= 0:
                os.close(root)
    return [name for name in names(tracefs) if is_left_over(name) and remove(f"{tracefs}/instances/{name}")]


def is_left_over(name: str) -> bool:
    """Tell whether an instance is ours, and its process is no more."""
    found = OURS.match(name)
    if found is None:
        return False
    pid, beginning, namespace = map(int, found.groups())
    return namespace == pid_namespace() and began(pid) != beginning


def remove(path: str) -> bool:
    """Remove an instance with all its settings; return whether it is gone."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            os.rmdir(path)
        except FileNotFoundError:
            return True
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        else:
            return True
