"""Mounts: on what, how many, and how they end."""

from __future__ import annotations

import errno

import pytest

from fusewire.embedded import Kernel
from fusewire.filesystems.memory import Memory
from fusewire.kernel import Options, Process
from fusewire.kernel.device import Device
from fusewire.kernel.mounting import MNT_DETACH, MNT_FORCE, mount
from fusewire.wire import InitFlags, OpenOut
from hand_daemon import DIRECTORY, OK, HandDaemon, daemon_at, entry, errno_of, hand_daemon, process

Pair = tuple[HandDaemon, HandDaemon, Process]


def two_mounts(options: Options | None = None) -> Pair:
    """A mount on the directory `m` of another, and a process in the root."""
    outer = hand_daemon()
    p = process(outer)
    outer.call(p.chdir("/m"), entry(2, DIRECTORY), errno.ENOSYS)
    inner = daemon_at(outer.system, p.cwd, options=options)
    outer.call(p.chdir("/"))
    return outer, inner, p


def has_ended(daemon: HandDaemon) -> bool:
    return not daemon.superblock.active and daemon.superblock.inodes == {}


def test_what_nobody_uses_is_unmounted_and_nothing_is_said() -> None:
    outer, inner, p = two_mounts()
    inner.call(p.mkdir("/m/d"), errno.ENOENT, entry(7, DIRECTORY))
    inner.call(p.umount("/m"))
    assert inner.asked == []
    assert has_ended(inner)
    assert not inner.connection.connected
    with pytest.raises(OSError, match="No such device"):
        inner.system.runner.call(inner.device.read(1 << 17))
    outer.call(p.chdir("/m"))
    assert p.cwd.superblock is outer.superblock


def test_a_mount_is_busy_while_a_process_is_in_it() -> None:
    outer, inner, p = two_mounts()
    q = process(outer)
    inner.call(q.chdir("/m/d"), entry(2, DIRECTORY), errno.ENOSYS)
    assert errno_of(inner, p.umount("/m")) == errno.EBUSY
    inner.call(q.chdir("/"))
    inner.call(p.umount("/m"))
    assert has_ended(inner)


def test_a_mount_is_busy_while_a_file_is_open_even_one_that_was_removed() -> None:
    _, inner, p = two_mounts()
    fd = inner.call(p.open("/m/f", 0), entry(5), OpenOut(fh=1))
    inner.call(p.unlink("/m/f"), OK)
    assert errno_of(inner, p.umount("/m")) == errno.EBUSY
    inner.call(p.close(fd), errno.ENOSYS, OK)
    inner.call(p.umount("/m"))
    assert has_ended(inner)


def test_a_mount_is_busy_while_another_stands_on_it() -> None:
    outer, inner, p = two_mounts()
    assert errno_of(outer, p.umount("/")) == errno.EBUSY
    inner.call(p.umount("/m"))
    p.cwd.put()
    outer.call(process(outer).umount("/", MNT_DETACH))
    assert outer.superblock.detached


def test_force_aborts_and_may_still_find_it_busy() -> None:
    outer, inner, p = two_mounts()
    q = process(outer)
    inner.call(q.chdir("/m/d"), entry(2, DIRECTORY), errno.ENOSYS)
    waiting = inner.start(q.mkdir("x"))
    assert errno_of(outer, p.umount("/m", MNT_FORCE)) == errno.EBUSY
    assert waiting.result.errno == errno.ECONNABORTED  # type: ignore[attr-defined]
    assert inner.superblock.active
    outer.call(q.chdir("/"))
    outer.call(p.umount("/m", MNT_FORCE))
    assert has_ended(inner)


def test_a_detached_mount_is_found_no_more_and_ends_with_its_last_user() -> None:
    outer, inner, p = two_mounts()
    q = process(outer)
    inner.call(q.chdir("/m/d"), entry(2, DIRECTORY), errno.ENOSYS)
    inner.call(p.umount("/m", MNT_DETACH))
    assert inner.superblock.active
    inner.call(q.mkdir("x"), errno.ENOENT, entry(3, DIRECTORY))
    assert errno_of(outer, q.getcwd()) == errno.ENOENT
    outer.call(p.chdir("/m"))
    assert p.cwd.superblock is outer.superblock
    inner.call(q.chdir("/"))
    assert has_ended(inner)
    assert inner.asked == []


def test_a_mount_that_nobody_uses_ends_as_soon_as_it_is_detached() -> None:
    _, inner, p = two_mounts()
    inner.call(p.umount("/m", MNT_DETACH))
    assert has_ended(inner)


