"""Times that we keep, and the SETATTR that tells them to the daemon.

Under WRITEBACK_CACHE mtime and ctime of a regular file are ours: a write sets them here, and they go
out after the pages, or when somebody asks for them to be safe. What is written at the very time that
the file bears already changes no time: so it is on Linux, whose clock ticks some 250 times a second,
and so it is while our clock stands still.

Source: fs/inode.c, file_update_time; fs/fuse/dir.c, fuse_update_ctime and fuse_flush_times.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from fusewire.events import named
from fusewire.kernel.operations.releasing import put_file
from fusewire.kernel.operations.write_pages import forget_clean, note_dirty, state_of, wait_written
from fusewire.kernel.vfs.attr import STATX_CTIME
from fusewire.wire import SetattrIn, SetattrValid

if TYPE_CHECKING:
    from fusewire.kernel.vfs.inode import Inode

__all__ = [
    "flush_dirty_times",
    "flush_time_update",
    "flush_times",
    "sync_times",
    "touch",
    "update_cached_ctime",
    "update_ctime",
]

SECOND: Final = 1_000_000_000  # nanoseconds
FIRST_CTIME_MINOR: Final = 23


def touch(inode: Inode) -> None:
    """Set mtime and ctime to now, if they are ours to keep (file_update_time)."""
    attr, now = inode.attr, _now(inode)
    if inode.written_back and not (attr.mtime, attr.mtimensec) == (attr.ctime, attr.ctimensec) == now:
        attr.mtime, attr.mtimensec = attr.ctime, attr.ctimensec = now
        _dirty_times(inode)


async def update_ctime(inode: Inode) -> None:
    """Note that the file has changed otherwise than in its data: ctime is now, and the daemon is told at once.

    Where the daemon keeps the time, it is to be asked for it. Source: fs/fuse/dir.c, fuse_update_ctime.
    """
    inode.invalidate(STATX_CTIME)
    await update_cached_ctime(inode)


async def update_cached_ctime(inode: Inode) -> None:
    """Set ctime to now, if it is ours to keep; even if no time has passed (fuse_update_ctime_in_cache)."""
    if inode.written_back:
        inode.attr.ctime, inode.attr.ctimensec = _now(inode)
        _dirty_times(inode)
        await flush_time_update(inode)


def _dirty_times(inode: Inode) -> None:
    writeback = state_of(inode)
    note_dirty(inode, writeback)
    writeback.times_dirty = True


def _now(inode: Inode) -> tuple[int, int]:
    seconds, nanoseconds = divmod(inode.superblock.system.clock.wall(), SECOND)
    return seconds, nanoseconds - nanoseconds % inode.superblock.connection.settings.time_gran


@named("fuse_flush_times")
async def flush_times(inode: Inode) -> None:
    """Tell the daemon mtime and ctime, through a file that is open for writing if there is one (fuse_flush_times).

    Raises:
        OSError: as the daemon says.
    """
    attr = inode.attr
    connection = inode.superblock.connection
    body = SetattrIn(SetattrValid.FATTR_MTIME, mtime=attr.mtime, mtimensec=attr.mtimensec)
    if connection.settings.minor >= FIRST_CTIME_MINOR:
        body.valid |= SetattrValid.FATTR_CTIME
        body.ctime, body.ctimensec = attr.ctime, attr.ctimensec
    file = inode.write_files[0].hold() if inode.write_files else None
    if file is not None:
        body.valid |= SetattrValid.FATTR_FH
        body.fh = file.fh
    try:
        await connection.ask("SETATTR", inode.nodeid, body)
    finally:
        if file is not None:
            put_file(file)


async def flush_time_update(inode: Inode) -> None:
    """Tell the daemon at once of times that changed here; an error is kept for who asks."""
    try:
        await sync_times(inode)
    except OSError as error:
        state_of(inode).fail(error.errno or errno.EIO)


async def sync_times(inode: Inode) -> None:
    """Tell the daemon the times if they have changed; errors as `flush_times` (sync_inode_metadata).

    Whoever writes the inode back is waited for first, though all may be clean then; so are pages on their way.
    """
    writeback = inode.writeback
    if writeback is None or not (writeback.times_dirty or writeback.sync.holders):
        return
    async with writeback.sync.exclusive():
        await wait_written(inode)
        await flush_dirty_times(inode)
    forget_clean(inode)


async def flush_dirty_times(inode: Inode) -> None:
    """Tell the daemon the times if they have changed since; errors as `flush_times`."""
    if inode.writeback is not None and inode.writeback.times_dirty:
        inode.writeback.times_dirty = False
        await flush_times(inode)
