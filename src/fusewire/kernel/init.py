"""INIT: the first message of a connection, by which both ends settle what the other can do.

We offer a version and flags; the daemon answers with the flags that it wants and its limits. Until
then no other request passes the gate. If the answer is no good the gate opens all the same, and
every request fails with ECONNREFUSED.

We offer what Linux offers to a plain mount, and like Linux we take an answer as it is, whether or
not it was offered. Most of what the flags promise is not modelled yet; a filesystem that is served
the operations that exist cannot tell.

Not modelled yet: answers that depend on mount options (ALLOW_IDMAP), the limits of the system
(`fs.fuse.max_pages_limit`, `max_user_bgreq`) beside their defaults, a daemon that is asked to
answer before mount(2) returns (SYNC_INIT).

Source: fs/fuse/inode.c, fuse_new_init and process_init_reply.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fusewire.kernel.request import Request
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

PAGE: Final = 4096
MAX_PAGES: Final = 32  # in one request, unless the daemon asks for another number
READAHEAD: Final = 32 * PAGE  # bytes; the default of a backing device
MAX_PAGES_LIMIT: Final = 256  # default of fs.fuse.max_pages_limit
SECOND: Final = 1_000_000_000

NOT_OFFERED: Final = (
    InitFlags.FUSE_FILE_OPS
    | InitFlags.FUSE_MAP_ALIGNMENT  # to DAX
    | InitFlags.FUSE_HAS_INODE_DAX
    | InitFlags.FUSE_SUBMOUNTS  # to virtiofs
    | InitFlags.FUSE_INIT_RESERVED
    | InitFlags.FUSE_PASSTHROUGH  # a matter of the kernel's configuration
    | InitFlags.FUSE_OVER_IO_URING
)
OFFERED: Final = sum(InitFlags.BITS) & ~NOT_OFFERED


@dataclass(frozen=True, slots=True)
class Settings:
    """What both ends have settled on; the defaults hold until INIT is answered."""

    minor: int = FUSE_KERNEL_MINOR_VERSION  # the daemon's, which decides how long some structs are
    flags: int = 0  # InitFlags
    max_readahead: int = READAHEAD  # bytes
    max_write: int = 0  # bytes of data in one WRITE
    max_pages: int = MAX_PAGES  # of 4096 bytes, in one request
    name_max: int = 1024  # bytes of a name
    max_background: int = 12
    congestion_threshold: int = 9
    time_gran: int = 1  # nanoseconds
    request_timeout: int = 0  # seconds; 0 if requests may last for ever


def send_init(connection: Connection) -> None:
    """Queue INIT, and have its answer open the gate. Does not wait."""
    flags, flags2 = split_init_flags(OFFERED)
    request = Request(connection)
    request.ask("INIT", 0, InitIn(FUSE_KERNEL_VERSION, FUSE_KERNEL_MINOR_VERSION, READAHEAD, flags, flags2))
    request.end = init_answered
    connection.send_background(request)


def init_answered(request: Request) -> None:
    """Open the gate; if the answer is an error, or not ours to understand, to ECONNREFUSED alone."""
    settings = None
    if not request.error and request.reply is not None:
        settings = negotiate(request.reply.structs[0])
    request.connection.open_gate(settings)


def negotiate(answer: InitOut) -> Settings | None:
    """Return what the daemon's `answer` makes of the connection; None if it speaks another protocol."""
    if answer.major != FUSE_KERNEL_VERSION:
        return None
    flags = join_init_flags(answer.flags, answer.flags2) if answer.minor >= 6 else 0
    limits_background = answer.minor >= 13
    max_pages = min(max(answer.max_pages, 1), MAX_PAGES_LIMIT) if flags & InitFlags.FUSE_MAX_PAGES else MAX_PAGES
    return Settings(
        minor=answer.minor,
        flags=flags,
        max_readahead=min(READAHEAD, answer.max_readahead // PAGE * PAGE) if answer.minor >= 6 else READAHEAD,
        max_write=max(PAGE, answer.max_write) if answer.minor >= 5 else PAGE,
        max_pages=max_pages,
        name_max=FUSE_NAME_MAX if flags & InitFlags.FUSE_MAX_PAGES and max_pages > 1 else 1024,
        max_background=(limits_background and answer.max_background) or 12,
        congestion_threshold=(limits_background and answer.congestion_threshold) or 9,
        time_gran=answer.time_gran if 1 <= answer.time_gran <= SECOND else 1,
        request_timeout=answer.request_timeout if flags & InitFlags.FUSE_REQUEST_TIMEOUT else 0,
    )
