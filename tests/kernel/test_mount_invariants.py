"""What must be true of a mount: each rule finds what is planted for it, where no rule found anything before."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fusewire.kernel.checks.accounts import check_accounts
from fusewire.kernel.checks.connection import check, check_at_rest
from fusewire.kernel.checks.mount import check_idle
from fusewire.kernel.copying import Copy
from fusewire.kernel.operations.write_pages import mark_dirty, state_of
from fusewire.kernel.stages import Stage
from fusewire.kernel.tasks import Task
from fusewire.kernel.user_memory import OwnBuffer
from fusewire.kernel.vfs.inode import Inode
from fusewire.kernel.vfs.page_cache import Page, PageCache
from fusewire.wire import WriteFlags, WriteIn
from kernel_end import Bench
from one_file import Rig, one_file
from watched_mounts import WatchedMount

Plant = Callable[[Rig, Inode, Page], object]


async def nothing() -> None:
    pass


def gone() -> Task:
    """A task that has finished."""
    task = Task("gone", nothing())
    task.resume()
    return task


def locked_by_one_who_has_gone(rig: Rig, inode: Inode, page: Page) -> None:
    page.locked, page.locker = True, gone()


def locked_by_no_read(rig: Rig, inode: Inode, page: Page) -> None:
    page.locked = True


def dirty_in_secret(rig: Rig, inode: Inode, page: Page) -> None:
    page.dirty = True


def dirty_unknown_to_the_flusher(rig: Rig, inode: Inode, page: Page) -> None:
    mark_dirty(inode, page)
    inode.superblock.dirty_inodes.clear()


def under_writeback_in_secret(rig: Rig, inode: Inode, page: Page) -> None:
    state_of(inode)
    page.writeback = True


def written_without_a_request(rig: Rig, inode: Inode, page: Page) -> None:
    state_of(inode).in_flight = 1


def forbidden_without_the_semaphore(rig: Rig, inode: Inode, page: Page) -> None:
    state_of(inode).forbidden = True


def written_twice_at_once(rig: Rig, inode: Inode, page: Page) -> None:
    for _ in range(2):
        body = WriteIn(0, 0, 1, WriteFlags.FUSE_WRITE_CACHE)
        rig.connection.ask_background("WRITE", inode.nodeid, body, data=b"x", nocreds=True)


def of_another_index(rig: Rig, inode: Inode, page: Page) -> None:
    page.index = 7


def semaphore_of_one_who_has_gone(rig: Rig, inode: Inode, page: Page) -> None:
    inode.rwsem.holders[gone()] = False


def used_by_nobody_who_counts(rig: Rig, inode: Inode, page: Page) -> None:
    inode.iocachectr = 0


def without_references(rig: Rig, inode: Inode, page: Page) -> None:
    inode.references = 0


def forgotten_though_a_name_leads_there(rig: Rig, inode: Inode, page: Page) -> None:
    inode.nlookup = 0


def not_found_where_it_stands(rig: Rig, inode: Inode, page: Page) -> None:
    assert inode.alias is not None
    inode.alias.name = b"elsewhere"


def with_a_name_too_many(rig: Rig, inode: Inode, page: Page) -> None:
    inode.aliases = 0


PLANTED: list[tuple[int, Plant]] = [
    (23, used_by_nobody_who_counts),
    (24, written_without_a_request),
    (24, forbidden_without_the_semaphore),
    (44, without_references),
    (45, forgotten_though_a_name_leads_there),
    (45, not_found_where_it_stands),
    (45, with_a_name_too_many),
    (87, semaphore_of_one_who_has_gone),
    (98, of_another_index),
    (98, dirty_unknown_to_the_flusher),
    (99, dirty_in_secret),
    (99, locked_by_one_who_has_gone),
    (99, locked_by_no_read),
    (99, under_writeback_in_secret),
    (100, written_twice_at_once),
]


def found(number: int, plant: Plant, look: Callable[[Rig], object], watched: list[WatchedMount]) -> None:
    """Plant something in a mount with one open file, and have it found by its number."""
    with one_file(b"x" * 100) as rig:
        rig.read(rig.open(), 100)
        inode = rig.superblock.inodes[2]
        page = PageCache.of(inode).get(0)
        look(rig)
        watched[-1].wrong = True
        plant(rig, inode, page)
        with pytest.raises(AssertionError, match=rf"^{number}: "):
            look(rig)


@pytest.mark.parametrize(("number", "plant"), PLANTED, ids=lambda value: getattr(value, "__name__", value))
def test_what_is_wrong_with_a_mount_is_found(number: int, plant: Plant, watched: list[WatchedMount]) -> None:
    found(number, plant, lambda rig: check(rig.connection), watched)


def a_user_too_many(rig: Rig, inode: Inode, page: Page) -> None:
    inode.iocachectr += 1


def a_reference_too_many(rig: Rig, inode: Inode, page: Page) -> None:
    inode.hold()


def a_lock_left_behind(rig: Rig, inode: Inode, page: Page) -> None:
    somebody = Task("somebody", nothing())
    somebody.coroutine.close()  # it is never run
    inode.rwsem.holders[somebody] = True


def a_page_left_locked(rig: Rig, inode: Inode, page: Page) -> None:
    page.locked = True


def something_beyond_the_end(rig: Rig, inode: Inode, page: Page) -> None:
    page.data[100] = 1


def a_lookup_left_behind(rig: Rig, inode: Inode, page: Page) -> None:
    rig.superblock.looking_up[rig.superblock.root, b"a"] = rig.connection.waitq


LEFT: list[tuple[int, Plant]] = [
    (23, a_user_too_many),
    (44, a_reference_too_many),
    (87, a_lock_left_behind),
    (98, something_beyond_the_end),
    (99, a_page_left_locked),
    (107, a_lookup_left_behind),
]


@pytest.mark.parametrize(("number", "plant"), LEFT, ids=lambda value: getattr(value, "__name__", value))
def test_what_is_left_when_nothing_is_under_way_is_found(
    number: int, plant: Plant, watched: list[WatchedMount]
) -> None:
    found(number, plant, lambda rig: check_idle(rig.superblock), watched)


def a_lookup_too_many(rig: Rig, inode: Inode, page: Page) -> None:
    inode.nlookup += 1


def a_lookup_lost(rig: Rig, inode: Inode, page: Page) -> None:
    inode.nlookup -= 1


def a_handle_lost(rig: Rig, inode: Inode, page: Page) -> None:
    rig.process.files.clear()


def a_handle_made_up(rig: Rig, inode: Inode, page: Page) -> None:
    next(iter(rig.process.files.values())).fh = 4711


ACCOUNTS: list[tuple[int, Plant]] = [
    (45, a_lookup_too_many),
    (44, a_lookup_lost),
    (51, a_handle_lost),
    (51, a_handle_made_up),
]


@pytest.mark.parametrize(("number", "plant"), ACCOUNTS, ids=lambda value: getattr(value, "__name__", value))
def test_kernel_and_daemon_count_alike(number: int, plant: Plant, watched: list[WatchedMount]) -> None:
    def look(rig: Rig) -> None:
        watched[-1].listen()
        check_accounts(rig.superblock, watched[-1].conversation)

    found(number, plant, look, watched)


# At rest, and in the middle of a copy.


def test_a_request_that_nobody_has_is_found(linux: Bench) -> None:
    check_at_rest(linux.connection)
    linux.connection.num_waiting += 1
    with pytest.raises(AssertionError, match=r"^16: "):
        check_at_rest(linux.connection)


def test_whoever_was_not_woken_at_the_gate_is_found(linux: Bench) -> None:
    background = linux.connection.background
    background.raise_maximum(0)
    linux.start(linux.connection.ask_background_gated("STATFS", 1))
    check_at_rest(linux.connection)
    background.blocked, background.maximum = False, 12
    with pytest.raises(AssertionError, match=r"^20: "):
        check_at_rest(linux.connection)
    linux.connection.abort()
    linux.go_on()


def test_who_sleeps_while_what_he_copies_is_locked_is_found(linux: Bench) -> None:
    reader = linux.start(linux.device.read(1 << 17))
    request = linux.connection.pool.make()
    linux.connection.num_waiting += 1
    request.ask("STATFS", 1)
    request.stage, request.reader = Stage.COPYING_OUT, reader
    linux.device.io.append(request)
    with pytest.raises(AssertionError, match=r"^72: "):
        check(linux.connection)


def test_memory_is_not_touched_of_a_request_that_is_not_locked(linux: Bench) -> None:
    request = linux.connection.pool.make()
    copy = Copy(OwnBuffer(bytearray(10)), write=True, request=request)
    copy.present = 10
    with pytest.raises(AssertionError, match=r"^73: "):
        linux.call(copy.store(b"data"))
