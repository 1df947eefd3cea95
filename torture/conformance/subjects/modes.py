"""chmod, umask, and the bits that vanish: suid and sgid.

Source: chmod(2), umask(2); fs/attr.c, setattr_should_drop_suidgid; fs/inode.c, mode_strip_sgid.
"""

from __future__ import annotations

import os
from errno import EBADF, EPERM

from torture.conformance.tester import ALICE, BOB, Tester, case

MODES = (0, 0o1, 0o10, 0o100, 0o444, 0o644, 0o755, 0o777, 0o1777, 0o2755, 0o2644, 0o4755, 0o4644, 0o6711, 0o7777)


KINDS = ("file", "dir", "fifo", "socket", "char", "block")


@case("chmod", needs="root")
def every_kind_takes_every_mode(t: Tester) -> None:
    for kind in KINDS:
        t.put(kind, kind)
        before = t.root.lstat(kind)
        for mode in MODES:
            t.works(t.root.chmod, kind, mode)
            t.mode(kind, mode)
        after = t.root.lstat(kind)
        t.equal(f"the kind of {kind}", oct(after.st_mode & 0o170000), oct(before.st_mode & 0o170000))
        t.equal(f"all else of {kind}", (after.st_ino, after.st_nlink), (before.st_ino, before.st_nlink))


@case("chmod", needs="users")
def through_a_symlink(t: Tester) -> None:
    """The sticky bit means nothing but on directories, and may be set all the same."""
    for kind in KINDS:
        t.put(kind, kind, 0o640, who=ALICE)
        t.root.symlink(kind, f"to-{kind}")
        for mode in (0o600, 0o111, 0o1644, 0o1640):
            t.works(t.alice.chmod, f"to-{kind}", mode)
            t.mode(kind, mode)
            t.equal("mode by stat", oct(t.root.stat(f"to-{kind}").st_mode & 0o7777), oct(mode))
        t.mode(f"to-{kind}", 0o777)
        t.fails(EPERM, t.bob.chmod, f"to-{kind}", 0o600)
        t.mode(kind, 0o1640)


@case("chmod")
def through_a_descriptor(t: Tester) -> None:
    t.put("file", "file", 0o644)
    fd = t.root.open("file", os.O_RDONLY)
    t.works(t.root.fchmod, fd, 0o4711)
    t.mode("file", 0o4711)
    t.equal("mode by fstat", oct(t.root.fstat(fd).st_mode & 0o7777), "0o4711")
    t.put("dir", "dir", 0o755)
    t.works(t.root.fchmod, t.root.open("dir", os.O_RDONLY | os.O_DIRECTORY), 0o1700)
    t.mode("dir", 0o1700)
    t.fails(EBADF, t.root.fchmod, t.root.open("file", os.O_PATH), 0o600)


@case("chmod", needs="users")
def sgid_of_a_group_one_is_not_in(t: Tester) -> None:
    """The owner may set sgid only if the file's group is one of the owner's; else it is dropped without an error."""
    for name, gid, wanted in (("own", 65501, 0o2755), ("supplementary", 65511, 0o2755), ("foreign", 65599, 0o755)):
        t.put("file", name)
        t.root.chown(name, ALICE.uid, gid)
        t.works(t.alice.chmod, name, 0o2755)
        t.mode(name, wanted)
        t.works(t.root.chmod, name, 0o2755)
        t.mode(name, 0o2755)


UMASKS = (
    # umask, mode asked for, mode got
    (0, 0o777, 0o777),
    (0o022, 0o777, 0o755),
    (0o022, 0o666, 0o644),
    (0o077, 0o755, 0o700),
    (0o777, 0o777, 0),
    (0o027, 0o1775, 0o1750),
    (0o133, 0o644, 0o644),
    (0o070, 0o345, 0o305),
    (0o501, 0o345, 0o244),
)


