"""stat, chmod, chown, utime, truncate, access: what they say, and what the daemon is asked."""

from __future__ import annotations

import errno
import os
import stat
from typing import Any

import pytest

from fusewire.daemon.filesystem import Filesystem
from fusewire.daemon.request import Request
from fusewire.daemon.values import Attributes, Entry
from fusewire.embedded import Kernel
from fusewire.filesystems.memory import Memory
from fusewire.kernel.operations.attributes import AT_STATX_DONT_SYNC, AT_STATX_FORCE_SYNC, change_attributes
from fusewire.kernel.syscalls.changing import Moment
from fusewire.kernel.vfs.attr import STATX_BASIC, STATX_BTIME, STATX_MTIME, STATX_SIZE
from fusewire.kernel.vfs.inode import Inode
from fusewire.wire import Attr, InitFlags
from on_memory import OnMemory, on_memory

ALWAYS = 1e6  # seconds
SUID_SGID = 0o6755
CAPABILITIES = "GETXATTR security.capability"


# stat


def test_stat_asks_unless_the_attributes_still_hold() -> None:
    with on_memory(timeout=5.0) as on:
        on.do(on.root.stat("/f"))
        assert on.asked(on.root.stat("/f")) == []
        on.kernel.advance(4.9)
        assert on.asked(on.root.stat("/f")) == []
        on.kernel.advance(0.2)
        fd = on.do(on.root.open("/f", os.O_RDONLY))
        on.kernel.advance(5.0)
        assert on.asked(on.root.fstat(fd)) == ["GETATTR"]


def test_fstat_names_no_file_handle() -> None:
    with on_memory() as on:
        fd = on.do(on.root.open("/f", os.O_RDONLY))
        (getattr_,) = on.requests(on.root.fstat(fd))
        assert (getattr_.body.getattr_flags, getattr_.body.fh) == (0, 0)


def test_stat_shows_what_the_daemon_says_to_the_nanosecond() -> None:
    class One(Filesystem):
        def getattr(self, request: Request, nodeid: int, fh: int | None) -> Attributes:
            return Attributes(
                ino=77, mode=stat.S_IFDIR | 0o1755, nlink=3, uid=5, gid=6, size=1234, blocks=9, blksize=5000,
                atime_ns=1_500_000_001, mtime_ns=-1, ctime_ns=2_000_000_003,
            )  # fmt: skip

    kernel = Kernel(One())
    shown = run(kernel, process_of(kernel).stat("/"))
    assert (shown.st_mode, shown.st_ino, shown.st_nlink, shown.st_uid, shown.st_gid) == (0o041755, 77, 3, 5, 6)
    assert (shown.st_size, shown.st_blocks, shown.st_blksize) == (1234, 9, 4096)
    assert shown.st_dev == kernel.superblock.dev
    assert (shown.st_atime_ns, shown.st_mtime_ns, shown.st_ctime_ns) == (1_500_000_001, -1, 2_000_000_003)
    assert (shown.st_atime, shown.st_mtime) == (1.500000001, -1e-9)


def test_a_device_is_shown_by_its_number() -> None:
    with on_memory() as on:
        on.do(on.root.mknod("/dev", stat.S_IFCHR | 0o600, os.makedev(300, 70000)))
        assert on.do(on.root.stat("/dev")).st_rdev == os.makedev(300, 70000)
        assert on.do(on.root.stat("/f")).st_rdev == 0


def test_the_sticky_bit_is_shown_but_counts_only_with_default_permissions() -> None:
    for default_permissions in (False, True):
        with on_memory(default_permissions=default_permissions) as on:
            on.do(on.root.chmod("/", 0o1777))
            assert on.do(on.root.stat("/")).st_mode & stat.S_ISVTX
            counts = bool(on.kernel.superblock.root_inode.mode & stat.S_ISVTX)
            assert counts is default_permissions


def test_errors_name_the_path_or_the_descriptor() -> None:
    with on_memory() as on:
        for call, code, name in (
            (on.root.stat("/none"), errno.ENOENT, "/none"),
            (on.root.stat(b"/none"), errno.ENOENT, b"/none"),
            (on.root.stat(99), errno.EBADF, 99),
            (on.root.fstat(99), errno.EBADF, None),
            (on.root.truncate("/d", 0), errno.EISDIR, "/d"),
            (on.root.truncate("/f", -1), errno.EINVAL, "/f"),
        ):
            with pytest.raises(OSError, match=r"\[Errno") as raised:
                on.do(call)
            assert (raised.value.errno, raised.value.filename) == (code, name)


