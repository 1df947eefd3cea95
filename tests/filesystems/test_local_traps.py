"""What others do to the source behind the mount's back, and what runs out: nothing leads astray."""

from __future__ import annotations

import errno
import itertools
import os
import resource
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from fusewire.daemon import Request, SetAttributes
from fusewire.filesystems.local import LocalDirectory
from fusewire.filesystems.local.inodes import Inodes
from fusewire.filesystems.local.syscalls import Stat, statx
from local_callers import ROOT, asked, content, making, walk, write, writing


def failing(code: int) -> pytest.RaisesExc[OSError]:
    return pytest.RaisesExc(OSError, check=lambda error: error.errno == code)


def by_handles(local: LocalDirectory) -> bool:
    return local._inodes.handles is not None


def cold(local: LocalDirectory) -> None:
    """Close every descriptor that is kept for speed: each node must be found again."""
    local._inodes.recent.shrink()


@contextmanager
def descriptor_limit(soft: int) -> Iterator[int]:
    """Set RLIMIT_NOFILE for a while."""
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        yield soft
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard))


def in_use() -> int:
    """One more than the highest descriptor: a limit that leaves no new ones but in the gaps."""
    return max(map(int, os.listdir("/proc/self/fd"))) + 1


# --- descriptors run out


@pytest.mark.parametrize("handles", [None, False])
def test_files_without_number_under_a_low_limit_of_descriptors(source: Path, handles: bool | None) -> None:
    for number in range(30):
        (source / f"d{number}").mkdir()
        for name in range(100):
            write(source / f"d{number}/{name}", b"%d" % name)
    with descriptor_limit(in_use() + 40):
        local = LocalDirectory(source, handles)
        nodes = {path: walk(local, *path.split("/")).nodeid for path in every_path(local, asked())}
        assert len(nodes) == 30 * 101
        assert len(local._inodes) == 1 + len(nodes)
        for path, nodeid in nodes.items():
            assert local.getattr(asked(), nodeid, None).ino == os.lstat(source / path).st_ino
            if "/" in path:
                assert content(local, nodeid) == path.partition("/")[2].encode()
        local.destroy()


def every_path(local: LocalDirectory, request: Request) -> Iterator[str]:
    """Walk the whole tree by listings with entries."""
    pending = [("", ROOT)]
    while pending:
        path, nodeid = pending.pop()
        fh = local.opendir(request, nodeid, 0).fh
        for dirent in local.readdirplus(request, nodeid, fh, 2):
            assert dirent.entry is not None
            yield path + dirent.name
            if dirent.type == stat.S_IFDIR:
                pending.append((f"{path}{dirent.name}/", dirent.entry.nodeid))
        local.releasedir(request, nodeid, fh)


def test_descriptors_kept_for_speed_make_room_for_those_that_are_needed(source: Path) -> None:
    for number in range(30):
        (source / str(number)).mkdir()
    with descriptor_limit(in_use() + 40) as limit:
        local = LocalDirectory(source)
        free = limit - len(os.listdir("/proc/self/fd"))
        nodeids = [walk(local, str(number)).nodeid for number in range(30)]
        for nodeid in nodeids:
            local.getattr(asked(), nodeid, None)
        assert len(local._inodes.recent) >= 16
        opened = list(open_until_there_are_too_many(local, nodeids))
        assert len(opened) >= free - 1  # one is needed to open the next
        local.releasedir(asked(), *opened[0])
        assert local.getattr(asked(), nodeids[0], None).nlink == 2  # and all is well again
        local.destroy()


def open_until_there_are_too_many(local: LocalDirectory, nodeids: list[int]) -> Iterator[tuple[int, int]]:
    """Open directories until EMFILE; yield each nodeid and `fh`."""
    for nodeid in itertools.cycle(nodeids):
        try:
            yield nodeid, local.opendir(asked(), nodeid, 0).fh
        except OSError as error:
            assert error.errno == errno.EMFILE  # noqa: PT017
            return


# --- long paths


def test_a_path_longer_than_path_max(local: LocalDirectory) -> None:
    name, depth = "d" * 250, 40
    chain = [ROOT]
    for _ in range(depth):
        chain.append(local.mkdir(making(), chain[-1], name, 0o755).nodeid)
    entry, opened = local.create(making(), chain[-1], "file", os.O_RDWR, 0o644)
    local.write(writing(), entry.nodeid, opened.fh, 0, memoryview(b"deep"))
    local.release(asked(), entry.nodeid, opened.fh)
    cold(local)
    assert content(local, entry.nodeid) == b"deep"
    local.unlink(asked(), chain[-1], "file")
    for parent in reversed(chain[:-1]):
        local.rmdir(asked(), parent, name)


def test_a_tree_deeper_than_python_recurses(source: Path) -> None:
    local = LocalDirectory(source, handles=False)
    chain = [ROOT]
    for _ in range(1500):
        chain.append(local.mkdir(making(), chain[-1], "d", 0o755).nodeid)
    cold(local)
    assert local.getattr(asked(), chain[-1], None).nlink == 2
    for parent in reversed(chain[:-1]):
        local.rmdir(asked(), parent, "d")
    local.destroy()


