"""The bytes of a file in memory, against the plainest model: a bytearray, and the set of its stored pages."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fusewire.filesystems.memory.budget import Budget
from fusewire.filesystems.memory.sparse import JOINED, MAX_SIZE, PAGE, PIECE, SparseFile

GIGA = 1 << 30
OFFSETS = st.integers(0, 24 * PAGE)
LENGTHS = st.integers(0, 6 * PAGE) | st.sampled_from((PAGE, 2 * PAGE))
LIMIT = 20  # pages: so few that the machine runs out of them now and then


def new(pages: int = 1 << 20) -> SparseFile:
    return SparseFile(Budget(pages))


def stored(offset: int, end: int) -> range:
    """The pages that a range touches."""
    return range(offset // PAGE, -(-end // PAGE))


def within(offset: int, end: int) -> range:
    """The pages that lie in a range wholly."""
    return range(-(-offset // PAGE), end // PAGE)


class Model(RuleBasedStateMachine):
    """Do the same to a SparseFile and to the model, and compare all there is to see."""

    def __init__(self) -> None:
        super().__init__()
        self.budget = Budget(LIMIT)
        self.file = SparseFile(self.budget)
        self.bytes = bytearray()
        self.pages: set[int] = set()

    def grow(self, size: int) -> None:
        self.bytes += bytes(max(0, size - len(self.bytes)))

    @rule(offset=OFFSETS, length=LENGTHS, fill=st.integers(1, 255))
    def write(self, offset: int, length: int, fill: int) -> None:
        fits = self.what_fits(offset, length)
        data = memoryview(bytes([fill]) * length)
        if length and not fits:
            with pytest.raises(OSError, match="No space"):
                self.file.write(offset, data)
        else:
            assert self.file.write(offset, data) == fits
        if fits:
            self.grow(offset + fits)
            self.bytes[offset : offset + fits] = bytes([fill]) * fits
            self.pages |= set(stored(offset, offset + fits))

    def what_fits(self, offset: int, length: int) -> int:
        """How many bytes can be stored from `offset` on, until a page is missing and none is left."""
        free = LIMIT - len(self.pages)
        for page in stored(offset, offset + length):
            free -= page not in self.pages
            if free < 0:
                return max(0, page * PAGE - offset)
        return length

    @rule(size=OFFSETS)
    def truncate(self, size: int) -> None:
        if size <= len(self.bytes):
            self.pages = {page for page in self.pages if page * PAGE < size}
        self.file.truncate(size)
        del self.bytes[size:]
        self.grow(size)

    @rule(offset=OFFSETS, length=LENGTHS)
    def punch(self, offset: int, length: int) -> None:
        end = offset + length
        self.file.punch(offset, end)
        self.pages -= set(within(offset, end if end < len(self.bytes) else -(-end // PAGE) * PAGE))
        self.clear(offset, end)

    def clear(self, offset: int, end: int) -> None:
        end = min(end, len(self.bytes))
        self.bytes[offset:end] = bytes(max(0, end - offset))

    @rule(offset=OFFSETS, length=LENGTHS, zero=st.booleans())
    def allocate(self, offset: int, length: int, zero: bool) -> None:
        wanted = self.pages | set(stored(offset, offset + length))
        change = self.file.zero if zero else self.file.allocate
        if len(wanted) > LIMIT:
            with pytest.raises(OSError, match="No space"):
                change(offset, offset + length)
            return
        change(offset, offset + length)
        self.pages = wanted
        if zero:
            self.clear(offset, offset + length)

    @rule(offset=OFFSETS, distance=st.integers(1, 12 * PAGE), length=LENGTHS)
    def copy_upwards(self, offset: int, distance: int, length: int) -> None:
        """Within the file, where the ranges do not overlap."""
        length = max(0, min(length, distance, len(self.bytes) - offset))
        count = self.copy(offset, offset + distance, length)
        assert count == length or self.budget.free == 0
        if count:
            copied = self.bytes[offset : offset + count]
            self.grow(offset + distance + count)
            self.bytes[offset + distance : offset + distance + count] = copied
        self.pages = self.seen_pages()  # whether holes stay holes is seen elsewhere

    def copy(self, offset: int, offset_out: int, length: int) -> int:
        try:
            return self.file.copy_from(self.file, offset, offset_out, length)
        except OSError:
            return 0

    def seen_pages(self) -> set[int]:
        """The stored pages, as the file itself has them: also those behind its end."""
        size, self.file.size = self.file.size, MAX_SIZE
        pages = {page for page in range(64) if self.file.next_data(page * PAGE) == page * PAGE}
        self.file.size = size
        return pages

    @invariant()
    def same_bytes(self) -> None:
        assert self.file.size == len(self.bytes)
        assert self.file.read(0, 1 << 20) == self.bytes

    @rule(offset=OFFSETS, length=LENGTHS)
    def read(self, offset: int, length: int) -> None:
        assert self.file.read(offset, length) == self.bytes[offset : offset + length]

    @invariant()
    def same_pages(self) -> None:
        assert self.file.pages == len(self.pages) == self.budget.used
        assert self.seen_pages() == self.pages

    @rule(offset=OFFSETS)
    def seek(self, offset: int) -> None:
        size = len(self.bytes)
        if offset < size:
            places = range(offset, size)
            data = (at for at in places if at // PAGE in self.pages)
            holes = (at for at in places if at // PAGE not in self.pages)
            assert self.file.next_data(offset) == next(data, size)
            assert self.file.next_hole(offset) == next(holes, size)


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_one_byte_at_the_end_of_4_gib_costs_one_page() -> None:
    file = new()
    file.write(4 * GIGA - 1, memoryview(b"x"))
    assert (file.size, file.pages) == (4 * GIGA, 1)
    assert file.read(4 * GIGA - 3, 10) == b"\0\0x"


def test_a_huge_truncate_costs_nothing() -> None:
    file = new(0)
    file.truncate(10**15)
    assert (file.size, file.pages, file.read(10**14, 8)) == (10**15, 0, bytes(8))


def test_beyond_the_largest_offset_is_refused() -> None:
    file = new()
    file.truncate(MAX_SIZE)
    with pytest.raises(OSError, match="too large") as caught:
        file.truncate(MAX_SIZE + 1)
    assert caught.value.errno == errno.EFBIG
    with pytest.raises(OSError, match="too large"):
        file.write(MAX_SIZE, memoryview(b"x"))
    with pytest.raises(OSError, match="too large"):
        file.copy_from(file, 0, MAX_SIZE - 3, 4)
    assert (file.size, file.pages) == (MAX_SIZE, 0)


def test_the_very_last_byte_can_be_written() -> None:
    file = new()
    assert file.write(MAX_SIZE - 1, memoryview(b"x")) == 1
    assert (file.size, file.read(MAX_SIZE - 1, 9), file.next_data(0)) == (MAX_SIZE, b"x", MAX_SIZE // PAGE * PAGE)


def test_allocating_more_than_there_is_room_for_changes_nothing() -> None:
    file = new(4)
    file.write(PAGE, memoryview(b"x"))
    with pytest.raises(OSError, match="No space"):
        file.allocate(0, 5 * PAGE)
    with pytest.raises(OSError, match="No space"):
        file.zero(0, 5 * PAGE)
    assert (file.pages, file.read(PAGE, 1)) == (1, b"x")


SCARCE = """
import resource
from fusewire.filesystems.memory.budget import Budget
from fusewire.filesystems.memory.sparse import SparseFile

