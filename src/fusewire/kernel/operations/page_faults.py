"""Page faults: a process touches memory that is not there, and sleeps until it is.

A fault on a file finds or creates the page, locks it and, if it is not up to date, has it read:
the READ goes to the daemon while the page is locked. Whoever else touches the page meanwhile waits
for the lock, and if that is the thread that must answer the READ, nobody goes on (kernel.txt,
scenario 2). The wait for the lock can be ended by a kill, the READ only as any request.

    load                     the page of the cache, for as long as it stays there
    store, private mapping   a copy of its own, which the file never sees
    store, shared mapping    the page itself, once it is not under writeback; times and the dirty
                             bit are set here, and again after each time it was written back

A page that cannot be read, or lies beyond the end of the file, is a SIGBUS; no area there, or one
that does not permit it, a SIGSEGV. System calls say EFAULT to both.

Source: mm/filemap.c, filemap_fault, filemap_map_pages; mm/memory.c, do_fault; fs/fuse/file.c,
fuse_page_mkwrite.
"""

from __future__ import annotations

import errno
import mmap
from typing import TYPE_CHECKING, Final

from fusewire.errors import os_error
from fusewire.events import Step, named
from fusewire.kernel.operations.readahead import async_readahead, read_around, state_of, sync_readahead
from fusewire.kernel.operations.reading import read_locked
from fusewire.kernel.operations.releasing import put_file
from fusewire.kernel.operations.times import touch
from fusewire.kernel.operations.write_pages import mark_dirty
from fusewire.kernel.tasks import step
from fusewire.kernel.user_memory import BusError, MemoryFault, SegmentationFault
from fusewire.kernel.vfs.page_cache import PAGE, Page, PageCache
from fusewire.kernel.waitq import Sleep

if TYPE_CHECKING:
    from fusewire.kernel.vfs.address_space import AddressSpace, Area
    from fusewire.kernel.vfs.inode import Inode
    from fusewire.kernel.vfs.open_file import OpenFile

__all__ = ["MemoryRange", "fault_in", "load", "store"]

AROUND: Final = 16  # pages that one fault maps if they are in the cache (fault_around_bytes)
TO_LOAD: Final = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC  # what can be written or executed can be read


