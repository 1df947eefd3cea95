"""When processes wait for each other: requests are held back and let go, signals come."""

from __future__ import annotations

from typing import Final

from differential.generate.belief import Generator, Maker
from differential.program import Step

__all__ = ["Waiting"]

CAUSES: Final = {  # requests that are held back, and the calls that may have them sent
    "LOOKUP": ("stat", "lstat", "open", "mkdir"),
    "GETATTR": ("fstat", "stat", "read"),
    "SETATTR": ("chmod", "truncate", "ftruncate", "utime"),
    "READLINK": ("readlink",),
    "SYMLINK": ("symlink",),
    "MKNOD": ("mknod",),
    "MKDIR": ("mkdir",),
    "UNLINK": ("unlink",),
    "RMDIR": ("rmdir",),
    "RENAME": ("rename",),
    "RENAME2": ("renameat2",),
    "LINK": ("link",),
    "OPEN": ("open",),
    "CREATE": ("open",),
    "READ": ("read", "pread"),
    "WRITE": ("write", "pwrite", "fsync"),
    "STATFS": ("statvfs",),
    "RELEASE": ("close",),
    "FSYNC": ("fsync",),
    "SETXATTR": ("setxattr",),
    "GETXATTR": ("getxattr",),
    "FLUSH": ("close",),
    "READDIR": ("getdents",),
    "READDIRPLUS": ("getdents",),
    "FALLOCATE": ("fallocate",),
    "LSEEK": ("lseek",),
}


class Waiting:
    """When a program holds requests back, lets them go, and sends signals."""

    def __init__(self, it: Generator) -> None:
        self.it = it
        self.holder: int | None = None  # whose request should be held back
        self.path: str | None = None  # that it is about
        self.next: tuple[str, ...] = ()  # calls of which the next is to be one

    def control(self) -> list[Step]:
        """Return the steps that come before the next system call."""
        it = self.it
        if self.next:
            return []
        if self.holder is None:
            return self.begin() if it.chance(0.2) else []
        role = self.holder if it.chance(0.8) else it.random.choice(it.roles)
        steps = []
        if it.chance(0.12):
            steps.append(Step(role, "interrupt"))
        if it.chance(0.04) and len(it.roles) > 1:
            steps.append(self.end_of(role))
        if it.chance(0.3):
            steps.append(Step(0, "let_go"))
            self.holder = None
        if it.chance(0.1):
            steps.append(Step(0, "notify"))
        return steps

    def begin(self) -> list[Step]:
        """Hold the next request of some sort back, and have it sent."""
        name = self.it.random.choice(list(CAUSES))
        self.next = CAUSES[name]
        return [Step(0, "hold", (name, int(self.it.chance(0.5))))]

    def end_of(self, role: int) -> Step:
        """Have a process end, one way or the other."""
        self.it.roles = tuple(other for other in self.it.roles if other != role)
        return Step(role, "kill" if self.it.chance(0.6) else "exit")

    def step(self, makers: dict[str, tuple[int, Maker]], weights: list[int]) -> Step:
        """Return the next call: after a `hold` one that meets it, then mostly of others than whom it met.

        Raises:
            NothingThere: the call that was chosen makes no sense now.
        """
        it = self.it
        causes = [name for name in self.next if name in makers]
        self.next = ()
        if causes:
            name = it.random.choice(causes)
            step = Step(it.role, name, makers[name][1](it))
            self.holder, self.path = it.role, self.path_of(step)
            return step
        others = [role for role in it.roles if role != self.holder]
        if self.holder is not None and others and it.chance(0.9):
            it.role = it.random.choice(others)
            if self.path is not None and it.chance(0.5):
                return self.in_the_way(self.path)
        name = it.random.choices(list(makers), weights)[0]
        return Step(it.role, name, makers[name][1](it))

    def path_of(self, step: Step) -> str | None:
        """Return the path from the root that a step is about, as far as we know."""
        for argument in step.arguments:
            if isinstance(argument, str):
                return self.it.plain(argument)
            if isinstance(argument, int):
                return self.it.paths.get((step.role, argument))
        return None

    def in_the_way(self, path: str) -> Step:
        """Return a step that may want a lock which another about this path has."""
        it = self.it
        parent, _, name = path.rpartition("/")
        beside = f"{parent}/{it.random.choice(it.names)}".strip("/")
        call, arguments = it.random.choice(
            (
                ("stat", (f"/{path}",)),
                ("stat", (f"/{beside}",)),
                ("chmod", (f"/{path}", 0o777)),
                ("truncate", (f"/{path}", 100)),
                ("unlink", (f"/{path}",)),
                ("mkdir", (f"/{beside}", 0o777)),
                ("rename", (f"/{beside}", f"/{name}")),
                ("setxattr", (f"/{path}", "user.a", b"v", 0, 1)),
                ("readlink", (f"/{path}",)),
                ("statvfs", (f"/{path}",)),
                ("access", (f"/{path}", 4, 0)),
            )
        )
        return Step(it.role, call, arguments)

    def last(self) -> list[Step]:
        """Return steps after which nobody waits any more, or hardly anybody."""
        return [Step(0, "let_go"), Step(0, "let_go"), *(Step(role, "interrupt") for role in self.it.roles)]
