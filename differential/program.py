"""Programs as data: who does what, in which order.

A program is a list of steps, each one system call of one of its processes. A step runs to its end
before the next begins, so that the order is the program's own and nobody's timing. What a step
needs of an earlier one it finds in a numbered slot: `open` fills a slot of descriptors, `mmap` one
of mappings. A slot that was never filled stands for a descriptor that is not open; so any list of
steps is a program, and a program stays one when steps are taken out of it (shrink.py).

A step may fall asleep: a request is held back, or another process has the lock. Then the next one
begins, and the call ends when it ends, in a later step. What the sleeper's own steps would be until
then is left out. CONTROL are the steps that are no system calls: they hold requests back, let them
go, send signals.

Which processes there are is not the program's business: ROLES is a table, and a step names a row.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

__all__ = ["CONTROL", "ROLES", "Argument", "Program", "Role", "Step"]

Argument: TypeAlias = int | str | bytes | None


@dataclass(frozen=True, slots=True)
class Role:
    """Who a process is."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


ROLES: Final = (
    Role(0, 0),
    Role(1000, 1000),
    Role(1001, 1001, (1000, 2000)),  # shares a group with the one before
)


CONTROL: Final = {
    "hold": "the next request of that name is not answered until it is let go; obedient, not beyond an INTERRUPT",
    "let_go": "the request that has been held back for longest is answered",
    "notify": "the filesystem says that what is polled may be ready now",
    "retrieve": "the filesystem asks for pages that the kernel has of a node: nodeid, offset, size",
    "interrupt": "the process is sent a signal, for which it has a handler, if it is in a system call",
    "kill": "the process is sent SIGKILL",
    "exit": "the process exits, with all open that is open",
    "unmount": "all processes exit, and the filesystem is unmounted",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One system call: of which process, by which row of `calls.CALLS`, with which arguments; or one of CONTROL."""

    role: int
    call: str
    arguments: tuple[Argument, ...] = ()

    def __str__(self) -> str:
        return f"p{self.role}.{self.call}({', '.join(map(shown, self.arguments))})"


@dataclass(frozen=True, slots=True)
class Program:
    """Steps, and on what filesystem they are to run (a row of `subjects.SUBJECTS`)."""

    subject: str
    steps: tuple[Step, ...]
    seed: int | None = None  # of the generator; None if it was written by hand, or shrunk

    @classmethod
    def of(cls, subject: str, *steps: tuple[Any, ...]) -> Program:
        """Make one by hand: `Program.of("memory", (0, "mkdir", "a", 0o755), (1, "stat", "a"))`."""
        return cls(subject, tuple(Step(role, call, tuple(rest)) for role, call, *rest in steps))

    def with_steps(self, steps: tuple[Step, ...]) -> Program:
        return replace(self, steps=steps, seed=None)

    @property
    def roles(self) -> tuple[int, ...]:
        """The processes that it has: root always, for it does what comes before the first step."""
        return tuple(sorted({0} | {step.role for step in self.steps}))

    def as_source(self) -> str:
        """Return it as a call of `Program.of`, to be kept as a test."""
        lines = "".join(f"    ({', '.join(map(as_source, (it.role, it.call, *it.arguments)))}),\n" for it in self.steps)
        return f"Program.of(\n    {self.subject!r},\n{lines})"


def as_source(argument: Argument) -> str:
    """Write it as Python, in short where it is one character many times."""
    if isinstance(argument, bytes | str) and len(argument) > 20 and len(set(argument)) == 1:
        return f"{argument[:1]!r} * {len(argument)}"
    return repr(argument)


def shown(argument: Argument) -> str:
    if isinstance(argument, bytes) and len(argument) > 24:
        return f"{argument[:8]!r}...{len(argument)}"
    if isinstance(argument, str) and len(argument) > 80:
        return f"{argument[:20]!r}...{len(os.fsencode(argument))}"
    return repr(argument)
