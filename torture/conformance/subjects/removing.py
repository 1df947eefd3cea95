"""rmdir, and life in a directory that is no more.

Source: rmdir(2); fs/namei.c, vfs_rmdir and IS_DEADDIR.
"""

from __future__ import annotations

import os
from errno import EBUSY, EINVAL, ENOENT, ENOTDIR, ENOTEMPTY

from torture.conformance.tester import Tester, case


@case("rmdir", needs="root")
def only_empty_directories(t: Tester) -> None:
    t.root.mkdir("empty", 0o755)
    for kind in ("file", "dir", "fifo", "socket", "symlink", "char", "block"):
        t.root.mkdir(f"with-{kind}", 0o755)
        t.put(kind, f"with-{kind}/x")
        t.fails(ENOTEMPTY, t.root.rmdir, f"with-{kind}")
        t.fails(ENOTEMPTY, t.root.rename, "empty", f"with-{kind}")
        t.works(t.root.rmdir if kind == "dir" else t.root.unlink, f"with-{kind}/x")
        t.works(t.root.rmdir, f"with-{kind}")
        t.fails(ENOENT, t.root.stat, f"with-{kind}")


@case("rmdir")
def dots(t: Tester) -> None:
    t.root.mkdir("dir", 0o755)
    t.root.mkdir("dir/sub", 0o755)
    t.fails(EINVAL, t.root.rmdir, "dir/sub/.")
    t.fails(EINVAL, t.root.rmdir, ".")
    t.fails(ENOTEMPTY, t.root.rmdir, "dir/sub/..")
    t.fails(ENOTEMPTY, t.root.rmdir, "..")
    t.fails(EBUSY, t.root.rmdir, "/")
    t.root.symlink("dir/sub", "link")
    t.fails(ENOTDIR, t.root.rmdir, "link")
    t.fails(ENOTDIR, t.root.rmdir, "link/")
    t.works(t.root.rmdir, "dir/sub/")


@case("rmdir")
def the_current_directory(t: Tester) -> None:
    t.root.mkdir("dir", 0o755)
    t.root.chdir("dir")
    fd = t.root.open(".", os.O_RDONLY)
    t.works(t.root.rmdir, "../dir")
    t.equal("nlink", t.root.fstat(fd).st_nlink, 0)
    t.fails(ENOENT, t.root.create, "file")
    t.fails(ENOENT, t.root.mkdir, "sub", 0o755)
    t.fails(ENOENT, t.root.symlink, "x", "link")
    t.fails(ENOENT, t.root.stat, "file")
    t.fails(ENOENT, t.root.getcwd)
    t.equal("names", t.root.listdir("."), [])
    t.works(t.root.stat, ".")
    t.works(t.root.fchmod, fd, 0o700)


@case("rmdir")
def a_name_can_be_used_again(t: Tester) -> None:
    for _ in range(3):
        t.works(t.root.mkdir, "name", 0o755)
        t.works(t.root.rmdir, "name")
        t.works(t.root.create, "name")
        t.works(t.root.unlink, "name")
        t.works(t.root.symlink, "x", "name")
        t.works(t.root.unlink, "name")
    t.equal("names", t.root.listdir("."), [])
