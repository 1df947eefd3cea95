"""Errors planted in the kernel's end: at least one for each row of the table of opcodes.

Each is something that a kernel's end may well get wrong: a flag, a field, a request too many or too
few, attributes that are trusted for too long. The comparison must find every one of them.

Most change what is asked, on its way to the queues: `Connection.ask` and its kin are where every
request comes by.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from differential import embedded
from differential.compare import compare
from differential.generate import GETFLAGS, generate
from differential.program import Program, Step
from differential.real import Machine
from differential.transcript import Transcript
from fusewire.kernel.connection import Connection
from fusewire.kernel.locks import Held, Semaphore
from fusewire.kernel.tasks import Task, current
from fusewire.kernel.vfs.dentry import Dentry
from fusewire.kernel.vfs.inode import Inode

__all__ = ["PLANTED", "Planted", "Search", "planted"]

Patch = Callable[[], contextlib.AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Planted:
    """An error, and the opcode whose row of the table it is about."""

    opcode: str
    what: str
    patch: Patch

    def __str__(self) -> str:
        return f"{self.opcode}: {self.what}"


@contextlib.contextmanager
def patched(owner: type, name: str, wrong: Callable[..., Any]) -> Iterator[None]:
    """Put `wrong` in the place of a method for a while; it gets the right one first."""
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


def method(owner: type, name: str, wrong: Callable[..., Any]) -> Patch:
    return lambda: patched(owner, name, wrong)


def nothing(right: Any, *arguments: Any, **more: Any) -> None:
    """In the place of a method: do nothing."""


def bit(flag: int) -> Callable[[int], int]:
    """Flip a flag."""
    return lambda value: value ^ flag


def more(amount: int) -> Callable[[int], int]:
    return lambda value: value + amount


def less_forgotten(right: Any, self: Connection, nodeid: int, nlookup: int) -> None:
    right(self, nodeid, nlookup + 1)


def alone(right: Any, self: Semaphore, *depth: Any) -> Held:
    return self.exclusive(*depth)


PLANTED: Final = (
    Planted("LOOKUP", "asked twice of a name that is not known", twice("LOOKUP")),
    Planted("LOOKUP", "a name that was removed stays known", method(Dentry, "expire", nothing)),
    Planted("FORGET", "one lookup too many is given back", method(Connection, "forget", less_forgotten)),
    Planted("FORGET", "never sent", method(Connection, "forget", nothing)),
    Planted("GETATTR", "says that it has a handle", fields("GETATTR", getattr_flags=bit(1))),
    Planted("GETATTR", "what changes in passing is not asked for again", method(Inode, "invalidate", nothing)),
    Planted("GETATTR", "sent twice", twice("GETATTR")),
    Planted("SETATTR", "a new size without its lock owner's flag", fields("SETATTR", valid=lambda it: it & ~512)),
    Planted("READLINK", "sent once, and then remembered", never_again("READLINK")),
    Planted("SYMLINK", "target and name are mixed up", names("SYMLINK", lambda both: both[::-1])),
    Planted("MKNOD", "the umask is not told", fields("MKNOD", umask=lambda _: 0)),
    Planted("MKDIR", "the type is in the mode", fields("MKDIR", mode=lambda it: it | 0o040000)),
    Planted("UNLINK", "sent twice", twice("UNLINK")),
    Planted("RMDIR", "sent twice", twice("RMDIR")),
    Planted("RENAME", "old and new are mixed up", names("RENAME", lambda both: both[::-1])),
    Planted("RENAME2", "the flags are lost", fields("RENAME2", flags=lambda _: 0)),
    Planted("LINK", "of another node", fields("LINK", oldnodeid=more(1))),
    Planted("OPEN", "O_CREAT is passed on", fields("OPEN", flags=lambda it: it | 0o100)),
    Planted("READ", "one byte less than a page", fields("READ", size=more(-1))),
    Planted("READ", "the flags of the file are not told", fields("READ", flags=lambda _: 0)),
    Planted("WRITE", "KILL_SUIDGID is the wrong way round", fields("WRITE", write_flags=bit(4))),
    Planted("STATFS", "sent twice", twice("STATFS")),
    Planted("RELEASE", "the flags are not the file's", fields("RELEASE", flags=bit(0o2000))),
    Planted("FSYNC", "data alone is everything", fields("FSYNC", fsync_flags=bit(1))),
    Planted("SETXATTR", "CREATE and REPLACE are mixed up", fields("SETXATTR", flags=bit(3))),
    Planted("GETXATTR", "asks for one byte more", fields("GETXATTR", size=more(1))),
    Planted("LISTXATTR", "asks for one byte more", fields("LISTXATTR", size=more(1))),
    Planted("REMOVEXATTR", "sent twice", twice("REMOVEXATTR")),
    Planted("FLUSH", "sent twice", twice("FLUSH")),
    Planted("OPENDIR", "other flags", fields("OPENDIR", flags=bit(0o2000000))),
    Planted("READDIR", "goes on one too far", fields("READDIR", offset=more(1))),
    Planted("READDIRPLUS", "a smaller buffer", fields("READDIRPLUS", size=lambda _: 4096)),
    Planted("RELEASEDIR", "the flags are not the file's", fields("RELEASEDIR", flags=bit(0o2000))),
    Planted("FSYNCDIR", "data alone is everything", fields("FSYNCDIR", fsync_flags=bit(1))),
    Planted("ACCESS", "read and execute are mixed up", fields("ACCESS", mask=bit(5))),
    Planted("CREATE", "the type is not in the mode", fields("CREATE", mode=lambda it: it & 0o7777)),
    Planted("TMPFILE", "the umask is not told", fields("TMPFILE", umask=more(1))),
    Planted("IOCTL", "says too little room", fields("IOCTL", out_size=lambda it: it // 2)),
    Planted("POLL", "other events", fields("POLL", events=bit(2))),
    Planted("FALLOCATE", "the mode is lost", fields("FALLOCATE", mode=lambda _: 0)),
    Planted("LSEEK", "data and holes are mixed up", fields("LSEEK", whence=bit(7))),
    Planted("COPY_FILE_RANGE_64", "one byte less", fields("COPY_FILE_RANGE_64", len=more(-1))),
    Planted("COPY_FILE_RANGE", "one byte less", fields("COPY_FILE_RANGE", len=more(-1))),
    Planted("STATX", "asks for what GETATTR tells", fields("STATX", sx_mask=lambda _: 0x7FF)),
    Planted("STATX", "sent twice", twice("STATX")),
    Planted("GETLK", "of the whole file", fields("GETLK", fh=more(1))),
    Planted("SETLK", "flock is not told from fcntl", fields("SETLK", lk_flags=lambda _: 0)),
    Planted("SETLK", "sent twice", twice("SETLK")),
    Planted("SETLKW", "flock is not told from fcntl", fields("SETLKW", lk_flags=lambda _: 0)),
    Planted("INTERRUPT", "never sent", method(Connection, "queue_interrupt", nothing)),
    *(
        Planted(opcode, "the locks are not held meanwhile", without_locks(opcode))
        for opcode in (
            *("SETATTR", "SYMLINK", "MKNOD", "MKDIR", "UNLINK", "RMDIR", "RENAME", "RENAME2", "LINK", "WRITE"),
            *("FSYNC", "SETXATTR", "REMOVEXATTR", "READDIR", "READDIRPLUS", "CREATE", "FALLOCATE", "LSEEK", "LOOKUP"),
        )
    ),
    *(
        Planted(opcode, "only one at a time", with_lock(opcode))
        for opcode in ("GETATTR", "READLINK", "OPEN", "STATFS", "GETXATTR", "LISTXATTR", "OPENDIR", "ACCESS", "SETLKW")
    ),
    Planted("LOOKUP", "the directory is locked for one alone", method(Semaphore, "shared", alone)),
)


@contextlib.contextmanager
def planted(error: Planted) -> Iterator[None]:
    """Have the error in the kernel's end within the `with`."""
    with error.patch():
        yield


