"""A local directory does to its source what it is asked, exactly."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fusewire.daemon import UTIME_NOW, Dirent, SetAttributes
from fusewire.filesystems.local import LocalDirectory
from fusewire.filesystems.local.files import ways_to_open
from fusewire.wire import WriteFlags
from local_callers import ROOT, asked, content, making, walk, write, writing

SECOND = 1_000_000_000
PUNCH_HOLE = 2 | 1  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_APPEND_FL = 0x80086601, 0x40086602, 0x20
RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root may")


def failing(code: int) -> pytest.RaisesExc[OSError]:
    return pytest.RaisesExc(OSError, check=lambda error: error.errno == code)


# --- the source


@pytest.mark.parametrize(("name", "code"), [("missing", errno.ENOENT), ("file", errno.ENOTDIR)])
def test_a_source_that_cannot_be_served_is_named(tmp_path: Path, name: str, code: int) -> None:
    write(tmp_path / "file")
    with pytest.raises(OSError, match=name) as caught:
        LocalDirectory(tmp_path / name)
    assert caught.value.errno == code


def test_destroy_closes_every_descriptor(source: Path) -> None:
    write(source / "a")
    before = os.listdir("/proc/self/fd")
    local = LocalDirectory(source)
    local.open(asked(), walk(local, "a").nodeid, os.O_RDONLY)
    local.opendir(asked(), ROOT, 0)
    held, _ = local.create(making(), ROOT, "b", os.O_RDWR, 0o600)
    local.unlink(asked(), ROOT, "b")
    assert local.getattr(asked(), held.nodeid, None).nlink == 0
    local.destroy()
    assert os.listdir("/proc/self/fd") == before
    local.destroy()


# --- names


def test_two_names_of_one_inode_are_one_nodeid(source: Path, local: LocalDirectory) -> None:
    write(source / "a")
    os.link(source / "a", source / "b")
    first = walk(local, "a")
    assert walk(local, "b").nodeid == first.nodeid
    assert first.attributes.nlink == 2
    assert local.link(asked(), first.nodeid, ROOT, "c").nodeid == first.nodeid
    assert os.stat(source / "c").st_ino == os.stat(source / "a").st_ino


def test_a_nodeid_is_kept_until_the_last_lookup_is_given_back(source: Path, local: LocalDirectory) -> None:
    write(source / "a")
    nodeid = walk(local, "a").nodeid
    assert walk(local, "a").nodeid == nodeid
    local.forget(nodeid, 1)
    assert local.getattr(asked(), nodeid, None).type == stat.S_IFREG
    local.forget(nodeid, 1)
    with failing(errno.ESTALE):
        local.getattr(asked(), nodeid, None)
    assert walk(local, "a").nodeid != nodeid


@pytest.mark.parametrize("name", ["..", ".", "", "/etc", "a/b"])
def test_what_is_no_name_leads_nowhere(local: LocalDirectory, name: str) -> None:
    with failing(errno.EINVAL):
        local.lookup(asked(), ROOT, name)
    with failing(errno.EINVAL):
        local.mkdir(making(), ROOT, name, 0o755)
    with failing(errno.EINVAL):
        local.rename(asked(), ROOT, name, ROOT, "x", 0)


def test_a_name_of_256_bytes_is_too_long_and_one_of_255_is_not(local: LocalDirectory) -> None:
    with failing(errno.ENAMETOOLONG):
        local.lookup(asked(), ROOT, "n" * 256)
    with failing(errno.ENAMETOOLONG):
        local.create(making(), ROOT, "n" * 256, os.O_RDWR, 0o600)
    assert local.mkdir(making(), ROOT, "n" * 255, 0o700).nodeid == walk(local, "n" * 255).nodeid


def test_names_that_are_not_utf8_are_unharmed(source: Path, local: LocalDirectory) -> None:
    name = b"\xff\xfe-\xc3\xa4"
    local.symlink(asked(), ROOT, os.fsdecode(name), os.fsdecode(b"\xfe"))
    assert os.listdir(os.fsencode(source)) == [name]
    assert local.readlink(asked(), walk(local, os.fsdecode(name)).nodeid) == os.fsdecode(b"\xfe")


def test_rename_over_a_file_keeps_both_nodes_usable(source: Path, local: LocalDirectory) -> None:
    write(source / "a", b"A"), write(source / "b", b"B")
    moved, replaced = walk(local, "a").nodeid, walk(local, "b").nodeid
    local.rename(asked(), ROOT, "a", ROOT, "b", 0)
    local._inodes.recent.shrink()
    assert content(local, moved) == b"A"
    assert content(local, replaced) == b"B"
    assert walk(local, "b").nodeid == moved


def test_rename_honours_its_flags(source: Path, local: LocalDirectory) -> None:
    write(source / "a", b"A"), write(source / "b", b"B")
    first, second = walk(local, "a").nodeid, walk(local, "b").nodeid
    with failing(errno.EEXIST):
        local.rename(asked(), ROOT, "a", ROOT, "b", RENAME_NOREPLACE)
    with failing(errno.EINVAL):
        local.rename(asked(), ROOT, "a", ROOT, "b", 1 << 20)
    local.rename(asked(), ROOT, "a", ROOT, "b", RENAME_EXCHANGE)
    local._inodes.recent.shrink()
    assert (source / "a").read_bytes() == b"B"
    assert (content(local, first), content(local, second)) == (b"A", b"B")


@root_only
def test_special_files_are_made_and_never_opened(source: Path, local: LocalDirectory) -> None:
    device = os.makedev(7, 300)
    made = local.mknod(making(), ROOT, "block", stat.S_IFBLK | 0o600, device)
    assert made.attributes.rdev == os.stat(source / "block").st_rdev == device
    fifo = local.mknod(making(), ROOT, "fifo", stat.S_IFIFO | 0o600, 0)
    assert stat.S_ISSOCK(local.mknod(making(), ROOT, "socket", stat.S_IFSOCK | 0o600, 0).attributes.mode)
    with failing(errno.ENXIO):
        local.open(asked(), fifo.nodeid, os.O_RDONLY)  # natively it would wait for a writer


# --- attributes


def test_attributes_are_the_sources(source: Path, local: LocalDirectory) -> None:
    with open(write(source / "a"), "wb") as file:
        file.truncate(1 << 20)
    os.utime(source / "a", ns=(-5 * SECOND + 7, 1_700_000_000 * SECOND + 123_456_789))
    truth, told = os.stat(source / "a"), walk(local, "a").attributes
    assert (told.size, told.blocks, told.blksize) == (1 << 20, truth.st_blocks, truth.st_blksize)
    assert (told.ino, told.nlink, told.mode) == (truth.st_ino, 1, truth.st_mode)
    assert (told.uid, told.gid) == (truth.st_uid, truth.st_gid)
    assert (told.atime_ns, told.mtime_ns, told.ctime_ns) == (truth.st_atime_ns, truth.st_mtime_ns, truth.st_ctime_ns)
    assert told.atime_ns == -5 * SECOND + 7
    assert told.btime_ns is not None
    assert local.statx(asked(), walk(local, "a").nodeid).btime_ns == told.btime_ns


def test_times_are_set_one_by_one_to_the_nanosecond(source: Path, local: LocalDirectory) -> None:
    nodeid = walk(local, write(source / "a").name).nodeid
    local.setattr(asked(), nodeid, SetAttributes(atime_ns=1_000_000_001, mtime_ns=-1))
    after = local.setattr(asked(), nodeid, SetAttributes(mtime_ns=2_000_000_002))
    assert (after.atime_ns, after.mtime_ns) == (1_000_000_001, 2_000_000_002)
    after = local.setattr(asked(), nodeid, SetAttributes(atime_ns=UTIME_NOW))
    assert after.mtime_ns == 2_000_000_002
    assert after.atime_ns == after.ctime_ns


def test_times_and_owner_of_a_symlink_are_its_own(source: Path, local: LocalDirectory) -> None:
    write(source / "target")
    os.symlink("target", source / "link")
    nodeid = walk(local, "link").nodeid
    local.setattr(asked(), nodeid, SetAttributes(mtime_ns=3, atime_ns=4, uid=os.geteuid(), gid=os.getegid()))
    assert os.lstat(source / "link").st_mtime_ns == 3
    assert os.stat(source / "link").st_mtime_ns != 3


def test_mode_size_and_owner_change_the_source(source: Path, local: LocalDirectory) -> None:
    nodeid = walk(local, write(source / "a", b"abcdef").name).nodeid
    after = local.setattr(asked(), nodeid, SetAttributes(mode=stat.S_IFREG | 0o4751))
    assert stat.S_IMODE(os.stat(source / "a").st_mode) == stat.S_IMODE(after.mode) == 0o4751
    assert local.setattr(asked(), nodeid, SetAttributes(size=3)).size == 3
    assert (source / "a").read_bytes() == b"abc"
    if os.geteuid() == 0:
        after = local.setattr(asked(), nodeid, SetAttributes(gid=54321))
        assert (after.uid, after.gid) == (0, 54321)
        assert not after.mode & stat.S_ISUID  # the source clears it


def test_a_huge_truncate_is_a_sparse_file_or_efbig(source: Path, local: LocalDirectory) -> None:
    nodeid = walk(local, write(source / "a").name).nodeid
    try:
        os.truncate(write(source / "natively"), 10**15)
    except OSError as error:
        with failing(error.errno or 0):
            local.setattr(asked(), nodeid, SetAttributes(size=10**15))
    else:
        assert local.setattr(asked(), nodeid, SetAttributes(size=10**15)).size == 10**15
    with failing(errno.EFBIG):
        local.setattr(asked(), nodeid, SetAttributes(size=1 << 63))


def test_an_open_file_is_truncated_where_its_mode_has_come_to_forbid_it(source: Path, local: LocalDirectory) -> None:
    nodeid = walk(local, write(source / "a", b"abc").name).nodeid
    fh = local.open(asked(), nodeid, os.O_WRONLY).fh
    (source / "a").chmod(0)
    assert local.setattr(asked(), nodeid, SetAttributes(size=1, fh=fh)).size == 1
    local.release(asked(), nodeid, fh)


def test_statfs_is_the_sources(source: Path, local: LocalDirectory) -> None:
    truth, told = os.statvfs(source), local.statfs(asked(), ROOT)
    assert (told.blocks, told.files, told.namelen) == (truth.f_blocks, truth.f_files, truth.f_namemax)
    assert (told.bsize, told.frsize) == (truth.f_bsize, truth.f_frsize)


# --- xattrs


def test_xattrs_go_to_the_source_and_back(source: Path, local: LocalDirectory) -> None:
    nodeid = walk(local, write(source / "a").name).nodeid
    local.setxattr(asked(), nodeid, "user.x", memoryview(b"\0value"), os.XATTR_CREATE)
    with failing(errno.EEXIST):
        local.setxattr(asked(), nodeid, "user.x", memoryview(b"v"), os.XATTR_CREATE)
    with failing(errno.ENODATA):
        local.setxattr(asked(), nodeid, "user.y", memoryview(b"v"), os.XATTR_REPLACE)
    assert os.getxattr(source / "a", "user.x") == local.getxattr(asked(), nodeid, "user.x") == b"\0value"
    assert list(local.listxattr(asked(), nodeid)) == ["user.x"]
    local.removexattr(asked(), nodeid, "user.x")
    assert os.listxattr(source / "a") == []


@root_only
def test_xattrs_of_a_symlink_are_its_own(source: Path, local: LocalDirectory) -> None:
    os.symlink("target", source / "link")
    write(source / "target")
    nodeid = walk(local, "link").nodeid
    local.setxattr(asked(), nodeid, "trusted.x", memoryview(b"v"), 0)
    assert os.getxattr(source / "link", "trusted.x", follow_symlinks=False) == b"v"
    assert os.listxattr(source / "target") == []
    with failing(errno.EPERM):
        local.setxattr(asked(), nodeid, "user.x", memoryview(b"v"), 0)
    assert list(local.listxattr(asked(), nodeid)) == ["trusted.x"]
    assert list(local.listxattr(asked(uid=12345), nodeid)) == []


# --- files


def test_reads_and_writes_are_positioned(source: Path, local: LocalDirectory) -> None:
    entry, opened = local.create(making(), ROOT, "a", os.O_RDWR, 0o644)
    assert local.write(writing(), entry.nodeid, opened.fh, 3, memoryview(b"def")) == 3
    assert local.read(asked(), entry.nodeid, opened.fh, 0, 100) == b"\0\0\0def"
    assert local.read(asked(), entry.nodeid, opened.fh, 1 << 62, 100) == b""
    for method in (local.fsync, local.fsyncdir):
        method(asked(), entry.nodeid, opened.fh, True)
    local.flush(asked(), entry.nodeid, opened.fh)
    with failing(errno.EINVAL):
        local.read(asked(), entry.nodeid, opened.fh, (1 << 64) - 1, 1)
    with failing(errno.EINVAL):
        local.write(writing(), entry.nodeid, opened.fh, 1 << 63, memoryview(b"x"))
    local.release(asked(), entry.nodeid, opened.fh)
    with failing(errno.EBADF):
        local.read(asked(), entry.nodeid, opened.fh, 0, 1)


@pytest.mark.parametrize("flags", [os.O_WRONLY, os.O_WRONLY | os.O_APPEND, os.O_RDWR | os.O_APPEND | os.O_DIRECT])
def test_the_kernels_cache_may_read_and_place_what_it_writes(source: Path, local: LocalDirectory, flags: int) -> None:
    """A page of which a part is dirty is read through any descriptor, and written at the kernel's offset."""
    nodeid = walk(local, write(source / "a", b"old old old").name).nodeid
    fh = local.open(asked(), nodeid, flags).fh
    assert local.read(asked(), nodeid, fh, 0, 3) == b"old"
    local.write(writing(), nodeid, fh, 4, memoryview(b"new"))
    assert (source / "a").read_bytes() == b"old new old"
    local.release(asked(), nodeid, fh)