def test_unmounting_waits_for_what_is_unfinished() -> None:
    _, inner, p = two_mounts()
    fd = inner.call(p.open("/m/f", 0), entry(5), OpenOut(fh=1))
    task = inner.start(p.close(fd))
    inner.answer(inner.read(), errno.ENOSYS)  # FLUSH; now RELEASE is pending
    assert task.finished
    inner.call(p.umount("/m"))
    assert has_ended(inner)
    assert inner.connection.num_waiting == 0


def test_a_filesystem_on_a_block_device_is_told_of_the_end_and_waited_for() -> None:
    _, inner, p = two_mounts(Options(allow_other=True, fuseblk=True))
    task = inner.start(p.umount("/m"))
    message = inner.read()
    assert (message.operation.name, message.header.uid, message.header.pid) == ("DESTROY", 0, 0)
    task.kill()
    inner.system.runner.run()
    assert not task.finished
    inner.answer(message)
    assert task.finished
    assert has_ended(inner)


def test_a_block_device_that_was_aborted_is_told_nothing() -> None:
    _, inner, p = two_mounts(Options(allow_other=True, fuseblk=True))
    inner.call(p.umount("/m", MNT_FORCE))
    assert inner.asked == []
    assert has_ended(inner)


def test_a_mount_ends_though_init_was_never_answered() -> None:
    outer = hand_daemon()
    p = process(outer)
    outer.call(p.chdir("/m"), entry(2, DIRECTORY), errno.ENOSYS)
    superblock = mount(outer.system, Device(), Options(fuseblk=True), on=p.cwd)
    outer.call(p.chdir("/"))
    outer.call(p.umount("/m"))
    assert not superblock.active


def test_only_root_mounts_and_unmounts_and_only_what_is_mounted() -> None:
    outer, inner, p = two_mounts()
    user = process(outer, uid=1000)
    assert errno_of(outer, user.umount("/m")) == errno.EPERM
    assert errno_of(outer, user.mount(Device(), "/m")) == errno.EPERM
    assert errno_of(inner, p.umount("/m/d"), entry(2, DIRECTORY)) == errno.EINVAL
    assert errno_of(outer, p.umount("/m", 4)) == errno.EINVAL
    assert errno_of(outer, p.umount("/f"), errno.ENOENT) == errno.ENOENT


def test_a_directory_goes_on_a_directory_and_a_file_on_a_file() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    assert errno_of(daemon, p.mount(Device(), "/f"), entry(2)) == errno.ENOTDIR
    assert errno_of(daemon, p.mount(Device(), "/d", Options(rootmode=0o100000)), entry(3, DIRECTORY)) == errno.ENOTDIR
    daemon.call(p.mount(Device(), "/f", Options(rootmode=0o100000)))
    assert daemon.superblock.root.child(b"f").mounted is not None  # type: ignore[union-attr]


def test_mounts_stack_and_the_last_is_found() -> None:
    outer, inner, p = two_mounts()
    upper = outer.call(p.mount(Device(), "/m", Options(allow_other=True)))
    assert upper.covers is inner.superblock.root
    outer.call(p.umount("/m"))
    assert not upper.active
    assert inner.superblock.root.mounted is None


def test_what_stands_on_a_mountpoint_is_neither_removed_nor_renamed() -> None:
    outer, _, p = two_mounts()
    assert errno_of(outer, p.rmdir("/m")) == errno.EBUSY
    assert errno_of(outer, p.rename("/m", "/n"), errno.ENOENT) == errno.EBUSY
    assert outer.asked == ["LOOKUP 1 n"]


def test_a_mount_goes_with_the_directory_that_the_daemon_has_lost() -> None:
    outer, inner, p = two_mounts()
    outer.superblock.root.child(b"m").expire()  # type: ignore[union-attr]
    assert errno_of(outer, p.readlink("/m"), errno.ENOENT, errno.ENOENT) == errno.ENOENT
    assert has_ended(inner)
    assert inner.connection.has(InitFlags.FUSE_INIT_EXT)


def test_when_all_is_unmounted_there_is_nothing_of_any_name() -> None:
    with Kernel(Memory()) as kernel:
        process = kernel.process().awaitable
        kernel.unmount(lazy=True)
        runner = kernel.system.runner
        for call in (process.stat("/"), process.open("/a", 0), process.mkdir("/a")):
            with pytest.raises(FileNotFoundError):
                runner.call(call)