# --- programs in which two requests are under way at once, for the locks of each opcode

SETUP: Final = (
    Step(0, "chmod", ("/", 0o777)),
    Step(1, "umask", (0,)),
    Step(1, "open", (0, "/a", os.O_CREAT | os.O_RDWR, 0o666)),
    Step(1, "write", (0, b"a" * 10000)),
    Step(1, "setxattr", ("/a", "user.a", b"v", 0, 1)),
    Step(1, "mkdir", ("/d", 0o777)),
    Step(1, "mkdir", ("/e", 0o777)),
    Step(1, "symlink", ("a", "/l")),
    Step(1, "open", (1, "/", os.O_RDONLY | os.O_DIRECTORY, 0)),
    Step(1, "open", (2, "/b", os.O_CREAT | os.O_RDWR, 0o666)),
    Step(2, "open", (0, "/a", os.O_RDWR, 0)),
)
BESIDE: Final = Step(2, "mkdir", ("/new", 0o777))  # wants the directory
WITHIN: Final = Step(2, "pwrite", (0, b"w", 0))  # wants the file
HELD: Final[Mapping[str, tuple[Step, Step]]] = {  # a call whose request is held back, and what another does meanwhile
    "LOOKUP": (Step(1, "stat", ("/none",)), Step(2, "stat", ("/neither",))),
    "GETATTR": (Step(1, "stat", ("/a",)), Step(2, "stat", ("/a",))),
    "SETATTR": (Step(1, "chmod", ("/a", 0o600)), WITHIN),
    "READLINK": (Step(1, "readlink", ("/l",)), Step(2, "readlink", ("/l",))),
    "SYMLINK": (Step(1, "symlink", ("a", "/m")), BESIDE),
    "MKNOD": (Step(1, "mknod", ("/m", 0o10666, 0)), BESIDE),
    "MKDIR": (Step(1, "mkdir", ("/m", 0o777)), BESIDE),
    "UNLINK": (Step(1, "unlink", ("/a",)), BESIDE),
    "RMDIR": (Step(1, "rmdir", ("/d",)), BESIDE),
    "RENAME": (Step(1, "rename", ("/a", "/d/a")), BESIDE),
    "RENAME2": (Step(1, "renameat2", ("/a", "/d/a", 1)), BESIDE),
    "LINK": (Step(1, "link", ("/a", "/m", 0)), WITHIN),
    "OPEN": (Step(1, "open", (3, "/a", os.O_RDWR, 0)), Step(2, "open", (3, "/a", os.O_RDWR, 0))),
    "WRITE": (Step(1, "pwrite", (0, b"v", 0)), Step(2, "chmod", ("/a", 0o666))),
    "STATFS": (Step(1, "statvfs", ("/a",)), Step(2, "statvfs", ("/a",))),
    "FSYNC": (Step(1, "fsync", (0,)), WITHIN),
    "SETXATTR": (Step(1, "setxattr", ("/a", "user.b", b"v", 0, 1)), WITHIN),
    "GETXATTR": (Step(1, "getxattr", ("/a", "user.a", 1)), Step(2, "getxattr", ("/a", "user.a", 1))),
    "LISTXATTR": (Step(1, "listxattr", ("/a", 1)), Step(2, "listxattr", ("/a", 1))),
    "REMOVEXATTR": (Step(1, "removexattr", ("/a", "user.a", 1)), WITHIN),
    "OPENDIR": (Step(1, "listdir", ("/d",)), Step(2, "listdir", ("/d",))),
    "READDIR": (Step(1, "getdents", (1, 4096)), BESIDE),
    "READDIRPLUS": (Step(1, "getdents", (1, 4096)), BESIDE),
    "ACCESS": (Step(1, "access", ("/a", 4, 0)), Step(2, "access", ("/a", 4, 0))),
    "CREATE": (Step(1, "open", (3, "/m", os.O_CREAT | os.O_RDWR, 0o666)), BESIDE),
    "FALLOCATE": (Step(1, "fallocate", (0, 0, 0, 20000)), WITHIN),
    "IOCTL": (Step(1, "ioctl", (0, GETFLAGS, bytes(8))), Step(2, "ioctl", (0, GETFLAGS, bytes(8)))),
    "LSEEK": (Step(1, "lseek", (0, 0, os.SEEK_DATA)), WITHIN),
    "COPY_FILE_RANGE": (Step(1, "copy_file_range", (0, 2, 100, 0, 0)), BESIDE),
    "SETLKW": (Step(1, "setlkw", (0, fcntl.F_WRLCK, 0, 10)), Step(2, "setlkw", (0, fcntl.F_WRLCK, 20, 10))),
}
WHERE: Final[Mapping[str, str]] = {  # not on the usual filesystem
    "FSYNC": "local, asked each time",
    "READDIR": "plain, asked each time",
    "ACCESS": "unchecked, asked each time",
    "COPY_FILE_RANGE": "older",
    "SETLKW": "locking",
}


