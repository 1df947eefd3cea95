"""What callers see of answers that are well formed and mean nothing: found by differential/nonsense.py, on Linux."""

from __future__ import annotations

import errno
import os

import pytest

from fusewire.kernel import Options
from fusewire.kernel.operations.ioctl import FS_IOC_GETFLAGS
from fusewire.wire import (
    AttrFlags,
    EntryOut,
    InitFlags,
    IoctlOut,
    Kstatfs,
    NotifyInvalEntryOut,
    NotifyPruneOut,
    OpenOut,
    StatfsOut,
    WireStruct,
    encode_notification,
    pack_dirent,
    pack_nodeids,
)
from hand_daemon import DIRECTORY, OK, HandDaemon, attributes, entry, errno_of, hand_daemon, process

HUGE = 2**64 - 1
NOBODY = 2**32 - 1
ANY_IOCTL = 0x7A03


# Attributes.


def test_blocks_are_signed_as_a_program_knows_them() -> None:
    daemon = hand_daemon()
    found = daemon.call(process(daemon).stat("/f"), entry(2, blocks=HUGE))
    assert found.st_blocks == -1


def test_an_owner_who_is_none_is_shown_as_the_overflow_id() -> None:
    daemon = hand_daemon()
    found = daemon.call(process(daemon).stat("/f"), entry(2, uid=NOBODY, gid=NOBODY))
    assert (found.st_uid, found.st_gid) == (65534, 65534)


def test_space_is_signed_too() -> None:
    daemon = hand_daemon()
    told = StatfsOut(Kstatfs(blocks=HUGE, bfree=HUGE, bavail=HUGE, files=HUGE, ffree=HUGE, bsize=512))
    found = daemon.call(process(daemon).statvfs("/"), told)
    assert {found.f_blocks, found.f_bfree, found.f_bavail, found.f_files, found.f_ffree} == {-1}


# Names.


def test_a_name_that_becomes_a_submount_is_forgotten_and_looked_up_again() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    daemon.call(p.stat("/d"), entry(2, DIRECTORY, valid=0))
    daemon.call(
        p.stat("/d"),
        entry(2, DIRECTORY, valid=0, flags=AttrFlags.FUSE_ATTR_SUBMOUNT),
        entry(2, DIRECTORY, valid=0),
    )
    assert [one for one in daemon.asked if one.startswith("LOOKUP")] == ["LOOKUP 1 d"] * 2
    assert "FORGET 2 1" in daemon.asked


@pytest.mark.parametrize("answer", [errno.ENOENT, EntryOut()])
def test_a_notification_finds_a_name_that_is_not_there_and_was_asked_for(answer: int | WireStruct) -> None:
    daemon = hand_daemon()
    assert errno_of(daemon, process(daemon).stat("/f"), answer) == errno.ENOENT
    message = encode_notification("INVAL_ENTRY", NotifyInvalEntryOut(1, 1), [b"f"])
    assert daemon.call(daemon.device.write(message)) == len(message)


def prune(daemon: HandDaemon, *nodeids: int) -> list[str]:
    body = NotifyPruneOut(len(nodeids))
    daemon.call(daemon.device.write(encode_notification("PRUNE", body, data=pack_nodeids(nodeids))))
    return daemon.asked


def test_a_directory_is_not_pruned_while_names_in_it_are_known() -> None:
    daemon = hand_daemon()
    assert errno_of(daemon, process(daemon).stat("/d/x"), entry(2, DIRECTORY), errno.ENOENT) == errno.ENOENT
    assert prune(daemon, 2) == []


def test_who_is_unused_without_what_was_pruned_goes_with_it() -> None:
    daemon = hand_daemon()
    daemon.call(process(daemon).stat("/d/f"), entry(2, DIRECTORY), entry(3))
    assert prune(daemon, 2, 3) == ["FORGET 2 1", "FORGET 3 1"]


