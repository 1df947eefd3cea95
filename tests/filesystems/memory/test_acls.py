"""POSIX ACLs of the filesystem in memory, asked directly: how ACL and mode keep in step."""

from __future__ import annotations

import errno
import os
import stat
import struct

import pytest

from fusewire.daemon.values import SetAttributes
from fusewire.filesystems.memory import Memory
from memory_caller import ROOT, Caller, all_refused, known, refused

ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
NOBODY = 2**32 - 1
KILL_SGID = 1

Entry = tuple[int, int] | tuple[int, int, int]


def acl(*entries: Entry) -> bytes:
    """An ACL as the wire has it, of (tag, permissions) and (tag, permissions, id)."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *(*entry, NOBODY)[:3]) for entry in entries)


WIDE = acl((USER_OBJ, 7), (USER, 6, 1000), (GROUP_OBJ, 5), (MASK, 7), (OTHER, 4))
PLAIN = acl((USER_OBJ, 6), (GROUP_OBJ, 4), (OTHER, 0))


def test_an_access_acl_changes_the_mode(root: Caller) -> None:
    file = root.file("f", mode=0o4000)
    root.setxattr(file, ACCESS, memoryview(WIDE), 0)
    assert root.permissions(file) == 0o4774  # the group's bits are the mask
    assert root.getxattr(file, ACCESS) == WIDE
    assert root.listxattr(file) == [ACCESS]


def test_an_acl_that_says_what_the_mode_says_is_not_kept(root: Caller) -> None:
    file = root.file("f")
    root.setxattr(file, ACCESS, PLAIN, 0)
    assert (root.permissions(file), root.listxattr(file)) == (0o640, [])
    root.setxattr(file, ACCESS, WIDE, 0)
    root.setxattr(file, ACCESS, PLAIN, 0)
    assert (root.permissions(file), root.listxattr(file)) == (0o640, [])


def test_chmod_changes_the_acl(root: Caller) -> None:
    file = root.file("f")
    root.setxattr(file, ACCESS, WIDE, 0)
    root.setattr(file, SetAttributes(mode=0o610))
    assert root.getxattr(file, ACCESS) == acl((USER_OBJ, 6), (USER, 6, 1000), (GROUP_OBJ, 5), (MASK, 1), (OTHER, 0))


def test_removing_an_acl_leaves_the_mode(root: Caller) -> None:
    file = root.file("f")
    root.setxattr(file, ACCESS, WIDE, 0)
    for _ in range(2):  # nobody minds if it is not there
        root.removexattr(file, ACCESS)
        assert (root.permissions(file), root.listxattr(file)) == (0o774, [])


def test_what_is_made_in_a_directory_begins_with_its_default_acl(memory: Memory) -> None:
    alice = Caller(memory, 1000, 1000, umask=0o077)  # which does not count here
    above = alice.directory("d")
    alice.setxattr(above, DEFAULT, WIDE, 0)
    file, below = alice.file("f", parent=above, mode=0o664), alice.directory("below", above, mode=0o700)
    assert alice.permissions(file) == 0o664
    assert alice.getxattr(file, ACCESS) == acl((USER_OBJ, 6), (USER, 6, 1000), (GROUP_OBJ, 5), (MASK, 6), (OTHER, 4))
    assert alice.permissions(below) == 0o700
    assert alice.getxattr(below, ACCESS) == acl((USER_OBJ, 7), (USER, 6, 1000), (GROUP_OBJ, 5), (MASK, 0), (OTHER, 0))
    assert (alice.getxattr(below, DEFAULT), alice.listxattr(file)) == (WIDE, [ACCESS])
    assert alice.permissions(alice.symlink(above, "s", "x").nodeid) == 0o777
    assert alice.permissions(alice.tmpfile(above, os.O_RDWR, 0o666)[0].nodeid) == 0o664


def test_a_plain_default_acl_stands_for_the_umask(memory: Memory) -> None:
    alice = Caller(memory, 1000, 1000, umask=0o777)
    above = alice.directory("d")
    alice.setxattr(above, DEFAULT, PLAIN, 0)
    file = alice.file("f", parent=above, mode=0o666)
    assert (alice.permissions(file), alice.listxattr(file)) == (0o640, [])


def test_elsewhere_the_umask_counts(memory: Memory) -> None:
    alice = Caller(memory, 1000, 1000, umask=0o027)
    assert alice.permissions(alice.file("f", mode=0o666)) == 0o640
    assert alice.permissions(alice.directory("d", mode=0o1777)) == 0o1750
    assert alice.permissions(alice.mknod(ROOT, "p", stat.S_IFIFO | 0o666, 0).nodeid) == 0o640
    assert alice.permissions(alice.tmpfile(ROOT, os.O_RDWR, 0o666)[0].nodeid) == 0o640
    assert alice.permissions(alice.symlink(ROOT, "s", "x").nodeid) == 0o777


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"junk",
        struct.pack("<I", 1) + PLAIN[4:],  # another version
        PLAIN[:-1],
        acl(),
        acl((USER_OBJ, 7), (GROUP_OBJ, 7)),
        acl((USER_OBJ, 7), (USER_OBJ, 7), (GROUP_OBJ, 7), (OTHER, 7)),
        acl((GROUP_OBJ, 7), (USER_OBJ, 7), (OTHER, 7)),
        acl((USER_OBJ, 7), (USER, 7, 1), (GROUP_OBJ, 7), (OTHER, 7)),  # no mask
        acl((USER_OBJ, 7), (GROUP_OBJ, 7), (MASK, 7), (MASK, 7), (OTHER, 7)),
        acl((USER_OBJ, 8), (GROUP_OBJ, 7), (OTHER, 7)),
        acl((USER_OBJ, 7), (GROUP_OBJ, 7), (OTHER, 7), (64, 7)),
    ],
)
def test_what_is_no_acl_is_refused(root: Caller, junk: bytes) -> None:
    directory = root.directory("d")
    all_refused(
        (errno.EINVAL, lambda: root.setxattr(directory, ACCESS, junk, 0)),
        (errno.EINVAL, lambda: root.setxattr(directory, DEFAULT, junk, 0)),
    )
    assert (root.permissions(directory), root.listxattr(directory)) == (0o755, [])


def test_only_directories_have_a_default_acl(root: Caller) -> None:
    with refused(errno.EACCES):
        root.setxattr(root.file("f"), DEFAULT, WIDE, 0)
    with refused(errno.EOPNOTSUPP):
        root.setxattr(ROOT, "system.other", WIDE, 0)


def test_who_is_not_in_the_group_loses_its_bit_when_the_kernel_says_so(root: Caller) -> None:
    file = root.file("f", mode=0o2755)
    root.setxattr(file, ACCESS, WIDE, 0)
    assert root.permissions(file) == 0o2774
    root.filesystem.setxattr(root.request("SETXATTR", setxattr_flags=KILL_SGID), file, ACCESS, memoryview(WIDE), 0)
    assert root.permissions(file) == 0o774


def test_without_room_for_its_acl_nothing_is_made(memory: Memory, root: Caller) -> None:
    root.setxattr(ROOT, DEFAULT, WIDE, 0)
    root.file("full")
    free = root.statfs(ROOT).bfree
    full = root.lookup(ROOT, "full").nodeid
    root.write(full, 0, 0, memoryview(bytes(free * 4096)))
    before, places = known(memory), root.statfs(ROOT).ffree
    all_refused(
        (errno.ENOSPC, lambda: root.file("f")),
        (errno.ENOSPC, lambda: root.mkdir(ROOT, "d", 0o755)),
        (errno.ENOSPC, lambda: root.tmpfile(ROOT, 0, 0o644)),
    )
    assert (known(memory), root.statfs(ROOT).ffree, set(root.list())) == (before, places, {"full"})