def test_ways_to_open_go_from_the_best_to_what_was_asked() -> None:
    assert ways_to_open(os.O_RDONLY | os.O_DIRECT | os.O_NOFOLLOW) == [os.O_RDONLY]
    assert ways_to_open(os.O_WRONLY | os.O_SYNC) == [os.O_RDWR | os.O_SYNC, os.O_WRONLY | os.O_SYNC]
    assert ways_to_open(os.O_RDWR | os.O_APPEND) == [os.O_RDWR, os.O_RDWR | os.O_APPEND]


def test_create_opens_what_another_made_meanwhile(source: Path, local: LocalDirectory) -> None:
    write(source / "a", b"theirs")
    os.mkfifo(source / "fifo")
    with failing(errno.EEXIST):
        local.create(making(), ROOT, "a", os.O_RDWR | os.O_EXCL, 0o600)
    entry, opened = local.create(making(), ROOT, "a", os.O_RDWR, 0o600)
    assert local.read(asked(), entry.nodeid, opened.fh, 0, 10) == b"theirs"
    with failing(errno.ESTALE):  # not opened: it would wait for its other end
        local.create(making(), ROOT, "fifo", os.O_RDWR, 0o600)


def test_a_file_without_a_name_lives_and_may_be_given_one(source: Path, local: LocalDirectory) -> None:
    entry, opened = local.tmpfile(making(), ROOT, os.O_RDWR, 0o640)
    local.write(writing(), entry.nodeid, opened.fh, 0, memoryview(b"hidden"))
    assert os.listdir(source) == []
    assert local.getattr(asked(), entry.nodeid, None).nlink == 0
    assert local.link(asked(), entry.nodeid, ROOT, "shown").nodeid == entry.nodeid
    local.release(asked(), entry.nodeid, opened.fh)
    assert (source / "shown").read_bytes() == b"hidden"
    assert walk(local, "shown").nodeid == entry.nodeid


