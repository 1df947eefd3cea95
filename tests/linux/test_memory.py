"""The filesystem in memory on Linux's own FUSE: what programs do, and what they must find.

The mount is served by this process, so whatever holds the GIL while it waits for the mount (mmap above all) is
done by programs of their own.
"""

from __future__ import annotations

import ctypes
import errno
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fusewire
from fusewire.filesystems import Memory
from memory_caller import refused

CHECKOUT = Path(__file__).resolve().parent.parent.parent
PAGE = 4096
GIGA = 1 << 30
SIZE = 64 << 20
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16
EXCHANGE = 2
AT_FDCWD, AT_SYMLINK_FOLLOW = -100, 0x400

libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def memory() -> Memory:
    return Memory(size=SIZE, inodes=20_000, mode=0o777)


@pytest.fixture
def mount(memory: Memory, mountpoint: Path) -> Iterator[fusewire.Mount]:
    with fusewire.mount(memory, str(mountpoint), allow_other=os.geteuid() == 0, strict=True) as mounted:
        yield mounted


@pytest.fixture
def home(mount: fusewire.Mount) -> Path:
    """The root of a mounted filesystem."""
    return Path(mount.mountpoint)


@pytest.fixture
def fd(home: Path) -> Iterator[int]:
    """An open file."""
    descriptor = os.open(home / "file", os.O_RDWR | os.O_CREAT)
    yield descriptor
    os.close(descriptor)


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    if libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)):
        raise OSError(ctypes.get_errno(), "fallocate")


def link_by_fd(fd: int, path: Path) -> None:
    if libc.linkat(AT_FDCWD, f"/proc/self/fd/{fd}".encode(), AT_FDCWD, os.fsencode(path), AT_SYMLINK_FOLLOW):
        raise OSError(ctypes.get_errno(), "linkat")