def test_nobody_but_its_owner_sees_a_mount_without_allow_other() -> None:
    with on_memory() as on:
        on.kernel.superblock.options = type(on.kernel.superblock.options)(user_id=0, group_id=0)
        assert on.error(on.root.stat("/")) is None
        assert on.error(on.user.stat("/")) == "EACCES"
        assert on.do(on.user.statvfs("/")).f_blocks == 0


# What a reply is worth.


class Odd(Filesystem):
    """A root whose attributes are what a test says."""

    attr_timeout = 0.0

    def __init__(self) -> None:
        self.told = Attributes(mode=stat.S_IFDIR | 0o755)

    def getattr(self, request: Request, nodeid: int, fh: int | None) -> Attributes:
        return self.told


@pytest.mark.parametrize("told", [Attributes(mode=stat.S_IFREG | 0o644), Attributes(mode=stat.S_IFDIR, size=1 << 63)])
def test_a_file_that_changes_its_type_or_is_impossibly_long_is_bad_for_ever(told: Attributes) -> None:
    filesystem = Odd()
    kernel = Kernel(filesystem)
    process = process_of(kernel)
    filesystem.told = told
    assert errno_of(kernel, process.stat("/")) == errno.EIO
    filesystem.told = Attributes(mode=stat.S_IFDIR | 0o755)
    assert errno_of(kernel, process.stat("/")) == errno.EIO
    assert kernel.superblock.root_inode.bad


def an_inode(on: OnMemory, mode: int = stat.S_IFREG | 0o644) -> Inode:
    return Inode(on.kernel.superblock, 50, 0, Attr(ino=50, mode=mode, size=10, nlink=1))


def test_a_reply_older_than_a_local_change_is_thrown_away() -> None:
    with on_memory() as on:
        inode = an_inode(on)
        version = on.kernel.superblock.connection.attr_version
        inode.attr.size = 99
        inode.bump()
        assert not inode.accept(Attr(mode=inode.mode, size=10), 1.0, version)
        assert inode.size == 99
        assert inode.accept(Attr(mode=inode.mode, size=10), 1.0, on.kernel.superblock.connection.attr_version)
        assert inode.size == 10
        assert inode.accept(Attr(mode=inode.mode, size=11), 1.0, 0), "what makes a file is never outdated"


def test_no_reply_counts_while_the_size_is_unstable() -> None:
    with on_memory() as on:
        inode = an_inode(on)
        inode.size_unstable = True
        assert not inode.accept(Attr(mode=inode.mode, size=1), 1.0, 0)


def test_under_writeback_size_and_times_of_files_are_ours() -> None:
    with on_memory(InitFlags.FUSE_WRITEBACK_CACHE) as on:
        for mode, kept in ((stat.S_IFREG | 0o600, True), (stat.S_IFDIR | 0o700, False)):
            inode = an_inode(on, mode)
            told = Attr(mode=mode, size=77, atime=3, mtime=4, ctime=5, nlink=2)
            on.do(settled(inode, told))
            assert (inode.attr.atime, inode.attr.nlink) == (3, 2)
            assert (inode.attr.mtime, inode.attr.ctime, inode.size) == ((0, 0, 10) if kept else (4, 5, 77))
            assert inode.stale(STATX_SIZE | STATX_MTIME) == (inode.attr_expires < 0)


async def settled(inode: Inode, told: Attr) -> None:
    await change_attributes(inode, told, 0.0, 0)


@pytest.mark.parametrize(
    ("flags", "told", "kept"),
    [
        (0, Attr(size=11), False),
        (InitFlags.FUSE_EXPLICIT_INVAL_DATA, Attr(size=11), True),
        (InitFlags.FUSE_EXPLICIT_INVAL_DATA, Attr(size=0), False),
        (InitFlags.FUSE_AUTO_INVAL_DATA, Attr(size=10), True),
        (InitFlags.FUSE_AUTO_INVAL_DATA, Attr(size=10, mtime=1), False),
    ],
)
def test_what_changed_behind_our_back_drops_pages(flags: int, told: Attr, kept: bool) -> None:
    class Ten(Memory):
        pass

    with on_memory(flags, timeout=ALWAYS, kind=Ten) as on:
        fd = on.do(on.root.open("/f", os.O_RDWR))
        on.do(on.root.write(fd, b"0123456789"))
        on.do(on.root.pread(fd, 10, 0))
        inode = on.root.file(fd).inode
        told.mode = inode.mode
        inode.attr.mtime = inode.attr.mtimensec = 0
        assert inode.pages is not None
        assert inode.pages.find(0) is not None
        on.do(settled(inode, told))
        assert (inode.pages.find(0) is not None) is kept


