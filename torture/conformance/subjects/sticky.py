"""Sticky directories: only its owner, the directory's, and root may take a name away.

Who owns what is one table; it is gone through for every kind of file, and for each way in
which a name can go: removed, renamed, moved elsewhere, replaced. Where the answer is no,
all must be as it was.

Source: unlink(2), rename(2), rmdir(2), EPERM; fs/namei.c, may_delete and check_sticky.
"""

from __future__ import annotations

from errno import EACCES, EPERM

from torture.conformance.tester import ALICE, Tester, case

KINDS = ("file", "dir", "fifo", "socket", "char", "block", "symlink")

OWNERS = (
    # owner of the directory, owner of the file, and whether alice may take its name away
    ("alice", "alice", True),
    ("alice", "root", True),
    ("alice", "bob", True),
    ("root", "alice", True),
    ("bob", "alice", True),
    ("root", "root", False),
    ("root", "bob", False),
    ("bob", "root", False),
    ("bob", "bob", False),
    ("bob", "carol", False),
)


def ids(t: Tester, name: str) -> tuple[int, int]:
    """uid and gid of an actor by name."""
    who = t.root.identity if name == "root" else t.users[name].identity
    return who.uid, who.gid


def prepare(t: Tester, where: str, kind: str, directory_of: str, file_of: str, mode: int) -> None:
    """A directory with four things in it, and one beside it that is alice's."""
    t.root.mkdir(where, 0o777)
    for name in ("gone", "renamed", "moved", "replaced"):
        t.put(kind, f"{where}/{name}")
        t.root.lchown(f"{where}/{name}", *ids(t, file_of))
    t.root.chown(where, *ids(t, directory_of))
    t.root.chmod(where, mode)
    t.put(kind, f"of-alice-{where}", who=ALICE)


def inodes(t: Tester, where: str) -> dict[str, tuple[int, int, int]]:
    """Inode number, uid and gid of what is in a directory."""
    found = {name: t.root.lstat(f"{where}/{name}") for name in sorted(t.root.listdir(where))}
    return {name: (status.st_ino, status.st_uid, status.st_gid) for name, status in found.items()}


@case("sticky", needs="users")
def what_alice_may_do(t: Tester) -> None:
    for directory_of, file_of, may in OWNERS:
        for kind in KINDS:
            where = f"{kind}-of-{file_of}-in-{directory_of}"
            prepare(t, where, kind, directory_of, file_of, 0o1777)
            before = inodes(t, where)
            moving = EACCES if may and kind == "dir" and file_of != "alice" else EPERM  # '..' would change
            remove = t.alice.rmdir if kind == "dir" else t.alice.unlink
            t.allowed(may, EPERM, remove, f"{where}/gone")
            t.allowed(may, EPERM, t.alice.rename, f"{where}/renamed", f"{where}/new")
            t.allowed(may and moving == EPERM, moving, t.alice.rename, f"{where}/moved", f"moved-{where}")
            t.allowed(may, EPERM, t.alice.rename, f"of-alice-{where}", f"{where}/replaced")
            if may:
                t.equal(f"names in {where}", len(inodes(t, where)), 3 if moving == EACCES else 2)
            else:
                t.equal(f"{where} is as it was", inodes(t, where) == before, True)


@case("sticky", needs="users")
def a_move_there_and_back_keeps_the_owner(t: Tester) -> None:
    for kind in KINDS[:1] + KINDS[2:]:
        prepare(t, kind, kind, "alice", "bob", 0o1777)
        before = inodes(t, kind)
        t.works(t.alice.rename, f"{kind}/moved", f"out-{kind}")
        t.works(t.alice.rename, f"out-{kind}", f"{kind}/moved")
        t.equal(f"{kind}: all is as it was", inodes(t, kind) == before, True)


@case("sticky", needs="users")
def root_may_do_anything(t: Tester) -> None:
    for kind in KINDS:
        prepare(t, kind, kind, "alice", "bob", 0o1777)
        t.works(t.root.rmdir if kind == "dir" else t.root.unlink, f"{kind}/gone")
        t.works(t.root.rename, f"{kind}/renamed", f"{kind}/new")
        t.works(t.root.rename, f"{kind}/moved", f"moved-{kind}")
        t.works(t.root.rename, f"of-alice-{kind}", f"{kind}/replaced")


@case("sticky", needs="users")
def without_the_bit_the_directorys_mode_decides(t: Tester) -> None:
    for directory_of, file_of, _ in OWNERS:
        where = f"{file_of}-in-{directory_of}"
        prepare(t, where, "file", directory_of, file_of, 0o777)
        t.works(t.alice.unlink, f"{where}/gone")
        t.works(t.alice.rename, f"{where}/renamed", f"{where}/new")
        t.works(t.alice.rename, f"{where}/moved", f"moved-{where}")
        t.works(t.alice.rename, f"of-alice-{where}", f"{where}/replaced")


@case("sticky", needs="users")
def making_is_not_forbidden(t: Tester) -> None:
    t.root.mkdir("dir", 0o777)
    t.root.chmod("dir", 0o1777)
    for kind in ("file", "dir", "fifo", "socket", "symlink"):
        t.works(t.alice.make, kind, f"dir/{kind}")
    t.works(t.alice.link, "dir/file", "dir/link")
    t.works(t.alice.unlink, "dir/link")
    t.fails(EPERM, t.bob.unlink, "dir/file")
    t.fails(EPERM, t.bob.rmdir, "dir/dir")


@case("sticky", needs="users")
def moving_a_directory_of_another(t: Tester) -> None:
    """A move to another parent changes the entry '..', for which one needs write permission."""
    for name in ("from", "to"):
        t.put("dir", name, 0o755, who=ALICE)
    t.root.mkdir("from/theirs", 0o755)
    t.works(t.alice.rename, "from/theirs", "from/renamed")
    t.fails(EACCES, t.alice.rename, "from/renamed", "to/renamed")
    t.root.mkdir("to/empty", 0o755)
    t.fails(EACCES, t.alice.rename, "from/renamed", "to/empty")
    t.root.chmod("from/renamed", 0o777)
    t.works(t.alice.rename, "from/renamed", "to/empty")
    t.equal("names", t.root.listdir("to"), ["empty"])
