"""Scenario 2 of kernel.txt, by itself: a reply is written from memory that only that reply can fill.

T1 touches a mapping; its READ holds the page's lock. T2 has read that READ, has put a reply's header
right before the mapping, and writes both in one go: copying the reply faults on the very page.
"""

from __future__ import annotations

import errno
import mmap
import os

import pytest

from file_daemon import FILE, PAGE, PLAIN, FileDaemon, errno_of
from fusewire.kernel.profile import LINUX, SEED2005, Profile
from fusewire.kernel.syscalls.memory import MAP_FIXED
from fusewire.kernel.tasks import Killed, Task
from fusewire.kernel.user_memory import BusError
from fusewire.wire import InitFlags, OutHeader

ANONYMOUS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS


class Kamikaze:
    """Both threads, stuck: `reader` is T1, `writer` T2."""

    def __init__(self, profile: Profile = LINUX, flags: int = PLAIN & ~InitFlags.FUSE_ASYNC_READ) -> None:
        self.file = file = FileDaemon(b"k" * PAGE, profile=profile, flags=flags, max_readahead=0)
        process = file.process
        fd = file.open(os.O_RDONLY)
        memory = file.map(2 * PAGE, -1, flags=ANONYMOUS)
        address = memory.address + PAGE
        file.run(process.mmap(fd, PAGE, mmap.PROT_READ, mmap.MAP_SHARED | MAP_FIXED, address=address))
        file.run(process.close(fd))
        file.hold.add("READ")
        self.reader = file.start(process.load(address, 1), "T1")
        (self.read,) = file.held
        file.hold.discard("READ")
        header = OutHeader(OutHeader.SIZE + PAGE, 0, self.read.header.unique).pack()
        file.run(process.store(address - OutHeader.SIZE, header))
        buffer = process.buffer(address - OutHeader.SIZE, OutHeader.SIZE + PAGE)
        self.writer = file.start(file.device.write(buffer), "T2")

    def page_is_free(self) -> bool:
        pages = self.file.inode.pages
        return pages is None or not any(page.locked for page in pages.pages.values())


@pytest.fixture(params=[SEED2005, LINUX], ids=["seed2005", "linux"])
def either(request: pytest.FixtureRequest) -> Kamikaze:
    return Kamikaze(request.param)


def asleep(*tasks: Task) -> bool:
    return all(task.asleep_on is not None for task in tasks)


def test_both_threads_sleep_and_each_waits_for_the_other(either: Kamikaze) -> None:
    assert asleep(either.reader, either.writer)
    waits_for = {task: list(queue.holders()) for task in (either.reader, either.writer) if (queue := task.asleep_on)}
    assert waits_for[either.writer] == [either.reader]
    assert "page 0" in str(either.writer.asleep_on and either.writer.asleep_on.name)


def test_the_mapping_outlives_the_descriptor_whose_end_came_with_flush(either: Kamikaze) -> None:
    assert either.file.names("FLUSH", "READ", "RELEASE") == ["FLUSH", "READ"]


def test_killing_the_reader_helps_in_2005_since_its_request_is_not_locked_during_the_fault() -> None:
    kamikaze = Kamikaze(SEED2005)
    kamikaze.file.kill(kamikaze.reader)
    assert isinstance(kamikaze.reader.result, Killed)
    assert kamikaze.writer.finished
    assert errno_of(kamikaze.writer) == errno.ENOENT
    assert kamikaze.page_is_free()


def test_killing_the_reader_does_not_help_today() -> None:
    kamikaze = Kamikaze()
    kamikaze.file.kill(kamikaze.reader)
    assert asleep(kamikaze.reader, kamikaze.writer)


def test_killing_the_writer_helps_today_since_its_fault_can_be_killed() -> None:
    kamikaze = Kamikaze()
    kamikaze.file.kill(kamikaze.writer)
    assert kamikaze.writer.finished
    assert isinstance(kamikaze.reader.result, BusError)
    assert kamikaze.page_is_free()


def test_an_abort_always_helps() -> None:
    kamikaze = Kamikaze()
    kamikaze.file.runner.do(lambda: kamikaze.file.superblock.control["abort"].write(b"1"))
    assert isinstance(kamikaze.reader.result, BusError)
    assert errno_of(kamikaze.writer) == errno.ENOENT
    assert kamikaze.page_is_free()


def test_a_reply_from_a_page_that_is_there_is_no_deadlock() -> None:
    """The same memory, once the page has been read by an ordinary reply."""
    file = FileDaemon(b"k" * 2 * PAGE, max_readahead=0)
    fd = file.open()
    mapping = file.map(PAGE, fd)
    assert mapping[0] == ord("k")
    file.hold.add("READ")
    read = file.start(file.process.pread(fd, 4, PAGE))
    (message,) = file.held
    assert message.header.nodeid == FILE
    memory = file.map(2 * PAGE, -1, flags=ANONYMOUS)
    file.run(file.process.mmap(fd, PAGE, flags=mmap.MAP_SHARED | MAP_FIXED, address=memory.address + PAGE))
    header = OutHeader(OutHeader.SIZE + PAGE, 0, message.header.unique).pack()
    address = memory.address + PAGE - OutHeader.SIZE
    file.run(file.process.store(address, header))
    buffer = file.process.buffer(address, OutHeader.SIZE + PAGE)
    assert file.run(file.device.write(buffer)) == OutHeader.SIZE + PAGE
    assert read.result == b"kkkk"
