"""Who may do what: mode bits by class, and what only owners may do.

The tables are computed from the rule itself: the class (owner, group, other) is chosen by
identity alone, and its three bits decide, even when another class would allow more.

Source: path_resolution(7), "Permissions"; fs/namei.c, generic_permission.
"""

from __future__ import annotations

import os
from errno import EACCES, ENXIO, EPERM

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


OPENING: dict[str, tuple[tuple[int, int, int], ...]] = {
    # kind: flags of open, the bits that it takes, and the errno even then
    "file": (
        (os.O_RDONLY, READ, 0),
        (os.O_WRONLY, WRITE, 0),
        (os.O_RDWR, READ | WRITE, 0),
        (os.O_RDONLY | os.O_TRUNC, READ | WRITE, 0),
        (os.O_WRONLY | os.O_APPEND, WRITE, 0),
        (os.O_WRONLY | os.O_RDWR, READ | WRITE, 0),  # for ioctl alone: open(2), "File access mode"
    ),
    "fifo": (
        (os.O_RDONLY | os.O_NONBLOCK, READ, 0),
        (os.O_WRONLY | os.O_NONBLOCK, WRITE, ENXIO),
        (os.O_RDWR, READ | WRITE, 0),
    ),
    "socket": ((os.O_RDONLY, READ, ENXIO), (os.O_WRONLY, WRITE, ENXIO), (os.O_RDWR, READ | WRITE, ENXIO)),
    "dir": ((os.O_RDONLY, READ, 0), (os.O_RDONLY | os.O_DIRECTORY, READ, 0)),
}


@case("permissions", needs="users")
def opening_by_mode(t: Tester) -> None:
    for kind, ways in OPENING.items():
        t.put(kind, kind, who=ALICE)
        for actor, shift in classes(t):
            for bits in range(8):
                t.root.chmod(kind, mode_for(shift, bits))
                for flags, need, error in ways:
                    refusal = EACCES if bits & need != need else error
                    t.allowed(not refusal, refusal, actor.open, kind, flags)
                    actor.close_all()


@case("permissions", needs="users")
def what_was_not_opened_is_not_truncated(t: Tester) -> None:
    t.put("file", "file", who=ALICE, content=b"content")
    for actor, shift in classes(t):
        for bits in (0, EXECUTE, READ, READ | EXECUTE):
            t.root.chmod("file", mode_for(shift, bits))
            for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_CREAT):
                t.fails(EACCES, actor.open, "file", flags | os.O_TRUNC)
    t.content("file", b"content")


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
    for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
        name = f"flags-{flags}"
        fd = t.works(t.alice.open, name, flags | os.O_CREAT | os.O_EXCL, 0)
        t.mode(name, 0)
        if flags != os.O_RDONLY:
            t.works(t.alice.write, fd, b"abc")
            t.works(t.alice.ftruncate, fd, 1)
            t.works(t.alice.posix_fallocate, fd, 0, 2)
        t.equal("size", t.alice.fstat(fd).st_size, 0 if flags == os.O_RDONLY else 2)
        t.fails(EACCES, t.alice.open, name, flags)


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
