"""A mount, and the processes that use and serve it, each a child of ours: what a deadlock is staged upon.

    with Stage(path, watchdog) as stage:
        fd, session, size = stage.mount(filesystem)
        stage.start("daemon", lambda line: serve(fd, session, size))
        stage.start("rm", lambda line: unlink(path, line))
        stage.let_go()
        stage.order("rm")
        stage.settle()

We mount and answer INIT, and let go of the device once whoever serves it has been forked: the connection lives as
long as they do. Nothing here waits for the mount, and every wait has an end. What a process has to report comes as
lines through a pipe of its own.

Leaving ends everything, in the order that works for whatever hangs: abort, kill, unmount.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Self

from fusewire import mounting
from fusewire.daemon.device import Device
from fusewire.daemon.filesystem import Filesystem
from fusewire.daemon.server import answer_init
from fusewire.daemon.session import Session
from fusewire.explain.real.namespace import die_with_parent
from fusewire.explain.real.watchdog import Watchdog
from fusewire.mounting.syscalls import MNT_DETACH, MNT_FORCE, umount
from fusewire.watch import proc

__all__ = ["Actor", "Line", "Stage"]

STILL: Final = 0.05  # seconds between two looks that must see the same
PATIENCE: Final = 3.0  # seconds that we wait for anything at most
PAUSE: Final = 0.01


class Line:
    """What ties a child to the stage: it says something, or waits for the word to go on."""

    def __init__(self, orders: int, writing: int) -> None:
        self.orders, self.writing = orders, writing

    def say(self, text: str) -> None:
        os.write(self.writing, f"{text}\n".encode())

    def wait(self) -> None:
        os.read(self.orders, 1)


@dataclass
class Actor:
    """One process on the stage, or one thread of it."""

    name: str
    pid: int
    tid: int
    reading: int = -1  # what it tells; -1: nothing, it is another's thread or child
    orders: int = -1  # by which it is told to go on
    said: list[str] = field(default_factory=list)
    status: int | None = None  # what waitpid(2) said of its end
    rest: bytes = b""

    def listen(self) -> None:
        """Take in what it has said so far."""
        while self.reading >= 0 and select.select([self.reading], [], [], 0)[0]:
            text = os.read(self.reading, 4096)
            if not text:
                self.forget()
                return
            *lines, self.rest = (self.rest + text).split(b"\n")
            self.said += [line.decode() for line in lines]

    def forget(self) -> None:
        """Close what ties it to us. Idempotent."""
        for fd in (self.reading, self.orders):
            if fd >= 0:
                mounting.close_in_children(fd, False)
                os.close(fd)
        self.reading = self.orders = -1

    def look(self) -> proc.Thread | None:
        """Return what it does now; None once it is dead."""
        look = proc.thread(self.pid, self.tid)
        return None if look is None or look.is_dead else look


class Stage:
    """A mount with its processes."""

    def __init__(self, path: str, watchdog: Watchdog) -> None:
        self.path = path
        self.mountpoint = os.path.dirname(path)
        self.watchdog = watchdog
        self.connection = 0
        self.fd = -1  # of /dev/fuse, until those who serve are there
        self.device = -1  # its number in those who serve
        self.actors: dict[str, Actor] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- beginning

    def mount(self, filesystem: Filesystem) -> tuple[int, Session, int]:
        """Mount, and answer INIT; return the device, the conversation, and the size of the longest message."""
        session = Session(filesystem)
        mounted = mounting.mount(self.mountpoint, mounting.MountOptions(allow_other=True))
        self.fd = self.device = mounted.fd
        self.connection = mounted.connection
        self.watchdog.watch(self.connection, self.mountpoint)
        size = session.limits.buffer_size
        answer_init(session, Device(self.fd, size))
        mounting.close_in_children(self.fd, False)  # they are to have it
        return self.fd, session, size

    def let_go(self) -> None:
        """Close our own descriptor of the device. Idempotent."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def start(self, name: str, program: Callable[[Line], object]) -> Actor:
        """Run `program` in a child; what it says is kept in `Actor.said`."""
        reading, writing = os.pipe()
        waiting, orders = os.pipe()
        pid = os.fork()
        if pid == 0:
            be(name, program, Line(waiting, writing))
        for fd in (writing, waiting):
            os.close(fd)
        for fd in (reading, orders):
            mounting.close_in_children(fd)
        actor = self.actors[name] = Actor(name, pid, pid, reading, orders)
        return actor

    def order(self, name: str) -> None:
        """Tell a child to go on."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self.actors[name].orders, b".")

    def add(self, name: str, pid: int, tid: int) -> Actor:
        """Have a thread, or a child, of one of them among the actors."""
        actor = self.actors[name] = Actor(name, pid, tid)
        return actor

    def rename(self, names: list[str]) -> None:
        """Give the actors other names, in the same order."""
        self.actors = dict(zip(names, self.actors.values(), strict=True))
        for name, actor in self.actors.items():
            actor.name = name

    # --- waiting, never for long

    def hear(self, name: str, beginning: str) -> str | None:
        """Wait for a line of an actor that begins so, and return the rest of it; None if it does not come."""
        deadline = time.monotonic() + PATIENCE
        actor = self.actors[name]
        while time.monotonic() < deadline:
            actor.listen()
            for line in actor.said:
                if line.startswith(beginning):
                    return line.removeprefix(beginning)
            time.sleep(PAUSE)
        return None

    def settle(self, patience: float = PATIENCE) -> bool:
        """Wait until none of them does anything any more; False if somebody still does."""
        deadline = time.monotonic() + patience
        before = self.look()
        while time.monotonic() < deadline:
            time.sleep(STILL)
            now = self.look()
            if now == before and all(one is None or one.state in "SD" for one in now.values()):
                return True
            before = now
        return False

    def look(self) -> dict[str, proc.Thread | None]:
        """Return what each of them does now, and hear what they say and how they end."""
        self.reap()
        for actor in self.actors.values():
            actor.listen()
        return {name: actor.look() for name, actor in self.actors.items()}

    def reap(self) -> None:
        """Take note of those that have ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for actor in self.actors.values():
                if actor.pid == pid:
                    actor.status = status

    # --- what happens to them

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a process."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.actors[name].pid, number)

    def abort(self) -> None:
        """End the connection."""
        with contextlib.suppress(OSError):
            mounting.abort(self.connection)

    def unmount_by_force(self) -> str:
        """umount -f; return what it says."""
        try:
            umount(self.mountpoint, MNT_FORCE)
        except OSError as error:
            return error.strerror or str(error)
        return "done"

    def waiting(self) -> int | None:
        """Return how many requests have no answer; None if that is not ours to know, or all is over."""
        try:
            return mounting.waiting(self.connection)
        except OSError:
            return None

    # --- the end

    def close(self) -> None:
        """Abort, kill, unmount. Idempotent."""
        self.let_go()
        if self.connection:
            self.abort()
        for actor in self.actors.values():
            if actor.status is None and actor.look() is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(actor.pid, signal.SIGKILL)
        self.wait_for_all()
        if self.connection:
            with contextlib.suppress(OSError):
                umount(self.mountpoint, MNT_DETACH)
        for actor in self.actors.values():
            actor.forget()
        self.connection = 0

    def wait_for_all(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            self.reap()
            if all(actor.status is not None or actor.look() is None for actor in self.actors.values()):
                return
            time.sleep(PAUSE)


def be(name: str, program: Callable[[Line], object], line: Line) -> None:
    """Be the child, under its name. It ends here, whatever happens; and with us."""
    status = 1
    try:
        die_with_parent()
        with open("/proc/self/comm", "w") as comm:
            comm.write(name)
        resource.setrlimit(resource.RLIMIT_CORE, (1, 1))  # too small for a core: one of them dies of SIGBUS
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        program(line)
        status = 0
    finally:
        os._exit(status)
