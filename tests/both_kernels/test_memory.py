"""The filesystem in memory, on both kernels: what system calls do, and what they must find."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator

import pytest
from torture.conformance.actors import Actor
from torture.conformance.calls import FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE, RENAME_EXCHANGE

from fusewire.filesystems import Memory
from memory_caller import refused
from two_kernels import AnyKernel, Asked, needs

PAGE = 4096
GIGA = 1 << 30
SIZE = 64 << 20


@pytest.fixture
def memory() -> Memory:
    return Memory(size=SIZE, inodes=500, mode=0o777)


@pytest.fixture
def system(kernel: AnyKernel, memory: Memory) -> Iterator[Actor]:
    """Somebody in its root."""
    with kernel.serve(memory) as actor:
        yield actor


@pytest.fixture
def fd(system: Actor) -> int:
    """An open file."""
    opened: int = system.open("file", os.O_RDWR | os.O_CREAT)
    return opened


# --- sparse files


def test_a_file_of_4_gib_with_one_byte_at_the_end(kernel: AnyKernel, system: Actor, fd: int) -> None:
    system.pwrite(fd, b"x", 4 * GIGA - 1)
    assert (system.fstat(fd).st_size, system.fstat(fd).st_blocks) == (4 * GIGA, 8)
    assert system.pread(fd, 10, 4 * GIGA - 2) == b"\0x"
    needs(kernel, 24, "LSEEK")
    assert system.lseek(fd, 0, os.SEEK_DATA) == 4 * GIGA - PAGE
    assert system.lseek(fd, 0, os.SEEK_HOLE) == 0


def test_a_huge_truncate_is_a_number(kernel: AnyKernel, system: Actor, fd: int) -> None:
    system.ftruncate(fd, 10**15)
    assert (system.fstat(fd).st_size, system.fstat(fd).st_blocks) == (10**15, 0)
    assert system.pread(fd, 4, 10**15 - 2) == b"\0\0"
    needs(kernel, 24, "LSEEK")
    with refused(errno.ENXIO):
        system.lseek(fd, 0, os.SEEK_DATA)


def test_fallocate_reserves_zeroes_and_punches(kernel: AnyKernel, system: Actor, fd: int) -> None:
    system.pwrite(fd, b"x" * 8 * PAGE, 0)
    system.fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, PAGE, 2 * PAGE)
    system.fallocate(fd, FALLOC_ZERO_RANGE, 5 * PAGE, 10)
    system.fallocate(fd, 0, 8 * PAGE, PAGE)
    wanted = b"x" * PAGE + bytes(2 * PAGE) + b"x" * 2 * PAGE + bytes(10) + b"x" * (3 * PAGE - 10) + bytes(PAGE)
    assert system.pread(fd, 100 * PAGE, 0) == wanted
    assert (system.fstat(fd).st_size, system.fstat(fd).st_blocks) == (9 * PAGE, 7 * 8)
    needs(kernel, 24, "LSEEK")
    assert (system.lseek(fd, 0, os.SEEK_HOLE), system.lseek(fd, PAGE, os.SEEK_DATA)) == (PAGE, 3 * PAGE)


def test_copying_within_the_filesystem_keeps_holes(kernel: AnyKernel, system: Actor, fd: int) -> None:
    needs(kernel, 28, "COPY_FILE_RANGE")
    system.pwrite(fd, b"data", GIGA)
    system.ftruncate(fd, GIGA + PAGE)
    target = system.open("copy", os.O_RDWR | os.O_CREAT)
    while system.copy_file_range(fd, target, GIGA):
        pass
    assert system.pread(target, 4, GIGA) == b"data"
    attributes = system.stat("copy")
    assert (attributes.st_size, attributes.st_blocks) == (GIGA + PAGE, 8)


def test_mapped_memory_is_the_file(system: Actor, fd: int) -> None:
    system.ftruncate(fd, 1 << 20)
    system.mapped_write(fd, 1 << 20, 100_000, b"hello")
    assert system.pread(fd, 5, 100_000) == b"hello"
    system.pwrite(fd, b"world", 200_000)
    assert system.mapped_read(fd, 1 << 20, 200_000, 5) == b"world"
    content = system.read_file("file")
    assert (content[100_000:100_005], content[200_000:200_005], len(content)) == (b"hello", b"world", 1 << 20)
    assert system.stat("file").st_blocks == 16


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_changes_leave_the_bytes_that_they_should(system: Actor, fd: int, seed: int) -> None:
    """Reads, writes, truncates, holes and copies, through and past the page cache, beside a bytearray."""
    dice, model = random.Random(seed), bytearray()
    for _ in range(400):
        offset, length = dice.randrange(40 * PAGE), dice.randrange(1, 8 * PAGE)
        end = offset + length
        match dice.randrange(7):
            case 0 | 1:
                data = dice.randbytes(length)
                system.pwrite(fd, data, offset)
                model.extend(bytes(max(0, offset - len(model))))
                model[offset:end] = data
            case 2:
                system.ftruncate(fd, offset)
                del model[offset:]
                model.extend(bytes(offset - len(model)))
            case 3:
                system.fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, offset, length)
                model[offset:end] = bytes(max(0, min(end, len(model)) - offset))
            case 4:
                system.fallocate(fd, FALLOC_ZERO_RANGE, offset, length)
                model.extend(bytes(max(0, end - len(model))))
                model[offset:end] = bytes(length)
            case 5:
                target = offset + length + dice.randrange(4 * PAGE)
                count = system.copy_file_range(fd, fd, length, offset, target)
                if count:
                    model.extend(bytes(max(0, target - len(model))))
                    model[target : target + count] = bytes(model[offset : offset + count])
            case _:
                assert system.pread(fd, length, offset) == model[offset:end]
        assert system.fstat(fd).st_size == len(model)
    assert system.read_file("file") == model


# --- a full filesystem


def test_a_full_filesystem_says_so_and_loses_nothing(system: Actor, fd: int) -> None:
    written = 0
    with refused(errno.ENOSPC):
        while True:
            written += system.write(fd, b"x" * 1_000_000)
    assert written == SIZE == system.stat("file").st_size
    assert system.statvfs(".").f_bfree == 0
    with refused(errno.ENOSPC):
        system.create("another", 0o644, b"y")
    assert system.read_file("file") == b"x" * SIZE
    system.close(fd)
    system.unlink("file")
    system.write_file("another", b"y")
    assert system.statvfs(".").f_bfree == SIZE // PAGE - 1


def test_without_inodes_nothing_is_made(system: Actor) -> None:
    free = system.statvfs(".").f_ffree
    for number in range(free):
        system.mknod(str(number), 0o600)
    with refused(errno.ENOSPC):
        system.mkdir("more")
    with refused(errno.ENOSPC):
        system.symlink("x", "more")
    system.unlink("0")
    system.mkdir("more")
    assert len(system.listdir(".")) == free


# --- names and lives


def test_names_that_are_not_utf8(system: Actor) -> None:
    name = b"\xff\xfe\x80"
    system.mkdir(name)
    system.symlink(b"\xff", name + b"/\xc3")
    assert system.listdir(name) == [b"\xc3"]
    assert system.readlink(name + b"/\xc3") == b"\xff"


def test_names_of_255_bytes_and_no_more(system: Actor) -> None:
    system.create("é" * 127 + "e")
    for attempt in (system.create, system.stat, system.unlink, system.mkdir):
        with refused(errno.ENAMETOOLONG):
            attempt("é" * 128)


def test_paths_longer_than_path_max(system: Actor) -> None:
    root = system.getcwd()
    for _ in range(60):
        system.mkdir("d" * 200)
        system.chdir("d" * 200)
    system.create("bottom", 0o644, b"here")
    assert system.read_file("bottom") == b"here"
    system.chdir(root)
    system.remove_tree("d" * 200)
    assert system.listdir(".") == []


def test_an_unlinked_file_lives_until_it_is_closed(system: Actor, fd: int) -> None:
    free = system.statvfs(".").f_bfree
    system.write(fd, b"x" * PAGE)
    system.unlink("file")
    assert system.fstat(fd).st_nlink == 0
    assert system.pread(fd, 10, 0) == b"x" * 10
    assert system.statvfs(".").f_bfree == free - 1
    system.close(fd)
    system.mkdir("later")  # RELEASE and FORGET come before whatever is asked later
    assert system.statvfs(".").f_bfree == free


def test_a_nameless_file_is_given_a_name(kernel: AnyKernel, system: Actor) -> None:
    needs(kernel, 37, "TMPFILE")
    fd = system.open(".", os.O_TMPFILE | os.O_RDWR, 0o600)
    system.write(fd, b"content")
    system.link_by_fd(fd, "named")
    system.close(fd)
    assert system.read_file("named") == b"content"


def test_two_names_change_places(kernel: AnyKernel, system: Actor) -> None:
    needs(kernel, 23, "RENAME2")
    system.create("file", 0o644, b"x")
    system.mkdir("directory")
    system.mkdir("directory/below")
    system.renameat2("file", "directory", RENAME_EXCHANGE)
    assert system.read_file("directory") == b"x"
    assert system.listdir("file") == ["below"]


def test_what_there_was_is_there_when_it_is_mounted_again(kernel: AnyKernel, memory: Memory) -> None:
    for times in range(2):
        with kernel.serve(memory) as system:
            assert len(system.listdir(".")) == times
            system.create(f"file {times}", 0o644, b"x" * 10_000)
    with kernel.serve(memory) as system:
        assert system.read_file("file 0") == b"x" * 10_000


def test_the_birth_time_is_told(kernel: AnyKernel, system: Actor) -> None:
    needs(kernel, 39, "STATX")
    system.create("file")
    assert system.birth_ns("file") == system.stat("file").st_mtime_ns


# --- what the kernel keeps


def test_nothing_is_asked_twice(asked: Asked, system: Actor) -> None:
    system.create("file", 0o644, b"content")
    system.read_file("file")
    system.stat("file")
    with refused(errno.ENOENT):
        system.stat("nothing")
    asked()
    for _ in range(10):
        system.stat("file")
        with refused(errno.ENOENT):
            system.stat("nothing")
    assert asked() == []


def test_what_is_remembered_as_absent_appears_when_it_is_made(system: Actor) -> None:
    for name in ("file", "directory", "link", "moved"):
        with refused(errno.ENOENT):
            system.stat(name)
    system.create("file")
    system.mkdir("directory")
    system.link("file", "link")
    system.rename("file", "moved")
    assert sorted(system.listdir(".")) == ["directory", "link", "moved"]
    system.stat("moved")
    with refused(errno.ENOENT):
        system.stat("file")


def test_reading_marks_the_access_time_once(system: Actor) -> None:
    system.create("file", 0o644, b"x")
    system.utimensat("file", (0, 1), (0, 2))
    system.read_file("file")
    first = system.stat("file").st_atime_ns
    system.read_file("file")
    assert system.stat("file").st_atime_ns == first > 2
