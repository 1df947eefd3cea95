"""Who may do what, before anything is sent and after."""

from __future__ import annotations

import errno
import stat

import pytest

from fusewire.kernel import Options
from fusewire.kernel.operations.permission import MAY_EXEC, MAY_READ, MAY_WRITE, permission
from fusewire.kernel.tasks import current
from hand_daemon import DIRECTORY, FOREVER, OK, Answer, HandDaemon, attributes, entry, errno_of, hand_daemon, process

CHECKED = Options(allow_other=True, default_permissions=True)


def checked(mode: int = 0o755, **attr: int) -> HandDaemon:
    """A mount with default_permissions, whose root has these attributes, and `f` in it."""
    daemon = hand_daemon(options=CHECKED)
    root = attributes(1, stat.S_IFDIR | 0o777, uid=0, gid=0)
    told = entry(2, mode if stat.S_IFMT(mode) else stat.S_IFREG | mode, **{"uid": 10, "gid": 20, **attr})
    errno_of(daemon, process(daemon).readlink("/f"), root, told)
    daemon.asked.clear()
    return daemon


async def ask(daemon: HandDaemon, mask: int) -> None:
    await permission(daemon.superblock.inodes[2], mask)


@pytest.mark.parametrize(
    ("mode", "uid", "gid", "groups", "mask", "granted"),
    [
        (0o400, 10, 99, [], MAY_READ, True),
        (0o400, 10, 99, [], MAY_WRITE, False),
        (0o077, 10, 20, [], MAY_READ, False),  # the owner's bits count for the owner, whatever the others say
        (0o070, 11, 20, [], MAY_READ | MAY_WRITE | MAY_EXEC, True),
        (0o070, 11, 99, [20], MAY_WRITE, True),
        (0o070, 11, 99, [21], MAY_WRITE, False),
        (0o707, 11, 20, [], MAY_READ, False),
        (0o707, 11, 99, [], MAY_READ, True),
        (0o704, 11, 99, [], MAY_READ | MAY_EXEC, False),
        (0o000, 0, 0, [], MAY_READ | MAY_WRITE, True),
        (0o000, 0, 0, [], MAY_EXEC, False),
        (0o001, 0, 0, [], MAY_EXEC, True),
        (stat.S_IFDIR, 0, 0, [], MAY_READ | MAY_WRITE | MAY_EXEC, True),
        (stat.S_IFDIR, 11, 0, [], MAY_EXEC, False),
    ],
)
def test_the_mode_decides(mode: int, uid: int, gid: int, groups: list[int], mask: int, granted: bool) -> None:
    daemon = checked(mode)
    kind = mode if stat.S_IFMT(mode) else stat.S_IFREG | mode
    p = process(daemon, uid, gid, groups)
    answers = [] if granted else [attributes(2, kind, uid=10, gid=20)]

    async def asked() -> None:
        current().process = p
        await ask(daemon, mask)

    assert errno_of(daemon, asked(), *answers) == (None if granted else errno.EACCES)


def test_a_refusal_by_attributes_that_are_old_is_not_final() -> None:
    daemon = hand_daemon(options=CHECKED)
    user = process(daemon, uid=1000)
    closed = stat.S_IFDIR | 0o700
    refused = errno_of(daemon, user.readlink("/d/f"), attributes(1, DIRECTORY), entry(2, closed), attributes(2, closed))
    assert refused == errno.EACCES
    assert daemon.asked == ["GETATTR 1", "LOOKUP 1 d", "GETATTR 2"]
    assert errno_of(daemon, user.readlink("/d/f"), attributes(2, DIRECTORY), errno.ENOENT) == errno.ENOENT
    assert daemon.asked == ["GETATTR 2", "LOOKUP 2 f"]


def test_what_was_granted_is_not_asked_for_again_while_it_holds() -> None:
    daemon = hand_daemon(options=CHECKED)
    user = process(daemon, uid=1000)
    errno_of(daemon, user.readlink("/d"), attributes(1, DIRECTORY, valid=10), errno.ENOENT)
    errno_of(daemon, user.readlink("/d"), errno.ENOENT)
    assert daemon.asked == ["LOOKUP 1 d"]
    daemon.clock.advance(10)
    errno_of(daemon, user.readlink("/d"), attributes(1, DIRECTORY, valid=FOREVER), errno.ENOENT)
    assert daemon.asked == ["GETATTR 1", "LOOKUP 1 d"]


