"""The FUSE connections of the machine, and who holds their devices.

fusectl has a directory for each, which belongs to whoever mounted:

    waiting               how many requests have no answer yet
    max_background        how many of those for which nobody waits may be with the daemon
    congestion_threshold  and from how many on writers are slowed down
    abort                 ends it

Numbers are used again as soon as a connection has ended: by another mount, of somebody else. So who
looks now and acts later opens `abort` when he looks (`Fusectl.hold`): written to after its connection
has ended, it hits nothing. And he compares `Fusectl.identity`, which no two connections share.

Who holds a device says /proc/PID/fdinfo/FD since Linux 6.16. On an older kernel a holder is
guessed, and called probable: it has /dev/fuse open, and among the connections that it can have
mounted is the only one, or the one whose mountpoint its command line names.

Not seen: a device under a name that does not end in 'fuse'; one that an io_uring alone keeps.

Source: fs/fuse/control.c; fs/fuse/dev.c, fuse_dev_show_fdinfo.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import select
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from fusewire.mounting import MountInfo
from fusewire.mounting.fusectl import CONNECTIONS, connection_in, is_mounted
from fusewire.mounting.syscalls import mount_nowhere
from fusewire.watch.mounts import Mounts
from fusewire.watch.patience import within
from fusewire.watch.proc import contents, link, names, survivor

__all__ = ["TELLS_HOLDERS", "Connection", "Fusectl", "Holding", "find_holders"]

libc: Final = ctypes.CDLL(None, use_errno=True)
PIDFD_GETFD: Final = 438  # the same number on every architecture but Alpha
UNATTACHED: Final = 0  # no connection has this number
RELEASE: Final = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))
TELLS_HOLDERS: Final = RELEASE >= (6, 16)  # whether fdinfo says which connection a device serves


class Holding(NamedTuple):
    """A descriptor of /dev/fuse in some process."""

    pid: int
    fd: int
    certain: bool  # the kernel says to which connection it belongs; else it is our guess


@dataclass
class Connection:
    """One connection, as one look shows it."""

    number: int
    waiting: int | None  # requests without an answer; None if that is not ours to know
    owner: int | None = None  # uid of who mounted it
    max_background: int | None = None
    congestion_threshold: int | None = None
    holders: list[Holding] = field(default_factory=list)
    rings: bool = False  # a holder serves through io_uring

    @property
    def holder_pids(self) -> list[int]:
        return sorted({holding.pid for holding in self.holders})


class Fusectl:
    """fusectl, opened once; where it is not mounted, mounted for us alone, if we may.

    `readable` tells whether there is any: an ordinary user in a container has none.
    """

    def __init__(self) -> None:
        self.root = open_root()
        self.aborts: dict[int, int] = {}  # descriptors, by connection

    @property
    def readable(self) -> bool:
        return self.root is not None

    def __enter__(self) -> Fusectl:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of every connection."""
        for fd in [*self.aborts.values(), *([self.root] if self.root is not None else [])]:
            os.close(fd)
        self.aborts.clear()
        self.root = None

    def connections(self) -> list[Connection]:
        """Return all connections that there are. Those of others show their number alone."""
        if self.root is None:
            return []
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.root)
        try:
            return [self._look_at(int(name)) for name in sorted(os.listdir(fd), key=int)]
        finally:
            os.close(fd)

    def _look_at(self, number: int) -> Connection:
        names = "waiting", "max_background", "congestion_threshold"
        waiting, background, threshold = (self._number(number, name) for name in names)
        return Connection(number, waiting, self._owner(number), background, threshold)

    def _owner(self, number: int) -> int | None:
        with contextlib.suppress(OSError):
            return os.stat(str(number), dir_fd=self.root).st_uid
        return None

    def identity(self, number: int) -> int | None:
        """Return what tells a connection from all others that had its number, or will; None if there is none."""
        with contextlib.suppress(OSError):
            return os.stat(str(number), dir_fd=self.root).st_ino if self.root is not None else None
        return None

    def hold(self, number: int) -> bool:
        """Open the file that ends a connection, so that `abort` ends this one or nothing; False if we may not."""
        if number not in self.aborts:
            with contextlib.suppress(OSError):
                self.aborts[number] = os.open(f"{number}/abort", os.O_WRONLY | os.O_CLOEXEC, dir_fd=self.root)
        return number in self.aborts

    def abort(self, number: int) -> bool:
        """End the connection that `hold` was called for; False if it was not, or could not be."""
        fd = self.aborts.get(number)
        return fd is not None and os.write(fd, b"1") == 1

    def _number(self, number: int, name: str) -> int | None:
        """Read a file of a connection. They can be read but once for each time they are opened."""
        with contextlib.suppress(OSError, ValueError):
            fd = os.open(f"{number}/{name}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.root)
            try:
                return int(os.read(fd, 32))
            finally:
                os.close(fd)
        return None


def open_root() -> int | None:
    """Open the root of fusectl; None if there is none for us."""
    try:
        if is_mounted():
            return os.open(CONNECTIONS, os.O_PATH | os.O_CLOEXEC)
        return mount_nowhere("fusectl")
    except OSError:
        return None


# --- who holds them


def find_holders(
    pids: Iterable[int], connections: dict[int, Connection], mounts: Mounts, passed_over: Holding | None = None
) -> dict[str, set[int]]:
    """Enter who holds the device of each connection; connections that fusectl did not tell of are added.

    Returns, because all descriptors are looked at here, which processes have each pipe and socket.
    """
    untold: list[tuple[int, int]] = []
    ends: dict[str, set[int]] = {}
    for pid in pids:
        tid, found = descriptors(pid)
        for fd, target in found:
            if target.startswith(("pipe:", "socket:")):
                ends.setdefault(target, set()).add(pid)
            if not target.removesuffix(" (deleted)").endswith("fuse"):
                continue
            info = contents(f"/proc/{tid}/fdinfo/{fd}")
            number = connection_in(info)
            if number is not None and passed_over != (pid, fd, True):
                connections.setdefault(number, Connection(number, None)).holders.append(Holding(pid, fd, True))
            elif number is None and info:
                untold.append((pid, fd))
    told = any(connection.holders for connection in connections.values())
    if not (TELLS_HOLDERS and told):  # else of those of which it tells nothing, there is nothing to tell
        guess_holders(untold, {n: one for n, one in connections.items() if not one.holders}, mounts)
    for connection in connections.values():
        connection.holders = [holding for holding in connection.holders if not is_over(holding)]
        connection.rings = any(has_ring(pid) for pid in connection.holder_pids)
    return ends


def descriptors(pid: int) -> tuple[int, list[tuple[int, str]]]:
    """Return the descriptors of a process, and what each is of; and before them the thread that /proc shows them by."""
    found = names(f"/proc/{pid}/fd")
    tid = pid if found else survivor(pid)
    return tid, [(int(name), link(f"/proc/{tid}/fd/{name}")) for name in found or names(f"/proc/{tid}/fd")]


def is_over(holding: Holding) -> bool:
    """Tell whether a device serves a connection that has ended, whose number another has by now.

    What /proc shows is the number alone, and of a device that nobody closes it never changes. But poll(2)
    tells, on a descriptor of ours for the same device, which pidfd_getfd(2) gives. If that is refused: no.
    """
    with contextlib.suppress(OSError):
        fd = take_descriptor(holding.pid, holding.fd)
        try:
            poll = select.poll()
            poll.register(fd, 0)
            return any(event & select.POLLERR for _, event in poll.poll(0))
        finally:
            os.close(fd)
    return False


def take_descriptor(pid: int, fd: int) -> int:
    """Return a descriptor of our own for what another process has open.

    Raises:
        OSError: EPERM if we may not; ESRCH if it is gone; EBADF if it has closed it; ENOSYS before Linux 5.6.
    """
    process = os.pidfd_open(pid)
    try:
        taken: int = libc.syscall(PIDFD_GETFD, process, fd, 0)
        code = ctypes.get_errno()
    finally:
        os.close(process)
    if taken == -1:
        raise OSError(code, os.strerror(code))
    return taken


def has_ring(pid: int) -> bool:
    """Tell whether a process has given /dev/fuse to an io_uring."""
    tid, found = descriptors(pid)
    rings = [fd for fd, target in found if target == "anon_inode:[io_uring]"]
    return any(b"/dev/fuse" in contents(f"/proc/{tid}/fdinfo/{fd}") for fd in rings)


def guess_holders(untold: list[tuple[int, int]], connections: dict[int, Connection], mounts: Mounts) -> None:
    """Guess which device belongs to which connection, where the kernel does not tell."""
    for number, connection in connections.items():
        points = [mount for _, mount in mounts.mounted(number)]
        able = [(pid, fd) for pid, fd in untold if may_have_mounted(pid, points)]
        named = [(pid, fd) for pid, fd in able if any(names_mountpoint(pid, mount) for mount in points)]
        alone = able if len({pid for pid, _ in able}) == 1 and len(connections) == 1 else []
        connection.holders = [Holding(pid, fd, False) for pid, fd in named or alone]


def may_have_mounted(pid: int, points: list[MountInfo]) -> bool:
    """Tell whether a process is root's, or of the user who owns the mounts."""
    with contextlib.suppress(OSError):
        uid = os.stat(f"/proc/{pid}").st_uid
        return bool(points) and uid in (0, points[0].user_id)
    return False


def names_mountpoint(pid: int, mount: MountInfo) -> bool:
    """Tell whether a command line names a mountpoint, in full or from where the process works."""
    words = within(lambda: contents(f"/proc/{pid}/cmdline"), b"").split(b"\0")
    here = link(f"/proc/{pid}/cwd")
    return any(os.path.normpath(os.path.join(here, os.fsdecode(word))) == mount.mountpoint for word in words if word)
