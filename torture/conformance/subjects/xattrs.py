"""Extended attributes.

Source: xattr(7), setxattr(2); fs/xattr.c.
"""

from __future__ import annotations

import os
from errno import E2BIG, EACCES, EEXIST, EINVAL, ENODATA, ENOTSUP, EPERM, ERANGE

from torture.conformance.tester import ALICE, Tester, case


def need(t: Tester) -> None:
    """Skip the case where user attributes are not supported."""
    t.put("file", "file", 0o644)
    try:
        t.root.setxattr("file", "user.probe", b"")
    except OSError as error:
        if error.errno == ENOTSUP:
            t.skip("no user attributes here")
        raise
    t.root.removexattr("file", "user.probe")


VALUES = (b"", b"x", b"text", bytes(range(256)), b"\0" * 10, b"v" * 1000, b"\xff\xfe")


@case("xattr")
def values_are_kept_to_the_byte(t: Tester) -> None:
    need(t)
    t.root.mkdir("dir", 0o755)
    for path in ("file", "dir"):
        for number, value in enumerate(VALUES):
            name = f"user.name-{number}"
            t.works(t.root.setxattr, path, name, value)
            t.equal(f"value {number} of {path}", t.root.getxattr(path, name), value)
        t.equal(f"names of {path}", sorted(t.root.listxattr(path)), [f"user.name-{n}" for n in range(len(VALUES))])
        t.works(t.root.setxattr, path, "user.name-0", b"longer than before")
        t.equal("value, replaced", t.root.getxattr(path, "user.name-0"), b"longer than before")
        for number in range(len(VALUES)):
            t.works(t.root.removexattr, path, f"user.name-{number}")
        t.equal(f"names of {path} in the end", t.root.listxattr(path), [])


@case("xattr")
def creating_and_replacing(t: Tester) -> None:
    need(t)
    t.fails(ENODATA, t.root.setxattr, "file", "user.a", b"1", os.XATTR_REPLACE)
    t.works(t.root.setxattr, "file", "user.a", b"1", os.XATTR_CREATE)
    t.fails(EEXIST, t.root.setxattr, "file", "user.a", b"2", os.XATTR_CREATE)
    t.equal("value", t.root.getxattr("file", "user.a"), b"1")
    t.works(t.root.setxattr, "file", "user.a", b"3", os.XATTR_REPLACE)
    t.equal("value, replaced", t.root.getxattr("file", "user.a"), b"3")
    t.fails(EINVAL, t.root.setxattr, "file", "user.a", b"4", 99)


@case("xattr")
def what_is_missing(t: Tester) -> None:
    need(t)
    t.fails(ENODATA, t.root.getxattr, "file", "user.none")
    t.fails(ENODATA, t.root.removexattr, "file", "user.none")
    t.equal("names", t.root.listxattr("file"), [])
    t.works(t.root.setxattr, "file", "user.once", b"1")
    t.works(t.root.removexattr, "file", "user.once")
    t.fails(ENODATA, t.root.removexattr, "file", "user.once")
    t.fails(ENODATA, t.root.getxattr, "file", "user.once")


@case("xattr")
def sizes_are_asked_for(t: Tester) -> None:
    need(t)
    t.root.setxattr("file", "user.ten", b"0123456789")
    t.root.setxattr("file", "user.empty", b"")
    t.equal("length of the value", t.works(t.root.getxattr_sized, "file", "user.ten", 0), 10)
    t.equal("exactly enough", t.works(t.root.getxattr_sized, "file", "user.ten", 10), 10)
    t.equal("more than enough", t.works(t.root.getxattr_sized, "file", "user.ten", 100), 10)
    t.fails(ERANGE, t.root.getxattr_sized, "file", "user.ten", 9)
    t.fails(ERANGE, t.root.getxattr_sized, "file", "user.ten", 1)
    t.equal("length of nothing", t.works(t.root.getxattr_sized, "file", "user.empty", 0), 0)
    t.equal("nothing", t.works(t.root.getxattr_sized, "file", "user.empty", 10), 0)
    wanted = len("user.ten") + 1 + len("user.empty") + 1
    t.equal("length of the list", t.works(t.root.listxattr_sized, "file", 0), wanted)
    t.equal("the list", t.works(t.root.listxattr_sized, "file", wanted), wanted)
    t.fails(ERANGE, t.root.listxattr_sized, "file", wanted - 1)


