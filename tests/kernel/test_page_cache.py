"""Pages: their locks, what is dropped from a cache, and what a reader takes hold of at once."""

from __future__ import annotations

import errno

from fusewire.kernel.operations.pages import forget_clean_pages, invalidate_pages, truncate_range
from fusewire.kernel.tasks import Task, run
from fusewire.kernel.vfs.page_cache import BATCH, PAGE, Page, PageCache
from fusewire.kernel.waitq import Sleep, WaitQueue
from kernel_end import errno_of
from one_file import Rig, one_file


def pages_of(rig: Rig) -> dict[int, Page]:
    pages = rig.superblock.inodes[2].pages
    return {} if pages is None else pages.pages


async def hold(page: Page) -> None:
    """Lock a page, and sleep for ever."""
    await page.lock()
    await WaitQueue("nothing").sleep(lambda: False)


def test_a_locked_page_is_waited_for_and_its_holder_is_known() -> None:
    page = Page(7)
    got: list[str] = []

    async def take(name: str) -> None:
        await page.lock()
        got.append(name)

    first = Task("first", take("first"))
    second = Task("second", take("second"))
    asleep = run([first, second])
    assert got == ["first"]
    assert asleep[second].name == "page 7"
    assert asleep[second].holders() == [first]
    page.unlock()
    run([second])
    assert got == ["first", "second"]


def test_who_may_be_killed_stops_waiting_for_a_page() -> None:
    page = Page(0)
    page.locked = True  # by a request in the background
    task = Task("reader", page.lock(Sleep.KILLABLE))
    run([task])
    task.interrupt()
    run([task])
    assert not task.finished  # a light signal does not end it
    task.kill()
    run([task])
    assert errno_of(task) == errno.EINTR
    assert page.locked


def test_a_reader_takes_pages_up_to_the_first_that_has_something_to_it() -> None:
    with one_file(bytes(40 * PAGE)) as rig:
        fd = rig.open()
        rig.read(fd, 40 * PAGE)
        cache = PageCache.of(rig.superblock.inodes[2])
        for page in cache.pages.values():
            page.mark = False
        assert len(cache.run(0, 39)) == BATCH
        assert [page.index for page in cache.run(3, 5)] == [3, 4, 5]
        cache.pages[5].uptodate = False
        assert [page.index for page in cache.run(3, 9)] == [3, 4, 5]
        cache.pages[4].mark = True
        assert [page.index for page in cache.run(3, 9)] == [3, 4]
        del cache.pages[3]
        assert cache.run(3, 9) == []


def test_truncation_drops_whole_pages_and_zeroes_the_rest() -> None:
    with one_file(b"x" * 4 * PAGE) as rig:
        rig.read(rig.open(), 4 * PAGE)
        rig.run(truncate_range(rig.superblock.inodes[2], 100, 2 * PAGE + 50))
        assert sorted(pages_of(rig)) == [0, 2, 3]
        assert pages_of(rig)[0].data == b"x" * 100 + bytes(PAGE - 100)
        assert pages_of(rig)[2].data == bytes(50) + b"x" * (PAGE - 50)


def test_nothing_is_truncated_between_equal_ends() -> None:
    with one_file(b"x" * PAGE) as rig:
        rig.read(rig.open(), PAGE)
        rig.run(truncate_range(rig.superblock.inodes[2], 10, 10))
        assert pages_of(rig)[0].data == b"x" * PAGE


def test_invalidation_waits_for_the_read_that_fills_a_page() -> None:
    with one_file(b"x" * 2 * PAGE) as rig:
        fd = rig.open()
        rig.daemon.hold = {"READ"}
        reader = rig.start(rig.process.read(fd, 10))
        dropping = rig.start(invalidate_pages(rig.superblock.inodes[2]))
        assert not dropping.finished
        assert dropping.asleep_on is not None
        assert dropping.asleep_on.name == "page 0"
        rig.answer_held()
        assert reader.result == b"x" * 10
        assert dropping.finished
        assert pages_of(rig) == {}


def test_only_pages_that_nobody_uses_are_forgotten_at_once() -> None:
    with one_file(b"x" * 3 * PAGE) as rig:
        rig.read(rig.open(), 3 * PAGE)
        rig.start(hold(pages_of(rig)[1]))
        forget_clean_pages(rig.superblock.inodes[2], 1)
        assert sorted(pages_of(rig)) == [0, 1]


def test_open_drops_the_pages_unless_the_daemon_says_that_they_are_good() -> None:
    with one_file(b"old") as rig:
        fd = rig.open()
        assert rig.read(fd, 3) == b"old"
        rig.daemon.content[2][:] = b"new"
        rig.open()
        assert rig.pread(fd, 3, 0) == b"new"
        rig.daemon.open_flags = 2  # FOPEN_KEEP_CACHE
        rig.daemon.content[2][:] = b"xxx"
        rig.open()
        assert rig.pread(fd, 3, 0) == b"new"


def test_a_page_that_was_dropped_is_not_used_by_who_waited_for_it() -> None:
    with one_file(b"old", open_flags=2) as rig:
        fd = rig.open()
        rig.read(fd, 3)
        page = pages_of(rig)[0]
        rig.start(hold(page))
        writer = rig.start(rig.process.pwrite(fd, b"new", 0))
        assert not writer.finished
        PageCache.of(rig.superblock.inodes[2]).drop(page)
        page.unlock()
        rig.go_on()
        assert writer.result == 3
        assert page.data[:3] == b"old"
        assert rig.pread(fd, 3, 0) == b"new"
