"""Times: which call changes which of them.

The table gives, for each call, the letters of the times that it changes (m: mtime,
c: ctime) by path; of a path that is listed, nothing else may change. All rows are set up
first; then the clock is let go on once; then each call is made between two looks.

Source: POSIX, "File Times Update", and the description of each call.
"""

from __future__ import annotations

import os
from errno import EBADF, EINVAL

from torture.conformance.calls import AT_SYMLINK_NOFOLLOW, FALLOC_KEEP_SIZE, UTIME_NOW, UTIME_OMIT
from torture.conformance.tester import Tester, case

KINDS = ("file", "dir", "fifo", "socket", "symlink", "char", "block")

Row = tuple[str, tuple[object, ...], dict[str, str]]

# In the directory p: f (10 bytes; also named h), g, e (empty directory), l -> f. In q: g.
CHANGING: tuple[Row, ...] = (
    ("chmod", ("p/f", 0o600), {"p/f": "c", "p": ""}),
    ("chmod", ("p/e", 0o700), {"p/e": "c", "p": ""}),
    ("chmod", ("p/l", 0o600), {"p/f": "c", "p/l": ""}),
    ("chown", ("p/f", -1, -1), {"p": ""}),
    ("mkdir", ("p/n", 0o755), {"p": "mc", ".": ""}),
    ("mkdir", ("p/e/n", 0o755), {"p/e": "mc", "p": ""}),
    ("mkfifo", ("p/n", 0o644), {"p": "mc"}),
    ("mknod", ("p/n", 0o140644), {"p": "mc"}),
    ("symlink", ("x", "p/n"), {"p": "mc"}),
    ("create", ("p/n",), {"p": "mc"}),
    ("create", ("p/n", 0o644, b"x"), {"p": "mc", "q": ""}),
    ("open", ("p/n", os.O_RDWR | os.O_CREAT), {"p": "mc"}),
    ("open", ("p/f", os.O_RDWR | os.O_CREAT), {"p": "", "p/f": ""}),
    ("open", ("p/f", os.O_RDWR | os.O_TRUNC), {"p": "", "p/f": "mc"}),
    ("open", ("p/f", os.O_RDONLY), {"p": "", "p/f": ""}),
    ("link", ("p/f", "p/n"), {"p": "mc", "p/f": "c"}),
    ("link", ("p/f", "q/n"), {"p": "", "q": "mc", "p/f": "c"}),
    ("unlink", ("p/f",), {"p": "mc", "p/h": "c"}),
    ("unlink", ("p/l",), {"p": "mc", "p/f": ""}),
    ("rmdir", ("p/e",), {"p": "mc"}),
    ("rename", ("p/g", "p/n"), {"p": "mc"}),
    ("rename", ("p/g", "q/n"), {"p": "mc", "q": "mc"}),
    ("rename", ("p/g", "p/f"), {"p": "mc", "p/h": "c"}),
    ("rename", ("p/g", "q/g"), {"p": "mc", "q": "mc"}),
    ("rename", ("p/e", "q/e"), {"p": "mc", "q": "mc"}),
    ("truncate", ("p/f", 5), {"p/f": "mc", "p": ""}),
    ("truncate", ("p/f", 500), {"p/f": "mc", "p": ""}),
    ("truncate", ("p/l", 0), {"p/f": "mc", "p/l": ""}),
    ("write_file", ("p/f", b"x"), {"p/f": "mc", "p": ""}),
    ("write_file", ("p/f", b"x", 1000), {"p/f": "mc", "p": ""}),
    ("setxattr", ("p/f", "user.test", b"1"), {"p/f": "c", "p": ""}),
    ("removexattr", ("p/g", "user.there"), {"p/g": "c", "p": ""}),
    ("utimensat", ("p/f", UTIME_NOW, UTIME_NOW), {"p/f": "mc", "p": ""}),
    ("utimensat", ("p/f", UTIME_NOW, UTIME_OMIT), {"p/f": "c", "p": ""}),
    ("utimensat", ("p/f", UTIME_OMIT, UTIME_NOW), {"p/f": "mc", "p": ""}),
    ("utimensat", ("p/f", UTIME_OMIT, UTIME_OMIT), {"p/f": "", "p": ""}),
    ("utimensat", ("p/l", UTIME_NOW, UTIME_NOW, AT_SYMLINK_NOFOLLOW), {"p/l": "mc", "p/f": ""}),
    ("stat", ("p/f",), {"p/f": "", "p": ""}),
    ("access", ("p/f", os.R_OK), {"p/f": "", "p": ""}),
    ("read_file", ("p/f",), {"p/f": "", "p": ""}),
    ("readlink", ("p/l",), {"p/l": "", "p": ""}),
    ("listdir", ("p",), {"p": ""}),
    ("listxattr", ("p/g",), {"p/g": ""}),
    ("getxattr", ("p/g", "user.there"), {"p/g": ""}),
    ("rename", ("p/f", "p/h"), {"p": "", "p/f": ""}),
)