def test_the_last_reference_gives_back_every_lookup() -> None:
    with on_memory(timeout=ALWAYS) as on:
        on.do(on.root.stat("/f"))
        inode = next(each for nodeid, each in on.kernel.superblock.inodes.items() if nodeid != 1 and each.is_regular)
        granted, evictions = inode.nlookup, on.kernel.superblock.connection.evict_ctr
        assert granted > 0
        on.kernel.superblock.drop_caches()
        assert inode.nodeid not in on.kernel.superblock.inodes
        assert on.kernel.superblock.connection.evict_ctr > evictions
        on.do(on.root.stat("/"))  # and the daemon has read what was queued
        forgets = [request for request in on.kernel.requests if "FORGET" in request.name]
        assert forgets


# statx


def test_statx_asks_for_the_time_of_creation_until_it_is_told_that_there_is_none() -> None:
    class Without(Odd):
        pass

    kernel = Kernel(Without())
    process = process_of(kernel)
    shown = run(kernel, process.statx("/"))
    assert (shown.btime_ns, shown.mask & STATX_BTIME) == (None, 0)
    run(kernel, process.statx("/"))
    assert [request.name for request in kernel.requests[1:]] == ["STATX", "GETATTR", "GETATTR"]


def test_statx_may_insist_and_may_forbid() -> None:
    with on_memory(timeout=ALWAYS) as on:
        on.do(on.root.stat("/f"))
        assert on.asked(on.root.statx("/f", STATX_BASIC, flags=AT_STATX_FORCE_SYNC)) == ["GETATTR"]
    with on_memory() as on:
        fd = on.do(on.root.open("/f", os.O_RDONLY))
        assert on.asked(on.root.statx(fd, STATX_BASIC, flags=AT_STATX_DONT_SYNC)) == []
        assert on.error(on.root.statx("/f", flags=AT_STATX_DONT_SYNC | AT_STATX_FORCE_SYNC)) == "EINVAL"
        assert on.error(on.root.statx("/f", 0x80000000)) == "EINVAL"


# chmod, chown


def test_chmod_sends_the_mode_with_its_type() -> None:
    with on_memory() as on:
        (setattr_,) = on.requests(on.root.chmod("/f", 0o4711))
        assert (setattr_.body.valid, setattr_.body.mode) == (1, stat.S_IFREG | 0o4711)
        assert on.do(on.root.stat("/f")).st_mode == stat.S_IFREG | 0o4711


def test_a_symlink_has_no_mode_of_its_own() -> None:
    with on_memory() as on:
        on.do(on.root.symlink("f", "/l"))
        assert on.error(on.root.chmod("/l", 0o600, follow_symlinks=False)) == "ENOTSUP"
        assert on.error(on.root.chmod("/l", 0o600)) is None


def test_chmod_of_a_directory_has_its_name_looked_up_again() -> None:
    with on_memory(timeout=ALWAYS) as on:
        on.do(on.root.stat("/d"))
        on.do(on.root.chmod("/d", 0o700))
        before = len(on.kernel.requests)
        on.do(on.root.stat("/d"))
        assert [request.name for request in on.kernel.requests[before:]] == ["LOOKUP"]


@pytest.mark.parametrize(
    ("flags", "asked", "left"),
    [
        (0, [CAPABILITIES, "GETATTR", "SETATTR MODE|UID"], 0o755),
        (InitFlags.FUSE_HANDLE_KILLPRIV, [CAPABILITIES, "SETATTR UID"], None),
        (InitFlags.FUSE_HANDLE_KILLPRIV_V2, [CAPABILITIES, "SETATTR UID|KILL_SUIDGID"], 0o755),
    ],
)
def test_chown_takes_suid_and_sgid_away_unless_the_daemon_has_promised_to(
    flags: int, asked: list[str], left: int | None
) -> None:
    with on_memory(flags) as on:
        on.do(on.root.chmod("/f", SUID_SGID))
        assert on.asked(on.root.chown("/f", 7, -1)) == asked
        if left is not None:
            assert stat.S_IMODE(on.do(on.root.stat("/f")).st_mode) == left