# --- names move


def test_a_file_renamed_behind_its_back(source: Path, local: LocalDirectory) -> None:
    write(source / "a", b"A")
    (source / "d").mkdir()
    nodeid = walk(local, "a").nodeid
    local.getattr(asked(), nodeid, None)
    cold(local)
    (source / "a").rename(source / "d/b")
    if by_handles(local):
        assert content(local, nodeid) == b"A"
    else:
        with failing(errno.ESTALE):  # Linux looks the path up again:
            local.getattr(asked(), nodeid, None)
    with failing(errno.ENOENT):
        walk(local, "a")
    assert walk(local, "d", "b").nodeid == nodeid
    assert content(local, nodeid) == b"A"


def test_a_directory_renamed_behind_the_back_of_what_is_in_it(source: Path, local: LocalDirectory) -> None:
    (source / "d").mkdir()
    write(source / "d/a", b"A")
    directory, nodeid = walk(local, "d").nodeid, walk(local, "d", "a").nodeid
    cold(local)
    (source / "d").rename(source / "e")
    assert walk(local, "e").nodeid == directory
    assert content(local, nodeid) == b"A"


def test_another_file_under_a_known_name_is_another_node(source: Path, local: LocalDirectory) -> None:
    write(source / "a", b"old")
    nodeid = walk(local, "a").nodeid
    local.getattr(asked(), nodeid, None)
    cold(local)
    (source / "a").rename(source / "elsewhere")
    write(source / "a", b"new")
    if not by_handles(local):
        with failing(errno.ESTALE):
            content(local, nodeid)
    new = walk(local, "a").nodeid
    assert new != nodeid
    assert content(local, new) == b"new"
    assert walk(local, "elsewhere").nodeid == nodeid
    assert content(local, nodeid) == b"old"


def test_a_component_replaced_by_a_symlink_leads_nowhere_outside(
    tmp_path: Path, source: Path, local: LocalDirectory
) -> None:
    (outside := tmp_path / "outside").mkdir()
    write(outside / "file", b"secret")
    (source / "d").mkdir()
    write(source / "d/file", b"ours")
    directory, nodeid = walk(local, "d").nodeid, walk(local, "d", "file").nodeid
    cold(local)
    shutil.rmtree(source / "d")
    (source / "d").symlink_to(outside)
    for method in (
        lambda: content(local, nodeid),
        lambda: local.lookup(asked(), directory, "file"),
        lambda: local.unlink(asked(), directory, "file"),
        lambda: local.setattr(asked(), nodeid, SetAttributes(size=0)),
        lambda: local.opendir(asked(), directory, 0),
    ):
        with failing(errno.ESTALE):
            method()
    with failing(errno.ENOTDIR):
        walk(local, "d", "file")
    assert (outside / "file").read_bytes() == b"secret"


def test_a_ring_of_what_was_last_seen_ends(source: Path, local: LocalDirectory) -> None:
    (source / "a/b").mkdir(parents=True)
    upper, lower = walk(local, "a").nodeid, walk(local, "a", "b").nodeid
    local.getattr(asked(), lower, None)
    (source / "a/b").rename(source / "b")
    (source / "a").rename(source / "b/a")
    assert local.lookup(asked(), lower, "a").nodeid == upper  # each was now last seen in the other
    cold(local)
    if by_handles(local):
        assert local.getattr(asked(), lower, None).type == stat.S_IFDIR
    else:
        with failing(errno.ESTALE):
            local.getattr(asked(), lower, None)
    assert walk(local, "b").nodeid == lower
    assert local.getattr(asked(), upper, None).type == stat.S_IFDIR


def test_a_hard_link_is_found_by_its_other_name(source: Path, local: LocalDirectory) -> None:
    write(source / "a", b"A")
    os.link(source / "a", source / "b")
    nodeid = walk(local, "a").nodeid
    assert walk(local, "b").nodeid == nodeid
    local.unlink(asked(), ROOT, "b")
    cold(local)
    assert content(local, nodeid) == b"A"
    os.link(source / "a", source / "c")
    assert walk(local, "c").nodeid == nodeid
    (source / "c").unlink()
    cold(local)
    assert content(local, nodeid) == b"A"


# --- files go


def test_an_open_file_unlinked_behind_its_back_lives(source: Path, local: LocalDirectory) -> None:
    write(source / "a", b"A")
    nodeid = walk(local, "a").nodeid
    fh = local.open(asked(), nodeid, os.O_RDONLY).fh
    cold(local)
    (source / "a").unlink()
    assert local.getattr(asked(), nodeid, None).nlink == 0
    assert local.read(asked(), nodeid, fh, 0, 10) == b"A"
    local.release(asked(), nodeid, fh)
    cold(local)
    with failing(errno.ESTALE):
        local.getattr(asked(), nodeid, None)


