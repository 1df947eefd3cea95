"""Runners and clocks by themselves: tasks on wait queues, without any filesystem."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from fusewire.kernel.clock import MonotonicClock, StandingClock
from fusewire.kernel.runners.fixed_order import Deadlock, FixedOrder
from fusewire.kernel.runners.locked import Locked
from fusewire.kernel.tasks import Task, current, outside, running
from fusewire.kernel.waitq import Sleep, WaitQueue


@pytest.fixture
def fixed() -> Iterator[FixedOrder]:
    runner = FixedOrder()
    yield runner
    runner.close()


class Cell:
    """Something that one task waits for and another brings."""

    def __init__(self) -> None:
        self.waitq = WaitQueue("the cell")
        self.values: list[str] = []

    async def take(self, depth: Sleep = Sleep.KILLABLE) -> str:
        await self.waitq.sleep(until=lambda: bool(self.values), depth=depth)
        return self.values.pop(0)

    def put(self, value: str) -> None:
        self.values.append(value)
        self.waitq.wake()


def test_those_that_wait_go_on_in_the_order_in_which_they_are_woken(fixed: FixedOrder) -> None:
    cells, log = [Cell() for _ in range(3)], list[str]()

    async def taker(cell: Cell) -> None:
        log.append(await cell.take())

    for cell in cells:
        fixed.start(Task("taker", taker(cell)))
    fixed.run()
    assert (log, len(fixed.tasks)) == ([], 3)
    for number in (2, 0, 1):
        cells[number].put(str(number))
    fixed.run()
    assert (log, len(fixed.tasks)) == (["2", "0", "1"], 0)


def test_a_call_runs_what_it_waits_for(fixed: FixedOrder) -> None:
    question, answer = Cell(), Cell()

    async def serve() -> None:
        while True:
            answer.put((await question.take()).upper())

    async def ask(text: str) -> str:
        question.put(text)
        return await answer.take()

    fixed.start(Task("server", serve()))
    assert [fixed.call(ask(text)) for text in "abc"] == ["A", "B", "C"]


def test_nobody_is_left_who_would_bring_it(fixed: FixedOrder) -> None:
    with pytest.raises(Deadlock, match="nothing can go on\n  kernel sleeps on the cell"):
        fixed.call(Cell().take())
    assert len(fixed.tasks) == 1  # which an abort might free


def test_a_mistake_in_a_task_is_raised_in_who_runs_it(fixed: FixedOrder) -> None:
    async def mistaken() -> None:
        raise ZeroDivisionError

    fixed.start(Task("mistaken", mistaken()))
    with pytest.raises(ZeroDivisionError):
        fixed.run()
    assert not fixed.tasks
    fixed.run()


def test_an_alarm_is_something_to_wait_for(fixed: FixedOrder) -> None:
    cell = Cell()
    fixed.clock.call_at(100, lambda: cell.put("late"))
    assert fixed.call(cell.take()) == "late"
    assert fixed.clock.now() == 100


def test_a_coroutine_that_awaits_nothing_takes_no_turn_of_the_loop(fixed: FixedOrder) -> None:
    async def method() -> tuple[bool, object]:
        return asyncio.current_task() is not None, running()

    async def kernel_code() -> tuple[bool, object]:
        assert running() is current()
        begun = fixed.begin(method())
        assert running() is current()
        return begun.result()

    assert fixed.call(kernel_code()) == (True, None)
    assert fixed.loop is not None
    assert not fixed.loop.tasks


def test_a_loop_waits_for_what_comes_from_outside(fixed: FixedOrder) -> None:
    cell, may_go = Cell(), threading.Event()

    async def method() -> None:
        waiting = asyncio.get_running_loop().run_in_executor(None, may_go.wait)
        asyncio.get_running_loop().call_soon(may_go.set)
        await waiting
        cell.put("from a thread")

    async def kernel_code() -> str:
        fixed.begin(method())
        return await cell.take()

    assert fixed.call(kernel_code()) == "from a thread"


def test_outside_is_outside_of_all_tasks(fixed: FixedOrder) -> None:
    async def kernel_code() -> None:
        with outside():
            assert running() is None
        assert running() is not None

    fixed.call(kernel_code())


def test_on_threads_who_waits_is_woken_by_another() -> None:
    runner, cell, got = Locked(), Cell(), list[str]()
    thread = threading.Thread(target=lambda: got.append(runner.call(cell.take())))
    thread.start()
    runner.do(lambda: cell.put("value"))  # sooner or later than the thread
    thread.join()
    assert got == ["value"]
    assert not runner.tasks


def test_threads_and_loops_may_share_a_runner() -> None:
    runner, first, second = Locked(), Cell(), Cell()

    async def pass_on() -> str:
        second.put(await first.take())
        return "passed"

    async def main() -> str:
        thread = threading.Thread(target=lambda: runner.do(lambda: first.put("value")))
        passing = asyncio.create_task(runner.perform(pass_on()))
        thread.start()
        assert await passing == "passed"
        thread.join()
        return await runner.perform(second.take())

    assert asyncio.run(main()) == "value"


def test_what_is_cancelled_at_its_await_is_killed() -> None:
    runner, cell = Locked(), Cell()

    async def main() -> None:
        waiting = asyncio.create_task(runner.perform(cell.take()))
        await asyncio.sleep(0)
        assert len(runner.tasks) == 1
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(main())
    assert not runner.tasks


def test_what_is_not_to_be_killed_outlives_its_caller() -> None:
    runner, cell = Locked(), Cell()

    async def main() -> None:
        waiting = asyncio.create_task(runner.perform(cell.take(Sleep.UNINTERRUPTIBLE)))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(main())
    assert len(runner.tasks) == 1
    runner.do(lambda: cell.put("at last"))
    assert not runner.tasks


def test_a_mistake_on_threads_is_raised_in_its_caller() -> None:
    async def mistaken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Locked().call(mistaken())


def test_what_is_run_cannot_call() -> None:
    runner = Locked()

    async def nothing() -> None:
        pass

    async def kernel_code() -> None:
        with pytest.raises(RuntimeError, match="awaits the calls of `awaitable`"):
            runner.call(nothing())

    runner.call(kernel_code())


def test_a_standing_clock_rings_its_alarms_in_their_order() -> None:
    clock, rung = StandingClock(), list[tuple[str, float]]()
    for when, name in ((7, "late"), (3, "early"), (3, "early too"), (5, "cancelled")):
        alarm = clock.call_at(when, lambda name=name: rung.append((name, clock.now())))  # type: ignore[misc]
        if name == "cancelled":
            alarm.cancel()
    wall = clock.wall()
    clock.advance(4)
    assert (rung, clock.next_alarm()) == ([("early", 3), ("early too", 3)], 7)
    clock.advance(4)
    assert rung[2:] == [("late", 7)]
    assert clock.wall() - wall == 8_000_000_000
    with pytest.raises(ValueError, match="time goes forwards"):
        clock.advance(float("inf"))


def test_the_real_clock_rings_from_a_thread_that_ends_with_its_alarms() -> None:
    clock, rung = MonotonicClock(), threading.Event()
    clock.call_at(clock.now(), rung.set)
    rung.wait()
    clock.call_at(clock.now() + 3600, lambda: None)
    clock.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "fusewire-clock"]
