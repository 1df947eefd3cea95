"""The one error of this package, whose text is for people.

    Cannot mount on /mnt/x: you may not open /dev/fuse (mode 0600, owner root). Run it with sudo, or ...

A sentence names the cause, the next one the cure; there is no full stop at the end, so that a
caller can go on. Each module writes the sentences about what it knows; what they share is here.
"""

from __future__ import annotations

import errno
from typing import Final

__all__ = ["CONTAINER", "MountError", "cannot_mount", "cannot_unmount", "not_permitted"]

CONTAINER: Final = "--device /dev/fuse --cap-add SYS_ADMIN"  # what a container must be started with


class MountError(OSError):
    """A mount cannot be made, ended or reached. `str()` is a sentence for people, `errno` is for programs."""

    def __init__(self, code: int, sentence: str, filename: str | None = None) -> None:
        super().__init__(code, sentence, filename)

    def __str__(self) -> str:
        return str(self.strerror)


def cannot_mount(mountpoint: str, code: int, why: str) -> MountError:
    """Build the error of `mount`; `why` is cause and cure."""
    return MountError(code, f"Cannot mount on {mountpoint}: {why}", mountpoint)


def cannot_unmount(mountpoint: str, code: int, why: str) -> MountError:
    """Build the error of `unmount`; `why` is cause and cure."""
    return MountError(code, f"Cannot unmount {mountpoint}: {why}", mountpoint)


def not_permitted(error: OSError) -> bool:
    """Tell whether a system call failed for want of a right. AppArmor says EACCES where the kernel says EPERM."""
    return error.errno in (errno.EPERM, errno.EACCES)
