"""Who waits for whom, and which connections nobody can answer any more.

A thread that sleeps in the kernel waits for one of these, and each leads to a connection:

    request      for the answer to a request: for the daemon of the connection
    lock         for a lock of a file or directory on it: for whoever is in a call there and holds it
    page         for a page of a file on it: for the answer to the READ that fills it
    writeback    for changed pages to be written: for the answers to WRITEs
    throttled    the same, waking now and then to look
    exit         it dies, and its last files are flushed: for the answer to a FLUSH

A connection is *wedged* if requests wait on it and every thread that could answer them waits, in
whatever roundabout way, for a wedged connection. That is a circular definition, as befits a
deadlock, and the set that it means is the greatest that fits it: begin with all connections on
which something waits, strike out each that has a thread which may yet run, until none is struck.
Cycles of any length fall out of it, through several mounts and several threads.

A wait is only believed if it is sure where it leads. Two kinds need more than a look at the sleeper:

- a call that we cannot attribute (close has let go of its descriptor already) may wait for any
  connection that has a request too many: it counts only if all of these are wedged;
- whoever waits for a lock waits for its holder, and a holder that is not stuck will let go. So the
  holder must be *shown*: a thread that waits for a wedged connection's answer, in a call that takes
  this very lock; or else nobody is left that could hold it: no thread of the machine has been
  running, or asleep in D for another reason, in both of two looks. Otherwise the wait is *assumed*.

Source: fs/fuse/dev.c, request_wait_answer; mm/filemap.c, folio_wait_bit_common; the greatest
fixpoint is the usual one for deadlocks where a thread needs all of what it waits for.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from fusewire.mounting.table import lies_in
from fusewire.watch.look import REQUEST_WAITS, Look
from fusewire.watch.proc import Thread
from fusewire.watch.syscalls import row_of
from fusewire.watch.touches import Touch

__all__ = ["Kind", "Level", "Wait", "WaitGraph", "reads_device", "same_work"]


class Kind(enum.Enum):
    """What a thread waits for. The value goes between 'waits for' and the place where it is to be had."""

    REQUEST = "an answer from"
    LOCK = "a lock in"
    PAGE = "a page of"
    WRITEBACK = "changes to be written by"
    THROTTLED = "room for changed pages of"
    EXIT = "the answer to the FLUSH of its last files from"


class Level(enum.IntEnum):
    """How much is taken for granted."""

    NOTHING = 0
    HOLDERS = 1  # that whoever holds a lock is stuck, and that a thread which wakes by a clock goes back to sleep
    SLEEP = 2  # that a thread which moves does so only to look


class Wait(NamedTuple):
    """One thread waits."""

    thread: Thread
    kind: Kind
    connections: frozenset[int]  # for which it may wait; for exactly which, unless there is one, we do not know
    touch: Touch | None  # the file that its call is about
    holder: int | None = None  # the thread that has the lock, if that could be shown
    shown: bool = True  # false for a lock whose holder may be anybody
    files: int = 0  # on FUSE that the call is about


PAGE_WAITS: Final = re.compile(
    r"folio_wait_bit.*|__?folio_lock.*|wait_on_page_bit.*|__lock_page.*|folio_put_wait_locked.*"
)
WRITEBACK_WAITS: Final = re.compile(
    r"folio_wait_writeback|wait_on_page_writeback|inode_wait_for_writeback|__filemap_fdatawait.*|fuse_wait_on_.*"
    r"|fuse_sync_writes|fuse_set_nowrite|wb_wait_for_completion"
)
LOOKUP_LOCKS: Final = ("d_alloc_parallel", "d_wait_lookup")
THROTTLED: Final = "balance_dirty_pages"
OTHER_SLEEP: Final = re.compile(
    r"io_schedule.*|blk_.*|bio_.*|submit_bio.*|nfs.*|rpc_.*|jbd2.*|.*_reclaim.*|msleep.*|.*freezer.*"
)
IDLE: Final = ("fuse_dev_do_read", "fuse_dev_read", "io_cqring_wait")
CLOCKS: Final = ("hrtimer_nanosleep", "common_nsleep", "do_nanosleep")
POLLS: Final = (
    "do_poll",
    "do_sys_poll",
    "do_epoll_wait",
    "ep_poll",
    "do_select",
    "poll_schedule_timeout",
    "schedule_hrtimeout_range",
)

FUTEX_PRIVATE: Final = 128  # include/uapi/linux/futex.h
FUTEX_WAITS: Final = (0, 9)  # FUTEX_WAIT, FUTEX_WAIT_BITSET


def reads_device(thread: Thread) -> bool:
    """Tell whether a thread sleeps until a request comes."""
    return thread.state == "S" and thread.passes(*IDLE)


def polls(thread: Thread) -> bool:
    """Tell whether a thread sleeps until some descriptor is ready: of what, is not to be seen."""
    return thread.state == "S" and thread.passes(*POLLS)


def sleeps_by_clock(thread: Thread) -> bool:
    """Tell whether a thread sleeps until it is time."""
    return thread.state == "S" and thread.passes(*CLOCKS)


def waits_on_memory(thread: Thread) -> bool:
    """Tell whether a thread sleeps on memory that no other process shares, as far as /proc tells."""
    call = thread.syscall
    if thread.state == "S" and call is None:
        return thread.wchan.startswith("futex")
    if thread.state != "S" or call is None or call.name != "futex":
        return False
    return call.arguments[1] & ~256 & 127 in FUTEX_WAITS and bool(call.arguments[1] & FUTEX_PRIVATE)


def has_timeout(thread: Thread) -> bool:
    """Tell whether a thread that waits on memory wakes by itself, sooner or later; or may, for all we can see."""
    return waits_on_memory(thread) and (thread.syscall is None or thread.syscall.arguments[3] != 0)


@dataclass
class WaitGraph:
    """The waits of one look. `earlier` is a look before it, to tell who has moved."""

    look: Look
    earlier: Look | None = None
    waits: dict[int, Wait] = field(default_factory=dict)  # by tid

    def __post_init__(self) -> None:
        for tid in self.look.touches:
            wait = wait_of(self.look, self.look.threads[tid])
            if wait is not None:
                self.waits[tid] = wait
        self._attribute()
        self._find_holders()

    # --- what may be said of waits only when all are known

    def _attribute(self) -> None:
        """Narrow down waits of which the call does not tell for what: to where requests are left over."""
        unsure = [wait for wait in self.waits.values() if not wait.connections]
        if unsure:
            candidates = frozenset(n for n in self.look.connections if self.requests_left_over(n) != 0)
            for wait in unsure:
                of_it = candidates
                if wait.kind is Kind.EXIT:  # it has closed the device; so nobody seems to hold it
                    of_it = frozenset(n for n in candidates if not self.look.connections[n].holders) or candidates
                self.waits[wait.thread.tid] = wait._replace(connections=of_it)

    def requests_left_over(self, number: int) -> int | None:
        """Return how many waiting requests are not those of threads that we know; None if that cannot be known."""
        waiting = self.look.connections[number].waiting
        known = [w for w in self.waits.values() if w.kind is Kind.REQUEST and w.connections == {number}]
        return None if waiting is None else max(0, waiting - len(known))

    def _find_holders(self) -> None:
        """Show who holds what others wait for."""
        for tid, wait in self.waits.items():
            if wait.kind is Kind.LOCK:
                holder = next((other for other in self.waits.values() if holds_lock_of(other, wait)), None)
                shown = (holder is not None or self._nobody_else()) and not is_mixed(wait)
                self.waits[tid] = wait._replace(holder=holder.thread.tid if holder else None, shown=shown)
            elif wait.kind is Kind.PAGE:
                self.waits[tid] = wait._replace(shown=self._page_is_asked_for(wait) and not is_mixed(wait))

    def _nobody_else(self) -> bool:
        """Tell whether nobody is left who could hold a lock and let go of it: all others slept, or stayed away."""
        if self.earlier is None:
            return False
        both = self.look.busy & self.earlier.busy
        return not any(tid not in self.waits and tid != self.look.ourselves for tid in both)

    def _page_is_asked_for(self, wait: Wait) -> bool:
        """Tell whether a page is one that the daemon is asked for: a request has no thread, or one at this file."""
        others = (w for w in self.waits.values() if w.kind is Kind.REQUEST and w.connections & wait.connections)
        if wait.touch is not None and any(same_file(wait.touch, other.touch) for other in others):
            return True
        return any(self.requests_left_over(number) for number in wait.connections)

    # --- the greatest fixpoint

    def wedged(self, level: Level = Level.NOTHING, idle: Callable[[Thread], bool] = lambda _: False) -> set[int]:
        """Return the connections that nobody can answer any more, as far as `level` takes for granted.

        Threads of which `idle` is true are passed over, as if they were not there.
        """
        found = {number for number, connection in self.look.connections.items() if connection.waiting != 0}
        while True:
            threads = {number: [t for t in self.answering(number) if not idle(t)] for number in found}
            left = {n for n in found if threads[n] and all(self.is_blocked(t, found, level, idle) for t in threads[n])}
            if left == found:
                return found
            found = left

    def answering(self, number: int) -> list[Thread]:
        """Return the threads that could answer, or whose end would end the connection."""
        holders = self.look.servers(number)
        dying = [w.thread for w in self.waits.values() if w.kind is Kind.EXIT and number in w.connections]
        return [*holders, *(thread for thread in dying if thread not in holders)]

    def is_blocked(
        self,
        thread: Thread,
        wedged: set[int],
        level: Level = Level.NOTHING,
        idle: Callable[[Thread], bool] = lambda _: False,
        way: frozenset[int] = frozenset(),
    ) -> bool:
        """Tell whether a thread cannot go on as long as these connections are not answered."""
        if thread.is_dead:
            return True
        if wait := self.waits.get(thread.tid):
            return self._is_hopeless(wait, wedged, level) and (level is Level.SLEEP or self.stood_still(thread))
        if helpers := self.look.helpers.get(thread.tid):
            return level > Level.NOTHING and self._helpers_are_stuck(helpers, wedged, level, way | {thread.tid})
        if not self.waits_for_sibling(thread) or (has_timeout(thread) and level is Level.NOTHING):
            return False
        siblings = [other for other in self.look.threads.values() if other.pid == thread.pid]
        return all(
            self.waits_for_sibling(other)
            or reads_device(other)
            or idle(other)
            or self.is_blocked(other, wedged, level, idle, way)
            for other in siblings
        )

    def _helpers_are_stuck(self, pids: frozenset[int], wedged: set[int], level: Level, way: frozenset[int]) -> bool:
        """Tell whether processes that do a daemon's work are stuck; one that waits for more to do is not.

        Args:
            way: the threads by which we came here.
        """
        threads = [thread for thread in self.look.threads.values() if thread.pid in pids]
        on_the_way = any(thread.tid in way for thread in threads)
        return (
            not self.look.hidden
            and not on_the_way
            and pids <= {thread.pid for thread in threads}
            and all(self.is_blocked(thread, wedged, level, way=way) for thread in threads)
        )

    def helping(self, number: int) -> list[Thread]:
        """Return the threads of the processes for whom those who should answer wait."""
        found, new = set[int](), {thread.pid for thread in self.answering(number)}
        known = set(new)
        while new:
            threads = [thread for thread in self.look.threads.values() if thread.pid in new]
            new = {pid for thread in threads for pid in self.look.helpers.get(thread.tid, ())} - known
            found |= new
            known |= new
        return [thread for thread in self.look.threads.values() if thread.pid in found]

    def waits_for_sibling(self, thread: Thread) -> bool:
        """Tell whether only another thread of its process can wake it: by memory, or a pipe, that is theirs alone."""
        return waits_on_memory(thread) or (thread.tid in self.look.own_pipes and not self.look.hidden)

    def stood_still(self, thread: Thread) -> bool:
        """Tell whether a thread has not run since the look before; true if there was none."""
        return self.earlier is None or self.earlier.stood_still(self.look, thread.tid)

    def _is_hopeless(self, wait: Wait, wedged: set[int], level: Level) -> bool:
        """Tell whether what a thread waits for will not come as long as these connections are not answered."""
        if not wait.connections or not wait.connections <= wedged:
            return False
        match wait.kind:
            case Kind.THROTTLED:
                return level is Level.SLEEP
            case Kind.LOCK | Kind.PAGE | Kind.WRITEBACK if wait.touch is None:  # of what, /proc does not tell
                return level is Level.SLEEP
            case Kind.LOCK if level is Level.NOTHING:
                return wait.shown and self._holder_is_stuck(wait, wedged)
        return wait.shown or level > Level.NOTHING

    def _holder_is_stuck(self, wait: Wait, wedged: set[int]) -> bool:
        """Tell whether whoever has a lock is stuck: the holder that was shown, or all who are in calls there."""
        named = self.waits.get(wait.holder or 0)
        others = [named] if named else [w for w in self.waits.values() if w.connections & wait.connections]
        return all(other.connections <= wedged and self.stood_still(other.thread) for other in others)


def wait_of(look: Look, thread: Thread) -> Wait | None:
    """Return what a thread waits for; None if it is nothing of FUSE."""
    touches = look.touches[thread.tid]
    kind = kind_of(thread)
    if kind is None:
        return None
    connections = frozenset[int]().union(*(touch.connections for touch in touches))
    if not touches and kind not in (Kind.REQUEST, Kind.EXIT):
        if thread.syscall is not None or not thread.wchan:
            return None
        connections = look.served_by(thread.pid)  # /proc does not tell what the call is about: perhaps its own mount
        if not connections:
            return None
    return Wait(
        thread, kind, connections, touches[0] if touches else None, shown=kind is not Kind.LOCK, files=len(touches)
    )


def kind_of(thread: Thread) -> Kind | None:
    """Tell from where a thread sleeps what it waits for."""
    if thread.passes(*REQUEST_WAITS):
        return Kind.EXIT if thread.is_exiting else Kind.REQUEST
    if thread.state != "D" or OTHER_SLEEP.fullmatch(thread.wchan):
        return None
    if thread.passes(THROTTLED):
        return Kind.THROTTLED
    if any(WRITEBACK_WAITS.fullmatch(function) for function in (thread.wchan, *(thread.stack or ())[:4])):
        return Kind.WRITEBACK
    return Kind.PAGE if PAGE_WAITS.fullmatch(thread.wchan) else Kind.LOCK


# --- who holds a lock


def holds_lock_of(holder: Wait, wait: Wait) -> bool:
    """Tell whether a thread that waits for an answer has taken the lock for which another waits.

    A call that makes, removes or moves a name holds its directory; one that looks a name up holds
    that name; one that changes a file holds the file. So the one waits for the other if it needs
    the same directory, the same file, or a name on its way that is being looked up.
    """
    ours, theirs = wait.touch, holder.touch
    if holder.kind is not Kind.REQUEST or holder.thread.tid == wait.thread.tid or ours is None or theirs is None:
        return False
    if ours.place.device != theirs.place.device or not ours.place.path or not theirs.place.path:
        return False
    if wait.thread.passes(*LOOKUP_LOCKS):
        return lies_in(ours.place.path, theirs.place.path)
    on_the_way = holder.thread.passes("link_path_walk")  # to the directory: it holds no more than a name
    if theirs.changes_directory and not on_the_way and lies_in(ours.place.path, theirs.place.parent):
        return True
    return not on_the_way and same_file(ours, theirs)


def same_work(one: Wait, other: Wait) -> bool:
    """Tell whether two calls do the same to the same file: the one is made for the sake of the other."""
    mine, theirs = one.touch, other.touch
    return mine is not None and theirs is not None and same_file(mine, theirs) and mine[2:] == theirs[2:]


def is_mixed(wait: Wait) -> bool:
    """Tell whether a call is also about a file that is not on FUSE: it may wait for that one's page, or lock."""
    call = wait.thread.syscall
    by_arguments = wait.touch is not None and not wait.touch.by_fault
    return by_arguments and call is not None and len(row_of(call.number).leads) > wait.files


def same_file(one: Touch, other: Touch | None) -> bool:
    """Tell whether two calls are about the same file."""
    return other is not None and bool(one.place.path) and one.place[1:] == other.place[1:]
