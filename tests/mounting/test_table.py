"""The table of mounts: read as the kernel writes it, walked as the kernel walks."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusewire.mounting import MountInfo, covering, read_table
from fusewire.mounting.table import lies_in, mount_id_of, parse_table

names = st.binary(min_size=1, max_size=20).filter(lambda name: not set(name) & {0, ord("/")}).map(os.fsdecode)
paths = st.lists(names, max_size=4).map(lambda parts: "/" + "/".join(parts))
words = st.text("abcz0189._:,=", min_size=1, max_size=10)
tags = st.lists(st.sampled_from(["shared:1", "master:2", "propagate_from:3", "unbindable"]), max_size=3)


def mangled(text: str) -> bytes:
    """Write a field as the kernel does (fs/proc_namespace.c, mangle)."""
    return b"".join(b"\\%03o" % byte if byte in b" \t\n\\#" else bytes([byte]) for byte in os.fsencode(text))


@st.composite
def lines(draw: st.DrawFn) -> tuple[bytes, MountInfo]:
    """A line, and what it says."""
    numbers: list[Any] = [draw(st.integers(0, 1 << 31)) for _ in range(4)]
    texts = [draw(field) for field in (paths, paths, words, words, names, words)]
    before = "{} {} {}:{}".format(*numbers).encode()
    line = [before, *map(mangled, texts[:3]), *map(str.encode, draw(tags)), b"-", *map(mangled, texts[3:])]
    return b" ".join(line), MountInfo(*numbers, *texts)


@given(st.lists(lines(), max_size=5))
def test_every_line_is_read(written: list[tuple[bytes, MountInfo]]) -> None:
    text = b"".join(line + b"\n" for line, _ in written)
    assert parse_table(text) == [mount for _, mount in written]


@pytest.mark.parametrize(
    ("fstype", "is_fuse"),
    [
        ("fuse", True),
        ("fuse.sshfs", True),
        ("fuseblk", True),
        ("fuseblk.ntfs", True),
        ("fusectl", False),
        ("virtiofs", False),
        ("ext4", False),
        ("fusion", False),
    ],
)
def test_what_is_fuse(fstype: str, is_fuse: bool) -> None:
    assert mounted(1, 0, "/", fstype).is_fuse == is_fuse


def mounted(mount_id: int, parent_id: int, mountpoint: str, fstype: str = "fuse", super_options: str = "") -> MountInfo:
    return MountInfo(mount_id, parent_id, 0, 40 + mount_id, "/", mountpoint, "rw", fstype, "s", super_options)


def test_the_owner_of_a_mount() -> None:
    ours = mounted(1, 0, "/", super_options="rw,user_id=12,group_id=34,default_permissions")
    assert (ours.user_id, ours.group_id) == (12, 34)
    assert mounted(1, 0, "/", super_options="rw,uuser_id=3,user_id=x").user_id == 0


ROOT = mounted(1, 1, "/")
TABLE = [
    ROOT,
    mounted(2, 1, "/mnt"),
    mounted(3, 2, "/mnt/x"),
    mounted(4, 3, "/mnt/x"),  # on top of it
    mounted(5, 2, "/mnt/xy"),
    mounted(6, 1, "/hidden/below"),
    mounted(7, 1, "/hidden"),  # came later: 6 is out of sight
    mounted(8, 4, "/mnt/x/in"),
]


@pytest.mark.parametrize(
    ("path", "mount_id"),
    [
        ("/", 1),
        ("/etc", 1),
        ("/mnt", 2),
        ("/mnt/z", 2),
        ("/mnt/x", 4),
        ("/mnt/x/file", 4),
        ("/mnt/x/in/file", 8),
        ("/mnt/xyz", 2),
        ("/mnt/xy", 5),
        ("/hidden/below", 7),
        ("/hidden/below/file", 7),
        ("/mntx", 1),
    ],
)
def test_where_a_path_leads(path: str, mount_id: int) -> None:
    for table in (TABLE, TABLE[::-1]):
        found = covering(table, path)
        assert found is not None
        assert found.mount_id == mount_id


def test_a_table_without_its_root_is_that_of_a_chroot() -> None:
    assert covering([mounted(3, 2, "/mnt/x")], "/etc") is None
    assert covering([mounted(3, 2, "/mnt/x")], "/mnt/x/file") == mounted(3, 2, "/mnt/x")
    assert covering([], "/") is None


@given(paths, names)
def test_what_lies_in_a_directory(directory: str, name: str) -> None:
    below = f"{directory.rstrip('/')}/{name}"
    assert lies_in(directory, directory)
    assert lies_in(below, directory)
    assert not lies_in(directory, below)
    assert not lies_in(below + name, below)


def test_the_table_of_this_machine_is_that_of_its_kernel() -> None:
    """Each visible mountpoint is covered by the mount that the kernel finds there."""
    table = read_table()
    for mount in table:
        if (
            mount.fstype in ("proc", "sysfs", "devtmpfs", "tmpfs", "ext4")
            and covering(table, mount.mountpoint) == mount
        ):
            fd = os.open(mount.mountpoint, os.O_PATH)
            try:
                assert mount_id_of(fd) == mount.mount_id
            finally:
                os.close(fd)
    assert any(mount.fstype == "proc" for mount in table)