def test_chown_of_a_directory_takes_nothing_away() -> None:
    with on_memory() as on:
        on.do(on.root.chmod("/d", 0o2755))
        assert on.asked(on.root.chown("/d", 5, 6)) == ["SETATTR UID|GID"]


def test_with_default_permissions_only_the_owner_changes_a_file() -> None:
    with on_memory(default_permissions=True) as on:
        stranger, member = on.process(1001), on.process(1000, 1000, frozenset({50}))
        assert on.error(stranger.chmod("/f", 0o666)) == "EPERM"
        assert on.error(stranger.utime("/f", (1, 2))) == "EPERM"
        assert on.error(stranger.utime("/f")) == "EACCES"
        assert on.error(on.user.chown("/f", 1001, -1)) == "EPERM"
        assert on.error(on.user.chown("/f", -1, 50)) == "EPERM"
        assert on.error(member.chown("/f", -1, 50)) is None
        assert on.error(on.user.chmod("/f", 0o600)) is None


def test_without_default_permissions_the_daemon_decides() -> None:
    with on_memory() as on:
        stranger = on.process(1001)
        assert on.asked(stranger.chmod("/f", 0o666)) == ["SETATTR MODE"]


def test_sgid_is_not_for_those_outside_the_group() -> None:
    with on_memory(default_permissions=True) as on:
        on.do(on.root.chown("/d", 1000, 50))
        on.do(on.user.chmod("/d", 0o2755))
        assert not on.do(on.root.stat("/d")).st_mode & stat.S_ISGID
        on.do(on.process(1000, 1000, frozenset({50})).chmod("/d", 0o2755))
        assert on.do(on.root.stat("/d")).st_mode & stat.S_ISGID


def test_nothing_changes_on_a_mount_that_is_read_only() -> None:
    with on_memory(read_only=True) as on:
        for call in (
            on.root.chmod("/f", 0o600),
            on.root.chown("/f", 1, 1),
            on.root.utime("/f"),
            on.root.truncate("/f", 0),
            on.root.faccessat("/f", os.W_OK),
        ):
            assert on.error(call) == "EROFS"


# Times.


@pytest.mark.parametrize(
    ("times", "asked"),
    [
        (None, ["SETATTR ATIME|MTIME|ATIME_NOW|MTIME_NOW"]),
        ((Moment.NOW, Moment.NOW), ["SETATTR ATIME|MTIME|ATIME_NOW|MTIME_NOW"]),
        ((5, 7), ["SETATTR ATIME|MTIME"]),
        ((Moment.NOW, Moment.OMIT), ["SETATTR ATIME|ATIME_NOW"]),
        ((Moment.OMIT, 7), ["SETATTR MTIME"]),
        ((5, Moment.NOW), ["SETATTR ATIME|MTIME|MTIME_NOW"]),
    ],
)
def test_utime_says_what_is_now_and_what_is_not(times: Any, asked: list[str]) -> None:
    with on_memory() as on:
        assert on.asked(on.root.utime("/f", ns=times)) == asked


def test_utime_that_omits_both_does_not_even_look_at_the_path() -> None:
    with on_memory() as on:
        before = len(on.kernel.requests)
        on.do(on.root.utime("/none", ns=(Moment.OMIT, Moment.OMIT)))
        assert len(on.kernel.requests) == before


def test_utime_sets_times_to_the_nanosecond() -> None:
    with on_memory() as on:
        on.do(on.root.utime("/f", ns=(1_000_000_001, 2_000_000_002)))
        shown = on.do(on.root.stat("/f"))
        assert (shown.st_atime_ns, shown.st_mtime_ns) == (1_000_000_001, 2_000_000_002)
        on.do(on.root.utime("/f", (1.5, -0.25)))
        shown = on.do(on.root.stat("/f"))
        assert (shown.st_atime_ns, shown.st_mtime_ns) == (1_500_000_000, -250_000_000)


# truncate


