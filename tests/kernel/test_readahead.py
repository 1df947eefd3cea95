"""How far is read ahead. The lists of READs are Linux's own (6.18), taken down from real mounts."""

from __future__ import annotations

import os

import pytest

from fusewire.kernel.operations.readahead import first_size, next_size
from fusewire.wire import InitFlags
from one_file import PAGE, USUAL, Rig, one_file

CONTENT = bytes(800 * PAGE)
IN_TURN = USUAL & ~InitFlags.FUSE_ASYNC_READ


def windows(rig: Rig) -> list[tuple[int, int]]:
    """Return what was read, in pages: from where, and how many."""
    return [(offset // PAGE, size // PAGE) for name, offset, size in rig.asked if name == "READ"]


def test_windows_grow_up_to_the_largest() -> None:
    assert [first_size(wanted, 32) for wanted in (1, 2, 4, 5, 8, 9, 40)] == [4, 4, 8, 16, 16, 32, 32]
    assert [next_size(size, 32) for size in (1, 2, 16, 17, 32)] == [4, 4, 32, 32, 32]


def test_small_reads_in_a_row_double_the_window() -> None:
    with one_file(CONTENT) as rig:
        fd = rig.open()
        seen = []
        for _ in range(120):
            rig.read(fd, PAGE)
            seen += windows(rig)
        assert seen == [(0, 4), (4, 8), (12, 16), (28, 32), (60, 32), (92, 32), (124, 32)]


def test_a_large_read_asks_for_what_it_needs_and_the_next_window() -> None:
    with one_file(CONTENT) as rig:
        fd = rig.open()
        rig.read(fd, 50 * PAGE)
        assert windows(rig) == [(0, 32), (32, 32), (64, 32)]
        rig.read(fd, 50 * PAGE)
        assert windows(rig) == [(96, 32), (128, 32)]


def test_who_jumps_about_gets_what_he_asks_for() -> None:
    with one_file(CONTENT) as rig:
        fd = rig.open()
        for place in (500, 100, 300):
            rig.pread(fd, 2 * PAGE, place * PAGE)
        assert windows(rig) == [(500, 2), (100, 2), (300, 2)]


def test_nothing_is_read_beyond_the_end() -> None:
    with one_file(bytes(3 * PAGE + 1)) as rig:
        rig.pread(rig.open(), PAGE, 2 * PAGE)
        assert windows(rig) == [(2, 1)]
        rig.read(rig.open(), 1)
        assert windows(rig) == [(0, 4)]


def test_a_window_is_cut_by_max_pages_and_by_max_read() -> None:
    with one_file(CONTENT, max_pages=5) as rig:
        rig.read(rig.open(), 12 * PAGE)
        assert windows(rig) == [(0, 5), (5, 5), (10, 5), (15, 5), (20, 5), (25, 5), (30, 2)]


def test_pages_that_are_there_are_not_asked_for_again() -> None:
    with one_file(CONTENT) as rig:
        fd = rig.open()
        rig.pread(fd, PAGE, 2 * PAGE)
        assert windows(rig) == [(2, 1)]
        rig.pread(fd, PAGE, 0)
        assert windows(rig) == [(0, 2), (3, 1)]


def test_without_readahead_each_page_is_asked_for_alone() -> None:
    with one_file(CONTENT, max_readahead=0) as rig:
        rig.read(rig.open(), 3 * PAGE)
        assert windows(rig) == [(0, 1), (1, 1), (2, 1)]


def test_advice_turns_reading_ahead_off_and_on() -> None:
    with one_file(CONTENT) as rig:
        fd = rig.open()
        rig.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
        rig.read(fd, PAGE)
        assert windows(rig) == [(0, 1)]
        rig.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        rig.read(fd, PAGE)
        assert windows(rig) == [(1, 4)]
        rig.posix_fadvise(fd, 100 * PAGE, 10 * PAGE - 1, os.POSIX_FADV_WILLNEED)
        assert windows(rig) == [(100, 10)]
        rig.posix_fadvise(fd, 100 * PAGE, 2 * PAGE, os.POSIX_FADV_DONTNEED)
        rig.pread(fd, 4 * PAGE, 100 * PAGE)
        assert windows(rig) == [(100, 2)]
        with pytest.raises(OSError, match="Invalid argument"):
            rig.posix_fadvise(fd, 0, 0, 77)
        with pytest.raises(OSError, match="Invalid argument"):
            rig.posix_fadvise(fd, 0, -1, os.POSIX_FADV_NORMAL)


def test_without_async_read_one_request_follows_the_other() -> None:
    with one_file(CONTENT, flags=IN_TURN, max_pages=4) as rig:
        rig.daemon.hold = {"READ"}
        reading = rig.start(rig.process.read(rig.open(), 8 * PAGE))
        assert windows(rig) == [(0, 4)]
        rig.answer_held(1)
        assert windows(rig) == [(4, 4)]
        rig.daemon.hold = set()
        rig.answer_held()
        assert reading.result == bytes(8 * PAGE)


def test_with_async_read_the_reader_goes_on_with_the_pages_that_are_there() -> None:
    with one_file(CONTENT, max_pages=4) as rig:
        rig.daemon.hold = {"READ"}
        reading = rig.start(rig.process.read(rig.open(), 4 * PAGE))
        assert windows(rig) == [(0, 4), (4, 4)]  # a window of 8, of which 4 are ahead
        rig.answer_held(1)
        assert reading.result == bytes(4 * PAGE)
        assert len(rig.daemon.held) == 1


def test_a_congested_daemon_is_not_asked_for_what_nobody_waits_for() -> None:
    with one_file(CONTENT, max_pages=4, congestion_threshold=1, max_background=12) as rig:
        rig.daemon.hold = {"READ"}
        reading = rig.start(rig.process.read(rig.open(), 4 * PAGE))
        assert windows(rig) == [(0, 4)]
        pages = rig.superblock.inodes[2].pages
        assert pages is not None
        assert sorted(pages.pages) == [0, 1, 2, 3]
        rig.answer_held()
        assert reading.result == bytes(4 * PAGE)


def test_no_more_are_under_way_than_the_daemon_allows() -> None:
    with one_file(CONTENT, max_pages=4, congestion_threshold=20, max_background=2) as rig:
        rig.daemon.hold = {"READ"}
        reading = rig.start(rig.process.read(rig.open(), 16 * PAGE))
        assert windows(rig) == [(0, 4), (4, 4)]
        rig.daemon.hold = set()
        rig.answer_held()
        assert reading.result == bytes(16 * PAGE)


def test_who_waits_at_the_gate_can_be_killed_and_leaves_no_page_locked() -> None:
    with one_file(CONTENT, max_pages=4, congestion_threshold=20, max_background=1) as rig:
        rig.daemon.hold = {"READ"}
        reading = rig.start(rig.process.read(rig.open(), 16 * PAGE))
        reading.kill()
        rig.go_on()
        assert reading.finished
        rig.answer_held()
        pages = rig.superblock.inodes[2].pages
        assert pages is not None
        assert not any(page.locked for page in pages.pages.values())
