"""What is wrong with a path is found in the same way by every call that takes one.

So the checks are a product: the calls, with the place of the path marked, times the ways in
which a path can be bad. A call's traits say what its last component must be:

    exists    the last component must exist
    creates   it must not
    follows   a symlink as last component is followed

Source: path_resolution(7) and the ERRORS of each call; fs/namei.c.
"""

from __future__ import annotations

import os
import stat
from errno import EACCES, EEXIST, EISDIR, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR

from torture.conformance.calls import AT_SYMLINK_NOFOLLOW, RENAME_EXCHANGE, RENAME_NOREPLACE, UTIME_NOW
from torture.conformance.tester import Tester, case

PATH = object()  # where the path goes in the arguments
NAME_MAX, PATH_MAX = 255, 4096  # PATH_MAX counts the terminating NUL

WITH_PATH: tuple[tuple[str, tuple[object, ...], str], ...] = (
    ("chmod", (PATH, 0o644), "exists follows"),
    ("chown", (PATH, -1, -1), "exists follows"),
    ("lchown", (PATH, -1, -1), "exists"),
    ("link", (PATH, "new"), "exists"),
    ("link", ("file", PATH), "creates"),
    ("mkdir", (PATH, 0o755), "creates"),
    ("mkfifo", (PATH, 0o644), "creates"),
    ("mknod", (PATH, stat.S_IFSOCK | 0o644), "creates"),
    ("mknod", (PATH, stat.S_IFREG | 0o644), "creates"),
    ("symlink", ("target", PATH), "creates"),
    ("create", (PATH,), "creates"),
    ("open", (PATH, os.O_RDONLY), "exists follows"),
    ("open", (PATH, os.O_WRONLY | os.O_TRUNC), "exists follows"),
    ("open", (PATH, os.O_PATH), "exists follows"),
    ("rename", (PATH, "new"), "exists"),
    ("rename", ("file", PATH), "replaces"),
    ("renameat2", (PATH, "new", RENAME_NOREPLACE), "exists"),
    ("renameat2", ("file", PATH, RENAME_EXCHANGE), "exists"),
    ("rmdir", (PATH,), "exists"),
    ("readlink", (PATH,), "exists"),
    ("truncate", (PATH, 0), "exists follows"),
    ("unlink", (PATH,), "exists"),
    ("utimensat", (PATH, UTIME_NOW, UTIME_NOW), "exists follows"),
    ("utimensat", (PATH, UTIME_NOW, UTIME_NOW, AT_SYMLINK_NOFOLLOW), "exists"),
    ("stat", (PATH,), "exists follows"),
    ("lstat", (PATH,), "exists"),
    ("access", (PATH, os.F_OK), "exists follows"),
    ("statvfs", (PATH,), "exists follows"),
    ("listdir", (PATH,), "exists follows"),
    ("chdir", (PATH,), "exists follows"),
    ("getxattr", (PATH, "user.x"), "exists follows"),
    ("setxattr", (PATH, "user.x", b"1"), "exists follows"),
    ("listxattr", (PATH,), "exists follows"),
    ("removexattr", (PATH, "user.x"), "exists follows"),
)

