"""The fixed order runner and the tasks that it runs."""

from __future__ import annotations

import asyncio
import contextvars

import pytest

from fusewire.kernel.tasks import Killed, Signal, Task, close, current, run, step
from fusewire.kernel.waitq import Sleep, WaitQueue


async def forever(queue: WaitQueue, depth: Sleep = Sleep.KILLABLE) -> None:
    await queue.sleep(until=lambda: False, depth=depth)


async def steps(name: str, said: list[str]) -> None:
    for number in range(2):
        await step(f"{name}{number}")
        said.append(f"{name}{number}")


def test_unwatched_a_task_goes_on_while_it_can() -> None:
    said: list[str] = []
    run([Task("a", steps("a", said)), Task("b", steps("b", said))])
    assert said == ["a0", "a1", "b0", "b1"]


def test_watched_another_may_be_chosen_at_each_step() -> None:
    said: list[str] = []
    tasks = [Task("a", steps("a", said)), Task("b", steps("b", said))]
    run(tasks, choose=lambda ready: ready[-1], watch=lambda task, event: None)
    assert said == ["b0", "a0", "b1", "a1"]


def test_the_watcher_is_told_of_each_event_and_its_task() -> None:
    heard: list[tuple[str, str]] = []
    tasks = [Task("a", steps("a", [])), Task("b", steps("b", []))]
    run(tasks, watch=lambda task, event: heard.append((task.name, event.text)))
    assert heard == [("a", "a0"), ("a", "a1"), ("b", "b0"), ("b", "b1")]


def test_run_tells_who_sleeps_on_what() -> None:
    queue = WaitQueue("queue")
    sleeper, other = Task("sleeper", forever(queue)), Task("other", steps("other", []))
    assert run([sleeper, other]) == {sleeper: queue}
    close([sleeper])


def test_a_task_that_is_closed_cleans_up() -> None:
    said: list[str] = []

    async def tidy() -> None:
        try:
            await forever(WaitQueue("queue"))
        finally:
            said.append("tidy")

    task = Task("task", tidy())
    run([task])
    close([task])
    assert said == ["tidy"]


def test_a_task_that_is_closed_finds_its_context_variables() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

    async def sets() -> None:
        token = variable.set("mine")
        try:
            await forever(WaitQueue("queue"))
        finally:
            variable.reset(token)  # ValueError in any other context

    task = Task("task", sets())
    run([task])
    close([task])


def test_a_result_is_what_the_task_returned_or_the_error_it_raised() -> None:
    async def returns() -> int:
        return 7

    async def fails() -> None:
        raise PermissionError(1, "Operation not permitted")

    good, bad = Task("good", returns()), Task("bad", fails())
    run([good, bad])
    assert good.result == 7
    assert isinstance(bad.result, PermissionError)


def test_a_mistake_in_the_kernels_end_is_not_a_result() -> None:
    async def mistaken() -> None:
        raise KeyError("stage")

    with pytest.raises(KeyError, match="stage"):
        run([Task("mistaken", mistaken())])


def test_a_task_cannot_run_others() -> None:
    async def nested() -> None:
        run([])

    with pytest.raises(RuntimeError, match="nested may not run other tasks"):
        run([Task("nested", nested())])


def test_a_task_that_awaits_asyncio_is_told_that_it_cannot() -> None:
    async def awaits() -> str:
        future = asyncio.Future[None](loop=loop)
        try:
            await future
        except RuntimeError as error:
            return str(error)
        return "it went on"

    loop = asyncio.new_event_loop()
    task = Task("task", awaits())
    run([task])
    loop.close()
    assert "awaits nothing but the kernel's end" in str(task.result)


def test_each_task_has_context_variables_of_its_own() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    seen: list[str] = []

    async def sets(name: str) -> None:
        token = variable.set(name)
        await step("between")
        seen.append(variable.get())
        variable.reset(token)

    run([Task(n, sets(n)) for n in "ab"], choose=lambda ready: ready[-1], watch=lambda task, event: None)
    assert sorted(seen) == ["a", "b"]
    assert variable.get() == "unset"


@pytest.mark.parametrize("depth", Sleep)
@pytest.mark.parametrize("signal", [Signal.ORDINARY, Signal.FATAL])
def test_a_signal_ends_the_sleeps_that_it_may(signal: Signal, depth: Sleep) -> None:
    task = Task("task", forever(WaitQueue("queue"), depth))
    run([task])
    if signal is Signal.FATAL:
        task.kill()
    else:
        task.interrupt()
    run([task])
    assert task.finished is (signal >= depth)
    assert isinstance(task.result, InterruptedError) is task.finished
    close([task])


def test_a_lighter_signal_does_not_take_a_graver_ones_place() -> None:
    task = Task("task", forever(WaitQueue("queue")))
    task.kill()
    task.interrupt()
    assert task.signal is Signal.FATAL
    close([task])


def test_a_signal_with_a_handler_is_gone_when_the_call_returns_and_sigkill_ends_the_task() -> None:
    async def returns() -> None:
        current().take_signals()

    tasks = interrupted, killed = Task("interrupted", returns()), Task("killed", returns())
    interrupted.interrupt()
    killed.kill()
    run(tasks)
    assert (interrupted.signal, interrupted.result) == (Signal.NONE, None)
    assert isinstance(killed.result, Killed)
