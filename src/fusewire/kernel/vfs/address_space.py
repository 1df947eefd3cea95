"""The memory of a process: which addresses stand for what.

An area (a vma) is a run of pages with one protection: memory of its own (anonymous), or a file's
pages from some offset on. It holds a reference on its open file, so RELEASE comes after the last
munmap, while FLUSH came with close(2) (kernel.txt, scenario 2).

An area knows the pages that it has been given by faults: `own`, which are its alone (anonymous, or
copied because a private mapping was stored to), and `table`, pages of the file's cache. A page in
the table is used without any lock, and without a fault. That ends when the page is dropped from
its cache (truncated, invalidated): whoever drops it need not know who maps it, since each use asks
whether it is still `cached`. In the same way a store needs the area to be among the page's
`writers`, which are forgotten whenever the page is written back.

Objects only: faults are in operations/page_faults.py, mmap and munmap in syscalls/memory.py.

Not modelled: fork, huge pages, growing stacks, mlock, the lock of the address space (mmap_lock),
which a fault on a file gives up while it waits.

Source: mm/vma.c, mm/mmap.c.
"""

from __future__ import annotations

import errno
import mmap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from fusewire.errors import os_error
from fusewire.kernel.vfs.page_cache import PAGE, Page

if TYPE_CHECKING:
    from fusewire.kernel.vfs.open_file import OpenFile

__all__ = ["PROT_NONE", "AddressSpace", "Area", "page_round"]

PROT_NONE: Final = 0
BASE: Final = 0x7F00_0000_0000  # where areas go that ask for no address
TOP: Final = 0x7FFF_FFFF_F000  # addresses end here (TASK_SIZE)


def page_round(size: int) -> int:
    """Return `size` in bytes, rounded up to whole pages."""
    return -(-size // PAGE) * PAGE


class Area:
    """Addresses `start` to `end`, whole pages."""

    __slots__ = ("advice", "end", "file", "offset", "own", "prot", "saves", "shared", "start", "table")

    def __init__(
        self, start: int, end: int, prot: int, *, file: OpenFile | None = None, offset: int = 0, shared: bool = False
    ) -> None:
        self.start, self.end = start, end
        self.prot = prot  # PROT_*
        self.file = file  # it holds a reference; None of anonymous memory
        self.offset = offset  # bytes of the file at `start`; whole pages
        self.shared = shared  # what is stored goes to the file
        self.saves = True  # munmap writes the file's dirty pages (fuse_vma_close)
        self.advice = mmap.MADV_NORMAL
        self.own: dict[int, Page] = {}  # by address // PAGE
        self.table: dict[int, Page] = {}  # by address // PAGE

    def __repr__(self) -> str:
        return f"<Area {self.start:#x}-{self.end:#x}>"

    def __len__(self) -> int:
        return self.end - self.start

    def index(self, number: int) -> int:
        """Return which page of the file stands at page `number` of the address space."""
        return number - (self.start - self.offset) // PAGE

    def present(self, number: int, write: bool) -> Page | None:
        """Return page `number` of the address space if it can be used without a fault."""
        page = self.own.get(number)
        if page is not None:
            return page
        page = self.table.get(number)
        if page is None or not page.cached:
            return None
        if write and (not self.shared or page.writers is None or self not in page.writers):
            return None
        return page

    def zap(self, start: int, end: int) -> None:
        """Forget the pages from address `start` to `end`; what was only here is lost."""
        for pages in (self.own, self.table):
            for number in [number for number in pages if start <= number * PAGE < end]:
                del pages[number]

    def split(self, address: int) -> Area:
        """Cut off what lies at `address` and above, and return it; it has a reference on the file, too."""
        assert self.start < address < self.end
        file = self.file.hold() if self.file is not None else None
        rest = Area(
            address, self.end, self.prot, file=file, offset=self.offset + address - self.start, shared=self.shared
        )
        rest.saves, rest.advice = self.saves, self.advice
        for mine, its in ((self.own, rest.own), (self.table, rest.table)):
            for number in [number for number in mine if number * PAGE >= address]:
                its[number] = mine.pop(number)
        self.end = address
        return rest


class AddressSpace:
    """The areas of one process, none of which overlap."""

    __slots__ = ("areas",)

    def __init__(self) -> None:
        self.areas: list[Area] = []  # by address

    def find(self, address: int) -> Area | None:
        """Return the area in which `address` lies."""
        return next((area for area in self.areas if area.start <= address < area.end), None)

    def overlapping(self, start: int, end: int) -> list[Area]:
        return [area for area in self.areas if area.start < end and start < area.end]

    def free(self, size: int) -> int:
        """Return the lowest address from BASE on at which `size` bytes, whole pages, are free.

        Raises:
            OSError: ENOMEM if there is none.
        """
        address = BASE
        for area in self.areas:
            if area.start >= address + size:
                break
            address = max(address, area.end)
        if address + size > TOP:
            raise os_error(errno.ENOMEM)
        return address

    def add(self, area: Area) -> None:
        self.areas.append(area)
        self.areas.sort(key=lambda each: each.start)

    def cut_at(self, address: int) -> None:
        """Have no area reach over `address`."""
        area = self.find(address)
        if area is not None and area.start < address:
            self.add(area.split(address))

    def take(self, start: int, end: int) -> list[Area]:
        """Take out and return what lies between, splitting areas that reach beyond."""
        self.cut_at(start)
        self.cut_at(end)
        taken = self.overlapping(start, end)
        self.areas = [area for area in self.areas if area not in taken]
        return taken

    def covered(self, start: int, end: int) -> Iterator[tuple[Area, int, int]]:
        """Yield each area between, with the addresses of its part; ENOMEM at the end if there was a gap.

        Raises:
            OSError: ENOMEM, once all areas have been yielded.
        """
        reached, gap = start, False
        for area in self.overlapping(start, end):
            gap |= area.start > reached
            reached = area.end
            yield area, max(area.start, start), min(area.end, end)
        if gap or reached < end:
            raise os_error(errno.ENOMEM)
