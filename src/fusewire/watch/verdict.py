"""From two looks to verdicts: how each connection is, and how sure that is.

A connection is deadlocked with certainty if it is wedged (wait_graph.py) by the second look alone,
with no help but this: every thread that the proof is about stood still since the first. For then
they all were where we found them at one and the same moment, and at that moment none could go on
before another did. Nothing in the circle needs a clock, so it stays.

It is probable if that holds but for a lock whose holder nobody has seen, or a thread that a clock
wakes, such as a Python main thread in join(timeout); suspected, if threads have moved.

A deadlock may also take but some threads of a daemon, and leave others to wait for requests: the
daemon waits for a lock, and whoever holds it for the daemon; or a request of the daemon's own was
read and stands in a queue behind the one that waits for it. Nobody is left who works at it. But the
daemon might have put it aside for something to come; so that is probable at most, and suspected if
a thread sleeps in poll, and it might come by there. Two things say that no such thread has it:

- it has slept since before the request was sent (`slept_through`), so it never had it in its hands;
- the thread that waits for the lock came to it by another way than through the mountpoint, as a mirror does
  whose source leads back into itself. So it is at work for somebody; and if it does to the same file what the
  holder of the lock wants done (`same_work`), for him, whatever the other threads do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from fusewire.mounting.table import lies_in
from fusewire.watch.diagnosis import Certainty, State
from fusewire.watch.look import Look
from fusewire.watch.proc import Thread
from fusewire.watch.scenarios import Scenario
from fusewire.watch.wait_graph import Kind, Level, Wait, WaitGraph, polls, reads_device, same_work, sleeps_by_clock

__all__ = ["LONG", "Verdict", "Verdicts"]

MARGIN: Final = 0.05  # seconds by which an age may be wrong, and more
LONG: Final = 1.0  # seconds from which on a request is slow
FREEZERS: Final = ("do_freezer_trap", "__refrigerator", "get_signal", "ptrace_stop", "do_signal_stop")


class Verdict(NamedTuple):
    """How one connection is."""

    state: State
    certainty: Certainty = Certainty.CERTAIN
    scenario: Scenario | None = None
    partial: bool = False


class Verdicts:
    """Judges every connection of a look, by it and one before."""

    def __init__(self, first: Look, second: Look) -> None:
        self.look = second
        self.graph = WaitGraph(second, first)
        self.first = WaitGraph(first)
        self.certain = self.graph.wedged()
        self.probable = self.graph.wedged(Level.HOLDERS) & self.first.wedged(Level.HOLDERS)
        self.suspected = self.graph.wedged(Level.SLEEP) & self.first.wedged(Level.SLEEP)
        self.partly = self.wedged_in_part(lambda one: reads_device(one) or self.slept_through(one)) | self.at_work()
        self.perhaps_partly = self.wedged_in_part(
            lambda one: reads_device(one) or polls(one) or self.slept_through(one)
        )
        self.partly |= {number for number in self.perhaps_partly if any(self.locked_mirrors(number))}

    def wedged_in_part(self, idle: Callable[[Thread], bool]) -> set[int]:
        """Return connections some of whose threads are in a circle while the others wait for requests."""
        wedged = self.graph.wedged(Level.HOLDERS, idle)
        return {
            number for number in wedged if any(self.closes_circle(w, wedged) for w in self.waits_of_servers(number))
        }

    def slept_through(self, thread: Thread) -> bool:
        """Tell whether a thread has waited for a clock, or for news, since before any of those waited who wait now."""
        if not (polls(thread) or sleeps_by_clock(thread)):
            return False
        served = [n for n, connection in self.look.connections.items() if thread.pid in connection.holder_pids]
        oldest = max((self.oldest(number) or 0.0 for number in served), default=0.0)
        return self.look.ages.get(thread.tid, 0.0) > oldest + MARGIN

    def at_work(self) -> set[int]:
        """Return connections for which a thread waits, for long, for a lock of the very caller whose work it does."""
        mirrors = ((number, pair) for number in self.look.connections for pair in self.locked_mirrors(number))
        return {number for number, (wait, holder) in mirrors if same_work(wait, holder)}

    def locked_mirrors(self, number: int) -> Iterator[tuple[Wait, Wait]]:
        """Yield who should answer, but waits for long, having come another way, for a lock; and whoever has it."""
        points = [mount.mountpoint for _, mount in self.look.mounts.mounted(number) if mount.root == "/"]
        for wait in self.waits_of_servers(number):
            holder = self.graph.waits.get(wait.holder or 0)
            if holder is None or wait.touch is None or holder.connections != {number}:
                continue
            directly = any(lies_in(wait.touch.shown, point) for point in points)
            still = all(self.graph.stood_still(one.thread) for one in (wait, holder))
            if still and not directly and self.look.ages.get(wait.thread.tid, 0.0) >= LONG:
                yield wait, holder

    def closes_circle(self, wait: Wait, wedged: set[int]) -> bool:
        """Tell whether a thread of a daemon waits for what only a thread like itself could give, and none does.

        For a lock whose holder waits for an answer that will not come; or, for long, for an answer:
        somebody has read that request, for there are others who would, but all of them are idle.
        """
        if wait.kind is Kind.LOCK:
            holder = self.graph.waits.get(wait.holder or 0)
            return holder is not None and holder.connections <= wedged
        return bool(wait.connections) and self.look.ages.get(wait.thread.tid, 0.0) >= LONG

    def is_partial(self, number: int) -> bool:
        """Tell whether others are still answered: none of the threads that are stuck waits for an answer."""
        return all(wait.kind is Kind.LOCK for wait in self.waits_of_servers(number))

    def waits_of_servers(self, number: int) -> list[Wait]:
        """Return what the threads that should answer wait for themselves."""
        threads = [*self.graph.answering(number), *self.graph.helping(number)]
        found = (self.graph.waits.get(thread.tid) for thread in threads)
        return [wait for wait in found if wait is not None]

    def waits_of_callers(self, number: int) -> list[Wait]:
        """Return who else waits for this connection, those who have waited longest first."""
        servers = {thread.tid for thread in [*self.graph.answering(number), *self.graph.helping(number)]}
        waits = [w for w in self.graph.waits.values() if number in w.connections and w.thread.tid not in servers]
        return sorted(waits, key=lambda wait: -self.look.ages.get(wait.thread.tid, 0.0))

    def oldest(self, number: int) -> float | None:
        """Return for how long the first of all who wait for a connection has waited."""
        waits = (wait for wait in self.graph.waits.values() if number in wait.connections)
        return max((self.look.ages.get(wait.thread.tid, 0.0) for wait in waits), default=None)

    # --- the verdict

    def of(self, number: int) -> Verdict:
        """Judge one connection."""
        connection = self.look.connections[number]
        for found, certainty in (
            (self.certain, Certainty.CERTAIN),
            (self.probable, Certainty.PROBABLE),
            (self.suspected, Certainty.SUSPECTED),
        ):
            if number in found:
                return Verdict(State.DEADLOCKED, certainty, self.scenario(number))
        threads = [thread for thread in self.look.servers(number) if not thread.is_dead]
        if not threads:
            return self.without_daemon(number)
        certainty = Certainty.CERTAIN if all(h.certain for h in connection.holders) else Certainty.PROBABLE
        if all(is_stopped(thread) for thread in threads):
            return Verdict(State.STOPPED, certainty, Scenario.STOPPED)
        if number in self.partly:
            return Verdict(State.DEADLOCKED, Certainty.PROBABLE, self.scenario(number), self.is_partial(number))
        if number in self.perhaps_partly:
            return Verdict(State.DEADLOCKED, Certainty.SUSPECTED, self.scenario(number), self.is_partial(number))
        if not any(self.look.mounts.mounted(number)):
            return Verdict(State.ORPHAN, certainty, Scenario.DETACHED)
        return self.with_daemon(number, certainty)

    def without_daemon(self, number: int) -> Verdict:
        """Judge a connection of which nobody seems to hold the device."""
        if self.look.hides_holders or self.look.connections[number].waiting:
            return Verdict(State.UNKNOWN, Certainty.SUSPECTED)
        if any(self.look.mounts.mounted(number)):
            return Verdict(State.DEAD, Certainty.CERTAIN, Scenario.DEAD)
        return Verdict(State.ORPHAN, Certainty.CERTAIN, Scenario.DETACHED)

    def with_daemon(self, number: int, certainty: Certainty) -> Verdict:
        """Judge a connection whose daemon can run."""
        connection = self.look.connections[number]
        oldest = self.oldest(number)
        if connection.waiting == 0:
            return Verdict(State.IDLE, certainty)
        if connection.waiting is None and oldest is None:  # nobody whom we see waits
            return Verdict(State.IDLE, Certainty.PROBABLE)
        if oldest is None or oldest < LONG:
            return Verdict(State.BUSY, certainty)
        return Verdict(State.SLOW, certainty, Scenario.FORKED_CHILD if self.is_forked_child(number) else None)

    def is_forked_child(self, number: int) -> bool:
        """Tell whether the holders look like children of a daemon that is gone: orphans of one thread that never ran.

        None of them has run while requests waited, none waits for requests, and none holds anything of FUSE.
        """
        threads = self.look.servers(number)
        oldest = self.oldest(number) or 0.0
        return all(
            not reads_device(thread)
            and not polls(thread)
            and thread.pid == thread.tid
            and self.look.is_orphan(thread.pid)
            and self.look.ages.get(thread.tid, 0.0) > oldest
            for thread in threads
        )

    def scenario(self, number: int) -> Scenario:
        """Name the way in which a connection came to be wedged, by what its threads wait for."""
        waits = self.waits_of_servers(number)
        kinds = {wait.kind for wait in waits}
        if Kind.EXIT in kinds:
            return Scenario.EXIT_FLUSH
        if all(thread.is_killed for thread in self.look.servers(number) if not thread.is_dead):
            return Scenario.KILLED
        if any(wait.touch and wait.touch.by_fault for wait in waits if wait.kind is Kind.PAGE):
            return Scenario.PAGE_FAULT
        if any(wait.touch and wait.touch.by_device for wait in waits):
            return Scenario.INVALIDATION
        if kinds & {Kind.WRITEBACK, Kind.THROTTLED}:
            return Scenario.WRITEBACK
        if any(wait.connections - {number} for wait in waits):
            return Scenario.CROSS_MOUNT
        return Scenario.ALL_REENTERED if len(waits) > 1 else Scenario.SELF_ACCESS


def is_stopped(thread: Thread) -> bool:
    """Tell whether a thread is kept from running: by SIGSTOP, a debugger or a freezer."""
    return thread.state in "Tt" or thread.passes(*FREEZERS)
