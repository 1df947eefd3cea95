"""One code for methods that may be `def` or `async def`.

The engine calls methods of nodes, and cannot know whether one returns its result or a coroutine
that will. Written as a generator that yields what it was returned, engine code need not care:

    @either
    def lookup(self, ...):
        node = yield directory.lookup(name)
        attributes = yield node.getattr()
        return Entry(...)

As long as nothing yielded is a coroutine, this is a plain call. From the first on, it goes on
as a coroutine itself.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Generator
from types import CoroutineType
from typing import Any, ParamSpec, TypeAlias, TypeVar, cast

__all__ = ["Either", "Steps", "either"]

P = ParamSpec("P")
T = TypeVar("T")
Either: TypeAlias = T | Coroutine[Any, Any, T]  # what a `def` or an `async def` gives to its caller
Steps: TypeAlias = Generator[Any, Any, T]


def either(function: Callable[P, Steps[T]]) -> Callable[P, Either[T]]:
    """Make `function` return its result, or a coroutine of it if one was yielded to it."""

    @functools.wraps(function)
    def started(*args: P.args, **kwargs: P.kwargs) -> Either[T]:
        steps, value = function(*args, **kwargs), None
        try:
            while True:
                value = steps.send(value)
                if isinstance(value, CoroutineType):
                    return _go_on(steps, value)
        except StopIteration as stop:
            return cast(T, stop.value)

    return started


async def _go_on(steps: Steps[T], awaitable: Coroutine[Any, Any, Any]) -> T:
    value: Any = awaitable
    try:
        while True:
            if not isinstance(value, CoroutineType):
                value = steps.send(value)
                continue
            try:
                result = await value
            except BaseException as error:
                value = steps.throw(error)
            else:
                value = steps.send(result)
    except StopIteration as stop:
        return cast(T, stop.value)
