"""What a method of a filesystem is given, as a program in C would have it: for those who draw a run.

    open(2, O_RDONLY|O_LARGEFILE)
    mkdir(1, "file", 040755)
    setattr(2, {mode = 0100600})
    setlk(2, 0, 0x1ba79900ff5bd0d1, F_WRLCK, 0)
    forget({2, 1})

Numbers are decimal but for modes, flags and the commands of ioctl, which nobody reads in decimal.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any, Final

from fusewire.daemon.logged import parameters
from fusewire.daemon.session import Call
from fusewire.daemon.values import Lock, SetAttributes
from fusewire.events import arguments
from fusewire.wire import ForgetOne

__all__ = ["given"]

OPENING: Final = frozenset({"OPEN", "CREATE", "TMPFILE", "OPENDIR"})  # whose flags are those of open(2)
ACCESS: Final = ("O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE")
OPEN_FLAGS: Final = {
    "O_CREAT": os.O_CREAT,
    "O_EXCL": os.O_EXCL,
    "O_TRUNC": os.O_TRUNC,
    "O_APPEND": os.O_APPEND,
    "O_DIRECT": os.O_DIRECT,
    "O_LARGEFILE": 0o100000,  # os.O_LARGEFILE is 0 on a 64-bit machine
    "O_TMPFILE": os.O_TMPFILE,  # in which is O_DIRECTORY
    "O_DIRECTORY": os.O_DIRECTORY,
    "O_NOFOLLOW": os.O_NOFOLLOW,
}
LOCKS: Final = {fcntl.F_RDLCK: "F_RDLCK", fcntl.F_WRLCK: "F_WRLCK", fcntl.F_UNLCK: "F_UNLCK"}


def given(call: Call) -> str:
    """Return the arguments of `call`, as they would be written in C; '...' for what has no short form."""
    operation, values = call.request.name, call.arguments[1:]
    names = parameters(operation)
    return ", ".join(_argument(operation, name, value) for name, value in zip(names, values, strict=False))


def _argument(operation: str, name: str, value: Any) -> str:
    if type(value) is int:
        if name == "flags" and operation in OPENING:
            return _open_flags(value)
        return NUMBERS.get(name, str)(value) if value < 1 << 32 else hex(value)
    return _in_c(value)


def _in_c(value: Any) -> str:
    match value:
        case None:
            return "NULL"
        case bool():
            return str(value).lower()
        case memoryview():
            return arguments([bytes(value)])
        case Lock():
            return LOCKS.get(value.type, str(value.type))
        case SetAttributes():
            return "{" + ", ".join(_changes(value)) + "}"
        case [*_]:
            return ", ".join(f"{{{one.nodeid}, {one.nlookup}}}" for one in value if isinstance(one, ForgetOne)) or "..."
    return arguments([value]) or "..."


def _changes(changes: SetAttributes) -> Iterator[str]:
    for name in (field.name for field in fields(changes) if field.name != "lock_owner"):
        value = getattr(changes, name)
        if value is not None and value is not False:
            yield f"{name} = {_argument('SETATTR', name, value)}"


def _mode(mode: int) -> str:
    return f"0{mode:o}" if mode else "0"


def _open_flags(flags: int) -> str:
    words = [ACCESS[flags & os.O_ACCMODE]]
    rest = flags & ~os.O_ACCMODE
    for name, bits in OPEN_FLAGS.items():
        if bits and rest & bits == bits:
            words.append(name)
            rest &= ~bits
    return "|".join([*words, _mode(rest)] if rest else words)


NUMBERS: Final[dict[str, Callable[[int], str]]] = {"mode": _mode, "flags": hex, "cmd": hex}
