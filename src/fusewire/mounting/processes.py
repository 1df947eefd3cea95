"""Who has to do with a mount: the processes that hold it, and those that serve its connection.

All is found in /proc, by text and by readlink, which touch no file of the mount: it may hang.
(stat of /proc/PID/fd/N would go into it.) A process of another user shows nothing but its name
unless we are root; one that is exiting has no descriptors any more, though it may still hold.

Not seen: the working directory of a thread that has one of its own; a mount's uses within the
kernel, such as a loop device or an overlay on top of it.

Source: proc_pid_fdinfo(5); fs/proc/base.c, fs/proc/fd.c; fs/fuse/dev.c, fuse_dev_show_fdinfo.
"""

from __future__ import annotations

import contextlib
import enum
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from fusewire.mounting.fusectl import connection_in
from fusewire.mounting.table import MountInfo, covering, read_table

__all__ = ["Hold", "Holder", "command", "holders", "is_dying", "servers"]


class Hold(enum.Enum):
    """How a process holds a mount. The value is a verb for people."""

    PROGRAM = "runs"
    CWD = "works in"
    ROOT = "has its root in"
    FILE = "has open"
    MAP = "maps"


@dataclass(frozen=True, slots=True)
class Holder:
    """One reason why a mount is busy."""

    pid: int
    command: str
    hold: Hold
    path: str  # as the kernel names it; " (deleted)" may follow

    def __str__(self) -> str:
        return f"{self.command} (pid {self.pid}) {self.hold.value} {self.path}"


PF_EXITING: Final = 0x4  # include/linux/sched.h
LINKS: Final = {"exe": Hold.PROGRAM, "cwd": Hold.CWD, "root": Hold.ROOT}


def holders(mount: MountInfo) -> list[Holder]:
    """Return who keeps `mount` from being unmounted, each process and path once, by pid."""
    return [holder for pid in pids() for holder in holds_of(pid, mount)]


def servers(connection: int) -> list[int]:
    """Return the pids of those who have a device of `connection` open. None are seen before Linux 6.18."""
    return [pid for pid in pids() if any(connection_in(text) == connection for _, text in fdinfo(pid))]


def is_dying(pid: int) -> bool:
    """Tell whether a process is exiting, or has been sent a SIGKILL that it cannot have noticed yet."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat, open(f"/proc/{pid}/status", "rb") as status:
            flags = int(stat.read().rpartition(b")")[2].split()[6])
            pending = [int(line.split()[1], 16) for line in status if line.startswith((b"SigPnd:", b"ShdPnd:"))]
    except OSError:
        return True  # gone
    return bool(flags & PF_EXITING) or any(mask >> signal.SIGKILL - 1 & 1 for mask in pending)


def command(pid: int) -> str:
    """Return the name of a process, "?" if it is gone."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", "rb") as file:
        return os.fsdecode(file.read().rstrip(b"\n"))
    return "?"


def pids() -> list[int]:
    return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())


def holds_of(pid: int, mount: MountInfo) -> Iterator[Holder]:
    """Yield what one process holds; the first reason that names a path counts."""
    seen = set()
    for hold, path in (*links_into(pid, mount), *files_in(pid, mount), *maps_of(pid, mount)):
        if path not in seen:
            seen.add(path)
            yield Holder(pid, command(pid), hold, path)


def links_into(pid: int, mount: MountInfo) -> Iterator[tuple[Hold, str]]:
    """Yield program, working directory and root. Their mounts are told by path, which means our mounts only to us."""
    if not shares_our_mounts(pid):
        return
    table = read_table()
    for name, hold in LINKS.items():
        path = link(f"/proc/{pid}/{name}")
        if path and covering(table, path) == mount:
            yield hold, path


def shares_our_mounts(pid: int) -> bool:
    return link(f"/proc/{pid}/ns/mnt") == link("/proc/thread-self/ns/mnt")


def files_in(pid: int, mount: MountInfo) -> Iterator[tuple[Hold, str]]:
    """Yield open files. The kernel says of each to which mount it belongs."""
    wanted = b"mnt_id:\t%d\n" % mount.mount_id
    for fd, text in fdinfo(pid):
        path = link(f"/proc/{pid}/fd/{fd}") if wanted in text else ""
        if path:
            yield Hold.FILE, path


def maps_of(pid: int, mount: MountInfo) -> Iterator[tuple[Hold, str]]:
    """Yield mapped files. The kernel says the device, which all mounts of one connection share."""
    device = b"%02x:%02x" % (mount.major, mount.minor)
    with contextlib.suppress(OSError), open(f"/proc/{pid}/maps", "rb") as file:
        for line in file:
            fields = line.rstrip(b"\n").split(None, 5)
            if fields[3] == device and len(fields) == 6:
                yield Hold.MAP, os.fsdecode(fields[5])


def fdinfo(pid: int) -> Iterator[tuple[str, bytes]]:
    """Yield each descriptor of a process, and what the kernel says of it; nothing if it is not ours to see."""
    with contextlib.suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fdinfo"):
            with contextlib.suppress(FileNotFoundError), open(f"/proc/{pid}/fdinfo/{fd}", "rb") as file:
                yield fd, file.read()


def link(path: str) -> str:
    """Return where a link of /proc leads, "" if that is not ours to know."""
    try:
        return os.readlink(path)
    except OSError:
        return ""