def held_program(opcode: str) -> Program:
    """Return a program in which a request of this opcode is held back while another process goes on."""
    first, second = HELD[opcode]
    hold, let_go = Step(0, "hold", (opcode, 0)), Step(0, "let_go")
    steps = (*SETUP, hold, first, second, let_go, let_go, Step(1, "stat", ("/a",)))
    return Program(WHERE.get(opcode, "memory, asked each time"), steps)


class Search:
    """Looks for programs that find errors: the right kernel's end runs each program once, whatever the errors."""

    def __init__(self, machine: Machine, seeds: Iterable[int]) -> None:
        self.machine = machine
        self.programs: dict[int | str, Program] = {opcode: held_program(opcode) for opcode in HELD}
        self.programs |= {seed: generate(seed) for seed in seeds}
        self.right: dict[int | str, Transcript] = {}

    def finds(self, error: Planted) -> int | str | None:
        """Return the first program that agrees with Linux without the error, and differs with it; None if none does.

        It is told by its seed or, one of those in which two requests are under way, by the opcode of the first.
        """
        for seed, program in self.programs.items():
            if self.asks(seed, error.opcode) and self.is_seen(program, self.right[seed], error):
                real = self.machine.run(program)
                if self.agree(program, real, self.right[seed]) and self.is_seen(program, real, error):
                    return seed
        return None

    def asks(self, seed: int | str, opcode: str) -> bool:
        if seed not in self.right:
            self.right[seed] = embedded.run(self.programs[seed], self.machine.home)
        return any(request.name == opcode for step in self.right[seed].requests for request in step)

    def is_seen(self, program: Program, right: Transcript, error: Planted) -> bool:
        with planted(error):
            try:
                wrong = embedded.run(program, self.machine.home)
            except AssertionError:  # a rule of the wire is broken: found, without Linux
                return True
        return not self.agree(program, right, wrong)

    def agree(self, program: Program, one: Transcript, other: Transcript) -> bool:
        return compare(program, one, other, Counter()) is None
