"""A local directory, on both kernels: callers must find what is in the source itself."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from fusewire.filesystems import LocalDirectory
from memory_caller import refused
from two_kernels import AnyKernel

both_ways = pytest.mark.parametrize("handles", [None, False], ids=["handles", "names"])
FIELDS = ("st_ino", "st_mode", "st_nlink", "st_size", "st_blocks", "st_blksize", "st_mtime_ns", "st_uid")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.mkdir()
    path.chmod(0o755)
    return path


@both_ways
def test_callers_find_what_they_wrote(kernel: AnyKernel, source: Path, handles: bool | None) -> None:
    content = bytes(range(256)) * 4096
    with kernel.serve(LocalDirectory(source, handles)) as system:
        system.mkdir("d")
        system.mkdir("d/e")
        system.create("d/e/f", 0o644, content)
        system.rename("d", "g")
        assert (source / "g/e/f").read_bytes() == system.read_file("g/e/f") == content
        system.link("g/e/f", "h")
        assert system.stat("h").st_nlink == system.stat("g/e/f").st_nlink == 2
        fd = system.open("h", os.O_WRONLY | os.O_APPEND)
        system.write(fd, b"appended")
        system.close(fd)
        assert (source / "h").read_bytes().endswith(b"\xffappended")
        system.unlink("h")
        truth, told = os.stat(source / "g/e/f"), system.stat("g/e/f")
        assert {name: getattr(told, name) for name in FIELDS} == {name: getattr(truth, name) for name in FIELDS}


@both_ways
def test_what_is_renamed_behind_its_back_is_found_by_path(
    kernel: AnyKernel, source: Path, handles: bool | None
) -> None:
    (source / "d").mkdir()
    (source / "d/a").write_bytes(b"A")
    local = LocalDirectory(source, handles)
    with kernel.serve(local, entry_timeout=0, attr_timeout=0) as system:
        assert system.read_file("d/a") == b"A"
        opened = system.open("d/a", os.O_RDONLY)
        (source / "d").rename(source / "e")
        local._inodes.recent.shrink()
        assert system.fstat(opened).st_ino == os.stat(source / "e/a").st_ino
        assert system.read_file("e/a") == b"A"
        (source / "e/a").unlink()
        (source / "e/a").write_bytes(b"another")
        (source / "e/b").write_bytes(b"B")
        local._inodes.recent.shrink()
        assert system.read(opened, 10) == b"A"
        assert system.fstat(opened).st_nlink == 0
        system.close(opened)
        assert system.read_file("e/b") == b"B"


def test_a_component_swapped_for_a_symlink_is_followed_by_the_kernel_alone(
    kernel: AnyKernel, tmp_path: Path, source: Path
) -> None:
    """The symlink's target is looked up where the caller is: inside the mount it leads where it says, not by us."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_bytes(b"outside")
    (source / "d").mkdir()
    (source / "d/file").write_bytes(b"inside")
    local = LocalDirectory(source, handles=False)
    with kernel.serve(local) as system:
        directory = system.open("d", os.O_RDONLY)
        (source / "d/file").unlink()
        (source / "d").rmdir()
        (source / "d").symlink_to(tmp_path / "outside")
        local._inodes.recent.shrink()
        with refused(errno.ENOENT):
            system.at(directory, "open", "file", os.O_RDONLY)
        system.close(directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make devices")
def test_device_numbers_and_types_are_true(kernel: AnyKernel, source: Path) -> None:
    with kernel.serve(LocalDirectory(source)) as system:
        system.mknod("null", stat.S_IFCHR | 0o666, 1, 3)
        system.mkfifo("fifo", 0o600)
        assert os.stat(source / "null").st_rdev == system.stat("null").st_rdev == os.makedev(1, 3)
        assert system.entries(".") == {"null": "special", "fifo": "special"}