FAILING: tuple[Row, ...] = (
    ("mkdir", ("p/f", 0o755), {"p": "", "p/f": ""}),
    ("symlink", ("x", "p/f"), {"p": "", "p/f": ""}),
    ("link", ("p/f", "p/g"), {"p": "", "p/f": "", "p/g": ""}),
    ("link", ("p/e", "p/n"), {"p": "", "p/e": ""}),
    ("create", ("p/f",), {"p": "", "p/f": ""}),
    ("unlink", ("p/e",), {"p": "", "p/e": ""}),
    ("unlink", ("p/missing",), {"p": ""}),
    ("rmdir", ("p",), {"p": "", ".": ""}),
    ("rmdir", ("p/f",), {"p": "", "p/f": ""}),
    ("rename", ("p/e", "p/f"), {"p": "", "p/e": "", "p/f": ""}),
    ("rename", ("p/f", "p/e"), {"p": "", "p/e": "", "p/f": ""}),
    ("rename", ("p/missing", "p/f"), {"p": "", "p/f": ""}),
    ("truncate", ("p/e", 0), {"p/e": ""}),
    ("truncate", ("p/f", -1), {"p/f": ""}),
    ("removexattr", ("p/f", "user.none"), {"p/f": ""}),
    ("utimensat", ("p/f", (1, 1 << 31), (1, 0)), {"p/f": ""}),
    ("renameat2", ("p/f", "p/g", 1), {"p": "", "p/f": "", "p/g": ""}),
)


def prepare(t: Tester, where: str) -> None:
    """The directories that a row works in."""
    t.root.mkdir(where, 0o755)
    t.root.chdir(where)
    for name in ("p", "q", "p/e"):
        t.root.mkdir(name, 0o755)
    for name in ("p/f", "p/g", "q/g"):
        t.root.create(name, 0o644, b"0123456789")
    t.root.link("p/f", "p/h")
    t.root.symlink("f", "p/l")
    try:
        t.root.setxattr("p/g", "user.there", b"1")
    except OSError:
        pass
    t.root.chdir("..")


def times(t: Tester, paths: dict[str, str]) -> dict[str, tuple[int, int]]:
    """mtime and ctime of some paths; a path that is gone has none."""
    found = {}
    for path in paths:
        try:
            status = t.root.lstat(path)
        except FileNotFoundError:
            continue
        found[path] = (status.st_mtime_ns, status.st_ctime_ns)
    return found


def run(t: Tester, rows: tuple[Row, ...], succeed: bool) -> None:
    """Prepare all rows, then make their calls, and compare."""
    for number in range(len(rows)):
        prepare(t, f"row-{number}")
    t.tick()
    for number, (name, arguments, changes) in enumerate(rows):
        t.root.chdir(f"row-{number}")
        call = getattr(t.root, name)
        before = times(t, changes)
        try:
            call(*arguments)
            succeeded = True
        except OSError:
            succeeded = False
        text = call.text(arguments)
        t.true(f"{text} {'succeeds' if succeed else 'fails'}", succeeded == succeed)
        for path, now in times(t, changes).items():
            then = before[path]
            changed = ("m" if now[0] != then[0] else "") + ("c" if now[1] != then[1] else "")
            t.equal(f"{text}: times changed of {path}", changed, changes[path])
            t.true(f"{text}: no time of {path} goes back", now[0] >= then[0] and now[1] >= then[1])
        t.root.chdir("..")


@case("times")
def what_each_call_changes(t: Tester) -> None:
    run(t, CHANGING, succeed=True)


@case("times")
def a_call_that_fails_changes_nothing(t: Tester) -> None:
    run(t, FAILING, succeed=False)


