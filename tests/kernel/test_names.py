"""Making, removing and renaming names: what is asked of the daemon, under which locks, and what changes."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import Any

import pytest

from fusewire.embedded import Kernel
from fusewire.filesystems.memory import Memory
from fusewire.kernel import LINUX, SEED2005, Options, Process
from fusewire.kernel.vfs.attr import STATX_BASIC, STATX_CTIME
from fusewire.wire import InitFlags, RenameFlags
from hand_daemon import (
    DIRECTORY,
    FILE,
    OK,
    SYMLINK,
    HandDaemon,
    attributes,
    daemon_at,
    entry,
    errno_of,
    error_of,
    hand_daemon,
    process,
)

NOREPLACE, EXCHANGE = RenameFlags.RENAME_NOREPLACE, RenameFlags.RENAME_EXCHANGE
WHITEOUT = RenameFlags.RENAME_WHITEOUT
Make = Callable[[Process], Any]


def known(daemon: HandDaemon, p: Process, *paths: str, mode: int = FILE) -> None:
    """Have the kernel know names of the root, with nodeids from 10 on."""
    for nodeid, path in enumerate(paths, max(9, *daemon.superblock.inodes) + 1):
        errno_of(daemon, p.readlink(path), entry(nodeid, mode))


# Making.

MAKERS: list[tuple[Make, str, int]] = [
    (lambda p: p.mkdir("/a", 0o7777), "MKDIR 1 a", DIRECTORY),
    (lambda p: p.mknod("/a", 0o666), "MKNOD 1 a", FILE),
    (lambda p: p.mknod("/a", stat.S_IFIFO | 0o666), "MKNOD 1 a", stat.S_IFIFO | 0o644),
    (lambda p: p.symlink("over there", "/a"), "SYMLINK 1 a over there", SYMLINK),
]


@pytest.mark.parametrize(("make", "asked", "mode"), MAKERS)
def test_what_is_made_is_known_and_its_directory_has_changed(make: Make, asked: str, mode: int) -> None:
    daemon = hand_daemon()
    p = process(daemon)
    daemon.superblock.root_inode.invalid = 0
    version = daemon.superblock.root_inode.version
    daemon.call(make(p), errno.ENOENT, entry(2, mode))
    assert daemon.asked == ["LOOKUP 1 a", asked]
    assert daemon.superblock.root.child(b"a").inode is daemon.superblock.inodes[2]  # type: ignore[union-attr]
    assert daemon.superblock.inodes[2].nlookup == 1
    assert daemon.superblock.root_inode.invalid & STATX_BASIC == STATX_BASIC
    assert daemon.superblock.root_inode.version == version + 1


@pytest.mark.parametrize(("make", "asked", "mode"), MAKERS)
def test_what_exists_is_not_made_and_the_daemon_has_the_last_word_on_that(make: Make, asked: str, mode: int) -> None:
    daemon = hand_daemon()
    p = process(daemon)
    known(daemon, p, "/a")
    assert errno_of(daemon, make(p), entry(10)) == errno.EEXIST
    assert daemon.asked == ["LOOKUP 1 a"]
    assert errno_of(daemon, make(p), errno.ENOENT, errno.ENOENT, errno.EEXIST) == errno.EEXIST
    assert daemon.asked[2:3] == [asked]
    assert daemon.superblock.root.child(b"a") is None


@pytest.mark.parametrize(("make", "asked", "mode"), MAKERS)
@pytest.mark.parametrize("nodeid", [0, 1, 2])
def test_a_reply_that_makes_nothing_is_refused(make: Make, asked: str, mode: int, nodeid: int) -> None:
    daemon = hand_daemon()
    wrong = stat.S_IFBLK if nodeid == 2 else mode
    assert errno_of(daemon, make(process(daemon)), errno.ENOENT, entry(nodeid, wrong)) == errno.EIO
    assert daemon.asked == ["LOOKUP 1 a", asked]
    assert list(daemon.superblock.inodes) == [1]


@pytest.mark.parametrize(("make", "asked", "mode"), MAKERS)
def test_who_makes_holds_the_directory_alone(make: Make, asked: str, mode: int) -> None:
    daemon = hand_daemon()
    first, second = (daemon.start(make(process(daemon))) for _ in range(2))
    daemon.answer(daemon.read(), errno.ENOENT)
    daemon.answer(daemon.read(), errno.EACCES)
    assert daemon.asked == ["LOOKUP 1 a", asked]
    assert isinstance(first.result, PermissionError)
    assert daemon.superblock.root_inode.rwsem.holders == {second: False}


@pytest.mark.parametrize(("flags", "mode"), [(0, 0o705), (InitFlags.FUSE_DONT_MASK, 0o777)])
def test_the_umask_is_taken_off_by_the_kernel_unless_the_daemon_wants_to(flags: int, mode: int) -> None:
    daemon = hand_daemon(flags)
    p = process(daemon)
    p.umask_ = 0o072
    body = daemon.last(p.mkdir("/d"), errno.ENOENT, entry(2, DIRECTORY)).body
    assert (body.mode, body.umask) == (mode, 0o072)
    body = daemon.last(p.mknod("/f", 0o777), errno.ENOENT, entry(3)).body
    assert (body.mode, body.umask) == (stat.S_IFREG | mode, 0o072)


def test_a_directory_is_made_with_permissions_and_sticky_bit_alone() -> None:
    daemon = hand_daemon(InitFlags.FUSE_DONT_MASK)
    body = daemon.last(process(daemon).mkdir("/d", 0o47777), errno.ENOENT, entry(2, DIRECTORY)).body
    assert body.mode == 0o1777


def test_a_device_has_a_number_and_nothing_else_has() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    device = os.makedev(300, 70000)
    body = daemon.last(p.mknod("/c", stat.S_IFCHR, device), errno.ENOENT, entry(2, stat.S_IFCHR)).body
    assert body.rdev == device
    body = daemon.last(p.mknod("/s", stat.S_IFSOCK, device), errno.ENOENT, entry(3, stat.S_IFSOCK)).body
    assert body.rdev == 0


def test_devices_are_for_root_and_directories_are_not_made_by_mknod() -> None:
    daemon = hand_daemon()
    user = process(daemon, uid=1000)
    assert errno_of(daemon, user.mknod("/c", stat.S_IFCHR, 5), errno.ENOENT) == errno.EPERM
    assert errno_of(daemon, user.mknod("/d", stat.S_IFDIR)) == errno.EPERM
    assert errno_of(daemon, user.mknod("/l", stat.S_IFLNK)) == errno.EINVAL
    daemon.call(user.mknod("/w", stat.S_IFCHR, 0), errno.ENOENT, entry(2, stat.S_IFCHR))  # a whiteout


def test_a_program_of_a_group_that_is_not_his_is_not_made_by_a_user() -> None:
    daemon = hand_daemon(options=Options(allow_other=True, rootmode=0o042777))
    user = process(daemon, uid=1000)
    body = daemon.last(user.mknod("/f", 0o2755), errno.ENOENT, entry(2)).body
    assert body.mode == stat.S_IFREG | 0o755
    body = daemon.last(process(daemon).mknod("/g", 0o2755), errno.ENOENT, entry(3)).body
    assert body.mode == stat.S_IFREG | 0o2755


@pytest.mark.parametrize("path", ["/", "/.", "/..", "//"])
def test_what_has_no_name_is_not_made(path: str) -> None:
    daemon = hand_daemon()
    p = process(daemon)
    assert errno_of(daemon, p.mkdir(path)) == errno.EEXIST
    assert errno_of(daemon, p.symlink("x", path)) == errno.EEXIST


def test_a_slash_after_a_name_is_for_directories() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    daemon.call(p.mkdir("/d/"), errno.ENOENT, entry(2, DIRECTORY))
    assert errno_of(daemon, p.mknod("/f/"), errno.ENOENT) == errno.ENOENT
    assert errno_of(daemon, p.symlink("x", "/s/"), errno.ENOENT) == errno.ENOENT


@pytest.mark.parametrize(("target", "code"), [("", errno.ENOENT), ("x" * 4096, errno.ENAMETOOLONG)])
def test_a_symlink_says_something_and_not_too_much(target: str, code: int) -> None:
    daemon = hand_daemon()
    error = error_of(daemon, process(daemon).symlink(target, "/s"))
    assert (error.errno, error.filename, error.filename2) == (code, target, "/s")


# Links.


def test_a_second_name_holds_directory_and_file_and_counts_a_lookup() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    known(daemon, p, "/a")
    task = daemon.start(p.link("/a", "/b"))
    daemon.answer(daemon.read(), errno.ENOENT)
    message = daemon.read()
    inode = daemon.superblock.inodes[10]
    assert inode.rwsem.owner is daemon.superblock.root_inode.rwsem.owner is task
    assert (message.header.nodeid, message.names, message.body.oldnodeid) == (1, (b"b",), 10)
    daemon.answer(message, entry(10, nlink=2))
    assert (inode.nlookup, inode.aliases, inode.attr.nlink) == (2, 2, 2)


def test_what_has_no_name_left_gets_none() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    errno_of(daemon, p.readlink("/a"), entry(10, nlink=0))
    assert errno_of(daemon, p.link("/a", "/b"), errno.ENOENT) == errno.ENOENT


def test_a_directory_has_one_name() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    known(daemon, p, "/d", mode=DIRECTORY)
    with pytest.raises(PermissionError) as caught:
        daemon.call(p.link("/d", "/e"), errno.ENOENT)
    assert (caught.value.filename, caught.value.filename2) == ("/d", "/e")


def test_a_daemon_without_links_is_asked_once() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    known(daemon, p, "/a")
    assert errno_of(daemon, p.link("/a", "/b"), errno.ENOENT, errno.ENOSYS) == errno.EPERM
    assert errno_of(daemon, p.link("/a", "/b"), errno.ENOENT) == errno.EPERM


def test_a_symlink_itself_is_linked_unless_a_directory_is_named() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    daemon.call(p.link("/s", "/t"), entry(10, SYMLINK), errno.ENOENT, entry(10, SYMLINK))
    assert daemon.asked == ["LOOKUP 1 s", "LOOKUP 1 t", "LINK 1 t"]
    fd = daemon.call(p.open("/", os.O_RDONLY), errno.ENOSYS)
    daemon.call(p.link("s", "/u", src_dir_fd=fd), b"f", entry(11), errno.ENOENT, entry(11))
    assert daemon.asked == ["READLINK 10", "LOOKUP 1 f", "LOOKUP 1 u", "LINK 1 u"]


def test_others_files_are_not_linked_by_who_may_not_write_them() -> None:
    daemon = hand_daemon(options=Options(allow_other=True, default_permissions=True, rootmode=0o040777))
    daemon.superblock.root_inode.accept(entry(1, 0o040777).attr, 1e9, 0)
    user, owner = process(daemon, uid=1000), process(daemon, uid=1001)
    errno_of(daemon, user.readlink("/a"), entry(10, stat.S_IFREG | 0o644, uid=1001))
    assert errno_of(daemon, user.link("/a", "/b"), errno.ENOENT, attributes(10, FILE, uid=1001)) == errno.EPERM
    daemon.call(owner.link("/a", "/b"), errno.ENOENT, entry(10, stat.S_IFREG | 0o644, uid=1001))


# Removing.


@pytest.mark.parametrize(
    ("path", "unlink", "rmdir"),
    [
        ("/", errno.EISDIR, errno.EBUSY),
        ("/.", errno.EISDIR, errno.EINVAL),
        ("/..", errno.EISDIR, errno.ENOTEMPTY),
    ],
)
def test_what_has_no_name_is_not_removed(path: str, unlink: int, rmdir: int) -> None:
    daemon = hand_daemon()
    p = process(daemon)
    assert errno_of(daemon, p.unlink(path)) == unlink
    assert errno_of(daemon, p.rmdir(path)) == rmdir
    assert daemon.asked == []


def test_directories_and_files_are_removed_each_by_its_own_call() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    known(daemon, p, "/d", mode=DIRECTORY)
    known(daemon, p, "/f")
    assert errno_of(daemon, p.unlink("/d")) == errno.EISDIR
    assert errno_of(daemon, p.unlink("/d/")) == errno.EISDIR
    assert errno_of(daemon, p.unlink("/f/")) == errno.ENOTDIR
    assert errno_of(daemon, p.rmdir("/f")) == errno.ENOTDIR
    assert daemon.asked == []
    daemon.call(p.rmdir("/d/"), OK)
    daemon.call(p.remove("/f"), OK)


def test_unlink_holds_directory_and_file_and_both_have_changed() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    errno_of(daemon, p.readlink("/f"), entry(10, nlink=2))
    errno_of(daemon, p.readlink("/g"), entry(10, nlink=2))
    inode, root = daemon.superblock.inodes[10], daemon.superblock.root_inode
    root.invalid = 0
    version = inode.attr_version
    task = daemon.start(p.unlink("/f"))
    message = daemon.read()
    assert root.rwsem.owner is inode.rwsem.owner is task
    daemon.answer(message)
    assert inode.attr.nlink == 1
    assert inode.invalid & STATX_CTIME
    assert inode.attr_version > version
    assert root.invalid & STATX_BASIC == STATX_BASIC
    assert daemon.superblock.root.child(b"f") is None


def test_kernel_txt_passes_the_directorys_lock_over() -> None:
    for profile in (LINUX, SEED2005):
        daemon = hand_daemon(profile=profile)
        task = daemon.start(process(daemon).unlink("/f"))
        daemon.answer(daemon.read(), entry(10))
        assert daemon.superblock.inodes[10].rwsem.owner is task
        assert (daemon.superblock.root_inode.rwsem.owner is task) is profile.parent_semaphore


@pytest.mark.parametrize(("code", "kept"), [(errno.EACCES, True), (errno.ENOENT, False), (errno.EINTR, False)])
def test_a_refused_removal_keeps_the_name_unless_it_may_be_gone(code: int, kept: bool) -> None:
    daemon = hand_daemon()
    p = process(daemon)
    known(daemon, p, "/f")
    assert errno_of(daemon, p.unlink("/f"), code) == code
    assert (daemon.superblock.root.child(b"f") is not None) is kept


def test_a_file_that_is_open_outlives_its_name() -> None:
    from fusewire.wire import OpenOut

    daemon = hand_daemon()
    p = process(daemon)
    fd = daemon.call(p.open("/f", 0), entry(10), OpenOut())
    daemon.call(p.unlink("/f"), OK)
    daemon.pending()
    assert daemon.asked == ["UNLINK 1 f"]
    daemon.call(p.close(fd), errno.ENOSYS, OK)
    assert daemon.asked[-1] == "FORGET 10 1"


# Renaming.


def test_a_rename_within_a_directory_locks_it_and_the_files() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    known(daemon, p, "/a", "/b")
    task = daemon.start(p.rename("/a", "/b"))
    daemon.answer(daemon.read(), entry(11))
    message = daemon.read()
    assert daemon.asked[-2:] == ["LOOKUP 1 b", "RENAME 1 a b"]
    assert message.body.newdir == 1
    locked = [daemon.superblock.inodes[nodeid].rwsem for nodeid in (1, 10, 11)]
    assert all(lock.owner is task for lock in locked)
    assert daemon.superblock.rename_mutex.owner is None
    daemon.answer(message)
    daemon.pending()
    assert daemon.asked[-1] == "FORGET 11 2"
    assert [child.name for child in (daemon.superblock.root.children or {}).values()] == [b"b"]


def test_a_rename_between_directories_takes_the_mutex_and_the_upper_directory_first() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    known(daemon, p, "/d", mode=DIRECTORY)
    task = daemon.start(p.rename("/d/x", "/x"))
    daemon.answer(daemon.read(), entry(20, DIRECTORY))
    daemon.answer(daemon.read(), errno.ENOENT)
    daemon.read()
    assert daemon.asked[-3:] == ["LOOKUP 10 x", "LOOKUP 1 x", "RENAME 10 x x"]
    locks = [daemon.superblock.rename_mutex, *(daemon.superblock.inodes[n].rwsem for n in (1, 10, 20))]
    assert [lock.owner for lock in locks] == [task] * 4


def test_a_renamed_directory_takes_what_is_below_it_along() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    known(daemon, p, "/d", mode=DIRECTORY)
    errno_of(daemon, p.readlink("/d/f"), entry(20))
    daemon.call(p.rename("/d", "/e"), errno.ENOENT, OK)
    assert errno_of(daemon, p.readlink("/e/f")) == errno.EINVAL
    assert daemon.asked == []


@pytest.mark.parametrize(
    ("src", "dst", "code"),
    [
        ("/d", "/d/x", errno.EINVAL),
        ("/d", "/d/e/x", errno.EINVAL),
        ("/d/e", "/d", errno.ENOTEMPTY),
        ("/f", "/d", errno.EISDIR),
        ("/d", "/f", errno.ENOTDIR),
        ("/f/", "/x", errno.ENOTDIR),
        ("/f", "/x/", errno.ENOTDIR),
        ("/.", "/x", errno.EBUSY),
        ("/f", "/d/..", errno.EBUSY),
        ("/", "/x", errno.EBUSY),
        ("/none", "/x", errno.ENOENT),
    ],
)
def test_a_rename_that_cannot_be_is_not_sent(src: str, dst: str, code: int) -> None:
    kernel = Kernel(Memory())
    p = kernel.process()
    p.makedirs("/d/e")
    p.mknod("/f")
    p.mknod("/d/e/full")
    with pytest.raises(OSError, match=os.strerror(code)) as caught:
        p.rename(src, dst)
    assert (caught.value.errno, caught.value.filename, caught.value.filename2) == (code, src, dst)
    assert "RENAME" not in [request.name for request in kernel.requests]


def test_two_names_of_one_file_are_left_as_they_are() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    errno_of(daemon, p.readlink("/a"), entry(10))
    daemon.call(p.rename("/a", "/b"), entry(10))
    assert daemon.asked == ["LOOKUP 1 b"]


@pytest.mark.parametrize("flags", [8, NOREPLACE | EXCHANGE, WHITEOUT | EXCHANGE])
def test_flags_that_do_not_exist_or_exclude_each_other(flags: int) -> None:
    daemon = hand_daemon()
    assert errno_of(daemon, process(daemon).rename("/a", "/b", flags=flags)) == errno.EINVAL


def test_noreplace_does_not_replace() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    known(daemon, p, "/a", "/b")
    assert errno_of(daemon, p.rename("/a", "/b", flags=NOREPLACE), entry(11)) == errno.EEXIST
    assert errno_of(daemon, p.rename("/a", "/.", flags=NOREPLACE)) == errno.EEXIST
    daemon.call(p.rename("/a", "/c", flags=NOREPLACE), errno.ENOENT, OK)
    assert daemon.asked == ["LOOKUP 1 c", "RENAME2 1 a c"]


def test_exchange_changes_places() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    known(daemon, p, "/a")
    known(daemon, p, "/d", mode=DIRECTORY)
    daemon.call(p.rename("/a", "/d", flags=EXCHANGE), OK)
    children = daemon.superblock.root.children or {}
    assert [children[name].positive.nodeid for name in (b"a", b"d")] == [11, 10]
    assert errno_of(daemon, p.rename("/a", "/none", flags=EXCHANGE), errno.ENOENT) == errno.ENOENT


def test_flags_need_a_daemon_that_knows_them() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    known(daemon, p, "/a")
    assert errno_of(daemon, p.rename("/a", "/b", flags=WHITEOUT), errno.ENOENT, errno.ENOSYS) == errno.EINVAL
    assert errno_of(daemon, p.rename("/a", "/b", flags=WHITEOUT), errno.ENOENT) == errno.EINVAL
    daemon.call(p.rename("/a", "/b"), errno.ENOENT, OK)


@pytest.mark.parametrize("code", [errno.EINTR, errno.ENOENT, errno.EACCES])
def test_an_interrupted_rename_leaves_neither_name_known(code: int) -> None:
    daemon = hand_daemon()
    p = process(daemon)
    known(daemon, p, "/a", "/b")
    assert errno_of(daemon, p.rename("/a", "/b"), entry(11), code) == code
    known_still = [name for name in (b"a", b"b") if daemon.superblock.root.child(name) is not None]
    assert known_still == ([b"a", b"b"] if code == errno.EACCES else [])


def test_names_do_not_cross_mounts() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    daemon.call(p.chdir("/m"), entry(2, DIRECTORY), errno.ENOSYS)
    inner = daemon_at(daemon.system, p.cwd)
    known(daemon, p, "/a")
    assert errno_of(daemon, p.rename("/a", "/m/a")) == errno.EXDEV
    assert errno_of(inner, p.link("/a", "/m/a"), errno.ENOENT) == errno.EXDEV
    assert inner.asked == ["LOOKUP 1 a"]


# A mount that is read only.


def test_nothing_changes_on_a_mount_that_is_read_only_but_other_errors_come_first() -> None:
    daemon = hand_daemon(options=Options(allow_other=True, read_only=True))
    p = process(daemon)
    known(daemon, p, "/a")
    assert errno_of(daemon, p.unlink("/a")) == errno.EROFS
    assert errno_of(daemon, p.rmdir("/a")) == errno.EROFS
    assert errno_of(daemon, p.rename("/a", "/b")) == errno.EROFS
    assert daemon.asked == []
    assert errno_of(daemon, p.mkdir("/a"), entry(10)) == errno.EEXIST
    assert errno_of(daemon, p.mkdir("/b"), errno.ENOENT) == errno.EROFS


# Symlinks that are remembered.


@pytest.mark.parametrize(("flags", "times"), [(0, 2), (InitFlags.FUSE_CACHE_SYMLINKS, 1)])
def test_what_a_symlink_says_is_remembered_only_if_that_was_agreed(flags: int, times: int) -> None:
    daemon = hand_daemon(flags)
    p = process(daemon)
    assert daemon.call(p.readlink("/s"), entry(2, SYMLINK), b"there") == "there"
    assert daemon.asked == ["LOOKUP 1 s", "READLINK 2"]
    assert daemon.call(p.readlink("/s"), *[b"there"] * (times - 1)) == "there"
    assert daemon.asked == ["READLINK 2"] * (times - 1)


def test_two_who_read_a_remembered_symlink_ask_once() -> None:
    daemon = hand_daemon(InitFlags.FUSE_CACHE_SYMLINKS)
    known(daemon, process(daemon), "/x", mode=FILE)
    errno_of(daemon, process(daemon).readlink("/s"), entry(2, SYMLINK), errno.EIO)
    calls = [daemon.start(process(daemon).readlink("/s")) for _ in range(2)]
    (message,) = daemon.pending()
    daemon.answer(message, b"there")
    assert [task.result for task in calls] == [b"there".decode()] * 2


def test_what_os_builds_of_these() -> None:
    kernel = Kernel(Memory())
    p = kernel.process()
    p.makedirs("/a/b/c")
    with pytest.raises(FileExistsError):
        p.makedirs("/a/b")
    p.makedirs("/a/b", exist_ok=True)
    p.renames("/a/b/c", "/x/y/z")
    p.lstat("/x/y/z")
    with pytest.raises(FileNotFoundError):
        p.lstat("/a")
    p.removedirs("/x/y/z")
    with pytest.raises(FileNotFoundError):
        p.lstat("/x")
