"""poll and select: what the daemon is asked, when it is to notify, and who is woken."""

from __future__ import annotations

import errno
import os
import select

import pytest

from fusewire.kernel import Process
from fusewire.kernel.operations.poll import READY
from fusewire.kernel.tasks import Task, close
from fusewire.wire import (
    NotifyPollWakeupOut,
    OpenFlags,
    OpenOut,
    PollFlags,
    PollOut,
    encode_notification,
)
from hand_daemon import DIRECTORY, OK, HandDaemon, entry, errno_of, hand_daemon, process

IN, OUT, PRI = select.POLLIN, select.POLLOUT, select.POLLPRI
ALWAYS = select.POLLERR | select.POLLHUP
SCHEDULE = PollFlags.FUSE_POLL_SCHEDULE_NOTIFY


def opened(daemon: HandDaemon, p: Process, name: str = "a", nodeid: int = 2) -> int:
    if daemon.superblock.root.child(name.encode()) is None:
        daemon.call(p.lstat(f"/{name}"), entry(nodeid))
    fd: int = daemon.call(p.open(f"/{name}", os.O_RDWR), OpenOut(nodeid, OpenFlags.FOPEN_KEEP_CACHE))
    return fd


def answered(daemon: HandDaemon, task: Task, *revents: int) -> list[int]:
    """Answer one POLL after the other; return their flags, and see that no more came."""
    flags = []
    for each in revents:
        message = daemon.read()
        assert message.operation.name == "POLL"
        flags.append(message.body.flags)
        daemon.answer(message, PollOut(each))
    assert daemon.pending() == []
    return flags


def notify(daemon: HandDaemon, kh: int) -> None:
    daemon.system.runner.call(daemon.device.write(encode_notification("POLL", NotifyPollWakeupOut(kh))))
    daemon.system.runner.run()


def test_one_look_asks_for_no_notification() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p)
    task = daemon.start(p.poll([(fd, IN)], 0))
    message = daemon.read()
    assert message.operation.name == "POLL"
    assert (message.body.fh, message.body.events, message.body.flags) == (2, IN | ALWAYS, 0)
    assert message.body.kh == p.file(fd).kh
    daemon.answer(message, PollOut(0))
    assert task.result == []
    assert not daemon.connection.polled


def test_what_is_ready_is_returned_and_only_what_was_asked_for() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p)
    assert daemon.call(p.poll([(fd, IN)]), PollOut(IN | OUT | select.POLLHUP)) == [(fd, IN | select.POLLHUP)]


def test_who_is_going_to_wait_has_the_daemon_notify_and_looks_again_then() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p)
    kh = p.file(fd).kh
    task = daemon.start(p.poll([(fd, IN)]))
    assert answered(daemon, task, 0) == [SCHEDULE]
    assert not task.finished
    notify(daemon, kh + 1)
    assert daemon.pending() == []
    notify(daemon, kh)
    assert answered(daemon, task, IN) == [SCHEDULE]
    assert task.result == [(fd, IN)]
    notify(daemon, kh)  # which nobody waits for any more
    assert daemon.pending() == []


def test_a_notification_that_comes_too_soon_is_not_lost() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p)
    task = daemon.start(p.poll([(fd, IN)]))
    message = daemon.read()
    notify(daemon, p.file(fd).kh)
    daemon.answer(message, PollOut(0))
    answered(daemon, task, IN)
    assert task.result == [(fd, IN)]


def test_once_one_is_ready_the_others_need_not_notify() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    a, b, c = (opened(daemon, p, name, nodeid) for nodeid, name in enumerate("abc", 2))
    task = daemon.start(p.poll([(a, IN), (b, IN), (c, OUT)]))
    assert answered(daemon, task, 0, IN, OUT) == [SCHEDULE, SCHEDULE, 0]
    assert task.result == [(b, IN), (c, OUT)]


def test_another_who_waits_has_the_daemon_notify_whoever_looks() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p)
    waiting = daemon.start(p.poll([(fd, IN)]))
    answered(daemon, waiting, 0)
    looking = daemon.start(p.poll([(fd, IN)], 0))
    assert answered(daemon, looking, 0) == [SCHEDULE]
    close([waiting])


def test_all_who_wait_are_woken() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p)
    tasks = [daemon.start(p.poll([(fd, IN)])) for _ in range(2)]
    answered(daemon, tasks[0], 0, 0)
    notify(daemon, p.file(fd).kh)
    answered(daemon, tasks[0], IN, IN)
    assert all(task.finished for task in tasks)


