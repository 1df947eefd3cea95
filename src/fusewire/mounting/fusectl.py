"""Connections by their number: how many requests wait, and the way to end them all.

The number is the minor of the mount's device, and the name of a directory in a filesystem of
the kernel's own, fusectl. It belongs to the user who mounted. Nothing here touches the mount.

Where it is not mounted, as in most containers, root of the machine can reach it all the same, in
a mount that has no place.

Numbers are used again at once: look one up and use it, do not keep it.

Source: fs/fuse/control.c.
"""

from __future__ import annotations

import errno
import os
from typing import Final

from fusewire.mounting.errors import MountError
from fusewire.mounting.syscalls import mount_nowhere
from fusewire.mounting.table import read_table

__all__ = ["CONNECTIONS", "abort", "connection_of_fd", "waiting"]

CONNECTIONS: Final = "/sys/fs/fuse/connections"


def waiting(connection: int) -> int:
    """Return how many requests have no answer yet: queued, read by the daemon, or held back.

    Raises:
        MountError: ENOTCONN if there is no such connection; EACCES if it is another user's;
            ENOENT if fusectl is not mounted.
    """
    with os.fdopen(opened(connection, "waiting", os.O_RDONLY), "rb") as file:
        text = file.read()
    if not text:  # it ended between open and read
        raise gone(connection)
    return int(text)


def abort(connection: int) -> None:
    """End a connection: who waits gets ECONNABORTED, who comes ENOTCONN, the daemon ENODEV.

    The mount stays, dead, until it is unmounted. A second time does nothing.

    Raises:
        MountError: as for `waiting`.
    """
    fd = opened(connection, "abort", os.O_WRONLY)
    try:
        os.write(fd, b"1")
    finally:
        os.close(fd)


def opened(connection: int, name: str, flags: int) -> int:
    """Open a file of a connection; the caller closes it.

    Raises:
        MountError: as for `waiting`.
    """
    try:
        return os.open(path(connection, name), flags | os.O_CLOEXEC)
    except OSError as error:
        if error.errno != errno.ENOENT or is_mounted():
            raise explain(connection, error) from error
        return opened_nowhere(connection, name, flags, error)


def opened_nowhere(connection: int, name: str, flags: int, absent: OSError) -> int:
    try:
        root = mount_nowhere("fusectl")
    except OSError:
        raise explain(connection, absent) from absent
    try:
        return os.open(f"{connection}/{name}", flags | os.O_CLOEXEC, dir_fd=root)
    except FileNotFoundError:
        raise gone(connection) from None
    finally:
        os.close(root)


def connection_of_fd(fd: int) -> int | None:
    """Return the connection that a descriptor of /dev/fuse serves.

    None if it serves none, or is something else, or before Linux 6.18, which does not tell.
    """
    with open(f"/proc/thread-self/fdinfo/{fd}", "rb") as file:
        return connection_in(file.read())


def connection_in(fdinfo: bytes) -> int | None:
    """Read a file of /proc/PID/fdinfo."""
    _, found, rest = fdinfo.partition(b"fuse_connection:")
    return int(rest.split()[0]) if found else None


def path(connection: int, name: str) -> str:
    return f"{CONNECTIONS}/{connection}/{name}"


def explain(connection: int, error: OSError) -> MountError:
    if error.errno == errno.EACCES:
        why = f"The FUSE connection {connection} is another user's: run it with sudo"
        return MountError(errno.EACCES, why, path(connection, ""))
    if error.errno != errno.ENOENT:
        return MountError(error.errno or errno.EIO, f"The FUSE connection {connection}: {error.strerror}")
    if is_mounted():
        return gone(connection)
    cure = f"sudo mount -t fusectl none {CONNECTIONS}"
    why = f"The FUSE connection {connection} cannot be reached: fusectl is not mounted. Mount it with: {cure}"
    return MountError(errno.ENOENT, why, CONNECTIONS)


def is_mounted() -> bool:
    return any(mount.mountpoint == CONNECTIONS and mount.fstype == "fusectl" for mount in read_table())


def gone(connection: int) -> MountError:
    return MountError(errno.ENOTCONN, f"There is no FUSE connection {connection}", path(connection, ""))