data = memoryview(bytes(96 << 20))
resource.setrlimit(resource.RLIMIT_AS, (1 << 28, 1 << 28))
budget = Budget(1 << 40)
allocated, written = SparseFile(budget), SparseFile(budget)
try:
    allocated.allocate(0, 1 << 33)
except OSError as error:
    print(error.strerror, allocated.pages, budget.used)
count = written.write(0, data)
try:
    while True:
        count += written.write(count, data)
except OSError as error:
    print(error.strerror, written.size == count >= 64 << 20, written.pages * 4096 - count < 4096)
"""


def test_where_python_finds_no_memory_there_is_no_space() -> None:
    done = subprocess.run([sys.executable, "-c", SCARCE], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout.splitlines() == ["No space left on device 0 0", "No space left on device True True"]


def test_a_file_written_in_little_pieces_is_read_in_big_ones() -> None:
    file = new()
    for offset in range(0, 4 * JOINED, 1000):
        file.write(offset, memoryview(bytes(1000)))
    assert len(file._runs) == 5


def test_a_file_written_backwards_is_joined_too() -> None:
    file = new()
    for offset in range(4 * JOINED - PAGE, -1, -PAGE):
        file.write(offset, memoryview(bytes([offset // PAGE]) * PAGE))
    assert len(file._runs) == 4
    assert file.read(0, 4 * JOINED) == b"".join(bytes([page]) * PAGE for page in range(4 * JOINED // PAGE))


def test_no_run_is_longer_than_a_piece() -> None:
    file = new()
    file.write(5, memoryview(os.urandom(3 * PIECE)))
    file.allocate(4 * PIECE, 9 * PIECE)
    assert max(map(len, file._runs)) == PIECE


def test_a_copy_keeps_holes() -> None:
    source, target = new(), new()
    source.write(GIGA, memoryview(b"data"))
    source.truncate(2 * GIGA)
    target.write(GIGA - PAGE, memoryview(bytes([1]) * 3 * PAGE))
    assert target.copy_from(source, 0, 0, 2 * GIGA) == 2 * GIGA
    assert (target.size, target.pages) == (2 * GIGA, 1)
    assert target.read(GIGA - 4, 12) == b"\0\0\0\0data\0\0\0\0"


def test_a_copy_ends_where_the_source_does() -> None:
    source, target = new(), new()
    source.write(0, memoryview(b"0123456789"))
    assert target.copy_from(source, 4, 1, 100) == 6
    assert target.read(0, 100) == b"\x00456789"
    assert target.copy_from(source, 10, 0, 5) == 0


def test_freeing_gives_every_page_back() -> None:
    budget = Budget(100)
    file = SparseFile(budget)
    file.write(7 * PAGE, memoryview(bytes(9 * PAGE)))
    file.allocate(50 * PAGE, 60 * PAGE)
    assert budget.used == 19
    file.free()
    assert (budget.used, file.pages, file.size) == (0, 0, 0)
