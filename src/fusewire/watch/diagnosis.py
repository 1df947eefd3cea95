"""What is the matter with one connection, as data.

A diagnosis says how a connection is, how sure that is, who serves it, who waits for whom, and what
to type next. `words.py` tells it to people, `as_data` to programs.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, NamedTuple

from fusewire.watch.scenarios import ADVICE, Scenario
from fusewire.watch.wait_graph import Kind

__all__ = ["Certainty", "Diagnosis", "Edge", "Server", "State"]


class State(enum.Enum):
    """How a connection is, in one word."""

    IDLE = "idle"  # nothing waits
    BUSY = "busy"  # requests wait, none of them long
    SLOW = "slow"  # one has waited for more than a second
    STOPPED = "stopped"  # the daemon cannot run
    DEADLOCKED = "deadlocked"  # nobody can answer any more
    TIMING_OUT = "timing out"  # slow, and soon the kernel will end the connection for it
    DEAD = "dead"  # nobody holds its device
    ORPHAN = "orphan"  # it is mounted nowhere any more
    UNKNOWN = "unknown"  # what would tell is not ours to see

    @property
    def is_sick(self) -> bool:
        """Whether somebody has to do something."""
        return self in (State.STOPPED, State.DEADLOCKED, State.TIMING_OUT, State.DEAD)


class Certainty(enum.Enum):
    """How sure a verdict is.

    CERTAIN     proven: it will be so for ever, unless somebody interferes
    PROBABLE    so unless a lock is held by somebody whom we did not see, or a clock wakes somebody to help
    SUSPECTED   it looks like it, but threads have moved from one look to the next
    """

    CERTAIN = "certain"
    PROBABLE = "probable"
    SUSPECTED = "suspected"


class Server(NamedTuple):
    """A process that holds the device."""

    pid: int
    command: str
    threads: int
    blocked: int  # of these, those that wait for something of FUSE
    ready: int  # those that wait for a request
    certain: bool  # that it serves this connection


class Edge(NamedTuple):
    """One thread waits for another, or for the daemon of a connection."""

    pid: int
    tid: int
    command: str
    call: str  # the system call: 'unlink', 'page fault'; "" if that is not ours to see
    path: str  # that it is about; "" if we could not tell
    kind: Kind  # what it waits for
    connections: tuple[int, ...]
    holder: int | None  # thread that holds the lock, if it is a lock and that could be shown
    where: str  # the kernel's function in which it sleeps
    seconds: float | None  # for how long
    serves: bool  # it is a thread of the daemon: it should have answered
    lock: str = ""  # what it waits to lock: 'the directory /mnt'; "" if it is no lock, or we cannot tell

    @property
    def is_sure(self) -> bool:
        """Whether it is sure for which connection it waits."""
        return len(self.connections) == 1


@dataclass(frozen=True)
class Diagnosis:
    """How one connection is."""

    connection: int
    mountpoints: tuple[str, ...]  # in our own view first; those of other namespaces say whose
    fstype: str
    source: str
    state: State
    certainty: Certainty
    waiting: int | None  # requests without an answer; None if that is not ours to know
    oldest: float | None  # seconds for which the first of those who wait has waited; None if nobody is known to
    servers: tuple[Server, ...]
    edges: tuple[Edge, ...]  # who waits for whom: the daemon's own threads first
    scenario: Scenario | None = None
    partial: bool = False  # others are still answered
    remarks: tuple[str, ...] = ()  # sentences on what else is known
    killable: bool = False  # SIGKILL of the daemon would end it
    cure: str = ""  # the command to type next
    unseen: tuple[str, ...] = ()  # what was not ours to see

    @property
    def place(self) -> str:
        """Where it is mounted, or its number."""
        return self.mountpoints[0] if self.mountpoints else f"connection {self.connection}"

    @property
    def daemon(self) -> str:
        """Who serves it, in a word or two."""
        names = [f"{server.command} (pid {server.pid})" for server in self.servers]
        return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "") if names else "nobody"

    @property
    def is_sick(self) -> bool:
        """Whether somebody has to do something. What is only suspected counts."""
        return self.state.is_sick

    def as_data(self) -> dict[str, Any]:
        """Return all of it as JSON has it."""
        return {
            "connection": self.connection,
            "mountpoints": list(self.mountpoints),
            "fstype": self.fstype,
            "source": self.source,
            "state": self.state.value,
            "certainty": self.certainty.value,
            "scenario": self.scenario.name.lower() if self.scenario else None,
            "partial": self.partial,
            "waiting": self.waiting,
            "oldest": None if self.oldest is None else round(self.oldest, 3),
            "servers": [server._asdict() for server in self.servers],
            "edges": [edge._asdict() | {"kind": edge.kind.name.lower()} for edge in self.edges],
            "remarks": list(self.remarks),
            "change": ADVICE[self.scenario].change if self.scenario else None,
            "cure": self.cure,
            "unseen": list(self.unseen),
        }
