"""POSIX access control lists, through the attributes in which they are stored.

An ACL is a list of (tag, permissions, id), version 2 of its format before it. Its mask is what
the group bits of the mode show. A directory's default ACL is what new objects in it get.

Source: acl(5); include/uapi/linux/posix_acl_xattr.h; fs/posix_acl.c.
"""

from __future__ import annotations

import os
import struct
from errno import EACCES, EINVAL, ENODATA, EOPNOTSUPP, EPERM

from torture.conformance.tester import ALICE, BOB, CAROL, Tester, case

ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 1, 2, 4, 8, 16, 32
NOBODY = 2**32 - 1  # the id of entries that need none

Entry = tuple[int, int, int]


def packed(*entries: Entry) -> bytes:
    """An ACL as the attribute's value."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def unpacked(value: bytes) -> list[Entry]:
    """The entries of an attribute's value."""
    return list(struct.iter_unpack("<HHI", value[4:]))


def plain(user: int, group: int, other: int) -> list[Entry]:
    """The three entries that every ACL has; they say what a mode says."""
    return [(USER_OBJ, user, NOBODY), (GROUP_OBJ, group, NOBODY), (OTHER, other, NOBODY)]


def with_bob(permissions: int, mask: int = 7, other: int = 0) -> bytes:
    """An ACL of rw for the owner, nothing for the group, and something for bob."""
    user, group, others = plain(6, 0, other)
    return packed(user, (USER, permissions, BOB.uid), group, (MASK, mask, NOBODY), others)


def need(t: Tester) -> None:
    """Skip the case where there are no ACLs."""
    t.put("file", "file", 0o600, who=ALICE, content=b"content")
    try:
        t.root.setxattr("file", ACCESS, packed(*plain(6, 0, 0)))
    except OSError as error:
        if error.errno == EOPNOTSUPP:
            t.skip("no ACLs here")
        raise


@case("acl", needs="users")
def a_user_is_let_in(t: Tester) -> None:
    need(t)
    t.fails(EACCES, t.bob.open, "file", os.O_RDONLY)
    for permissions, mask in ((4, 7), (6, 7), (6, 4), (0, 7), (7, 0), (2, 6)):
        t.works(t.alice.setxattr, "file", ACCESS, with_bob(permissions, mask))
        for flags, need_bits in ((os.O_RDONLY, 4), (os.O_WRONLY, 2), (os.O_RDWR, 6)):
            t.allowed(permissions & mask & need_bits == need_bits, EACCES, t.bob.open, "file", flags)
        t.fails(EACCES, t.carol.open, "file", os.O_RDONLY)
        t.works(t.alice.open, "file", os.O_RDWR)
        t.mode("file", 0o600 | mask << 3)


@case("acl", needs="users")
def a_group_is_let_in(t: Tester) -> None:
    need(t)
    user, group, other = plain(6, 0, 0)
    entries = (user, group, (GROUP, 4, BOB.gid), (MASK, 7, NOBODY), other)
    t.works(t.alice.setxattr, "file", ACCESS, packed(*entries))
    t.works(t.bob.open, "file", os.O_RDONLY)
    t.fails(EACCES, t.bob.open, "file", os.O_WRONLY)
    t.fails(EACCES, t.carol.open, "file", os.O_RDONLY)
    t.equal("entries", unpacked(t.root.getxattr("file", ACCESS)), list(entries))


@case("acl", needs="users")
def chmod_changes_the_mask(t: Tester) -> None:
    need(t)
    t.root.setxattr("file", ACCESS, with_bob(6))
    t.works(t.alice.chmod, "file", 0o640)
    t.works(t.bob.open, "file", os.O_RDONLY)
    t.fails(EACCES, t.bob.open, "file", os.O_WRONLY)
    t.equal("the ACL", t.root.getxattr("file", ACCESS), with_bob(6, mask=4))
    t.works(t.alice.chmod, "file", 0o600)
    t.fails(EACCES, t.bob.open, "file", os.O_RDONLY)
    t.equal("the ACL then", t.root.getxattr("file", ACCESS), with_bob(6, mask=0))


@case("acl", needs="users")
def one_that_says_what_a_mode_says(t: Tester) -> None:
    """It is not stored: the mode is."""
    need(t)
    t.works(t.alice.setxattr, "file", ACCESS, packed(*plain(7, 5, 1)))
    t.mode("file", 0o751)
    t.fails(ENODATA, t.root.getxattr, "file", ACCESS)
    t.root.setxattr("file", ACCESS, with_bob(4))
    t.equal("names", t.root.listxattr("file"), [ACCESS])
    t.works(t.alice.removexattr, "file", ACCESS)
    t.fails(ENODATA, t.root.getxattr, "file", ACCESS)
    t.fails(EACCES, t.bob.open, "file", os.O_RDONLY)
    t.equal("names then", t.root.listxattr("file"), [])


@case("acl", needs="users")
def new_objects_inherit_the_default(t: Tester) -> None:
    need(t)
    t.put("dir", "dir", 0o777, who=ALICE)
    user, group, other = plain(7, 5, 0)
    entries = (user, (USER, 6, BOB.uid), group, (MASK, 7, NOBODY), other)
    t.works(t.alice.setxattr, "dir", DEFAULT, packed(*entries))
    t.mode("dir", 0o777)
    t.alice.umask(0o077)  # a default ACL takes its place
    t.works(t.alice.create, "dir/file", 0o666)
    t.works(t.alice.mkdir, "dir/sub", 0o777)
    t.works(t.alice.mkfifo, "dir/fifo", 0o660)
    t.alice.umask(0)
    t.mode("dir/file", 0o660)
    t.mode("dir/sub", 0o770)
    t.mode("dir/fifo", 0o660)
    t.works(t.bob.open, "dir/file", os.O_RDWR)
    t.fails(EACCES, t.carol.open, "dir/file", os.O_WRONLY)
    inherited = [(tag, bits & 6 if tag in (USER_OBJ, MASK) else bits, number) for tag, bits, number in entries]
    t.equal("the file's ACL", unpacked(t.root.getxattr("dir/file", ACCESS)), inherited)
    t.equal("the directory's default", unpacked(t.root.getxattr("dir/sub", DEFAULT)), list(entries))
    t.fails(ENODATA, t.root.getxattr, "dir/file", DEFAULT)
    t.works(t.alice.removexattr, "dir", DEFAULT)
    t.works(t.alice.create, "dir/later", 0o640)
    t.fails(ENODATA, t.root.getxattr, "dir/later", ACCESS)
    t.mode("dir/later", 0o640)


@case("acl", needs="users")
def refusals(t: Tester) -> None:
    need(t)
    user, group, other = plain(6, 4, 4)
    t.fails(EPERM, t.bob.setxattr, "file", ACCESS, with_bob(7))
    t.fails(EPERM, t.bob.removexattr, "file", ACCESS)
    t.fails(EINVAL, t.alice.setxattr, "file", ACCESS, packed(user, group))
    t.fails(EINVAL, t.alice.setxattr, "file", ACCESS, packed(user, (USER, 4, CAROL.uid), group, other))
    t.fails(EINVAL, t.alice.setxattr, "file", ACCESS, packed(user, group, other)[:-3])
    t.fails(EACCES, t.alice.setxattr, "file", DEFAULT, with_bob(7))
    t.mode("file", 0o600)
