"""Mistakes in a filesystem's class: each is refused when it is mounted, with what to write instead."""

from __future__ import annotations

import functools
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from fusewire.daemon import Directory, File, Filesystem, Handle, Node
from fusewire.daemon.check import refuse_misspelt


class Content:
    """What else may stand for a method."""

    def __call__(self, offset: int, size: int) -> bytes:
        return b""


def generator(self: Any, offset: int, size: int) -> Iterator[bytes]:
    yield b""


async def async_generator(self: Any, offset: int, size: int) -> AsyncIterator[bytes]:
    yield b""


@pytest.mark.parametrize(
    ("base", "body", "words"),
    [
        (File, {"read": b"text"}, r"Wrong\.read must be a method that takes \(self, offset, size\), and is b'text'"),
        (File, {"read": property(lambda self: b"")}, r"Wrong\.read must be a method .*, and is a property"),
        (Directory, {"unlink": None}, r"Wrong\.unlink must be a method that takes \(self, name\), and is None"),
        (File, {"read": generator}, r"Wrong\.read must return its result, and not yield it"),
        (File, {"read": async_generator}, r"Wrong\.read must return its result, and not yield it"),
        (File, {"read": lambda offset, size: b""}, r"Wrong\.read must take \(self, offset, size\): too many"),
        (File, {"size": lambda self: 3}, r"Wrong\.size must not be a method. To compute it, write @property above it"),
        (File, {"is_writable": lambda self: True}, r"Wrong\.is_writable must not be a method"),
        (Filesystem, {"blocking": lambda self: True}, r"Wrong\.blocking must not be a method"),
        (File, {"mode": "0644"}, r"Wrong\.mode must be an int, such as 0o644, and is '0644'"),
        (File, {"mode": 644}, r"Wrong\.mode is the decimal 644: did you mean 0o644\?"),
        (File, {"size": 1e3}, r"Wrong\.size must be an int, such as 4096, and is 1000\.0"),
        (File, {"mtime_ns": time.time()}, r"Wrong\.mtime_ns must be an int, such as time\.time_ns\(\), and is"),
        (Directory, {"readdir": lambda self: []}, r"Wrong\.readdir is never called: did you mean 'list'\?"),
        (Directory, {"listdir": lambda self: []}, r"Wrong\.listdir is never called: did you mean 'list'\?"),
        (Handle, {"raed": lambda self: b""}, r"Wrong\.raed is never called: did you mean 'read'\?"),
    ],
)
def test_what_cannot_be_meant_is_refused(base: type, body: dict[str, Any], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        refuse_misspelt(type("Wrong", (base,), body))


@pytest.mark.parametrize(
    ("base", "body"),
    [
        (File, {"read": staticmethod(lambda offset, size: b"")}),
        (File, {"read": functools.partialmethod(lambda self, text, offset, size: text, b"")}),
        (File, {"read": functools.partial(lambda text, offset, size: text, b"")}),
        (File, {"read": Content()}),
        (File, {"size": property(lambda self: 3), "mode": functools.cached_property(lambda self: 0o600)}),
        (File, {"size": None, "uid": None, "mode": 0o4755}),
        (File, {"__slots__": ("text",), "readdir": lambda self: []}),
        (Directory, {"list": lambda self: iter(()), "mode": 0o1777, "children": [644]}),
        (Filesystem, {"size": 1.5, "mode": "fast", "list": b"", "listdir": lambda self: []}),
    ],
)
def test_what_may_be_meant_is_accepted(base: type, body: dict[str, Any]) -> None:
    refuse_misspelt(type("Fine", (base,), body))


def test_a_listing_may_be_yielded() -> None:
    class Fine(Directory):
        def list(self) -> Iterator[tuple[str, Node]]:
            yield "a", File()

        def listxattr(self) -> Iterator[str]:
            yield "user.a"

    refuse_misspelt(Fine)


@pytest.mark.parametrize("decorate", [dataclass, dataclass(slots=True)])
def test_nodes_must_be_hashable(decorate: Callable[[type], type]) -> None:
    class Row(File):
        number: int = 0

    with pytest.raises(TypeError, match=r"Row cannot be hashed.* If it is a dataclass, say @dataclass\(eq=False\)"):
        refuse_misspelt(decorate(Row))
    for fine in (dataclass(eq=False), dataclass(frozen=True)):
        refuse_misspelt(fine(type("Row", (File,), {"__annotations__": {"number": int}, "number": 0})))
