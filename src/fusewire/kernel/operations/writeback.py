"""Keeping what is written into the page cache, and telling the daemon when somebody needs it.

Pages get dirty by write(2) under WRITEBACK_CACHE, and by shared mappings always. They are written
(write_pages.py) by fsync, close, msync, munmap and chmod, by whoever drops pages, and by the
flusher once they are old.

Under WRITEBACK_CACHE the times of a regular file are ours, too, and go out in a SETATTR after its
pages. What is written at the very time that the file bears already changes no time: so it is on
Linux, whose clock ticks some 250 times a second, and so it is while our clock stands still.

Lock order: inode semaphore, the semaphore `sync` of its writing back, page lock. Truncation,
chmod, fsync and direct I/O forbid WRITEs (`no_writes`) while they hold the inode semaphore, and
must not wait for a page under writeback until they allow them again.

Not modelled: the limits of dirty memory but one, DIRTY_PAGES, beyond which a writer starts to
write back.

Source: fs/fuse/file.c, fuse_cache_write_iter, fuse_set_nowrite, fuse_launder_folio, fuse_fsync;
fs/fuse/dir.c, fuse_flush_times; fs/fs-writeback.c, writeback_single_inode; fs/iomap/buffered-io.c.
"""

from __future__ import annotations

import errno
from types import TracebackType
from typing import TYPE_CHECKING, Final

from fusewire.errors import os_error
from fusewire.kernel.operations import opening, reading
from fusewire.kernel.operations.write_pages import (
    clean,
    launder,
    link_write_file,
    mark_dirty,
    note_dirty,
    send_queued,
    state_of,
    wait_written,
    write_pages,
)
from fusewire.kernel.tasks import Signal, current
from fusewire.kernel.user_memory import UserBuffer, user_buffer
from fusewire.kernel.vfs.page_cache import PAGE, PageCache
from fusewire.kernel.waitq import Sleep
from fusewire.wire import SetattrIn, SetattrValid

if TYPE_CHECKING:
    from fusewire.kernel.vfs.inode import Inode
    from fusewire.kernel.vfs.open_file import OpenFile
    from fusewire.kernel.vfs.page_cache import Page
    from fusewire.kernel.vfs.superblock import Superblock

__all__ = [
    "cached_write",
    "check_failures",
    "clean",
    "flush_time_update",
    "flush_times",
    "launder",
    "link_write_file",
    "mark_dirty",
    "no_writes",
    "sync_inodes",
    "sync_writes",
    "touch",
    "touch_ctime",
    "wait_written",
    "write_and_wait",
    "write_back",
    "write_before_fsync",
    "write_inode",
    "write_pages",
]

DIRTY_PAGES: Final = 8192  # of one file, 32 MiB; a writer who finds more writes them back
EXPIRE: Final = 30.0  # seconds after which the flusher writes what is dirty (vm.dirty_expire_centisecs)
SECOND: Final = 1_000_000_000  # nanoseconds
FIRST_CTIME_MINOR: Final = 23


# Into the cache.


