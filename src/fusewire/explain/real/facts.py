"""What is known of a run on a real kernel: from tracepoints, or, where those are out of reach, from /proc.

A *fact* is an event of the trace with the stack of whoever ran, where there is one. `Tracer` has Linux tell of those
who act on the stage, and of nobody else:

    fuse_request_send, _end       which request, when it was queued, and when it was over
    sys_enter, sys_exit           calls, and what they returned
    sched_switch, sched_waking    who falls asleep, where (the stack says), and who wakes him
    contention_begin, _end        who waits for a lock, and when he gets it
    page_fault_user, filemap...   who comes to the page in question, and who puts it into the cache
    signal_generate, _deliver     what is sent, and what is heard

Without tracing there is no telling when anything happened; then a scene assumes what must have, and two things
that /proc shows of who sleeps confirm a part of it: the system call that he is in, and where.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from fusewire.explain.real.stage import Actor
from fusewire.watch.syscalls import BY_NUMBER
from fusewire.watch.trace_events import Stack, Traced, TraceEvent
from fusewire.watch.tracefs import NoTracing, Tracing

__all__ = ["Fact", "Tracer", "facts", "number_of"]

OF_THE_CONNECTION: Final = ("fuse/fuse_request_send", "fuse/fuse_request_end")
OF_THE_ACTORS: Final = (
    "raw_syscalls/sys_enter",
    "raw_syscalls/sys_exit",
    "filemap/mm_filemap_fault",
    "filemap/mm_filemap_add_to_page_cache",
    "signal/signal_deliver",
)
WHERE_THERE: Final = ("lock/contention_begin", "lock/contention_end")  # since Linux 5.19
TO_THE_ACTORS: Final = ("sched/sched_waking", "signal/signal_generate")
LAG: Final = 0.02  # seconds after which the last events are in the buffer


class Fact(NamedTuple):
    """Something that happened."""

    time: float  # seconds, of time.monotonic()
    tid: int  # who ran
    event: TraceEvent
    stack: tuple[str, ...] = ()  # where in the kernel; () if that is not known
    certain: bool = True  # it was seen; else it is assumed

    def passes(self, *functions: str) -> bool:
        """Tell whether one of these functions was being run."""
        return any(function in self.stack for function in functions)


def facts(traced: Iterable[Traced]) -> Iterator[Fact]:
    """Put each event together with its stack, which follows it."""
    waiting: dict[int, Fact] = {}  # for their stacks, by thread
    order: list[Fact] = []
    for one in traced:
        if isinstance(one.event, Stack):
            fact = waiting.pop(one.tid, None)
            if fact is not None:
                order[order.index(fact)] = fact._replace(stack=one.event.functions)
        else:
            fact = waiting[one.tid] = Fact(one.time, one.tid, one.event)
            order.append(fact)
    return iter(order)


class Tracer:
    """Linux's tracepoints, of those who act on a stage."""

    def __init__(self) -> None:
        self.tracing: Tracing | None = None
        self.why_not = ""  # a sentence, if there is none

    def start(self) -> None:
        """Begin, if that is allowed."""
        try:
            self.tracing = Tracing().__enter__()
            self.tracing.with_stacks()
        except OSError as error:
            self.stop()
            self.why_not = str(error) if isinstance(error, NoTracing) else f"Linux's tracing fails: {error.strerror}"

    def stop(self) -> None:
        """End. Idempotent."""
        tracing, self.tracing = self.tracing, None
        if tracing is not None:
            tracing.close()

    def watch(self, connection: int, actors: Iterable[Actor], address: int = 0) -> None:
        """Trace these actors, and the requests of this connection; faults at this address alone."""
        if self.tracing is None:
            return
        tids = [actor.tid for actor in actors]
        try:
            self._enable(self.tracing, connection, tids, address)
        except NoTracing as error:
            self.stop()
            self.why_not = str(error)

    def _enable(self, tracing: Tracing, connection: int, tids: list[int], address: int) -> None:
        for tracepoint in OF_THE_CONNECTION:
            tracing.enable(tracepoint, f"connection == {connection}")
        for tracepoint in (*OF_THE_ACTORS, *filter(tracing.has, WHERE_THERE)):
            tracing.enable(tracepoint, either("common_pid", tids))
        for tracepoint in TO_THE_ACTORS:
            tracing.enable(tracepoint, either("pid", tids))
        tracing.enable("sched/sched_switch", either("prev_pid", tids))
        if address:
            tracing.enable("exceptions/page_fault_user", f"address == {address:#x}")

    def take(self) -> list[Fact]:
        """Return what has happened since the last time."""
        if self.tracing is None:
            return []
        time.sleep(LAG)
        return list(facts(self.tracing.read()))

    @property
    def lost(self) -> int:
        return 0 if self.tracing is None else self.tracing.lost


def either(name: str, values: Iterable[int]) -> str:
    """Return the condition that a field has one of these values."""
    return " || ".join(f"{name} == {value}" for value in values)


def number_of(*calls: str) -> int:
    """Return the number of a system call: the first of these that this machine has."""
    numbers = {row.name: number for number, row in BY_NUMBER.items()}
    return next(numbers[call] for call in calls if call in numbers)
