"""The first diagram of kernel.txt, run: each of its steps in its column and its order, and no run that hangs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fusewire.diagrams.columns import Row, rows
from fusewire.diagrams.recording import Recording
from fusewire.explore.scene import OneDirectory
from fusewire.kernel.profile import LINUX, PROFILES, SEED2005, Profile
from fusewire.kernel.tasks import Task, close, current, run, step, trap
from fusewire.kernel.waitq import Sleep, WaitQueue
from walkthrough.explorer import explore, replay
from walkthrough.kernel_txt import UNLINK, missing
from walkthrough.scenes import Scene, mounted

each_profile = pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)


@each_profile
def test_unlink_runs_as_kernel_txt_draws_it(profile: Profile) -> None:
    filesystem, recording = OneDirectory("file"), Recording("", {"rm": "rm", "daemon": "daemon"})
    scene = mounted(filesystem, profile)
    serving, rm = scene.daemon(), scene.rm()
    asleep = run([serving, rm], watch=lambda task, event: recording.hear(task.name, event))
    assert rm.finished
    assert rm.result is None
    assert filesystem.nodeids == {}
    assert asleep == {serving: scene.connection.waitq}  # it has come back for the next request
    close([serving])
    assert missing(UNLINK, [row.cells for row in rows(recording) if isinstance(row, Row)]) == []


def healthy(profile: Profile) -> list[Task]:
    scene = mounted(OneDirectory("file"), profile)
    return [Task("rm", unlink_and_abort(scene)), scene.daemon()]


async def unlink_and_abort(scene: Scene) -> None:
    await scene.unlink()
    scene.connection.abort()


@each_profile
def test_every_healthy_run_ends(profile: Profile) -> None:
    outcomes = list(explore(lambda: healthy(profile)))
    assert len(outcomes) > 50
    assert not any(outcome.asleep for outcome in outcomes)


def forget_to_wake(queue: WaitQueue, count: int = 1, wake: Any = WaitQueue.wake) -> None:
    if queue.name != "fc->waitq":
        wake(queue, count)


async def check_before_joining(queue: WaitQueue, until: Callable[[], bool], depth: Sleep = Sleep.KILLABLE) -> None:
    while not until():
        await step(f"[sleep on {queue.name}]")
        queue.sleepers.append(current())
        await trap(queue)


@pytest.mark.parametrize(("method", "wrong"), [("wake", forget_to_wake), ("sleep", check_before_joining)])
def test_a_planted_lost_wake_up_is_found(method: str, wrong: object, monkeypatch: pytest.MonkeyPatch) -> None:
    def scenario() -> list[Task]:
        return healthy(LINUX)

    monkeypatch.setattr(WaitQueue, method, wrong)
    outcome = next(outcome for outcome in explore(scenario) if outcome.asleep)
    assert outcome.cycle == []  # nobody holds anybody up, and yet they sleep
    assert replay(scenario, outcome.schedule).asleep == outcome.asleep


def test_a_wake_up_is_for_one_reader() -> None:
    scene = mounted(OneDirectory("file"), SEED2005)
    readers = [scene.daemon(name) for name in ("first", "second")]
    rm, woken = scene.rm(), list[tuple[str, ...]]()
    run([*readers, rm], watch=lambda task, event: woken.append(event.woken) if event.woken else None)
    assert woken == [("first",), ("rm",)]
    scene.connection.abort()
    assert run(readers) == {}


def test_the_device_that_nobody_holds_any_more_ends_the_mount() -> None:
    scene = mounted(OneDirectory("file"), LINUX)
    serving = scene.daemon()
    run([serving])
    serving.kill()
    assert run([serving]) == {}
    assert scene.device.closed
    assert not scene.connection.connected
