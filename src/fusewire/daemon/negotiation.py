"""INIT: what the kernel offers, what we take, and the limits that hold from then on.

The kernel names its version and every feature that it has; the reply names ours and the
features that it shall use. It does not check the reply against its offer, so we do: nothing
is asked for that was not offered.

Three sorts of features are taken: those that any filesystem is better with, those that follow
from which methods it has (a lock goes to a filesystem that has `setlk`, and stays in the
kernel otherwise), and those in its `init_flags`.

Source: fs/fuse/inode.c, process_init_reply; include/uapi/linux/fuse.h.
"""

from __future__ import annotations

import errno
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from fusewire.errors import os_error
from fusewire.wire import FUSE_KERNEL_MINOR_VERSION, FUSE_KERNEL_VERSION, InitFlags, InitIn, InitOut

__all__ = ["Agreement", "Limits", "negotiate"]

PAGE: Final = 4096
OLDEST_MINOR: Final = 12  # of Linux 2.6.31: before it, CREATE and MKNOD had other bodies

ALWAYS: Final = (
    InitFlags.FUSE_ASYNC_READ
    | InitFlags.FUSE_BIG_WRITES
    | InitFlags.FUSE_AUTO_INVAL_DATA
    | InitFlags.FUSE_ASYNC_DIO
    | InitFlags.FUSE_PARALLEL_DIROPS
    | InitFlags.FUSE_MAX_PAGES
    | InitFlags.FUSE_HAS_IOCTL_DIR
    | InitFlags.FUSE_NO_OPEN_SUPPORT
    | InitFlags.FUSE_NO_OPENDIR_SUPPORT
    | InitFlags.FUSE_SETXATTR_EXT
    | InitFlags.FUSE_HAS_EXPIRE_ONLY
    | InitFlags.FUSE_HAS_RESEND
)

BY_METHOD: Final = {  # operation: what its method makes worth having
    "READDIRPLUS": InitFlags.FUSE_DO_READDIRPLUS | InitFlags.FUSE_READDIRPLUS_AUTO,
    "SETLK": InitFlags.FUSE_POSIX_LOCKS | InitFlags.FUSE_FLOCK_LOCKS,
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What is asked of the kernel. Bytes, but for the numbers of background requests."""

    max_write: int = 1 << 20  # and of a read: Linux bounds both by pages
    max_readahead: int = 1 << 20  # what the kernel offers, if that is less
    max_background: int = 64  # readaheads, asynchronous direct I/O... under way at once
    congestion_threshold: int = 48  # from here on, the kernel holds back what can wait

    @property
    def buffer_size(self) -> int:
        """Bytes of a buffer into which every request fits."""
        return self.max_write + PAGE


@dataclass(frozen=True, slots=True)
class Agreement:
    """What both ends have settled on."""

    minor: int  # of the ABI: the lesser of ours and the kernel's
    flags: int  # InitFlags that are in use
    max_write: int  # bytes

    @property
    def setxattr_ext(self) -> bool:
        return bool(self.flags & InitFlags.FUSE_SETXATTR_EXT)


def negotiate(offer: InitIn, limits: Limits, flags: int, present: Collection[str]) -> tuple[Agreement | None, InitOut]:
    """Answer the kernel's INIT. `flags` are wanted by the filesystem, `present` are its operations.

    A kernel of a later major version is answered with ours, and asks again: no agreement yet.

    Raises:
        OSError: EPROTO if the kernel is older than 7.12, of 2009.
    """
    if offer.major > FUSE_KERNEL_VERSION:
        return None, InitOut(major=FUSE_KERNEL_VERSION, minor=FUSE_KERNEL_MINOR_VERSION)
    if offer.major < FUSE_KERNEL_VERSION or offer.minor < OLDEST_MINOR:
        raise os_error(errno.EPROTO)
    offered = offer.flags | (offer.flags2 << 32 if offer.flags & InitFlags.FUSE_INIT_EXT else 0)
    wanted = ALWAYS | flags | InitFlags.FUSE_INIT_EXT
    for operation, useful in BY_METHOD.items():
        wanted |= useful if operation in present else 0
    taken = wanted & offered
    max_write = limits.max_write if taken & InitFlags.FUSE_MAX_PAGES else min(limits.max_write, 32 * PAGE)
    reply = InitOut(
        major=FUSE_KERNEL_VERSION,
        minor=FUSE_KERNEL_MINOR_VERSION,
        max_readahead=min(offer.max_readahead, limits.max_readahead),
        flags=taken & 0xFFFFFFFF,
        flags2=taken >> 32,
        max_background=limits.max_background,
        congestion_threshold=limits.congestion_threshold,
        max_write=max_write,
        time_gran=1,
        max_pages=max_write // PAGE,
    )
    return Agreement(min(offer.minor, FUSE_KERNEL_MINOR_VERSION), taken, max_write), reply
