"""System calls: mmap and its kin; and what is no system call, a program's use of its memory.

mmap returns a `Mapping` (mapping.py), for programs outside of the kernel. Code that is itself run by
a kernel uses the coroutines here, `load` and `store`, with addresses.

A program that touches what is not there gets a signal. Here it gets an exception instead,
`SegmentationFault` or `BusError`, and lives on.

Not modelled: mremap, mlock, MAP_GROWSDOWN and what else concerns memory alone; the limits of it.

Source: mm/mmap.c, do_mmap; mm/msync.c; mm/madvise.c.
"""

from __future__ import annotations

import errno
import functools
import mmap
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar

from fusewire.errors import os_error
from fusewire.kernel.operations import page_faults
from fusewire.kernel.operations.mapping import check_mappable, fuse_file_mmap, fuse_vma_close
from fusewire.kernel.operations.readahead import force_readahead
from fusewire.kernel.operations.releasing import put_file
from fusewire.kernel.operations.syncing import fuse_fsync
from fusewire.kernel.syscalls.base import syscall
from fusewire.kernel.syscalls.mapping import Mapping
from fusewire.kernel.tasks import running
from fusewire.kernel.vfs.address_space import AddressSpace, Area, page_round
from fusewire.kernel.vfs.caller import Caller
from fusewire.kernel.vfs.page_cache import PAGE

if TYPE_CHECKING:
    from fusewire.kernel.vfs.open_file import OpenFile

__all__ = ["MAP_FIXED", "MAP_FIXED_NOREPLACE", "MS_ASYNC", "MS_INVALIDATE", "MS_SYNC", "Mapping", "Memory"]

P = ParamSpec("P")
T = TypeVar("T")
M = TypeVar("M", bound="Memory")

# include/uapi/asm-generic/mman-common.h, mman.h
MAP_SHARED_VALIDATE: Final = 0x03
MAP_TYPE: Final = 0x0F
MAP_FIXED: Final = 0x10
MAP_FIXED_NOREPLACE: Final = 0x100000
MS_ASYNC: Final = 1
MS_INVALIDATE: Final = 2
MS_SYNC: Final = 4
READ_WRITE: Final = mmap.PROT_READ | mmap.PROT_WRITE
ADVICE: Final = (mmap.MADV_NORMAL, mmap.MADV_RANDOM, mmap.MADV_SEQUENTIAL)