async def cached_write(
    file: OpenFile, offset: int, data: bytes | memoryview | UserBuffer, size: int | None = None
) -> int:
    """Put `size` bytes of `data` into the page cache, to be written back later; return how many were put there.

    The caller holds the inode semaphore, and has the size refreshed and suid taken off. A page of
    which only a part is written is read first, if the file reaches into it. Fewer bytes than given
    are the sign of an error, or of a kill, after some were written.

    Raises:
        OSError: EINTR if the caller was killed, EFAULT if `data` cannot be had, or whatever reading a
            page failed with, before a single byte was written.
    """
    inode = file.inode
    touch(inode)
    source = user_buffer(data)
    total = len(source) if size is None else size
    done = since_error = 0
    while done < total:
        start = (offset + done) % PAGE
        try:
            room = min(PAGE - start, total - done, await source.fault_in(done))
            piece = source.load(done, room)
            page = await _page_to_write(file, (offset + done) // PAGE, len(piece))
        except OSError:
            if done == 0:
                raise
            if done == since_error:
                break
            since_error = done  # tried once more, as iomap_file_buffered_write does after a part was written
            continue
        _put(inode, page, start, piece)
        done += len(piece)
        await _limit_dirty(inode)
    return done


async def _page_to_write(file: OpenFile, index: int, size: int) -> Page:
    """Return page `index`, locked, of which `size` bytes will be written and the others kept."""
    if current().signal is Signal.FATAL:
        raise os_error(errno.EINTR)
    page = await PageCache.of(file.inode).lock(index)
    try:
        await page.wait_writeback()
        if not page.uptodate and size < PAGE:
            if index * PAGE < file.inode.attr.size:
                await reading.fill_page(file, page)
            else:
                page.fill(b"")
    except BaseException:
        page.unlock()
        raise
    return page


def _put(inode: Inode, page: Page, start: int, piece: bytes | memoryview) -> None:
    page.data[start : start + len(piece)] = piece
    page.uptodate = True
    inode.attr.size = max(inode.attr.size, page.index * PAGE + start + len(piece))
    mark_dirty(inode, page)
    page.unlock()


async def _limit_dirty(inode: Inode) -> None:
    if len(state_of(inode).dirty) > DIRTY_PAGES:
        await write_pages(inode, wait=False)


# Times.


def touch(inode: Inode) -> None:
    """Set mtime and ctime to now, if they are ours to keep (file_update_time)."""
    attr, now = inode.attr, _now(inode)
    if inode.written_back and not (attr.mtime, attr.mtimensec) == (attr.ctime, attr.ctimensec) == now:
        attr.mtime, attr.mtimensec = attr.ctime, attr.ctimensec = now
        _dirty_times(inode)


def touch_ctime(inode: Inode) -> None:
    """Set ctime to now, if it is ours to keep; even if no time has passed (fuse_update_ctime)."""
    if inode.written_back:
        inode.attr.ctime, inode.attr.ctimensec = _now(inode)
        _dirty_times(inode)


def _dirty_times(inode: Inode) -> None:
    writeback = state_of(inode)
    note_dirty(inode, writeback)
    writeback.times_dirty = True


def _now(inode: Inode) -> tuple[int, int]:
    seconds, nanoseconds = divmod(inode.superblock.system.clock.wall(), SECOND)
    return seconds, nanoseconds - nanoseconds % inode.superblock.connection.settings.time_gran


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
            opening.put_file(file)


async def flush_time_update(inode: Inode) -> None:
    """Tell the daemon at once of times that changed here; an error is kept for who asks."""
    if inode.writeback is None or not inode.writeback.times_dirty:
        return
    try:
        await _flush_dirty_times(inode)
    except OSError as error:
        inode.writeback.fail(error.errno or errno.EIO)
    _forget_clean(inode)


async def _flush_dirty_times(inode: Inode) -> None:
    if inode.writeback is not None and inode.writeback.times_dirty:
        inode.writeback.times_dirty = False
        await flush_times(inode)


# Out of the cache.


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

    Raises:
        OSError: as `write_and_wait`, or as `flush_times`.
    """
    writeback = inode.writeback
    if writeback is None or not (writeback.is_dirty or writeback.under_way):
        return
    async with writeback.sync.exclusive():
        failed: OSError | None = None
        try:
            await write_and_wait(inode)
        except OSError as error:
            failed = error
        await _flush_dirty_times(inode)
    _forget_clean(inode)
    if failed is not None:
        raise failed


def _forget_clean(inode: Inode) -> None:
    if inode.writeback is not None and not inode.writeback.is_dirty:
        inode.superblock.dirty_inodes.pop(inode, None)


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
    await _flush_dirty_times(inode)
    _forget_clean(inode)


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
            await _write_quietly(inode, wait=False)


async def sync_inodes(superblock: Superblock) -> None:
    """Send all that is dirty, and wait for it; errors are kept for who asks (sync_inodes_sb)."""
    for inode in list(superblock.dirty_inodes):
        await _write_quietly(inode, wait=True)


async def _write_quietly(inode: Inode, wait: bool) -> None:
    inode.hold()
    try:
        if wait:
            await write_inode(inode)
        else:
            await write_pages(inode, wait=False)
            await _flush_dirty_times(inode)
            _forget_clean(inode)
    except OSError:
        pass  # kept for who asks, or the connection is gone
    finally:
        inode.drop()
