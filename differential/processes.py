"""A program's processes on Linux: children that do what they are told, one step after the other.

They live in the mount as their root directory, so that a path means what it means on the embedded
kernel, `/` and `..` included. They are forked for each program, after the mount is made; the device's
descriptor is closed in them (fusewire.mounting).

A signal has a handler that does nothing: it ends the system call that it meets, or does not.
"""

from __future__ import annotations

import contextlib
import gc
import marshal
import os
import select
import signal
import socket
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from differential.calls import Actor, Result, perform
from differential.native import Native
from differential.program import ROLES, Role, Step
from differential.recorder import finished

__all__ = ["SIGNAL", "Caller"]

SIGNAL: Final = signal.SIGUSR1
ROUND: Final = 1 << 18  # bytes in which every result has room
OVER: Final = b"over"  # in place of the number of a step


class Caller:
    """One of them, as its parent sees it."""

    def __init__(self, role: int, steps: Sequence[Step], root: str) -> None:
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid == 0:
            live(ROLES[role], steps, theirs, self.socket, root)
        theirs.close()
        self.pidfd = os.pidfd_open(self.pid)
        self.silent = False  # it has closed its end, as the dying do before they are dead
        self.status = os.open(f"/proc/{self.pid}/stat", os.O_RDONLY | os.O_CLOEXEC)

    def start(self, number: int) -> None:
        with contextlib.suppress(OSError):  # it has died
            self.socket.send(number.to_bytes(4, "little"))

    def leave(self) -> None:
        """Have it exit, which closes what is still open."""
        with contextlib.suppress(OSError):
            self.socket.send(OVER)

    def tells(self) -> tuple[int, ...]:
        """Return the descriptors that can be read when there is something new of it."""
        return (self.pidfd,) if self.silent else (self.socket.fileno(), self.pidfd)

    def hear(self) -> Result | None:
        """Return the result that it tells; None if it will tell nothing any more."""
        try:
            said = self.socket.recv(ROUND)
        except ConnectionResetError:
            said = b""
        if not said:
            self.silent = True
            return None
        result: Result = marshal.loads(said)
        return result

    def has_ended(self) -> bool:
        return bool(select.select([self.pidfd], [], [], 0)[0])

    def is_asleep(self) -> bool:
        """Whether it sleeps in the kernel just now."""
        state = os.pread(self.status, 1000, 0).rpartition(b")")[2].split()[0]
        return state in (b"S", b"D")

    def reap(self) -> None:
        """Kill it, if it is still there, and wait for its end."""
        self.socket.close()
        os.close(self.status)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.pidfd)


def live(role: Role, steps: Sequence[Step], told: socket.socket, parents: socket.socket, root: str) -> NoReturn:
    """Be one of them: do what one is told, until there is nobody to tell."""
    status = 1
    try:
        parents.close()
        gc.disable()
        signal.signal(SIGNAL, lambda *_: None)
        signal.siginterrupt(SIGNAL, False)  # SA_RESTART, as the embedded kernel has it
        actor = Actor(Awaited(Native()))
        settle(role, root)
        told.send(marshal.dumps(("ok", None)))
        while (order := told.recv(4)) not in (OVER, b""):
            told.send(marshal.dumps(finished(perform(actor, steps[int.from_bytes(order, "little")]))))
        status = 0
    finally:
        os._exit(status)


def settle(role: Role, root: str) -> None:
    """Make the mount one's root, and become who one is."""
    place = os.open(root, os.O_PATH | os.O_DIRECTORY)
    os.fchdir(place)
    os.close(place)
    os.chroot(".")
    os.setgroups(role.groups)
    os.setresgid(role.gid, role.gid, role.gid)
    os.setresuid(role.uid, role.uid, role.uid)
    os.umask(0o022)


class Awaited:
    """The methods of an object, as coroutines that never wait."""

    def __init__(self, system: Any) -> None:
        self._system = system

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._system, name)

        async def call(*arguments: Any, **more: Any) -> Any:
            return function(*arguments, **more)

        setattr(self, name, call)
        return call
