"""link and unlink: names come and go, the object stays while anything holds it.

Source: link(2), unlink(2); fs/namei.c, vfs_link and vfs_unlink.
"""

from __future__ import annotations

import os
from errno import EEXIST, EISDIR, ENOENT, EPERM, EXDEV

from torture.conformance.tester import ALICE, Tester, case

KINDS = ("file", "fifo", "socket", "char", "block", "symlink")


@case("link", needs="root")
def every_kind_but_directories(t: Tester) -> None:
    for kind in KINDS:
        t.put(kind, kind)
        t.works(t.root.link, kind, f"{kind}-two")
        t.nlink(kind, 2)
        t.works(t.root.link, f"{kind}-two", f"{kind}-three")
        t.nlink(kind, 3)
        if kind != "symlink":
            t.works(t.root.chmod, f"{kind}-two", 0o201)
        t.works(t.root.lchown, f"{kind}-two", ALICE.uid, ALICE.gid)
        one, three = t.root.lstat(kind), t.root.lstat(f"{kind}-three")
        t.mode(kind, 0o777 if kind == "symlink" else 0o201)
        t.owner(kind, ALICE.uid, ALICE.gid)
        for name in ("st_ino", "st_mode", "st_uid", "st_size", "st_rdev", "st_mtime_ns", "st_ctime_ns"):
            t.equal(f"{name} of {kind}-three", getattr(three, name) - getattr(one, name), 0)
        t.works(t.root.unlink, kind)
        t.nlink(f"{kind}-three", 2)
        t.works(t.root.unlink, f"{kind}-two")
        t.nlink(f"{kind}-three", 1)
        t.fails(ENOENT, t.root.lstat, kind)


@case("link")
def both_names_are_one_file(t: Tester) -> None:
    t.put("file", "one", 0o644)
    t.root.mkdir("dir", 0o755)
    t.root.link("one", "dir/two")
    t.root.write_file("one", b"hello")
    t.content("dir/two", b"hello")
    t.root.chmod("dir/two", 0o600)
    t.mode("one", 0o600)
    t.root.truncate("dir/two", 2)
    t.content("one", b"he")
    fd = t.root.open("one", os.O_RDONLY)
    t.works(t.root.unlink, "one")
    t.equal("nlink by the descriptor", t.root.fstat(fd).st_nlink, 1)
    t.root.write_file("dir/two", b"HE")
    t.equal("what the descriptor reads", t.root.pread(fd, 10, 0), b"HE")


@case("link")
def refusals(t: Tester) -> None:
    t.root.mkdir("dir", 0o755)
    t.put("file", "file")
    t.fails(EPERM, t.root.link, "dir", "dir-two")
    t.fails(EEXIST, t.root.link, "file", "file")
    t.fails(EEXIST, t.root.link, "file", "dir")
    t.fails(EEXIST, t.root.link, "file", ".")
    if t.elsewhere():
        away = f"{t.elsewhere()}/there-is-no-such-name"
        t.fails(EXDEV, t.root.link, "file", away)
        t.fails(EXDEV, t.root.rename, "file", away)
    t.nlink("file", 1)


@case("link")
def many_links(t: Tester) -> None:
    t.put("file", "file")
    for number in range(200):
        t.root.link("file", f"link-{number}")
    t.nlink("file", 201)
    t.equal("names", len(t.root.listdir(".")), 201)
    numbers = set(t.root.inodes(".").values())
    t.equal("inode numbers in the listing", numbers, {t.root.lstat("file").st_ino})
    for number in range(200):
        t.root.unlink(f"link-{number}")
    t.nlink("file", 1)


@case("link", needs="users")
def by_others(t: Tester) -> None:
    t.put("file", "file", 0o666, who=ALICE)
    t.works(t.alice.link, "file", "by-alice")
    t.works(t.bob.link, "file", "by-bob")
    t.owner("by-bob", ALICE.uid, ALICE.gid)
    t.nlink("file", 3)


@case("unlink")
def open_files_live_on(t: Tester) -> None:
    t.put("file", "file", 0o644, content=b"still here")
    number = t.root.lstat("file").st_ino
    fd = t.root.open("file", os.O_RDWR)
    t.works(t.root.unlink, "file")
    t.fails(ENOENT, t.root.stat, "file")
    t.equal("names", t.root.listdir("."), [])
    t.equal("nlink", t.root.fstat(fd).st_nlink, 0)
    t.equal("inode", t.root.fstat(fd).st_ino, number)
    t.equal("what is read", t.root.pread(fd, 100, 0), b"still here")
    t.works(t.root.pwrite, fd, b"STILL", 0)
    t.works(t.root.ftruncate, fd, 7)
    t.works(t.root.fchmod, fd, 0o600)
    t.works(t.root.futimens, fd, (1, 0), (2, 0))
    t.works(t.root.fsync, fd)
    found = t.root.fstat(fd)
    t.equal("size, mode, times", (found.st_size, oct(found.st_mode), found.st_mtime), (7, "0o100600", 2.0))
    t.equal("what is read then", t.root.pread(fd, 100, 0), b"STILL h")
    t.fails(ENOENT, t.root.link_by_fd, fd, "again")
    t.works(t.root.create, "file", 0o644, b"new")
    t.true("the name is another file now", t.root.lstat("file").st_ino != number)
    t.equal("what the descriptor reads", t.root.pread(fd, 100, 0), b"STILL h")
    t.content("file", b"new")
    t.works(t.root.close, fd)


@case("unlink", needs="users")
def open_files_of_others_live_on(t: Tester) -> None:
    t.alice.create("file", 0o600, b"mine")
    fd = t.alice.open("file", os.O_RDWR)
    t.works(t.root.unlink, "file")
    t.works(t.alice.pwrite, fd, b"MINE", 0)
    t.equal("what is read", t.alice.pread(fd, 10, 0), b"MINE")
    t.works(t.alice.fchmod, fd, 0o644)
    t.works(t.alice.fchown, fd, -1, ALICE.groups[0])
    t.equal("nlink", t.alice.fstat(fd).st_nlink, 0)


@case("unlink")
def dots_and_directories(t: Tester) -> None:
    t.root.mkdir("dir", 0o755)
    t.fails(EISDIR, t.root.unlink, "dir")
    t.fails(EISDIR, t.root.unlink, ".")
    t.fails(EISDIR, t.root.unlink, "..")
    t.fails(EISDIR, t.root.unlink, "dir/")
    t.root.symlink("dir", "link")
    t.works(t.root.unlink, "link")
    t.equal("names", t.root.listdir("."), ["dir"])
