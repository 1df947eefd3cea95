"""The filesystem in memory, asked directly: names, lives, owners, times, limits."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

import pytest

from fusewire.daemon.check import refuse_misspelt
from fusewire.daemon.values import UTIME_NOW, Attributes, SetAttributes
from fusewire.filesystems.memory import Memory
from memory_caller import ROOT, Caller

ALICE, BOB = 1000, 1001
HUGE = 2**63
PAGE = 4096
NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16
LONG_AGO = SetAttributes(atime_ns=1, mtime_ns=1, ctime_ns=1)
KILL = SetAttributes(kill_suidgid=True)


@pytest.fixture
def memory() -> Memory:
    return Memory(size=1 << 20, inodes=100, uid=0, gid=0)


@pytest.fixture
def root(memory: Memory) -> Caller:
    return Caller(memory)


@pytest.fixture
def alice(memory: Memory) -> Caller:
    return Caller(memory, ALICE, ALICE)


@contextlib.contextmanager
def refused(code: int) -> Iterator[None]:
    """What is inside must raise an OSError of this errno."""
    with pytest.raises(OSError) as caught:  # noqa: PT011  # the errno is looked at below
        yield
    assert errno.errorcode[caught.value.errno or 0] == errno.errorcode[code]


def known(memory: Memory) -> set[int]:
    """The inodes that the filesystem still has."""
    return set(memory._tree.inodes)


def old(caller: Caller, *nodeids: int) -> None:
    """Set all times of some nodes to the beginning of time."""
    for nodeid in nodeids:
        caller.setattr(nodeid, LONG_AGO)


def marked(caller: Caller, nodeid: int) -> str:
    """Which times of a node are no longer what `old` made of them."""
    attributes: Attributes = caller.getattr(nodeid, None)
    times = {"a": attributes.atime_ns, "m": attributes.mtime_ns, "c": attributes.ctime_ns}
    return "".join(letter for letter, time in times.items() if time != 1)


def permissions(caller: Caller, nodeid: int) -> int:
    attributes: Attributes = caller.getattr(nodeid, None)
    return stat.S_IMODE(attributes.mode)


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
    for attempt in (
        lambda: root.lookup(ROOT, name),
        lambda: root.file(name),
        lambda: root.mkdir(ROOT, name, 0),
        lambda: root.symlink(ROOT, name, "x"),
        lambda: root.unlink(ROOT, name),
        lambda: root.rmdir(ROOT, name),
        lambda: root.rename(ROOT, "there", ROOT, name, 0),
        lambda: root.rename(ROOT, name, ROOT, "x", 0),
        lambda: root.link(2, ROOT, name),
    ):
        with refused(errno.ENAMETOOLONG):
            attempt()


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
    for attempt in (
        lambda: root.file("taken"),
        lambda: root.mkdir(ROOT, "taken", 0),
        lambda: root.mknod(ROOT, "taken", stat.S_IFIFO, 0),
        lambda: root.symlink(ROOT, "taken", "x"),
        lambda: root.link(file, ROOT, "taken"),
    ):
        with refused(errno.EEXIST):
            attempt()


def test_an_unknown_nodeid_is_stale(root: Caller) -> None:
    for attempt in (
        lambda: root.getattr(99, None),
        lambda: root.lookup(99, "x"),
        lambda: root.read(99, 0, 0, 1),
        lambda: root.link(99, ROOT, "x"),
    ):
        with refused(errno.ESTALE):
            attempt()


def test_operations_know_what_they_can_be_done_to(root: Caller) -> None:
    file, directory, fifo = root.file("f"), root.directory("d"), root.mknod(ROOT, "p", stat.S_IFIFO, 0).nodeid
    for code, attempt in (
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
    ):
        with refused(code):
            attempt()


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
    for attempt in (
        lambda: root.file("x", parent=gone),
        lambda: root.link(file, gone, "x"),
        lambda: root.rename(ROOT, "f", gone, "x", 0),
    ):
        with refused(errno.ENOENT):
            attempt()
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


# --- owners and modes


def test_new_things_belong_to_the_caller(root: Caller, alice: Caller) -> None:
    for attributes in (
        alice.create(ROOT, "f", os.O_RDWR, 0o640)[0].attributes,
        alice.mkdir(ROOT, "d", 0o750).attributes,
        alice.symlink(ROOT, "s", "x").attributes,
        alice.mknod(ROOT, "p", stat.S_IFIFO | 0o600, 0).attributes,
        alice.tmpfile(ROOT, os.O_RDWR, 0o600)[0].attributes,
    ):
        assert (attributes.uid, attributes.gid) == (ALICE, ALICE)
    assert permissions(root, root.lookup(ROOT, "d").nodeid) == 0o750


def test_a_setgid_directory_gives_its_group(root: Caller, alice: Caller) -> None:
    above = root.directory("d", mode=0o2777)
    root.setattr(above, SetAttributes(gid=BOB))
    root.setattr(above, SetAttributes(mode=0o2777))
    below = alice.mkdir(above, "below", 0o755).attributes
    file = alice.create(above, "file", 0, 0o644)[0].attributes
    assert (below.uid, below.gid, stat.S_IMODE(below.mode)) == (ALICE, BOB, 0o2755)
    assert (file.uid, file.gid, stat.S_IMODE(file.mode)) == (ALICE, BOB, 0o644)


def test_nobody_makes_a_program_of_a_group_that_he_is_not_in(root: Caller, memory: Memory) -> None:
    above = root.directory("d", mode=0o2777)
    root.setattr(above, SetAttributes(gid=54321, mode=0o2777))
    for caller, wanted in (
        (Caller(memory, ALICE, ALICE), 0o755),
        (Caller(memory, ALICE, 54321), 0o2755),
        (root, 0o2755),
    ):
        name = f"program of {caller.uid} {caller.gid}"
        assert stat.S_IMODE(caller.mknod(above, name, stat.S_IFREG | 0o2755, 0).attributes.mode) == wanted
        assert stat.S_IMODE(caller.mknod(above, name + "'", stat.S_IFREG | 0o2745, 0).attributes.mode) == 0o2745


def test_chmod_leaves_the_type(root: Caller) -> None:
    directory = root.directory("d")
    assert root.setattr(directory, SetAttributes(mode=0o1777)).mode == stat.S_IFDIR | 0o1777
    assert root.setattr(directory, SetAttributes(mode=stat.S_IFREG | 0o600)).mode == stat.S_IFDIR | 0o600


@pytest.mark.parametrize(
    ("mode", "left", "group"),
    [
        (0o4755, 0o755, ALICE),
        (0o6777, 0o777, ALICE),
        (0o2755, 0o755, ALICE),
        (0o2745, 0o2745, ALICE),  # mandatory locking of old: a member keeps it
        (0o2745, 0o745, 54321),
        (0o1644, 0o1644, ALICE),
    ],
)
def test_what_a_program_lends_is_lost_when_the_kernel_says_so(alice: Caller, mode: int, left: int, group: int) -> None:
    program = alice.file("program", b"x")
    how = (
        SetAttributes(size=1, kill_suidgid=True),
        SetAttributes(uid=ALICE, kill_suidgid=True),
        SetAttributes(gid=group, kill_suidgid=True),
        SetAttributes(),  # chown(path, -1, -1)
    )
    for changes in how:
        alice.setattr(program, SetAttributes(mode=mode, gid=group))
        assert stat.S_IMODE(alice.setattr(program, changes).mode) == left
    alice.setattr(program, SetAttributes(mode=mode))
    alice.filesystem.write(alice.request("WRITE", write_flags=4), program, 0, 0, memoryview(b"y"))
    assert permissions(alice, program) == left


def test_nothing_is_lost_when_the_kernel_does_not_say_so(root: Caller) -> None:
    program, directory = root.file("program"), root.directory("d")
    for changes in (SetAttributes(size=0), SetAttributes(mode=0o6755), SetAttributes(mtime_ns=5)):
        root.setattr(program, SetAttributes(mode=0o6755))
        assert stat.S_IMODE(root.setattr(program, changes).mode) == 0o6755
    root.write(program, 0, 0, memoryview(b"x"))
    assert permissions(root, program) == 0o6755
    root.setattr(directory, SetAttributes(mode=0o6755))
    assert stat.S_IMODE(root.setattr(directory, SetAttributes(uid=5, kill_suidgid=True)).mode) == 0o6755


def test_capabilities_go_with_any_change_of_content_or_owner(root: Caller) -> None:
    file, name = root.file("f", b"x"), "security.capability"
    for change in (
        lambda: root.write(file, 0, 0, memoryview(b"y")),
        lambda: root.setattr(file, SetAttributes(size=0)),
        lambda: root.setattr(file, SetAttributes(uid=3)),
        lambda: root.fallocate(file, 0, 0, 10, 0),
        lambda: root.copy_file_range(file, 0, 0, file, 0, 100, 5, 0),
    ):
        root.setxattr(file, name, b"all", 0)
        change()
        with refused(errno.ENODATA):
            root.getxattr(file, name)
    root.setxattr(file, name, b"all", 0)
    root.setattr(file, SetAttributes(mode=0o600))
    assert root.getxattr(file, name) == b"all"


# --- times


def test_times_are_marked_as_posix_says(root: Caller) -> None:
    here, there = root.directory("here"), root.directory("there")
    file, other = root.file("f", b"123", parent=here), root.file("o", parent=there)
    link, directory = root.symlink(here, "s", "x").nodeid, root.directory("d", here)
    target = root.file("t", b"abc", parent=there)
    fh = root.opendir(here, 0).fh
    nodes = {"here": here, "there": there, "f": file, "o": other, "s": link, "d": directory, "t": target}
    for what, do, wanted in (
        ("read", lambda: root.read(file, 0, 0, 1), {"f": "a"}),
        ("write", lambda: root.write(file, 0, 0, memoryview(b"x")), {"f": "mc"}),
        ("write nothing", lambda: root.write(file, 0, 0, memoryview(b"")), {}),
        ("readlink", lambda: root.readlink(link), {"s": "a"}),
        ("readdir", lambda: root.readdir(here, fh, 0), {"here": "a"}),
        ("create", lambda: root.file("new", parent=here), {"here": "mc"}),
        ("unlink", lambda: root.unlink(here, "new"), {"here": "mc"}),
        ("link", lambda: root.link(file, there, "g"), {"f": "c", "there": "mc"}),
        ("unlink one of two", lambda: root.unlink(there, "g"), {"f": "c", "there": "mc"}),
        ("rename", lambda: root.rename(here, "f", there, "f", 0), {"f": "c", "here": "mc", "there": "mc"}),
        ("rename back", lambda: root.rename(there, "f", here, "f", 0), {"f": "c", "here": "mc", "there": "mc"}),
        ("replace", lambda: root.rename(here, "f", there, "o", 0), {"f": "c", "o": "c", "here": "mc", "there": "mc"}),
        ("exchange", lambda: root.rename(here, "d", there, "o", 2), {"f": "c", "d": "c", "here": "mc", "there": "mc"}),
        ("chmod", lambda: root.setattr(file, SetAttributes(mode=0o600)), {"f": "c"}),
        ("chown", lambda: root.setattr(file, SetAttributes(uid=5)), {"f": "c"}),
        ("utime", lambda: root.setattr(file, SetAttributes(mtime_ns=5)), {"f": "mc"}),
        ("utime now", lambda: root.setattr(file, SetAttributes(atime_ns=UTIME_NOW)), {"f": "ac"}),
        ("truncate", lambda: root.setattr(file, SetAttributes(size=7)), {"f": "mc"}),
        ("ftruncate to the same", lambda: root.setattr(file, SetAttributes(size=7, fh=0)), {"f": "mc"}),
        ("O_TRUNC", lambda: root.setattr(other, SetAttributes(size=0)), {"o": "mc"}),
        ("fallocate", lambda: root.fallocate(file, 0, 0, 1, KEEP_SIZE), {"f": "mc"}),
        ("setxattr", lambda: root.setxattr(file, "user.x", b"1", 0), {"f": "c"}),
        ("removexattr", lambda: root.removexattr(file, "user.x"), {"f": "c"}),
        ("copy", lambda: root.copy_file_range(target, 0, 0, file, 0, 0, 3, 0), {"f": "mc", "t": "a"}),
    ):
        old(root, *nodes.values())
        do()
        assert {name: marked(root, nodeid) for name, nodeid in nodes.items() if marked(root, nodeid)} == wanted, what


def test_a_truncate_to_the_same_size_is_no_change(root: Caller) -> None:
    file = root.file("f", b"1234567")
    old(root, file)
    root.setattr(file, SetAttributes(size=7))
    assert root.getattr(file, None).mtime_ns == 1


def test_atime_is_brought_up_to_date_only_when_it_is_behind(root: Caller) -> None:
    file = root.file("f", b"x")
    root.read(file, 0, 0, 1)
    first = root.getattr(file, None).atime_ns
    root.read(file, 0, 0, 1)
    assert root.getattr(file, None).atime_ns == first
    root.write(file, 0, 0, memoryview(b"y"))
    root.read(file, 0, 0, 1)
    assert root.getattr(file, None).atime_ns > first


def test_o_noatime_is_honoured(root: Caller) -> None:
    file = root.file("f", b"x")
    old(root, file)
    root.filesystem.read(root.request("READ", flags=os.O_NOATIME), file, 0, 0, 1)
    assert marked(root, file) == ""


def test_linux_may_keep_pages_unless_a_reader_would_go_unnoticed(root: Caller) -> None:
    file = root.file("f", b"x")
    assert not root.open(file, os.O_RDONLY).keep_cache  # nobody has read what was written
    assert not root.open(file, os.O_RDWR).keep_cache
    assert root.open(file, os.O_WRONLY).keep_cache
    root.read(file, 0, 0, 1)
    assert root.open(file, os.O_RDONLY).keep_cache


def test_times_before_1970_and_far_off_are_kept(root: Caller) -> None:
    file = root.file("f")
    attributes = root.setattr(file, SetAttributes(atime_ns=-1, mtime_ns=10**20))
    assert (attributes.atime_ns, attributes.mtime_ns) == (-1, 10**20)


def test_the_time_of_birth_never_changes(root: Caller) -> None:
    file = root.file("f")
    born = root.statx(file).btime_ns
    root.setattr(file, SetAttributes(mode=0, mtime_ns=1))
    assert root.statx(file).btime_ns == born > 0


# --- content


def test_content_is_bytes_and_holes(root: Caller) -> None:
    file = root.file("f", b"abc")
    assert root.write(file, 0, 5 * PAGE, memoryview(b"end")) == 3
    attributes = root.getattr(file, None)
    assert (attributes.size, attributes.blocks, attributes.blksize) == (5 * PAGE + 3, 16, PAGE)
    assert root.read(file, 0, 1, 4) == b"bc\0\0"
    assert root.read(file, 0, 5 * PAGE + 1, 100) == b"nd"
    assert root.read(file, 0, 6 * PAGE, 100) == b""


def test_what_was_cut_off_does_not_come_back(root: Caller) -> None:
    file = root.file("f", b"secret")
    root.setattr(file, SetAttributes(size=2))
    root.setattr(file, SetAttributes(size=10))
    assert root.read(file, 0, 0, 100) == b"se" + bytes(8)


def test_seeking_finds_data_and_holes(root: Caller) -> None:
    file = root.file("f")
    root.write(file, 0, 2 * PAGE, memoryview(bytes([1]) * PAGE))
    root.setattr(file, SetAttributes(size=9 * PAGE))
    assert root.lseek(file, 0, 0, os.SEEK_DATA) == 2 * PAGE
    assert root.lseek(file, 0, 0, os.SEEK_HOLE) == 0
    assert root.lseek(file, 0, 2 * PAGE + 7, os.SEEK_DATA) == 2 * PAGE + 7
    assert root.lseek(file, 0, 2 * PAGE + 7, os.SEEK_HOLE) == 3 * PAGE
    for offset, whence in ((3 * PAGE, os.SEEK_DATA), (9 * PAGE, os.SEEK_HOLE), (9 * PAGE, os.SEEK_DATA), (-1, 3)):
        with refused(errno.ENXIO):
            root.lseek(file, 0, offset, whence)
    with refused(errno.EINVAL):
        root.lseek(file, 0, 0, os.SEEK_END)


def test_fallocate_reserves_zeroes_and_punches(root: Caller) -> None:
    file = root.file("f", b"x" * 3 * PAGE)
    root.fallocate(file, 0, 4 * PAGE, 10, KEEP_SIZE)
    assert (root.getattr(file, None).size, root.getattr(file, None).blocks) == (3 * PAGE, 32)
    root.fallocate(file, 0, 4 * PAGE, 10, 0)
    assert (root.getattr(file, None).size, root.getattr(file, None).blocks) == (4 * PAGE + 10, 32)
    root.fallocate(file, 0, 1, PAGE, ZERO_RANGE)
    assert root.read(file, 0, 0, PAGE + 2) == b"x" + bytes(PAGE) + b"x"
    root.fallocate(file, 0, PAGE, PAGE, PUNCH_HOLE | KEEP_SIZE)
    assert (root.getattr(file, None).size, root.getattr(file, None).blocks) == (4 * PAGE + 10, 24)
    root.fallocate(file, 0, 5 * PAGE, PAGE, ZERO_RANGE)
    assert root.getattr(file, None).size == 6 * PAGE


@pytest.mark.parametrize(
    ("code", "offset", "length", "mode"),
    [
        (errno.EINVAL, -1, 1, 0),
        (errno.EINVAL, 0, 0, 0),
        (errno.EINVAL, 0, -1, 0),
        (errno.EFBIG, HUGE - 2, 2, KEEP_SIZE),
        (errno.EOPNOTSUPP, 0, 1, PUNCH_HOLE),
        (errno.EOPNOTSUPP, 0, 1, 8),
        (errno.EOPNOTSUPP, 0, 1, ZERO_RANGE | PUNCH_HOLE),
        (errno.ENOSPC, 0, 2 << 20, 0),
    ],
)
def test_fallocate_refuses_what_it_cannot_do(root: Caller, code: int, offset: int, length: int, mode: int) -> None:
    file = root.file("f", b"x")
    with refused(code):
        root.fallocate(file, 0, offset, length, mode)
    assert (root.getattr(file, None).size, root.getattr(file, None).blocks) == (1, 8)


def test_offsets_out_of_all_bounds_are_refused(root: Caller) -> None:
    file = root.file("f", b"x")
    for code, attempt in (
        (errno.EFBIG, lambda: root.write(file, 0, HUGE, memoryview(b"x"))),
        (errno.EFBIG, lambda: root.write(file, 0, HUGE - 1, memoryview(b"x"))),
        (errno.EFBIG, lambda: root.setattr(file, SetAttributes(size=HUGE))),
        (errno.EFBIG, lambda: root.copy_file_range(file, 0, 0, file, 0, HUGE, 1, 0)),
        (errno.EINVAL, lambda: root.read(file, 0, -1, 1)),
        (errno.EINVAL, lambda: root.write(file, 0, -1, memoryview(b"x"))),
        (errno.EINVAL, lambda: root.setattr(file, SetAttributes(size=-1))),
        (errno.EINVAL, lambda: root.copy_file_range(file, 0, -1, file, 0, 5, 1, 0)),
        (errno.EINVAL, lambda: root.copy_file_range(file, 0, 0, file, 0, -1, 1, 0)),
    ):
        with refused(code):
            attempt()
    assert root.read(file, 0, HUGE, 5) == b""
    assert root.read(file, 0, 0, 5) == b"x"


def test_copying_goes_from_file_to_file_and_within_one(root: Caller) -> None:
    source, target = root.file("s", b"0123456789"), root.file("t")
    assert root.copy_file_range(source, 0, 2, target, 0, 1, 4, 0) == 4
    assert root.read(target, 0, 0, 100) == b"\x002345"
    assert root.copy_file_range(source, 0, 0, source, 0, 10, 10, 0) == 10
    assert root.read(source, 0, 0, 100) == b"0123456789" * 2
    assert root.copy_file_range(source, 0, 20, target, 0, 0, 5, 0) == 0
    with refused(errno.EINVAL):  # they overlap
        root.copy_file_range(source, 0, 0, source, 0, 5, 6, 0)
    with refused(errno.EINVAL):
        root.copy_file_range(source, 0, 0, target, 0, 5, 6, 1)


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
    for attempt in (
        lambda: root.file("x"),
        lambda: root.mkdir(ROOT, "x", 0),
        lambda: root.symlink(ROOT, "x", "y"),
        lambda: root.tmpfile(ROOT, 0, 0),
        lambda: root.link(2, ROOT, "x"),  # a name takes memory too
    ):
        with refused(errno.ENOSPC):
            attempt()
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
    half = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // PAGE // 2
    told = Caller(Memory()).statfs(ROOT)
    assert (told.blocks, told.bsize, told.frsize, told.files, told.namelen) == (half, PAGE, PAGE, half, 255)


# --- extended attributes


def test_xattrs_are_set_replaced_and_removed(root: Caller) -> None:
    file = root.file("f")
    root.setxattr(file, "user.é\udcff", memoryview(b"1"), os.XATTR_CREATE)
    root.setxattr(file, "user.é\udcff", memoryview(b"22"), os.XATTR_REPLACE)
    root.setxattr(file, "user.empty", memoryview(b""), 0)
    assert root.getxattr(file, "user.é\udcff") == b"22"
    assert root.listxattr(file) == ["user.é\udcff", "user.empty"]
    root.removexattr(file, "user.é\udcff")
    assert root.listxattr(file) == ["user.empty"]


def test_xattrs_that_cannot_be_are_refused(root: Caller) -> None:
    file, other = root.file("f"), root.file("other")
    root.setxattr(file, "user.there", b"1", 0)
    for code, attempt in (
        (errno.EEXIST, lambda: root.setxattr(file, "user.there", b"", os.XATTR_CREATE)),
        (errno.ENODATA, lambda: root.setxattr(file, "user.absent", b"", os.XATTR_REPLACE)),
        (errno.ENODATA, lambda: root.getxattr(file, "user.absent")),
        (errno.ENODATA, lambda: root.getxattr(other, "user.absent")),
        (errno.ENODATA, lambda: root.removexattr(file, "user.absent")),
        (errno.ENODATA, lambda: root.removexattr(other, "user.absent")),
        (errno.EOPNOTSUPP, lambda: root.setxattr(file, "osx.x", b"", 0)),
        (errno.EOPNOTSUPP, lambda: root.getxattr(file, "plain")),
        (errno.EINVAL, lambda: root.setxattr(file, "user.", b"", 0)),
        (errno.EINVAL, lambda: root.setxattr(file, "user.x", b"", 4)),
        (errno.ERANGE, lambda: root.setxattr(file, "user." + "é" * 126, b"", 0)),
        (errno.E2BIG, lambda: root.setxattr(file, "user.x", bytes(65537), 0)),
    ):
        with refused(code):
            attempt()
    assert root.getxattr(file, "user.there") == b"1"
    assert root.listxattr(other) == []


def test_trusted_xattrs_are_shown_to_root_alone(root: Caller, alice: Caller) -> None:
    file = root.file("f")
    for name in ("user.u", "trusted.t", "security.s"):
        root.setxattr(file, name, b"", 0)
    assert root.listxattr(file) == ["user.u", "trusted.t", "security.s"]
    assert alice.listxattr(file) == ["user.u", "security.s"]


def test_xattrs_take_room_and_give_it_back(memory: Memory, root: Caller) -> None:
    file = root.file("f")
    root.setxattr(file, "user.a", bytes(100), 0)
    root.setxattr(file, "user.b", bytes(100), 0)
    assert root.statfs(ROOT).bfree == 255
    for number in range(15):
        root.setxattr(file, f"user.{number}", bytes(65000), 0)
    with refused(errno.ENOSPC):
        root.setxattr(file, "user.more", bytes(65000), 0)
    assert len(root.listxattr(file)) == 17
    root.unlink(ROOT, "f")
    memory.forget(file, 1)
    assert root.statfs(ROOT).bfree == 256


def test_no_more_xattrs_fit_than_can_be_listed(root: Caller) -> None:
    file = root.file("f")
    with refused(errno.ENOSPC):
        for number in range(1000):
            root.setxattr(file, f"user.{number:0250}", b"", 0)
    assert sum(len(name) + 1 for name in root.listxattr(file)) <= 65536