@case("umask")
def of_new_objects(t: Tester) -> None:
    for mask, asked, got in UMASKS:
        t.root.umask(mask)
        t.root.create("file", asked & 0o777)
        t.root.mkdir("dir", asked)
        t.root.mkfifo("fifo", asked & 0o777)
        t.root.mknod("node", 0o100000 | asked & 0o777)
        t.root.symlink("target", "symlink")
        t.root.umask(0)
        for name in ("file", "fifo", "node"):
            t.mode(name, got & 0o777)
            t.root.unlink(name)
        t.mode("dir", got)
        t.mode("symlink", 0o777)
        t.root.rmdir("dir")
        t.root.unlink("symlink")


def privileged(t: Tester, name: str, mode: int) -> None:
    """A file of alice with suid or sgid bits."""
    t.put("file", name, mode, who=ALICE, content=b"0123456789")


DROPPED_BY_WRITING = (
    # mode before, after alice has changed the content, and after bob has (neither has CAP_FSETID)
    (0o4777, 0o777, 0o777),
    (0o2777, 0o777, 0o777),
    (0o6777, 0o777, 0o777),
    (0o4666, 0o666, 0o666),
    (0o6766, 0o2766, 0o766),  # sgid without x for the group stays when its members write
    (0o777, 0o777, 0o777),
)


@case("suid", needs="users")
def writing_drops_it(t: Tester) -> None:
    for before, after_alice, after in DROPPED_BY_WRITING:
        name = f"mode-{before:o}"
        privileged(t, name, before)
        t.works(t.alice.write_file, name, b"x")
        t.mode(name, after_alice)
        t.root.chmod(name, before)
        t.works(t.bob.write_file, name, b"y")
        t.mode(name, after)
        t.root.chmod(name, before)
        t.works(t.bob.truncate, name, 5)
        t.mode(name, after)
        t.root.chmod(name, before)
        fd = t.works(t.bob.open, name, os.O_WRONLY | os.O_TRUNC)
        t.mode(name, after)
        t.root.chmod(name, before)
        t.works(t.bob.ftruncate, fd, 7)
        t.mode(name, after)
        t.root.chmod(name, before)
        t.works(t.root.write_file, name, b"z")
        t.mode(name, before)


@case("suid", needs="users")
def whoever_writes_sees_it_dropped(t: Tester) -> None:
    privileged(t, "file", 0o6777)
    fd = t.bob.open("file", os.O_RDWR)
    reader = t.alice.open("file", os.O_RDONLY)
    t.equal("mode when it was opened", oct(t.bob.fstat(fd).st_mode), "0o106777")
    for call, arguments in (
        ("write", (b"x",)),
        ("pwrite", (b"x", 5)),
        ("ftruncate", (3,)),
        ("ftruncate", (30,)),
        ("posix_fallocate", (0, 40)),
    ):
        t.root.chmod("file", 0o6777)
        t.works(getattr(t.bob, call), fd, *arguments)
        t.equal(f"mode after {call}, by the descriptor", oct(t.bob.fstat(fd).st_mode), "0o100777")
        t.equal(f"mode after {call}, by another", oct(t.alice.fstat(reader).st_mode), "0o100777")


@case("suid", needs="users")
def chown_drops_it(t: Tester) -> None:
    for before, after, _ in DROPPED_BY_WRITING:
        name = f"mode-{before:o}"
        privileged(t, name, before)
        t.works(t.alice.chown, name, -1, ALICE.groups[0])
        t.mode(name, after)
        t.root.chmod(name, before)
        t.works(t.root.chown, name, 1, 1)
        t.mode(name, after)


