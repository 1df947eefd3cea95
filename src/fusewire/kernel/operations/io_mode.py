"""Through the page cache or past it: how the daemon wants a file to be read and written.

What OPEN's reply says decides (FOPEN_*):

    nothing        through the page cache, which is emptied first
    KEEP_CACHE     through the page cache as it is
    DIRECT_IO      each read is a READ, each write a WRITE
    PASSTHROUGH    by a file of the daemon's own; refused, since no daemon can register one here

Those who use the page cache of an inode and those who write past it side by side must not meet.
`iocachectr` counts the former upwards, the latter downwards. Who wants to use the cache waits until
nobody writes past it; who wants to write past it while others use it takes a lock that excludes
other writers (direct_io.py). A file counts from its open until its RELEASE, one with DIRECT_IO only
once it is mapped.

Source: fs/fuse/iomode.c.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from fusewire.errors import os_error
from fusewire.kernel.waitq import Sleep, WaitQueue
from fusewire.wire import OpenFlags

if TYPE_CHECKING:
    from fusewire.kernel.vfs.inode import Inode
    from fusewire.kernel.vfs.open_file import OpenFile

__all__ = ["choose_mode", "direct_io_waitq", "leave_mode", "use_page_cache"]


async def choose_mode(file: OpenFile) -> None:
    """Hold `file`, just opened, to the mode that the daemon has chosen.

    Raises:
        OSError: EIO if it cannot be.
    """
    if not file.opened:
        return  # a daemon without OPEN is not held to a mode
    if not file.open_flags & OpenFlags.FOPEN_DIRECT_IO:
        file.open_flags &= ~OpenFlags.FOPEN_PARALLEL_DIRECT_WRITES
    if file.open_flags & OpenFlags.FOPEN_PASSTHROUGH:
        raise os_error(errno.EIO)  # there is no file to pass it through to
    if not file.open_flags & OpenFlags.FOPEN_DIRECT_IO:
        await use_page_cache(file)


async def use_page_cache(file: OpenFile) -> None:
    """Count `file` among those who use its inode's page cache, once nobody writes past that any more.

    Source: fs/fuse/iomode.c, fuse_file_cached_io_open.
    """
    inode = file.inode
    if file.cached_reference:
        return
    if inode.iocachectr < 0:
        await direct_io_waitq(inode).sleep(until=lambda: inode.iocachectr >= 0, depth=Sleep.UNINTERRUPTIBLE)
    file.cached_reference = True
    inode.iocachectr += 1


def direct_io_waitq(inode: Inode) -> WaitQueue:
    """Return where those wait who want to use the page cache of `inode` while others write past it."""
    if inode.direct_io_waitq is None:
        inode.direct_io_waitq = WaitQueue(f"direct writes to nodeid {inode.nodeid}")
    return inode.direct_io_waitq


def leave_mode(file: OpenFile) -> None:
    """Let `file`, which is closed, not count any more, and write nothing back through it."""
    if file.cached_reference:
        file.cached_reference = False
        file.inode.iocachectr -= 1
    write_files = file.inode.write_files
    if write_files is not None and file in write_files:
        write_files.remove(file)
