"""Times, for every kind of file: what holds for a regular file holds for a fifo and a device.

Each row is a call on `it`, which is alice's and, unless it is a directory, also has the name
`two`; both lie in a directory of root's. All is prepared first; then the clock is let go on
once; then each call is made between two looks at the inode and its directory.

Source: POSIX, "File Times Update"; fs/attr.c, notify_change.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from errno import EACCES, EEXIST, EPERM
from typing import NamedTuple

from torture.conformance.calls import AT_SYMLINK_NOFOLLOW, UTIME_NOW
from torture.conformance.tester import ALICE, BOB, Tester, case

KINDS = ("file", "dir", "fifo", "socket", "char", "block", "symlink")
GROUP = ALICE.groups[0]
NOW = ("it", UTIME_NOW, UTIME_NOW, AT_SYMLINK_NOFOLLOW)
THEN = ("it", (1, 0), (1, 0), AT_SYMLINK_NOFOLLOW)


class Row(NamedTuple):
    """One call: `error` is 0 if it works; the letters are the times (m, c) that it changes."""

    actor: str
    name: str
    arguments: tuple[object, ...]
    error: int = 0
    of_it: str = ""
    of_directory: str = ""
    but: tuple[str, ...] = ()  # kinds to leave out


ROWS = (
    Row("root", "chmod", ("it", 0o111), of_it="c", but=("symlink",)),
    Row("alice", "chmod", ("it", 0o1640), of_it="c", but=("symlink",)),
    Row("bob", "chmod", ("it", 0o111), EPERM, but=("symlink",)),
    Row("root", "lchown", ("it", 65533, 65532), of_it="c"),
    Row("root", "lchown", ("it", -1, -1), of_it="c"),
    Row("alice", "lchown", ("it", -1, GROUP), of_it="c"),
    Row("alice", "lchown", ("it", ALICE.uid, GROUP), of_it="c"),
    Row("alice", "lchown", ("it", BOB.uid, -1), EPERM),
    Row("bob", "lchown", ("it", BOB.uid, -1), EPERM),
    Row("bob", "lchown", ("it", -1, BOB.gid), EPERM),
    Row("bob", "lchown", ("it", BOB.uid, BOB.gid), EPERM),
    Row("root", "utimensat", NOW, of_it="mc"),
    Row("alice", "utimensat", NOW, of_it="mc"),
    Row("bob", "utimensat", THEN, EPERM),
    Row("root", "link", ("it", "new"), of_it="c", of_directory="mc", but=("dir",)),
    Row("root", "link", ("it", "two"), EEXIST, but=("dir",)),
    Row("alice", "link", ("it", "new"), EACCES, but=("dir",)),
    Row("root", "unlink", ("it",), of_it="c", of_directory="mc", but=("dir",)),
    Row("bob", "unlink", ("it",), EACCES, but=("dir",)),
    Row("root", "rename", ("it", "new"), of_it="c", of_directory="mc"),
    Row("root", "rename", ("other", "it"), of_it="c", of_directory="mc", but=("dir",)),
    Row("alice", "rename", ("it", "new"), EACCES),
    Row("bob", "rename", ("it", "new"), EACCES),
    Row("bob", "rename", ("other", "it"), EACCES),
    Row("root", "rmdir", ("it",), of_directory="mc", but=KINDS[:1] + KINDS[2:]),
    Row("alice", "rmdir", ("it",), EACCES, but=KINDS[:1] + KINDS[2:]),
)


def applied() -> Iterator[tuple[str, str, Row]]:
    """Each kind, a directory's name, and the row."""
    return ((kind, f"{kind}-{number}", row) for kind in KINDS for number, row in enumerate(ROWS) if kind not in row.but)


def prepare(t: Tester, kind: str, where: str) -> None:
    """The directory that a row works in."""
    t.root.mkdir(where, 0o755)
    t.root.chdir(where)
    t.put(kind, "it", who=ALICE)
    t.put(kind, "other")
    if kind != "dir":
        t.root.link("it", "two")
    t.root.chdir("..")


def look(t: Tester) -> tuple[os.stat_result, os.stat_result]:
    """The inode, by whichever name it has, and its directory."""
    names = t.root.listdir(".")
    name = next((name for name in ("two", "it", "new") if name in names), ".")
    return t.root.lstat(name), t.root.lstat(".")


def changed(before: os.stat_result, after: os.stat_result) -> str:
    """The letters of the times that are not what they were."""
    mtime = "m" if after.st_mtime_ns != before.st_mtime_ns else ""
    return mtime + ("c" if after.st_ctime_ns != before.st_ctime_ns else "")


@case("times", needs="users")
def of_every_kind(t: Tester) -> None:
    for kind, where, _ in applied():
        prepare(t, kind, where)
    t.tick()
    for kind, where, row in applied():
        for each in t.actors():
            each.chdir(where)
        judge(t, kind, row)
        for each in t.actors():
            each.chdir("..")


def judge(t: Tester, kind: str, row: Row) -> None:
    """Make the call of a row, and compare."""
    call = getattr(t.root if row.actor == "root" else t.users[row.actor], row.name)
    text = f"{kind}: {call.text(row.arguments)}"
    inode, directory = look(t)
    t.allowed(not row.error, row.error, call, *row.arguments)
    later, directory_later = look(t)
    if row.name != "rmdir" or row.error:
        t.equal(f"{text}: times changed of it", changed(inode, later), row.of_it)
    t.equal(f"{text}: times changed of its directory", changed(directory, directory_later), row.of_directory)


@case("times", needs="root")
def of_birth(t: Tester) -> None:
    """Nothing that is done to a file changes when it was born."""
    for kind in KINDS:
        t.put(kind, kind)
        born, made = t.root.birth_ns(kind), t.root.lstat(kind)
        if born is None:
            t.skip("this filesystem does not tell of births")
        t.true(f"{kind} is born when it is made", abs(born - made.st_ctime_ns) < 10**9, born - made.st_ctime_ns)
        t.tick()
        t.root.utimensat(kind, (1000, 0), (2000, 0), AT_SYMLINK_NOFOLLOW)
        t.root.lchown(kind, 1, 1)
        if kind != "symlink":
            t.root.chmod(kind, 0o600)
        if kind != "dir":
            t.root.link(kind, f"{kind}-2")
        if kind == "file":
            t.root.write_file(kind, b"x")
        t.root.rename(kind, "renamed")
        t.equal(f"birth of {kind}, later", t.root.birth_ns("renamed"), born)
        t.root.rename("renamed", kind)


@case("times", needs="root")
def a_new_name_is_not_a_new_file(t: Tester) -> None:
    """Made again under the same name, a file has a time of birth of its own."""
    t.put("file", "file")
    born = t.root.birth_ns("file")
    if born is None:
        t.skip("this filesystem does not tell of births")
    t.root.unlink("file")
    t.tick()
    t.root.open("file", os.O_RDWR | os.O_CREAT)
    t.true("birth of the second", t.root.birth_ns("file") > born, born)
