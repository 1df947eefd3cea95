"""mount(2), umount2(2) and fsmount(2), which Python does not have.

ctypes releases Python's lock meanwhile, so other threads can serve a mount that is unmounted.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

__all__ = [
    "MNT_DETACH",
    "MNT_FORCE",
    "MS_DIRSYNC",
    "MS_LAZYTIME",
    "MS_NOATIME",
    "MS_NODEV",
    "MS_NODIRATIME",
    "MS_NOEXEC",
    "MS_NOSUID",
    "MS_NOSYMFOLLOW",
    "MS_RDONLY",
    "MS_RELATIME",
    "MS_STRICTATIME",
    "MS_SYNCHRONOUS",
    "mount",
    "mount_nowhere",
    "umount",
]

# include/uapi/linux/mount.h
MS_RDONLY: Final = 1
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_SYNCHRONOUS: Final = 16
MS_DIRSYNC: Final = 128
MS_NOSYMFOLLOW: Final = 256
MS_NOATIME: Final = 1024
MS_NODIRATIME: Final = 2048
MS_RELATIME: Final = 1 << 21
MS_STRICTATIME: Final = 1 << 24
MS_LAZYTIME: Final = 1 << 25

MNT_FORCE: Final = 1  # abort the connection, then try
MNT_DETACH: Final = 2  # take it out of the tree now, end it with its last user
UMOUNT_NOFOLLOW: Final = 8

FSOPEN, FSCONFIG, FSMOUNT = 430, 431, 432  # the same numbers on every architecture but Alpha
CLOEXEC: Final = 1
FSCONFIG_CMD_CREATE: Final = 6

libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, fstype: str, flags: int, data: str) -> None:
    """Mount, as mount(2) does.

    Raises:
        OSError: whatever mount(2) says.
    """
    arguments = (os.fsencode(source), os.fsencode(target), os.fsencode(fstype), ctypes.c_ulong(flags), data.encode())
    if libc.mount(*arguments) == -1:
        raise last_error(target)


def umount(target: str, flags: int = 0) -> None:
    """Unmount what is topmost at `target`, which may not be a symlink.

    Raises:
        OSError: EBUSY if it is in use; EPERM without CAP_SYS_ADMIN; EINVAL if it is no mountpoint.
    """
    if libc.umount2(os.fsencode(target), flags | UMOUNT_NOFOLLOW) == -1:
        raise last_error(target)


def mount_nowhere(fstype: str) -> int:
    """Mount a filesystem that has no source or options at no place; return its root, open with O_PATH.

    The mount lives as long as that descriptor.

    Raises:
        OSError: EPERM for who may not mount it; ENOSYS before Linux 5.2.
    """
    context = called(fstype, FSOPEN, fstype.encode(), CLOEXEC)
    try:
        called(fstype, FSCONFIG, context, FSCONFIG_CMD_CREATE, None, None, 0)
        return called(fstype, FSMOUNT, context, CLOEXEC, 0)
    finally:
        os.close(context)


def called(filename: str, *arguments: int | bytes | None) -> int:
    result: int = libc.syscall(*arguments)
    if result == -1:
        raise last_error(filename)
    return result


def last_error(filename: str) -> OSError:
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code), filename)
