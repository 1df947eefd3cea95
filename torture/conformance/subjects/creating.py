"""mkdir, mkfifo, mknod, symlink: what a new object looks like.

Source: mkdir(2), mknod(2), symlink(2); fs/namei.c.
"""

from __future__ import annotations

import os
import stat
from errno import EEXIST, EINVAL, ENAMETOOLONG, ENOENT, ENXIO, EPERM

from torture.conformance.tester import Tester, case

FORMATS = {
    "file": stat.S_IFREG,
    "dir": stat.S_IFDIR,
    "fifo": stat.S_IFIFO,
    "socket": stat.S_IFSOCK,
    "symlink": stat.S_IFLNK,
    "char": stat.S_IFCHR,
    "block": stat.S_IFBLK,
}


@case("create", needs="root")
def every_kind_is_what_it_is(t: Tester) -> None:
    for kind, wanted in FORMATS.items():
        t.works(t.root.make, kind, kind)
        found = t.root.lstat(kind)
        t.equal(f"format of {kind}", oct(stat.S_IFMT(found.st_mode)), oct(wanted))
        t.equal(f"nlink of {kind}", found.st_nlink, 2 if kind == "dir" else 1)
        size = len("to-nothing") if kind == "symlink" else 0
        if kind != "dir":
            t.equal(f"size of {kind}", found.st_size, size)
        t.true(f"{kind} has an inode number", found.st_ino > 0)
        t.true(f"the preferred block size of {kind} is sane", 512 <= found.st_blksize <= 1 << 22, found.st_blksize)
    numbers = {t.root.lstat(kind).st_ino for kind in FORMATS}
    t.equal("how many inode numbers", len(numbers), len(FORMATS))


DEVICES = ((0, 0), (1, 3), (7, 99), (8, 255), (136, 256), (255, 65535), (4095, 1048575))


@case("mknod", needs="root")
def device_numbers(t: Tester) -> None:
    for letter, kind in (("c", stat.S_IFCHR), ("b", stat.S_IFBLK)):
        for major, minor in DEVICES:
            name = f"{letter}-{major}-{minor}"
            t.works(t.root.mknod, name, kind | 0o600, major, minor)
            found = t.root.lstat(name)
            t.equal(f"device of {name}", (os.major(found.st_rdev), os.minor(found.st_rdev)), (major, minor))
            t.equal(f"mode of {name}", oct(found.st_mode), oct(kind | 0o600))


@case("mknod", needs="users")
def what_ordinary_users_may_make(t: Tester) -> None:
    t.fails(EPERM, t.alice.mknod, "char", stat.S_IFCHR | 0o666, 1, 3)
    t.fails(EPERM, t.alice.mknod, "block", stat.S_IFBLK | 0o666, 7, 0)
    t.works(t.alice.mknod, "fifo", stat.S_IFIFO | 0o666)
    t.works(t.alice.mknod, "socket", stat.S_IFSOCK | 0o666)
    t.works(t.alice.mknod, "file", stat.S_IFREG | 0o666)
    t.works(t.alice.mknod, "zero", 0o666)
    t.equal("what format 0 makes", stat.S_ISREG(t.root.lstat("zero").st_mode), True)
    t.equal("names", sorted(t.root.listdir(".")), ["fifo", "file", "socket", "zero"])


@case("mknod", needs="root")
def formats_that_mknod_does_not_make(t: Tester) -> None:
    t.fails(EPERM, t.root.mknod, "dir", stat.S_IFDIR | 0o755)
    t.fails(EINVAL, t.root.mknod, "symlink", stat.S_IFLNK | 0o777)
    t.fails(EINVAL, t.root.mknod, "nonsense", 0o170000 | 0o644)
    t.equal("names", t.root.listdir("."), [])


