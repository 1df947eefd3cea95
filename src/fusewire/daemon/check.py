"""What is wrong with a filesystem's class, said when it is mounted and not when it is first used.

A method named `getatr` is never called, and nobody would learn why `ls` fails; one that takes
too few arguments fails at its first request. So a class is refused if a public method of it is
named nearly like one that the engine calls, or takes other arguments, or is `async def` where
nobody awaits it. Helpers are free otherwise, and a leading underscore makes any name free.
"""

from __future__ import annotations

import difflib
import inspect
import weakref
from collections.abc import Collection
from typing import Any, Final

__all__ = ["refuse_misspelt"]

NEVER_AWAITED: Final = frozenset({"init", "forget", "destroy"})
ALIKE: Final = 0.85  # difflib's ratio from which a name is taken for a slip: 'getatr' has 0.92, 'remove' and 'read' 0.6


_fine: Final[weakref.WeakSet[type]] = weakref.WeakSet()  # classes that have been looked at


def refuse_misspelt(cls: type) -> None:
    """Refuse a class whose public methods only nearly fit those of the class of ours that it extends.

    Raises:
        TypeError: naming the method, and what it should be.
    """
    if cls in _fine:
        return
    _look_at(cls)
    _fine.add(cls)


def _look_at(cls: type) -> None:
    ours = [base for base in cls.__mro__ if base.__module__.startswith("fusewire.daemon.")]
    known = {name for base in ours for name, value in vars(base).items() if inspect.isfunction(value)}
    known -= {name for name in known if name.startswith("_")}
    for base in cls.__mro__:
        if base in ours or base is object:
            continue
        for name, value in vars(base).items():
            if inspect.isfunction(value) and not name.startswith("_"):
                _check(cls, ours, known, name, value)


def _check(cls: type, ours: list[type], known: Collection[str], name: str, function: Any) -> None:
    if name in known:
        original = next(vars(base)[name] for base in ours if name in vars(base))
        _check_parameters(cls, name, function, original)
        if name in NEVER_AWAITED and inspect.iscoroutinefunction(function):
            raise TypeError(f"{cls.__name__}.{name} must be a `def`: nobody could await it")
    elif meant := _meant(name, known):
        raise TypeError(
            f"{cls.__name__}.{name} is never called: did you mean {meant!r}? "
            f"If it is a helper of yours, call it '_{name}'"
        )


def _meant(name: str, known: Collection[str]) -> str | None:
    plain = {other.replace("_", ""): other for other in known}
    folded = name.replace("_", "").lower()
    if folded in plain:
        return plain[folded]
    swapped = [other for other in plain if sorted(other) == sorted(folded)]
    close = swapped or difflib.get_close_matches(folded, plain, 1, ALIKE)
    return plain[close[0]] if close else None


def _check_parameters(cls: type, name: str, function: Any, original: Any) -> None:
    expected = list(inspect.signature(original).parameters.values())
    try:
        inspect.signature(function).bind(*expected)
    except TypeError as error:
        wanted = ", ".join(parameter.name for parameter in expected)
        raise TypeError(f"{cls.__name__}.{name} must take ({wanted}): {error}") from None
