"""The filesystem in memory, asked directly: lives, listings, limits."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from fusewire.daemon.values import SetAttributes
from fusewire.filesystems.memory import Memory
from memory_caller import ROOT, Caller, all_refused, known, refused

NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4


# --- lives


def test_an_unlinked_file_lives_until_it_is_closed_and_forgotten(memory: Memory, root: Caller) -> None:
    file = root.file("f", b"content")
    root.open(file, os.O_RDONLY)
    root.unlink(ROOT, "f")
    memory.forget(file, 1)
    assert root.read(file, 0, 0, 100) == b"content"
    assert root.getattr(file, None).nlink == 0
    root.release(file, 0)
    assert known(memory) == {ROOT}
    assert root.statfs(ROOT).bfree == root.statfs(ROOT).blocks


def test_what_the_kernel_alone_still_knows_takes_no_room(memory: Memory, root: Caller) -> None:
    """Its FORGET is on its way, and may come after a request that needs the room."""
    file = root.file("f", bytes(10_000))
    root.setxattr(file, "user.x", b"1", 0)
    root.unlink(ROOT, "f")
    assert (root.statfs(ROOT).bfree, root.statfs(ROOT).ffree) == (256, 99)
    assert root.read(file, 0, 0, 5) == bytes(5)
    root.open(file, os.O_RDWR)  # through /proc/self/fd
    assert (root.statfs(ROOT).bfree, root.statfs(ROOT).ffree) == (252, 98)
    root.release(file, 0)
    memory.forget(file, 1)
    assert (root.statfs(ROOT).bfree, root.statfs(ROOT).ffree) == (256, 99)


def test_what_was_given_up_is_not_opened_again_once_its_room_is_taken(root: Caller) -> None:
    file = root.file("f", bytes(10_000))
    root.unlink(ROOT, "f")
    root.file("full", bytes(1 << 20))
    before = root.statfs(ROOT)
    with refused(errno.ENOSPC):
        root.open(file, os.O_RDWR)
    assert root.statfs(ROOT) == before
    root.unlink(ROOT, "full")
    root.open(file, os.O_RDWR)
    assert root.read(file, 0, 0, 20_000) == bytes(10_000)


def test_every_answer_that_names_a_node_is_one_lookup(memory: Memory, root: Caller) -> None:
    file = root.file("f")
    root.lookup(ROOT, "f")
    root.link(file, ROOT, "g")
    fh = root.opendir(ROOT, 0).fh
    assert len(list(root.readdirplus(ROOT, fh, 0))) == 4
    root.releasedir(ROOT, fh)
    root.unlink(ROOT, "f")
    root.unlink(ROOT, "g")
    memory.forget(file, 4)
    assert file in known(memory)
    memory.forget(file, 1)
    assert file not in known(memory)


def test_forgetting_a_file_that_has_a_name_loses_nothing(memory: Memory, root: Caller) -> None:
    file = root.file("f", b"content")
    memory.forget(file, 1)
    memory.forget(file, 1)
    memory.forget(12345, 1)
    assert root.read(root.lookup(ROOT, "f").nodeid, 0, 0, 10) == b"content"


def test_nodeids_are_never_used_again(memory: Memory, root: Caller) -> None:
    first = root.file("f")
    root.unlink(ROOT, "f")
    memory.forget(first, 1)
    assert root.file("f") > first


def test_what_nobody_can_reach_any_more_goes_with_the_mount(memory: Memory, root: Caller) -> None:
    kept, lost, directory = root.file("kept", b"k"), root.file("lost", b"l"), root.directory("d")
    root.open(lost, os.O_RDONLY)
    root.opendir(directory, 0)
    root.unlink(ROOT, "lost")
    root.rmdir(ROOT, "d")
    memory.destroy()
    assert known(memory) == {ROOT, kept}
    assert root.read(kept, 0, 0, 1) == b"k"


def test_a_nameless_file_can_be_given_its_first_name(memory: Memory, root: Caller) -> None:
    entry, _ = root.tmpfile(ROOT, os.O_RDWR, 0o600)
    assert (entry.attributes.nlink, entry.attributes.mode, root.list()) == (0, stat.S_IFREG | 0o600, {})
    root.link(entry.nodeid, ROOT, "named")
    assert root.getattr(entry.nodeid, None).nlink == 1
    root.unlink(ROOT, "named")
    with refused(errno.ENOENT):  # that was its last name, not its first
        root.link(entry.nodeid, ROOT, "again")
    root.release(entry.nodeid, 0)
    memory.forget(entry.nodeid, 2)
    assert known(memory) == {ROOT}


def test_a_nameless_file_goes_when_it_is_closed(memory: Memory, root: Caller) -> None:
    entry, _ = root.tmpfile(ROOT, os.O_RDWR, 0o600)
    root.write(entry.nodeid, 0, 0, memoryview(b"x"))
    memory.forget(entry.nodeid, 1)
    root.release(entry.nodeid, 0)
    assert (known(memory), root.statfs(ROOT).ffree) == ({ROOT}, 99)


# --- listing


def test_a_listing_is_what_was_there_at_its_beginning(root: Caller) -> None:
    for name in "abcdef":
        root.file(name)
    fh = root.opendir(ROOT, 0).fh
    first = list(root.readdir(ROOT, fh, 0))[:4]
    assert [dirent.name for dirent in first] == [".", "..", "a", "b"]
    root.unlink(ROOT, "a")
    root.unlink(ROOT, "d")
    root.file("new")
    assert [dirent.name for dirent in root.readdir(ROOT, fh, first[-1].offset)] == ["c", "e", "f"]
    assert [dirent.name for dirent in root.readdir(ROOT, fh, 0)] == [".", "..", "b", "c", "e", "f", "new"]
    root.releasedir(ROOT, fh)
    with refused(errno.EBADF):
        root.readdir(ROOT, fh, 0)


def test_a_listing_goes_on_behind_every_name(root: Caller) -> None:
    for number in range(20):
        root.file(str(number))
    fh = root.opendir(ROOT, 0).fh
    whole = list(root.readdir(ROOT, fh, 0))
    assert len({dirent.offset for dirent in whole} - {0}) == 22
    for index, dirent in enumerate(whole):
        assert list(root.readdir(ROOT, fh, dirent.offset)) == whole[index + 1 :]


def test_two_listings_do_not_disturb_each_other(root: Caller) -> None:
    root.file("a")
    first = root.opendir(ROOT, 0).fh
    next(iter(root.readdir(ROOT, first, 0)))
    root.file("b")
    second = root.opendir(ROOT, 0).fh
    assert [dirent.name for dirent in root.readdir(ROOT, second, 0)] == [".", "..", "a", "b"]
    assert [dirent.name for dirent in root.readdir(ROOT, first, 1)] == ["..", "a"]


def test_readdirplus_brings_the_attributes_of_all_but_the_dots(root: Caller) -> None:
    above = root.directory("d", mode=0o700)
    file = root.file("f", b"123", parent=above)
    fh = root.opendir(above, 0).fh
    dot, dotdot, entry = root.readdirplus(above, fh, 0)
    assert [(dot.name, dot.ino, dot.entry), (dotdot.name, dotdot.ino, dotdot.entry)] == [
        (".", above, None),
        ("..", ROOT, None),
    ]
    assert (entry.name, entry.type, entry.entry.nodeid, entry.entry.attributes.size) == ("f", stat.S_IFREG, file, 3)


def test_resuming_a_listing_looks_at_no_name_before(memory: Memory) -> None:
    """Reading page by page must not begin at the beginning each time: seen on the lookups granted."""
    root = Caller(memory)
    for number in range(90):
        root.file(str(number))
    fh = root.opendir(ROOT, 0).fh
    offset = list(root.readdir(ROOT, fh, 0))[60].offset
    before = {nodeid: inode.nlookup for nodeid, inode in memory._tree.inodes.items()}
    next(iter(root.readdirplus(ROOT, fh, offset)))
    granted = [nodeid for nodeid, inode in memory._tree.inodes.items() if inode.nlookup != before[nodeid]]
    assert len(granted) == 1


# --- limits


def test_a_full_filesystem_takes_what_fits_and_then_says_so(root: Caller) -> None:
    file = root.file("f")
    assert root.write(file, 0, 0, memoryview(bytes(900 << 10))) == 900 << 10
    assert root.write(file, 0, 900 << 10, memoryview(bytes(900 << 10))) == 124 << 10
    with refused(errno.ENOSPC):
        root.write(file, 0, 1 << 20, memoryview(b"x"))
    assert root.getattr(file, None).size == 1 << 20
    assert root.write(file, 0, 5, memoryview(b"what is there can be overwritten")) == 32
    assert (root.statfs(ROOT).bfree, root.statfs(ROOT).bavail) == (0, 0)
    root.setattr(file, SetAttributes(size=0))
    assert root.statfs(ROOT).bfree == 256


def test_there_are_as_many_inodes_as_were_said(memory: Memory, root: Caller) -> None:
    for number in range(98):
        root.file(str(number))
    directory = root.directory("last")
    before = root.getattr(ROOT, None)
    all_refused(
        (errno.ENOSPC, lambda: root.file("x")),
        (errno.ENOSPC, lambda: root.mkdir(ROOT, "x", 0)),
        (errno.ENOSPC, lambda: root.symlink(ROOT, "x", "y")),
        (errno.ENOSPC, lambda: root.tmpfile(ROOT, 0, 0)),
        (errno.ENOSPC, lambda: root.link(2, ROOT, "x")),  # a name takes memory too
    )
    assert (root.getattr(ROOT, None), len(known(memory))) == (before, 100)
    assert (root.statfs(ROOT).files, root.statfs(ROOT).ffree) == (100, 0)
    root.rename(ROOT, "5", directory, "5", 0)
    root.unlink(ROOT, "0")
    memory.forget(2, 1)
    root.file("x")


def test_further_names_are_counted_and_given_back(root: Caller) -> None:
    file = root.file("f")
    free = root.statfs(ROOT).ffree
    root.link(file, ROOT, "g")
    root.link(file, ROOT, "h")
    assert root.statfs(ROOT).ffree == free - 2
    root.file("victim")
    root.rename(ROOT, "victim", ROOT, "g", 0)
    root.unlink(ROOT, "f")
    assert root.statfs(ROOT).ffree == free - 1  # what was the victim


def test_limits_default_to_half_of_the_machines_memory() -> None:
    half = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4096 // 2
    told = Caller(Memory()).statfs(ROOT)
    assert (told.blocks, told.bsize, told.frsize, told.files, told.namelen) == (half, 4096, 4096, half, 255)


@pytest.mark.parametrize("limits", [{"inodes": 0}, {"size": -1}])
def test_there_is_always_a_root(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="root"):
        Memory(**limits)


def test_a_filesystem_without_room_still_has_names(memory: Memory) -> None:
    root = Caller(Memory(size=0))
    file = root.file("f")
    root.setattr(file, SetAttributes(size=5))
    with refused(errno.ENOSPC):
        root.write(file, 0, 0, memoryview(b"x"))
    assert root.read(file, 0, 0, 10) == bytes(5)
