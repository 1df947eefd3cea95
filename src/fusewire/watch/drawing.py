"""A hang in the two columns of kernel.txt: on the left who waits, on the right who should have answered.

      |  "rm", pid 215                       |  "python3", pid 210, the daemon
      |                                      |
      |  >sys_unlinkat("/mnt/x/file")        |
      |  · [acquire the directory "x"]        |
      |  [sleep on req->waitq]               |
      |                                      |  · <sys_read()
      |                                      |  >sys_unlink("/mnt/x/file")
      |                                      |  [sleep on the directory "x"]
      |                                      |  *DEADLOCK*

Nobody watched as it came about: we see where everybody sleeps, and in which call. So these rows were
seen. What must have gone before is inferred, and bears a middle dot: that the holder of a lock took it
before it asked, that the daemon had read a request before it did what it is in now. In which order the
two columns came so far is inferred as well, by the same rule: who sleeps for the other came second.

Of many callers, and of many threads of the daemon, one is drawn that is in the circle; the others are in the same,
or wait behind it, and words.py counts them. A daemon that waits for nobody but itself has both columns.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from fusewire.diagrams.columns import Detail
from fusewire.diagrams.recording import Moment, Recording
from fusewire.diagrams.text import render
from fusewire.events import Event, Step
from fusewire.watch.diagnosis import Diagnosis, Edge, State
from fusewire.watch.wait_graph import Kind

__all__ = ["drawn", "recorded"]

SLEEPS: Final = {
    Kind.REQUEST: "req->waitq",
    Kind.EXIT: "req->waitq",
    Kind.PAGE: "the page's lock",
    Kind.WRITEBACK: "the page's writeback",
    Kind.THROTTLED: "changed pages to be written",
}
FAULT: Final = "page fault"  # Edge.call of a thread that is in no system call
LONGEST: Final = 25  # characters of a call and its path that stand in one line
STOPPED: Final = "[stopped]"
DAEMON: Final = "daemon"  # of which no thread waits

DETAIL: Final = Detail(words={Step.CALL: ">{name}({detail})"}, gaps_before=frozenset())


class Done(NamedTuple):
    """Something that a thread did."""

    step: str
    name: str = ""
    detail: str = ""
    seen: bool = True


def drawn(diagnosis: Diagnosis, others: Sequence[Diagnosis] = (), *, colour: bool = False) -> list[str]:
    """Return the diagram of a hang as lines of at most 80 columns; none if nobody waits for who should answer.

    Args:
        others: diagnoses of the same look: who of them serves what.
    """
    recording = recorded(diagnosis, others)
    return render(recording, DETAIL, colour=colour).splitlines() if recording.entries else []


def recorded(diagnosis: Diagnosis, others: Sequence[Diagnosis] = ()) -> Recording:
    """Return a hang as what must have happened, in order; empty if there is nothing to draw."""
    left, right = sides(diagnosis, others)
    columns = {task(edge): title(edge) for edge in left}
    columns |= {task(edge): title(edge) for edge in right}
    recording = Recording(diagnosis.place, columns, observed=True)
    if diagnosis.state is State.STOPPED and left:
        recording.columns[DAEMON] = f"{diagnosis.daemon}, the daemon"
        add(recording, DAEMON, [Done(STOPPED)])
        add(recording, task(left[0]), way(left[0], ()))
    elif diagnosis.state is State.DEADLOCKED and right:
        for edge in [*left, *right]:
            add(recording, task(edge), way(edge, [*left, *right]))
        recording.say("deadlock", "")
    return recording


def sides(diagnosis: Diagnosis, others: Sequence[Diagnosis]) -> tuple[list[Edge], list[Edge]]:
    """Return who waits and who should have answered, one or none of each; if nobody else waits, the daemon's both."""
    servers = [edge for edge in diagnosis.edges if edge.serves]
    callers = sorted((e for e in diagnosis.edges if not e.serves), key=lambda e: not closes(e, servers, others))
    if callers:
        return callers[:1], sorted(servers, key=lambda edge: edge.holder != callers[0].tid)[:1]
    asking = sorted(servers, key=lambda edge: edge.call == "write")  # who answers out of a page came second
    return asking[:-1][:1], asking[-1:]


def closes(caller: Edge, servers: Sequence[Edge], others: Sequence[Diagnosis]) -> bool:
    """Tell whether a caller is in the circle: it holds what a server waits for, or should answer it."""
    wanted = {number for edge in servers for number in edge.connections}
    pids = {server.pid for other in others if other.connection in wanted for server in other.servers}
    return any(edge.holder == caller.tid for edge in servers) or caller.pid in pids


def way(edge: Edge, circle: Sequence[Edge]) -> Iterator[Done]:
    """Yield what a thread has done, as far as it is seen or must be."""
    faults = edge.call == FAULT
    if edge.serves and edge.kind is not Kind.EXIT and not faults:
        yield Done(Step.RETURN, "sys_read", seen=False)  # of the request that it does not answer
    yield Done(Step.CALL, function(edge), argument(edge), seen=bool(edge.call) or edge.kind is Kind.EXIT)
    for other in circle:
        if other.holder == edge.tid:
            yield Done(Step.ACQUIRE, lock(other), seen=False)
    if edge.kind is Kind.PAGE and not faults:
        yield Done(Step.CALL, "do_page_fault", seen=False)  # of the page that the call is to read
    if edge.kind is Kind.PAGE or faults:
        yield Done(Step.FIND_PAGE, seen=False)
    if edge.kind is Kind.REQUEST and faults:
        yield Done(Step.LOCK_PAGE, seen=False)
    yield Done(Step.SLEEP, lock(edge) if edge.kind is Kind.LOCK else SLEEPS[edge.kind])


def function(edge: Edge) -> str:
    """Return the function that a thread is in, named as kernel.txt does."""
    if edge.kind is Kind.EXIT:
        return "do_exit"
    if edge.call == FAULT:
        return "do_page_fault"
    return f"sys_{edge.call}" if edge.call else "sys_?"


def argument(edge: Edge) -> str:
    """Return the path that a call is about, in quotes; without its beginning, if it is long."""
    if not edge.path.startswith("/"):
        return ""
    room = LONGEST - len(function(edge))
    return f'"{edge.path}"' if len(edge.path) <= room else f'".../{os.path.basename(edge.path)}"'


def lock(edge: Edge) -> str:
    """Return what a thread waits to lock, by its last name."""
    what, _, path = edge.lock.partition(" /")
    if what.endswith("file"):
        return f'inode semaphore for "{os.path.basename(path)}"'
    return f'{what} "{os.path.basename(path)}"' if path else what or "a lock"


def task(edge: Edge) -> str:
    return f"{edge.pid}/{edge.tid}"


def title(edge: Edge) -> str:
    which = f"thread {edge.tid}" if edge.tid != edge.pid else f"pid {edge.pid}"
    return f'"{edge.command}", {which}{", the daemon" if edge.serves else ""}'


def add(recording: Recording, name: str, deeds: Iterator[Done] | Sequence[Done]) -> None:
    """Enter what one thread did. When, nobody knows: all moments have the time 0."""
    for deed in deeds:
        event = Event(deed.step, deed.name, detail=deed.detail)
        recording.entries.append(Moment(name, event, 0.0, certain=deed.seen))