def test_a_link_of_a_symlink_is_not_followed(source: Path, local: LocalDirectory) -> None:
    os.symlink("nowhere", source / "link")
    local.link(asked(), walk(local, "link").nodeid, ROOT, "other")
    assert os.readlink(source / "other") == "nowhere"
    assert os.lstat(source / "link").st_nlink == 2


def test_holes_are_punched_and_found(source: Path, local: LocalDirectory) -> None:
    mega = 1 << 20
    entry, opened = local.create(making(), ROOT, "a", os.O_RDWR, 0o600)
    local.fallocate(asked(), entry.nodeid, opened.fh, 0, 3 * mega, 0)
    assert os.stat(source / "a").st_blocks * 512 >= 3 * mega
    local.write(writing(), entry.nodeid, opened.fh, 0, memoryview(bytes(3 * mega)))
    local.fallocate(asked(), entry.nodeid, opened.fh, mega, mega, PUNCH_HOLE)
    assert local.lseek(asked(), entry.nodeid, opened.fh, 0, os.SEEK_HOLE) == mega
    assert local.lseek(asked(), entry.nodeid, opened.fh, mega, os.SEEK_DATA) == 2 * mega
    for offset in (3 * mega, (1 << 64) - 1):
        with failing(errno.ENXIO):
            local.lseek(asked(), entry.nodeid, opened.fh, offset, os.SEEK_DATA)
    with failing(errno.EINVAL):
        local.fallocate(asked(), entry.nodeid, opened.fh, 1 << 63, 1, 0)
    with failing(errno.EOPNOTSUPP):
        local.fallocate(asked(), entry.nodeid, opened.fh, 0, 1, 1 << 20)