def run(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def script(program: str, *arguments: str | Path) -> str:
    return run(sys.executable, "-c", program, *arguments)


# --- POSIX


@pytest.mark.limit(120)
def test_the_suite_of_posix_finds_no_fault(home: Path) -> None:
    report = run(sys.executable, CHECKOUT / "torture/posix.py", home)
    assert ", 0 not ok," in report


# --- sparse files


def test_a_file_of_4_gib_with_one_byte_at_the_end(fd: int) -> None:
    os.pwrite(fd, b"x", 4 * GIGA - 1)
    assert (os.fstat(fd).st_size, os.fstat(fd).st_blocks) == (4 * GIGA, 8)
    assert os.lseek(fd, 0, os.SEEK_DATA) == 4 * GIGA - PAGE
    assert os.lseek(fd, 0, os.SEEK_HOLE) == 0
    assert os.pread(fd, 10, 4 * GIGA - 2) == b"\0x"


def test_a_huge_truncate_is_a_number(fd: int) -> None:
    os.ftruncate(fd, 10**15)
    assert (os.fstat(fd).st_size, os.fstat(fd).st_blocks) == (10**15, 0)
    assert os.pread(fd, 4, 10**15 - 2) == b"\0\0"
    with refused(errno.ENXIO):
        os.lseek(fd, 0, os.SEEK_DATA)


def test_fallocate_reserves_zeroes_and_punches(fd: int) -> None:
    os.pwrite(fd, b"x" * 8 * PAGE, 0)
    fallocate(fd, PUNCH_HOLE | KEEP_SIZE, PAGE, 2 * PAGE)
    fallocate(fd, ZERO_RANGE, 5 * PAGE, 10)
    fallocate(fd, 0, 8 * PAGE, PAGE)
    wanted = b"x" * PAGE + bytes(2 * PAGE) + b"x" * 2 * PAGE + bytes(10) + b"x" * (3 * PAGE - 10) + bytes(PAGE)
    assert os.pread(fd, 100 * PAGE, 0) == wanted
    assert (os.fstat(fd).st_size, os.fstat(fd).st_blocks) == (9 * PAGE, 7 * 8)
    assert (os.lseek(fd, 0, os.SEEK_HOLE), os.lseek(fd, PAGE, os.SEEK_DATA)) == (PAGE, 3 * PAGE)


def test_copying_within_the_filesystem_keeps_holes(home: Path, fd: int) -> None:
    os.pwrite(fd, b"data", GIGA)
    os.ftruncate(fd, GIGA + PAGE)
    with open(home / "copy", "w+b", buffering=0) as target:
        while os.copy_file_range(fd, target.fileno(), GIGA):
            pass
        assert os.pread(target.fileno(), 4, GIGA) == b"data"
    attributes = os.stat(home / "copy")
    assert (attributes.st_size, attributes.st_blocks) == (GIGA + PAGE, 8)


MAPPED = """
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
os.ftruncate(fd, 1 << 20)
with mmap.mmap(fd, 1 << 20) as mapped:
    mapped[100_000:100_005] = b"hello"
    mapped.flush()
    assert os.pread(fd, 5, 100_000) == b"hello"
    os.pwrite(fd, b"world", 200_000)
    assert mapped[200_000:200_005] == b"world"
"""


def test_mapped_memory_is_the_file(home: Path) -> None:
    script(MAPPED, home / "mapped")
    content = (home / "mapped").read_bytes()
    assert (content[100_000:100_005], content[200_000:200_005], len(content)) == (b"hello", b"world", 1 << 20)
    assert os.stat(home / "mapped").st_blocks == 16


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_changes_leave_the_bytes_that_they_should(home: Path, fd: int, seed: int) -> None:
    """Reads, writes, truncates, holes and copies, through and past the page cache, beside a bytearray."""
    dice, model = random.Random(seed), bytearray()
    for _ in range(400):
        offset, length = dice.randrange(40 * PAGE), dice.randrange(1, 8 * PAGE)
        end = offset + length
        match dice.randrange(7):
            case 0 | 1:
                data = dice.randbytes(length)
                os.pwrite(fd, data, offset)
                model.extend(bytes(max(0, offset - len(model))))
                model[offset:end] = data
            case 2:
                os.ftruncate(fd, offset)
                del model[offset:]
                model.extend(bytes(offset - len(model)))
            case 3:
                fallocate(fd, PUNCH_HOLE | KEEP_SIZE, offset, length)
                model[offset:end] = bytes(max(0, min(end, len(model)) - offset))
            case 4:
                fallocate(fd, ZERO_RANGE, offset, length)
                model.extend(bytes(max(0, end - len(model))))
                model[offset:end] = bytes(length)
            case 5:
                target = offset + length + dice.randrange(4 * PAGE)
                count = os.copy_file_range(fd, fd, length, offset, target)
                if count:
                    model.extend(bytes(max(0, target - len(model))))
                    model[target : target + count] = bytes(model[offset : offset + count])
            case _:
                assert os.pread(fd, length, offset) == model[offset:end]
        assert os.fstat(fd).st_size == len(model)
    assert (home / "file").read_bytes() == model


# --- a full filesystem


def test_a_full_filesystem_says_so_and_loses_nothing(home: Path) -> None:
    written = 0
    with open(home / "big", "wb", buffering=0) as file, refused(errno.ENOSPC):
        while True:
            written += file.write(b"x" * 1_000_000) or 0
    assert written == SIZE == os.stat(home / "big").st_size
    assert os.statvfs(home).f_bfree == 0
    with refused(errno.ENOSPC):
        (home / "another").write_bytes(b"y")
    assert (home / "big").read_bytes() == b"x" * SIZE
    os.unlink(home / "big")
    (home / "another").write_bytes(b"y")
    assert os.statvfs(home).f_bfree == SIZE // PAGE - 1


def test_without_inodes_nothing_is_made(home: Path) -> None:
    free = os.statvfs(home).f_ffree
    for number in range(free):
        os.mknod(home / str(number))
    with refused(errno.ENOSPC):
        os.mkdir(home / "more")
    with refused(errno.ENOSPC):
        os.symlink("x", home / "more")
    os.unlink(home / "0")
    os.mkdir(home / "more")
    assert len(os.listdir(home)) == free


# --- names and lives


def test_many_names_are_listed_while_they_vanish(home: Path) -> None:
    for number in range(5000):
        os.mknod(home / f"file {number}")
    with os.scandir(home) as found:
        seen = []
        for entry in found:
            os.unlink(entry.path)
            seen.append(entry.name)
    assert (len(set(seen)), len(seen), os.listdir(home)) == (5000, 5000, [])


def test_names_that_are_not_utf8(home: Path) -> None:
    name = os.fsencode(home) + b"/\xff\xfe\x80"
    os.mkdir(name)
    os.symlink(b"\xff", name + b"/\xc3")
    assert os.listdir(name) == [b"\xc3"]
    assert os.readlink(name + b"/\xc3") == b"\xff"


def test_names_of_255_bytes_and_no_more(home: Path) -> None:
    os.mknod(home / ("é" * 127 + "e"))
    for attempt in (os.mknod, os.stat, os.unlink, os.mkdir):
        with refused(errno.ENAMETOOLONG):
            attempt(home / ("é" * 128))


def test_paths_longer_than_path_max(home: Path) -> None:
    """Made from inside, by a process that may leave the directory it is in to be unmounted."""
    deep = (
        "import os, sys\nos.chdir(sys.argv[1])\nfor _ in range(60):\n    os.mkdir('d' * 200)\n    os.chdir('d' * 200)\n"
    )
    script(deep + "open('bottom', 'w').write('here')\nprint(open('bottom').read())", home)
    run("rm", "-r", home / ("d" * 200))
    assert os.listdir(home) == []


def test_an_unlinked_file_lives_until_it_is_closed(home: Path) -> None:
    free = os.statvfs(home).f_bfree
    with open(home / "file", "w+b", buffering=0) as file:
        file.write(b"x" * PAGE)
        os.unlink(home / "file")
        assert os.fstat(file.fileno()).st_nlink == 0
        assert os.pread(file.fileno(), 10, 0) == b"x" * 10
        assert os.statvfs(home).f_bfree == free - 1
    run("stat", "-f", home)  # RELEASE and FORGET come before whatever is asked later
    assert os.statvfs(home).f_bfree == free


def test_a_nameless_file_is_given_a_name(home: Path) -> None:
    with open(os.open(home, os.O_TMPFILE | os.O_RDWR, 0o600), "wb", buffering=0) as file:
        file.write(b"content")
        link_by_fd(file.fileno(), home / "named")
    assert (home / "named").read_bytes() == b"content"


def test_exchange_through_linux(home: Path) -> None:
    (home / "file").write_bytes(b"x")
    os.mkdir(home / "directory")
    os.mkdir(home / "directory/below")
    first, second = os.fsencode(home / "file"), os.fsencode(home / "directory")
    assert libc.renameat2(AT_FDCWD, first, AT_FDCWD, second, EXCHANGE) == 0
    assert (home / "directory").read_bytes() == b"x"
    assert os.listdir(home / "file") == ["below"]


def test_what_there_was_is_there_when_it_is_mounted_again(memory: Memory, mountpoint: Path) -> None:
    for times in range(2):
        with fusewire.mount(memory, str(mountpoint)):
            assert len(os.listdir(mountpoint)) == times
            (mountpoint / f"file {times}").write_bytes(b"x" * 10_000)
    with fusewire.mount(memory, str(mountpoint)):
        assert (mountpoint / "file 0").read_bytes() == b"x" * 10_000


def test_the_birth_time_is_told(home: Path) -> None:
    (home / "file").write_bytes(b"")
    assert int(run("stat", "-c", "%W", home / "file")) == int(os.stat(home / "file").st_mtime)


# --- what the kernel keeps


def test_nothing_is_asked_twice(home: Path, mount: fusewire.Mount) -> None:
    (home / "file").write_bytes(b"content")
    (home / "file").read_bytes()
    os.stat(home / "file")
    with refused(errno.ENOENT):
        os.stat(home / "nothing")
    before = mount.requests
    for _ in range(10):
        os.stat(home / "file")
        assert not (home / "nothing").exists()
    assert mount.requests == before


def test_what_is_remembered_as_absent_appears_when_it_is_made(home: Path) -> None:
    for name in ("file", "directory", "link", "moved"):
        assert not (home / name).exists()
    (home / "file").write_bytes(b"")
    os.mkdir(home / "directory")
    os.link(home / "file", home / "link")
    os.rename(home / "file", home / "moved")
    assert sorted(os.listdir(home)) == ["directory", "link", "moved"]
    assert (home / "moved").exists()
    assert not (home / "file").exists()


def test_reading_marks_the_access_time_once(home: Path) -> None:
    (home / "file").write_bytes(b"x")
    os.utime(home / "file", ns=(1, 2))
    (home / "file").read_bytes()
    first = os.stat(home / "file").st_atime_ns
    (home / "file").read_bytes()
    assert os.stat(home / "file").st_atime_ns == first > 2


# --- programs


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_git_works_in_it(home: Path) -> None:
    source, clone = home / "source", home / "clone"
    run("git", "init", "-q", source)
    for number in range(50):
        (source / f"file {number}").write_text(f"{number}\n" * number)
    run("git", "-C", source, "add", ".")
    run("git", "-C", source, "-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "all")
    run("git", "clone", "-q", source, clone)
    assert run("git", "-C", clone, "status", "--porcelain") == ""
    run("git", "-C", clone, "fsck", "--strict")
    shutil.rmtree(source)
    assert len(os.listdir(clone)) == 51


SQLITE = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
assert database.execute("pragma journal_mode=wal").fetchone() == ("wal",)
database.execute("create table numbers (number integer primary key, text text)")
for turn in range(20):
    database.execute("begin")
    database.executemany("insert into numbers (text) values (?)", ((str(n) * 50,) for n in range(100)))
    database.execute("commit" if turn % 3 else "rollback")
reader = sqlite3.connect(sys.argv[1])
for question in ("select count(*) from numbers", "pragma integrity_check"):
    print(reader.execute(question).fetchone()[0])
"""


def test_sqlite_works_in_it(home: Path) -> None:
    assert script(SQLITE, home / "database").split() == ["1300", "ok"]


def test_a_tree_comes_back_as_it_was(home: Path, tmp_path: Path) -> None:
    run("cp", "-a", CHECKOUT / "src", home / "copy")
    run("tar", "-cf", home / "archive.tar", "-C", home, "copy")
    run("tar", "-xf", home / "archive.tar", "-C", tmp_path)
    run("diff", "-r", CHECKOUT / "src", tmp_path / "copy")
    for there, here in ((CHECKOUT / "src/fusewire/errors.py", home / "copy/fusewire/errors.py"),):
        assert os.stat(there).st_mtime_ns == os.stat(here).st_mtime_ns
        assert os.stat(there).st_mode == os.stat(here).st_mode
