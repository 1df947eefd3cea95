"""What is remembered of a name, for how long, and when the daemon is asked again."""

from __future__ import annotations

import errno
import stat

import pytest

from fusewire.kernel.operations.direntplus import link_direntplus
from fusewire.kernel.operations.lookup import lookup
from fusewire.kernel.profile import SEED2005
from fusewire.wire import EntryOut, InitFlags
from hand_daemon import DIRECTORY, FILE, HandDaemon, attributes, entry, errno_of, hand_daemon, process
from watched_mounts import WatchedMount

NOTHING = EntryOut(entry_valid=10)


def find(daemon: HandDaemon, name: bytes = b"f", *answers: object) -> None:
    """Look a name of the root up, and let go of it."""

    async def look_it_up() -> None:
        (await lookup(daemon.superblock.root, name)).put()

    daemon.call(look_it_up(), *answers)  # type: ignore[arg-type]


def test_a_name_is_looked_up_once_while_it_holds() -> None:
    daemon = hand_daemon()
    find(daemon, b"f", entry(2, valid=10))
    assert daemon.asked == ["LOOKUP 1 f"]
    daemon.clock.advance(9)
    find(daemon)
    assert daemon.asked == []


def test_a_name_that_has_expired_is_looked_up_again_and_lives_on() -> None:
    daemon = hand_daemon()
    find(daemon, b"f", entry(2, valid=10))
    daemon.clock.advance(10)
    find(daemon, b"f", entry(2, valid=10))
    find(daemon)
    assert daemon.superblock.inodes[2].nlookup == 2


def test_a_name_without_a_timeout_is_looked_up_each_time_and_nothing_is_forgotten() -> None:
    daemon = hand_daemon()
    for count in (1, 2, 3):
        find(daemon, b"f", entry(2, valid=0))
        assert daemon.asked == ["LOOKUP 1 f"]
        assert daemon.superblock.inodes[2].nlookup == count


def test_enoent_is_never_remembered() -> None:
    daemon = hand_daemon()
    for _ in range(3):
        find(daemon, b"f", errno.ENOENT)
        assert daemon.asked == ["LOOKUP 1 f"]


def test_that_there_is_nothing_is_remembered_for_as_long_as_the_daemon_says() -> None:
    daemon = hand_daemon()
    find(daemon, b"f", NOTHING)
    find(daemon)
    daemon.clock.advance(10)
    find(daemon, b"f", NOTHING)
    assert daemon.asked == ["LOOKUP 1 f"]


def test_another_file_under_an_old_name_is_given_back_and_looked_up_once_more() -> None:
    daemon = hand_daemon()
    find(daemon, b"f", entry(2, valid=0))
    find(daemon, b"f", entry(3), entry(3))
    assert sorted(daemon.asked) == ["FORGET 2 1", "FORGET 3 1", "LOOKUP 1 f", "LOOKUP 1 f"]
    assert daemon.superblock.inodes[3].nlookup == 1


@pytest.mark.parametrize("answer", [errno.ENOENT, errno.EIO, EntryOut()])
def test_an_old_name_of_which_the_daemon_knows_nothing_is_looked_up_once_more(answer: object) -> None:
    daemon = hand_daemon()
    find(daemon, b"f", entry(2, valid=0))
    find(daemon, b"f", answer, errno.ENOENT)
    assert sorted(daemon.asked) == ["FORGET 2 1", "LOOKUP 1 f", "LOOKUP 1 f"]
    assert 2 not in daemon.superblock.inodes


@pytest.mark.parametrize("code", [errno.ENOMEM, errno.EINTR])
def test_an_error_that_tells_nothing_of_an_old_name_reaches_the_caller(code: int) -> None:
    daemon = hand_daemon()
    p = process(daemon)
    find(daemon, b"f", entry(2, valid=0))
    assert errno_of(daemon, p.unlink("/f"), code) == code
    assert daemon.superblock.root.child(b"f") is not None
    assert daemon.superblock.root.child(b"f").count == 0  # type: ignore[union-attr]


def test_another_error_of_a_new_name_reaches_the_caller() -> None:
    daemon = hand_daemon()
    assert errno_of(daemon, process(daemon).unlink("/f"), errno.EPROTO) == errno.EPROTO
    assert daemon.superblock.root.count == 2  # the mount's and the process's


