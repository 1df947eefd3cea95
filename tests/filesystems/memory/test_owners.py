"""The filesystem in memory, asked directly: whose things are, what they lend, and extended attributes."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

import pytest

from fusewire.daemon.values import SetAttributes
from fusewire.filesystems.memory import Memory
from memory_caller import ROOT, Caller, all_refused, refused

ALICE, BOB = 1000, 1001


# --- owners and modes


def test_new_things_belong_to_the_caller(root: Caller, alice: Caller) -> None:
    for attributes in (
        alice.create(ROOT, "f", os.O_RDWR, 0o640)[0].attributes,
        alice.mkdir(ROOT, "d", 0o750).attributes,
        alice.symlink(ROOT, "s", "x").attributes,
        alice.mknod(ROOT, "p", stat.S_IFIFO | 0o600, 0).attributes,
        alice.tmpfile(ROOT, os.O_RDWR, 0o600)[0].attributes,
    ):
        assert (attributes.uid, attributes.gid) == (ALICE, ALICE)
    assert root.permissions(root.lookup(ROOT, "d").nodeid) == 0o750


def test_a_setgid_directory_gives_its_group(root: Caller, alice: Caller) -> None:
    above = root.directory("d", mode=0o2777)
    root.setattr(above, SetAttributes(gid=BOB))
    root.setattr(above, SetAttributes(mode=0o2777))
    below = alice.mkdir(above, "below", 0o755).attributes
    file = alice.create(above, "file", 0, 0o644)[0].attributes
    assert (below.uid, below.gid, stat.S_IMODE(below.mode)) == (ALICE, BOB, 0o2755)
    assert (file.uid, file.gid, stat.S_IMODE(file.mode)) == (ALICE, BOB, 0o644)


def test_nobody_makes_a_program_of_a_group_that_he_is_not_in(root: Caller, memory: Memory) -> None:
    above = root.directory("d", mode=0o2777)
    root.setattr(above, SetAttributes(gid=54321, mode=0o2777))
    for caller, wanted in (
        (Caller(memory, ALICE, ALICE), 0o755),
        (Caller(memory, ALICE, 54321), 0o2755),
        (root, 0o2755),
    ):
        name = f"program of {caller.uid} {caller.gid}"
        assert stat.S_IMODE(caller.mknod(above, name, stat.S_IFREG | 0o2755, 0).attributes.mode) == wanted
        assert stat.S_IMODE(caller.mknod(above, name + "'", stat.S_IFREG | 0o2745, 0).attributes.mode) == 0o2745


def test_chmod_leaves_the_type(root: Caller) -> None:
    directory = root.directory("d")
    assert root.setattr(directory, SetAttributes(mode=0o1777)).mode == stat.S_IFDIR | 0o1777
    assert root.setattr(directory, SetAttributes(mode=stat.S_IFREG | 0o600)).mode == stat.S_IFDIR | 0o600


@pytest.mark.parametrize(
    ("mode", "left", "group"),
    [
        (0o4755, 0o755, ALICE),
        (0o6777, 0o777, ALICE),
        (0o2755, 0o755, ALICE),
        (0o2745, 0o2745, ALICE),  # mandatory locking of old: a member keeps it
        (0o2745, 0o745, 54321),
        (0o1644, 0o1644, ALICE),
    ],
)
def test_what_a_program_lends_is_lost_when_the_kernel_says_so(alice: Caller, mode: int, left: int, group: int) -> None:
    program = alice.file("program", b"x")
    how = (
        SetAttributes(size=1, kill_suidgid=True),
        SetAttributes(uid=ALICE, kill_suidgid=True),
        SetAttributes(gid=group, kill_suidgid=True),
        SetAttributes(),  # chown(path, -1, -1)
    )
    for changes in how:
        alice.setattr(program, SetAttributes(mode=mode, gid=group))
        assert stat.S_IMODE(alice.setattr(program, changes).mode) == left
    alice.setattr(program, SetAttributes(mode=mode))
    alice.filesystem.write(alice.request("WRITE", write_flags=4), program, 0, 0, memoryview(b"y"))
    assert alice.permissions(program) == left


def test_nothing_is_lost_when_the_kernel_does_not_say_so(root: Caller) -> None:
    program, directory = root.file("program"), root.directory("d")
    for changes in (SetAttributes(size=0), SetAttributes(mode=0o6755), SetAttributes(mtime_ns=5)):
        root.setattr(program, SetAttributes(mode=0o6755))
        assert stat.S_IMODE(root.setattr(program, changes).mode) == 0o6755
    root.write(program, 0, 0, memoryview(b"x"))
    assert root.permissions(program) == 0o6755
    root.setattr(directory, SetAttributes(mode=0o6755))
    assert stat.S_IMODE(root.setattr(directory, SetAttributes(uid=5, kill_suidgid=True)).mode) == 0o6755


def test_a_chown_to_nobody_takes_nothing_from_a_strangers_program(memory: Memory, alice: Caller) -> None:
    """What Linux sends looks the same before a write, and the write takes it."""
    program, bob = alice.file("program", b"x"), Caller(memory, BOB, BOB)
    changes: tuple[tuple[Callable[[], object], int], ...] = (
        (lambda: bob.setattr(program, SetAttributes()), 0o6755),
        (lambda: bob.filesystem.write(bob.request("WRITE", write_flags=4), program, 0, 0, memoryview(b"y")), 0o755),
        (lambda: bob.fallocate(program, 0, 0, 10, 0), 0o755),
        (lambda: bob.copy_file_range(program, 0, 0, program, 0, 100, 5, 0), 0o755),
    )
    for change, left in changes:
        alice.setattr(program, SetAttributes(mode=0o6755))
        change()
        assert alice.permissions(program) == left


def test_what_may_be_a_write_of_root_leaves_set_user_id(root: Caller) -> None:
    """Before one, Linux asks for no more than that capabilities go; but nobody writes to a fifo by a request."""
    program, fifo = root.file("program"), root.mknod(ROOT, "fifo", stat.S_IFIFO | 0o6755, 0).nodeid
    root.setattr(program, SetAttributes(mode=0o6755))
    for nodeid in (program, fifo):
        root.setattr(nodeid, SetAttributes())
    assert (root.permissions(program), root.permissions(fifo)) == (0o6755, 0o755)


def test_capabilities_go_with_any_change_of_content_or_owner(root: Caller) -> None:
    file, name = root.file("f", b"x"), "security.capability"
    changes: tuple[Callable[[], object], ...] = (
        lambda: root.write(file, 0, 0, memoryview(b"y")),
        lambda: root.setattr(file, SetAttributes(size=0)),
        lambda: root.setattr(file, SetAttributes(uid=3)),
        lambda: root.fallocate(file, 0, 0, 10, 0),
        lambda: root.copy_file_range(file, 0, 0, file, 0, 100, 5, 0),
    )
    for change in changes:
        root.setxattr(file, name, b"all", 0)
        change()
        with refused(errno.ENODATA):
            root.getxattr(file, name)
    root.setxattr(file, name, b"all", 0)
    root.setattr(file, SetAttributes(mode=0o600))
    assert root.getxattr(file, name) == b"all"


# --- extended attributes


def test_xattrs_are_set_replaced_and_removed(root: Caller) -> None:
    file = root.file("f")
    root.setxattr(file, "user.é\udcff", memoryview(b"1"), os.XATTR_CREATE)
    root.setxattr(file, "user.é\udcff", memoryview(b"22"), os.XATTR_REPLACE)
    root.setxattr(file, "user.empty", memoryview(b""), 0)
    assert root.getxattr(file, "user.é\udcff") == b"22"
    assert root.listxattr(file) == ["user.é\udcff", "user.empty"]
    root.removexattr(file, "user.é\udcff")
    assert root.listxattr(file) == ["user.empty"]


def test_xattrs_that_cannot_be_are_refused(root: Caller) -> None:
    file, other = root.file("f"), root.file("other")
    root.setxattr(file, "user.there", b"1", 0)
    all_refused(
        (errno.EEXIST, lambda: root.setxattr(file, "user.there", b"", os.XATTR_CREATE)),
        (errno.ENODATA, lambda: root.setxattr(file, "user.absent", b"", os.XATTR_REPLACE)),
        (errno.ENODATA, lambda: root.getxattr(file, "user.absent")),
        (errno.ENODATA, lambda: root.getxattr(other, "user.absent")),
        (errno.ENODATA, lambda: root.removexattr(file, "user.absent")),
        (errno.ENODATA, lambda: root.removexattr(other, "user.absent")),
        (errno.EOPNOTSUPP, lambda: root.setxattr(file, "osx.x", b"", 0)),
        (errno.EOPNOTSUPP, lambda: root.getxattr(file, "plain")),
        (errno.EINVAL, lambda: root.setxattr(file, "user.", b"", 0)),
        (errno.EINVAL, lambda: root.setxattr(file, "user.x", b"", 4)),
        (errno.ERANGE, lambda: root.setxattr(file, "user." + "é" * 126, b"", 0)),
        (errno.E2BIG, lambda: root.setxattr(file, "user.x", bytes(65537), 0)),
    )
    assert root.getxattr(file, "user.there") == b"1"
    assert root.listxattr(other) == []


def test_trusted_xattrs_are_shown_to_root_alone(root: Caller, alice: Caller) -> None:
    file = root.file("f")
    for name in ("user.u", "trusted.t", "security.s"):
        root.setxattr(file, name, b"", 0)
    assert root.listxattr(file) == ["user.u", "trusted.t", "security.s"]
    assert alice.listxattr(file) == ["user.u", "security.s"]


def test_xattrs_take_room_and_give_it_back(memory: Memory, root: Caller) -> None:
    file = root.file("f")
    root.setxattr(file, "user.a", bytes(100), 0)
    root.setxattr(file, "user.b", bytes(100), 0)
    assert root.statfs(ROOT).bfree == 255
    for number in range(16):
        root.setxattr(file, f"user.{number}", bytes(65000), 0)
    with refused(errno.ENOSPC):
        root.setxattr(file, "user.more", bytes(65536), 0)
    assert len(root.listxattr(file)) == 18
    root.unlink(ROOT, "f")
    memory.forget(file, 1)
    assert root.statfs(ROOT).bfree == 256


def test_no_more_xattrs_fit_than_can_be_listed(root: Caller) -> None:
    file = root.file("f")
    with refused(errno.ENOSPC):
        for number in range(1000):
            root.setxattr(file, f"user.{number:0250}", b"", 0)
    assert sum(len(name) + 1 for name in root.listxattr(file)) <= 65536