def test_what_a_program_sees_of_an_odd_entry_of_a_directory() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = daemon.call(p.open("/", os.O_RDONLY | os.O_DIRECTORY), OpenOut())
    listing = pack_dirent(b"a", 2, 1, 99) + pack_dirent(b"fi\0le", 3, HUGE, 8)
    found = daemon.call(p.getdents(fd, 4096), listing)
    assert found == [(2, 1, 3, b"a"), (3, -1, 8, b"fi")]


# Stale.


def test_open_is_begun_anew_once_where_the_daemon_says_that_all_is_stale() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = daemon.call(p.open("/f", os.O_RDWR), entry(2), errno.ESTALE, entry(2), OpenOut())
    assert fd in p.files
    assert daemon.asked == ["LOOKUP 1 f", "OPEN 2", "LOOKUP 1 f", "OPEN 2"]


def test_and_not_a_second_time() -> None:
    daemon = hand_daemon()
    answers = entry(2), errno.ESTALE, entry(2), errno.ESTALE
    assert errno_of(daemon, process(daemon).open("/f", os.O_RDWR), *answers) == errno.ESTALE


# Owned by nobody.


def test_no_capability_helps_with_what_is_nobodys() -> None:
    daemon = hand_daemon(options=Options(allow_other=True, default_permissions=True))
    p = process(daemon)
    daemon.call(p.stat("/f"), attributes(1, DIRECTORY | 0o755), entry(2, 0o100600, uid=NOBODY))
    still = attributes(2, 0o100600, uid=NOBODY)
    assert errno_of(daemon, p.open("/f", os.O_RDONLY), still) == errno.EACCES
    assert errno_of(daemon, p.open("/f", os.O_WRONLY)) == errno.EACCES
    assert errno_of(daemon, p.unlink("/f")) == errno.EOVERFLOW


# IOCTL.


@pytest.mark.parametrize("result", [-4096, -5000, -(2**31)])
def test_a_result_below_every_errno_is_no_error(result: int) -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = daemon.call(p.open("/f", os.O_RDWR), entry(2), OpenOut())
    assert daemon.call(p.ioctl(fd, ANY_IOCTL), IoctlOut(result)) == result


def test_a_command_that_is_none_is_enotty() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = daemon.call(p.open("/f", os.O_RDWR), entry(2), OpenOut())
    assert errno_of(daemon, p.ioctl(fd, ANY_IOCTL), IoctlOut(-515)) == errno.ENOTTY  # ENOIOCTLCMD


def test_eagain_for_an_attribute_means_that_there_are_none_of_its_kind() -> None:
    daemon = hand_daemon()
    call = process(daemon).setxattr("/f", "user.x", b"value")
    assert errno_of(daemon, call, entry(2), errno.EAGAIN) == errno.EOPNOTSUPP


def test_flags_that_the_daemon_takes_for_a_command_of_its_own_are_sent_as_one() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = daemon.call(p.open("/f", os.O_RDWR), entry(2), OpenOut())
    no_such = IoctlOut(-515).pack() + bytes(4)  # ENOIOCTLCMD
    asked = p.ioctl(fd, FS_IOC_GETFLAGS, bytearray(8))
    assert daemon.call(asked, OpenOut(), no_such, OK, IoctlOut(3).pack() + b"flags...") == 3
    assert daemon.asked == ["OPEN 2", "IOCTL 2", "RELEASE 2", "IOCTL 2"]


# Who asks.


def test_a_daemon_that_maps_ids_is_told_only_who_makes_something() -> None:
    mapped = int(InitFlags.FUSE_ALLOW_IDMAP | InitFlags.FUSE_INIT_EXT)
    daemon = hand_daemon(mapped, options=Options(allow_other=True, default_permissions=True))
    p = process(daemon)
    daemon.start(p.mkdir("/d"))
    headers = []
    for answer in (attributes(1, DIRECTORY | 0o777), errno.ENOENT, entry(2, DIRECTORY)):
        message = daemon.read()
        headers.append((message.operation.name, message.header.uid, message.header.gid))
        daemon.answer(message, answer)
    assert headers == [("GETATTR", NOBODY, NOBODY), ("LOOKUP", NOBODY, NOBODY), ("MKDIR", 0, 0)]
