"""What a test may leave behind, counted before and after it: threads, processes, mounts, descriptors, connections.

`Things` maps what exists to a text for people. What exists after a test and did not before is a leftover, unless
it goes away by itself within `GRACE` seconds: a thread or process may be on its last instructions.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import Callable, Hashable
from pathlib import Path

from kernel_mounts import CONNECTIONS, DEVICE, Mount, abort, connection_of_descriptor, fuse_mounts, mounts
from namespaces import MNT_DETACH, umount
from own_run import OwnRun, Process, all_processes, kill, served_by

GRACE = 2.0

Things = dict[Hashable, str]


def threads() -> Things:
    """Return the threads that Python knows."""
    return {thread: f"thread {thread.name!r}" for thread in threading.enumerate()}


def everything(run: OwnRun) -> Things:
    """Return all that a test with a mount may leave behind."""
    return threads() | processes(run) | fuse() | descriptors()


def processes(run: OwnRun) -> Things:
    """Return the run's processes, zombies too."""
    return {
        (Process, process.pid, process.started): f"process {process.pid} {process.name!r} ({process.state})"
        for process in run.processes()
    }


def fuse(path: Path | None = None) -> Things:
    """Return the FUSE mounts of our mount namespace; with `path`, those on it."""
    found = [mount for mount in fuse_mounts() if path in (None, mount.path)]
    return {mount: f"mount on {mount.path} (connection {mount.minor})" for mount in found}


def descriptors() -> Things:
    """Return our descriptors of /dev/fuse, and of files whose mount is in nobody's sight any more."""
    visible = {mount.mount_id for mount in mounts()}
    found: Things = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{name}")
            if target == str(DEVICE) or is_on_lost_mount(name, target, visible):
                found["descriptor", int(name)] = f"descriptor {name} of {target}"
    return found


def is_on_lost_mount(descriptor: str, target: str, visible: set[int]) -> bool:
    """Tell whether a descriptor keeps a lazily unmounted filesystem alive. Pipes and memory files do not."""
    if not target.startswith("/") or target.startswith("/memfd:"):
        return False
    lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
    mount_id = next(int(line.split()[1]) for line in lines if line.startswith("mnt_id:"))
    return mount_id not in visible


def connections() -> Things:
    """Return the connections of the whole machine: the kernel's own list."""
    with contextlib.suppress(OSError):
        return {("connection", int(name)): f"connection {name}" for name in os.listdir(CONNECTIONS)}
    return {}


def nobodys_new(before: Things) -> Things:
    """Return the connections that were not there before, and that no process or mount of the machine accounts for.

    Other people may use FUSE meanwhile, and theirs have owners.
    """
    found = {key: text for key, text in connections().items() if key not in before}
    pids = [process.pid for process in all_processes()] if found else []
    known = {mount.minor for pid in pids for mount in fuse_mounts(pid)}
    known |= {connection for pid in pids for connection in served_by(pid)}
    return {key: text for key, text in found.items() if key not in {("connection", number) for number in known}}


def remaining(before: Things, look: Callable[[], Things]) -> Things:
    """Return what there is now and was not before, once it had its time to go."""
    deadline = time.monotonic() + GRACE
    while left := {key: text for key, text in look().items() if key not in before}:
        if time.monotonic() > deadline:
            break
        select.select([], [], [], 0.01)
    return left


def clear(left: Things) -> None:
    """Remove leftovers, so that one careless test does not fail those after it. Threads cannot be removed."""
    for key in left:
        match key:
            case Mount():
                abort(key.minor)
                with contextlib.suppress(OSError):
                    umount(key.path, MNT_DETACH)
            case ("descriptor", int(number)):
                abort_served(number)
                with contextlib.suppress(OSError):  # a file on an aborted mount says ENOTCONN, and is closed
                    os.close(number)
            case (kind, int(pid), int(started)) if kind is Process:
                kill(Process(pid, "", "", 0, started))


def abort_served(descriptor: int) -> None:
    """Abort the connection of a descriptor of /dev/fuse, so that closing it wakes whoever waits."""
    connection = connection_of_descriptor("self", descriptor)
    if connection is not None:
        abort(connection)
