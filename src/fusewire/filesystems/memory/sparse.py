"""The bytes of a file in memory, of which only what was written takes room.

A file is a row of *runs*, each some pages that follow one another, kept in one bytearray; what
lies between runs is a hole and reads as zeros:

    offset   0        8192          1 GiB
             [run    ]   hole       [run ]
    starts = [0,                    1 << 30]

Runs begin and end at pages, never overlap, and are found by bisection, so that a hole of any
length costs nothing and is found in no time. Neighbours are made one while they are small
(`JOINED`): a file written in little pieces is read in big ones, and yet to cut something out of
the middle never copies much.

Two invariants: bytes stored at or beyond `size` are zeros, so growing a file is a number; and
every stored page is taken from the `Budget`, so filesystem-wide room is never overdrawn.

Tried and rejected: a dict of pages (1 MiB in 256 pieces, and no order in which to look for the
next data); a descriptor of memfd_create for each file (RLIMIT_NOFILE).
"""

from __future__ import annotations

import errno
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Final

from fusewire.errors import os_error
from fusewire.filesystems.memory.budget import Budget

__all__ = ["MAX_SIZE", "PAGE", "SparseFile", "check_range"]

PAGE: Final = 4096  # bytes: the unit of what is stored, and of holes
MAX_SIZE: Final = 2**63 - 1  # bytes: the largest off_t, as MAX_LFS_FILESIZE on 64 bits
JOINED: Final = 128 * 1024  # bytes: neighbours are joined up to here
PIECE: Final = 1024 * 1024  # bytes: the longest run, and the most that is copied at a time
ZEROS: Final = memoryview(bytes(PIECE))


