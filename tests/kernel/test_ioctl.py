"""ioctl: what goes to the daemon, how much data with it, and what the kernel does itself."""

from __future__ import annotations

import errno
import mmap
import os
import stat
import struct

import pytest

from fusewire.kernel import Options, Process
from fusewire.kernel.operations.ioctl import FS_IOC_FSGETXATTR, FS_IOC_FSSETXATTR, FS_IOC_GETFLAGS, FS_IOC_SETFLAGS
from fusewire.kernel.syscalls.control import FIBMAP, FIGETBSZ, FIOCLEX, FIONBIO, FIONCLEX, FIONREAD, FIOQSIZE
from fusewire.wire import BmapOut, IoctlFlags, IoctlOut, OpenFlags, OpenOut
from hand_daemon import DIRECTORY, FILE, OK, HandDaemon, entry, errno_of, hand_daemon, process

WRITE, READ = 1, 2


def command(direction: int, size: int) -> int:
    return direction << 30 | size << 16 | 0x45 << 8 | 1


def opened(daemon: HandDaemon, p: Process, mode: int = FILE, **attr: int) -> int:
    daemon.call(p.lstat("/a"), entry(2, mode, **attr))
    fd: int = daemon.call(p.open("/a", os.O_RDONLY), OpenOut(7, OpenFlags.FOPEN_KEEP_CACHE))
    return fd


def reply(result: int = 0, data: bytes = b"", flags: int = 0) -> bytes:
    return IoctlOut(result, flags).pack() + data


@pytest.mark.parametrize(
    ("cmd", "sent", "room"),
    [(command(0, 0), b"", 0), (command(WRITE, 4), b"abcd", 0), (command(READ, 8), b"", 8), (command(3, 2), b"ab", 2)],
)
def test_the_number_of_the_command_says_what_is_moved(cmd: int, sent: bytes, room: int) -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p)
    task = daemon.start(p.ioctl(fd, cmd, b"abcdefgh"))
    message = daemon.read()
    body = message.body
    assert message.operation.name == "IOCTL"
    assert (body.fh, body.cmd, body.flags, body.in_size, body.out_size) == (7, cmd, 0, len(sent), room)
    assert bytes(message.data) == sent
    daemon.answer(message, reply(5, b"XY"[:room]))
    assert task.result == (b"XYcdefgh" if room else b"abcdefgh")


def test_a_number_is_passed_on_and_the_result_returned() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p)
    task = daemon.start(p.ioctl(fd, command(0, 0), 42))
    message = daemon.read()
    assert message.body.arg == 42
    daemon.answer(message, reply(5))
    assert task.result == 5


def test_a_bytearray_is_changed_in_place() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p)
    buffer = bytearray(b"abcd")
    assert daemon.call(p.ioctl(fd, command(READ, 4), buffer), reply(9, b"wxyz")) == 9
    assert buffer == b"wxyz"


def test_a_directory_is_marked() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p, DIRECTORY)
    daemon.start(p.ioctl(fd, command(0, 0)))
    assert daemon.read().body.flags == IoctlFlags.FUSE_IOCTL_DIR


def test_an_old_daemon_is_not_asked_of_directories() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p, DIRECTORY)
    object.__setattr__(daemon.connection.settings, "minor", 17)
    assert errno_of(daemon, p.ioctl(fd, command(0, 0))) == errno.ENOTTY
    assert daemon.asked == []


@pytest.mark.parametrize("answer", [errno.ENOSYS, reply(-errno.ENOSYS), errno.ENOTTY])
def test_what_the_daemon_does_not_know_is_enotty_each_time(answer: int | bytes) -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p)
    for _ in range(2):
        assert errno_of(daemon, p.ioctl(fd, command(0, 0)), answer) == errno.ENOTTY
        assert daemon.asked == ["IOCTL 2"]


def test_a_negative_result_is_an_error() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p)
    assert errno_of(daemon, p.ioctl(fd, command(0, 0)), reply(-errno.EXDEV)) == errno.EXDEV


@pytest.mark.parametrize("answer", [reply(flags=IoctlFlags.FUSE_IOCTL_RETRY), reply(data=b"too much")])
def test_retry_and_too_much_data_are_eio(answer: bytes) -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p)
    assert errno_of(daemon, p.ioctl(fd, command(READ, 4), bytes(8)), answer) == errno.EIO