def test_copy_file_range_copies_within_the_source(source: Path, local: LocalDirectory) -> None:
    write(source / "a", b"0123456789")
    entry = walk(local, "a")
    fh = local.open(asked(), entry.nodeid, os.O_RDONLY).fh
    other, opened = local.create(making(), ROOT, "b", os.O_RDWR, 0o600)
    copied = local.copy_file_range(asked(), entry.nodeid, fh, 2, other.nodeid, opened.fh, 1, 5, 0)
    assert copied == 5
    assert (source / "b").read_bytes() == b"\x0023456"


@root_only
@pytest.mark.parametrize("way", ["write", "fallocate", "copy"])
def test_set_user_id_does_not_survive_a_strangers_write(source: Path, local: LocalDirectory, way: str) -> None:
    nodeid = walk(local, write(source / "a", b"program").name).nodeid
    (source / "a").chmod(0o6777)
    stranger = writing(WriteFlags.FUSE_WRITE_KILL_SUIDGID, uid=12345, gid=12345)
    fh = local.open(asked(), nodeid, os.O_RDWR).fh
    if way == "write":
        local.write(stranger, nodeid, fh, 0, memoryview(b"evil"))
    elif way == "fallocate":
        local.fallocate(stranger, nodeid, fh, 0, 100, 0)
    else:
        local.copy_file_range(stranger, nodeid, fh, 0, nodeid, fh, 4, 3, 0)
    assert stat.S_IMODE(os.stat(source / "a").st_mode) == 0o777


