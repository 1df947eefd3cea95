"""Requests that last too long."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest

from fusewire.embedded import Kernel
from fusewire.filesystems.memory import Memory
from fusewire.kernel.init import Sysctls
from fusewire.kernel.profile import LINUX
from fusewire.kernel.runners.fixed_order import Deadlock
from fusewire.kernel.timeouts import Timer, effective_timeout
from fusewire.kernel.waitq import WaitQueue
from fusewire.wire import InitFlags, ReleaseIn, encode_reply
from kernel_end import Bench, bench, errno_of
from one_file import USUAL, Rig, one_file


@pytest.mark.parametrize(
    ("asked", "default", "most", "expected"),
    [
        (0, 0, 0, 0),
        (60, 0, 0, 60),
        (5, 0, 0, 15),  # one looks every 15 seconds only
        (0, 40, 0, 40),
        (60, 40, 0, 60),
        (60, 0, 50, 50),
        (0, 0, 50, 50),
        (0, 90, 50, 50),
        (0, 0, 3, 15),
    ],
)
def test_how_long_a_request_may_last(asked: int, default: int, most: int, expected: int) -> None:
    assert effective_timeout(asked, Sysctls(default_request_timeout=default, max_request_timeout=most)) == expected


FLAGS = {"flags": InitFlags.FUSE_INIT_EXT, "flags2": InitFlags.FUSE_REQUEST_TIMEOUT >> 32}


@pytest.fixture
def timed() -> Iterator[Bench]:
    """A connection whose requests may last 20 seconds."""
    with bench(LINUX, **FLAGS, request_timeout=20, max_background=1) as made:
        yield made


def pass_time(bench: Bench, seconds: int) -> None:
    """Let time pass, and whoever has been woken go on."""
    bench.clock.advance(seconds)
    bench.go_on()


@pytest.mark.parametrize("read_first", [False, True])
def test_a_request_that_is_not_answered_aborts_everything_within_15_seconds(timed: Bench, read_first: bool) -> None:
    pass_time(timed, 7)
    rm = timed.unlink()
    if read_first:
        timed.read()
    pass_time(timed, 20)
    assert not rm.finished
    pass_time(timed, 15)
    assert errno_of(rm) == errno.ECONNABORTED
    assert not timed.connection.connected
    assert errno_of(timed.start(timed.device.read(1 << 17))) == errno.ENODEV


def test_one_that_is_answered_in_time_aborts_nothing(timed: Bench) -> None:
    timed.unlink()
    pass_time(timed, 19)
    timed.write(encode_reply(timed.read().header.unique))
    pass_time(timed, 100)
    assert timed.connection.connected


def test_it_is_as_old_as_its_sender_says_though_it_is_sent_again(timed: Bench) -> None:
    from fusewire.kernel.resend import resend

    timed.unlink()
    timed.read()
    pass_time(timed, 14)
    resend(timed.connection)
    pass_time(timed, 16)
    assert not timed.connection.connected


def test_one_that_waits_in_the_background_is_old_too(timed: Bench) -> None:
    for _ in range(2):
        timed.connection.ask_background("RELEASE", 2, ReleaseIn(1))
    timed.write(encode_reply(timed.read().header.unique))
    pass_time(timed, 45)
    assert not timed.connection.connected


def test_who_waits_at_the_gate_may_wait_for_ever() -> None:
    with bench(LINUX, **FLAGS, request_timeout=20) as made:
        made.connection.background.raise_maximum(0)
        task = made.start(made.connection.ask_background_gated("RELEASE", 2, ReleaseIn(1)))
        pass_time(made, 100)
        assert made.connection.connected
        assert not task.finished


def test_without_a_timeout_there_is_no_timer(linux: Bench) -> None:
    assert linux.connection.timer is None
    linux.unlink()
    assert linux.connection.pending[0].created == 0.0


def test_the_system_may_insist_on_one() -> None:
    with bench(LINUX, sysctls=Sysctls(max_request_timeout=30)) as made:
        rm = made.unlink()
        pass_time(made, 46)
        assert errno_of(rm) == errno.ECONNABORTED


def test_an_abort_ends_the_timer(timed: Bench) -> None:
    timed.connection.abort()
    assert timed.connection.timer is None


# In a whole kernel.


def rig_with_timeout() -> AbstractContextManager[Rig]:
    return one_file(b"x", flags=USUAL | InitFlags.FUSE_INIT_EXT | InitFlags.FUSE_REQUEST_TIMEOUT, request_timeout=20)


def test_in_fixed_order_who_waits_for_a_daemon_that_hangs_waits_until_its_time_is_up() -> None:
    with rig_with_timeout() as rig:
        rig.daemon.hold = {"GETATTR"}
        with pytest.raises(ConnectionAbortedError):
            rig.runner.call(rig.process.stat("/"))
        assert 20 < rig.system.clock.now() <= 35


def test_what_no_request_will_end_is_a_deadlock_for_all_that() -> None:
    async def sleep() -> None:
        await WaitQueue("nothing").sleep(lambda: False)

    with rig_with_timeout() as rig, pytest.raises(Deadlock, match="sleeps on nothing"):
        rig.runner.call(sleep())


def test_on_threads_one_looks_by_the_real_clock() -> None:
    with Kernel(Memory(), runner="threads") as kernel:
        timer = kernel.connection.timer = Timer(kernel.connection, 20)
        assert timer.alarm.when <= kernel.system.clock.now() + 15
        kernel.abort()
        assert timer.alarm.cancelled
