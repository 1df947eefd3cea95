"""Keeping what is written into the page cache, and telling the daemon when somebody needs it.

Pages get dirty by write(2) under WRITEBACK_CACHE, and by shared mappings always. They are written
(write_pages.py) by fsync, close, msync, munmap and chmod, by whoever drops pages, and by the
flusher once they are old.

    cached_write.py   how write(2) makes pages dirty
    write_pages.py    pages are sent
    times.py          times are sent
    here              who waits until all is sent, and who holds it back

Lock order: inode semaphore, the semaphore `sync` of its writing back, page lock. Truncation,
chmod, fsync and direct I/O forbid WRITEs (`no_writes`) while they hold the inode semaphore, and
must not wait for a page under writeback until they allow them again.

Source: fs/fuse/file.c, fuse_fsync, fuse_set_nowrite; fs/fs-writeback.c, writeback_single_inode.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final

from fusewire.errors import os_error
from fusewire.kernel.operations.times import flush_dirty_times, sync_times
from fusewire.kernel.operations.write_pages import forget_clean, send_queued, state_of, wait_written, write_pages
from fusewire.kernel.tasks import Task
from fusewire.kernel.waitq import Sleep, WaitQueue

if TYPE_CHECKING:
    from fusewire.kernel.vfs.inode import Inode
    from fusewire.kernel.vfs.open_file import OpenFile
    from fusewire.kernel.vfs.superblock import Superblock

__all__ = [
    "check_failures",
    "no_writes",
    "sync_inodes",
    "sync_writes",
    "wait_for_writes",
    "write_and_wait",
    "write_back",
    "write_before_fsync",
    "write_inode",
]

EXPIRE: Final = 30.0  # seconds after which the flusher writes what is dirty (vm.dirty_expire_centisecs)


# Waiting for it.


async def write_and_wait(inode: Inode, first: int = 0, last: int | None = None) -> None:
    """Send the dirty pages `first` to `last`, and wait for all that are under way (filemap_write_and_wait_range).

    Raises:
        OSError: EIO or ENOSPC if a WRITE failed and nobody has been told; EIO as `write_pages`.
    """
    writeback = inode.writeback
    if writeback is None:
        return
    failed: OSError | None = None
    try:
        await write_pages(inode, first, last)
        await wait_written(inode, first, last)
    except OSError as error:
        failed = error
    code = writeback.take_error()
    if failed is not None or code:
        raise failed or os_error(code)


async def write_inode(inode: Inode) -> None:
    """Send all that the daemon has not been told, pages and then times, and wait (write_inode_now).

    Whoever is writing it back is waited for first: what he sends is not dirty any more, nor safe yet.

    Raises:
        OSError: as `write_and_wait`, or as `flush_times`.
    """
    writeback = inode.writeback
    if writeback is None or not (writeback.is_unsaved or writeback.sync.holders):
        return
    async with writeback.sync.exclusive():
        if writeback.is_unsaved:
            await _write_pages_and_times(inode)
    forget_clean(inode)


async def _write_pages_and_times(inode: Inode) -> None:
    """Write both, though the first may fail, whose error it then is."""
    failed: OSError | None = None
    for write in (write_and_wait, flush_dirty_times):
        try:
            await write(inode)
        except OSError as error:
            failed = failed or error
    if failed is not None:
        raise failed


async def write_before_fsync(file: OpenFile, first: int = 0, last: int | None = None) -> None:
    """Do all that fsync does before FSYNC. The caller holds the inode semaphore.

    Raises:
        OSError: what a WRITE failed with since `file` was last told; EIO as `write_pages`; or as
            `flush_times`.

    Source: fs/fuse/file.c, fuse_fsync.
    """
    inode = file.inode
    if inode.writeback is None:
        return
    await write_pages(inode, first, last)
    await wait_written(inode, first, last)
    check_failures(file)
    await sync_writes(inode)
    check_failures(file)
    await sync_times(inode)


def check_failures(file: OpenFile) -> None:
    """Tell `file` of a WRITE that failed since it was last told (file_check_and_advance_wb_err).

    Raises:
        OSError: the errno of that WRITE.
    """
    writeback = file.inode.writeback
    code = writeback.take_failure(file) if writeback is not None else 0
    if code:
        raise os_error(code)


# Holding it back.


class NoWrites:
    """No WRITE of an inode's pages is in flight, and none is sent, during the block."""

    __slots__ = ("inode",)

    def __init__(self, inode: Inode) -> None:
        self.inode = inode

    async def __aenter__(self) -> None:
        writeback = state_of(self.inode)
        assert not writeback.forbidden, "who forbids WRITEs holds the inode semaphore"
        writeback.forbidden = True
        try:
            await writeback.waitq.sleep(until=lambda: not writeback.in_flight, depth=Sleep.UNINTERRUPTIBLE)
        except BaseException:
            self._allow()
            raise

    async def __aexit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        self._allow()

    def _allow(self) -> None:
        state_of(self.inode).forbidden = False
        send_queued(self.inode)


