"""A schedule is a short string; from the string comes the same run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusewire.events import Event
from fusewire.explore.schedule import Schedule, Setting, expand, parse, replay, shorten
from fusewire.explore.search import explore
from fusewire.kernel.tasks import Task, close


@given(st.text("abcAB", max_size=40))
def test_what_is_made_short_is_made_long_again(steps: str) -> None:
    assert expand(shorten(steps)) == steps


def test_stretches_are_counted() -> None:
    assert shorten("aaabAcc") == "a3bAc2"
    assert shorten("") == "-"
    assert expand("-") == ""


def test_it_says_what_it_was_made_with() -> None:
    setting = Setting("simple-deadlock", "seed2005", 2, ("kill=daemon-1", "abort"))
    schedule = Schedule(setting, "aabAb")
    assert str(schedule) == "simple-deadlock:seed2005:threads=2:kill=daemon-1:abort:a2bAb"
    assert parse(str(schedule)) == schedule
    scene = schedule.scene()
    assert [task.name for task in scene.moments] == ["kill daemon 1", "abort"]
    close([*scene.tasks, *scene.moments])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is no schedule"),
        ("simple-deadlock:a6", "is no schedule"),
        ("simple-deadlok:linux:a6", "Did you mean 'simple-deadlock'?"),
        ("simple-deadlock:windows:a6", "There is no profile 'windows', only linux, seed2005."),
        ("simple-deadlock:linux:6a", "'6a' are no steps"),
        ("simple-deadlock:linux:a99999999", "more than 100,000 steps"),
        ("simple-deadlock:linux:threads=0:a", "There may be 1 to 9 threads, not 0."),
        ("simple-deadlock:linux:threads=x:a", "does not say once how many threads"),
        ("simple-deadlock:linux:flood:a", "Nothing is called 'flood' that may come"),
        ("simple-deadlock:linux:kill=cat:a", "There is no task 'cat' here, only rm, daemon."),
        ("simple-deadlock:linux:abort:abort:a", "may come once"),
    ],
)
def test_a_wrong_one_gets_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=r"\.$|\?$") as caught:
        parse(text)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("steps", "sentence"),
    [
        ("a6b6b", "Step 13 is by 'b', daemon, who sleeps then."),
        ("c", "Step 1 is by 'c', who is not there: 'a' is rm, 'b' is daemon."),
        ("A", "Step 1 is by 'A', who is not there"),
    ],
)
def test_a_step_that_cannot_be_made_is_named(steps: str, sentence: str) -> None:
    with pytest.raises(ValueError, match="Step") as caught:
        replay(parse(f"simple-deadlock:linux:{steps}"))
    assert sentence in str(caught.value)


def told(schedule: Schedule) -> list[tuple[str, Event]]:
    events: list[tuple[str, Event]] = []

    def hear(task: Task, event: Event) -> None:
        events.append((task.name, event))

    replay(schedule, hear)
    return events


def test_it_is_the_same_run_each_time_event_by_event() -> None:
    (deadlock,) = explore(Setting("tricky-deadlock"), ways_out=()).deadlocks
    schedule = parse(deadlock.schedule)
    first = told(schedule)
    assert first == told(schedule)
    assert len(first) > 50


def test_beyond_its_steps_a_run_goes_on_in_fixed_order() -> None:
    none, all_ = replay(parse("simple-deadlock:linux:-")), replay(parse("simple-deadlock:linux:a6b6"))
    assert none.steps == all_.steps == expand("a6b6")
    assert none.ending.names == ["rm", "req->waitq", "daemon", 'inode semaphore for "/"']


def test_a_run_that_is_well_ends_with_nobody_stuck() -> None:
    outcome = replay(parse("unlink:seed2005:-"))
    assert outcome.ending.is_good
    assert outcome.ending.asleep == {"daemon": "fc->waitq"}
    assert outcome.scene.task("rm").result is None