@case("suid", needs="users")
def chown_drops_it_from_every_kind_but_directories(t: Tester) -> None:
    """Also if it names the owner that there is, or none."""
    for kind in KINDS:
        t.put(kind, kind, who=ALICE)
        t.root.symlink(kind, f"to-{kind}")
        for path in (kind, f"to-{kind}"):
            for actor, ids in (
                (t.alice, (-1, ALICE.groups[0])),
                (t.alice, (ALICE.uid, ALICE.gid)),
                (t.alice, (-1, -1)),
                (t.root, (ALICE.uid, ALICE.gid)),
            ):
                t.root.chmod(path, 0o6555)
                t.works(actor.chown, path, *ids)
                t.mode(kind, 0o6555 if kind == "dir" else 0o555)
        t.root.chmod(kind, 0o6555)
        t.fails(EPERM, t.bob.chown, kind, -1, BOB.gid)
        try:
            t.bob.chown(kind, -1, -1)
        except PermissionError:  # as on most filesystems; to FUSE it looks like a write
            pass
        t.mode(kind, 0o6555)
        if kind != "file":  # for the same reason
            t.works(t.root.chown, kind, -1, -1)
            t.mode(kind, 0o6555 if kind == "dir" else 0o555)
            t.root.chmod(kind, 0o6555)
        t.works(t.root.chown, kind, 1, 1)
        t.mode(kind, 0o6555 if kind == "dir" else 0o555)


@case("suid", needs="users")
def reading_and_renaming_keep_it(t: Tester) -> None:
    privileged(t, "file", 0o6755)
    t.works(t.alice.read_file, "file")
    t.mode("file", 0o6755)
    t.works(t.alice.rename, "file", "renamed")
    t.mode("renamed", 0o6755)
    t.works(t.alice.link, "renamed", "link")
    t.mode("link", 0o6755)
    t.works(t.alice.write_file, "renamed", b"")
    t.mode("renamed", 0o6755)


@case("setgid", needs="users")
def directories_hand_their_group_on(t: Tester) -> None:
    t.root.mkdir("dir", 0o777)
    t.root.chown("dir", 0, 65599)
    t.root.chmod("dir", 0o2777)
    t.alice.create("dir/file", 0o644)
    t.alice.mkdir("dir/sub", 0o755)
    t.alice.mkfifo("dir/fifo", 0o644)
    t.alice.mknod("dir/socket", 0o140644)
    t.alice.symlink("target", "dir/symlink")
    for name in ("file", "sub", "fifo", "socket", "symlink"):
        t.owner(f"dir/{name}", ALICE.uid, 65599)
    t.mode("dir/sub", 0o2755)
    for name in ("file", "fifo", "socket"):
        t.mode(f"dir/{name}", 0o644)
    t.alice.mkdir("dir/sub/sub", 0o700)
    t.mode("dir/sub/sub", 0o2700)
    t.owner("dir/sub/sub", ALICE.uid, 65599)


@case("setgid", needs="users")
def a_new_program_of_a_foreign_group(t: Tester) -> None:
    """Who is not in the directory's group cannot make an sgid program of that group."""
    t.root.mkdir("dir", 0o777)
    t.root.chown("dir", 0, 65599)
    t.root.chmod("dir", 0o2777)
    t.alice.create("dir/program", 0o2755)
    t.mode("dir/program", 0o755)
    t.alice.create("dir/data", 0o2644)
    t.mode("dir/data", 0o2644)
    t.root.create("dir/of-root", 0o2755)
    t.mode("dir/of-root", 0o2755)
    t.root.chown("dir", 0, ALICE.groups[0])
    t.alice.create("dir/own", 0o2755)
    t.mode("dir/own", 0o2755)


@case("setgid", needs="users")
def without_it_the_group_is_the_makers(t: Tester) -> None:
    t.root.mkdir("dir", 0o777)
    t.root.chown("dir", 0, 65599)
    t.root.chmod("dir", 0o777)
    t.alice.create("dir/file")
    t.alice.mkdir("dir/sub", 0o755)
    t.alice.symlink("target", "dir/symlink")
    t.alice.mkfifo("dir/fifo", 0o644)
    for name in ("file", "sub", "symlink", "fifo"):
        t.owner(f"dir/{name}", ALICE.uid, ALICE.gid)
    t.alice.link("dir/file", "dir/link")
    t.owner("dir/link", ALICE.uid, ALICE.gid)
    t.fails(EPERM, t.bob.chmod, "dir/file", 0o666)