class SparseFile:
    """The content of a regular file: `size` bytes, with holes."""

    __slots__ = ("_budget", "_runs", "_starts", "pages", "size")

    def __init__(self, budget: Budget) -> None:
        self.size = 0
        self.pages = 0  # of PAGE bytes each, taken from `budget`
        self._budget = budget
        self._starts: list[int] = []  # sorted, beside `_runs`
        self._runs: list[bytearray] = []

    def read(self, offset: int, size: int) -> bytes:
        """Return the bytes from `offset`: `size` of them, fewer at the end of the file. EINVAL if it is negative."""
        if offset < 0:
            raise os_error(errno.EINVAL)
        end = min(offset + size, self.size)
        index = self._first(offset)
        if index < len(self._starts):
            start, run = self._starts[index], self._runs[index]
            if start <= offset < end <= start + len(run):
                return bytes(memoryview(run)[offset - start : end - start])
        return b"".join(self._pieces(offset, end))

    def write(self, offset: int, data: memoryview) -> int:
        """Store `data` at `offset`; return how many bytes of it there was room for.

        Raises:
            OSError: ENOSPC if there was room for none; EFBIG if it would end beyond `MAX_SIZE`; EINVAL if
                `offset` is negative.
        """
        check_range(offset, offset + len(data))
        done = 0
        while done < len(data):
            taken = self._store(offset + done, data[done:] if done else data)
            if not taken:
                break
            done += taken
        if done:
            self.size = max(self.size, offset + done)
        elif len(data):
            raise os_error(errno.ENOSPC)
        return done

    def truncate(self, size: int) -> None:
        """Make the file `size` bytes long. It grows by a hole.

        Raises:
            OSError: EFBIG beyond `MAX_SIZE`, EINVAL if it is negative.
        """
        check_range(size, size)
        if size <= self.size:
            self._remove(round_up(size), MAX_SIZE + 1)
            self._zero(size, round_up(size))
        self.size = size

    def allocate(self, start: int, end: int) -> None:
        """Store every page of a range, so that writing there cannot fail for want of room. All or none.

        Raises:
            OSError: ENOSPC.
        """
        holes = list(self._holes(round_down(start), round_up(end)))
        need = sum(stop - at for at, stop in holes) // PAGE
        self._budget.take(need)
        try:
            rows = [[bytearray(min(PIECE, stop - at)) for at in range(at, stop, PIECE)] for at, stop in holes]
        except MemoryError:
            self._budget.give(need)
            raise os_error(errno.ENOSPC) from None
        self.pages += need
        for (at, stop), runs in zip(holes, rows, strict=True):
            index = self._first(at)
            self._starts[index:index] = range(at, stop, PIECE)
            self._runs[index:index] = runs

    def zero(self, start: int, end: int) -> None:
        """Make a range zeros that are stored. ENOSPC as `allocate`, and then nothing is changed."""
        self.allocate(start, end)
        self._zero(start, end)

    def punch(self, start: int, end: int) -> None:
        """Make a range zeros, and a hole of every page that lies in it wholly. The size stays."""
        if end >= self.size:
            end = round_up(end)  # behind the last byte there is nothing to keep
        first, last = round_up(start), round_down(end)
        if first > last:  # within one page
            self._zero(start, end)
            return
        self._remove(first, last)
        self._zero(start, first)
        self._zero(last, end)

    def move_to(self, budget: Budget) -> None:
        """Take every page from `budget`, and give it back where it came from. ENOSPC."""
        budget.take(self.pages)
        self._budget.give(self.pages)
        self._budget = budget

    def free(self) -> None:
        """Give back every page: the file is gone."""
        self.truncate(0)

    def next_data(self, offset: int) -> int:
        """Return where stored bytes begin, from `offset` on; `size` if nowhere."""
        index = self._first(offset)
        start = self._starts[index] if index < len(self._starts) else self.size
        return min(max(offset, start), self.size)

    def next_hole(self, offset: int) -> int:
        """Return where a hole begins, from `offset` on; every file ends in one."""
        for index in range(self._first(offset), len(self._starts)):
            if self._starts[index] > offset:
                break
            offset = self._starts[index] + len(self._runs[index])
        return min(offset, self.size)

    def copy_from(self, source: SparseFile, offset: int, offset_here: int, length: int) -> int:
        """Copy `length` bytes, holes as holes; return how many there was room for.

        Both may be one file, if the ranges do not overlap.

        Raises:
            OSError: ENOSPC if there was room for none; EINVAL and EFBIG as `write`.
        """
        done, length = 0, max(0, min(length, source.size - offset))
        check_range(offset, offset + length)
        check_range(offset_here, offset_here + length)
        while done < length:
            try:
                done += self._copy_some(source, offset + done, offset_here + done, length - done)
            except OSError:
                if not done:
                    raise
                break
        return done

    def _copy_some(self, source: SparseFile, offset: int, offset_here: int, length: int) -> int:
        hole = source.next_data(offset) - offset
        if not hole:
            length = min(length, PIECE, source.next_hole(offset) - offset)
            return self.write(offset_here, memoryview(source.read(offset, length)))
        length = min(length, hole)
        self.punch(offset_here, offset_here + length)
        self.size = max(self.size, offset_here + length)
        return length

    # --- runs

    def _first(self, offset: int) -> int:
        """The index of the first run that ends behind `offset`."""
        index = bisect_right(self._starts, offset) - 1
        if index >= 0 and offset < self._starts[index] + len(self._runs[index]):
            return index
        return index + 1

    def _overlaps(self, start: int, end: int) -> Iterator[tuple[int, memoryview]]:
        """Each stored part of a range: where it begins, and its bytes as they lie here."""
        for index in range(self._first(start), len(self._starts)):
            at, run = self._starts[index], self._runs[index]
            if at >= end:
                return
            low, high = max(start, at), min(end, at + len(run))
            yield low, memoryview(run)[low - at : high - at]

    def _holes(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Each hole within a range: where it begins and ends."""
        for at, part in self._overlaps(start, end):
            if start < at:
                yield start, at
            start = at + len(part)
        if start < end:
            yield start, end

    def _pieces(self, offset: int, end: int) -> Iterator[memoryview | bytes]:
        """The bytes of a range, with zeros for the holes."""
        for at, part in self._overlaps(offset, end):
            yield bytes(at - offset)
            yield part
            offset = at + len(part)
        yield bytes(max(0, end - offset))

    def _store(self, offset: int, data: memoryview) -> int:
        """Store what of `data` goes into one run, or into one hole; return how much, 0 if there is no room."""
        index = self._first(offset)
        start = self._starts[index] if index < len(self._starts) else MAX_SIZE + 1
        if start > offset:
            return self._fill(index, offset, data[: start - offset])
        run = self._runs[index]
        count = min(len(data), start + len(run) - offset)
        memoryview(run)[offset - start : offset - start + count] = data[:count]
        return count

    def _fill(self, index: int, offset: int, data: memoryview) -> int:
        """Store `data` in the hole before run `index`, as far as there is room for its pages."""
        first = round_down(offset)
        data = data[: max(0, first + min(PIECE, self._budget.free * PAGE) - offset)]
        try:
            run = bytearray(offset - first)
            run += data
            run += bytes(-len(run) % PAGE)
        except MemoryError:
            return 0
        if data:
            self._insert(index, first, run)
        return len(data)

    def _insert(self, index: int, start: int, run: bytearray) -> None:
        self._budget.take(len(run) // PAGE)
        self.pages += len(run) // PAGE
        self._starts.insert(index, start)
        self._runs.insert(index, run)
        self._join(index)
        self._join(index - 1)

    def _join(self, index: int) -> None:
        """Make one of run `index` and the next, if they touch and are small."""
        if not 0 <= index < len(self._runs) - 1:
            return
        run, following = self._runs[index], self._runs[index + 1]
        if self._starts[index] + len(run) != self._starts[index + 1] or len(run) + len(following) > JOINED:
            return
        try:
            run += following
        except MemoryError:  # two runs do as well
            return
        del self._starts[index + 1], self._runs[index + 1]

    def _zero(self, start: int, end: int) -> None:
        """Overwrite what is stored of a range with zeros."""
        for _, part in self._overlaps(start, end):
            part[:] = ZEROS[: len(part)]

    def _remove(self, start: int, end: int) -> None:
        """Make a hole from page to page; give the pages back. ENOSPC if there is no memory to cut a run in two."""
        low, high = self._first(start), bisect_left(self._starts, end)
        if low >= high:
            return
        try:
            before = self._runs[low][: max(0, start - self._starts[low])]
            behind = self._runs[high - 1][end - self._starts[high - 1] :]
        except MemoryError:
            raise os_error(errno.ENOSPC) from None
        kept = {at: run for at, run in ((self._starts[low], before), (end, behind)) if run}
        freed = sum(map(len, self._runs[low:high])) - sum(map(len, kept.values()))
        self._starts[low:high] = kept.keys()
        self._runs[low:high] = kept.values()
        self.pages -= freed // PAGE
        self._budget.give(freed // PAGE)


def check_range(start: int, end: int) -> None:
    """Refuse a range that no file has: EINVAL before the beginning, EFBIG behind `MAX_SIZE`."""
    if start < 0:
        raise os_error(errno.EINVAL)
    if end > MAX_SIZE:
        raise os_error(errno.EFBIG)


def round_down(offset: int) -> int:
    """Return where the page of `offset` begins."""
    return offset - offset % PAGE


def round_up(offset: int) -> int:
    """Return the first beginning of a page from `offset` on."""
    return offset + -offset % PAGE
