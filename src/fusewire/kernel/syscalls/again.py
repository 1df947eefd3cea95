"""System calls that are made once more, every name looked up anew, when a daemon says ESTALE.

Source: include/linux/namei.h, retry_estale.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar

from fusewire.kernel.operations.lookup import REVAL
from fusewire.kernel.paths.resolve import is_stale
from fusewire.kernel.vfs.caller import Caller

__all__ = ["again_if_stale"]

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C", bound=Caller)


def again_if_stale(
    function: Callable[Concatenate[C, int, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[C, P], Coroutine[Any, Any, T]]:
    """Call with an intent of 0 and, if that ends in ESTALE, once more with REVAL (retry_estale)."""

    @functools.wraps(function)
    async def called(self: C, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await function(self, 0, *args, **kwargs)
        except OSError as error:
            if not is_stale(error):
                raise
        return await function(self, REVAL, *args, **kwargs)

    return called
