"""Requests for which nobody waits, and how many there may be."""

from __future__ import annotations

import errno

import pytest

from fusewire.kernel.checks.connection import check
from fusewire.kernel.connection import Connection
from fusewire.kernel.profile import LINUX
from fusewire.kernel.request import Request
from fusewire.kernel.tasks import Task, run
from fusewire.wire import ReleaseIn, encode_error, encode_reply
from kernel_end import Bench, bench, errno_of


class Ends:
    """What has ended, and how."""

    def __init__(self) -> None:
        self.errors: list[int] = []
        self.uniques: list[int] = []

    def __call__(self, request: Request) -> None:
        self.errors.append(request.error)
        self.uniques.append(request.unique)


def release(bench: Bench, end: Ends | None = None) -> None:
    bench.connection.ask_background("RELEASE", 2, ReleaseIn(1), end=end, force=True, nocreds=True)
    check(bench.connection)


def release_gated(bench: Bench) -> Task:
    return bench.start(bench.connection.ask_background_gated("RELEASE", 2, ReleaseIn(1)), "readahead")


def answer(bench: Bench) -> int:
    unique = bench.read().header.unique
    bench.write(encode_reply(unique))
    return unique


def test_its_end_is_called_once(either: Bench) -> None:
    ends = Ends()
    for _ in range(2):
        release(either, ends)
    either.write(encode_error(either.read().header.unique, errno.EIO))
    assert ends.errors == [errno.EIO]
    either.connection.abort()
    either.connection.abort()
    assert ends.errors == [errno.EIO, errno.ECONNABORTED]
    assert either.connection.num_waiting == 0


def test_after_an_abort_its_end_is_called_at_once(either: Bench) -> None:
    ends = Ends()
    either.connection.abort()
    release(either, ends)
    assert ends.errors == [errno.ENOTCONN]
    assert either.connection.num_waiting == 0


def test_its_end_is_given_the_reply(linux: Bench) -> None:
    seen: list[object] = []
    linux.connection.ask_background("STATFS", 1, end=lambda request: seen.append(request.reply))
    unique = linux.read().header.unique
    linux.write(encode_reply(unique, bytes(80)))
    assert getattr(seen[0], "unique", 0) == unique


def test_no_more_are_handed_over_than_may_be_active() -> None:
    with bench(LINUX, max_background=3, congestion_threshold=2) as made:
        background = made.connection.background
        for _ in range(5):
            release(made)
        assert (background.active, len(background.queue), background.number) == (3, 2, 5)
        assert made.connection.statistics()[:3] == (0, 2, 3)
        assert made.connection.num_waiting == 5
        assert background.congested
        order = [answer(made) for _ in range(5)]
        assert order == sorted(order)
        assert (background.active, background.number) == (0, 0)
        assert not background.congested


def test_in_2005_nothing_is_held_back(seed2005: Bench) -> None:
    for _ in range(50):
        release(seed2005)
    assert seed2005.connection.statistics()[:3] == (10, 0, 50)


def test_those_who_wait_for_an_answer_are_not_held_back() -> None:
    with bench(LINUX, max_background=1) as made:
        release(made)
        release(made)
        assert made.connection.statistics()[:3] == (0, 1, 1)
        made.unlink()
        assert made.connection.statistics()[:3] == (0, 1, 2)


def test_at_the_limit_the_gate_is_blocked_and_each_end_lets_one_more_through() -> None:
    with bench(LINUX, max_background=2) as made:
        background = made.connection.background
        tasks = [release_gated(made) for _ in range(5)]
        assert [task.finished for task in tasks] == [True, True, False, False, False]
        assert tasks[2].asleep_on is made.connection.blocked_waitq
        assert background.blocked
        assert made.connection.num_waiting == 5  # those at the gate too
        answer(made)
        assert [task.finished for task in tasks] == [True, True, True, False, False]
        assert background.blocked  # the third has taken its place
        for _ in range(4):
            answer(made)
        assert all(task.finished for task in tasks)
        assert made.connection.num_waiting == 0


def test_what_is_forced_passes_the_gate_and_exceeds_the_maximum() -> None:
    with bench(LINUX, max_background=2) as made:
        for _ in range(4):
            release(made)
        background = made.connection.background
        assert (background.number, background.active, background.blocked) == (4, 2, True)
        waiting = release_gated(made)
        answer(made)
        answer(made)
        assert not waiting.finished  # only when as many are left as may be does the gate open
        answer(made)
        assert waiting.finished


def test_a_kill_ends_the_wait_at_the_gate_and_a_signal_does_not() -> None:
    with bench(LINUX, max_background=1) as made:
        release(made)
        waiting = release_gated(made)
        waiting.interrupt()
        made.go_on()
        assert not waiting.finished
        waiting.kill()
        made.go_on()
        assert errno_of(waiting) == errno.EINTR
        assert made.connection.num_waiting == 1


def test_an_abort_opens_the_gate_and_empties_the_queue() -> None:
    with bench(LINUX, max_background=1) as made:
        ends = Ends()
        for _ in range(3):
            release(made, ends)
        waiting = release_gated(made)
        made.connection.abort()
        made.go_on()
        assert errno_of(waiting) == errno.ENOTCONN
        assert ends.errors == [errno.ECONNABORTED] * 3
        assert made.connection.background.number == 0
        assert made.connection.num_waiting == 0


def test_a_greater_maximum_lets_those_at_the_gate_through_but_not_what_is_queued() -> None:
    with bench(LINUX, max_background=1) as made:
        background = made.connection.background
        for _ in range(3):
            release(made)
        waiting = release_gated(made)
        background.raise_maximum(10)
        check(made.connection)
        assert (background.active, len(background.queue)) == (1, 2)
        made.go_on()
        assert waiting.finished  # and its coming has the others handed over too
        assert (background.active, len(background.queue)) == (4, 0)


def test_a_maximum_of_nothing_parks_everything() -> None:
    with bench(LINUX) as made:
        background = made.connection.background
        background.raise_maximum(0)
        release(made)
        assert (background.active, len(background.queue), background.blocked) == (0, 1, True)
        background.raise_maximum(1)
        check(made.connection)
        assert len(background.queue) == 1
        release(made)
        assert (background.active, len(background.queue)) == (1, 1)


def test_it_is_never_interrupted(linux: Bench) -> None:
    async def asks() -> None:
        linux.connection.ask_background("RELEASE", 2, ReleaseIn(1))

    task = linux.later(asks())
    task.interrupt()
    linux.go_on()
    linux.read()
    assert not linux.connection.interrupts


@pytest.mark.parametrize("nocreds", [True, False])
def test_it_carries_its_callers_ids_if_it_is_somebodys(linux: Bench, nocreds: bool) -> None:
    async def asks() -> None:
        linux.connection.ask_background("RELEASE", 2, ReleaseIn(1), nocreds=nocreds)

    linux.start(asks(), process=linux.caller(uid=1000, gid=100, pid=42))
    header = linux.read().header
    assert (header.uid, header.gid, header.pid) == ((0, 0, 0) if nocreds else (1000, 100, 42))


def test_before_init_is_answered_nobody_passes_the_gate() -> None:
    connection = Connection()
    task = Task("readahead", connection.ask_background_gated("RELEASE", 2, ReleaseIn(1)))
    assert run([task]) == {task: connection.blocked_waitq}
    connection.open_gate(None)
    run([task])
    assert errno_of(task) == errno.ECONNREFUSED
