"""chown: root gives anything to anybody, an owner only the group, and only to an own one.

Source: chown(2); fs/attr.c, setattr_prepare.
"""

from __future__ import annotations

import os
from errno import EPERM

from torture.conformance.tester import ALICE, BOB, Tester, case

KINDS = ("file", "dir", "fifo", "socket", "char", "block", "symlink")
LARGEST = 2**32 - 2  # 2**32 - 1 means "leave it"


@case("chown", needs="root")
def every_kind_by_root(t: Tester) -> None:
    for kind in KINDS:
        t.put(kind, kind)
        for uid, gid, result in (
            (1, 2, (1, 2)),
            (3, -1, (3, 2)),
            (-1, 4, (3, 4)),
            (-1, -1, (3, 4)),
            (LARGEST, LARGEST, (LARGEST, LARGEST)),
            (0, 0, (0, 0)),
        ):
            t.works(t.root.lchown, kind, uid, gid)
            t.owner(kind, *result)


@case("chown", needs="users")
def through_symlinks(t: Tester) -> None:
    for kind in KINDS[:-1]:
        t.put(kind, kind)
        link = f"to-{kind}"
        t.root.symlink(kind, link)
        t.works(t.root.chown, link, ALICE.uid, 12)
        t.owner(kind, ALICE.uid, 12)
        t.works(t.alice.chown, link, -1, ALICE.gid)
        t.owner(kind, ALICE.uid, ALICE.gid)
        t.works(t.alice.chown, link, ALICE.uid, ALICE.groups[0])
        t.owner(kind, ALICE.uid, ALICE.groups[0])
        t.fails(EPERM, t.alice.lchown, link, -1, ALICE.gid)
        t.fails(EPERM, t.bob.chown, link, -1, BOB.gid)
        t.works(t.bob.chown, link, -1, -1)
        t.owner(link, 0, 0)
        t.works(t.root.lchown, link, 13, 14)
        t.owner(link, 13, 14)
        t.owner(kind, ALICE.uid, ALICE.groups[0])


@case("chown", needs="root")
def by_descriptor(t: Tester) -> None:
    for kind, flags in (("file", os.O_RDONLY), ("dir", os.O_RDONLY | os.O_DIRECTORY)):
        t.put(kind, kind)
        fd = t.root.open(kind, flags)
        t.works(t.root.fchown, fd, 5, 6)
        t.owner(kind, 5, 6)
        t.equal("owner by fstat", t.root.fstat(fd)[4:6], (5, 6))


REFUSED = (
    # actor, uid, gid: of alice's file
    ("alice", BOB.uid, -1),
    ("alice", 0, -1),
    ("alice", -1, BOB.gid),
    ("alice", BOB.uid, BOB.gid),
    ("bob", BOB.uid, -1),
    ("bob", -1, BOB.gid),
    ("bob", ALICE.uid, ALICE.gid),
    ("carol", -1, ALICE.gid),
    ("carol", ALICE.uid, -1),
)

GRANTED = (
    ("alice", -1, ALICE.groups[0]),
    ("alice", ALICE.uid, -1),
    ("alice", ALICE.uid, ALICE.gid),
    ("alice", -1, ALICE.gid),
    ("alice", -1, -1),
    ("bob", -1, -1),  # asks for nothing
)


@case("chown", needs="users")
def by_others(t: Tester) -> None:
    for kind in KINDS:
        t.put(kind, kind, 0o777 if kind != "symlink" else -1, who=ALICE)
        for name, uid, gid in REFUSED:
            t.fails(EPERM, t.users[name].lchown, kind, uid, gid)
        t.owner(kind, ALICE.uid, ALICE.gid)
        for name, uid, gid in GRANTED:
            t.works(t.users[name].lchown, kind, uid, gid)
        t.owner(kind, ALICE.uid, ALICE.gid)


@case("chown", needs="users")
def new_objects_belong_to_their_maker(t: Tester) -> None:
    for actor, who in ((t.alice, ALICE), (t.bob, BOB)):
        name = who.name
        actor.create(f"{name}-file")
        actor.mkdir(f"{name}-dir", 0o755)
        actor.mkfifo(f"{name}-fifo", 0o644)
        actor.mknod(f"{name}-socket", 0o140644)
        actor.mknod(f"{name}-node", 0o100644)
        actor.symlink("target", f"{name}-symlink")
        actor.open(f"{name}-opened", os.O_RDWR | os.O_CREAT, 0o600)
        for kind in ("file", "dir", "fifo", "socket", "node", "symlink", "opened"):
            t.owner(f"{name}-{kind}", who.uid, who.gid)
