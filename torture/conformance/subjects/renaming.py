"""rename, and what its two flags add.

Over what may a thing be renamed? Over nothing, or over something of its own sort, where
there are two sorts: directories (which must be empty) and all else.

Source: rename(2); fs/namei.c, vfs_rename.
"""

from __future__ import annotations

import os
import stat
from errno import EBUSY, EEXIST, EINVAL, EISDIR, ENOENT, ENOTDIR, ENOTEMPTY

from torture.conformance.calls import RENAME_EXCHANGE, RENAME_NOREPLACE
from torture.conformance.tester import Tester, case

KINDS = ("file", "fifo", "socket", "symlink", "char", "block")


@case("rename", needs="root")
def to_a_new_name(t: Tester) -> None:
    t.root.mkdir("other", 0o755)
    for kind in (*KINDS, "dir"):
        t.put(kind, kind)
        before = t.root.lstat(kind)
        for source, target in ((kind, f"{kind}-2"), (f"{kind}-2", f"other/{kind}")):
            t.works(t.root.rename, source, target)
            t.fails(ENOENT, t.root.lstat, source)
            after = t.root.lstat(target)
            t.equal(f"inode and mode of {target}", (after.st_ino, after.st_mode), (before.st_ino, before.st_mode))
    t.equal("names left", t.root.listdir("."), ["other"])


@case("rename", needs="root")
def over_what_is_there(t: Tester) -> None:
    for source in KINDS:
        for target in KINDS:
            t.put(source, "source")
            t.put(target, "target")
            t.root.link("target", "kept")
            number = t.root.lstat("source").st_ino
            t.works(t.root.rename, "source", "target")
            t.equal(f"{source} over {target}: the inode", t.root.lstat("target").st_ino, number)
            t.nlink("kept", 1)
            t.equal("names", sorted(t.root.listdir(".")), ["kept", "target"])
            t.root.unlink("target")
            t.root.unlink("kept")


@case("rename", needs="root")
def files_and_directories_do_not_mix(t: Tester) -> None:
    t.root.mkdir("dir", 0o755)
    for kind in KINDS:
        t.put(kind, kind)
        t.fails(EISDIR, t.root.rename, kind, "dir")
        t.fails(ENOTDIR, t.root.rename, "dir", kind)
    t.equal("names", sorted(t.root.listdir(".")), sorted((*KINDS, "dir")))


@case("rename")
def directories_over_directories(t: Tester) -> None:
    for name in ("one", "two", "full"):
        t.root.mkdir(name, 0o755)
    t.root.create("full/file")
    number = t.root.lstat("one").st_ino
    t.works(t.root.rename, "one", "two")
    t.equal("inode", t.root.lstat("two").st_ino, number)
    t.fails((ENOTEMPTY, EEXIST), t.root.rename, "two", "full")
    t.works(t.root.rename, "full", "two")
    t.equal("names", t.root.listdir("two"), ["file"])
    t.equal("names here", t.root.listdir("."), ["two"])


@case("rename")
def parents_and_their_link_counts(t: Tester) -> None:
    for name in ("a", "b", "a/sub", "a/sub/deep", "b/sub"):
        t.root.mkdir(name, 0o755)
    t.nlink("a", 3)
    t.works(t.root.rename, "a/sub", "b/moved")
    t.nlink("a", 2)
    t.nlink("b", 4)
    t.nlink("b/moved", 3)
    t.equal("b/moved/..", t.root.lstat("b/moved/..").st_ino, t.root.lstat("b").st_ino)
    t.works(t.root.rename, "b/moved/deep", "b/sub")
    t.nlink("b", 4)
    t.nlink("b/moved", 2)
    t.equal("b/sub/..", t.root.lstat("b/sub/..").st_ino, t.root.lstat("b").st_ino)


@case("rename")
def not_into_oneself(t: Tester) -> None:
    for name in ("dir", "dir/sub", "dir/sub/deep"):
        t.root.mkdir(name, 0o755)
    t.fails(EINVAL, t.root.rename, "dir", "dir/sub/new")
    t.fails(EINVAL, t.root.rename, "dir", "dir/new")
    t.fails(EINVAL, t.root.rename, "dir", "dir/sub")
    t.fails(ENOTEMPTY, t.root.rename, "dir/sub/deep", "dir")
    t.fails(ENOTEMPTY, t.root.rename, "dir/sub", "dir")
    t.works(t.root.rename, "dir", "dir")
    t.works(t.root.rename, "dir/sub", "sub")


@case("rename")
def dots(t: Tester) -> None:
    t.root.mkdir("dir", 0o755)
    t.root.mkdir("dir/sub", 0o755)
    for source, target in ((".", "new"), ("..", "new"), ("dir/.", "new"), ("dir/..", "new"), ("dir", ".")):
        t.fails((EBUSY, EINVAL), t.root.rename, source, target)
    t.fails((EBUSY, EINVAL), t.root.rename, "dir/sub", "dir/..")
    t.equal("names", t.root.listdir("."), ["dir"])


@case("rename")
def two_names_of_one_file(t: Tester) -> None:
    """Nothing happens, and both names stay: POSIX says so."""
    t.put("file", "one")
    t.root.link("one", "two")
    t.works(t.root.rename, "one", "two")
    t.equal("names", sorted(t.root.listdir(".")), ["one", "two"])
    t.nlink("one", 2)
    t.works(t.root.rename, "one", "one")
    t.nlink("one", 2)


