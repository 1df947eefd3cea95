"""Unmount: at once, when it is idle, or whatever it takes.

    plain    only when nobody uses it: tries for a moment, then names who does
    lazy     out of the tree now; who has it open keeps it, and it is served until he lets go
    force    aborted, then out of the tree: who waits for it fails now, who has it open later

Each works on a mount that hangs and on one whose daemon is dead, for none touches the mount:
a path is compared with the table of mounts before anything is opened.

Source: fs/namespace.c, do_umount; fs/fuse/inode.c, fuse_umount_begin.
"""

from __future__ import annotations

import errno
import os
import time
from shlex import quote
from typing import Final

from fusewire.mounting import fusectl
from fusewire.mounting.detach import detach
from fusewire.mounting.errors import MountError, cannot_unmount
from fusewire.mounting.mountpoint import look_up
from fusewire.mounting.processes import Holder, holders
from fusewire.mounting.syscalls import MNT_FORCE, umount
from fusewire.mounting.table import MountInfo, covering, read_table

__all__ = ["abort", "unmount"]

PAUSE: Final = 0.05  # seconds between two tries
NAMED: Final = 6  # holders; more only make the sentence longer


def unmount(
    mountpoint: str | os.PathLike[str], *, lazy: bool = False, force: bool = False, timeout: float = 2.0
) -> None:
    """Unmount a FUSE mount, whoever made it.

    Args:
        timeout: seconds for which a plain one waits until nobody uses the mount.

    Raises:
        MountError: EBUSY if it is in use, naming by whom; EINVAL if there is no FUSE mount; EPERM
            if it is another user's; ENOENT for no such path.
    """
    mount = find(os.fspath(mountpoint))
    if force:
        end(mount)
    try:
        if lazy or force:
            detach(mount.mountpoint, lazy=True)
        else:
            detach_when_idle(mount, timeout)
    except MountError:
        raise
    except OSError as error:
        if is_mounted(mount):  # else somebody was faster
            raise explain(mount, error) from error


def abort(connection: int) -> None:
    """End a connection: who waits gets ECONNABORTED, who comes ENOTCONN. The mount stays, dead.

    By fusectl; where that is not mounted, by umount2(2) with MNT_FORCE, which aborts first. (If
    nobody uses the mount, it is then gone.)

    Raises:
        MountError: ENOTCONN if there is none; EACCES or ENOENT if there is no way to reach it.
    """
    try:
        fusectl.abort(connection)
    except MountError as error:
        if error.errno == errno.ENOTCONN or not abort_by_force(connection):
            raise


def abort_by_force(connection: int) -> bool:
    """Abort through a mount of the connection that we can reach; return whether it worked."""
    table = read_table()
    for mount in table:
        if mount.is_fuse and mount.connection == connection and covering(table, mount.mountpoint) == mount:
            try:
                umount(mount.mountpoint, MNT_FORCE)
            except OSError as error:
                return error.errno == errno.EBUSY  # it was aborted before it was found to be in use
            return True
    return False


def end(mount: MountInfo) -> None:
    try:
        abort(mount.connection)
    except MountError as error:
        if error.errno != errno.ENOTCONN:
            raise


def detach_when_idle(mount: MountInfo, timeout: float) -> None:
    """Try to unmount until it works, or `timeout` seconds are over."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            return detach(mount.mountpoint, lazy=False)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            if time.monotonic() >= deadline:
                raise busy(mount) from error
        time.sleep(PAUSE)


def is_mounted(mount: MountInfo) -> bool:
    return any(other.mount_id == mount.mount_id for other in read_table())


# --- finding it


def find(path: str) -> MountInfo:
    """Return the FUSE mount on `path`.

    Raises:
        MountError: EINVAL if there is none; ENOENT if there is not even a path.
    """
    if not path:  # abspath would make the current directory of it
        raise cannot_unmount("''", errno.ENOENT, "the path is empty")
    absolute = os.path.abspath(path)
    mount = covering(read_table(), absolute)
    if mount is None or (mount.mountpoint != absolute and not mount.is_fuse):
        absolute, mount = follow(absolute)  # nothing that could hang lies on the way, but for symlinks
    if mount is None or mount.mountpoint != absolute:
        inside = f"; it is a path in the mount on {mount.mountpoint}" if mount is not None and mount.is_fuse else ""
        raise cannot_unmount(path, errno.EINVAL, f"nothing is mounted there{inside}")
    if not mount.is_fuse:
        cure = f"To unmount it nevertheless: umount {quote(mount.mountpoint)}"
        raise cannot_unmount(path, errno.EINVAL, f"what is mounted there is not FUSE but {mount.fstype}. {cure}")
    return mount


def follow(path: str) -> tuple[str, MountInfo | None]:
    try:
        with look_up(path) as point:
            return point.path, point.mount
    except OSError as error:
        raise cannot_unmount(path, error.errno or errno.EIO, error.strerror or str(error)) from error


# --- saying why not


def explain(mount: MountInfo, error: OSError) -> MountError:
    code, why = error.errno or errno.EIO, error.strerror or str(error)
    if code == errno.EPERM:
        owner = f"It belongs to uid {mount.user_id}; you are uid {os.geteuid()}. "
        why += f". {owner if mount.user_id != os.geteuid() else ''}Run it with sudo"
    return cannot_unmount(mount.mountpoint, code, why)


def busy(mount: MountInfo) -> MountError:
    """Say who uses a mount."""
    found = holders(mount)
    below = [child.mountpoint for child in read_table() if child.parent_id == mount.mount_id]
    reasons = [*shortened(found), *(f"another mount lies on it: {path}" for path in below)]
    who = ", ".join(reasons) or "by whom cannot be seen (a process of another user, or the kernel itself)"
    cure = f"Wait for that, or take it out of the tree: fusewire umount --lazy {quote(mount.mountpoint)}"
    return cannot_unmount(mount.mountpoint, errno.EBUSY, f"it is in use: {who}. {cure}")


def shortened(found: list[Holder]) -> list[str]:
    more = [f"and {len(found) - NAMED} more"] if len(found) > NAMED else []
    return [*map(str, found[:NAMED]), *more]