@pytest.mark.parametrize("answer", [entry(1, DIRECTORY), entry(5, 0o644), entry(5, size=1 << 63)])
def test_an_entry_of_the_root_or_of_no_file_is_refused_and_not_given_back(answer: EntryOut) -> None:
    daemon = hand_daemon()
    assert errno_of(daemon, process(daemon).unlink("/f"), answer) == errno.EIO
    assert daemon.asked == ["LOOKUP 1 f"]
    assert list(daemon.superblock.inodes) == [1]


def test_a_nodeid_of_another_generation_is_another_file_and_the_old_one_is_bad() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    daemon.call(p.chdir("/d"), entry(2, DIRECTORY, valid=0), errno.ENOSYS)
    old = daemon.superblock.inodes[2]
    find(daemon, b"d", entry(2, DIRECTORY, generation=1), entry(2, DIRECTORY, generation=1))
    assert daemon.superblock.inodes[2] is not old
    assert old.nlookup == 2
    assert errno_of(daemon, p.mkdir("x")) == errno.EIO


def test_after_inc_epoch_every_name_is_asked_for_once() -> None:
    daemon = hand_daemon()
    find(daemon, b"f", entry(2))
    daemon.connection.epoch += 1
    find(daemon, b"f", entry(2))
    find(daemon)
    assert daemon.asked == []


def test_a_name_longer_than_what_was_agreed_is_not_asked_for() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    assert errno_of(daemon, p.unlink("/" + "x" * 1025)) == errno.ENAMETOOLONG
    assert errno_of(daemon, p.unlink("/" + "x" * 1024), errno.ENOENT) == errno.ENOENT


def test_a_name_that_two_look_up_at_once_is_asked_for_once() -> None:
    daemon = hand_daemon(InitFlags.FUSE_PARALLEL_DIROPS)
    calls = [daemon.start(process(daemon).readlink("/f")) for _ in range(2)]
    (message,) = daemon.pending()
    daemon.answer(message, errno.ENOENT)
    assert daemon.asked == ["LOOKUP 1 f"]
    (second,) = daemon.pending()  # ENOENT is not remembered, so the second has to ask for himself
    daemon.answer(second, entry(2))
    assert [type(task.result) for task in calls] == [FileNotFoundError, OSError]


def test_a_name_that_was_found_serves_all_who_waited_for_it() -> None:
    daemon = hand_daemon(InitFlags.FUSE_PARALLEL_DIROPS)
    calls = [daemon.start(process(daemon).chdir("/d")) for _ in range(3)]
    (message,) = daemon.pending()
    daemon.answer(message, entry(2, DIRECTORY))
    for message in daemon.pending():
        daemon.answer(message)
    assert daemon.asked == ["LOOKUP 1 d", *["ACCESS 2"] * 3]
    assert all(task.finished and task.result is None for task in calls)


@pytest.mark.parametrize(("flags", "at_once"), [(0, 1), (InitFlags.FUSE_PARALLEL_DIROPS, 2)])
def test_two_names_of_a_directory_are_looked_up_at_once_only_if_that_was_agreed(flags: int, at_once: int) -> None:
    daemon = hand_daemon(flags)
    for name in ("a", "b"):
        daemon.start(process(daemon).readlink(f"/{name}"))
    messages = daemon.pending()
    assert len(messages) == at_once
    for message in messages:
        daemon.answer(message, errno.ENOENT)
    assert len(daemon.pending()) == 2 - at_once


def test_who_revalidates_holds_no_lock() -> None:
    daemon = hand_daemon()
    find(daemon, b"f", entry(2, valid=0))
    task = daemon.start(process(daemon).readlink("/f"))
    assert daemon.superblock.root_inode.rwsem.holders == {}
    daemon.answer(daemon.read(), entry(2))
    assert task.finished


def test_who_looks_up_a_new_name_shares_the_directorys_lock() -> None:
    daemon = hand_daemon()
    task = daemon.start(process(daemon).readlink("/f"))
    assert daemon.superblock.root_inode.rwsem.holders == {task: True}


def test_a_directory_that_is_found_under_a_second_name_moves_there() -> None:
    daemon = hand_daemon()
    find(daemon, b"a", entry(2, DIRECTORY))
    dentry = daemon.superblock.root.child(b"a")
    find(daemon, b"b", entry(2, DIRECTORY))
    assert daemon.superblock.root.child(b"b") is dentry
    assert daemon.superblock.root.child(b"a") is None