def test_the_time_is_the_systems_and_a_last_look_is_taken() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p)
    task = daemon.start(p.poll([(fd, IN)], 1500))
    answered(daemon, task, 0)
    daemon.clock.advance(1.4)
    assert daemon.pending() == []
    daemon.clock.advance(0.1)
    answered(daemon, task, 0)
    assert task.result == []


def test_a_signal_ends_the_wait_after_a_last_look() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p)
    task = daemon.start(p.poll([(fd, IN)]))
    answered(daemon, task, 0)
    task.interrupt()
    daemon.system.runner.run()
    answered(daemon, task, 0)
    assert isinstance(task.result, OSError)
    assert task.result.errno == errno.EINTR
    assert p.file(fd).references == 1


def test_what_is_ready_when_a_signal_comes_counts() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p)
    task = daemon.start(p.poll([(fd, IN)]))
    answered(daemon, task, 0)
    task.interrupt()
    daemon.system.runner.run()
    answered(daemon, task, IN)
    assert task.result == [(fd, IN)]


def test_a_file_that_is_closed_meanwhile_is_released_when_nobody_waits_for_it() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p)
    kh = p.file(fd).kh
    task = daemon.start(p.poll([(fd, IN)]))
    answered(daemon, task, 0)
    daemon.call(p.close(fd), OK)
    assert daemon.asked == ["FLUSH 2"]
    notify(daemon, kh)
    assert task.result == [(fd, select.POLLNVAL)]
    assert [message.operation.name for message in daemon.pending()] == ["RELEASE"]
    assert kh not in daemon.connection.polled


def test_an_abort_wakes_who_waits() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p)
    task = daemon.start(p.poll([(fd, IN)]))
    answered(daemon, task, 0)
    daemon.connection.abort()
    daemon.system.runner.run()
    assert task.result == [(fd, select.POLLERR)]


def test_a_daemon_without_poll_has_files_that_are_always_ready() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p)
    assert daemon.call(p.poll([(fd, IN | OUT)]), errno.ENOSYS) == [(fd, IN | OUT)]
    assert daemon.call(p.poll([(fd, READY | PRI)])) == [(fd, READY)]


def test_an_error_of_the_daemons_is_a_state_of_the_file() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p)
    assert daemon.call(p.poll([(fd, IN)]), errno.EIO) == [(fd, select.POLLERR)]


def test_what_is_no_regular_file_is_ready_and_what_is_not_open_is_said() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    daemon.call(p.lstat("/d"), entry(5, DIRECTORY))
    directory = daemon.call(p.open("/d", os.O_RDONLY), OpenOut())
    path = daemon.call(p.open("/d", os.O_PATH))
    assert daemon.call(p.poll([(directory, IN), (99, IN), (path, IN), (-1, IN)])) == [
        (directory, IN),
        (99, select.POLLNVAL),
        (path, select.POLLNVAL),
    ]
    assert daemon.asked == []


# select


@pytest.mark.parametrize(
    ("sets", "events"),
    [
        ("r", IN | select.POLLRDNORM | select.POLLRDBAND | select.POLLHUP),
        ("w", OUT | select.POLLWRNORM | select.POLLWRBAND),
        ("x", 0),
    ],
)
def test_select_asks_for_more_than_poll_would(sets: str, events: int) -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p)
    readers, writers, others = ([fd] if name in sets else [] for name in "rwx")
    daemon.start(p.select(readers, writers, others, 0))
    asked = daemon.read().body.events
    errors = select.POLLERR if sets != "x" else 0
    assert asked == events | errors | PRI | select.POLLNVAL


def test_select_sorts_what_is_ready() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    a, b = (opened(daemon, p, name, nodeid) for nodeid, name in enumerate("ab", 2))
    call = p.select([b, a], [a, b], [a])
    assert daemon.call(call, PollOut(IN | OUT | PRI), PollOut(select.POLLHUP)) == ([b, a], [a], [a])


def test_select_waits_for_nothing_that_is_not_asked_for() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    fd = opened(daemon, p)
    task = daemon.start(p.select([], [], [fd], 5))
    answered(daemon, task, select.POLLERR | IN)
    assert not task.finished
    daemon.clock.advance(5)
    answered(daemon, task, select.POLLERR | IN)
    assert task.result == ([], [], [])


def test_select_of_nothing_is_a_rest() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    task = daemon.start(p.select([], [], [], 2))
    assert not task.finished
    daemon.clock.advance(2)
    daemon.system.runner.run()
    assert task.result == ([], [], [])


def test_select_refuses_what_is_not_open_and_times_that_are_past() -> None:
    daemon = hand_daemon()
    p = process(daemon)
    assert errno_of(daemon, p.select([99], [], [])) == errno.EBADF
    assert errno_of(daemon, p.select([], [], [], -1)) == errno.EINVAL
