"""The semaphore that knows who holds it."""

from __future__ import annotations

import errno

import pytest

from fusewire.events import Event
from fusewire.kernel.locks import Semaphore
from fusewire.kernel.tasks import Task, close, run
from fusewire.kernel.waitq import Sleep, WaitQueue
from kernel_end import errno_of


class Door:
    """A semaphore, and tasks that hold it until the door is opened."""

    def __init__(self) -> None:
        self.semaphore = Semaphore('inode semaphore for "file"')
        self.queue = WaitQueue("door")
        self.open = False
        self.entered: list[str] = []
        self.tasks: list[Task] = []
        self.events: list[Event] = []

    def holder(self, name: str, shared: bool = False, depth: Sleep = Sleep.UNINTERRUPTIBLE) -> Task:
        """A task that takes it and stays, run as far as it goes."""
        task = Task(name, self._hold(name, shared, depth))
        self.tasks.append(task)
        self.go_on()
        return task

    async def _hold(self, name: str, shared: bool, depth: Sleep) -> None:
        async with self.semaphore.shared(depth) if shared else self.semaphore.exclusive(depth):
            self.entered.append(name)
            await self.queue.sleep(until=lambda: self.open)

    def go_on(self) -> dict[Task, WaitQueue]:
        return run(self.tasks, watch=lambda task, event: self.events.append(event))

    def let_out(self) -> dict[Task, WaitQueue]:
        """Open the door: each leaves once it has had the semaphore."""
        self.open = True
        self.queue.wake_all()
        return self.go_on()


def test_one_owner_at_a_time_in_the_order_of_arrival() -> None:
    door = Door()
    tasks = [door.holder(name) for name in "abc"]
    assert door.entered == ["a"]
    assert door.semaphore.owner is tasks[0]
    asleep = tasks[1].asleep_on
    assert asleep is door.semaphore.waitq
    assert list(asleep.holders()) == [tasks[0]]
    assert door.let_out() == {}
    assert door.entered == ["a", "b", "c"]
    assert door.semaphore.owner is None


def test_those_who_share_it_hold_it_together() -> None:
    door = Door()
    for name in "ab":
        door.holder(name, shared=True)
    assert door.entered == ["a", "b"]
    assert door.semaphore.owner is None
    assert [task.name for task in door.semaphore.holders] == ["a", "b"]
    close(door.tasks)


def test_who_would_share_it_waits_behind_who_would_not() -> None:
    door = Door()
    for name, shared in [("reader", True), ("writer", False), ("late reader", True), ("later reader", True)]:
        door.holder(name, shared)
    assert door.entered == ["reader"]
    door.let_out()
    assert door.entered == ["reader", "writer", "late reader", "later reader"]


def test_nobody_overtakes_the_one_who_is_handed_it() -> None:
    door = Door()
    first, waiting = door.holder("a"), door.holder("b")
    door.open = True
    door.queue.wake()
    run([first])
    late = Task("late", door._hold("late", False, Sleep.UNINTERRUPTIBLE))
    run([late, waiting])  # the late one runs first, and finds an owner
    assert door.entered == ["a", "b", "late"]


def test_it_is_released_when_the_body_fails() -> None:
    semaphore = Semaphore("file")

    async def fails() -> None:
        async with semaphore.exclusive():
            raise InterruptedError(4, "Interrupted system call")

    run([Task("task", fails())])
    assert semaphore.holders == {}


def test_a_kill_does_not_end_the_wait_for_it_unless_it_may() -> None:
    door = Door()
    door.holder("a")
    deep, killable = door.holder("deep"), door.holder("killable", depth=Sleep.KILLABLE)
    for task in (deep, killable):
        task.kill()
    door.go_on()
    assert not deep.finished
    assert errno_of(killable) == errno.EINTR
    close(door.tasks)


def test_who_gives_up_waiting_stands_in_nobodys_way() -> None:
    door = Door()
    door.holder("reader", shared=True)
    writer = door.holder("writer", depth=Sleep.KILLABLE)
    door.holder("late reader", shared=True)
    assert door.entered == ["reader"]
    writer.kill()
    door.go_on()
    assert door.entered == ["reader", "late reader"]
    close(door.tasks)


def test_one_that_is_closed_while_it_waits_is_handed_nothing() -> None:
    door = Door()
    door.holder("a")
    waiting = door.holder("b")
    close([waiting])
    door.tasks.remove(waiting)
    door.holder("c")
    door.let_out()
    assert door.entered == ["a", "c"]


def test_one_that_is_closed_when_it_was_handed_it_hands_it_on() -> None:
    door = Door()
    first, second, third = [door.holder(name) for name in "abc"]
    door.open = True
    door.queue.wake()
    run([first])
    assert door.semaphore.owner is second
    close([second])
    run([third])
    assert door.entered == ["a", "c"]


def test_its_events_are_those_of_kernel_txt() -> None:
    door = Door()
    for name in "ab":
        door.holder(name)
    door.let_out()
    said = [(event.text, event.woken, event.echo) for event in door.events]
    assert ('[acquire inode semaphore for "file"]', (), "[woken up]") in said
    assert ("[release semaphore]", ("b",), "[semaphore acquired]") in said
    assert ("[release semaphore]", (), "[semaphore acquired]") in said


def test_what_nobody_holds_cannot_be_released() -> None:
    async def releases() -> None:
        Semaphore("file").release()

    with pytest.raises(AssertionError, match="nobody holds"):
        run([Task("task", releases())])


def test_who_holds_it_cannot_wait_for_it() -> None:
    semaphore = Semaphore("file")

    async def twice() -> None:
        async with semaphore.exclusive(), semaphore.exclusive():
            pass

    with pytest.raises(AssertionError, match="holds the file already"):
        run([Task("task", twice())])