def instruction(
    function: Callable[Concatenate[M, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[M, P], Coroutine[Any, Any, T]]:
    """Make a method what a program does without a system call; a signal that came meanwhile is delivered."""

    @functools.wraps(function)
    async def done(self: M, /, *args: P.args, **kwargs: P.kwargs) -> T:
        task = running()
        if task is None:
            return await self.system.runner.perform(done(self, *args, **kwargs), self)
        caller, task.process = task.process, self
        try:
            result = await function(self, *args, **kwargs)
        except OSError as error:
            task.take_signals(error)
            raise
        finally:
            task.process = caller
        task.take_signals()
        return result

    return done


class Memory(Caller):
    """mmap and the memory of a process."""

    _memory: AddressSpace | None = None

    @property
    def memory(self) -> AddressSpace:
        """The process's addresses and what they stand for, made when it first maps something."""
        if self._memory is None:
            self._memory = AddressSpace()
        return self._memory

    @instruction
    async def load(self, address: int, size: int) -> bytes:
        """Read `size` bytes of memory.

        Raises:
            SegmentationFault: nothing is mapped there, or not to be read (SIGSEGV).
            BusError: the file ends before it, or could not be read (SIGBUS).
        """
        return await page_faults.load(self.memory, address, size)

    @instruction
    async def store(self, address: int, data: bytes) -> None:
        """Put `data` into memory; errors as `load`."""
        await page_faults.store(self.memory, address, data)

    def buffer(self, address: int, size: int) -> page_faults.MemoryRange:
        """Return `size` bytes of memory as what a read or a write may be given: it faults while it is copied."""
        return page_faults.MemoryRange(self.memory, address, size)

    @syscall
    async def mmap(
        self,
        fd: int,
        length: int,
        prot: int = READ_WRITE,
        flags: int = mmap.MAP_SHARED,
        offset: int = 0,
        *,
        address: int = 0,
    ) -> Mapping:
        """Map `length` bytes of `fd` from `offset` on, or with MAP_ANONYMOUS memory of its own.

        Without MAP_FIXED `address` is not looked at, and the lowest free one is taken.

        Raises:
            OSError: EBADF; EINVAL if the length is 0, the offset or a fixed address not that of a
                page, or the mapping neither shared nor private; EACCES if the file is not open
                for that; EPERM on a noexec mount; ENODEV if such a file cannot be mapped;
                EEXIST with MAP_FIXED_NOREPLACE if something is there; ENOMEM; EOPNOTSUPP.
        """
        if offset % PAGE:
            raise os_error(errno.EINVAL)
        file = None if flags & mmap.MAP_ANONYMOUS else self.opened_file(fd)
        if length <= 0:
            raise os_error(errno.EINVAL)
        size = page_round(length)
        start = await self._place(address, size, flags)
        shared = _is_shared(flags)
        if file is not None:
            check_mappable(file, prot, shared)
            file.hold()
        area = Area(start, start + size, prot, file=file, offset=offset, shared=shared)
        try:
            await self._take_in(area, flags)
        except BaseException:
            if file is not None:
                put_file(file)
            raise
        return Mapping(self, start, length)

    async def _take_in(self, area: Area, flags: int) -> None:
        """Have `area` among the areas, in place of what is there if its address is fixed."""
        if flags & (MAP_FIXED | MAP_FIXED_NOREPLACE):
            await self._unmap(area.start, area.end)
        if area.file is not None:
            await fuse_file_mmap(area, area.file)
        self.memory.add(area)

    async def _place(self, address: int, size: int, flags: int) -> int:
        if not flags & (MAP_FIXED | MAP_FIXED_NOREPLACE):
            return self.memory.free(size)
        if address % PAGE:
            raise os_error(errno.EINVAL)
        if flags & MAP_FIXED_NOREPLACE and self.memory.overlapping(address, address + size):
            raise os_error(errno.EEXIST)
        return address

    @syscall
    async def munmap(self, address: int, length: int) -> None:
        """Take away what is mapped there, telling the daemon all that is dirty in those files.

        Raises:
            OSError: EINVAL if `address` is not that of a page, or the length is 0.
        """
        if address % PAGE or length <= 0:
            raise os_error(errno.EINVAL)
        await self._unmap(address, address + page_round(length))

    async def _unmap(self, start: int, end: int) -> None:
        for area in self.memory.take(start, end):
            if area.file is not None:
                try:
                    await fuse_vma_close(area, area.file)
                finally:
                    put_file(area.file)

    async def unmap_all(self) -> None:
        """Unmap everything, as the end of a process does."""
        if self._memory is not None:
            for area in list(self._memory.areas):
                await self._unmap(area.start, area.end)

    @syscall
    async def msync(self, address: int, length: int, flags: int = MS_SYNC) -> None:
        """With MS_SYNC, write what was stored to shared mappings there, and FSYNC; else nothing.

        Raises:
            OSError: EINVAL if `address` is not that of a page, or of bad flags; ENOMEM if not
                all of it is mapped, after the rest was done; otherwise as fsync.
        """
        both = MS_ASYNC | MS_SYNC
        if flags & ~(both | MS_INVALIDATE) or address % PAGE or flags & both == both:
            raise os_error(errno.EINVAL)
        for area, start, end in self.memory.covered(address, address + page_round(length)):
            if flags & MS_SYNC and area.file is not None and area.shared and area.file.writable:
                await _sync(area, area.file, start, end)

    @syscall
    async def madvise(self, address: int, length: int, advice: int) -> None:
        """Say how the memory will be used: MADV_NORMAL, RANDOM, SEQUENTIAL, WILLNEED or DONTNEED.

        Raises:
            OSError: EINVAL if `address` is not that of a page, or of other advice; ENOMEM if not
                all of it is mapped, after the rest was done.
        """
        if address % PAGE or length < 0 or advice not in (*ADVICE, mmap.MADV_WILLNEED, mmap.MADV_DONTNEED):
            raise os_error(errno.EINVAL)
        end = address + page_round(length)
        if advice in ADVICE:
            self.memory.cut_at(address)
            self.memory.cut_at(end)
        for area, start, stop in self.memory.covered(address, end):
            if advice == mmap.MADV_DONTNEED:
                area.zap(start, stop)
            elif advice == mmap.MADV_WILLNEED:
                await _read_ahead(area, start, stop)
            else:
                area.advice = advice

    @syscall
    async def mprotect(self, address: int, length: int, prot: int) -> None:
        """Change what may be done with the memory there.

        Raises:
            OSError: EINVAL if `address` is not that of a page; ENOMEM if not all of it is mapped;
                EACCES if it is a shared mapping to be written, of a file that is not open for it.
        """
        if address % PAGE:
            raise os_error(errno.EINVAL)
        end = address + page_round(length)
        self.memory.cut_at(address)
        self.memory.cut_at(end)
        for area, _, _ in self.memory.covered(address, end):
            if area.file is not None and area.shared and prot & mmap.PROT_WRITE and not area.file.writable:
                raise os_error(errno.EACCES)
            area.prot = prot


# The part of a file in it.


def _is_shared(flags: int) -> bool:
    kind = flags & MAP_TYPE
    if kind == mmap.MAP_PRIVATE:
        return False
    if kind not in (mmap.MAP_SHARED, MAP_SHARED_VALIDATE):
        raise os_error(errno.EINVAL)
    return True


async def _sync(area: Area, file: OpenFile, start: int, end: int) -> None:
    file.hold()
    try:
        await fuse_fsync(file, True, area.index(start // PAGE), area.index(end // PAGE) - 1)
    finally:
        put_file(file)


async def _read_ahead(area: Area, start: int, end: int) -> None:
    if area.file is not None:
        file = area.file.hold()
        try:
            await force_readahead(file, area.index(start // PAGE), (end - start) // PAGE)
        finally:
            put_file(file)
