"""INIT: the first message of a connection, by which both ends settle what the other can do.

We offer a version and flags; the daemon answers with the flags that it wants and its limits. Until
then no other request passes the gate. If the answer is no good the gate opens all the same, and
every request fails with ECONNREFUSED.

We offer what Linux offers to a plain mount, and like Linux we take an answer as it is, whether or
not it was offered. A kernel of an older minor offers what was known by then (`SINCE`), and does not
see what its successors would.

mount(2) does not wait for the answer, unless the daemon has asked for that (SYNC_INIT): then a mount
whose INIT fails is no mount, and killing whoever mounts ends the connection.

Source: fs/fuse/inode.c, fuse_new_init, process_init_reply and process_init_limits; the list of
versions in include/uapi/linux/fuse.h.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fusewire.errors import os_error
from fusewire.kernel.request import Request
from fusewire.kernel.tasks import running
from fusewire.wire import (
    FUSE_KERNEL_MINOR_VERSION,
    FUSE_KERNEL_VERSION,
    FUSE_NAME_MAX,
    InitFlags,
    InitIn,
    InitOut,
    join_init_flags,
    split_init_flags,
)

if TYPE_CHECKING:
    from fusewire.kernel.connection import Connection

__all__ = [
    "SINCE",
    "Settings",
    "Sysctls",
    "exchange_init",
    "known_flags",
    "negotiate",
    "offered_flags",
    "send_init",
    "user_limit",
]

PAGE: Final = 4096
MAX_PAGES: Final = 32  # in one request, unless the daemon asks for another number
READAHEAD: Final = 32 * PAGE  # bytes; the default of a backing device
SECOND: Final = 1_000_000_000  # nanoseconds
MEMORY: Final = 16 << 30  # bytes of the machine that is modelled, whichever one runs it

SINCE: Final = {  # the first minor whose kernel knows a flag
    InitFlags.FUSE_ASYNC_READ: 6,
    InitFlags.FUSE_POSIX_LOCKS: 7,
    InitFlags.FUSE_FILE_OPS: 9,
    InitFlags.FUSE_ATOMIC_O_TRUNC: 9,
    InitFlags.FUSE_EXPORT_SUPPORT: 10,
    InitFlags.FUSE_BIG_WRITES: 9,
    InitFlags.FUSE_DONT_MASK: 12,
    InitFlags.FUSE_SPLICE_WRITE: 14,
    InitFlags.FUSE_SPLICE_MOVE: 14,
    InitFlags.FUSE_SPLICE_READ: 14,
    InitFlags.FUSE_FLOCK_LOCKS: 17,
    InitFlags.FUSE_HAS_IOCTL_DIR: 18,
    InitFlags.FUSE_AUTO_INVAL_DATA: 20,
    InitFlags.FUSE_DO_READDIRPLUS: 21,
    InitFlags.FUSE_READDIRPLUS_AUTO: 21,
    InitFlags.FUSE_ASYNC_DIO: 22,
    InitFlags.FUSE_WRITEBACK_CACHE: 23,
    InitFlags.FUSE_NO_OPEN_SUPPORT: 23,
    InitFlags.FUSE_PARALLEL_DIROPS: 25,
    InitFlags.FUSE_HANDLE_KILLPRIV: 26,
    InitFlags.FUSE_POSIX_ACL: 26,
    InitFlags.FUSE_ABORT_ERROR: 27,
    InitFlags.FUSE_MAX_PAGES: 28,
    InitFlags.FUSE_CACHE_SYMLINKS: 28,
    InitFlags.FUSE_NO_OPENDIR_SUPPORT: 29,
    InitFlags.FUSE_EXPLICIT_INVAL_DATA: 30,
    InitFlags.FUSE_MAP_ALIGNMENT: 31,
    InitFlags.FUSE_SUBMOUNTS: 32,
    InitFlags.FUSE_HANDLE_KILLPRIV_V2: 33,
    InitFlags.FUSE_SETXATTR_EXT: 33,
    InitFlags.FUSE_INIT_EXT: 36,
    InitFlags.FUSE_INIT_RESERVED: 36,
    InitFlags.FUSE_SECURITY_CTX: 36,
    InitFlags.FUSE_HAS_INODE_DAX: 36,
    InitFlags.FUSE_CREATE_SUPP_GROUP: 38,
    InitFlags.FUSE_HAS_EXPIRE_ONLY: 38,
    InitFlags.FUSE_DIRECT_IO_ALLOW_MMAP: 39,
    InitFlags.FUSE_PASSTHROUGH: 40,
    InitFlags.FUSE_NO_EXPORT_SUPPORT: 40,
    InitFlags.FUSE_HAS_RESEND: 40,
    InitFlags.FUSE_ALLOW_IDMAP: 41,
    InitFlags.FUSE_OVER_IO_URING: 42,
    InitFlags.FUSE_REQUEST_TIMEOUT: 43,
}
NOT_OFFERED: Final = (
    InitFlags.FUSE_FILE_OPS
    | InitFlags.FUSE_MAP_ALIGNMENT  # to DAX
    | InitFlags.FUSE_HAS_INODE_DAX
    | InitFlags.FUSE_SUBMOUNTS  # to virtiofs
    | InitFlags.FUSE_INIT_RESERVED
    | InitFlags.FUSE_PASSTHROUGH  # a matter of the kernel's configuration
    | InitFlags.FUSE_OVER_IO_URING
)


def user_limit(memory: int) -> int:
    """Return the default of `max_user_bgreq` and `max_user_congthresh` with so many bytes of memory.

    A request counts as 392 bytes, and all of one user's may take one part in 8192 (sanitize_global_limit).
    """
    return min((memory >> 13) // 392, 0xFFFF)


@dataclass(frozen=True, slots=True)
class Sysctls:
    """What the system's administrator has set, in /proc/sys/fs/fuse and as parameters of the module."""

    default_request_timeout: int = 0  # seconds; 0 is none
    max_request_timeout: int = 0
    max_pages_limit: int = 256  # pages in one request
    max_user_bgreq: int = user_limit(MEMORY)  # `max_background` of an ordinary user's daemon
    max_user_congthresh: int = user_limit(MEMORY)


