"""What the kernel keeps of names, and when it lets go of them and of their files."""

from __future__ import annotations

import errno

import pytest

from fusewire.kernel.operations.lookup import lookup
from fusewire.kernel.vfs import superblock
from fusewire.kernel.vfs.dentry import Dentry, aliases
from fusewire.wire import EntryOut
from hand_daemon import DIRECTORY, OK, HandDaemon, entry, errno_of, hand_daemon, process

NOTHING = EntryOut(entry_valid=1000)  # a name that leads nowhere, and will for a while


def known(daemon: HandDaemon, *names: tuple[Dentry | None, bytes, EntryOut]) -> list[Dentry]:
    """Have names looked up (None: in the root), each held."""
    found = []
    for parent, name, told in names:
        found.append(daemon.call(lookup(parent or daemon.superblock.root, name), told))
    return found


def test_a_name_that_nobody_uses_is_kept_until_caches_are_dropped() -> None:
    daemon = hand_daemon()
    (dentry,) = known(daemon, (None, b"f", entry(2, valid=0)))
    dentry.put()
    daemon.asked.clear()
    daemon.pending()
    assert daemon.asked == []
    daemon.superblock.drop_caches()
    daemon.pending()
    assert daemon.asked == ["FORGET 2 1"]
    assert list(daemon.superblock.inodes) == [1]


def test_of_names_that_lead_nowhere_the_last_ones_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(superblock, "MOST_MISSING", 2)
    daemon = hand_daemon()
    p = process(daemon)
    for name in ("/a", "/b", "/c"):
        assert errno_of(daemon, p.stat(name), NOTHING) == errno.ENOENT
    assert errno_of(daemon, p.stat("/b")) == errno.ENOENT  # it is known, and used last
    assert errno_of(daemon, p.stat("/a"), NOTHING) == errno.ENOENT
    root = daemon.superblock.root
    assert root.children is not None
    assert set(root.children) == {b"a", b"b"}
    assert len(daemon.superblock.missing) == 2


def test_a_name_in_use_outlives_others_that_lead_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(superblock, "MOST_MISSING", 1)
    daemon = hand_daemon()
    used, other, another = known(daemon, *((None, name, NOTHING) for name in (b"used", b"other", b"another")))
    other.put()
    used.put()
    used.get()
    another.put()
    assert daemon.superblock.root.children == {b"used": used, b"another": another}


def test_dropping_caches_spares_what_is_used_and_all_that_leads_there() -> None:
    daemon = hand_daemon()
    (a,) = known(daemon, (None, b"a", entry(2, DIRECTORY)))
    b, f = known(daemon, (a, b"b", entry(3, DIRECTORY)), (a, b"f", entry(4)))
    a.put()
    f.put()
    daemon.superblock.drop_caches()
    assert set(daemon.superblock.inodes) == {1, 2, 3}
    b.put()
    daemon.superblock.drop_caches()
    assert set(daemon.superblock.inodes) == {1}
    assert daemon.superblock.root.count == 1


def test_a_tree_of_any_depth_can_be_dropped() -> None:
    daemon = hand_daemon()
    parent = None
    for nodeid in range(2, 1102):  # deeper than Python's stack
        (child,) = known(daemon, (parent, b"d", entry(nodeid, DIRECTORY)))
        if parent is not None:
            parent.put()
        parent = child
    assert parent is not None
    parent.put()
    daemon.superblock.drop_caches()
    assert list(daemon.superblock.inodes) == [1]


def test_a_name_that_says_nothing_any_more_is_kept_until_caches_are_dropped() -> None:
    daemon = hand_daemon()
    (dentry,) = known(daemon, (None, b"f", EntryOut(entry_valid=1)))
    dentry.put()
    assert daemon.superblock.root.child(b"f") is dentry
    dentry.get()
    daemon.clock.advance(1)
    dentry.put()
    assert daemon.superblock.root.child(b"f") is dentry  # a notification about it finds it, and it pins its parent
    daemon.superblock.drop_caches()
    assert daemon.superblock.root.child(b"f") is None


def test_an_unhashed_name_dies_with_its_last_user() -> None:
    daemon = hand_daemon()
    (dentry,) = known(daemon, (None, b"f", entry(2)))
    dentry.get()
    dentry.drop()
    dentry.put()
    assert 2 in daemon.superblock.inodes
    dentry.put()
    daemon.asked.clear()
    daemon.pending()
    assert daemon.asked == ["FORGET 2 1"]


def test_an_invalidated_directory_takes_what_is_unused_below_it_along() -> None:
    daemon = hand_daemon()
    (a,) = known(daemon, (None, b"a", entry(2, DIRECTORY)))
    f, g = known(daemon, (a, b"f", entry(3)), (a, b"g", entry(4)))
    f.put()
    a.invalidate()
    assert set(daemon.superblock.inodes) == {1, 2, 4}
    assert daemon.superblock.root.child(b"a") is None
    a.put()
    g.put()
    assert set(daemon.superblock.inodes) == {1, 2, 4}  # g is still found in a, which lives by it
    daemon.superblock.drop_caches()
    assert set(daemon.superblock.inodes) == {1}
    assert daemon.superblock.root.count == 1


def test_a_name_moves_over_another() -> None:
    daemon = hand_daemon()
    a, b = known(daemon, (None, b"a", entry(2)), (None, b"b", entry(3)))
    a.move(daemon.superblock.root, b"b")
    assert (a.path, a.hashed, b.hashed) == ("/b", True, False)
    assert daemon.superblock.root.children == {b"b": a}


def test_a_name_moves_to_another_directory_which_it_pins_from_then_on() -> None:
    daemon = hand_daemon()
    a, d = known(daemon, (None, b"a", entry(2)), (None, b"d", entry(3, DIRECTORY)))
    a.move(d, b"x")
    assert a.path == "/d/x"
    assert d.count == 2
    assert d.leads_to(a)
    assert not a.leads_to(d)


def test_two_names_change_places() -> None:
    daemon = hand_daemon()
    (d,) = known(daemon, (None, b"d", entry(2, DIRECTORY)))
    a, x = known(daemon, (None, b"a", entry(3)), (d, b"x", entry(4)))
    a.exchange(x)
    assert (a.path, x.path) == ("/d/x", "/a")
    assert d.children == {b"x": a}


def test_a_file_knows_its_names() -> None:
    daemon = hand_daemon()
    names = known(daemon, (None, b"a", entry(2)), (None, b"b", entry(2)), (None, b"c", entry(2)))
    inode = daemon.superblock.inodes[2]
    assert set(aliases(inode)) == set(names)
    names[1].drop()
    names[1].put()
    assert set(aliases(inode)) == {names[0], names[2]}
    assert inode.aliases == 2


def test_a_removed_directory_is_forgotten_when_the_last_leaves_it() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    daemon.call(p.chdir("/d"), entry(2, DIRECTORY), OK)
    daemon.call(p.rmdir("/d"), OK)
    assert daemon.asked == ["RMDIR 1 d"]
    assert errno_of(daemon, p.mkdir("x")) == 2  # ENOENT, and nothing is asked
    assert daemon.asked == []
    daemon.call(p.chdir("/"), OK)
    daemon.pending()
    assert daemon.asked == ["ACCESS 1", "FORGET 2 1"]