@case("mkfifo")
def a_fifo_carries_bytes(t: Tester) -> None:
    t.need("pipes")
    t.root.mkfifo("fifo", 0o600)
    t.fails(ENXIO, t.root.open, "fifo", os.O_WRONLY | os.O_NONBLOCK)
    reader = t.works(t.root.open, "fifo", os.O_RDONLY | os.O_NONBLOCK)
    writer = t.works(t.root.open, "fifo", os.O_WRONLY | os.O_NONBLOCK)
    t.works(t.root.write, writer, b"through the pipe")
    t.equal("what was read", t.root.read(reader, 100), b"through the pipe")
    t.equal("size", t.root.lstat("fifo").st_size, 0)


@case("mknod", needs="root")
def nodes_act(t: Tester) -> None:
    t.root.mknod("null", stat.S_IFCHR | 0o666, 1, 3)
    try:
        fd = t.root.open("null", os.O_RDWR)
    except PermissionError:
        t.skip("mounted with nodev")
    t.equal("what is read from /dev/null", t.root.read(fd, 10), b"")
    t.equal("written to /dev/null", t.root.write(fd, b"abc"), 3)
    t.root.mknod("socket", stat.S_IFSOCK | 0o666)
    t.fails(ENXIO, t.root.open, "socket", os.O_RDONLY)


@case("mkdir")
def link_counts(t: Tester) -> None:
    before = t.root.lstat(".").st_nlink
    t.root.mkdir("dir", 0o755)
    t.nlink("dir", 2)
    t.equal("growth of the parent", t.root.lstat(".").st_nlink - before, 1)
    for name in ("one", "two", "three"):
        t.root.mkdir(f"dir/{name}", 0o755)
    t.nlink("dir", 5)
    t.root.create("dir/file")
    t.nlink("dir", 5)
    t.root.rmdir("dir/two")
    t.nlink("dir", 4)


@case("mkdir")
def dot_and_dotdot(t: Tester) -> None:
    t.root.mkdir("dir", 0o755)
    t.root.mkdir("dir/sub", 0o755)
    t.equal("dir/.", t.root.lstat("dir/.").st_ino, t.root.lstat("dir").st_ino)
    t.equal("dir/sub/..", t.root.lstat("dir/sub/..").st_ino, t.root.lstat("dir").st_ino)
    t.equal("dir/..", t.root.lstat("dir/..").st_ino, t.root.lstat(".").st_ino)
    for name in (".", "..", "dir/.", "dir/.."):
        t.fails(EEXIST, t.root.mkdir, name, 0o755)


TARGETS = ("x", "a/b/c", "../..", "/", "//double//", "with space", "ünï", "\udcff\udcfe", "trailing/", "t" * 255)


@case("symlink")
def targets_are_kept_to_the_byte(t: Tester) -> None:
    for number, target in enumerate((*TARGETS, "t/" * 511 + "t", "t/" * 2047)):
        name = f"link-{number}"
        t.works(t.root.symlink, target, name)
        t.equal(f"target of {name}", t.root.readlink(name), target)
        t.equal(f"size of {name}", t.root.lstat(name).st_size, len(os.fsencode(target)))
        t.mode(name, 0o777)
    t.fails(ENAMETOOLONG, t.root.symlink, "t/" * 2048, "too-long")
    t.fails(ENOENT, t.root.symlink, "", "empty")


@case("symlink")
def what_readlink_refuses(t: Tester) -> None:
    for kind in ("file", "dir", "fifo"):
        t.put(kind, kind)
        t.fails(EINVAL, t.root.readlink, kind)


@case("symlink")
def symlinks_to_directories(t: Tester) -> None:
    t.root.mkdir("dir", 0o755)
    t.root.symlink("dir", "link")
    t.works(t.root.create, "link/file", 0o644, b"x")
    t.content("dir/file", b"x")
    t.equal("names through the link", t.root.listdir("link"), ["file"])
    t.equal("names through link/", t.root.listdir("link/"), ["file"])
    t.equal("lstat with a slash", stat.S_ISDIR(t.root.lstat("link/").st_mode), True)
    t.equal("lstat without", stat.S_ISLNK(t.root.lstat("link").st_mode), True)
    t.works(t.root.unlink, "link")
    t.equal("names", t.root.listdir("dir"), ["file"])