@case("rename", needs="root")
def one_name_of_several(t: Tester) -> None:
    for kind in KINDS:
        t.put(kind, kind, 0o640 if kind != "symlink" else -1)
        t.root.link(kind, f"{kind}-2")
        before = t.root.lstat(kind)
        t.works(t.root.rename, f"{kind}-2", f"{kind}-3")
        t.fails(ENOENT, t.root.lstat, f"{kind}-2")
        for name in (kind, f"{kind}-3"):
            t.equal(f"inode, mode and nlink of {name}", t.root.lstat(name)[:4], before[:4])
        t.works(t.root.unlink, kind)
        t.nlink(f"{kind}-3", 1)


@case("rename")
def open_files_follow(t: Tester) -> None:
    t.put("file", "file", content=b"content")
    t.put("file", "victim", content=b"victim")
    fd, victim = t.root.open("file", os.O_RDWR), t.root.open("victim", os.O_RDWR)
    t.works(t.root.rename, "file", "victim")
    t.equal("what the moved one reads", t.root.pread(fd, 10, 0), b"content")
    t.equal("what the replaced one reads", t.root.pread(victim, 10, 0), b"victim")
    t.equal("nlink of the replaced one", t.root.fstat(victim).st_nlink, 0)
    t.works(t.root.pwrite, fd, b"CONTENT", 0)
    t.works(t.root.pwrite, victim, b"VICTIM", 0)
    t.content("victim", b"CONTENT")


@case("rename")
def of_a_directory_in_use(t: Tester) -> None:
    t.root.mkdir("dir", 0o755)
    t.root.create("dir/file", 0o644, b"x")
    fd = t.root.open("dir/file", os.O_RDWR)
    t.root.chdir("dir")
    t.works(t.root.rename, "../dir", "../renamed")
    t.content("file", b"x")
    t.works(t.root.create, "new")
    t.equal("the path", t.root.getcwd().rsplit("/", 1)[-1], "renamed")
    t.works(t.root.pwrite, fd, b"y", 0)
    t.content("../renamed/file", b"y")
    t.fails(ENOENT, t.root.stat, "../dir")


@case("rename")
def back_and_forth(t: Tester) -> None:
    t.put("file", "a", content=b"x")
    for _ in range(50):
        t.root.rename("a", "b")
        t.root.rename("b", "a")
    t.content("a", b"x")
    t.equal("names", t.root.listdir("."), ["a"])


@case("renameat2")
def without_replacing(t: Tester) -> None:
    t.put("file", "file", content=b"x")
    t.root.mkdir("dir", 0o755)
    t.fails(EEXIST, t.root.renameat2, "file", "dir", RENAME_NOREPLACE)
    t.fails(EEXIST, t.root.renameat2, "dir", "file", RENAME_NOREPLACE)
    t.fails(EEXIST, t.root.renameat2, "file", "file", RENAME_NOREPLACE)
    t.works(t.root.renameat2, "file", "new", RENAME_NOREPLACE)
    t.works(t.root.renameat2, "dir", "new-dir", RENAME_NOREPLACE)
    t.works(t.root.renameat2, "new", "new-dir/new", RENAME_NOREPLACE)
    t.content("new-dir/new", b"x")


@case("renameat2", needs="root")
def exchanging(t: Tester) -> None:
    for one in ("file", "dir", "symlink", "fifo"):
        for two in ("file", "dir", "symlink", "fifo"):
            t.put(one, "one")
            t.put(two, "two")
            before = [t.root.lstat(name).st_ino for name in ("one", "two")]
            t.works(t.root.renameat2, "one", "two", RENAME_EXCHANGE)
            after = [t.root.lstat(name).st_ino for name in ("two", "one")]
            t.equal(f"{one} and {two} changed places", after == before, True)
            t.root.rename("one", f"left-{one}-{two}-1")
            t.root.rename("two", f"left-{one}-{two}-2")


@case("renameat2")
def exchanging_across_directories(t: Tester) -> None:
    for name in ("a", "b", "a/dir", "a/dir/deep"):
        t.root.mkdir(name, 0o755)
    t.root.create("b/file", 0o644, b"x")
    t.works(t.root.renameat2, "a/dir", "b/file", RENAME_EXCHANGE)
    t.content("a/dir", b"x")
    t.equal("b/file is a directory", stat.S_ISDIR(t.root.lstat("b/file").st_mode), True)
    t.nlink("a", 2)
    t.nlink("b", 3)
    t.equal("b/file/..", t.root.lstat("b/file/..").st_ino, t.root.lstat("b").st_ino)
    t.equal("names", t.root.listdir("b/file"), ["deep"])


@case("renameat2")
def refusals(t: Tester) -> None:
    t.put("file", "file")
    t.root.mkdir("dir", 0o755)
    t.root.mkdir("dir/sub", 0o755)
    t.fails(ENOENT, t.root.renameat2, "file", "missing", RENAME_EXCHANGE)
    t.fails(ENOENT, t.root.renameat2, "missing", "file", RENAME_EXCHANGE)
    t.fails(EINVAL, t.root.renameat2, "file", "dir", RENAME_EXCHANGE | RENAME_NOREPLACE)
    t.fails(EINVAL, t.root.renameat2, "file", "new", 1 << 20)
    t.fails(EINVAL, t.root.renameat2, "dir", "dir/sub", RENAME_EXCHANGE)
    t.fails(EINVAL, t.root.renameat2, "dir/sub", "dir", RENAME_EXCHANGE)
    t.works(t.root.renameat2, "file", "file", RENAME_EXCHANGE)
    t.equal("names", sorted(t.root.listdir(".")), ["dir", "file"])
