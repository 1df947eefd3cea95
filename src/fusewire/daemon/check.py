"""What is wrong with a filesystem's class, said when it is mounted and not when it is first used.

A method named `getatr` is never called, and nobody would learn why `ls` fails; one that takes
too few arguments fails at its first request. So a class is refused if a public method of it is
named nearly like one that the engine calls, or takes other arguments, or is `async def` where
nobody awaits it, or yields where it should return. Helpers are free otherwise, and a leading
underscore makes any name free.

The same goes for what stands in a class's body for a method or an attribute of ours and cannot
be one (`read = b"text"`, `def size(self)`, `mode = 644`), and for nodes that cannot be hashed.
"""

from __future__ import annotations

import difflib
import inspect
import weakref
from collections.abc import Collection, Mapping
from typing import Any, Final

__all__ = ["refuse_misspelt"]

NEVER_AWAITED: Final = frozenset({"init", "forget", "destroy"})
MAY_YIELD: Final = frozenset({"list", "listxattr", "readdir", "readdirplus"})
OTHERS: Final = {"listdir": "list", "readdir": "list"}  # what other libraries, and our nodeids, call it
NUMBERS: Final = {  # attributes of nodes, with an example
    "mode": "0o644",
    "uid": "1000",
    "gid": "1000",
    "nlink": "1",
    "size": "4096",
    "rdev": "os.makedev(1, 3)",
    **dict.fromkeys(("atime_ns", "mtime_ns", "ctime_ns"), "time.time_ns()"),
}
DECIMAL: Final = frozenset({555, 600, 640, 644, 660, 664, 666, 700, 750, 755, 770, 775, 777})  # no such octal mode is
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
    members = {name: value for base in reversed(ours) for name, value in vars(base).items() if name[0] != "_"}
    methods = {name: value for name, value in members.items() if inspect.isfunction(value)}
    for base in cls.__mro__:
        if base in ours or base is object:
            continue
        for name, value in vars(base).items():
            if name.startswith("_"):
                continue
            if inspect.isfunction(value):
                _check_method(cls, members, methods, name, value)
            else:
                _check_value(cls, members, methods, name, value)
    if "nodeid" in members and cls.__hash__ is None:
        cause = f"{cls.__name__} cannot be hashed, for it has an __eq__ and no __hash__"
        raise TypeError(f"{cause}. If it is a dataclass, say @dataclass(eq=False)")


def _check_method(cls: type, members: Mapping[str, Any], methods: Mapping[str, Any], name: str, function: Any) -> None:
    whose = f"{cls.__name__}.{name}"
    if name in methods:
        _check_parameters(whose, function, methods[name])
        if name in NEVER_AWAITED and inspect.iscoroutinefunction(function):
            raise TypeError(f"{whose} must be a `def`: nobody could await it")
        if name not in MAY_YIELD and (inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)):
            raise TypeError(f"{whose} must return its result, and not yield it")
    elif name in members:
        raise TypeError(f"{whose} must not be a method. To compute it, write @property above it")
    elif meant := _meant(name, methods):
        raise TypeError(
            f"{whose} is never called: did you mean {meant!r}? If it is a helper of yours, call it '_{name}'"
        )


def _check_value(cls: type, members: Mapping[str, Any], methods: Mapping[str, Any], name: str, value: Any) -> None:
    whose = f"{cls.__name__}.{name}"
    is_computed = hasattr(value, "__get__")  # by a property, a slot, a staticmethod...
    if name in methods and (isinstance(value, property) or not (is_computed or callable(value))):
        kind = "a property" if isinstance(value, property) else repr(value)
        raise TypeError(f"{whose} must be a method that takes ({_parameters(methods[name])}), and is {kind}")
    if name not in NUMBERS or is_computed or value is None or name not in members:
        return
    if not isinstance(value, int):
        raise TypeError(f"{whose} must be an int, such as {NUMBERS[name]}, and is {value!r}")
    if name == "mode" and value in DECIMAL:
        raise TypeError(f"{whose} is the decimal {value}: did you mean 0o{value}?")


def _meant(name: str, known: Collection[str]) -> str | None:
    if OTHERS.get(name) in known:
        return OTHERS[name]
    plain = {other.replace("_", ""): other for other in known}
    folded = name.replace("_", "").lower()
    if folded in plain:
        return plain[folded]
    swapped = [other for other in plain if sorted(other) == sorted(folded)]
    close = swapped or difflib.get_close_matches(folded, plain, 1, ALIKE)
    return plain[close[0]] if close else None


def _check_parameters(whose: str, function: Any, original: Any) -> None:
    try:
        inspect.signature(function).bind(*inspect.signature(original).parameters)
    except TypeError as error:
        raise TypeError(f"{whose} must take ({_parameters(original)}): {error}") from None


def _parameters(function: Any) -> str:
    return ", ".join(inspect.signature(function).parameters)
