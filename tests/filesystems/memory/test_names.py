"""The filesystem in memory, asked directly: names, and what rename does."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from fusewire.daemon.check import refuse_misspelt
from fusewire.daemon.values import SetAttributes
from fusewire.filesystems.memory import Memory
from memory_caller import ROOT, Caller, all_refused, known, refused

NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4


# --- names


def test_the_class_has_no_misspelt_methods() -> None:
    refuse_misspelt(Memory)


def test_a_new_filesystem_is_an_empty_directory(root: Caller) -> None:
    attributes = root.getattr(ROOT, None)
    assert (attributes.mode, attributes.nlink, attributes.ino) == (stat.S_IFDIR | 0o755, 2, ROOT)
    assert root.list() == {}


def test_the_root_belongs_to_whoever_makes_it_or_is_told() -> None:
    mine, theirs = Caller(Memory()).getattr(ROOT, None), Caller(Memory(mode=0o1777, uid=7, gid=8)).getattr(ROOT, None)
    assert (mine.uid, mine.gid) == (os.getuid(), os.getgid())
    assert (theirs.uid, theirs.gid, stat.S_IMODE(theirs.mode)) == (7, 8, 0o1777)


@pytest.mark.parametrize("name", ["plain", "a" * 255, "é" * 127, "not\udcffUTF-8", "new\nline", " "])
def test_any_name_of_up_to_255_bytes_will_do(root: Caller, name: str) -> None:
    nodeid = root.file(name)
    assert root.lookup(ROOT, name).nodeid == nodeid
    assert root.list() == {name: nodeid}


@pytest.mark.parametrize("name", ["a" * 256, "é" * 128, "\udcff" * 256])
def test_longer_names_are_refused(root: Caller, name: str) -> None:
    root.file("there")
    all_refused(
        (errno.ENAMETOOLONG, lambda: root.lookup(ROOT, name)),
        (errno.ENAMETOOLONG, lambda: root.file(name)),
        (errno.ENAMETOOLONG, lambda: root.mkdir(ROOT, name, 0)),
        (errno.ENAMETOOLONG, lambda: root.symlink(ROOT, name, "x")),
        (errno.ENAMETOOLONG, lambda: root.unlink(ROOT, name)),
        (errno.ENAMETOOLONG, lambda: root.rmdir(ROOT, name)),
        (errno.ENAMETOOLONG, lambda: root.rename(ROOT, "there", ROOT, name, 0)),
        (errno.ENAMETOOLONG, lambda: root.rename(ROOT, name, ROOT, "x", 0)),
        (errno.ENAMETOOLONG, lambda: root.link(2, ROOT, name)),
    )


@pytest.mark.parametrize("name", ["", ".", "..", "a/b"])
def test_what_is_no_name_is_refused(root: Caller, name: str) -> None:
    with refused(errno.EINVAL):
        root.mkdir(ROOT, name, 0o755)


def test_what_is_not_there_is_not_found(root: Caller) -> None:
    with refused(errno.ENOENT):
        root.lookup(ROOT, "nothing")
    with refused(errno.ENOENT):
        root.unlink(ROOT, "nothing")
    with refused(errno.ENOENT):
        root.rename(ROOT, "nothing", ROOT, "x", 0)
    with refused(errno.ENOENT):
        root.rename(ROOT, "nothing", ROOT, "x", EXCHANGE)


def test_a_name_is_given_once(root: Caller) -> None:
    file = root.file("taken")
    all_refused(
        (errno.EEXIST, lambda: root.file("taken")),
        (errno.EEXIST, lambda: root.mkdir(ROOT, "taken", 0)),
        (errno.EEXIST, lambda: root.mknod(ROOT, "taken", stat.S_IFIFO, 0)),
        (errno.EEXIST, lambda: root.symlink(ROOT, "taken", "x")),
        (errno.EEXIST, lambda: root.link(file, ROOT, "taken")),
    )


def test_an_unknown_nodeid_is_stale(root: Caller) -> None:
    all_refused(
        (errno.ESTALE, lambda: root.getattr(99, None)),
        (errno.ESTALE, lambda: root.lookup(99, "x")),
        (errno.ESTALE, lambda: root.read(99, 0, 0, 1)),
        (errno.ESTALE, lambda: root.link(99, ROOT, "x")),
    )


def test_operations_know_what_they_can_be_done_to(root: Caller) -> None:
    file, directory, fifo = root.file("f"), root.directory("d"), root.mknod(ROOT, "p", stat.S_IFIFO, 0).nodeid
    all_refused(
        (errno.ENOTDIR, lambda: root.lookup(file, "x")),
        (errno.ENOTDIR, lambda: root.opendir(file, 0)),
        (errno.EISDIR, lambda: root.read(directory, 0, 0, 1)),
        (errno.EISDIR, lambda: root.setattr(directory, SetAttributes(size=0))),
        (errno.EINVAL, lambda: root.setattr(fifo, SetAttributes(size=0))),
        (errno.EINVAL, lambda: root.readlink(file)),
        (errno.EISDIR, lambda: root.unlink(ROOT, "d")),
        (errno.ENOTDIR, lambda: root.rmdir(ROOT, "f")),
        (errno.EPERM, lambda: root.link(directory, ROOT, "x")),
        (errno.EPERM, lambda: root.mknod(ROOT, "x", stat.S_IFDIR, 0)),
        (errno.EINVAL, lambda: root.mknod(ROOT, "x", stat.S_IFLNK, 0)),
    )


@pytest.mark.parametrize("kind", [stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK])
def test_mknod_makes_every_kind(root: Caller, kind: int) -> None:
    device = os.makedev(300, 70000)
    attributes = root.mknod(ROOT, "x", kind | 0o640, device).attributes
    assert attributes.mode == kind | 0o640
    assert attributes.rdev == (device if kind in (stat.S_IFCHR, stat.S_IFBLK) else 0)
    assert (attributes.nlink, attributes.size, attributes.blocks) == (1, 0, 0)


def test_a_symlink_says_what_it_was_told(root: Caller) -> None:
    entry = root.symlink(ROOT, "s", "to/\udcff/é")
    assert root.readlink(entry.nodeid) == "to/\udcff/é"
    assert (entry.attributes.mode, entry.attributes.size) == (stat.S_IFLNK | 0o777, 7)
    root.symlink(ROOT, "longest", "x" * 4095)
    with refused(errno.ENAMETOOLONG):
        root.symlink(ROOT, "too long", "x" * 4096)


def test_a_directory_counts_its_subdirectories(root: Caller) -> None:
    above = root.directory("above")
    root.file("f", parent=above)
    first, second = root.directory("1", above), root.directory("2", above)
    assert [root.getattr(each, None).nlink for each in (ROOT, above, first)] == [3, 4, 2]
    root.rename(above, "2", first, "2", 0)
    assert [root.getattr(each, None).nlink for each in (above, first, second)] == [3, 3, 2]
    root.rmdir(first, "2")
    assert [root.getattr(each, None).nlink for each in (above, first, second)] == [3, 2, 0]


def test_only_empty_directories_are_removed(root: Caller) -> None:
    above = root.directory("d")
    root.file("f", parent=above)
    with refused(errno.ENOTEMPTY):
        root.rmdir(ROOT, "d")
    root.unlink(above, "f")
    root.rmdir(ROOT, "d")
    assert root.list() == {}


def test_nothing_is_made_in_a_removed_directory(root: Caller) -> None:
    gone, file = root.directory("d"), root.file("f")
    root.rmdir(ROOT, "d")
    all_refused(
        (errno.ENOENT, lambda: root.file("x", parent=gone)),
        (errno.ENOENT, lambda: root.link(file, gone, "x")),
        (errno.ENOENT, lambda: root.rename(ROOT, "f", gone, "x", 0)),
    )
    assert root.list(gone) == {}


# --- rename


def test_rename_replaces_what_was_there(memory: Memory, root: Caller) -> None:
    one, two = root.file("one", b"1"), root.file("two", b"2")
    root.rename(ROOT, "one", ROOT, "two", 0)
    assert root.list() == {"two": one}
    assert root.getattr(two, None).nlink == 0
    memory.forget(two, 1)
    assert two not in known(memory)


def test_two_names_of_one_file_are_left_alone_by_rename(root: Caller) -> None:
    file = root.file("a")
    root.link(file, ROOT, "b")
    root.rename(ROOT, "a", ROOT, "b", 0)
    assert root.list() == {"a": file, "b": file}


def test_what_cannot_give_way_stays(root: Caller) -> None:
    file, full = root.file("file"), root.directory("full")
    root.directory("empty")
    root.file("x", parent=full)
    for code, old_name, new_name in (
        (errno.EISDIR, "file", "empty"),
        (errno.ENOTDIR, "empty", "file"),
        (errno.ENOTEMPTY, "empty", "full"),
    ):
        with refused(code):
            root.rename(ROOT, old_name, ROOT, new_name, 0)
    root.rename(ROOT, "full", ROOT, "empty", 0)
    assert root.list() == {"file": file, "empty": full}


def test_a_directory_never_comes_to_lie_in_itself(root: Caller) -> None:
    above = root.directory("above")
    below = root.directory("below", above)
    root.file("f", parent=below)
    for target in (above, below):
        with refused(errno.EINVAL):
            root.rename(ROOT, "above", target, "x", 0)
    with refused(errno.EINVAL):
        root.rename(ROOT, "above", below, "f", EXCHANGE)
    with refused(errno.EINVAL):
        root.rename(below, "f", ROOT, "above", EXCHANGE)
    with refused(errno.ENOTEMPTY):
        root.rename(above, "below", ROOT, "above", 0)


def test_noreplace_replaces_nothing(root: Caller) -> None:
    root.file("a")
    root.file("b")
    with refused(errno.EEXIST):
        root.rename(ROOT, "a", ROOT, "b", NOREPLACE)
    with refused(errno.ENOENT):
        root.rename(ROOT, "nothing", ROOT, "b", NOREPLACE)
    root.rename(ROOT, "a", ROOT, "c", NOREPLACE)
    assert set(root.list()) == {"b", "c"}


def test_exchange_swaps_a_directory_with_a_file(root: Caller) -> None:
    here, there = root.directory("here"), root.directory("there")
    directory, file = root.directory("d", here), root.file("f", parent=there)
    root.rename(here, "d", there, "f", EXCHANGE)
    assert (root.list(here), root.list(there)) == ({"d": file}, {"f": directory})
    assert [root.getattr(each, None).nlink for each in (here, there)] == [2, 3]
    fh = root.opendir(directory, 0).fh
    assert {dirent.name: dirent.ino for dirent in root.readdir(directory, fh, 0)}[".."] == there


@pytest.mark.parametrize("flags", [WHITEOUT, NOREPLACE | EXCHANGE, WHITEOUT | NOREPLACE, 8])
def test_flags_of_rename_that_cannot_be_honoured_are_refused(root: Caller, flags: int) -> None:
    root.file("a")
    with refused(errno.EINVAL):
        root.rename(ROOT, "a", ROOT, "b", flags)
    assert set(root.list()) == {"a"}
