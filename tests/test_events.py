"""Events are told to whoever listens, and cost one test where nobody does."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from fusewire import events
from fusewire.events import Event, Step, named, note
from fusewire.kernel.tasks import step


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    """What the hook is told from here on."""
    heard: list[Event] = []
    monkeypatch.setattr(events, "hook", heard.append)
    return heard


def finish(coroutine: Any) -> object:
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it suspended")


def test_a_step_has_its_name_filled_in(told: list[Event]) -> None:
    note(Step.PERFORM, "unlink")
    note(Step.QUEUE)
    assert told == [Event(Step.PERFORM, "unlink"), Event(Step.QUEUE)]
    assert [event.text for event in told] == ["[perform unlink]", "[queue req on fc->pending]"]


def test_who_is_woken_is_told_beside_the_text(told: list[Event]) -> None:
    note(Step.WAKE, "fc->waitq", ("daemon",))
    assert told == [Event(Step.WAKE, "fc->waitq", ("daemon",), "[woken up]")]


def test_a_detail_is_told_beside_the_words(told: list[Event]) -> None:
    note(Step.QUEUE, about=["any", "object"])
    assert [(event.text, event.detail) for event in told] == [(Step.QUEUE, "['any', 'object']")]


def test_a_named_function_is_told_entering_and_leaving(told: list[Event]) -> None:
    @named("fuse_unlink")
    async def function(number: int) -> int:
        note(Step.QUEUE)
        return number + 1

    assert finish(function(1)) == 2
    assert [event.text for event in told] == [">fuse_unlink()", Step.QUEUE, "<fuse_unlink()"]
    assert function.__name__ == "function"


def test_a_named_function_is_left_also_by_an_exception(told: list[Event]) -> None:
    @named("fuse_unlink")
    async def function() -> None:
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output error"):
        finish(function())
    assert [event.text for event in told] == [">fuse_unlink()", "<fuse_unlink()"]
    assert told[-1].detail == "-EIO"


def test_a_call_is_told_with_the_arguments_that_a_program_would_write(told: list[Event]) -> None:
    @named("sys_open")
    async def function(*args: object) -> None: ...

    finish(function(b"\x10\0\0"))
    assert told[0].detail == "<3 bytes>"
    told.clear()
    finish(function('/a\n"b', os.O_RDWR, None, 0x7F00_0000_0000, True, b"x" * 40))
    assert told[0].detail == rf'"/a\n\"b", 2, 0x7f0000000000, "{"x" * 32}"...'


def lines_run(function: Callable[[], object]) -> int:
    """Return how many lines of Python `function` runs, in what it calls."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    except StopIteration:
        pass
    finally:
        sys.settrace(before)
    return count


@pytest.fixture
def nothing() -> Iterator[None]:
    assert events.hook is None
    yield
    assert events.hook is None


@pytest.mark.usefixtures("nothing")
def test_what_nobody_watches_is_one_test() -> None:
    def unwatched() -> None:
        note(Step.QUEUE)

    suspended = step(Step.QUEUE)
    assert lines_run(lambda: suspended.send(None)) == lines_run(unwatched) == lines_run(lambda: None) + 1
