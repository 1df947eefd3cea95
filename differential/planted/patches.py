"""How something of the kernel's end is made wrong for a while.

Most change what is asked, on its way to the queues: `Connection.ask` and its kin are where every
request comes by.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, TypeAlias

from fusewire.kernel.connection import Connection
from fusewire.kernel.locks import Held, Semaphore
from fusewire.kernel.tasks import Task, current

__all__ = [
    "Planted",
    "fields",
    "method",
    "names",
    "never",
    "never_again",
    "planted",
    "twice",
    "with_lock",
    "without_locks",
]

Patch: TypeAlias = Callable[[], contextlib.AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Planted:
    """An error, and the opcode whose row of the table it is about."""

    opcode: str
    what: str
    patch: Patch

    def __str__(self) -> str:
        return f"{self.opcode}: {self.what}"


@contextlib.contextmanager
def planted(error: Planted) -> Iterator[None]:
    """Have the error in the kernel's end within the `with`."""
    with error.patch():
        yield


@contextlib.contextmanager
def patched(owner: type | ModuleType, name: str, wrong: Callable[..., Any]) -> Iterator[None]:
    """Put `wrong` in the place of a method or function for a while; it gets the right one first."""
    right = getattr(owner, name)
    setattr(owner, name, lambda *arguments, **more: wrong(right, *arguments, **more))
    try:
        yield
    finally:
        setattr(owner, name, right)


def fields(opcode: str, **changes: Callable[[int], int]) -> Patch:
    """The request's body has wrong fields."""

    def change(name: str, body: Any) -> Any:
        if name != opcode or body is None:
            return body
        return replace(body, **{field: wrong(getattr(body, field)) for field, wrong in changes.items()})

    @contextlib.contextmanager
    def patch() -> Iterator[None]:
        def ask(right: Any, self: Connection, name: str, nodeid: int, body: Any = None, *rest: Any, **more: Any) -> Any:
            return right(self, name, nodeid, change(name, body), *rest, **more)

        with patched(Connection, "ask", ask), patched(Connection, "ask_background", ask):
            yield

    return patch


def twice(opcode: str) -> Patch:
    """The request is sent twice."""

    @contextlib.contextmanager
    def patch() -> Iterator[None]:
        async def ask(right: Any, self: Connection, name: str, *rest: Any, **more: Any) -> Any:
            if name == opcode:
                with contextlib.suppress(OSError):
                    await right(self, name, *rest, **more)
            return await right(self, name, *rest, **more)

        with patched(Connection, "ask", ask):
            yield

    return patch


def never(opcode: str) -> Patch:
    """The request is not sent at all."""

    @contextlib.contextmanager
    def patch() -> Iterator[None]:
        async def ask(right: Any, self: Connection, name: str, *rest: Any, **more: Any) -> Any:
            return None if name == opcode else await right(self, name, *rest, **more)

        with patched(Connection, "ask", ask):
            yield

    return patch


def never_again(opcode: str) -> Patch:
    """After the first one it is not sent any more: the reply is remembered."""

    @contextlib.contextmanager
    def patch() -> Iterator[None]:
        known: dict[int, Any] = {}

        async def ask(right: Any, self: Connection, name: str, nodeid: int, *rest: Any, **more: Any) -> Any:
            if name != opcode:
                return await right(self, name, nodeid, *rest, **more)
            if nodeid not in known:
                known[nodeid] = await right(self, name, nodeid, *rest, **more)
            return known[nodeid]

        with patched(Connection, "ask", ask):
            yield

    return patch


def names(opcode: str, wrong: Callable[[tuple[bytes, ...]], tuple[bytes, ...]]) -> Patch:
    """The request's names are wrong."""

    @contextlib.contextmanager
    def patch() -> Iterator[None]:
        def ask(
            right: Any,
            self: Connection,
            name: str,
            nodeid: int,
            body: Any = None,
            given: Any = (),
            *rest: Any,
            **more: Any,
        ) -> Any:
            if "names" in more:
                given = more.pop("names")
            return right(self, name, nodeid, body, wrong(tuple(given)) if name == opcode else given, *rest, **more)

        with patched(Connection, "ask", ask):
            yield

    return patch


@contextlib.contextmanager
def held_by_tasks() -> Iterator[dict[Task, list[Semaphore]]]:
    """Keep account of the semaphores that each task holds."""
    held: dict[Task, list[Semaphore]] = {}

    async def enter(right: Any, self: Held) -> None:
        await right(self)
        held.setdefault(self.task, []).append(self.semaphore)

    async def leave(right: Any, self: Held, *error: Any) -> None:
        held[self.task].remove(self.semaphore)
        await right(self, *error)

    with patched(Held, "__aenter__", enter), patched(Held, "__aexit__", leave):
        yield held


def without_locks(opcode: str) -> Patch:
    """While the request is under way its sender lets go of all locks."""

    @contextlib.contextmanager
    def patch() -> Iterator[None]:
        async def ask(right: Any, self: Connection, name: str, *rest: Any, **more: Any) -> Any:
            if name != opcode:
                return await right(self, name, *rest, **more)
            locks = [(lock, lock.holders[current()]) for lock in held.get(current(), ())]
            for lock, _ in locks:
                lock.release()
            try:
                return await right(self, name, *rest, **more)
            finally:
                for lock, shared in locks:
                    await lock.acquire(shared)

        with held_by_tasks() as held, patched(Connection, "ask", ask):
            yield

    return patch


def with_lock(opcode: str) -> Patch:
    """While the request is under way its sender has the inode locked, and nobody else may."""

    @contextlib.contextmanager
    def patch() -> Iterator[None]:
        locks: dict[tuple[Connection, int], Semaphore] = {}

        async def ask(right: Any, self: Connection, name: str, nodeid: int, *rest: Any, **more: Any) -> Any:
            if name != opcode:
                return await right(self, name, nodeid, *rest, **more)
            async with locks.setdefault((self, nodeid), Semaphore("one too many")).exclusive():
                return await right(self, name, nodeid, *rest, **more)

        with patched(Connection, "ask", ask):
            yield

    return patch


def method(owner: type | ModuleType, name: str, wrong: Callable[..., Any]) -> Patch:
    return lambda: patched(owner, name, wrong)
