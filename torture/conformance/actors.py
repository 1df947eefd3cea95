"""Actors: processes that make system calls with an identity.

Permissions depend on who asks, and a process that became somebody else cannot come back.
So each identity is a forked child which makes the calls that it is sent and sends back the
result or the errno. The suite itself never touches the filesystem under test: where that
hangs, it can still say in which call, and end.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from typing import Any

from torture.conformance.calls import CALLS
from torture.conformance.libc import libc

PATIENCE = 30.0  # seconds that one system call may take
PR_SET_PDEATHSIG = 1

FLAG_NAMES = ("O_WRONLY", "O_RDWR", "O_CREAT", "O_EXCL", "O_TRUNC", "O_APPEND", "O_DIRECTORY", "O_NOFOLLOW", "O_PATH")
WITH_MODES = frozenset(("chmod", "fchmod", "mkdir", "mkfifo", "mknod", "create", "umask"))


class Hung(Exception):
    """A system call did not come back in time."""


@dataclass(frozen=True)
class Identity:
    """Who a process is to the permission checks."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...] = ()


@dataclass(frozen=True)
class Call:
    """One system call of one actor, not yet made."""

    actor: Actor
    name: str

    def __call__(self, *arguments: object) -> Any:
        """Make the call.

        Raises:
            OSError: its errno.
            Hung: no answer for PATIENCE seconds.
        """
        return self.actor.ask(self.name, arguments)

    def text(self, arguments: tuple[object, ...]) -> str:
        """The call as a person reads it."""
        shown = ", ".join(shorten(self.name, argument) for argument in arguments)
        return f"{self.actor.identity.name}: {self.name}({shown})"


def shorten(name: str, argument: object) -> str:
    """An argument of a call, in a few characters."""
    if isinstance(argument, str | bytes) and len(argument) > 40:
        return f"{argument[:8]!r}+{len(argument) - 8}"
    if isinstance(argument, int) and name == "open":
        return flags_text(argument) if argument > 0o7777 or argument < 8 else oct(argument)
    return oct(argument) if isinstance(argument, int) and name in WITH_MODES and argument > 7 else repr(argument)


def flags_text(flags: int) -> str:
    """Names of the flags of open(2)."""
    names = [name for name in FLAG_NAMES if flags & getattr(os, name)]
    return "|".join(names if flags & os.O_ACCMODE else ["O_RDONLY", *names])


class Actor:
    """A process with an identity; every call of `calls.py` is an attribute of it."""

    def __init__(self, identity: Identity, base: int) -> None:
        self.identity = identity
        self.pipe, theirs = Pipe()
        self.pid = os.fork()
        if self.pid == 0:
            keep_only(theirs.fileno(), base)
            become(identity)
            serve(theirs, base)
        theirs.close()

    def __getattr__(self, name: str) -> Call:
        if name not in CALLS and name != "enter":
            raise AttributeError(name)
        return Call(self, name)

    def ask(self, name: str, arguments: tuple[object, ...]) -> Any:
        """Have the process make a call, and return its result."""
        self.pipe.send((name, arguments))
        if not self.pipe.poll(PATIENCE):
            raise Hung(Call(self, name).text(arguments))
        number, result = self.pipe.recv()
        if number == -1:
            raise TypeError(f"{name}: {result}")
        if number:
            raise OSError(number, os.strerror(number))
        return result

    def end(self) -> None:
        """Have the process end, and wait for it if it can."""
        self.pipe.close()
        os.waitpid(self.pid, 0)


def keep_only(*fds: int) -> None:
    """Close all inherited descriptors but these and the standard ones: pipes of other actors must see their end."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in fds:
            try:
                os.close(int(name))
            except OSError:  # the one that listed the directory
                pass


def become(identity: Identity) -> None:
    """Take an identity for good: real, effective, saved and filesystem ids; die with the suite."""
    if os.geteuid() == 0:
        os.setgroups(identity.groups)
        os.setresgid(identity.gid, identity.gid, identity.gid)
        os.setresuid(identity.uid, identity.uid, identity.uid)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # after the ids: changing them clears it
    os.umask(0)


def serve(pipe: Connection, base: int) -> None:
    """Make calls until the pipe is closed; `base` is the directory that holds those of the cases."""

    def enter(name: str) -> None:
        os.fchdir(base)
        os.chdir(name)

    calls = {**CALLS, "enter": enter}
    while True:
        try:
            name, arguments = pipe.recv()
        except EOFError:
            os._exit(0)
        try:
            answer: tuple[int, Any] = (0, calls[name](*arguments))
        except OSError as error:
            answer = (error.errno or -1, None)
        except Exception as error:  # most often None, given for the result of a call that failed before
            answer = (-1, f"{type(error).__name__}: {error}")
        pipe.send(answer)
