"""Actors: processes that make system calls with an identity; and places, where they do it.

Permissions depend on who asks, and a process that became somebody else cannot come back.
So on Linux each identity is a forked child which makes the calls that it is sent and sends back
the result or the errno. The suite itself never touches the filesystem under test: where that
hangs, it can still say in which call, and end. Actors on an embedded kernel: embedded.py.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from typing import Any, Protocol

from torture.conformance.calls import NAMES, Skipped
from torture.conformance.libc import libc
from torture.conformance.linux import LinuxCalls

PATIENCE = 30.0  # seconds that one system call may take
PR_SET_PDEATHSIG = 1
CLOCK_REALTIME_COARSE = 5  # the clock of most filesystems' timestamps; linux/time.h

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

    def __init__(self, identity: Identity) -> None:
        self.identity = identity

    def __getattr__(self, name: str) -> Call:
        if name not in NAMES and name != "enter":
            raise AttributeError(name)
        return Call(self, name)

    def ask(self, name: str, arguments: tuple[object, ...]) -> Any:
        """Have the process make a call, and return its result."""
        raise NotImplementedError

    def end(self) -> None:
        """Have the process end, and wait for it if it can."""
        raise NotImplementedError


class Place(Protocol):
    """A directory under test, and the kernel that it is on."""

    root: Identity  # who prepares, and cleans up
    lacks: Mapping[str, str]  # what most places have and this has not, with the reason

    def actor(self, who: Identity) -> Actor:
        """A process that stands in the directory."""

    def tick(self) -> None:
        """Let the clock of the timestamps move on."""


class OnLinux:
    """A directory of this machine; `base` is a descriptor of it."""

    def __init__(self, base: int) -> None:
        self.base = base
        self.lacks: Mapping[str, str] = {}
        self.root = Identity("root" if os.geteuid() == 0 else "me", os.geteuid(), os.getegid())

    def actor(self, who: Identity) -> ForkedActor:
        return ForkedActor(who, self.base)

    def tick(self) -> None:
        time.sleep(2 * time.clock_getres(CLOCK_REALTIME_COARSE))


class ForkedActor(Actor):
    """A child of this process. `base` is for those who `enter`."""

    def __init__(self, identity: Identity, base: int = -1) -> None:
        super().__init__(identity)
        self.pipe, theirs = Pipe()
        self.pid = os.fork()
        if self.pid == 0:
            keep_only(theirs.fileno(), base)
            become(identity)
            serve(theirs, base)
        theirs.close()

    def ask(self, name: str, arguments: tuple[object, ...]) -> Any:
        self.pipe.send((name, arguments))
        if not self.pipe.poll(PATIENCE):
            raise Hung(Call(self, name).text(arguments))
        return result_of(name, *self.pipe.recv())

    def end(self) -> None:
        self.pipe.close()
        os.waitpid(self.pid, 0)


Answer = tuple[int, Any]  # an errno, and the result if that is 0


def made(call: Any, arguments: tuple[object, ...]) -> Answer:
    """Make a call. What it raises is an errno, or -1 with a text."""
    try:
        return 0, call(*arguments)
    except Skipped:
        raise
    except OSError as error:
        return error.errno or -1, None
    except Exception as error:  # most often None, given for the result of a call that failed before
        return -1, f"{type(error).__name__}: {error}"


def result_of(name: str, number: int, result: Any) -> Any:
    """The result in the answer to a call; raises what the answer says."""
    if number == -1:
        raise TypeError(f"{name}: {result}")
    if number:
        raise OSError(number, os.strerror(number))
    return result


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
    calls = LinuxCalls()
    while True:
        try:
            name, arguments = pipe.recv()
        except EOFError:
            os._exit(0)
        if name == "enter":
            name, arguments = "entered", (base, *arguments)
        pipe.send(made(calls.named(name), arguments))
