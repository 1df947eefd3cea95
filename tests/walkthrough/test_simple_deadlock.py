"""Scenario 1 of kernel.txt: a daemon removes, through its own mount, the file that it is asked to remove.

Found at every interleaving, by its circle in the wait-for graph, and cured from every state: in 2005 by killing, today
by an abort alone.
"""

from __future__ import annotations

import errno

import pytest

from fusewire.explore.depth_first import How, Search
from fusewire.explore.found import ROOT
from fusewire.explore.graph import count_runs
from fusewire.explore.schedule import Setting
from fusewire.explore.search import explore
from fusewire.explore.stuck import in_deadlock
from fusewire.kernel.connection import Connection
from fusewire.kernel.profile import LINUX, SEED2005, Profile
from fusewire.kernel.tasks import Killed, Task, close, run
from fusewire.wire import encode_error
from walkthrough.scenes import Kamikaze, mounted

FILE, DIRECTORY = 'inode semaphore for "file"', 'inode semaphore for "/"'


def deadlock(profile: Profile) -> tuple[Connection, list[Task]]:
    scene = mounted(Kamikaze("file"), profile)
    return scene.connection, [scene.rm(), scene.daemon()]


@pytest.mark.parametrize(("profile", "semaphore"), [(SEED2005, FILE), (LINUX, DIRECTORY)])
def test_it_deadlocks_whatever_the_order(profile: Profile, semaphore: str) -> None:
    search = Search(Setting("simple-deadlock", profile.name).scene, How())
    search.go_on()
    circle = ("rm", "req->waitq", "daemon", semaphore)
    assert search.found.where == {("deadlock", circle): search.found.ends}
    assert (count_runs(search.found.graph, ROOT, search.found.ends) or 0) > 50


def test_with_one_thread_the_cure_of_2005_stops_where_nobody_is_left_to_read() -> None:
    connection, (rm, serving) = deadlock(SEED2005)
    run([rm, serving])
    rm.kill()
    run([rm, serving])
    assert isinstance(rm.result, Killed)
    # "If the filesystem daemon was single threaded, this will stop here": nobody else would read its request.
    assert serving.asleep_on is not None
    assert in_deadlock({serving: serving.asleep_on}) == {serving}
    assert list(serving.asleep_on.holders()) == [serving]
    serving.kill()  # "In this case the solution is to kill the FUSE daemon as well."
    assert run([serving]) == {}
    assert isinstance(serving.result, Killed)
    assert not connection.connected  # "a filesystem which deadlocks, can soon find itself dead"


def test_with_several_threads_they_are_killed_as_long_as_any_remain() -> None:
    scene = mounted(Kamikaze("file"), SEED2005)
    scene.device.dup()  # the threads share it, and it is closed with the last
    rm, threads = scene.rm(), [scene.daemon("first"), scene.daemon("second")]
    run([*threads, rm])
    rm.kill()
    for thread in threads:
        assert set(run([*threads, rm])) == {thread for thread in threads if not thread.finished}
        assert scene.connection.connected
        thread.kill()
    assert run([*threads, rm]) == {}
    assert all(isinstance(task.result, Killed) for task in [rm, *threads])
    assert not scene.connection.connected


def test_in_2005_the_killed_ones_request_stays_until_its_reply_and_then_goes_back_to_the_pool() -> None:
    connection, tasks = deadlock(SEED2005)
    run(tasks)
    assert len(connection.unused) == 9
    for task in tasks:
        task.kill()
    run(tasks)
    assert len(connection.unused) == 10  # the abort, when the daemon was dead, gave it back
    statistics = connection.statistics()
    assert (statistics.unused, statistics.processing, statistics.waiting) == (10, 0, 0)


def test_today_killing_is_no_cure_and_abort_is() -> None:
    connection, tasks = deadlock(LINUX)
    rm, serving = tasks
    run(tasks)
    for task in tasks:
        task.kill()
    assert run(tasks).keys() == {rm, serving}
    assert connection.interrupts  # all that the kill did: the daemon would be told, if it read
    connection.abort()
    assert run(tasks) == {}
    assert all(isinstance(task.result, Killed) for task in tasks)
    assert isinstance(rm.result, Killed)
    assert isinstance(rm.result.__cause__, OSError)
    assert rm.result.__cause__.errno == errno.ECONNABORTED


def test_today_another_thread_may_answer_for_the_one_that_is_stuck() -> None:
    connection, tasks = deadlock(LINUX)
    device = connection.devices[0]
    run(tasks)
    (unique,) = connection.processing
    helper = Task("helper", device.write(_answered_eintr(unique)))
    rm, serving = tasks
    run([helper, *tasks])
    assert isinstance(rm.result, InterruptedError)
    assert serving.asleep_on is not None  # its own unlink is pending, and it reads no more
    close(tasks)


def _answered_eintr(unique: int) -> bytes:
    return encode_error(unique, errno.EINTR)


@pytest.mark.parametrize(("profile", "way"), [(SEED2005, "an abort"), (SEED2005, "enough kills"), (LINUX, "an abort")])
def test_a_rescue_frees_all_tasks_from_every_reachable_state(profile: Profile, way: str) -> None:
    report = explore(Setting("simple-deadlock", profile.name), ways_out=(way,))
    assert report.states > 20
    assert report.no_way_out == []