@case("times", needs="root")
def owners_change_times(t: Tester) -> None:
    prepare(t, "row")
    t.tick()
    for path, call in (("row/p/f", "chown"), ("row/p/l", "lchown"), ("row/p/e", "chown")):
        before = t.root.lstat(path)
        t.works(getattr(t.root, call), path, 1, 1)
        after = t.root.lstat(path)
        t.true(f"ctime of {path} goes on", after.st_ctime_ns > before.st_ctime_ns)
        t.equal(f"mtime of {path}", after.st_mtime_ns - before.st_mtime_ns, 0)


@case("times")
def new_objects_have_the_time_of_now(t: Tester) -> None:
    for kind in KINDS if t.privileged else KINDS[:-2]:
        t.put("file", "clock")
        before = t.root.lstat("clock")
        t.tick()
        t.put(kind, kind)
        found, directory = t.root.lstat(kind), t.root.lstat(".")
        for name in ("st_mtime_ns", "st_ctime_ns"):
            t.true(f"{name} of the directory is now", getattr(directory, name) > before.st_ctime_ns)
        for name in ("st_atime_ns", "st_mtime_ns", "st_ctime_ns"):
            age = getattr(found, name) - before.st_mtime_ns
            t.true(f"{name} of {kind} is now", 0 < age < 10**10, f"{age} ns after the clock")
        t.root.unlink("clock")


@case("times")
def renaming_changes_the_ctime_of_the_renamed(t: Tester) -> None:
    t.put("file", "f")
    t.root.mkdir("d", 0o755)
    t.tick()
    for name in ("f", "d"):
        before = t.root.lstat(name)
        t.root.rename(name, f"{name}2")
        after = t.root.lstat(f"{name}2")
        t.true(f"ctime of {name}", after.st_ctime_ns > before.st_ctime_ns)
        t.equal(f"mtime of {name}", after.st_mtime_ns - before.st_mtime_ns, 0)


@case("times")
def reading_changes_the_access_time(t: Tester) -> None:
    """With relatime, the default of Linux: when it was not later than mtime."""
    t.put("file", "file", content=b"x")
    t.root.mkdir("dir", 0o755)
    t.root.create("dir/x")
    for path, call in (("file", "read_file"), ("dir", "listdir")):
        t.root.utimensat(path, (1000, 0), (2000, 0))
        t.works(getattr(t.root, call), path)
        t.true(f"atime of {path}", t.root.lstat(path).st_atime > 2000, t.root.lstat(path).st_atime)
        t.equal(f"mtime of {path}", t.root.lstat(path).st_mtime, 2000.0)


@case("times")
def fallocate_and_ftruncate(t: Tester) -> None:
    t.put("file", "file", content=b"x")
    fd = t.root.open("file", os.O_RDWR)
    for call, arguments, changes in (
        ("ftruncate", (fd, 100), "mc"),
        ("fallocate", (fd, 0, 0, 20000), "mc"),
        ("fchmod", (fd, 0o600), "c"),
        ("futimens", (fd, UTIME_NOW, UTIME_OMIT), "c"),
        ("fsync", (fd,), ""),
        ("pread", (fd, 1, 0), ""),
        ("pwrite", (fd, b"", 0), ""),
        ("pwrite", (fd, b"x", 0), "mc"),
        ("fallocate", (fd, FALLOC_KEEP_SIZE | 2, 0, 4096), "mc"),
        ("posix_fallocate", (fd, 0, 30000), "mc"),
    ):
        before = times(t, {"file": ""})["file"]
        t.tick()
        t.works(getattr(t.root, call), *arguments)
        now = times(t, {"file": ""})["file"]
        changed = ("m" if now[0] != before[0] else "") + ("c" if now[1] != before[1] else "")
        t.equal(f"times that {call} changes", changed, changes)
    reader, before = t.root.open("file", os.O_RDONLY), times(t, {"file": ""})["file"]
    t.tick()
    t.fails(EINVAL, t.root.posix_fallocate, fd, 0, 0)
    t.fails(EINVAL, t.root.ftruncate, fd, -1)
    t.fails(EINVAL, t.root.ftruncate, reader, 0)
    t.fails(EBADF, t.root.posix_fallocate, reader, 0, 1)
    t.equal("times after failures, as before", times(t, {"file": ""})["file"] == before, True)
