"""One system call on a mount that this very process serves, drawn from what happens meanwhile.

    with fusewire.mount(filesystem, "/mnt/x"):
        recording = removal("/mnt/x/file")

The process has both ends in hand: it makes the call, in the thread that asks for the recording, and its serving
threads say what they do (events.py). What the kernel does in between comes from tracepoints; where those are out of
reach it is inferred.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from fusewire import events, mounting
from fusewire.diagrams.recording import Moment, Recording
from fusewire.events import Event, Step
from fusewire.explain.real.facts import Fact, Tracer, number_of
from fusewire.explain.real.stage import Actor
from fusewire.explain.real.telling import Teller
from fusewire.watch.trace_events import RequestEnd, RequestSend, Switch, SyscallEnter, SyscallExit, Waking
from fusewire.wire import InHeader, operation

__all__ = ["removal"]

CALLER, DAEMON = "rm", "daemon"
SERVING: Final = "fusewire-"  # how the names of serving threads begin
READ, WRITE, REMOVE = number_of("read"), number_of("write"), number_of("unlink", "unlinkat")
UNLINK: Final = operation("UNLINK").code
PERFORMED: Final = Event(Step.PERFORM, "unlink")


@dataclass
class Heard:
    """What the threads of this process have said of themselves."""

    events: list[tuple[float, int, Event]] = field(default_factory=list)  # when, who

    def hear(self, event: Event) -> None:
        self.events.append((time.monotonic(), threading.get_native_id(), event))

    def tell_of(self, call: Callable[[], object]) -> None:
        """Make a call of this thread, and listen to all until it has returned."""
        before, events.hook = events.hook, self.hear
        try:
            self.hear(Event(Step.CALL, "sys_unlink"))
            call()
            self.hear(Event(Step.RETURN, "sys_unlink"))
        finally:
            events.hook = before

    def server(self) -> int:
        """Return the thread that has served the call."""
        return next(tid for _, tid, event in self.events if event == PERFORMED)


def removal(path: str) -> Recording:
    """Remove a file of a mount that this process serves in threads; return what was seen of it.

    Raises:
        OSError: what unlink(2) raised.
    """
    recording = Recording(f"rm {path}", {CALLER: f'"rm {path}"', DAEMON: "FUSE filesystem daemon"}, observed=True)
    rm, readers, fds = Actor(CALLER, os.getpid(), threading.get_native_id()), list(serving()), devices()
    tracer, heard, began = Tracer(), Heard(), time.monotonic()
    tracer.start()
    try:
        tracer.watch(connection_of(path), [rm, *readers])
        began = time.monotonic()
        heard.tell_of(lambda: os.unlink(path))
        server = heard.server()
        traced = assumed(heard, rm.tid, server, min(fds)) if tracer.tracing is None else tracer.take()
        teller = Teller(recording, {rm.tid: CALLER, server: DAEMON}, fds, path)
        teller.tell(sorted([*waiting(began, server, min(fds)), *traced], key=lambda fact: fact.time))
    finally:
        tracer.stop()
    put_in(recording, heard, server)
    return recording


def serving() -> Iterator[Actor]:
    """The threads of this process that serve mounts."""
    for thread in threading.enumerate():
        if thread.name.startswith(SERVING) and thread.native_id is not None:
            yield Actor(DAEMON, os.getpid(), thread.native_id)


def devices() -> set[int]:
    """The descriptors of /dev/fuse that this process has."""
    found = set()
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            if os.readlink(f"/proc/self/fd/{fd}") == "/dev/fuse":
                found.add(fd)
        except OSError:
            continue  # that of the listing itself
    return found


def connection_of(path: str) -> int:
    """Return the number of the connection behind the mount of a path."""
    mount = mounting.covering(mounting.read_table(), os.path.realpath(path))
    assert mount is not None, f"{path} is on a mount of this process"
    return mount.connection


def waiting(when: float, tid: int, device: int) -> Iterator[Fact]:
    """Whoever serves is in read(2) before anything happens, and sleeps."""
    yield Fact(when, tid, SyscallEnter(READ, (device,)))
    yield Fact(when, tid, Switch(tid, "S", 0), ("fuse_dev_do_read",))


def put_in(recording: Recording, heard: Heard, server: int) -> None:
    """Add what only the daemon knows: when it performs what it has read."""
    began = recording.began or 0.0
    when = next(when for when, tid, event in heard.events if tid == server and event.step == Step.PERFORM)
    later = (
        at for at, entry in enumerate(recording.entries) if isinstance(entry, Moment) and entry.time > when - began
    )
    moment = Moment(DAEMON, PERFORMED, when - began)
    recording.entries.insert(next(later, len(recording.entries)), moment)


def assumed(heard: Heard, rm: int, server: int, device: int) -> Iterator[Fact]:
    """What the threads said, as facts; and between them what must have been."""
    length = InHeader.SIZE + 1
    for when, tid, event in heard.events:
        match event.step, event.name, tid:
            case Step.CALL, "sys_unlink", _:
                yield Fact(when, rm, SyscallEnter(REMOVE, ()))
                yield Fact(when, rm, RequestSend(0, 2, UNLINK, length), certain=False)
                yield Fact(when, rm, Switch(rm, "S", 0), ("request_wait_answer",), certain=False)
            case Step.RETURN, "sys_unlink", _:
                yield Fact(when, rm, SyscallExit(REMOVE, 0))
            case Step.RETURN, "sys_read", tid if tid == server:
                yield Fact(when, tid, SyscallExit(READ, length))
            case Step.CALL, "sys_write", tid if tid == server:
                yield Fact(when, tid, SyscallEnter(WRITE, (device,)))
                yield Fact(when, tid, RequestEnd(0, 2, 0, 0), certain=False)
                yield Fact(when, tid, Waking(rm), ("fuse_request_end",), certain=False)
            case Step.RETURN, "sys_write", tid if tid == server:
                yield Fact(when, tid, SyscallExit(WRITE, 0))