@root_only
def test_set_user_id_survives_roots_write(source: Path, local: LocalDirectory) -> None:
    nodeid = walk(local, write(source / "a").name).nodeid
    (source / "a").chmod(0o6777)
    local.write(writing(), nodeid, local.open(asked(), nodeid, os.O_RDWR).fh, 0, memoryview(b"x"))
    assert stat.S_IMODE(os.stat(source / "a").st_mode) == 0o6777


@contextmanager
def append_only(file: Path) -> Iterator[None]:
    """Set the flag of chattr +a for a while."""
    with open(file, "rb") as opened:
        try:
            flags = int.from_bytes(fcntl.ioctl(opened, FS_IOC_GETFLAGS, bytes(8)), sys.byteorder)
            fcntl.ioctl(opened, FS_IOC_SETFLAGS, (flags | FS_APPEND_FL).to_bytes(8, sys.byteorder))
        except OSError as error:
            pytest.skip(f"the temporary directory has no append-only files: {error.strerror}")
        try:
            yield
        finally:
            fcntl.ioctl(opened, FS_IOC_SETFLAGS, flags.to_bytes(8, sys.byteorder))


@root_only
def test_an_append_only_file_can_be_appended_to(source: Path, local: LocalDirectory) -> None:
    with append_only(write(source / "log", b"one ")):
        nodeid = walk(local, "log").nodeid
        with failing(errno.EPERM):
            local.open(asked(), nodeid, os.O_WRONLY)
        fh = local.open(asked(), nodeid, os.O_WRONLY | os.O_APPEND).fh
        local.write(writing(), nodeid, fh, 4, memoryview(b"two"))
    assert (source / "log").read_bytes() == b"one two"


