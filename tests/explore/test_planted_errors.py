"""Mistakes that a kernel's end might have, put into ours: each is found, and the shortest run to it shows it."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest

from fusewire.diagrams.text import render
from fusewire.events import Step
from fusewire.explore.drawing import record_finding
from fusewire.explore.report import Report, Shown
from fusewire.explore.run import Run
from fusewire.explore.schedule import Setting
from fusewire.explore.search import explore
from fusewire.kernel import waiting
from fusewire.kernel.connection import Connection
from fusewire.kernel.device import Device
from fusewire.kernel.request import Request
from fusewire.kernel.stages import FAULTING, Stage
from fusewire.kernel.tasks import current, step, trap
from fusewire.kernel.waitq import Sleep, WaitQueue

READERS = "fc->waitq"


def diagram(setting: Setting, shown: Shown) -> str:
    return render(record_finding(setting.scene, shown.steps, shown.finding))


def never_wake_readers(queue: WaitQueue, count: int = 1, wake: Any = WaitQueue.wake) -> None:
    if queue.name != READERS:
        wake(queue, count)


async def join_after_the_test(queue: WaitQueue, until: Callable[[], bool], depth: Sleep = Sleep.KILLABLE) -> None:
    while not until():
        await step(Step.SLEEP, queue.name)
        queue.sleepers.append(current())
        await trap(queue)


@pytest.mark.parametrize(("method", "wrong"), [("wake", never_wake_readers), ("sleep", join_after_the_test)])
@pytest.mark.parametrize("profile", ["linux", "seed2005"])
def test_a_lost_wake_up(method: str, wrong: object, profile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WaitQueue, method, wrong)
    setting = Setting("unlink", profile)
    report = explore(setting, ways_out=())
    assert {"daemon waits for something to read."} <= {shown.words for shown in report.lost}
    drawn = diagram(setting, report.lost[0])
    assert "[sleep on fc->waitq]" in drawn
    assert "A lost wake-up: daemon waits for something to read." in drawn
    assert drawn.count("[wake up fc->waitq]") == (method == "sleep")  # it came too early, or never


async def go_at_once(request: Request) -> None:
    """What `waiting._give_up` does, without waiting for the end of a copy."""
    request.error = errno.EINTR
    request.interrupted = True
    if request.stage is Stage.PENDING:
        waiting._withdraw(request)
    elif request.stage is Stage.PROCESSING or request.stage in FAULTING:
        request.move("kill")


@pytest.mark.parametrize("scenario", ["unlink", "tricky-deadlock"])
def test_an_interrupt_that_ignores_locked(scenario: str, monkeypatch: pytest.MonkeyPatch) -> None:
    who = {"unlink": "rm", "tricky-deadlock": "thread-1"}[scenario]
    monkeypatch.setattr(waiting, "_give_up", go_at_once)
    setting = Setting(scenario, "seed2005", moments=(f"kill={who}",))
    report = explore(setting, ways_out=(), preemptions=2)
    (gone,) = (shown for shown in report.broken if shown.words.startswith("74: "))
    assert "is locked, so its sender, whose memory it is, does not go for a signal" in gone.words
    drawn = diagram(setting, gone)
    assert f"At this moment: kill {who.replace('-', ' ')}." in drawn
    assert drawn.index("[set req->locked]") < drawn.index("At this moment") < drawn.index("[interrupted by signal]")


def forget_io(device: Device) -> list[Request]:
    """What `Device.disconnect` does, but for those that are being copied."""
    ending = list(device.processing.values())
    device.processing.clear()
    return ending


@pytest.mark.parametrize("moment", ["abort", "timeout"])
def test_an_abort_that_forgets_io(moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Device, "disconnect", forget_io)
    setting = Setting("unlink", moments=(moment,))
    report = explore(setting, ways_out=())
    (kept,) = (shown for shown in report.broken if shown.words.startswith("13: "))
    assert "a device that is gone keeps what is being copied" in kept.words
    drawn = diagram(setting, kept)
    assert drawn.index("[remove req from fc->pending]") < drawn.index("[abort fc]")


def test_an_abort_that_forgets_io_is_no_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copier that waits for the page that its own request holds locked waits for ever."""
    monkeypatch.setattr(Device, "disconnect", forget_io)
    setting = Setting("tricky-deadlock")
    report = explore(setting, preemptions=0)
    (stuck,) = report.no_way_out
    assert stuck.words == "After an abort: thread 1 sleeps on req->waitq, thread 2 sleeps on page 0."
    assert "thread 1, thread 2 did not end." in diagram(setting, stuck)


def wake_every_reader(queue: WaitQueue, count: int = 1, wake: Any = WaitQueue.wake) -> None:
    wake(queue, len(queue.sleepers) if queue.name == READERS else count)


@pytest.mark.parametrize("profile", ["linux", "seed2005"])
def test_a_reader_that_is_not_woken_exclusively(profile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WaitQueue, "wake", wake_every_reader)
    setting = Setting("unlink", profile, threads=2)
    report = explore(setting, ways_out=(), preemptions=1)
    (both,) = report.broken
    assert both.words == "2 readers are woken at once, for what one of them will read"
    with Run(setting.scene) as run:
        run.follow(both.steps)
        assert [task.name for task in run.scene.tasks if task.ready] == ["rm", "daemon 1", "daemon 2"]
    assert "[wake up fc->waitq]" in diagram(setting, both)


def forget_twice(connection: Connection, nodeid: int, nlookup: int, forget: Any = Connection.forget) -> None:
    forget(connection, nodeid, nlookup)
    forget(connection, nodeid, nlookup)


@pytest.mark.parametrize("profile", ["linux", "seed2005"])
def test_a_forget_that_is_sent_twice(profile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "forget", forget_twice)
    setting = Setting("forget", profile)
    report = explore(setting, ways_out=())
    (twice,) = report.broken
    assert twice.words == "45: the daemon has granted -1 lookups of nodeid 2, the kernel has 0"
    queued = {"linux": "[queue FORGET on fc->forgets]", "seed2005": "[queue req on fc->pending]"}[profile]
    assert diagram(setting, twice).count(queued) >= 2


def test_without_any_of_these_nothing_is_found() -> None:
    found = [explore(Setting(scenario, moments=("abort",)), ways_out=()) for scenario in ("unlink", "forget")]
    assert [verdict(report) for report in found] == [[], []]


def verdict(report: Report) -> list[str]:
    return [str(shown) for shown in report.shown]