# a bad path, its errno, and which calls it is bad for: those with this trait, or all
BAD_PATHS: tuple[tuple[str, int, str], ...] = (
    ("file/below", ENOTDIR, ""),
    ("fifo/below", ENOTDIR, ""),
    ("socket/below", ENOTDIR, ""),
    ("to-file/below", ENOTDIR, ""),
    ("missing/below", ENOENT, ""),
    ("dangling/below", ENOENT, ""),
    ("dir/missing/below", ENOENT, ""),
    ("loop/below", ELOOP, ""),
    ("tick/below", ELOOP, ""),
    ("tick", ELOOP, "follows"),
    ("loop", ELOOP, "follows"),
    ("dangling", ENOENT, "follows"),
    ("missing", ENOENT, "exists"),
    ("file/", ENOTDIR, "exists"),
    ("file/.", ENOTDIR, "exists"),
    ("", ENOENT, ""),
    ("n" * (NAME_MAX + 1), ENAMETOOLONG, ""),
    ("n" * (NAME_MAX + 1) + "/below", ENAMETOOLONG, ""),
    ("dir/" + "n" * (NAME_MAX + 1), ENAMETOOLONG, ""),
    ("./" * (PATH_MAX // 2 - 2) + "file", ENAMETOOLONG, ""),
)

# the last component is of this kind, and the call wants another
WRONG_KINDS: tuple[tuple[str, tuple[object, ...], tuple[tuple[str, int], ...]], ...] = (
    ("rmdir", (PATH,), tuple((kind, ENOTDIR) for kind in ("file", "fifo", "socket", "char", "symlink"))),
    ("unlink", (PATH,), (("dir", EISDIR),)),
    ("listdir", (PATH,), (("file", ENOTDIR), ("fifo", ENOTDIR), ("socket", ENOTDIR))),
    ("chdir", (PATH,), (("file", ENOTDIR), ("fifo", ENOTDIR))),
    ("open", (PATH, os.O_RDONLY | os.O_DIRECTORY), tuple((kind, ENOTDIR) for kind in ("file", "fifo", "socket"))),
    ("open", (PATH, os.O_RDONLY | os.O_NOFOLLOW), (("symlink", ELOOP),)),
    ("open", (PATH, os.O_WRONLY), (("dir", EISDIR),)),
    ("open", (PATH, os.O_RDWR), (("dir", EISDIR),)),
    ("open", (PATH, os.O_RDONLY | os.O_CREAT), (("dir", EISDIR),)),
    ("truncate", (PATH, 0), (("dir", EISDIR),)),
)

KIND_FOR = {"rmdir": "dir", "listdir": "dir", "chdir": "dir", "readlink": "symlink"}  # what the call wants

TAKEN = ("file", "dir", "fifo", "socket", "symlink", "char", "block")


def prepare(t: Tester) -> None:
    """What the bad paths name."""
    t.put("file", "file", 0o666)
    t.put("fifo", "fifo", 0o666)
    t.root.mkdir("dir", 0o777)
    t.put("socket", "socket", 0o666)
    t.root.symlink("file", "to-file")
    t.root.symlink("loop", "loop")
    t.root.symlink("tick", "tock")
    t.root.symlink("tock", "tick")
    t.root.symlink("missing", "dangling")


def filled(arguments: tuple[object, ...], path: str) -> tuple[object, ...]:
    """The arguments with a path in its place."""
    return tuple(path if argument is PATH else argument for argument in arguments)


@case("paths")
def bad_paths(t: Tester) -> None:
    prepare(t)
    for path, error, trait in BAD_PATHS:
        for name, arguments, traits in WITH_PATH:
            if trait in traits:
                t.fails(error, getattr(t.root, name), *filled(arguments, path))


@case("paths", needs="users")
def a_directory_that_may_not_be_searched(t: Tester) -> None:
    prepare(t)
    t.root.mkdir("locked", 0o777)
    t.put("file", "locked/file", 0o666)
    t.root.chmod("locked", 0o666)
    for name, arguments, _ in WITH_PATH:
        t.fails(EACCES, getattr(t.alice, name), *filled(arguments, "locked/file"))


@case("paths")
def a_new_name_with_a_slash_after_it(t: Tester) -> None:
    prepare(t)
    for name, arguments, traits in WITH_PATH:
        if traits == "creates" and name not in ("mkdir", "create"):
            t.fails(ENOENT, getattr(t.root, name), *filled(arguments, "new/"))
    t.fails(EISDIR, t.root.create, "new/")
    t.fails(ENOTDIR, t.root.rename, "file", "new/")
    t.works(t.root.mkdir, "new/", 0o755)
    t.works(t.root.rename, "new/", "newer/")
    t.works(t.root.rmdir, "newer/")


@case("paths")
def a_name_that_is_taken(t: Tester) -> None:
    prepare(t)
    for kind in TAKEN if t.privileged else TAKEN[:-2]:
        t.put(kind, f"a-{kind}")
        for name, arguments, traits in WITH_PATH:
            if traits == "creates":
                t.fails(EEXIST, getattr(t.root, name), *filled(arguments, f"a-{kind}"))
        t.fails(EEXIST, t.root.renameat2, "file", f"a-{kind}", RENAME_NOREPLACE)


@case("paths", needs="root")
def the_wrong_kind(t: Tester) -> None:
    for kind in TAKEN:
        t.put(kind, f"a-{kind}", 0o644 if kind != "symlink" else -1)
    for name, arguments, kinds in WRONG_KINDS:
        for kind, error in kinds:
            t.fails(error, getattr(t.root, name), *filled(arguments, f"a-{kind}"))


@case("paths")
def names_of_255_bytes(t: Tester) -> None:
    prepare(t)
    name = "n" * NAME_MAX
    for call, arguments, traits in WITH_PATH:
        if traits in ("creates", "replaces"):
            t.works(getattr(t.root, call), *filled(arguments, name))
            t.equal(f"the listing after {call}", name in t.root.listdir("."), True)
            t.works(t.root.rmdir if call == "mkdir" else t.root.unlink, name)
    t.put("file", "a")
    t.works(t.root.rename, "a", name)
    t.works(t.root.rename, name, "m" * NAME_MAX)
    t.equal("names", len(t.root.statvfs(".")) and t.root.statvfs(".").f_namemax, NAME_MAX)


def call_on(t: Tester, path: str) -> None:
    """Make every call once on a path, which can be used: on an object of its own, gone afterwards."""
    here = t.root.open(".", os.O_RDONLY)
    for call, arguments, traits in WITH_PATH:
        if call.endswith("xattr"):  # not every filesystem has them
            continue
        if "exists" in traits:
            t.root.make(KIND_FOR.get(call, "file"), path)
        t.works(getattr(t.root, call), *filled(arguments, path))
        t.root.chdir(here)
        for left in (path, "new", "file"):
            clear(t, left)
        t.root.create("file", 0o666)


def clear(t: Tester, path: str) -> None:
    """Remove what there may be."""
    for remove in (t.root.unlink, t.root.rmdir):
        try:
            remove(path)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            pass


@case("paths")
def any_call_on_a_name_of_255_bytes(t: Tester) -> None:
    prepare(t)
    call_on(t, "n" * NAME_MAX)


@case("paths")
def any_call_on_a_path_of_4095_bytes(t: Tester) -> None:
    """Through directories whose names are half as long as a name may be; one byte more is too much."""
    prepare(t)
    name = "d" * (NAME_MAX // 2)
    depth = (PATH_MAX - 1) // (len(name) + 1)
    head = f"{name}/" * depth
    for level in range(depth):
        t.root.mkdir(f"{name}/" * level + name, 0o755)
    path = head + "n" * (PATH_MAX - 1 - len(head))
    t.equal("length", len(path), PATH_MAX - 1)
    call_on(t, path)
    t.works(t.root.symlink, path, "target")
    t.equal("target", t.root.readlink("target"), path)
    for call, arguments, _ in WITH_PATH:
        t.fails(ENAMETOOLONG, getattr(t.root, call), *filled(arguments, f"{path}x"))
    t.fails(ENAMETOOLONG, t.root.symlink, f"{path}x", "target-2")


@case("paths")
def directories_deeper_than_a_path(t: Tester) -> None:
    """20 levels of 255 bytes: the whole path is longer than PATH_MAX, and each step of it is not."""
    for level in range(20):
        name = chr(ord("a") + level) * NAME_MAX
        t.root.mkdir(name, 0o755)
        t.root.chdir(name)
    t.works(t.root.create, "file", 0o644, b"deep")
    t.content("file", b"deep")
    t.works(t.root.link, "file", "link")
    t.works(t.root.rename, "link", "renamed")
    t.equal("names", sorted(t.root.listdir(".")), ["file", "renamed"])
    t.works(t.root.unlink, "renamed")
    for _ in range(20):
        t.root.chdir("..")
    t.equal("names at the top", t.root.listdir("."), ["a" * NAME_MAX])


@case("paths")
def chains_of_symlinks(t: Tester) -> None:
    t.put("file", "link-0")
    for number in range(1, 42):
        t.root.symlink(f"link-{number - 1}", f"link-{number}")
    t.works(t.root.stat, "link-40")
    t.fails(ELOOP, t.root.stat, "link-41")
    t.works(t.root.lstat, "link-41")
    t.works(t.root.open, "link-40", os.O_RDONLY)
    t.fails(ELOOP, t.root.open, "link-41", os.O_RDONLY)
