"""Who may do what: mode bits by class, and what only owners may do.

The tables are computed from the rule itself: the class (owner, group, other) is chosen by
identity alone, and its three bits decide, even when another class would allow more.

Source: path_resolution(7), "Permissions"; fs/namei.c, generic_permission.
"""

from __future__ import annotations

import os
from errno import EACCES, EPERM

from torture.conformance.actors import Actor
from torture.conformance.tester import ALICE, Tester, case

READ, WRITE, EXECUTE = 4, 2, 1


def classes(t: Tester) -> tuple[tuple[Actor, int], ...]:
    """The actors, and how far their class's bits are shifted in the mode of what is alice's."""
    return ((t.alice, 6), (t.carol, 3), (t.bob, 0))


def mode_for(shift: int, bits: int) -> int:
    """A mode that gives `bits` to one class, and the complement to the two others."""
    others = 0o777 & ~(7 << shift)
    return bits << shift | (others & (0o111 * (7 & ~bits)))


@case("permissions", needs="users")
def opening_by_mode(t: Tester) -> None:
    t.put("file", "file", who=ALICE)
    ways = ((os.O_RDONLY, READ), (os.O_WRONLY, WRITE), (os.O_RDWR, READ | WRITE), (os.O_RDONLY | os.O_TRUNC, 6))
    for actor, shift in classes(t):
        for bits in range(8):
            t.root.chmod("file", mode_for(shift, bits))
            for flags, need in ways:
                t.allowed(bits & need == need, EACCES, actor.open, "file", flags)
                actor.close_all()


@case("permissions", needs="users")
def access_by_mode(t: Tester) -> None:
    t.put("file", "file", who=ALICE)
    for actor, shift in classes(t):
        for bits in range(8):
            t.root.chmod("file", mode_for(shift, bits))
            for need in (READ, WRITE, EXECUTE, 7):
                t.allowed(bits & need == need, EACCES, actor.access, "file", need)


@case("permissions", needs="users")
def directories_by_mode(t: Tester) -> None:
    t.put("dir", "dir", who=ALICE)
    t.put("file", "dir/file", 0o666, who=ALICE)
    for actor, shift in classes(t):
        for bits in range(8):
            t.root.chmod("dir", mode_for(shift, bits))
            may_search, may_change = bits & 1 == 1, bits & 3 == 3
            t.allowed(bits & 4 == 4, EACCES, actor.listdir, "dir")
            t.allowed(may_search, EACCES, actor.stat, "dir/file")
            t.allowed(may_change, EACCES, actor.create, "dir/new")
            if may_change:
                t.works(actor.rename, "dir/new", "dir/newer")
                t.works(actor.unlink, "dir/newer")


CHANGES: tuple[tuple[str, tuple[object, ...]], ...] = (
    ("create", ("dir/new",)),
    ("mkdir", ("dir/new", 0o755)),
    ("mkfifo", ("dir/new", 0o644)),
    ("mknod", ("dir/new", 0o140644)),
    ("symlink", ("target", "dir/new")),
    ("link", ("mine", "dir/new")),
    ("rename", ("mine", "dir/new")),
    ("rename", ("dir/file", "moved")),
    ("rename", ("dir/file", "dir/new")),
    ("unlink", ("dir/file",)),
    ("rmdir", ("dir/empty",)),
)


@case("permissions", needs="users")
def a_directory_that_may_not_be_written(t: Tester) -> None:
    t.put("dir", "dir", 0o755)
    t.put("file", "dir/file", 0o666, who=ALICE)
    t.put("dir", "dir/empty", 0o777, who=ALICE)
    t.put("file", "mine", 0o666, who=ALICE)
    for name, arguments in CHANGES:
        t.fails(EACCES, getattr(t.alice, name), *arguments)
    t.equal("what is there", sorted(t.root.listdir("dir")), ["empty", "file"])
    t.equal("what is here", sorted(t.root.listdir(".")), ["dir", "mine"])


@case("permissions", needs="users")
def only_the_owner_may_chmod(t: Tester) -> None:
    for kind in ("file", "dir", "fifo", "socket", "char", "block"):
        t.put(kind, kind, 0o666, who=ALICE)
        t.fails(EPERM, t.bob.chmod, kind, 0o600)
        t.fails(EPERM, t.carol.chmod, kind, 0o600)
        t.mode(kind, 0o666)
        t.works(t.alice.chmod, kind, 0o640)
        t.mode(kind, 0o640)
        t.works(t.root.chmod, kind, 0o604)
        t.mode(kind, 0o604)


@case("permissions", needs="users")
def root_needs_no_bits(t: Tester) -> None:
    t.put("file", "file", 0, who=ALICE, content=b"x")
    t.put("dir", "dir", 0, who=ALICE)
    t.works(t.root.open, "file", os.O_RDWR)
    t.works(t.root.listdir, "dir")
    t.works(t.root.create, "dir/new")
    t.works(t.root.access, "file", READ | WRITE)
    t.fails(EACCES, t.root.access, "file", EXECUTE)
    t.root.chmod("file", 0o010)
    t.works(t.root.access, "file", EXECUTE)
    t.works(t.root.access, "dir", EXECUTE)


