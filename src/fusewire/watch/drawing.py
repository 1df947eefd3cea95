"""A hang in the two columns of kernel.txt: on the left who waits, on the right who should have answered.

      |  "rm", pid 215                       |  "python3", pid 210, the daemon
      |  >sys_unlinkat("/mnt/x/file")        |
      |· [acquire lock of the directory      |
      |· /mnt/x]                             |
      |  [sleep on req->waitq]               |
      |                                      |· <sys_read()
      |                                      |  >sys_unlink("/mnt/x/file")
      |                                      |  [sleep on lock of the directory /mnt/x]
      |                                      |  *DEADLOCK*

Nobody watched as it came about: we see where everybody sleeps, and in which call. So these rows were
seen. What must have gone before is inferred, and bears a middle dot: that the holder of a lock took it
before it asked, that the daemon had read a request before it did what it is in now. In which order the
two columns came so far is inferred as well, by the same rule: who sleeps for the other came second.

Of many callers, and of many threads of the daemon, one is drawn that is in the circle; the others are in the same,
or wait behind it, and words.py counts them. A daemon that waits for nobody but itself has both columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from fusewire.diagrams.columns import Detail
from fusewire.diagrams.recording import Moment, Recording
from fusewire.diagrams.text import render
from fusewire.events import Event, Step
from fusewire.watch.diagnosis import Diagnosis, Edge, State
from fusewire.watch.wait_graph import Kind

__all__ = ["drawn", "recorded"]

LOCK: Final = "lock of {}"
SLEEPS: Final = {
    Kind.REQUEST: "req->waitq",
    Kind.EXIT: "req->waitq",
    Kind.PAGE: "the page's lock",
    Kind.WRITEBACK: "the page's writeback",
    Kind.THROTTLED: "changed pages to be written",
}
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
    """Return who waits, and who should have answered; where nobody else waits, both are the daemon's. One each, or none."""
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
    if edge.serves and edge.kind is not Kind.EXIT and edge.call != "page fault":
        yield Done(Step.RETURN, "sys_read", seen=False)  # of the request that it does not answer
    yield Done(Step.CALL, function(edge), argument(edge), seen=bool(edge.call) or edge.kind is Kind.EXIT)
    for other in circle:
        if other.holder == edge.tid:
            yield Done(Step.ACQUIRE, LOCK.format(other.lock or "what the other wants"), seen=False)
    if edge.kind is Kind.PAGE and edge.call != "page fault":
        yield Done(Step.FIND_PAGE, seen=False)
    yield Done(Step.SLEEP, place(edge))


def function(edge: Edge) -> str:
    """Return the function that a thread is in, named as kernel.txt does."""
    if edge.kind is Kind.EXIT:
        return "do_exit"
    if edge.call == "page fault":
        return "do_page_fault"
    return f"sys_{edge.call}" if edge.call else "sys_?"


def argument(edge: Edge) -> str:
    return f'"{edge.path}"' if edge.path.startswith("/") and edge.call != "page fault" else ""


def place(edge: Edge) -> str:
    """Return on what a thread sleeps."""
    if edge.kind is Kind.LOCK:
        return LOCK.format(edge.lock or "a file")
    return SLEEPS[edge.kind]


def task(edge: Edge) -> str:
    return f"{edge.pid}/{edge.tid}"


def title(edge: Edge) -> str:
    thread = f", thread {edge.tid}" if edge.tid != edge.pid else ""
    return f'"{edge.command}", pid {edge.pid}{thread}{", the daemon" if edge.serves else ""}'


def add(recording: Recording, name: str, deeds: Iterator[Done] | Sequence[Done]) -> None:
    """Enter what one thread did. When, nobody knows: all moments have the time 0."""
    for deed in deeds:
        event = Event(deed.step, deed.name, detail=deed.detail)
        recording.entries.append(Moment(name, event, 0.0, certain=deed.seen))