def test_without_default_permissions_the_daemon_decides() -> None:
    daemon = hand_daemon()
    user = process(daemon, uid=1000)
    daemon.call(user.mkdir("/d/e"), entry(2, stat.S_IFDIR), errno.ENOENT, entry(3, DIRECTORY))
    assert daemon.asked == ["LOOKUP 1 d", "LOOKUP 2 e", "MKDIR 2 e"]


def test_only_its_owner_uses_a_mount_without_allow_other_not_even_root() -> None:
    daemon = hand_daemon(options=Options(user_id=1000, group_id=100))
    daemon.call(process(daemon, 1000, 100).mkdir("/d"), errno.ENOENT, entry(2, DIRECTORY))
    for stranger in (process(daemon), process(daemon, 1000, 0), process(daemon, 1001, 100)):
        assert errno_of(daemon, stranger.mkdir("/e")) == errno.EACCES
        assert errno_of(daemon, stranger.chdir("/")) == errno.EACCES
    half = process(daemon, 1000, 100)
    half.credentials.suid = 0
    assert errno_of(daemon, half.mkdir("/e")) == errno.EACCES
    assert daemon.asked == []


def test_chdir_asks_the_daemon_until_it_says_that_it_does_not_care() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    assert errno_of(daemon, p.chdir("/d"), entry(2, DIRECTORY), errno.EACCES) == errno.EACCES
    assert daemon.asked == ["LOOKUP 1 d", "ACCESS 2"]
    daemon.call(p.chdir("/d"), errno.ENOSYS)
    daemon.call(p.chdir("/d"))
    assert daemon.asked == []


def test_with_default_permissions_chdir_asks_nobody() -> None:
    daemon = hand_daemon(options=CHECKED)
    user = process(daemon, uid=1000)
    errno_of(daemon, user.chdir("/d"), attributes(1, DIRECTORY), entry(2, DIRECTORY))
    assert daemon.asked == ["GETATTR 1", "LOOKUP 1 d"]
    assert errno_of(daemon, user.chdir("/f"), entry(3)) == errno.ENOTDIR


@pytest.mark.parametrize(
    ("uid", "directory", "file", "code"),
    [
        (1000, 0, 1000, None),
        (1000, 1000, 0, None),
        (1000, 0, 0, errno.EPERM),
        (0, 5, 5, None),
    ],
)
def test_in_a_sticky_directory_one_removes_what_is_ones_own(
    uid: int, directory: int, file: int, code: int | None
) -> None:
    daemon = hand_daemon(options=CHECKED)
    root = attributes(1, stat.S_IFDIR | 0o1777, uid=directory)
    answers: list[Answer] = [root, entry(2, uid=file), *([] if code else [OK])]
    assert errno_of(daemon, process(daemon, uid=uid).unlink("/f"), *answers) == code


def test_a_sticky_bit_is_the_daemons_business_unless_the_kernel_checks() -> None:
    daemon = hand_daemon()
    root = daemon.superblock.root_inode
    root.accept(attributes(1, stat.S_IFDIR | 0o1777).attr, FOREVER, 0)
    assert not root.mode & stat.S_ISVTX
    daemon.call(process(daemon, uid=1000).unlink("/f"), entry(2), ())


def test_what_is_sent_names_the_caller() -> None:
    daemon = hand_daemon()
    p = process(daemon, uid=1000, gid=100)
    daemon.start(p.mkdir("/d"))
    header = daemon.read().header
    assert (header.uid, header.gid, header.pid) == (1000, 100, p.pid)


def test_a_bad_file_is_used_by_nobody() -> None:
    daemon = checked()
    daemon.superblock.inodes[2].bad = True
    assert errno_of(daemon, ask(daemon, MAY_READ)) == errno.EIO
