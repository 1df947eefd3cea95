"""Mount options by what they do, seen by callers and in the log of requests."""

from __future__ import annotations

import errno
import logging
import mmap
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import fusewire
from fusewire import Attributes, Entry, File, Filesystem, Request
from fusewire.filesystems import Memory
from ordinary_user import USER
from served import FUSEWIRE, served

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make these files, or become somebody else")

Asked = Callable[[str], list[str]]


@pytest.fixture
def asked(caplog: pytest.LogCaptureFixture) -> Asked:
    """Return what Linux asked since the last call, as far as the line matches a pattern."""
    caplog.set_level(logging.DEBUG, "fusewire.requests")

    def since(pattern: str) -> list[str]:
        found = [line for line in caplog.messages if re.match(pattern, line)]
        caplog.clear()
        return found

    return since


def code_of(act: Callable[[], object]) -> int:
    """The errno with which an act fails; 0 if it works."""
    try:
        act()
    except OSError as error:
        return error.errno or -1
    return 0


# --- for how long the kernel believes what it is told


def looks(mountpoint: Path) -> None:
    for _ in range(3):
        os.stat(mountpoint / "file")
        assert not (mountpoint / "nothing").exists()


@pytest.mark.parametrize(
    ("options", "names", "attributes", "missing"),
    [
        ("entry_timeout=99,attr_timeout=99,negative_timeout=99", 0, 0, 0),
        ("entry_timeout=0,attr_timeout=99,negative_timeout=99", 3, 0, 0),
        ("entry_timeout=99,attr_timeout=0,negative_timeout=99", 0, 3, 0),
        ("entry_timeout=99,attr_timeout=99,negative_timeout=0", 0, 0, 3),
    ],
)
def test_a_timeout_of_0_switches_one_cache_off(
    options: str, names: int, attributes: int, missing: int, mountpoint: Path, asked: Asked
) -> None:
    with fusewire.mount({"file": b"x"}, str(mountpoint), options):
        looks(mountpoint)
        asked("")
        looks(mountpoint)
        lines = asked("LOOKUP|GETATTR nodeid=2")
    assert sum("name='file'" in line for line in lines) == names
    assert sum("GETATTR" in line for line in lines) == attributes
    assert sum("name='nothing'" in line for line in lines) == missing


# --- reads and writes


def read_directly(path: Path, size: int) -> bytes:
    """Read past the page cache."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT)
    with mmap.mmap(-1, size) as buffer:
        assert os.preadv(descriptor, [buffer], 0) == size
        os.close(descriptor)
        return buffer[:]


def test_max_read_bounds_every_read(mountpoint: Path, asked: Asked) -> None:
    content = os.urandom(100_000)
    with fusewire.mount({"file": content}, str(mountpoint), max_read=8192):
        assert (mountpoint / "file").read_bytes() == content
        assert read_directly(mountpoint / "file", 65536) == content[:65536]
        sizes = [int(line.partition("size=")[2].split()[0]) for line in asked("READ ")]
    assert max(sizes) == 8192
    assert len(sizes) >= 13 + 8


def test_sync_has_an_fsync_follow_every_write(mountpoint: Path, asked: Asked) -> None:
    class Note(File):
        size = 3

        def read(self, offset: int, size: int) -> bytes:
            return b"abc"[offset : offset + size]

        def write(self, offset: int, data: memoryview) -> None: ...

    for options, fsyncs in (("sync", 3), ("async", 0)):
        with fusewire.mount({"file": Note()}, str(mountpoint), options):
            with (mountpoint / "file").open("r+b", buffering=0) as file:
                for _ in range(3):
                    file.write(b"x")
            assert len(asked("FSYNC")) == fsyncs


# --- who may do what


@as_root
@pytest.mark.parametrize(("options", "said"), [("default_permissions", os.strerror(errno.EACCES)), ("", "")])
def test_default_permissions_has_the_kernel_look_at_modes(options: str, said: str, mountpoint: Path) -> None:
    """A filesystem that has no `access` leaves it to the kernel, or to nobody."""

    class Private(Filesystem):
        def getattr(self, request: Request, nodeid: int, fh: int | None) -> Attributes:
            return Attributes(mode=stat.S_IFDIR | 0o755 if nodeid == 1 else stat.S_IFREG | 0o600)

        def lookup(self, request: Request, parent: int, name: str) -> Entry:
            return Entry(2, self.getattr(request, 2, None))

    with fusewire.mount(Private(), str(mountpoint), options, allow_other=True):
        root = os.open(mountpoint, os.O_PATH)
        command = ["cat", f"/proc/self/fd/{root}/private"]
        done = subprocess.run(command, pass_fds=[root], user=USER, capture_output=True, text=True, check=False)
        os.close(root)
    assert done.stderr.strip().endswith(said)
    assert done.returncode == (1 if said else 0), done.stderr


@pytest.mark.parametrize(("options", "told"), [("noexec", errno.EACCES), ("exec", 0)])
def test_noexec(options: str, told: int, mountpoint: Path) -> None:
    with served(*FUSEWIRE, "mount", "memory:", mountpoint, "-o", options, mountpoint=mountpoint):
        shutil.copy("/bin/true", mountpoint / "true")
        assert code_of(lambda: subprocess.run([mountpoint / "true"], check=True)) == told


@as_root
@pytest.mark.parametrize(("options", "effective"), [("nosuid", USER), ("suid", 0)])
def test_nosuid(options: str, effective: int, mountpoint: Path) -> None:
    with served(*FUSEWIRE, "mount", "memory:", mountpoint, "-o", f"{options},allow_other", mountpoint=mountpoint):
        shutil.copy("/usr/bin/id", mountpoint / "id")
        (mountpoint / "id").chmod(0o4755)
        program = os.open(mountpoint / "id", os.O_PATH)
        command = [f"/proc/self/fd/{program}", "-u"]
        done = subprocess.run(command, pass_fds=[program], user=USER, capture_output=True, check=True)
        os.close(program)
    assert int(done.stdout) == effective


@as_root
@pytest.mark.parametrize(("options", "told"), [("nodev", errno.EACCES), ("dev", 0)])
def test_nodev(options: str, told: int, mountpoint: Path) -> None:
    with fusewire.mount(Memory(), str(mountpoint), options):
        os.mknod(mountpoint / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        assert code_of(lambda: (mountpoint / "null").write_bytes(b"x")) == told


@pytest.mark.parametrize(("options", "told"), [("nosymfollow", errno.ELOOP), ("symfollow", 0)])
def test_nosymfollow(options: str, told: int, mountpoint: Path) -> None:
    with fusewire.mount(Memory(), str(mountpoint), options):
        (mountpoint / "file").touch()
        (mountpoint / "link").symlink_to("file")
        assert os.readlink(mountpoint / "link") == "file"
        assert code_of((mountpoint / "link").read_bytes) == told