@case("xattr")
def names(t: Tester) -> None:
    need(t)
    longest = "user." + "n" * 250
    t.works(t.root.setxattr, "file", longest, b"1")
    t.equal("value", t.root.getxattr("file", longest), b"1")
    t.fails(ERANGE, t.root.setxattr, "file", longest + "n", b"1")
    t.fails(ERANGE, t.root.setxattr, "file", "", b"1")
    t.fails(ENOTSUP, t.root.setxattr, "file", "nonsense", b"1")
    t.fails(ENOTSUP, t.root.setxattr, "file", "nonsense.x", b"1")
    t.works(t.root.setxattr, "file", "user.\udcff\udcfe", b"1")
    t.works(t.root.setxattr, "file", "user.with space.ü", b"1")
    t.works(t.root.setxattr, "file", "user.a.b.c", b"1")
    wanted = sorted((longest, "user.\udcff\udcfe", "user.with space.ü", "user.a.b.c"))
    t.equal("names", sorted(t.root.listxattr("file")), wanted)


@case("xattr")
def values_that_are_too_long(t: Tester) -> None:
    need(t)
    t.fails(E2BIG, t.root.setxattr, "file", "user.huge", b"v" * 65537)
    t.equal("names", t.root.listxattr("file"), [])


@case("xattr", needs="root")
def which_kinds_have_them(t: Tester) -> None:
    need(t)
    for kind in ("fifo", "socket", "char", "block", "symlink"):
        t.put(kind, kind)
    for kind in ("fifo", "socket", "char", "block"):
        t.fails(EPERM, t.root.setxattr, kind, "user.x", b"1")
        t.works(t.root.setxattr, kind, "trusted.x", b"1")
        t.equal(f"trusted.x of {kind}", t.works(t.root.getxattr, kind, "trusted.x"), b"1")
    t.root.symlink("file", "link")
    t.works(t.root.setxattr, "link", "user.followed", b"1")
    t.equal("user.followed of the file", t.root.getxattr("file", "user.followed"), b"1")


@case("xattr", needs="users")
def by_mode(t: Tester) -> None:
    need(t)
    t.root.chown("file", ALICE.uid, ALICE.gid)
    t.root.setxattr("file", "user.x", b"1")
    t.root.chmod("file", 0o644)
    t.works(t.bob.getxattr, "file", "user.x")
    t.fails(EACCES, t.bob.setxattr, "file", "user.x", b"2")
    t.fails(EACCES, t.bob.removexattr, "file", "user.x")
    t.root.chmod("file", 0o600)
    t.fails(EACCES, t.bob.getxattr, "file", "user.x")
    t.root.chmod("file", 0o622)
    t.works(t.bob.setxattr, "file", "user.x", b"3")
    t.fails(EACCES, t.bob.getxattr, "file", "user.x")
    t.works(t.alice.getxattr, "file", "user.x")
    t.root.mkdir("sticky", 0o777)
    t.root.chown("sticky", ALICE.uid, ALICE.gid)
    t.root.chmod("sticky", 0o1777)
    t.fails(EPERM, t.bob.setxattr, "sticky", "user.x", b"1")
    t.works(t.alice.setxattr, "sticky", "user.x", b"1")


@case("xattr", needs="users")
def trusted_ones(t: Tester) -> None:
    need(t)
    t.root.chmod("file", 0o666)
    t.works(t.root.setxattr, "file", "trusted.secret", b"1")
    t.equal("for root", t.root.getxattr("file", "trusted.secret"), b"1")
    t.fails(EPERM, t.alice.setxattr, "file", "trusted.secret", b"2")
    t.fails(ENODATA, t.alice.getxattr, "file", "trusted.secret")
    t.fails(EPERM, t.alice.removexattr, "file", "trusted.secret")
    t.works(t.root.removexattr, "file", "trusted.secret")


@case("xattr")
def they_belong_to_the_object(t: Tester) -> None:
    need(t)
    t.root.setxattr("file", "user.x", b"1")
    t.root.link("file", "link")
    t.equal("by the other name", t.root.getxattr("link", "user.x"), b"1")
    t.root.rename("file", "renamed")
    t.equal("after a rename", t.root.getxattr("renamed", "user.x"), b"1")
    t.root.write_file("renamed", b"content")
    t.root.chmod("renamed", 0o600)
    t.equal("after a write", t.root.getxattr("renamed", "user.x"), b"1")
    fd = t.root.open("link", os.O_RDWR)
    t.works(t.root.unlink, "renamed")
    t.works(t.root.unlink, "link")
    t.equal("by the descriptor", t.works(t.root.getxattr, fd, "user.x"), b"1")
    t.works(t.root.setxattr, fd, "user.y", b"2")
    t.equal("names", sorted(t.root.listxattr(fd)), ["user.x", "user.y"])
    t.works(t.root.create, "file")
    t.equal("names of a new file", t.root.listxattr("file"), [])