def no_writes(inode: Inode) -> NoWrites:
    """Wait, uninterruptibly, until no WRITE of pages is in flight, and hold others back during the block.

    What is held back is sent at its end, as far as the file then reaches. The caller holds the
    inode semaphore. Source: fs/fuse/dir.c, fuse_set_nowrite.
    """
    return NoWrites(inode)


async def sync_writes(inode: Inode) -> None:
    """Wait, uninterruptibly, until no WRITE is in flight (fuse_sync_writes). The caller holds the inode semaphore."""
    if inode.writeback is not None:
        async with no_writes(inode):
            pass


# The flusher.


async def write_back(superblock: Superblock, older_than: float = EXPIRE) -> None:
    """Send what has been dirty for `older_than` seconds, not waiting for the answers, as the flusher does."""
    oldest = superblock.system.clock.now() - older_than
    for inode in list(superblock.dirty_inodes):
        if inode.writeback is not None and inode.writeback.dirty_since <= oldest:
            await _held(inode, _write_unless_others_do)


async def sync_inodes(superblock: Superblock) -> None:
    """Have the flusher send all that is dirty; errors are kept for who asks (sync_filesystem).

    He is nobody, and tells the times without waiting for the WRITEs. Nor are these waited for by who
    syncs: a daemon that syncs itself would wait for itself (AS_NO_DATA_INTEGRITY).
    """
    over, waitq = False, WaitQueue("the flusher's work")

    async def work() -> None:
        nonlocal over
        try:
            await _send_all(superblock)
        finally:
            over = True
            waitq.wake_all()

    superblock.system.runner.start(Task(f"flusher {superblock.dev}, for syncfs", work()))
    await waitq.sleep(lambda: over, Sleep.UNINTERRUPTIBLE)


async def wait_for_writes(superblock: Superblock) -> None:
    """Wait until no WRITE of pages is under way (fuse_sync_fs_writes)."""
    for inode in list(superblock.inodes.values()):
        if inode.writeback is not None and inode.writeback.under_way:
            await _held(inode, wait_written)


async def _send_all(superblock: Superblock) -> None:
    for inode in list(superblock.dirty_inodes):
        await _held(inode, _send_pages_and_times)


async def _held(inode: Inode, what: Callable[[Inode], Awaitable[None]]) -> None:
    """Do something about an inode that may lose its last user meanwhile; nobody is told of an error."""
    inode.hold()
    try:
        await what(inode)
    except OSError:
        pass  # kept for who asks, or the connection is gone
    finally:
        inode.drop()


async def _send_pages_and_times(inode: Inode) -> None:
    """Send all of an inode, waiting for who is at it, but for no answer to a WRITE of ours."""
    async with state_of(inode).sync.exclusive():
        await write_pages(inode)
        await flush_dirty_times(inode)
    forget_clean(inode)


async def _write_unless_others_do(inode: Inode) -> None:
    """Send pages and times without waiting for pages; nothing if somebody is at it (writeback_sb_inodes)."""
    writeback = inode.writeback
    if writeback is None or writeback.sync.holders:
        return
    async with writeback.sync.exclusive():
        await write_pages(inode, wait=False)
        await flush_dirty_times(inode)
    forget_clean(inode)
