"""Who goes on when: a director says so, and what happens is recorded."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fusewire.events import Step
from fusewire.explain.director import Director
from fusewire.explore.scenes.removing import simple_deadlock, unlink
from fusewire.explore.scenes.tricky_deadlock import tricky_deadlock
from fusewire.kernel.profile import LINUX, SEED2005
from fusewire.kernel.tasks import Task


@pytest.fixture
def director() -> Iterator[Director]:
    made = Director("a title", "/m")
    made.stage(unlink(LINUX), {"rm": "rm", "daemon": "daemon"})
    yield made
    made.close()


def texts(director: Director) -> list[str]:
    return [moment.event.text for moment in director.recording.moments]


def said(director: Director) -> str:
    """The last remark."""
    *_, last = director.recording.remarks
    return last.text


def test_what_is_prepared_is_not_recorded_and_its_end_is(director: Director) -> None:
    director.prepare(director.task("daemon"))
    assert texts(director) == []
    director.go_on()
    assert "<sys_read()" in texts(director)
    assert director.task("rm").finished


def test_a_task_runs_up_to_a_step_and_the_others_while_it_cannot(director: Director) -> None:
    rm = director.task("rm")
    director.until(director.task("daemon"), Step.COPY_OUT)
    assert texts(director)[-1] == Step.COPY_OUT
    assert director.scene.connection.devices[0].io[0].locked
    assert not rm.finished
    director.until(rm, Step.RETURN, "sys_unlink")
    assert rm.finished


def test_a_step_may_be_awaited_again(director: Director) -> None:
    rm = director.task("rm")
    director.until(rm, Step.ACQUIRE, 'inode semaphore for "/"')
    director.until(rm, Step.ACQUIRE, 'inode semaphore for "file"')
    assert texts(director)[-2:] == ['[acquire inode semaphore for "/m"]', '[acquire inode semaphore for "file"]']


def test_a_step_that_never_comes_is_an_error(director: Director) -> None:
    with pytest.raises(RuntimeError, match=r"rm has not come to \[abort fc\]"):
        director.until(director.task("rm"), Step.ABORT)


def test_there_is_no_deadlock_where_somebody_can_go_on(director: Director) -> None:
    director.go_on()
    with pytest.raises(RuntimeError, match="no deadlock"):
        director.deadlock()


def test_a_deadlock_is_found_and_not_claimed(director: Director) -> None:
    director.stage(simple_deadlock(SEED2005), {})
    director.go_on()
    director.deadlock()
    assert "rm waits for the answer to UNLINK, which daemon owes" in said(director)


def test_a_signal_is_noted_where_it_arrives_even_if_it_does_nothing(director: Director) -> None:
    rm = director.task("rm")
    director.go_on(rm)
    director.interrupt(rm)
    director.go_on(rm)
    assert not rm.finished
    assert texts(director).count(Step.SIGNAL) == 1
    assert [moment.task for moment in director.recording.moments if moment.event.step == Step.SIGNAL] == ["rm"]


def test_an_unmount_of_what_is_in_use_fails_and_one_by_force_aborts(director: Director) -> None:
    director.go_on(director.task("rm"))
    director.unmount()
    assert director.recording.entries[-1].event.detail == "-EBUSY"  # type: ignore[union-attr]
    assert director.scene.connection.connected
    director.unmount(force=True)
    assert "[abort fc]" in texts(director)
    director.go_on()
    director.end()
    assert said(director).startswith("Dead: the filesystem. Alive: rm, which got ECONNABORTED")


def test_at_the_end_it_is_said_who_is_dead_and_who_lives(director: Director) -> None:
    director.go_on()
    director.end()
    assert said(director) == "Dead: nobody. Alive: rm, which is done; and daemon, asleep on fc->waitq."


def test_a_signal_of_memory_is_called_by_its_name(director: Director) -> None:
    director.stage(tricky_deadlock(LINUX), {})
    director.go_on()
    director.abort()
    director.go_on()
    director.end()
    assert "thread 1, which got SIGBUS" in said(director)


def test_whoever_comes_later_joins_the_scene(director: Director) -> None:
    """Such as a second program, whose column is the last if it has none."""
    process = director.scene.mounted.process
    late: Task = director.start("late", process.stat("/file"), process)
    director.go_on()
    assert late.finished
    assert director.recording.column("late") == 1