def test_truncate_says_size_and_who_may_own_locks_there() -> None:
    with on_memory() as on:
        assert on.asked(on.root.truncate("/f", 10)) == [CAPABILITIES, "SETATTR SIZE|LOCKOWNER"]
        fd = on.do(on.root.open("/f", os.O_RDWR))
        capabilities, setattr_ = on.requests(on.root.ftruncate(fd, 20))
        assert capabilities.body.size == 0
        assert setattr_.body.fh == on.root.file(fd).fh
        assert setattr_.body.valid == 0x8 | 0x40 | 0x200
        assert setattr_.body.lock_owner != 0
        assert on.do(on.root.stat("/f")).st_size == 20


def test_o_trunc_is_a_setattr_unless_open_itself_does_it() -> None:
    with on_memory() as on:
        on.do(on.root.truncate("/f", 10))
        assert on.asked(on.root.open("/f", os.O_WRONLY | os.O_TRUNC)) == [
            "OPEN",
            CAPABILITIES,
            "SETATTR SIZE|LOCKOWNER",
        ]
        assert on.do(on.root.stat("/f")).st_size == 0
    with on_memory(InitFlags.FUSE_ATOMIC_O_TRUNC) as on:
        on.do(on.root.truncate("/f", 10))
        assert on.asked(on.root.open("/f", os.O_WRONLY | os.O_TRUNC)) == ["OPEN", CAPABILITIES]


def test_under_writeback_truncate_sends_the_times_too_if_the_size_differs() -> None:
    with on_memory(InitFlags.FUSE_WRITEBACK_CACHE) as on:
        assert on.asked(on.root.truncate("/f", 10))[-1] == "SETATTR SIZE|MTIME|LOCKOWNER|CTIME"
        assert on.asked(on.root.truncate("/f", 10))[-1] == "SETATTR SIZE|LOCKOWNER"


def test_truncate_drops_the_pages_beyond() -> None:
    with on_memory(timeout=ALWAYS) as on:
        fd = on.do(on.root.open("/f", os.O_RDWR))
        on.do(on.root.write(fd, b"x" * 5000))
        on.do(on.root.ftruncate(fd, 3))
        on.do(on.root.ftruncate(fd, 6))
        assert on.do(on.root.pread(fd, 100, 0)) == b"xxx\0\0\0"


def test_truncate_by_one_without_privilege_takes_suid_away() -> None:
    with on_memory() as on:
        on.do(on.root.chmod("/f", 0o6777))
        stranger = on.process(1001)
        assert on.asked(stranger.truncate("/f", 5)) == [CAPABILITIES, "GETATTR", "SETATTR MODE|SIZE|LOCKOWNER"]
        assert stat.S_IMODE(on.do(on.root.stat("/f")).st_mode) == 0o777
    with on_memory(InitFlags.FUSE_HANDLE_KILLPRIV_V2) as on:
        assert on.asked(on.user.truncate("/f", 5))[-1] == "SETATTR SIZE|LOCKOWNER|KILL_SUIDGID"
        assert on.asked(on.root.truncate("/f", 6))[-1] == "SETATTR SIZE|LOCKOWNER"


@pytest.mark.parametrize(
    ("path", "length", "error"),
    [("/d", 0, "EISDIR"), ("/p", 0, "EINVAL"), ("/f", -1, "EINVAL"), ("/none", 0, "ENOENT")],
)
def test_what_cannot_be_truncated(path: str, length: int, error: str) -> None:
    with on_memory() as on:
        on.do(on.root.mknod("/p", stat.S_IFIFO | 0o600))
        assert on.error(on.root.truncate(path, length)) == error


def test_ftruncate_needs_a_file_that_is_open_for_writing() -> None:
    with on_memory() as on:
        reader = on.do(on.root.open("/f", os.O_RDONLY))
        path_only = on.do(on.root.open("/f", os.O_PATH))
        assert on.error(on.root.ftruncate(reader, 0)) == "EINVAL"
        assert on.error(on.root.ftruncate(path_only, 0)) == "EBADF"
        assert on.error(on.root.fchmod(path_only, 0o600)) == "EBADF"
        assert on.error(on.root.fstat(path_only)) is None


def test_a_write_by_one_without_privilege_takes_suid_away() -> None:
    with on_memory() as on:
        on.do(on.root.chmod("/f", 0o6777))
        fd = on.do(on.user.open("/f", os.O_WRONLY))
        assert on.asked(on.user.write(fd, b"x")) == [CAPABILITIES, "GETATTR", "SETATTR MODE", "WRITE"]
        assert on.asked(on.user.write(fd, b"x")) == [CAPABILITIES, "WRITE"]


