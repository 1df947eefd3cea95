"""Mount: from a path and options to a descriptor of /dev/fuse from which INIT can be read.

    1. the mountpoint is found, and cleared of a dead mount   mountpoint.py
    2. /dev/fuse is opened                                    device.py
    3. mount(2): root may, and so may everybody in a user namespace of his own
    4. or fusermount3, which may where we may not             helper.py

The mount is there when `mount` returns, but answers only when its device is served. Whoever
touches it before that waits, this process too; nothing here does.

Source: fs/fuse/inode.c, fuse_parse_param and fuse_fill_super.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from typing import Literal

from fusewire.mounting import syscalls
from fusewire.mounting.detach import detach
from fusewire.mounting.device import close_device, open_device, refused
from fusewire.mounting.errors import CONTAINER, MountError, cannot_mount, not_permitted
from fusewire.mounting.fusectl import connection_of_fd
from fusewire.mounting.guard import Guard
from fusewire.mounting.helper import mount_by_helper
from fusewire.mounting.mountpoint import Mountpoint, free_mountpoint
from fusewire.mounting.options import MountOptions
from fusewire.mounting.table import covering, read_table

__all__ = ["Mounted", "mount"]


@dataclass(slots=True)
class Mounted:
    """A mount that has just been made.

    `fd` belongs to the caller now, who closes it with `close_device`. With `auto_unmount` a
    guard waits for the end of this process; when the mount is over, `close` sends it home.
    """

    fd: int  # of /dev/fuse, closed at exec and in forked children
    mountpoint: str  # absolute, without symlinks
    connection: int  # its number in /sys/fs/fuse/connections
    via: Literal["mount", "fusermount3"]
    guard: Guard | None = None

    def close(self) -> None:
        """End what `auto_unmount` keeps running; a mount that is dead by now is unmounted. Idempotent.

        Call it when the descriptor is closed: the guard asks the mount whether it is dead.
        """
        guard, self.guard = self.guard, None
        if guard is not None:
            guard.release()


def mount(mountpoint: str | os.PathLike[str], options: MountOptions | None = None, kind: int | None = None) -> Mounted:
    """Mount on a directory, or a regular file, and return the device. The caller serves it.

    A mount there whose daemon is dead is unmounted first. `kind` is what the filesystem's root is,
    S_IFDIR or S_IFREG: on anything else Linux would find fault with each answer. None is unknown.

    Raises:
        MountError: with cause and cure in its text. EBUSY: there is a FUSE mount that lives;
            ENOENT, ENOTDIR, EISDIR, EACCES: of the mountpoint, or /dev/fuse; EPERM: this user may not.
    """
    options = MountOptions() if options is None else options
    if not os.fspath(mountpoint):  # abspath would make the current directory of it
        raise cannot_mount("''", errno.ENOENT, "the path is empty")
    with free_mountpoint(os.path.abspath(mountpoint)) as point:
        refuse_other_kind(point, kind)
        guard = Guard(point.path) if options.auto_unmount else None
        fd = -1
        try:
            fd, via = attach(point, options)
            return Mounted(fd, point.path, connection_of(fd, point.path), via, guard)
        except BaseException:
            if fd >= 0:  # it is mounted, but no descriptor is left to see by whom it is to be served
                close_device(fd)
                detach(point.path, lazy=True)
            if guard is not None:
                guard.release()
            raise


def refuse_other_kind(point: Mountpoint, kind: int | None) -> None:
    """Refuse to mount a directory on a file, or a file on a directory."""
    if kind is None or stat.S_IFMT(point.mode) == kind:
        return
    if stat.S_ISDIR(kind):
        raise cannot_mount(point.path, errno.ENOTDIR, "it is a file, and the filesystem a directory: name a directory")
    raise cannot_mount(point.path, errno.EISDIR, "it is a directory, and the filesystem a file: name a file")


def attach(point: Mountpoint, options: MountOptions) -> tuple[int, Literal["mount", "fusermount3"]]:
    """Mount in the way that is allowed; return the device, and the way."""
    try:
        return attach_directly(point, options), "mount"
    except MountError:
        raise
    except OSError as error:
        if os.geteuid() == 0 or not not_permitted(error):
            raise explain(point.path, error) from error
    return mount_by_helper(point.path, os.fstat(point.fd), options), "fusermount3"


def attach_directly(point: Mountpoint, options: MountOptions) -> int:
    """Mount by mount(2); return the device.

    Raises:
        MountError: there is no device.
        OSError: what mount(2) says.
    """
    try:
        fd = open_device()
    except OSError as error:
        raise refused(point.path, error) from error
    try:
        fstype = f"fuse.{options.subtype}" if options.subtype else "fuse"
        target = f"/proc/thread-self/fd/{point.fd}"
        syscalls.mount(options.fsname, target, fstype, options.mount_flags, mount_data(fd, point.mode, options))
    except BaseException:
        close_device(fd)
        raise
    return fd


def mount_data(fd: int, mode: int, options: MountOptions) -> str:
    """Return what mount(2) wants beside source, type and flags."""
    data = f"fd={fd},rootmode={stat.S_IFMT(mode):o},user_id={os.geteuid()},group_id={os.getegid()}"
    data += ",allow_other" if options.allow_other else ""
    data += ",default_permissions" if options.default_permissions else ""
    return data + (f",max_read={options.max_read}" if options.max_read else "")


def connection_of(fd: int, path: str) -> int:
    """Return the connection that a device serves: the kernel tells since 6.18, and before it the table of mounts."""
    connection = connection_of_fd(fd)
    if connection is None:
        mount = covering(read_table(), path)
        assert mount is not None
        connection = mount.connection
    return connection


def explain(mountpoint: str, error: OSError) -> MountError:
    """Say why mount(2) refused."""
    code = error.errno or errno.EIO
    if not_permitted(error):
        why = "this process may not mount, though it is root: it lacks CAP_SYS_ADMIN over its mount namespace"
        more = " --security-opt apparmor=unconfined" if code == errno.EACCES else ""
        return cannot_mount(mountpoint, code, f"{why}. If this is a container, start it with {CONTAINER}{more}")
    reasons = {
        errno.ENODEV: "the kernel has no FUSE. Load it with: sudo modprobe fuse",
        errno.ENOSPC: "this mount namespace is full: see /proc/sys/fs/mount-max",
        errno.EINVAL: "mount(2) says EINVAL. The kernel's log may say which option it refuses: sudo dmesg",
    }
    return cannot_mount(mountpoint, code, reasons.get(code, f"mount(2) says: {error.strerror}"))
