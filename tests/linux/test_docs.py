"""The examples in the documents that mount something, and what the table of operations says of Linux."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import select
import stat
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import fusewire
from documents import Block, blocks
from fusewire import Attributes, Entry, Filesystem, Request
from served import run, served


@pytest.mark.parametrize("block", blocks("python mount"), ids=str)
def test_an_example_that_mounts_does_what_it_says(block: Block, tmp_path: Path, mountpoint: Path) -> None:
    program = tmp_path / "example.py"
    program.write_text(block.code.replace("/mnt/x", str(mountpoint)))
    with served(sys.executable, program, mountpoint=mountpoint):
        for command, output in block.tries:
            done = run("bash", "-c", command.replace("/mnt/x", str(mountpoint)))
            assert " ".join(done.stdout.split()) == output, f"{command}\n{done.stderr}"


class Bare(Filesystem):
    """A directory with one file in it, and next to no methods: what Linux makes of that is in docs/operations.md."""

    NAMES = {"file": 2, "directory": 3}

    def getattr(self, request: Request, nodeid: int, fh: int | None) -> Attributes:
        return Attributes(mode=stat.S_IFREG | 0o644 if nodeid == 2 else stat.S_IFDIR | 0o755, size=10)

    def lookup(self, request: Request, parent: int, name: str) -> Entry:
        if name not in self.NAMES:
            raise FileNotFoundError
        return Entry(self.NAMES[name], self.getattr(request, self.NAMES[name], None))


@pytest.fixture
def bare(mountpoint: Path) -> Iterator[Path]:
    """A mount of it, and the path of its file."""
    with fusewire.mount(Bare(), str(mountpoint)):
        yield mountpoint / "file"


@pytest.fixture
def opened(bare: Path) -> Iterator[int]:
    """Its file, open."""
    descriptor = os.open(bare, os.O_RDWR)
    yield descriptor
    os.close(descriptor)


FIBMAP, NO_IOCTL = 1, 0x7A7A

REFUSED: dict[str, tuple[int, Callable[[Path], object]]] = {
    "SYMLINK": (errno.EPERM, lambda file: file.with_name("new").symlink_to("x")),
    "MKNOD": (errno.EPERM, lambda file: os.mkfifo(file.with_name("new"))),
    "MKDIR": (errno.EPERM, lambda file: file.with_name("new").mkdir()),
    "UNLINK": (errno.EPERM, lambda file: file.unlink()),
    "RMDIR": (errno.EPERM, lambda file: file.with_name("directory").rmdir()),
    "RENAME": (errno.EPERM, lambda file: file.rename(file.with_name("new"))),
    "LINK": (errno.EPERM, lambda file: os.link(file, file.with_name("new"))),
    "SETATTR": (errno.EPERM, lambda file: file.chmod(0o600)),
    "READLINK": (errno.EINVAL, lambda file: os.readlink(file)),
    "CREATE": (errno.EPERM, lambda file: file.with_name("new").touch()),
    "TMPFILE": (errno.EOPNOTSUPP, lambda file: os.open(file.parent, os.O_TMPFILE | os.O_RDWR)),
    "SETXATTR": (errno.EOPNOTSUPP, lambda file: os.setxattr(file, "user.x", b"")),
    "GETXATTR": (errno.EOPNOTSUPP, lambda file: os.getxattr(file, "user.x")),
    "LISTXATTR": (errno.EOPNOTSUPP, lambda file: os.listxattr(file)),
    "REMOVEXATTR": (errno.EOPNOTSUPP, lambda file: os.removexattr(file, "user.x")),
}


@pytest.mark.parametrize("operation", REFUSED)
def test_without_the_method_the_caller_is_told(operation: str, bare: Path) -> None:
    code, attempt = REFUSED[operation]
    for _ in range(2):  # the second time Linux may know it already
        with pytest.raises(OSError) as caught:  # noqa: PT011
            attempt(bare)
        assert caught.value.errno == code


REFUSED_ON_OPEN_FILES: dict[str, tuple[int, Callable[[int], object]]] = {
    "READ": (errno.ENOSYS, lambda fd: os.pread(fd, 10, 0)),
    "WRITE": (errno.EPERM, lambda fd: os.pwrite(fd, b"x", 0)),
    "FALLOCATE": (errno.EOPNOTSUPP, lambda fd: fallocate(fd)),
    "IOCTL": (errno.ENOTTY, lambda fd: fcntl.ioctl(fd, NO_IOCTL, bytes(8))),
}


def fallocate(descriptor: int) -> None:
    """fallocate(2) itself: Python's and glibc's posix_fallocate would write zeros instead."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.fallocate(descriptor, 1, ctypes.c_long(0), ctypes.c_long(100)):
        raise OSError(ctypes.get_errno(), "fallocate")


@pytest.mark.parametrize("operation", REFUSED_ON_OPEN_FILES)
def test_without_the_method_whoever_has_it_open_is_told(operation: str, opened: int) -> None:
    code, attempt = REFUSED_ON_OPEN_FILES[operation]
    for _ in range(2):
        with pytest.raises(OSError) as caught:  # noqa: PT011
            attempt(opened)
        assert caught.value.errno == code


def test_without_most_methods_files_open_seek_sync_and_close(opened: int, bare: Path) -> None:
    os.fsync(opened)
    os.fsync(opened)
    assert os.lseek(opened, 3, os.SEEK_DATA) == 3
    assert os.lseek(opened, 3, os.SEEK_HOLE) == 10
    poll = select.poll()
    poll.register(opened, select.POLLIN | select.POLLOUT)
    assert poll.poll(0) == [(opened, select.POLLIN | select.POLLOUT)]
    assert os.access(bare, os.R_OK | os.W_OK)
    assert struct.unpack("i", fcntl.ioctl(opened, FIBMAP, struct.pack("i", 5)))[0] == 0


def test_without_readdir_a_directory_lists_as_empty(bare: Path) -> None:
    assert os.listdir(bare.parent) == []
    directory = os.open(bare.parent, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(directory)
    os.close(directory)


def test_without_statfs_the_size_is_nothing(bare: Path) -> None:
    assert os.statvfs(bare).f_blocks == 0


def test_without_locks_linux_keeps_them_itself(opened: int, bare: Path) -> None:
    other = os.open(bare, os.O_RDWR)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(other)


def test_without_getattr_nothing_can_be_done(mountpoint: Path) -> None:
    with fusewire.mount(Filesystem(), str(mountpoint)), pytest.raises(OSError, match="Function not implemented"):
        mountpoint.stat()


def test_no_method_was_asked_for_that_is_absent() -> None:
    """The table above would prove nothing if the class had more methods than it shows."""
    own = {name for name in vars(Bare) if not name.startswith("_")}
    assert own == {"NAMES", "getattr", "lookup"}
