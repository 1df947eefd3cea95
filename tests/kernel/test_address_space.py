"""Mappings: what is mapped where, page faults, and what becomes of what was stored."""

from __future__ import annotations

import errno
import mmap
import os

import pytest

from file_daemon import PAGE, PLAIN, WRITEBACK, FileDaemon, errno_of
from fusewire.kernel.syscalls.memory import MAP_FIXED, MAP_FIXED_NOREPLACE, MS_ASYNC, MS_SYNC
from fusewire.kernel.user_memory import BusError, SegmentationFault
from fusewire.wire import FsyncFlags, InitFlags, OpenFlags

READ, WRITE, EXEC = mmap.PROT_READ, mmap.PROT_WRITE, mmap.PROT_EXEC
SHARED, PRIVATE = mmap.MAP_SHARED, mmap.MAP_PRIVATE
ANONYMOUS = PRIVATE | mmap.MAP_ANONYMOUS
ALLOW_MMAP = PLAIN | InitFlags.FUSE_DIRECT_IO_ALLOW_MMAP | InitFlags.FUSE_INIT_EXT
TEXT = bytes(range(256)) * (PAGE // 256)


# Which address stands for what.


def test_anonymous_memory_is_zero_and_keeps_what_is_stored() -> None:
    file = FileDaemon()
    memory = file.map(2 * PAGE, -1, flags=ANONYMOUS)
    assert memory[:] == bytes(2 * PAGE)
    memory[PAGE - 1 : PAGE + 1] = b"ab"
    assert memory[PAGE - 2 : PAGE + 2] == b"\0ab\0"


def test_mappings_take_the_lowest_free_addresses() -> None:
    file = FileDaemon()
    first, second, third = (file.map(PAGE, -1, flags=ANONYMOUS) for _ in range(3))
    assert (second.address, third.address) == (first.address + PAGE, first.address + 2 * PAGE)
    second.close()
    assert file.map(2 * PAGE, -1, flags=ANONYMOUS).address == third.address + PAGE
    assert file.map(1, -1, flags=ANONYMOUS).address == second.address


def test_a_fixed_mapping_takes_the_place_of_what_was_there() -> None:
    file = FileDaemon(TEXT)
    memory = file.map(3 * PAGE, -1, flags=ANONYMOUS)
    memory[:] = b"m" * 3 * PAGE
    fd = file.open()
    process = file.process
    file.run(process.mmap(fd, PAGE, READ, SHARED | MAP_FIXED, address=memory.address + PAGE))
    assert memory[PAGE - 1 : PAGE + 3] == b"m\x00\x01\x02"
    assert memory[2 * PAGE] == ord("m")
    with pytest.raises(FileExistsError):
        file.run(process.mmap(fd, PAGE, READ, SHARED | MAP_FIXED_NOREPLACE, address=memory.address))
    with pytest.raises(OSError, match="Invalid argument"):
        file.run(process.mmap(fd, PAGE, READ, SHARED | MAP_FIXED, address=memory.address + 1))


def test_a_hole_can_be_cut_into_a_mapping() -> None:
    file = FileDaemon(TEXT * 3)
    fd = file.open()
    mapping = file.map(3 * PAGE, fd)
    file.run(file.process.close(fd))
    mapping[0] = mapping[2 * PAGE] = 7
    file.run(file.process.munmap(mapping.address + PAGE, PAGE))
    assert mapping[2 * PAGE + 1] == 1
    with pytest.raises(SegmentationFault):
        mapping[PAGE]
    file.run(file.process.munmap(mapping.address, PAGE))
    assert "RELEASE" not in file.names()
    file.run(file.process.munmap(mapping.address + 2 * PAGE, PAGE))
    assert file.names()[-1] == "RELEASE"
    assert (file.content[0], file.content[2 * PAGE]) == (7, 7)


@pytest.mark.parametrize(
    ("flags", "prot", "kind", "code"),
    [
        (os.O_RDONLY, READ | WRITE, SHARED, errno.EACCES),
        (os.O_RDONLY, READ | WRITE, PRIVATE, 0),
        (os.O_RDONLY, READ, SHARED, 0),
        (os.O_WRONLY, WRITE, SHARED, errno.EACCES),
        (os.O_WRONLY, READ, PRIVATE, errno.EACCES),
        (os.O_RDWR, READ | WRITE, SHARED, 0),
        (os.O_RDWR, READ, 0, errno.EINVAL),
    ],
)
def test_a_file_must_be_open_for_what_its_mapping_may_do(flags: int, prot: int, kind: int, code: int) -> None:
    file = FileDaemon(TEXT)
    fd = file.open(flags)
    task = file.start(file.process.mmap(fd, PAGE, prot, kind))
    assert errno_of(task) == (code or None)


def test_what_cannot_be_mapped() -> None:
    file = FileDaemon(TEXT)
    fd, process = file.open(), file.process
    directory = file.run(process.open("/", os.O_RDONLY))
    for call, code in [
        (process.mmap(fd, 0), errno.EINVAL),
        (process.mmap(fd, 1, offset=1), errno.EINVAL),
        (process.mmap(99, 1), errno.EBADF),
        (process.mmap(directory, 1, READ), errno.ENODEV),
        (process.mmap(directory, 1), errno.EACCES),
        (process.munmap(1, 1), errno.EINVAL),
        (process.munmap(0, 0), errno.EINVAL),
        (process.msync(0, PAGE, MS_SYNC | MS_ASYNC), errno.EINVAL),
        (process.msync(0, PAGE), errno.ENOMEM),
        (process.madvise(0, PAGE, mmap.MADV_RANDOM), errno.ENOMEM),
        (process.madvise(0, PAGE, 12345), errno.EINVAL),
        (process.mprotect(0, PAGE, READ), errno.ENOMEM),
    ]:
        assert errno_of(file.start(call)) == code


# Files that are read and written past the cache.


def test_a_direct_file_is_mapped_privately_at_most() -> None:
    file = FileDaemon(TEXT, open_flags=OpenFlags.FOPEN_DIRECT_IO)
    fd = file.open()
    assert errno_of(file.start(file.process.mmap(fd, PAGE, READ, SHARED))) == errno.ENODEV
    private = file.map(PAGE, fd, READ, PRIVATE)
    assert private[3] == 3


def test_a_direct_file_is_shared_if_the_daemon_agreed_and_then_uses_the_cache() -> None:
    file = FileDaemon(TEXT, flags=ALLOW_MMAP, open_flags=OpenFlags.FOPEN_DIRECT_IO)
    fd = file.open()
    mapping = file.map(PAGE, fd)
    assert file.inode.iocachectr == 1
    mapping[0] = 9
    assert file.run(file.process.pread(fd, 1, 0)) == b"\x09"  # it was written back first
    file.run(file.process.close(fd))
    mapping.close()
    assert file.inode.iocachectr == 0


# Loads and stores.


def test_a_page_is_read_when_it_is_first_touched() -> None:
    file = FileDaemon(TEXT)
    mapping = file.map(PAGE)
    assert not file.reads()
    assert mapping[7] == 7
    assert mapping[-1] == 255
    assert file.reads() == [(0, PAGE)]


def test_a_fault_reads_around_what_was_touched() -> None:
    file = FileDaemon(TEXT * 200)
    mapping = file.map(200 * PAGE)
    assert mapping[100 * PAGE + 5] == 5
    assert file.reads() == [(84 * PAGE, 32 * PAGE)]


def test_who_says_that_he_jumps_about_gets_single_pages_and_who_reads_on_gets_more() -> None:
    file = FileDaemon(TEXT * 200)
    mapping = file.map(200 * PAGE)
    mapping.madvise(mmap.MADV_RANDOM)
    assert mapping[100 * PAGE] == 0
    mapping.madvise(mmap.MADV_SEQUENTIAL)
    assert mapping[0] == 0
    assert file.reads() == [(100 * PAGE, PAGE), (0, 32 * PAGE)]


def test_what_was_stored_to_a_private_mapping_stays_there() -> None:
    file = FileDaemon(TEXT)
    fd = file.open()
    mine, shared = file.map(PAGE, fd, flags=PRIVATE), file.map(PAGE, fd)
    mine[0:2] = b"ab"
    assert mine[0:3] == b"ab\x02"
    assert shared[0:3] == b"\x00\x01\x02"
    shared[2] = 9
    assert mine[2] == 2  # it has had a copy since
    mine.madvise(mmap.MADV_DONTNEED)
    assert mine[0:3] == b"\x00\x01\x09"


def test_what_is_stored_to_a_shared_mapping_is_seen_by_all_and_written_later() -> None:
    file = FileDaemon(TEXT)
    fd = file.open()
    mapping, other = file.map(PAGE, fd), file.map(PAGE, fd)
    mapping[0:3] = b"abc"
    assert other[0:3] == b"abc"
    assert file.run(file.process.pread(fd, 3, 0)) == b"abc"
    assert not file.writes()
    file.run(file.process.close(fd))
    assert file.writes() == [(0, PAGE)]


def test_what_a_write_puts_into_the_cache_is_seen_in_a_mapping() -> None:
    file = FileDaemon(TEXT)
    fd = file.open()
    mapping = file.map(PAGE, fd)
    assert mapping[0] == 0
    file.run(file.process.pwrite(fd, b"xyz", 0))
    assert mapping[0:3] == b"xyz"


def test_msync_writes_its_part_and_asks_for_fdatasync() -> None:
    file = FileDaemon(TEXT * 4)
    mapping = file.map(4 * PAGE)
    mapping[0] = mapping[3 * PAGE] = 7
    file.run(file.process.msync(mapping.address + 2 * PAGE, 2 * PAGE))
    assert file.writes() == [(3 * PAGE, PAGE)]
    assert [body.fsync_flags for body in file.bodies("FSYNC")] == [FsyncFlags.FUSE_FSYNC_FDATASYNC]
    file.run(file.process.msync(mapping.address, PAGE, MS_ASYNC))
    assert len(file.writes()) == 1


def test_munmap_waits_until_the_daemon_has_all_and_release_follows() -> None:
    file = FileDaemon(TEXT)
    fd = file.open()
    mapping = file.map(PAGE, fd)
    file.run(file.process.close(fd))
    mapping[0] = 1
    file.hold.add("WRITE")
    task = file.start(file.process.munmap(mapping.address, PAGE))
    assert not task.finished
    file.release("WRITE")
    assert task.finished
    assert file.names("FLUSH", "WRITE", "RELEASE") == ["FLUSH", "WRITE", "RELEASE"]


def test_a_store_waits_until_the_page_has_been_written_back() -> None:
    file = FileDaemon(TEXT)
    fd = file.open()
    mapping = file.map(PAGE, fd)
    mapping[0] = 1
    file.hold.add("WRITE")
    fsync = file.start(file.process.fsync(fd))
    load = file.start(file.process.load(mapping.address, 1))
    store = file.start(file.process.store(mapping.address, b"\x02"))
    assert load.result == b"\x01"
    assert not store.finished
    file.release("WRITE")
    assert fsync.finished
    assert store.finished
    assert file.content[0] == 1
    file.run(file.process.fsync(fd))
    assert file.content[0] == 2


def test_stores_by_mapping_move_the_time_under_writeback_cache() -> None:
    file = FileDaemon(TEXT, flags=WRITEBACK)
    fd = file.open()
    mapping = file.map(PAGE, fd)
    mapping[0] = 1
    file.run(file.process.close(fd))
    assert file.names("WRITE", "SETATTR", "FLUSH") == ["WRITE", "SETATTR", "FLUSH"]


# Faults that end badly.


def test_a_load_outside_of_all_mappings_is_a_segmentation_fault() -> None:
    file = FileDaemon(TEXT)
    mapping = file.map(PAGE, prot=READ)
    with pytest.raises(SegmentationFault):
        file.run(file.process.load(mapping.address + PAGE, 1))
    with pytest.raises(SegmentationFault):
        mapping[0] = 1
    file.run(file.process.mprotect(mapping.address, PAGE, mmap.PROT_NONE if hasattr(mmap, "PROT_NONE") else 0))
    with pytest.raises(SegmentationFault):
        mapping[0]


def test_a_load_beyond_the_end_of_the_file_is_a_bus_error() -> None:
    file = FileDaemon(b"abc")
    mapping = file.map(2 * PAGE)
    assert mapping[0:5] == b"abc\0\0"
    with pytest.raises(BusError) as caught:
        mapping[PAGE]
    assert caught.value.address == mapping.address + PAGE
    assert caught.value.errno == errno.EFAULT


def test_a_load_of_a_page_that_cannot_be_read_is_a_bus_error() -> None:
    file = FileDaemon(TEXT)
    mapping = file.map(PAGE)
    file.fail["READ"] = errno.EPERM
    with pytest.raises(BusError):
        mapping[0]
    del file.fail["READ"]
    assert mapping[1] == 1


def test_truncation_takes_pages_out_of_mappings() -> None:
    file = FileDaemon(TEXT * 3)
    fd = file.open()
    mapping = file.map(3 * PAGE, fd)
    mapping[2 * PAGE] = 1
    file.run(file.process.ftruncate(fd, PAGE + 10))
    assert mapping[PAGE : PAGE + 12] == bytes(range(10)) + b"\0\0"
    with pytest.raises(BusError):
        mapping[2 * PAGE]
    file.run(file.process.ftruncate(fd, 3 * PAGE))
    assert mapping[2 * PAGE] == 0


def test_a_fault_that_waits_for_a_page_lock_is_ended_by_a_kill() -> None:
    file = FileDaemon(TEXT)
    mapping = file.map(PAGE)
    file.hold.add("READ")
    first = file.start(file.process.load(mapping.address, 1))
    second = file.start(file.process.load(mapping.address, 1))
    file.kill(second)
    assert second.finished
    assert not first.finished
    file.release("READ")
    assert first.result == b"\0"


def test_an_abort_ends_a_fault_in_a_bus_error_and_leaves_no_page_locked() -> None:
    file = FileDaemon(TEXT)
    mapping = file.map(PAGE)
    file.hold.add("READ")
    load = file.start(file.process.load(mapping.address, 1))
    file.runner.do(lambda: file.superblock.control["abort"].write(b"1"))
    assert isinstance(load.result, BusError)
    assert not any(page.locked or page.uptodate for page in file.inode.pages.pages.values())  # type: ignore[union-attr]


def test_the_end_of_a_process_unmaps_everything() -> None:
    file = FileDaemon(TEXT)
    fd = file.open()
    mapping = file.map(PAGE, fd)
    file.run(file.process.close(fd))
    mapping[0] = 1
    file.run(file.process.unmap_all())
    assert file.names("FLUSH", "WRITE", "RELEASE") == ["FLUSH", "WRITE", "RELEASE"]
    assert not file.process.memory.areas
