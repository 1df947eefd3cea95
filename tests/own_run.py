"""What belongs to this run of the tests: its processes, and the FUSE connections they made.

A process is ours if it descends from pytest; or if it lives in the mount namespace that the run made for itself
(a daemon which detached from its parent); or if its environment carries the run's mark (the same, when it went on
into a namespace of its own). Somebody else's processes and mounts on the machine are never touched.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kernel_mounts import connection_of_descriptor, fuse_mounts

MARK = "FUSEWIRE_TEST_RUN"  # in the environment of everything that the run starts


@dataclass(frozen=True)
class Process:
    """One line of /proc/PID/stat. The start time makes it unique: numbers are used again."""

    pid: int
    name: str
    state: str
    parent: int
    started: int

    @property
    def is_zombie(self) -> bool:
        return self.state in "ZX"


@dataclass(frozen=True)
class OwnRun:
    """Tells which processes and connections are ours.

    `namespace` is the mount namespace that the run made for itself, None if it could not.
    """

    pid: int
    mark: str
    namespace: str | None
    foreign_connections: frozenset[int]  # of mounts that were there before us

    @classmethod
    def of_this_process(cls, private: bool) -> OwnRun:
        """Begin a run: mark the environment, and take note of what was there before."""
        os.environ[MARK] = f"{os.getpid()}-{time.time_ns()}"
        foreign = frozenset(mount.minor for mount in fuse_mounts())
        return cls(os.getpid(), os.environ[MARK], mount_namespace("self") if private else None, foreign)

    def processes(self) -> list[Process]:
        """Return all processes of the run but pytest itself."""
        everybody = all_processes()
        ours = {self.pid}
        for process in everybody:  # by start time, so that parents come before their children
            if process.parent in ours or self.is_marked(process.pid):
                ours.add(process.pid)
        return [process for process in everybody if process.pid in ours and process.pid != self.pid]

    def is_marked(self, pid: int) -> bool:
        """Tell whether a process is ours though nobody of ours is its parent any more."""
        if self.namespace is not None and mount_namespace(pid) == self.namespace:
            return True
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            return False
        return f"{MARK}={self.mark}".encode() in environment.split(b"\0")

    def connections(self) -> set[int]:
        """Return the connections which the run's processes serve, or have mounted."""
        pids = [self.pid, *(process.pid for process in self.processes())]
        mounted = {mount.minor for pid in pids for mount in fuse_mounts(pid)}
        served = {connection for pid in pids for connection in served_by(pid)}
        return (mounted | served) - self.foreign_connections


def all_processes() -> list[Process]:
    """Return every process that /proc shows, oldest first."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    found = [process for pid in pids if (process := read_process(pid)) is not None]
    return sorted(found, key=lambda process: (process.started, process.pid))


def read_process(pid: int) -> Process | None:
    """Return one process, None if it is gone."""
    try:
        head, _, tail = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")
    except OSError:
        return None
    fields = tail.split()
    return Process(pid, head.partition("(")[2], fields[0], int(fields[1]), int(fields[19]))


def mount_namespace(pid: int | str) -> str | None:
    """Return the name of a process's mount namespace; None if it is gone, or not ours to look at."""
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt")
    except OSError:
        return None


def served_by(pid: int) -> Iterator[int]:
    """Return the connections whose device a process has open."""
    with contextlib.suppress(OSError):
        for descriptor in os.listdir(f"/proc/{pid}/fdinfo"):
            connection = connection_of_descriptor(pid, descriptor)
            if connection is not None:
                yield connection


def kill(process: Process) -> None:
    """End a process of ours, and take its status if it is our child."""
    current = read_process(process.pid)
    if current is None or current.started != process.started:
        return
    with contextlib.suppress(OSError):
        os.kill(process.pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(process.pid, 0)
