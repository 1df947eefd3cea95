"""utimensat: which times can be set, and who may do so.

Source: utimensat(2); fs/utimes.c; fs/attr.c, setattr_prepare.
"""

from __future__ import annotations

from errno import EACCES, EINVAL, EPERM

from torture.conformance.calls import AT_SYMLINK_NOFOLLOW, UTIME_NOW, UTIME_OMIT, Time
from torture.conformance.tester import ALICE, Tester, case

KINDS = ("file", "dir", "fifo", "socket", "symlink", "char", "block")

SETTABLE: tuple[Time, ...] = (
    (0, 0),
    (0, 1),
    (1, 999_999_999),
    (1_234_567_890, 123_456_789),
    (2**31 - 1, 0),
    (2**31, 5),  # after 2038
    (2**32, 7),  # after 2106
    (2**33, 999),  # 2242
    (-1, 0),
    (-1, 999_999_999),  # one nanosecond before 1970
    (-(2**31), 0),
)


@case("utimensat")
def nanoseconds_and_centuries(t: Tester) -> None:
    for kind in KINDS if t.privileged else KINDS[:-2]:
        t.put(kind, kind)
        for atime in SETTABLE:
            mtime = (atime[0] + 1, atime[1])
            t.works(t.root.utimensat, kind, atime, mtime, AT_SYMLINK_NOFOLLOW)
            found = t.root.lstat(kind)
            wanted = tuple(seconds * 10**9 + nanoseconds for seconds, nanoseconds in (atime, mtime))
            t.equal(f"times of {kind}", (found.st_atime_ns, found.st_mtime_ns), wanted)
            t.works(t.root.utimensat, kind, mtime, atime, AT_SYMLINK_NOFOLLOW)
            found = t.root.lstat(kind)
            t.equal(f"times of {kind}, the other way round", (found.st_mtime_ns, found.st_atime_ns), wanted)


@case("utimensat")
def now_and_omit(t: Tester) -> None:
    old = (1000, 5)
    for atime, mtime, kept in (
        (UTIME_NOW, UTIME_NOW, ""),
        (UTIME_NOW, UTIME_OMIT, "m"),
        (UTIME_OMIT, UTIME_NOW, "a"),
        (UTIME_OMIT, UTIME_OMIT, "am"),
        (UTIME_OMIT, (7, 8), "a"),
        ((7, 8), UTIME_OMIT, "m"),
    ):
        t.put("file", "file")
        t.root.utimensat("file", old, old)
        made = t.root.lstat("file").st_ctime_ns
        t.works(t.root.utimensat, "file", atime, mtime)
        found = t.root.lstat("file")
        for letter, asked, got in (("a", atime, found.st_atime_ns), ("m", mtime, found.st_mtime_ns)):
            if letter in kept:
                t.equal(f"{letter}time", got, 1000 * 10**9 + 5)
            elif asked == UTIME_NOW:
                t.true(f"{letter}time is now", abs(got - made) < 10**10, got)
            else:
                t.equal(f"{letter}time", got, 7 * 10**9 + 8)
        t.root.unlink("file")


@case("utimensat", needs="users")
def by_others(t: Tester) -> None:
    t.put("file", "writable", 0o666, who=ALICE)
    t.put("file", "readable", 0o644, who=ALICE)
    both, one, some = (UTIME_NOW, UTIME_NOW), (UTIME_NOW, UTIME_OMIT), ((1, 0), (2, 0))
    none = (UTIME_OMIT, UTIME_OMIT)
    for name, given, error in (
        ("writable", both, 0),
        ("writable", one, EPERM),
        ("writable", some, EPERM),
        ("writable", none, 0),
        ("readable", both, EACCES),
        ("readable", one, EPERM),
        ("readable", some, EPERM),
        ("readable", none, 0),
    ):
        t.allowed(error == 0, error, t.bob.utimensat, name, *given)
        t.works(t.alice.utimensat, name, *given)
        t.works(t.root.utimensat, name, *given)
    t.root.chmod("readable", 0)
    t.works(t.alice.utimensat, "readable", *both)
    t.works(t.alice.utimensat, "readable", *some)


@case("utimensat")
def refusals(t: Tester) -> None:
    t.put("file", "file")
    for nanoseconds in (10**9, -1, 2**31):
        t.fails(EINVAL, t.root.utimensat, "file", (1, nanoseconds), (1, 0))
        t.fails(EINVAL, t.root.utimensat, "file", (1, 0), (1, nanoseconds))


@case("utimensat")
def symlinks(t: Tester) -> None:
    t.put("file", "file")
    t.root.symlink("file", "link")
    t.works(t.root.utimensat, "link", (5, 0), (6, 0))
    t.works(t.root.utimensat, "link", (7, 0), (8, 0), AT_SYMLINK_NOFOLLOW)
    t.equal("mtime of the file", t.root.lstat("file").st_mtime, 6.0)
    t.equal("mtime of the link", t.root.lstat("link").st_mtime, 8.0)
