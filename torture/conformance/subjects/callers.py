"""Who is asking: the effective ids decide, and all groups count.

A caller may be one person and act as another (a set-user-id program), may have no user of its
own but root's group, or be in more groups than fit into anything fixed.

Source: credentials(7), path_resolution(7); fs/attr.c, setattr_prepare; kernel/groups.c.
"""

from __future__ import annotations

import os
from errno import EACCES, EPERM

from torture.conformance.actors import Identity
from torture.conformance.tester import ALICE, BOB, Tester, case

MADE = ("file", "dir", "fifo", "socket", "symlink")
IN_ROOTS_GROUP = Identity("dave", 65504, 0, (0,))
LARGE = Identity("erin", 65535, 65535)  # no special number, where ids have 32 bits
NOBODY = Identity("nobody", 65534, 65534, (65533, 65532))
JOINER = Identity("frank", 65505, 65505, tuple(range(65600, 65900)))


@case("callers", needs="users")
def effective_ids(t: Tester) -> None:
    """A process of root's that takes another's effective ids has his rights, no more and no less."""
    t.put("file", "of-alice", 0o600, who=ALICE, content=b"x")
    t.put("file", "of-bob", 0o600, who=BOB)
    with t.also(t.root.identity) as actor:
        actor.setegid(ALICE.gid)
        actor.seteuid(ALICE.uid)
        t.works(actor.read_file, "of-alice")
        t.works(actor.chmod, "of-alice", 0o640)
        t.fails(EACCES, actor.read_file, "of-bob")
        t.fails(EPERM, actor.chmod, "of-bob", 0o666)
        t.fails(EPERM, actor.chown, "of-alice", BOB.uid, -1)
        for kind in MADE:
            t.works(actor.make, kind, kind)
            t.owner(kind, ALICE.uid, ALICE.gid)
        actor.seteuid(0)
        t.works(actor.read_file, "of-bob")
        t.works(actor.chown, "of-bob", 1, 1)


@case("callers", needs="users")
def roots_group_is_not_root(t: Tester) -> None:
    t.root.mkdir("dir", 0o755)
    for kind in MADE:
        t.put(kind, f"dir/{kind}")
    t.put("file", "for-the-group", 0o660)
    with t.also(IN_ROOTS_GROUP) as dave:
        t.works(dave.open, "for-the-group", os.O_RDWR)
        for kind in MADE:
            path = f"dir/{kind}"
            t.fails(EACCES, dave.rmdir if kind == "dir" else dave.unlink, path)
            t.fails(EACCES, dave.rename, path, f"{path}-2")
            t.fails(EPERM, dave.lchown, path, dave.identity.uid, -1)
            t.fails(EPERM, dave.lchown, path, -1, dave.identity.gid)
            if kind != "symlink":
                t.fails(EPERM, dave.chmod, path, 0o777)
            t.works(dave.lchown, path, -1, -1)
            t.owner(path, 0, 0)


@case("callers", needs="users")
def numbers_at_the_edge_of_16_bits(t: Tester) -> None:
    for who in (LARGE, NOBODY):
        t.root.mkdir(who.name, 0o755)
        t.root.chown(who.name, LARGE.uid, LARGE.gid)
        t.root.chmod(who.name, 0o777)
        with t.also(who) as actor:
            for kind in MADE:
                path = f"{who.name}/{kind}"
                t.works(actor.make, kind, path)
                t.owner(path, who.uid, who.gid)
                for gid in who.groups:
                    t.works(actor.lchown, path, -1, gid)
                    t.owner(path, who.uid, gid)


@case("callers", needs="users")
def three_hundred_groups(t: Tester) -> None:
    last = JOINER.groups[-1]
    t.root.mkdir("dir", 0o777)
    t.root.chown("dir", 0, last)
    t.root.chmod("dir", 0o2775)
    t.put("file", "file")
    t.root.chown("file", 0, last)
    t.root.chmod("file", 0o060)
    with t.also(JOINER) as frank:
        t.works(frank.open, "file", os.O_RDWR)
        t.works(frank.create, "dir/program", 0o2755)
        t.owner("dir/program", JOINER.uid, last)
        t.mode("dir/program", 0o2755)
        t.works(frank.create, "own")
        t.works(frank.chown, "own", -1, last)
        t.works(frank.chmod, "own", 0o2755)
        t.mode("own", 0o2755)
        t.fails(EPERM, frank.chown, "own", -1, last + 1)
        t.works(frank.unlink, "dir/program")
    t.fails(EACCES, t.bob.open, "file", os.O_RDONLY)


@case("callers", needs="users")
def what_was_given_away_is_gone(t: Tester) -> None:
    """Who owned a file until a moment ago has no more say in it than anybody."""
    for kind in ("file", "dir", "fifo", "socket"):
        t.works(t.alice.make, kind, kind)
        t.root.symlink(kind, f"to-{kind}")
        t.works(t.alice.chmod, f"to-{kind}", 0o642)
        t.mode(kind, 0o642)
        t.works(t.root.chown, kind, 0, 0)
        for path in (kind, f"to-{kind}"):
            t.fails(EPERM, t.alice.chmod, path, 0o641)
            t.fails(EPERM, t.alice.chown, path, -1, ALICE.groups[0])
        t.mode(kind, 0o642)