# --- directories


def test_a_listing_has_names_types_and_numbers(source: Path, local: LocalDirectory) -> None:
    write(source / "file")
    (source / "dir").mkdir()
    os.symlink("x", source / "link")
    os.mkfifo(source / "fifo")
    fh = local.opendir(asked(), ROOT, 0).fh
    plain = {dirent.name: dirent for dirent in local.readdir(asked(), ROOT, fh, 0)}
    assert {name: stat.filemode(dirent.type)[0] for name, dirent in plain.items()} == {
        ".": "d", "..": "d", "file": "-", "dir": "d", "link": "l", "fifo": "p",
    }  # fmt: skip
    plus = {dirent.name: dirent for dirent in local.readdirplus(asked(), ROOT, fh, 0)}
    assert {name: (it.type, it.ino) for name, it in plus.items()} == {
        name: (it.type, it.ino) for name, it in plain.items()
    }
    assert plus["."].entry is None
    assert plus["."].ino == plus[".."].ino == os.stat(source).st_ino  # nothing above is told of
    entry = plus["file"].entry
    assert entry is not None
    assert entry.nodeid == walk(local, "file").nodeid


def test_the_parent_of_a_directory_is_told(source: Path, local: LocalDirectory) -> None:
    (source / "outer/inner").mkdir(parents=True)
    nodeid = walk(local, "outer", "inner").nodeid
    fh = local.opendir(asked(), nodeid, 0).fh
    inos = {dirent.name: dirent.ino for dirent in local.readdir(asked(), nodeid, fh, 0)}
    assert inos == {".": os.stat(source / "outer/inner").st_ino, "..": os.stat(source / "outer").st_ino}


def test_a_listing_goes_on_after_any_name(source: Path, local: LocalDirectory) -> None:
    for number in range(20):
        write(source / str(number))
    fh = local.opendir(asked(), ROOT, 0).fh
    whole = list(local.readdir(asked(), ROOT, fh, 0))
    assert len(whole) == 22
    for dirent in whole:
        rest = local.readdir(asked(), ROOT, fh, dirent.offset)
        assert [it.name for it in rest] == [it.name for it in whole[dirent.offset :]]


def names(dirents: list[Dirent]) -> set[str]:
    return {dirent.name for dirent in dirents} - {".", ".."}


def test_a_listing_is_taken_anew_when_it_is_rewound(source: Path, local: LocalDirectory) -> None:
    write(source / "old")
    fh = local.opendir(asked(), ROOT, 0).fh
    assert names(list(local.readdir(asked(), ROOT, fh, 0))) == {"old"}
    write(source / "new")
    assert names(list(local.readdir(asked(), ROOT, fh, 2))) == {"old"}
    (source / "old").unlink()
    assert names(list(local.readdirplus(asked(), ROOT, fh, 2))) == set()
    assert names(list(local.readdir(asked(), ROOT, fh, 0))) == {"new"}


def test_lookups_are_granted_as_names_are_taken(source: Path, local: LocalDirectory) -> None:
    for number in range(10):
        write(source / str(number))
    fh = local.opendir(asked(), ROOT, 0).fh
    listing = iter(local.readdirplus(asked(), ROOT, fh, 2))
    taken = [next(listing) for _ in range(3)]
    assert len(local._inodes) == 1 + 3
    for dirent in taken:
        assert dirent.entry is not None
        local.forget(dirent.entry.nodeid, 1)
    assert len(local._inodes) == 1


def test_a_file_is_no_directory_to_list(source: Path, local: LocalDirectory) -> None:
    nodeid = walk(local, write(source / "a").name).nodeid
    with failing(errno.ENOTDIR):
        local.opendir(asked(), nodeid, 0)
    fh = local.open(asked(), nodeid, os.O_RDONLY).fh
    with failing(errno.EBADF):
        list(local.readdir(asked(), nodeid, fh, 0))
