"""What is alike has one fingerprint, and what differs in anything that may count has another."""

from __future__ import annotations

import itertools
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from enum import Enum
from functools import partial
from typing import Any

import pytest

from fusewire.explore.fingerprint import OPAQUE, fingerprint
from fusewire.kernel.profile import LINUX, SEED2005
from fusewire.kernel.tasks import TRAP, Task, standing_for, trap


class Colour(Enum):
    RED = 1
    BLUE = 2


class Plain:
    def __init__(self, value: object) -> None:
        self.value = value


class Slotted:
    __slots__ = ("one", "two")


def slotted(**values: object) -> Slotted:
    thing = Slotted()
    for name, value in values.items():
        setattr(thing, name, value)
    return thing


def counter_at(number: int) -> itertools.count[int]:
    return itertools.count(number)


def closure(value: object) -> Callable[[], object]:
    return lambda: value


def circle(length: int) -> list[Any]:
    first: list[Any] = []
    last = first
    for _ in range(length - 1):
        last = [last]
    first.append(last)
    return first


def advanced(thing: Iterator[int], steps: int) -> Iterator[int]:
    for _ in range(steps):
        next(thing)
    return thing


DIFFERENT: list[tuple[Callable[[], object], Callable[[], object]]] = [
    (lambda: 1, lambda: 2),
    (lambda: -1, lambda: -2),  # whose `hash` is the same
    (lambda: 1, lambda: True),
    (lambda: 0.0, lambda: -0.0),
    (lambda: "1", lambda: b"1"),
    (lambda: None, lambda: ...),
    (lambda: [1, 2], lambda: [2, 1]),
    (lambda: [1, 2], lambda: (1, 2)),
    (lambda: [[], 1], lambda: [[1]]),
    (lambda: deque([1, 2]), lambda: deque([2, 1])),
    (lambda: {1: 2, 3: 4}, lambda: {3: 4, 1: 2}),  # whoever goes through it meets them in this order
    (lambda: OrderedDict([(1, 2)]), lambda: {1: 2}),
    (lambda: {1, 2}, lambda: {1, 3}),
    (lambda: [[], []], lambda: [[]] * 2),  # two that are equal, and one that stands there twice
    (lambda: circle(1), lambda: circle(2)),
    (lambda: Colour.RED, lambda: Colour.BLUE),
    (lambda: Colour.RED, lambda: 1),
    (lambda: LINUX, lambda: SEED2005),
    (lambda: Plain(1), lambda: Plain(2)),
    (lambda: slotted(one=1), lambda: slotted(two=1)),
    (lambda: slotted(one=1), lambda: slotted(one=1, two=None)),
    (lambda: bytearray(b"a"), lambda: bytearray(b"b")),
    (lambda: counter_at(1), lambda: counter_at(2)),
    (lambda: closure(1), lambda: closure(2)),
    (lambda: partial(print, 1), lambda: partial(print, 2)),
    (lambda: Plain(1).__init__, lambda: Plain(2).__init__),  # type: ignore[misc]
    (lambda: OSError(1, "a"), lambda: OSError(2, "a")),
    (lambda: advanced(iter([1, 2, 3]), 1), lambda: advanced(iter([1, 2, 3]), 2)),
    (lambda: advanced(iter({1: 2, 3: 4}), 1), lambda: iter({1: 2, 3: 4})),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_things_that_differ_are_told_apart(one: Callable[[], object], other: Callable[[], object]) -> None:
    assert fingerprint(one()) == fingerprint(one())
    assert fingerprint(other()) == fingerprint(other())
    assert fingerprint(one()) != fingerprint(other())


# Coroutines.


async def stops_twice(value: int) -> None:
    await trap(None)
    await trap(None)


async def goes_through(numbers: list[int]) -> None:
    for _ in numbers:  # the iterator is on the stack, and in no variable
        await trap(None)


async def binds(first: bool) -> None:
    if first:
        one = 1
    else:
        two = 1
    await trap(None)
    if first:
        print(one)
    else:
        print(two)


async def in_except(code: int) -> None:
    try:
        raise OSError(code, "")
    except OSError:
        await trap(None)


async def generator() -> AsyncIterator[int]:
    yield 1


def after(coroutine: Coroutine[Any, Any, None], steps: int, runs: Runs) -> bytes:
    """The fingerprint of a coroutine that has come to its trap of this number."""
    for _ in range(steps):
        assert runs.run(coroutine) is TRAP
    try:
        return fingerprint(coroutine)
    finally:
        coroutine.close()


class Runs:
    """What `trap` needs: somebody whose trap it is."""

    def run(self, coroutine: Coroutine[Any, Any, None]) -> object:
        with standing_for(Task("one", coroutine)):
            return coroutine.send(None)


def test_a_coroutine_is_told_by_where_it_stands() -> None:
    seen = [after(stops_twice(1), steps, Runs()) for steps in (0, 1, 2)]
    assert len(set(seen)) == 3
    assert seen[1] == after(stops_twice(1), 1, Runs())
    assert seen[1] != after(stops_twice(2), 1, Runs())


def test_it_is_told_by_how_far_a_loop_has_come() -> None:
    assert after(goes_through([7, 7, 7]), 1, Runs()) != after(goes_through([7, 7, 7]), 2, Runs())


def test_it_is_told_by_which_of_its_names_are_bound() -> None:
    assert after(binds(True), 1, Runs()) != after(binds(False), 1, Runs())


def test_it_is_told_by_the_exception_that_it_deals_with() -> None:
    assert after(in_except(1), 1, Runs()) != after(in_except(2), 1, Runs())


def test_to_look_twice_changes_nothing() -> None:
    coroutine = stops_twice(1)
    runs = Runs()
    runs.run(coroutine)
    first = fingerprint(coroutine)
    assert fingerprint(coroutine) == first
    runs.run(coroutine)
    second = fingerprint(coroutine)
    coroutine.close()
    assert second == after(stops_twice(1), 2, Runs())


def test_what_cannot_be_seen_into_is_never_twice_the_same() -> None:
    OPAQUE.clear()
    hidden = generator()
    assert fingerprint(hidden) != fingerprint(hidden)
    assert {"builtins.async_generator"} == OPAQUE
    OPAQUE.clear()
