"""Paths relative to an open directory: the *at calls, wherever the directory has gone meanwhile.

Source: openat(2), "NOTES"; fs/namei.c, path_init.
"""

from __future__ import annotations

import os
import stat
from errno import EBADF, ENOENT, ENOTDIR

from torture.conformance.tester import Tester, case

CLOSED = 1000  # no descriptor of the actor

MAKING: tuple[tuple[object, ...], ...] = (
    ("mkdir", "dir", 0o755),
    ("mkfifo", "fifo", 0o644),
    ("mknod", "node", stat.S_IFREG | 0o644),
    ("symlink", "node", "symlink"),
    ("open", "opened", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644),
)
USING: tuple[tuple[object, ...], ...] = (
    ("stat", "node"),
    ("readlink", "symlink"),
    ("open", "node", os.O_RDWR),
    ("chmod", "node", 0o600),
    ("chown", "node", -1, -1),
    ("utime", "node", (1, 2)),
    ("link", "node", "link"),
    ("rename", "node", "renamed"),
)
REMOVING: tuple[tuple[object, ...], ...] = (
    ("unlink", "renamed"),
    ("unlink", "link"),
    ("unlink", "fifo"),
    ("unlink", "symlink"),
    ("unlink", "opened"),
    ("rmdir", "dir"),
)
ALL = (*MAKING, *USING, *REMOVING)


@case("relative")
def to_an_open_directory(t: Tester) -> None:
    t.root.mkdir("here", 0o755)
    fd = t.root.open("here", os.O_RDONLY | os.O_DIRECTORY)
    for call in (*MAKING, *USING):
        t.works(t.root.at, fd, *call)
    t.equal("names", sorted(t.root.listdir("here")), ["dir", "fifo", "link", "opened", "renamed", "symlink"])
    t.equal(
        "mtime and mode", (t.root.stat("here/link").st_mtime, oct(t.root.stat("here/link").st_mode)), (2, "0o100600")
    )
    for call in REMOVING:
        t.works(t.root.at, fd, *call)
    t.equal("names in the end", t.root.listdir("here"), [])


@case("relative")
def to_a_directory_that_moved(t: Tester) -> None:
    t.root.mkdir("here", 0o755)
    t.root.mkdir("other", 0o755)
    for flags in (os.O_RDONLY, os.O_PATH):
        fd = t.root.open("here", flags | os.O_DIRECTORY)
        t.works(t.root.rename, "here", "other/there")
        for call in MAKING:
            t.works(t.root.at, fd, *call)
        t.equal("names", sorted(t.root.listdir("other/there")), ["dir", "fifo", "node", "opened", "symlink"])
        t.works(t.root.at, fd, "rename", "node", "../../up")
        t.works(t.root.at, fd, "rename", "../../up", "node")
        t.works(t.root.rename, "other/there", "here")
        for call in (*USING, *REMOVING):
            t.works(t.root.at, fd, *call)
        t.equal("names in the end", t.root.listdir("here"), [])


@case("relative")
def to_a_directory_that_is_no_more(t: Tester) -> None:
    t.root.mkdir("here", 0o755)
    fd = t.root.open("here", os.O_RDONLY | os.O_DIRECTORY)
    t.root.rmdir("here")
    for call in ALL:
        t.fails(ENOENT, t.root.at, fd, *call)
    t.works(t.root.at, fd, "stat", ".")


@case("relative")
def to_what_is_no_directory(t: Tester) -> None:
    t.put("file", "file")
    fd = t.root.open("file", os.O_RDWR)
    for call in ALL:
        t.fails(ENOTDIR, t.root.at, fd, *call)
        t.fails(EBADF, t.root.at, CLOSED, *call)
    t.works(t.root.at, CLOSED, "stat", "/")
    t.equal("names", t.root.listdir("."), ["file"])
