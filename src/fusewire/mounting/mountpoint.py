"""The place to mount on: found, looked at, and cleared of corpses, without ever hanging.

It is opened with O_PATH, which sends no request to a daemon that may serve it. The descriptor
tells the path without symlinks and the mount that shows there, and it is what is mounted on:
nobody can put another directory in its place meanwhile.

Any directory will do, an empty one or not, and a regular file. (A mountpoint *inside* another
FUSE mount is reached through that mount's daemon, like any path.)
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from shlex import quote
from typing import Self

from fusewire.mounting.corpses import bury
from fusewire.mounting.errors import MountError, cannot_mount
from fusewire.mounting.processes import command, servers
from fusewire.mounting.table import MountInfo, lies_in, mount_id_of, read_table

__all__ = ["Mountpoint", "free_mountpoint", "look_up"]


@dataclass(slots=True)
class Mountpoint:
    """A place in the tree, held until the end of a `with`. `fd` is open with O_PATH."""

    fd: int
    path: str  # absolute, without symlinks
    mount: MountInfo | None  # that shows there; None if it is out of our sight

    @property
    def is_fuse_root(self) -> bool:
        return self.mount is not None and self.mount.is_fuse and self.mount.mountpoint == self.path

    @property
    def mode(self) -> int:
        """Its st_mode. If it lies in a FUSE mount, that mount's daemon is asked."""
        return os.fstat(self.fd).st_mode

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)


def look_up(path: str) -> Mountpoint:
    """Follow a path, through symlinks, and no further than to the root of a mount.

    Raises:
        OSError: ENOENT, ENOTDIR, EACCES, ELOOP; ENOTCONN if it lies inside a dead mount.
    """
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        mount_id = mount_id_of(fd)
        mount = next((mount for mount in read_table() if mount.mount_id == mount_id), None)
        return Mountpoint(fd, os.readlink(f"/proc/thread-self/fd/{fd}"), mount)
    except BaseException:
        os.close(fd)
        raise


def free_mountpoint(path: str) -> Mountpoint:
    """Find a place to mount on, and unmount what is dead there.

    Raises:
        MountError: there is no such place, or it is neither a directory nor a regular file, or is taken.
    """
    try:
        clear(path)
        point = look_up(path)
    except MountError:
        raise
    except OSError as error:
        raise unusable(path, error) from error
    try:
        refuse_special(point)
    except BaseException:
        os.close(point.fd)
        raise
    return point


def refuse_special(point: Mountpoint) -> None:
    mode = point.mode
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise cannot_mount(point.path, errno.ENOTDIR, "it is neither a directory nor a regular file")


def clear(path: str) -> None:
    with look_up(path) as point:
        if not point.is_fuse_root:
            return
    try:
        mount = bury(point.path)
    except OSError as error:
        why = f"a mount whose daemon is dead is in the way, and not yours. Remove it: sudo umount {quote(point.path)}"
        raise cannot_mount(path, error.errno or errno.EPERM, why) from error
    if mount is not None and mount.is_fuse and mount.mountpoint == point.path:
        raise taken(mount)


def taken(mount: MountInfo) -> MountError:
    """Say what is mounted there already."""
    served = ", ".join(f"{command(pid)} (pid {pid})" for pid in servers(mount.connection))
    what = f"{mount.source}, type {mount.fstype}" + (f", served by {served}" if served else "")
    cure = f"Unmount it first: fusewire umount {quote(mount.mountpoint)}"
    return cannot_mount(mount.mountpoint, errno.EBUSY, f"there is a FUSE mount already ({what}). {cure}")


def unusable(path: str, error: OSError) -> MountError:
    """Say why a path leads nowhere."""
    code = error.errno or errno.EIO
    if str(error.filename).startswith("/proc/"):
        return cannot_mount(path, code, "there is no /proc to look it up. Mount that first: mount -t proc proc /proc")
    if code == errno.ENOENT and os.path.islink(path):
        return cannot_mount(path, code, f"it is a symlink to {os.readlink(path)}, where nothing is")
    why = {
        errno.ENOENT: f"there is no such directory. Make it first: mkdir -p {quote(path)}",
        errno.ENOTDIR: "something on the way to it is no directory",
        errno.EACCES: "you may not enter a directory on the way to it",
        errno.ENOTCONN: f"it lies inside a mount whose daemon is dead. Unmount that first: {burial(path)}",
    }
    return cannot_mount(path, code, why.get(code, error.strerror or str(error)))


def burial(path: str) -> str:
    """Return the command that removes the mount which `path` is in."""
    above = [mount.mountpoint for mount in read_table() if mount.is_fuse and lies_in(path, mount.mountpoint)]
    return f"fusewire umount {quote(max(above, key=len, default=path))}"