async def fault_in(space: AddressSpace, address: int, write: bool = False) -> Page:
    """Return the page at `address`, present and, with `write`, ready to be stored to.

    Raises:
        SegmentationFault: nothing is mapped there, or not for this.
        BusError: the file ends before it, or it could not be read.
        OSError: EINTR if the task was killed while it waited.
    """
    area = space.find(address)
    if area is None or not area.prot & (mmap.PROT_WRITE if write else TO_LOAD):
        raise SegmentationFault(address)
    return area.present(address // PAGE, write) or await do_page_fault(space, area, address, write)


@named("do_page_fault")
async def do_page_fault(space: AddressSpace, area: Area, address: int, write: bool) -> Page:
    """Bring the page at `address` into `area`; errors as `fault_in`."""
    number = address // PAGE
    if area.file is None:
        return _give(area, number, None)
    file = area.file.hold()  # the area may be unmapped while we sleep
    try:
        while True:
            page = await _file_fault(area, file, number, write)
            if space.find(address) is not area:
                return await fault_in(space, address, write)
            if page is not None:
                return page
    except MemoryFault:
        raise
    except OSError as error:
        if error.errno == errno.EINTR:
            raise
        raise BusError(address) from error
    finally:
        put_file(file)


def _give(area: Area, number: int, original: Page | None) -> Page:
    """Give `area` a page of its own, with the contents of `original` if any."""
    page = area.own[number] = Page(number)
    page.uptodate = True
    if original is not None:
        page.data[:] = original.data
    return page


async def _file_fault(area: Area, file: OpenFile, number: int, write: bool) -> Page | None:
    """Do what do_read_fault, do_cow_fault and do_shared_fault do; None if it has to be done again."""
    if not write and (page := _map_around(area, file.inode, number)) is not None:
        return page
    page = area.present(number, write=False)
    if page is None:
        page = await _locked_page(file, area, number)
        page.unlock()
        if number in area.own:  # another thread's fault was faster
            return area.own[number]
    if not write:
        area.table[number] = page
    elif not area.shared:
        return _give(area, number, page)
    elif not await _make_writable(area, file.inode, number, page):
        return None
    return page


def _map_around(area: Area, inode: Inode, number: int) -> Page | None:
    """Map the pages around `number` that can be had without waiting; return the one that is wanted if it is one."""
    cache = PageCache.of(inode)
    pages = (inode.attr.size + PAGE - 1) // PAGE
    first = max(number // AROUND * AROUND, area.start // PAGE)
    for near in range(first, min(number // AROUND * AROUND + AROUND, area.end // PAGE)):
        page = cache.find(area.index(near))
        if page is not None and page.uptodate and not page.locked and not page.mark and page.index < pages:
            area.table[near] = page
    return area.present(number, write=False)


async def _locked_page(file: OpenFile, area: Area, number: int) -> Page:
    """Return the page of the file that belongs at `number`, uptodate and locked by us (filemap_fault).

    Raises:
        OSError: EFAULT if the file ends before it; EINTR if we were killed; whatever READ failed with.
    """
    cache, index = PageCache.of(file.inode), area.index(number)
    while True:
        _check_size(file.inode, index)
        await step(Step.FIND_PAGE, about=f"page {index}")
        await _readahead(file, area.advice, index, cache.find(index))
        page = cache.get(index)
        await page.lock(Sleep.KILLABLE)
        if page.cached and page.uptodate and index * PAGE < file.inode.attr.size:
            return page
        if page.cached and not page.uptodate:
            await read_locked(file, page)
        else:
            page.unlock()


async def _readahead(file: OpenFile, advice: int, index: int, page: Page | None) -> None:
    """Have pages read that may be wanted next, and `index` too if it is absent (do_sync_mmap_readahead)."""
    state = state_of(file)
    if advice == mmap.MADV_RANDOM:
        return
    if page is None and advice == mmap.MADV_SEQUENTIAL and state.pages:
        await sync_readahead(file, index, state.pages)
    elif page is None:
        await read_around(file, index)
    else:
        state.misses = max(0, state.misses - 1)
        if page.mark:
            await async_readahead(file, page, state.pages)


def _check_size(inode: Inode, index: int) -> None:
    if index * PAGE >= inode.attr.size:
        raise os_error(errno.EFAULT)


async def _make_writable(area: Area, inode: Inode, number: int, page: Page) -> bool:
    """Let `area` store to `page`, once it is not under writeback; False if it was dropped (fuse_page_mkwrite)."""
    touch(inode)
    await page.lock()
    try:
        if not page.cached:
            return False
        await page.wait_writeback()
        mark_dirty(inode, page)
        if page.writers is None:
            page.writers = set()
        page.writers.add(area)
        area.table[number] = page
        return True
    finally:
        page.unlock()


# What a program does, and what system calls do for it.


async def load(space: AddressSpace, address: int, size: int) -> bytes:
    """Return `size` bytes of memory; errors as `fault_in`."""
    parts: list[bytes] = []
    while size > 0:
        start = address % PAGE
        page = await fault_in(space, address)
        parts.append(bytes(page.data[start : start + min(size, PAGE - start)]))
        address += len(parts[-1])
        size -= len(parts[-1])
    return b"".join(parts)


async def store(space: AddressSpace, address: int, data: bytes) -> None:
    """Put `data` into memory; errors as `fault_in`, after what lies before the fault was stored."""
    done = 0
    while done < len(data):
        start = (address + done) % PAGE
        piece = data[done : done + PAGE - start]
        page = await fault_in(space, address + done, write=True)
        page.data[start : start + len(piece)] = piece
        done += len(piece)


class MemoryRange:
    """A buffer in the memory of a process (`UserBuffer`), which may fault."""

    __slots__ = ("_area", "_held", "_offset", "address", "length", "space")

    def __init__(self, space: AddressSpace, address: int, length: int) -> None:
        self.space = space
        self.address = address
        self.length = length
        self._area: Area | None = None
        self._held: Page | None = None
        self._offset = 0  # of the buffer, at which the page begins that is held

    def __len__(self) -> int:
        return self.length

    async def fault_in(self, offset: int, write: bool = False) -> int:
        self._held = None
        address = self.address + offset
        page = await fault_in(self.space, address, write)
        start = address % PAGE
        self._area, self._held, self._offset = self.space.find(address), page, offset - start
        return min(PAGE - start, self.length - offset)

    def load(self, offset: int, size: int) -> bytes:
        assert self._held is not None, "a buffer is faulted in before it is used"
        start = offset - self._offset
        return bytes(self._held.data[start : start + size])

    def store(self, offset: int, data: bytes | memoryview) -> None:
        assert self._held is not None, "a buffer is faulted in before it is used"
        start = offset - self._offset
        self._held.data[start : start + len(data)] = data
        area = self._area
        if area is not None and area.file is not None and self._held.cached and not self._held.dirty and area.shared:
            mark_dirty(area.file.inode, self._held)  # it was written back since it was faulted in
