"""The live requests of some connections, of any daemon, in whatever language.

    with Trace([46]) as trace:
        while trace.goes_on():
            for request in trace.requests(): ...

Which threads may read requests /proc says: all of the processes that hold the device of a connection. They are
looked for again and again, since daemons start threads when they please; so of the first requests of a new thread
the read may be missed, and with it where their pending phase ended.

The number of a connection that has ended is used again at once, by whoever mounts next. His first request, INIT, or
another directory in fusectl shows it: what follows is not of the connection that was asked for.

The trace is read in portions, some of them a second, for a reader that is woken for each event would slow down what
it looks at. A name or a process that Linux had forgotten by then is asked of /proc.

What the requests are about, names and arguments, no tracepoint says: neither Linux's nor, so far, one of ours.

Source: include/trace/events/fuse.h; kernel/trace/trace_events_filter.c.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Collection, Iterable, Iterator
from typing import Final, Self

from fusewire.watch.connections import Connection, Fusectl, find_holders
from fusewire.watch.mounts import read_mounts
from fusewire.watch.proc import contents, pids, thread, tids
from fusewire.watch.requests import FORGOTTEN, Pairing, Request, Who
from fusewire.watch.syscalls import BY_NUMBER
from fusewire.watch.trace_events import RequestEnd, RequestSend, Traced
from fusewire.watch.tracefs import NoTracing, Tracing
from fusewire.wire import InHeader, operation

__all__ = ["NoTracing", "Trace", "connections_of", "look_at_connections"]

READS: Final = ("read", "readv", "splice")  # with which a daemon gets its requests
PORTION: Final = 0.03  # seconds
MANY: Final = 4000  # events of a portion after which the next is read without delay
SEARCH: Final = 0.5  # seconds between two looks for new threads, and whether the connections are still there
MOST_TIDS: Final = 100  # in a condition, whose length is limited
INIT: Final = operation("INIT").code
TGID: Final = re.compile(rb"^Tgid:\t(\d+)$", re.MULTILINE)


def look_at_connections() -> dict[int, Connection]:
    """Return all connections, with who holds their devices."""
    with Fusectl() as fusectl:
        found = {connection.number: connection for connection in fusectl.connections()}
    processes = pids()
    mounts = read_mounts(processes)
    for below in mounts.below.values():  # of those that fusectl does not tell of
        for number in below:
            found.setdefault(number, Connection(number, None))
    find_holders(processes, found, mounts)
    return found


def connections_of(pid: int, connections: dict[int, Connection]) -> list[int]:
    """Return the connections that a process serves."""
    return [number for number, connection in connections.items() if pid in connection.holder_pids]


class Trace:
    """A trace of requests, from entering the `with` until it is left."""

    def __init__(self, numbers: Collection[int] = (), *, drawn: bool = False) -> None:
        """Nothing is done yet.

        Args:
            numbers: the connections; none for all, those included that are mounted later.
            drawn: have Linux tell as much as a diagram needs, which costs much more.
        """
        self.numbers = sorted(numbers)
        self.drawn = drawn
        self.pairing = Pairing()
        self.tracing = Tracing()
        self.servers: frozenset[int] = frozenset()  # threads that may read requests
        self.connections: dict[int, Connection] = {}
        self.latest: list[Traced] = []  # what was read last
        self.gone: set[int] = set()  # those of the connections that have ended
        self._identities: dict[int, int | None] = {}
        self._searched = 0.0
        self._names: dict[int, Who] = {}

    def __enter__(self) -> Self:
        """Begin.

        Raises:
            NoTracing: tracing is out of reach; the text is a sentence that says why.
        """
        self.tracing.__enter__()
        try:
            self._begin()
        except BaseException:
            self.close()
            raise
        return self

    def _begin(self) -> None:
        with contextlib.suppress(OSError):  # since Linux 4.13
            self.tracing.write("options/record-tgid", "1")
        if self.drawn:
            self.tracing.with_stacks()
        self._search()
        for tracepoint in ("fuse/fuse_request_end", "fuse/fuse_request_send"):
            self.tracing.enable(tracepoint, either("connection", self.numbers))

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it, and leave nothing behind. Idempotent."""
        self.tracing.close()

    # --- what is seen

    @property
    def lost(self) -> int:
        """So many events found the buffer full."""
        return self.tracing.lost

    def goes_on(self) -> bool:
        """Tell whether there can be more: some of the connections that were named still exist."""
        return not self.numbers or not self.gone.issuperset(self.numbers)

    def requests(self) -> list[Request]:
        """Return the requests that ended since the last time, after a moment's wait."""
        if len(self.latest) < MANY:
            time.sleep(PORTION)
        requests = self._read()
        if time.monotonic() - self._searched > SEARCH or self._met_strangers(self.latest):
            self._search()
        return requests

    def rest(self) -> Iterator[list[Request]]:
        """Trace no more; yield, in portions, the requests that have ended by now, and that are still to be read."""
        self.tracing.write("events/enable", "0")
        time.sleep(PORTION)  # the last events are on their way
        more = True
        while more:
            requests = self._read()
            more = bool(self.latest)
            yield requests

    def _read(self) -> list[Request]:
        self.latest = [self._named(one) for one in self.tracing.read() if self._is_ours(one)]
        return list(self.pairing.feed(self.latest))

    def unanswered(self) -> Iterator[Request]:
        """Yield the requests that are not over, the oldest first; but not those whose callers are gone."""
        for request in self.pairing.waiting.values():
            caller = thread(request.caller.pid or request.caller.tid, request.caller.tid)
            if caller is not None and not caller.is_dead:
                yield request

    def _is_ours(self, one: Traced) -> bool:
        """Tell whether an event is of a connection that was asked for, and not of the next with its number."""
        if not self.numbers or not isinstance(one.event, RequestSend | RequestEnd):
            return True
        if isinstance(one.event, RequestSend) and one.event.opcode == INIT:
            self.gone.add(one.event.connection)
        return one.event.connection not in self.gone

    # --- names

    def _named(self, one: Traced) -> Traced:
        """Put in what Linux had forgotten, as far as /proc knows it."""
        if not isinstance(one.event, RequestSend | RequestEnd) or (one.pid and one.comm != FORGOTTEN):
            return one
        if one.tid not in self._names or FORGOTTEN in self._names[one.tid]:
            self._names[one.tid] = who_is(one.tid)
        found = self._names[one.tid]
        return one._replace(pid=one.pid or found.pid, comm=found.comm if one.comm == FORGOTTEN else one.comm)

    # --- who serves

    def _met_strangers(self, traced: Iterable[Traced]) -> bool:
        """Tell whether somebody has answered whom we did not know to serve."""
        return any(isinstance(one.event, RequestEnd) and one.tid not in self.servers for one in traced)

    def _search(self) -> None:
        """Look who serves, and trace their reads."""
        self.connections, self._searched = look_at_connections(), time.monotonic()
        self._look_who_is_gone()
        self._names.clear()  # numbers are used again
        wanted = set(self.numbers or self.connections) - self.gone
        holders = {pid for number in wanted if number in self.connections for pid in self.holders(number)}
        servers = frozenset(tid for pid in holders for tid in tids(pid))
        if servers != self.servers:
            self.servers = servers
            self._trace_servers()

    def _look_who_is_gone(self) -> None:
        with Fusectl() as fusectl:
            for number in self.numbers:
                identity = fusectl.identity(number)
                known = self._identities.setdefault(number, identity)
                if number not in self.connections or (fusectl.readable and identity != known):
                    self.gone.add(number)

    def holders(self, number: int) -> list[int]:
        """Return the processes that hold the device of a connection."""
        return self.connections[number].holder_pids

    def _trace_servers(self) -> None:
        theirs = among("common_pid", self.servers)
        numbers = [number for number, row in BY_NUMBER.items() if row.name in READS]
        reads = f"ret >= {InHeader.SIZE} && ({theirs}) && ({either('id', numbers)})"  # what most calls fail comes first
        self.tracing.enable("raw_syscalls/sys_exit", theirs if self.drawn else reads)
        if self.drawn:
            self.tracing.enable("raw_syscalls/sys_enter", theirs)
            self.tracing.enable("sched/sched_waking", f"({theirs}) || ({among('pid', self.servers)})")


def who_is(tid: int) -> Who:
    """Ask /proc for a thread; what it does not know is as if it were of a process of its own."""
    place = f"/proc/{tid}"
    found = TGID.search(contents(f"{place}/status"))
    comm = os.fsdecode(contents(f"{place}/comm").rstrip(b"\n"))
    return Who(tid, int(found[1]) if found else tid, comm or FORGOTTEN)


def either(name: str, values: Iterable[int]) -> str:
    """Return the condition that a field has one of these values; "" if there are none."""
    return " || ".join(f"{name} == {value}" for value in values)


def among(name: str, tids: Collection[int]) -> str:
    """Return the condition that a field is one of these threads; of very many, that it lies among them."""
    if not tids:
        return f"{name} == -1"
    if len(tids) > MOST_TIDS:
        return f"{name} >= {min(tids)} && {name} <= {max(tids)}"
    return either(name, sorted(tids))