def test_an_address_is_one_in_the_processs_memory() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p)
    mapping = daemon.call(p.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    daemon.call(p.store(mapping.address, b"abcd"))
    task = daemon.start(p.ioctl(fd, command(3, 4), mapping.address))
    message = daemon.read()
    assert (bytes(message.data), message.body.arg) == (b"abcd", mapping.address)
    daemon.answer(message, reply(1, b"wxyz"))
    assert task.result == 1
    assert daemon.call(p.load(mapping.address, 4)) == b"wxyz"


def test_where_there_is_no_memory_is_efault_before_or_after_the_daemon_is_asked() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p)
    assert errno_of(daemon, p.ioctl(fd, command(WRITE, 4), 0)) == errno.EFAULT
    assert daemon.asked == []
    assert errno_of(daemon, p.ioctl(fd, command(READ, 4), 0), reply(0, b"abcd")) == errno.EFAULT


def test_who_may_not_use_the_mount_may_not_ask() -> None:
    daemon = hand_daemon(options=Options(allow_other=False))
    p = process(daemon)
    fd = opened(daemon, p)
    daemon.call(p.setuid(1000))
    assert errno_of(daemon, p.ioctl(fd, command(0, 0))) == errno.EACCES
    assert daemon.asked == []


# What the kernel does itself.


def number(daemon: HandDaemon, p: Process, fd: int, cmd: int, form: str = "=i") -> int:
    (value,) = struct.unpack(form, daemon.call(p.ioctl(fd, cmd, bytes(struct.calcsize(form)))))
    return int(value)


def test_commands_that_are_the_same_for_every_file() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p, size=100, blocks=8)
    daemon.call(p.lseek(fd, 30, os.SEEK_SET))
    assert number(daemon, p, fd, FIONREAD) == 70
    assert number(daemon, p, fd, FIGETBSZ) == 4096
    assert number(daemon, p, fd, FIOQSIZE, "=q") == 4096
    assert number(daemon, p, fd, FIBMAP) == 0
    daemon.call(p.ioctl(fd, FIONBIO, struct.pack("=i", 1)))
    assert daemon.call(p.get_blocking(fd)) is False
    daemon.call(p.ioctl(fd, FIONBIO, struct.pack("=i", 0)))
    assert daemon.call(p.get_blocking(fd)) is True
    daemon.call(p.ioctl(fd, FIOCLEX))
    assert daemon.call(p.get_inheritable(fd)) is False
    daemon.call(p.ioctl(fd, FIONCLEX))
    assert daemon.call(p.get_inheritable(fd)) is True
    assert daemon.asked == []


def test_blocks_are_for_root() -> None:
    daemon = hand_daemon()
    p = process(daemon, uid=1000)
    fd = opened(daemon, p)
    assert errno_of(daemon, p.ioctl(fd, FIBMAP, bytes(4))) == errno.EPERM


ON_DEVICE = Options(allow_other=True, fuseblk=True, blksize=512)


def test_the_daemon_of_a_block_device_says_where_a_block_is() -> None:
    daemon = hand_daemon(options=ON_DEVICE)
    p = process(daemon)
    fd = opened(daemon, p)
    task = daemon.start(p.ioctl(fd, FIBMAP, struct.pack("=i", 3)))
    message = daemon.read()
    assert (message.operation.name, message.header.nodeid) == ("BMAP", 2)
    assert (message.body.block, message.body.blocksize) == (3, 512)
    daemon.answer(message, BmapOut(1234))
    assert task.result == struct.pack("=i", 1234)


def test_a_block_further_than_an_int_can_say_is_out_of_range() -> None:
    daemon = hand_daemon(options=ON_DEVICE)
    p = process(daemon)
    fd = opened(daemon, p)
    assert errno_of(daemon, p.ioctl(fd, FIBMAP, bytes(4)), BmapOut(1 << 31)) == errno.ERANGE
    assert errno_of(daemon, p.ioctl(fd, FIBMAP, struct.pack("=i", -1))) == errno.EINVAL


@pytest.mark.parametrize(("error", "asked"), [(errno.ENOSYS, 1), (errno.EIO, 2)])
def test_a_daemon_that_cannot_say_has_every_block_at_0_and_without_bmap_is_not_asked_again(
    error: int, asked: int
) -> None:
    daemon = hand_daemon(options=ON_DEVICE)
    p = process(daemon)
    fd = opened(daemon, p)
    for answers in ([error], [error] * (asked - 1)):
        assert daemon.call(p.ioctl(fd, FIBMAP, struct.pack("=i", 7)), *answers) == bytes(4)


