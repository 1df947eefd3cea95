"""Wait queues. That no wake-up is lost is shown at every interleaving in tests/walkthrough."""

from __future__ import annotations

from fusewire.kernel.tasks import Task, close, run
from fusewire.kernel.waitq import Sleep, WaitQueue


class Tap:
    """Something that tasks wait for, each of them taking one."""

    def __init__(self) -> None:
        self.queue = WaitQueue("tap")
        self.there = 0
        self.took: list[str] = []

    def sleeper(self, name: str, depth: Sleep = Sleep.KILLABLE) -> Task:
        return Task(name, self._take(name, depth))

    async def _take(self, name: str, depth: Sleep) -> None:
        await self.queue.sleep(until=lambda: self.there > 0, depth=depth)
        self.there -= 1
        self.took.append(name)


def test_what_is_there_already_is_not_slept_for() -> None:
    tap = Tap()
    tap.there = 1
    assert run([tap.sleeper("a")]) == {}
    assert tap.queue.sleepers == []


def test_the_first_to_come_is_the_first_to_be_woken_and_one_at_a_time() -> None:
    tap = Tap()
    tasks = [tap.sleeper(name) for name in "abc"]
    run(tasks)
    for _ in tasks:
        tap.there = 1
        tap.queue.wake()
        run(tasks)
    assert tap.took == ["a", "b", "c"]


def test_a_woken_task_that_finds_nothing_sleeps_again() -> None:
    tap = Tap()
    task = tap.sleeper("a")
    run([task])
    tap.queue.wake()
    assert run([task]) == {task: tap.queue}
    assert tap.queue.sleepers == [task]
    close([task])


def test_wake_all_lets_each_look() -> None:
    tap = Tap()
    tasks = [tap.sleeper(name) for name in "abc"]
    run(tasks)
    tap.there = 2
    tap.queue.wake_all()
    assert list(run(tasks)) == [tasks[2]]
    assert tap.took == ["a", "b"]
    close(tasks)


def test_what_came_before_the_signal_was_seen_is_taken() -> None:
    """As wait_event_killable does: else an exclusive wake-up would be lost with the one who was killed."""
    tap = Tap()
    task = tap.sleeper("a")
    run([task])
    tap.there = 1
    tap.queue.wake()
    task.kill()
    run([task])
    assert tap.took == ["a"]


def test_a_task_killed_while_it_goes_to_sleep_does_not_sleep() -> None:
    tap = Tap()
    task = tap.sleeper("a")
    run([task], watch=lambda task, event: task.kill())  # at its step, after it joined and before its trap
    assert isinstance(task.result, InterruptedError)
    assert tap.queue.sleepers == []
