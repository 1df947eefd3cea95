"""The semaphore that knows its owner."""

from __future__ import annotations

import pytest

from fusewire.events import Event
from fusewire.kernel.locks import Semaphore
from fusewire.kernel.tasks import Task, close, run
from fusewire.kernel.waitq import WaitQueue


async def hold(semaphore: Semaphore, queue: WaitQueue, open_: list[bool], order: list[str], name: str) -> None:
    async with semaphore:
        order.append(name)
        await queue.sleep(until=lambda: bool(open_))


def test_one_owner_at_a_time_in_the_order_of_arrival() -> None:
    semaphore, queue, order, open_ = Semaphore("file"), WaitQueue("gate"), list[str](), list[bool]()
    tasks = [Task(name, hold(semaphore, queue, open_, order, name)) for name in "abc"]
    asleep = run(tasks)
    assert order == ["a"]
    assert semaphore.owner is tasks[0]
    assert [task.name for task in asleep[tasks[1]].holders()] == ["a"]
    open_.append(True)
    queue.wake()
    assert run(tasks) == {}
    assert order == ["a", "b", "c"]
    assert semaphore.owner is None


def test_nobody_overtakes_the_one_who_is_handed_it() -> None:
    semaphore, queue, order, open_ = Semaphore("file"), WaitQueue("gate"), list[str](), list[bool]()
    first, waiting, late = [Task(name, hold(semaphore, queue, open_, order, name)) for name in ("a", "b", "late")]
    run([first, waiting])
    open_.append(True)
    queue.wake()
    run([first])
    run([late, waiting])  # the late one runs first, and finds an owner
    assert order == ["a", "b", "late"]


def test_it_is_released_when_the_body_fails() -> None:
    semaphore = Semaphore("file")

    async def fails() -> None:
        async with semaphore:
            raise InterruptedError(4, "Interrupted system call")

    run([Task("task", fails())])
    assert semaphore.owner is None


def test_a_kill_does_not_end_the_wait_for_it() -> None:
    semaphore, queue = Semaphore("file"), WaitQueue("gate")
    tasks = [Task(name, hold(semaphore, queue, [], [], name)) for name in "ab"]
    run(tasks)
    tasks[1].kill()
    assert run(tasks)[tasks[1]] is semaphore.waitq
    close(tasks)


def test_its_events_are_those_of_kernel_txt() -> None:
    semaphore, queue, open_ = Semaphore("file"), WaitQueue("gate"), list[bool]()
    tasks = [Task(name, hold(semaphore, queue, open_, [], name)) for name in "ab"]
    heard: list[Event] = []
    run(tasks, watch=lambda task, event: heard.append(event))
    open_.append(True)
    queue.wake()
    run(tasks, watch=lambda task, event: heard.append(event))
    assert Event('[acquire inode semaphore for "file"]') in heard
    assert Event("[release semaphore]", ("b",), "[semaphore acquired]") in heard


def test_what_nobody_holds_cannot_be_released() -> None:
    with pytest.raises(AssertionError, match="nobody holds"):
        Semaphore("file").release()
