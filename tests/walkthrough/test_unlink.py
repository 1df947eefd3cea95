"""The first diagram of kernel.txt, run: each of its steps in its column and its order, and no run that hangs."""

from __future__ import annotations

import pytest

from fusewire.diagrams.columns import Row, rows
from fusewire.diagrams.recording import Recording
from fusewire.explore.scene import OneDirectory
from fusewire.explore.schedule import Setting
from fusewire.explore.search import explore
from fusewire.kernel.profile import LINUX, PROFILES, SEED2005, Profile
from fusewire.kernel.tasks import close, run
from walkthrough.kernel_txt import UNLINK, missing
from walkthrough.scenes import mounted

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


@each_profile
def test_every_run_ends_well(profile: Profile) -> None:
    report = explore(Setting("unlink", profile.name))
    assert (report.interleavings or 0) > 50
    assert report.shown == []


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