def test_a_file_may_have_two_names() -> None:
    daemon = hand_daemon()
    find(daemon, b"a", entry(2))
    find(daemon, b"b", entry(2))
    assert daemon.superblock.inodes[2].aliases == 2
    assert daemon.superblock.root.child(b"a") is not daemon.superblock.root.child(b"b")


def test_a_directory_that_contains_itself_is_a_loop() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    assert errno_of(daemon, p.readlink("/d/d"), entry(2, DIRECTORY), entry(2, DIRECTORY)) == errno.ELOOP


def test_a_stale_path_is_walked_once_more_with_every_name_looked_up() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    find(daemon, b"d", entry(2, DIRECTORY))
    answers = errno.ESTALE, entry(2, DIRECTORY), entry(3)
    assert errno_of(daemon, p.readlink("/d/f"), *answers) == errno.EINVAL
    assert daemon.asked == ["LOOKUP 2 f", "LOOKUP 1 d", "LOOKUP 2 f"]
    assert errno_of(daemon, p.readlink("/x"), errno.ESTALE, errno.ESTALE) == errno.ESTALE


def test_a_lookup_renews_the_attributes_unless_we_know_better() -> None:
    daemon = hand_daemon()
    find(daemon, b"f", entry(2, valid=0, nlink=1))
    find(daemon, b"f", entry(2, valid=0, nlink=7))
    assert daemon.superblock.inodes[2].attr.nlink == 7
    task = daemon.start(process(daemon).readlink("/f"))
    message = daemon.read()
    daemon.superblock.inodes[2].bump()
    daemon.answer(message, entry(2, valid=0, nlink=8))
    assert daemon.superblock.inodes[2].attr.nlink == 7
    assert task.finished


def test_what_readdirplus_tells_is_remembered(watched: list[WatchedMount]) -> None:
    daemon = hand_daemon(InitFlags.FUSE_READDIRPLUS_AUTO)
    watched[-1].wrong = True  # no READDIRPLUS is seen
    root = daemon.superblock.root
    connection = daemon.connection

    async def link(name: bytes, told: EntryOut) -> None:
        async with root.positive.rwsem.shared():
            await link_direntplus(
                root, name, told, epoch=1, version=connection.attr_version, evict_ctr=connection.evict_ctr
            )

    daemon.call(link(b"new", entry(2)))
    daemon.call(link(b"new", entry(2)))
    assert daemon.superblock.inodes[2].nlookup == 2
    root.positive.readdirplus_advised = False
    find(daemon, b"new")
    assert daemon.asked == []
    assert root.positive.readdirplus_advised
    daemon.call(link(b"new", entry(3)))
    assert 2 not in daemon.superblock.inodes
    assert errno_of(daemon, link(b"x", entry(1, DIRECTORY))) == errno.EIO
    assert errno_of(daemon, link(b"x", entry(4, 0))) == errno.EIO


def test_the_attributes_of_a_new_file_are_not_trusted_if_another_was_forgotten_meanwhile() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    find(daemon, b"old", entry(9))
    task = daemon.start(p.stat("/f"))
    message = daemon.read()
    daemon.superblock.drop_caches()
    daemon.pending()
    daemon.answer(message, entry(2, size=3))
    daemon.answer(daemon.read(), attributes(2, size=4))
    assert daemon.asked[1:] == ["LOOKUP 1 f", "FORGET 9 1", "GETATTR 2"]
    assert task.result.st_size == 4  # type: ignore[attr-defined]


def test_a_nodeid_of_another_type_is_another_file() -> None:
    daemon = hand_daemon()
    find(daemon, b"f", entry(2, FILE, valid=0))
    find(daemon, b"f", entry(2, stat.S_IFIFO | 0o600), entry(2, stat.S_IFIFO | 0o600))
    assert stat.S_ISFIFO(daemon.superblock.inodes[2].mode)


@pytest.mark.parametrize("killed", [False, True])
def test_in_2005_only_a_kill_ends_the_wait_for_a_revalidation(killed: bool) -> None:
    daemon = hand_daemon(profile=SEED2005)
    p = process(daemon)
    daemon.call(p.stat("/f"), entry(2))
    daemon.superblock.root.child(b"f").expire()  # type: ignore[union-attr]
    task = daemon.start(p.stat("/f"))
    if killed:
        task.kill()
    else:
        task.interrupt()
    daemon.system.runner.run()
    assert task.finished is killed
    assert len(daemon.connection.pending) == (0 if killed else 1)
