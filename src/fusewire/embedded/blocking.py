"""Calls that are awaited, made plain: one code, and a table that says which there are.

    unlink = blocking(kernel_end.Process.unlink)

The plain call has the signature and the docstring of the awaited one, for people and for type
checkers. It runs the awaited one to its end, in the way of the kernel's runner.

An OSError is the outcome of the call, as in `os`: its traceback ends here, and does not go through
the kernel's end. Who wants to see that awaits the call: `kernel.run(process.awaitable.unlink("/a"))`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, NoReturn, ParamSpec, TypeVar

__all__ = ["Blocking", "blocking"]

P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A")


class Blocking:
    """Something whose calls are plain; `awaitable` is the same with calls that are awaited."""

    awaitable: Any

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(f"{self!r} is under way, and can be neither copied nor pickled: make another one")

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run `coroutine`, which is a call of `awaitable`, to its end."""
        raise NotImplementedError


def blocking(function: Callable[Concatenate[A, P], Coroutine[Any, Any, T]]) -> Callable[Concatenate[Any, P], T]:
    """Make a plain method out of a method of `awaitable`."""

    @functools.wraps(function)
    def called(self: Blocking, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return self._call(function(self.awaitable, *args, **kwargs))
        except OSError as error:
            raise error.with_traceback(None) from None

    return called
