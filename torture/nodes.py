"""Files and directories that `engine.py` has its clients use: slow, big, and many that are equal."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections.abc import Callable
from typing import Any

from fusewire import Directory, File, Handle, current_request
from fusewire.daemon import Tree


class Slow(File):
    """Takes its time to read and write, unless it is interrupted; its data must not change meanwhile."""

    mode = 0o666
    size = 7
    direct_io = True

    def __init__(self, wait: Callable[[], Any]) -> None:
        self.wait = wait

    def read(self, offset: int, size: int) -> Any:
        return self.do(lambda: b"content"[offset : offset + size])

    def write(self, offset: int, data: memoryview) -> Any:
        before = hash(bytes(data))
        return self.do(lambda: None if hash(bytes(data)) == before else 0)

    def do(self, result: Callable[[], Any]) -> Any:
        waited = self.wait()
        return result() if waited is None else self.do_later(waited, result)

    async def do_later(self, waited: Any, result: Callable[[], Any]) -> Any:
        await waited
        return result()


def ask() -> None:
    for _ in range(random.randrange(4)):
        if current_request().interrupted:
            raise InterruptedError
        time.sleep(0.001)


def be_called() -> None:
    woken = threading.Event()
    current_request().on_interrupt(woken.set)
    if woken.wait(random.random() * 0.004):
        raise InterruptedError


async def be_cancelled() -> None:
    await asyncio.sleep(random.random() * 0.004)


async def shield() -> None:
    await asyncio.shield(asyncio.sleep(random.random() * 0.002))


def hurry() -> None:
    pass


WAITS: list[Callable[[], Any]] = [ask, be_called, be_cancelled, shield, hurry]


class Big(File):
    size = 1 << 20
    data = os.urandom(1 << 20)

    def read(self, offset: int, size: int) -> memoryview:
        return memoryview(self.data)[offset : offset + size]


class Leaf(File):
    mode = 0o644
    size = 0
    opened = 0

    def open(self, flags: int) -> Handle:
        self.opened += 1
        return self

    def release(self) -> None:
        self.opened -= 1

    def write(self, offset: int, data: memoryview) -> None: ...

    def truncate(self, size: int) -> None: ...


class Branch(Directory):
    """Equal to every other of its name; each method is a coroutine now and then."""

    def __init__(self, name: str, names: dict[str, Leaf]) -> None:
        self.name = name
        self.names = names

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Branch) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def lookup(self, name: str) -> Any:
        return sometimes_later(lambda: self.names.get(name))

    def list(self) -> Any:
        return sometimes_later(lambda: dict(self.names))

    def create(self, name: str, mode: int) -> Leaf:
        if name in self.names:
            raise FileExistsError
        return self.names.setdefault(name, Leaf())

    def link(self, name: str, node: Leaf) -> None:
        if self.names.setdefault(name, node) is not node:
            raise FileExistsError

    def unlink(self, name: str) -> Any:
        return sometimes_later(lambda: self.names.pop(name) and None)

    def rename(self, name: str, new_directory: Any, new_name: str, flags: int) -> None:
        new_directory.names[new_name] = self.names.pop(name)


def sometimes_later(result: Callable[[], Any]) -> Any:
    async def later() -> Any:
        await asyncio.sleep(random.random() * 0.002)
        return result()

    return later() if random.random() < 0.3 else result()


class Anew(Directory):
    """Makes its directories anew for each that asks."""

    def __init__(self) -> None:
        self.names: dict[str, dict[str, Leaf]] = {name: {} for name in "abcd"}

    def list(self) -> dict[str, Branch]:
        return {name: Branch(name, names) for name, names in self.names.items()}


def names_in(tree: Directory) -> list[dict[str, Leaf]]:
    """Return what is in each directory of `Anew`, or of a `Tree` of branches."""
    if isinstance(tree, Anew):
        return list(tree.names.values())
    assert isinstance(tree, Tree)
    return [branch.names for branch in tree.children.values() if isinstance(branch, Branch)]
