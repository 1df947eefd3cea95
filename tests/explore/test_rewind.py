"""A mount that is put back is what it was, whatever a run has done to it."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from fusewire.explore.fingerprint import fingerprint
from fusewire.explore.rewind import NotPossibleError, Rewinding, Snapshot
from fusewire.explore.run import Run
from fusewire.explore.scene import Scenario, Scene
from fusewire.explore.schedule import Setting
from fusewire.kernel.tasks import close

MOMENTS = ("abort", "close", "timeout")


def states(scenario: Scenario, order: int) -> list[bytes]:
    """Run it to its end, in an order of that number; return each state."""
    seen: list[bytes] = []
    with Run(scenario) as run:
        while ready := run.ready():
            letters = ready + run.to_come() if order else ready
            run.step(letters[order * len(run.steps) % len(letters)])
            seen.append(fingerprint(run.scene.tasks, run.scene.moments, run.scene.mounted))
    return seen


@pytest.mark.parametrize("profile", ["linux", "seed2005"])
@pytest.mark.parametrize("scenario", ["unlink", "forget", "simple-deadlock", "tricky-deadlock"])
def test_every_run_goes_through_the_states_of_one_whose_mount_is_new(scenario: str, profile: str) -> None:
    setting = Setting(scenario, profile, threads=2, moments=MOMENTS)
    rewinding = Rewinding(setting.scene)
    for order in (0, 1, 2, 3, 5, 0):
        assert states(rewinding, order) == states(setting.scene, order)
    assert rewinding.snapshot is not None


def test_the_mount_is_the_same_one_and_the_tasks_are_new() -> None:
    rewinding = Rewinding(Setting("unlink").scene)
    first, second = rewinding(), rewinding()
    assert first.mounted is second.mounted
    assert not set(first.tasks) & set(second.tasks)
    close([*first.tasks, *second.tasks])


def test_what_does_not_say_how_its_tasks_are_made_is_made_anew() -> None:
    def scenario() -> Scene:
        scene = Setting("unlink").scene()
        scene.again = None
        return scene

    rewinding = Rewinding(scenario)
    first, second = rewinding(), rewinding()
    assert first.mounted is not second.mounted
    close([*first.tasks, *second.tasks])


def test_what_cannot_be_put_back_is_not_kept() -> None:
    with pytest.raises(NotPossibleError):
        Snapshot([0, 1, 2], (number for number in range(3)))


def test_a_counter_that_has_moved_on_cannot_be_put_back() -> None:
    counter = itertools.count(5)
    snapshot = Snapshot({"next": counter})
    snapshot.put_back()
    next(counter)
    with pytest.raises(NotPossibleError):
        snapshot.put_back()


class Slotted:
    __slots__ = ("full", "later")

    def __init__(self) -> None:
        self.full = [1]


def test_lists_sets_attributes_and_cells_hold_again_what_they_held() -> None:
    count, slotted = 0, Slotted()
    plain: dict[str, Any] = {"set": {1}, "bytes": bytearray(b"ab")}

    def more() -> int:
        nonlocal count
        count += 1
        return count

    snapshot = Snapshot(more, slotted, plain)
    more()
    slotted.full.append(2)
    slotted.later = 3  # type: ignore[attr-defined]
    plain["set"].add(2)
    plain["bytes"][:] = b"cde"
    plain["new"] = set()
    snapshot.put_back()
    assert (count, slotted.full, hasattr(slotted, "later")) == (0, [1], False)
    assert plain == {"set": {1}, "bytes": bytearray(b"ab")}