@case("permissions", needs="users")
def supplementary_groups_count(t: Tester) -> None:
    t.put("file", "file")
    t.root.chown("file", 0, ALICE.groups[0])
    t.root.chmod("file", 0o660)
    t.works(t.alice.open, "file", os.O_RDWR)
    t.fails(EACCES, t.carol.open, "file", os.O_RDONLY)
    t.put("dir", "dir")
    t.root.chown("dir", 0, ALICE.groups[0])
    t.root.chmod("dir", 0o770)
    t.works(t.alice.create, "dir/new")
    t.fails(EACCES, t.carol.create, "dir/newer")


@case("permissions", needs="users")
def rights_are_checked_when_opening(t: Tester) -> None:
    """A descriptor keeps its rights when the mode is changed, and one made with mode 0 has those asked for."""
    fd = t.works(t.alice.open, "file", os.O_RDWR | os.O_CREAT, 0)
    t.works(t.alice.write, fd, b"abc")
    t.works(t.alice.pread, fd, 3, 0)
    t.works(t.alice.ftruncate, fd, 1)
    t.works(t.alice.fchmod, fd, 0o400)
    t.works(t.alice.write, fd, b"d")
    t.fails(EACCES, t.alice.open, "file", os.O_WRONLY)
    t.works(t.alice.open, "file", os.O_RDONLY)
    t.fails(EACCES, t.alice.truncate, "file", 0)


@case("permissions", needs="users")
def sockets_and_fifos_have_modes_too(t: Tester) -> None:
    t.put("fifo", "fifo", 0o600, who=ALICE)
    t.fails(EACCES, t.bob.open, "fifo", os.O_RDONLY | os.O_NONBLOCK)
    t.works(t.alice.open, "fifo", os.O_RDONLY | os.O_NONBLOCK)
    t.put("char", "null", 0o600, who=ALICE)
    t.fails(EACCES, t.bob.open, "null", os.O_RDONLY)


@case("permissions", needs="users")
def programs_need_an_execute_bit(t: Tester) -> None:
    t.root.copy_program("/bin/true", "true")
    t.root.chmod("true", 0o644)
    t.fails(EACCES, t.root.execute, "./true")
    t.fails(EACCES, t.alice.execute, "./true")
    t.root.chmod("true", 0o700)
    t.fails(EACCES, t.alice.execute, "./true")
    t.equal("exit code", t.works(t.root.execute, "./true"), 0)
    t.root.chmod("true", 0o711)
    t.equal("exit code for alice", t.works(t.alice.execute, "./true"), 0)


STICKY = (
    # owner of the directory, owner of the file, and whether alice may remove the file
    ("alice", "alice", True),
    ("alice", "bob", True),
    ("bob", "alice", True),
    ("bob", "bob", False),
    ("bob", "carol", False),
    ("root", "alice", True),
    ("root", "root", False),
)


def ids(t: Tester, name: str) -> tuple[int, int]:
    """uid and gid of an actor by name."""
    who = t.root.identity if name == "root" else t.users[name].identity
    return who.uid, who.gid


@case("sticky", needs="users")
def what_alice_may_do_in_a_sticky_directory(t: Tester) -> None:
    for number, (directory_of, file_of, may) in enumerate(STICKY):
        for sticky in (True, False):
            where = f"{directory_of}-{file_of}-{number}-{'sticky' if sticky else 'plain'}"
            t.root.mkdir(where, 0o777)
            for name in ("gone", "moved", "left", "replaced"):
                t.root.create(f"{where}/{name}", 0o666)
                t.root.chown(f"{where}/{name}", *ids(t, file_of))
            t.root.mkdir(f"{where}/dir", 0o777)
            t.root.chown(f"{where}/dir", *ids(t, file_of))
            t.root.chown(where, *ids(t, directory_of))
            t.root.chmod(where, 0o1777 if sticky else 0o777)
            t.put("file", f"mine-{where}", 0o666, who=ALICE)
            allowed = may or not sticky
            t.allowed(allowed, EPERM, t.alice.unlink, f"{where}/gone")
            t.allowed(allowed, EPERM, t.alice.rmdir, f"{where}/dir")
            t.allowed(allowed, EPERM, t.alice.rename, f"{where}/moved", f"{where}/other")
            t.allowed(allowed, EPERM, t.alice.rename, f"{where}/left", f"left-{where}")
            t.allowed(allowed, EPERM, t.alice.rename, f"mine-{where}", f"{where}/replaced")
            t.works(t.alice.create, f"{where}/new")
            t.works(t.alice.unlink, f"{where}/new")


@case("sticky", needs="users")
def moving_a_directory_of_another(t: Tester) -> None:
    """A move to another parent changes the entry '..', for which one needs write permission."""
    for name in ("from", "to"):
        t.put("dir", name, 0o755, who=ALICE)
    t.root.mkdir("from/theirs", 0o755)
    t.works(t.alice.rename, "from/theirs", "from/renamed")
    t.fails(EACCES, t.alice.rename, "from/renamed", "to/renamed")
    t.root.chmod("from/renamed", 0o777)
    t.works(t.alice.rename, "from/renamed", "to/renamed")