def test_a_daemon_that_takes_privileges_away_is_asked_for_them_once() -> None:
    with on_memory(InitFlags.FUSE_HANDLE_KILLPRIV_V2, timeout=ALWAYS) as on:
        fd = on.do(on.user.open("/f", os.O_WRONLY))
        assert on.asked(on.user.write(fd, b"x")) == [CAPABILITIES, "WRITE"]
        assert on.asked(on.user.write(fd, b"x")) == ["WRITE"]
        on.do(on.root.chmod("/f", 0o600))
        assert on.asked(on.user.write(fd, b"x")) == [CAPABILITIES, "WRITE"]


def test_an_interrupted_change_has_the_attributes_asked_for() -> None:
    class Interrupted(Memory):
        def setattr(self, *arguments: Any, **more: Any) -> Any:
            if interrupts:
                raise InterruptedError(errno.EINTR, "interrupted")
            return super().setattr(*arguments, **more)

    interrupts = False
    with on_memory(timeout=ALWAYS, kind=Interrupted) as on:
        fd = on.do(on.root.open("/f", os.O_RDWR))
        on.do(on.root.fstat(fd))
        assert on.asked(on.root.fstat(fd)) == []
        interrupts = True
        assert on.error(on.root.fchmod(fd, 0o600)) == "EINTR"
        assert on.asked(on.root.fstat(fd)) == ["GETATTR"]


# access


class Asking(Odd):
    def access(self, request: Request, nodeid: int, mask: int) -> None:
        self.seen.append((request.uid, mask))

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, int]] = []


def test_access_asks_with_the_real_ids_unless_told_otherwise() -> None:
    filesystem = Asking()
    kernel = Kernel(filesystem, no_default_permissions())
    process = process_of(kernel)
    process.credentials.uid, process.credentials.gid = 1000, 1000
    assert run(kernel, process.access("/", os.R_OK | os.W_OK))
    assert run(kernel, process.access("/", os.F_OK, effective_ids=True))
    assert filesystem.seen == [(1000, 6), (0, 0)]
    assert process.credentials.fsuid == 0


def test_access_is_not_asked_of_a_daemon_that_does_not_know_it() -> None:
    with on_memory() as on:
        assert on.do(on.root.access("/d", os.R_OK))
        assert on.asked(on.root.access("/d", os.W_OK)) == []


def test_access_goes_by_the_mode_with_default_permissions() -> None:
    with on_memory(default_permissions=True) as on:
        stranger = on.process(1001)
        on.do(on.root.chmod("/f", 0o640))
        assert not on.do(stranger.access("/f", os.R_OK))
        assert on.error(stranger.faccessat("/f", os.R_OK)) == "EACCES"
        assert on.do(on.user.access("/f", os.R_OK | os.W_OK))
        assert on.do(on.root.access("/f", os.W_OK))
        assert not on.do(on.root.access("/f", os.X_OK)), "nobody may execute it"
        assert on.error(on.root.faccessat("/f", 8)) == "EINVAL"


# ESTALE


def test_a_stale_file_is_looked_up_once_more() -> None:
    class Stale(Filesystem):
        entry_timeout = 100.0
        attr_timeout = 0.0

        def __init__(self) -> None:
            self.lookups = 0

        def lookup(self, request: Request, parent: int, name: str) -> Entry:
            self.lookups += 1
            return Entry(10 + self.lookups, Attributes(mode=stat.S_IFREG | 0o644))

        def getattr(self, request: Request, nodeid: int, fh: int | None) -> Attributes:
            if nodeid == 11:
                raise OSError(errno.ESTALE, "stale")
            kind = stat.S_IFDIR if nodeid == 1 else stat.S_IFREG
            return Attributes(mode=kind | 0o755, ino=nodeid)

    filesystem = Stale()
    kernel = Kernel(filesystem)
    assert run(kernel, process_of(kernel).stat("/a")).st_ino in (12, 13)


def process_of(kernel: Any) -> Any:
    made = kernel.process()
    return getattr(made, "awaitable", made)


def run(kernel: Any, call: Any) -> Any:
    return kernel.run(call)


def errno_of(kernel: Any, call: Any) -> int | None:
    try:
        kernel.run(call)
    except OSError as error:
        return error.errno
    return None


def no_default_permissions() -> Any:
    from fusewire.kernel.vfs.superblock import Options

    return Options(allow_other=True)