@pytest.mark.parametrize("cmd", [FIONREAD, FIBMAP])
def test_of_a_directory_the_daemon_is_asked_for_those_that_are_files(cmd: int) -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p, DIRECTORY)
    assert errno_of(daemon, p.ioctl(fd, cmd, bytes(4)), errno.ENOTTY) == errno.ENOTTY


def test_a_fifo_knows_nothing() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    daemon.call(p.lstat("/a"), entry(2, stat.S_IFIFO | 0o666))
    fd = daemon.call(p.open("/a", os.O_RDWR))
    for cmd in (FS_IOC_GETFLAGS, command(0, 0)):
        assert errno_of(daemon, p.ioctl(fd, cmd)) == errno.ENOTTY
    assert daemon.asked == []


# Attributes like those of chattr(1).


@pytest.mark.parametrize(
    ("mode", "opens", "releases"), [(FILE, "OPEN", "RELEASE"), (DIRECTORY, "OPENDIR", "RELEASEDIR")]
)
def test_flags_are_asked_for_through_a_file_opened_for_that(mode: int, opens: str, releases: str) -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p, mode)
    task = daemon.start(p.ioctl(fd, FS_IOC_GETFLAGS, bytes(8)))
    message = daemon.read()
    assert (message.operation.name, message.body.flags) == (opens, os.O_RDONLY)
    daemon.answer(message, OpenOut(99))
    message = daemon.read()
    assert (message.body.fh, message.body.arg, message.body.in_size, message.body.out_size) == (99, 0, 0, 4)
    daemon.answer(message, reply(0, struct.pack("=I", 0x10)))
    message = daemon.read()
    assert (message.operation.name, message.body.fh) == (releases, 99)
    assert task.result == struct.pack("=q", 0x10)


def test_to_set_flags_the_present_ones_are_asked_for() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p)
    task = daemon.start(p.ioctl(fd, FS_IOC_SETFLAGS, struct.pack("=q", 0x10)))
    asked = []
    while not task.finished:
        message = daemon.read()
        if message.operation.name == "IOCTL":
            asked.append((message.body.cmd, bytes(message.data)))
            daemon.answer(message, reply(0, bytes(message.body.out_size)))
        else:
            daemon.answer(message, OpenOut() if message.operation.name == "OPEN" else OK)
    assert asked == [(FS_IOC_FSGETXATTR, b""), (FS_IOC_SETFLAGS, struct.pack("=I", 0x10))]
    assert task.result == struct.pack("=q", 0x10)


def test_project_numbers_travel_whole() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p)
    values = struct.pack("=5I8x", 8, 1, 2, 3, 4)
    assert daemon.call(p.ioctl(fd, FS_IOC_FSGETXATTR, bytes(28)), OpenOut(), reply(0, values), OK) == values
    answers = (OpenOut(), reply(0, values), OK, OpenOut(), reply(), OK)
    daemon.call(p.ioctl(fd, FS_IOC_FSSETXATTR, values), *answers)
    assert [name.split()[0] for name in daemon.asked].count("IOCTL") == 2


@pytest.mark.parametrize("answer", [errno.ENOSYS, reply(-errno.ENOTTY, bytes(4))])
def test_a_daemon_without_flags(answer: int | bytes) -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p)
    assert errno_of(daemon, p.ioctl(fd, FS_IOC_GETFLAGS, bytes(8)), OpenOut(), answer, OK) == errno.ENOTTY
    assert daemon.asked == ["OPEN 2", "IOCTL 2", "RELEASE 2"]


def test_an_answer_of_the_wrong_length_is_eio() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p)
    for wrong in (b"", b"ab", b"abcde", bytes(4096)):
        task = daemon.start(p.ioctl(fd, FS_IOC_GETFLAGS, bytes(8)))
        daemon.answer(daemon.read(), OpenOut())
        with pytest.raises(OSError, match="Invalid argument"):
            daemon.answer(daemon.read(), reply(0, wrong))
        daemon.answer(daemon.read())
        assert isinstance(task.result, OSError)
        assert task.result.errno == errno.EIO


def test_flags_are_set_by_the_owner_where_anything_may_be_changed() -> None:
    daemon = hand_daemon()
    p = process(daemon, uid=1000)
    fd = opened(daemon, p)
    assert errno_of(daemon, p.ioctl(fd, FS_IOC_SETFLAGS, bytes(8))) == errno.EPERM
    daemon = hand_daemon(options=Options(allow_other=True, read_only=True))
    p = process(daemon)
    assert errno_of(daemon, p.ioctl(opened(daemon, p), FS_IOC_SETFLAGS, bytes(8))) == errno.EROFS