def test_what_we_removed_answers_until_it_is_forgotten(source: Path, local: LocalDirectory) -> None:
    write(source / "a", b"A")
    (source / "d").mkdir()
    file, directory = walk(local, "a").nodeid, walk(local, "d").nodeid
    local.unlink(asked(), ROOT, "a")
    local.rmdir(asked(), ROOT, "d")
    cold(local)
    assert local.getattr(asked(), file, None).nlink == 0
    assert content(local, file) == b"A"
    with failing(errno.ENOENT):
        local.lookup(asked(), directory, "x")
    assert len(local._inodes.removed) == 2
    local.forget(file, 1)
    local.forget(directory, 1)
    assert len(local._inodes.removed) == 0


def test_what_could_not_be_removed_stays(source: Path, local: LocalDirectory) -> None:
    (source / "d").mkdir()
    write(source / "d/a", b"A")
    directory, file = walk(local, "d").nodeid, walk(local, "d", "a").nodeid
    with failing(errno.ENOTEMPTY):
        local.rmdir(asked(), ROOT, "d")
    with failing(errno.ENOTDIR):
        local.rmdir(asked(), directory, "a")
    cold(local)
    assert content(local, file) == b"A"
    assert len(local._inodes.removed) == 0


def test_no_file_is_kept_open_that_nobody_has_open(source: Path, local: LocalDirectory) -> None:
    """Its blocks would not be free when it is deleted behind our back."""
    nodeid = walk(local, write(source / "a", b"A").name).nodeid
    assert content(local, nodeid) == b"A"
    local.setattr(asked(), nodeid, SetAttributes(size=10))
    targets = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if alive(fd)]
    assert str(source) in targets
    assert str(source / "a") not in targets


def alive(fd: str) -> bool:
    """Whether a descriptor still is: the one that listed them is not."""
    return os.path.lexists(f"/proc/self/fd/{fd}")


# --- numbers are used again


def at(found: Stat, birth: int, type: int = stat.S_IFREG) -> Stat:
    """What statx tells of another file of the same number."""
    return found._replace(attributes=replace(found.attributes, btime_ns=birth, mode=type))


def test_a_number_used_again_is_a_new_node(source: Path, local: LocalDirectory) -> None:
    write(source / "a")
    with local._inodes.descriptor(ROOT) as root:
        found = statx(root, "a")
    inodes, birth = local._inodes, found.attributes.btime_ns
    assert birth is not None
    first = inodes.granted((ROOT, "a"), found)
    assert inodes.granted((ROOT, "a"), at(found, birth)) == first
    later = inodes.granted((ROOT, "a"), at(found, birth + 1))
    other = inodes.granted((ROOT, "a"), at(found, birth + 1, stat.S_IFIFO))
    assert len({first, later, other}) == 3
    inodes.forget(first, 2)
    inodes.forget(later, 1)
    assert inodes.granted((ROOT, "a"), at(found, birth + 1, stat.S_IFIFO)) == other


def test_a_number_that_the_source_really_used_again(source: Path, local: LocalDirectory) -> None:
    write(source / "a", b"old")
    before = walk(local, "a")
    local.getattr(asked(), before.nodeid, None)
    cold(local)
    (source / "a").unlink()
    for number in range(64):
        write(source / f"b{number}", b"new")
        after = walk(local, f"b{number}")
        assert after.nodeid != before.nodeid
        if after.attributes.ino == before.attributes.ino and after.attributes.btime_ns != before.attributes.btime_ns:
            break
    else:
        pytest.skip("the filesystem of the temporary directory does not use numbers again at once")
    with failing(errno.ESTALE):
        content(local, before.nodeid)
    assert content(local, after.nodeid) == b"new"


def test_a_dead_handle_is_no_more_taken_for_the_next_file_of_its_number(source: Path) -> None:
    try:
        local = LocalDirectory(source, handles=True)
    except OSError as error:
        pytest.skip(f"no file handles here: {error.strerror}")
    nodeid = walk(local, write(source / "a").name).nodeid
    local.getattr(asked(), nodeid, None)
    with local._inodes.descriptor(nodeid) as fd:
        found = statx(fd, "")
    cold(local)
    (source / "a").unlink()
    with failing(errno.ESTALE):
        local.getattr(asked(), nodeid, None)
    assert local._inodes.granted((ROOT, "a"), found) != nodeid  # born at the same tick of the clock, for all we know
    local.destroy()


def test_nodes_and_descriptors_are_bounded_by_what_is_known(source: Path, local: LocalDirectory) -> None:
    for number in range(300):
        entry, opened = local.create(making(), ROOT, f"{number}", os.O_RDWR, 0o600)
        local.release(asked(), entry.nodeid, opened.fh)
        local.unlink(asked(), ROOT, f"{number}")
        local.forget(entry.nodeid, 1)
    inodes: Inodes = local._inodes
    assert (len(inodes), len(inodes.recent), len(inodes.removed)) == (1, 0, 0)
