"""READ of several pages at once, most of them before anybody has asked for them.

Whoever reads a file from its beginning, or on from where he stopped, will read on. So a miss in
the cache reads a *window*, and leaves a *mark* on one of its pages: who comes to the mark, though
he finds what he wants, starts the next window, twice as large, until it is as large as the
connection allows (`max_readahead`). One who jumps about reads what he asked for.

    start            start + size
    |----------------|          what was last read
              ^ mark, `async_size` pages before its end

Nothing is read beyond the end of the file, as far as it is known.

A window becomes READs of at most `max_pages` and `max_read`, its pages locked until the daemon
has answered. Under ASYNC_READ they go out in the background and hold the open file, so that its
RELEASE waits for them; else the reader waits for one after the other. When the daemon is behind
with its work (`congestion_threshold`), what nobody has asked for is not read.

Source: mm/readahead.c; fs/fuse/file.c, fuse_readahead, fuse_readpages_end. Pages are of 4096 bytes:
fuse has no larger folios in 6.18, so the order by which mm/readahead.c rounds a window is 2.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from fusewire.events import named
from fusewire.kernel.operations.releasing import put_file
from fusewire.kernel.vfs.attr import STATX_ATIME
from fusewire.kernel.vfs.page_cache import PAGE, PageCache
from fusewire.kernel.vfs.readahead import Readahead
from fusewire.wire import InitFlags, ReadIn

if TYPE_CHECKING:
    from fusewire.kernel.connection import Connection
    from fusewire.kernel.request import Request
    from fusewire.kernel.vfs.inode import Inode
    from fusewire.kernel.vfs.open_file import OpenFile
    from fusewire.kernel.vfs.page_cache import Page

__all__ = ["async_readahead", "force_readahead", "read_around", "short_read", "state_of", "sync_readahead"]

IO_PAGES: Final = 32  # the most that one who asks for more than a window gets at once (bdi->io_pages)
CHUNK: Final = 512  # pages that are read at once by force: 2 MiB
WORD: Final = 1 << 64
ALIGN: Final = 4  # pages to which the end of a window is rounded down
MISSES: Final = 100  # page faults, less hits, after which a mapping is not read ahead any more (MMAP_LOTSAMISS)


def state_of(file: OpenFile) -> Readahead:
    """Return what is remembered of how `file` is read, from its first read on."""
    state = file.readahead
    if state is None:
        state = file.readahead = Readahead(file.inode.superblock.connection.settings.max_readahead // PAGE)
    return state


# How large a window is.


def first_size(wanted: int, most: int) -> int:
    """Return the length of the first window of one who reads on, and misses `wanted` pages (get_init_ra_size)."""
    size = 1 << (wanted - 1).bit_length()
    if size <= most // 32:
        return 4 * size
    return 2 * size if size <= most // 4 else most


def next_size(size: int, most: int) -> int:
    """Return the length of the window after one of `size` pages (get_next_ra_size)."""
    if size < most // 16:
        return 4 * size
    return 2 * size if size <= most // 2 else most


def largest(state: Readahead, wanted: int) -> int:
    return min(wanted, IO_PAGES) if wanted > state.pages and state.pages < IO_PAGES else state.pages


async def sync_readahead(file: OpenFile, index: int, wanted: int) -> None:
    """Read page `index`, which is absent and the first of `wanted`, with what may be wanted next.

    Raises nothing: a page that cannot be read is left not uptodate (page_cache_sync_ra).
    """
    state = state_of(file)
    if not state.pages:
        await force_readahead(file, index, 1)
        return
    if state.random:
        await force_readahead(file, index, wanted)
        return
    most = largest(state, wanted)
    if index == 0 or wanted > most or (index - ((state.prev_pos % WORD) >> 12)) % WORD <= 1:
        state.start, state.size = index, first_size(wanted, most)
        state.async_size = state.size - wanted if state.size > wanted else state.size >> 1
    elif not _follow_history(file, state, index, wanted, most):
        await _read_window(file, index, wanted, 0)
        return
    await _read_window(file, state.start, state.size, state.async_size)


def _follow_history(file: OpenFile, state: Readahead, index: int, wanted: int, most: int) -> bool:
    """Go by the pages before `index`: many in a row are the trace of one who reads on; False if they are few."""
    pages = PageCache.of(file.inode).pages
    missing = index - 1
    while missing >= 0 and missing > index - 1 - most and missing in pages:
        missing -= 1
    count = index - missing - 1
    if count <= wanted:
        return False
    if missing < 0:
        count *= 2  # the file is cached from its beginning on
    state.start, state.size, state.async_size = index, min(count + wanted, most), 1
    return True


async def async_readahead(file: OpenFile, page: Page, wanted: int) -> None:
    """Start the next window, for one who wants `wanted` pages from `page` on, which is marked (page_cache_async_ra)."""
    state = state_of(file)
    if not state.pages or page.writeback:
        return
    page.mark = False
    most = largest(state, wanted)
    if page.index == state.start + state.size - state.async_size:
        state.start += state.size
        state.size = max(state.size, next_size(state.size, most))
    else:
        start = _first_missing(file, page.index + 1, most)
        if start - page.index > most:
            return
        state.start = start
        state.size = next_size(start - page.index + wanted, most)
    _round_end(state, most)
    state.async_size = state.size
    await _read_window(file, state.start, state.size, state.async_size)


def _first_missing(file: OpenFile, index: int, most: int) -> int:
    pages = PageCache.of(file.inode).pages
    limit = index + most
    while index < limit and index in pages:
        index += 1
    return index


def _round_end(state: Readahead, most: int) -> None:
    align = min(ALIGN, most & -most)
    end = (state.start + state.size) // align * align
    if end > state.start:
        state.size = end - state.start


async def force_readahead(file: OpenFile, index: int, count: int) -> None:
    """Read `count` pages from `index` on, and nothing more (force_page_cache_ra)."""
    count = min(count, max(IO_PAGES, state_of(file).pages))
    while count > 0:
        await _read_window(file, index, min(count, CHUNK), 0)
        index, count = index + CHUNK, count - CHUNK


async def read_around(file: OpenFile, index: int) -> None:
    """Read the pages before and after `index`, on which there was a page fault (do_sync_mmap_readahead)."""
    state = state_of(file)
    if state.random or not state.pages:
        return
    state.misses = min(state.misses + 1, 10 * MISSES)
    if state.misses > MISSES:
        return
    state.start = max(0, index - state.pages // 2)
    state.size, state.async_size = state.pages, state.pages // 4
    await _read_window(file, state.start, state.size, state.async_size)


# Sending it.


async def _read_window(file: OpenFile, index: int, count: int, ahead: int) -> None:
    """Add the pages that are missing of `count` from `index` on, up to the end of the file, and have them read.

    The page `ahead` before the end is marked, if it was missing (page_cache_ra_unbounded).
    """
    inode = file.inode
    count = min(count, (inode.attr.size + PAGE - 1) // PAGE - index)
    if count <= 0:
        return
    cache = PageCache.of(inode)
    mark = index + count - ahead if ahead <= count else -1
    run: list[Page] = []
    for number in range(index, index + count):
        if number in cache.pages:
            if run:
                await fuse_readahead(file, cache, run)
            run = []
            continue
        page = cache.add(number)
        page.mark = number == mark
        run.append(page)
    if run:
        await fuse_readahead(file, cache, run)


@named("fuse_readahead")
async def fuse_readahead(file: OpenFile, cache: PageCache, run: list[Page]) -> None:
    """Have consecutive pages read, which are ours and locked; drop those for which there is no time now."""
    connection = file.inode.superblock.connection
    most = max(1, min(connection.settings.max_pages, file.inode.superblock.options.max_read // PAGE))
    ahead = state_of(file).async_size
    left = run
    while left and not file.inode.bad:
        if connection.background.congested and ahead >= len(left):
            break
        pages, left = left[:most], left[most:]
        await _send(file, connection, pages)
    for page in left:
        cache.drop(page)
        page.unlock()


async def _send(file: OpenFile, connection: Connection, pages: list[Page]) -> None:
    body = ReadIn(file.fh, pages[0].index * PAGE, len(pages) * PAGE, 0, 0, file.flags)
    version = connection.attr_version
    if connection.has(InitFlags.FUSE_ASYNC_READ):
        await _send_background(file, connection, pages, body, version)
        return
    data: memoryview | None = None
    try:
        data = (await connection.ask("READ", file.inode.nodeid, body)).data
    except OSError:
        pass  # who wants one of the pages asks for it again, and hears the error
    finally:
        _fill(file.inode, pages, version, data)


async def _send_background(
    file: OpenFile, connection: Connection, pages: list[Page], body: ReadIn, version: int
) -> None:
    file.hold()
    sent = False
    try:
        await connection.ask_background_gated(
            "READ", file.inode.nodeid, body, end=partial(_answered, file, pages, version)
        )
        sent = True
    except OSError:
        pass  # killed, or the connection is gone
    finally:
        if not sent:
            _fill(file.inode, pages, version, None)
            put_file(file)
    for page in pages:
        if page.locked:
            page.locker = None


def _answered(file: OpenFile, pages: list[Page], version: int, request: Request) -> None:
    data = request.reply.data if request.reply is not None and not request.error else None
    _fill(file.inode, pages, version, data)
    put_file(file)


def _fill(inode: Inode, pages: list[Page], version: int, data: memoryview | None) -> None:
    """Put `data`, the answer to a READ of `pages`, into them, and unlock them; with None they stay not uptodate."""
    if data is not None:
        for number, page in enumerate(pages):
            page.fill(data[number * PAGE : (number + 1) * PAGE])
            page.uptodate = True
        if len(data) < len(pages) * PAGE:
            short_read(inode, pages[0].index * PAGE + len(data), version)
    inode.invalidate(STATX_ATIME)
    for page in pages:
        page.unlock()


def short_read(inode: Inode, end: int, version: int) -> None:
    """Take it that the file ends at `end` bytes, unless we know better, for there a READ ended early.

    We know better if the attributes have changed since `version`, or a write is extending the
    file, or it is we who keep the size (WRITEBACK_CACHE): then it has a hole there.
    """
    if inode.superblock.connection.has(InitFlags.FUSE_WRITEBACK_CACHE):
        return
    if version >= inode.attr_version and end < inode.attr.size and not inode.size_unstable:
        inode.attr.size = end
        inode.bump()