@dataclass(frozen=True, slots=True)
class Settings:
    """What both ends have settled on; the defaults hold until INIT is answered."""

    minor: int = FUSE_KERNEL_MINOR_VERSION  # the daemon's
    flags: int = 0  # InitFlags
    max_readahead: int = READAHEAD  # bytes
    max_write: int = 0  # bytes of data in one WRITE
    max_pages: int = MAX_PAGES  # of 4096 bytes, in one request
    name_max: int = 1024  # bytes of a name
    max_background: int = 12
    congestion_threshold: int = 9
    time_gran: int = 1  # nanoseconds
    request_timeout: int = 0  # seconds; 0 if the daemon does not mind


def known_flags(minor: int) -> int:
    """Return the flags that a kernel of this minor version knows."""
    return sum(flag for flag, since in SINCE.items() if since <= minor)


def offered_flags(minor: int) -> int:
    """Return the flags that a kernel of this minor version offers to a plain mount."""
    return known_flags(minor) & ~NOT_OFFERED


def send_init(connection: Connection) -> None:
    """Queue INIT, and have its answer open the gate. Does not wait."""
    connection.send_background(_init(connection))


async def exchange_init(connection: Connection) -> None:
    """Send INIT and wait until it is answered (SYNC_INIT). A kill aborts the connection.

    Raises:
        OSError: ENOTCONN if the answer is no good, or none came.
    """
    request = _init(connection)
    request.kill_aborts = True
    try:
        await connection.send(request)
    except OSError:
        pass  # `init_answered` has been told
    finally:
        connection.drop(request)
    if connection.refused or not connection.connected:
        raise os_error(errno.ENOTCONN)


def _init(connection: Connection) -> Request:
    """Take a request, past the gate, and fill in an INIT of the kernel's own."""
    flags, flags2 = split_init_flags(offered_flags(connection.minor) & ~connection.withheld)
    request = connection.pool.take_unasked()
    connection.num_waiting += 1
    request.ask("INIT", 0, InitIn(FUSE_KERNEL_VERSION, connection.minor, READAHEAD, flags, flags2))
    request.end = init_answered
    return request


def init_answered(request: Request) -> None:
    """Open the gate; if the answer is an error, or not ours to understand, to ECONNREFUSED alone."""
    connection = request.connection
    settings = None
    if not request.error and request.reply is not None:
        task = running()
        privileged = task is None or task.process is None or task.process.credentials.privileged
        settings = negotiate(request.reply.structs[0], connection.minor, connection.sysctls, privileged)
    if settings is not None and settings.flags & InitFlags.FUSE_ALLOW_IDMAP and not _checks_permissions(connection):
        settings = None
    connection.open_gate(settings)


def _checks_permissions(connection: Connection) -> bool:
    return connection.superblock is None or connection.superblock.options.default_permissions


def negotiate(
    answer: InitOut,
    minor: int = FUSE_KERNEL_MINOR_VERSION,
    sysctls: Sysctls = Sysctls(),
    privileged: bool = True,
) -> Settings | None:
    """Return what the daemon's `answer` makes of the connection; None if it speaks another protocol.

    Args:
        minor: the kernel's.
        privileged: whether the daemon may exceed the limits for ordinary users.
    """
    if answer.major != FUSE_KERNEL_VERSION:
        return None
    flags = _understood(answer) & known_flags(minor)
    max_pages = MAX_PAGES
    if flags & InitFlags.FUSE_MAX_PAGES:
        max_pages = min(max(answer.max_pages, 1), sysctls.max_pages_limit)
    return Settings(
        minor=answer.minor,
        flags=flags,
        max_readahead=min(READAHEAD, answer.max_readahead // PAGE * PAGE) if answer.minor >= 6 else READAHEAD,
        max_write=max(PAGE, answer.max_write) if answer.minor >= 5 else PAGE,
        max_pages=max_pages,
        name_max=FUSE_NAME_MAX if flags & InitFlags.FUSE_MAX_PAGES and max_pages > 1 else 1024,
        max_background=_limit(answer, answer.max_background, 12, None if privileged else sysctls.max_user_bgreq),
        congestion_threshold=_limit(
            answer, answer.congestion_threshold, 9, None if privileged else sysctls.max_user_congthresh
        ),
        time_gran=answer.time_gran if 1 <= answer.time_gran <= SECOND else 1,
        request_timeout=answer.request_timeout if flags & InitFlags.FUSE_REQUEST_TIMEOUT else 0,
    )


def _understood(answer: InitOut) -> int:
    """Return the flags of `answer` as its minor version means them."""
    if answer.minor < 6:
        return 0
    flags = join_init_flags(answer.flags, answer.flags2)
    if answer.minor < 9:
        flags &= ~InitFlags.FUSE_EXPORT_SUPPORT
    if answer.minor < 17:  # flock(2) went where fcntl(2) went
        flags &= ~InitFlags.FUSE_FLOCK_LOCKS
        flags |= InitFlags.FUSE_FLOCK_LOCKS if flags & InitFlags.FUSE_POSIX_LOCKS else 0
    return flags


def _limit(answer: InitOut, asked: int, default: int, most: int | None) -> int:
    if answer.minor < 13 or not asked:
        return default
    return asked if most is None else min(asked, most)
