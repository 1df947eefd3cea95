"""/dev/fuse: opened for a mount that is to be, cloned for one that is.

Source: fs/fuse/dev.c, fuse_dev_open, fuse_dev_ioctl_clone.
"""

from __future__ import annotations

import errno
import fcntl
import os
import pwd
import stat
import struct
from typing import Final

from fusewire.mounting.errors import CONTAINER, MountError, cannot_mount
from fusewire.mounting.fork import close_in_children, no_fork

__all__ = ["DEVICE", "clone_device", "close_device", "open_device", "refused"]

DEVICE: Final = "/dev/fuse"
FUSE_DEV_IOC_CLONE: Final = 0x8004E500  # _IOR(229, 0, uint32_t)


def open_device() -> int:
    """Open a device that serves no mount yet. It is closed in forked children and at exec.

    Raises:
        OSError: for which `refused` has a sentence.
    """
    with no_fork:
        fd = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
        close_in_children(fd)
    return fd


def close_device(fd: int) -> None:
    """Close a descriptor of the device; the last one of a connection aborts it."""
    close_in_children(fd, False)
    os.close(fd)


def clone_device(fd: int) -> int:
    """Open a further descriptor of the connection that `fd` serves, with a queue of its own for what it reads.

    A reply goes to the descriptor from which its request was read. When a clone is closed, the
    requests read from it end with ECONNABORTED.

    Raises:
        OSError: EPERM if `fd` serves no mount; EINVAL if it is no device; what opening /dev/fuse says.
    """
    clone = open_device()
    try:
        fcntl.ioctl(clone, FUSE_DEV_IOC_CLONE, struct.pack("=I", fd))
    except OSError:
        close_device(clone)
        raise
    return clone


def refused(mountpoint: str, error: OSError) -> MountError:
    """Say why the device could not be opened."""
    match error.errno:
        case errno.ENOENT:
            why = f"there is no {DEVICE}. Load it with: sudo modprobe fuse; or start the container with {CONTAINER}"
        case errno.ENODEV | errno.ENXIO:
            why = f"the kernel has no FUSE behind {DEVICE}. Load it with: sudo modprobe fuse"
        case errno.EACCES:
            cure = f"Run it with sudo, or let everybody: sudo chmod 0666 {DEVICE}"
            why = f"you may not open {DEVICE}{mode_and_owner()}. {cure}"
        case errno.EPERM:
            why = f"the rules of this container forbid {DEVICE}. Start it with {CONTAINER}"
        case _:
            why = f"{DEVICE} cannot be opened ({error.strerror})"
    return cannot_mount(mountpoint, error.errno or errno.EIO, why)


def mode_and_owner() -> str:
    try:
        found = os.stat(DEVICE)
    except OSError:
        return ""
    return f" (mode {stat.S_IMODE(found.st_mode):04o}, owner {user_name(found.st_uid)})"


def user_name(uid: int) -> str:
    """Return the name of a user, or the number of one who has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
