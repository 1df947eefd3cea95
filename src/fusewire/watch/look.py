"""One look at everything: the threads that matter, what they wait in, connections, mounts.

Of every thread of the machine name, state and place of sleep are read, which is cheap; all the
rest only of those that may have to do with FUSE:

    who waits          for an answer, or sleeps so that no signal wakes him (D), for whatever
    who should answer  every thread of a process that has the device of a connection open

A look takes time, and the world goes on meanwhile: it is not a photograph. Two looks are one,
though, for those who did not move from the first to the second (`Look.stood_still`): whoever slept
all the time between has been where the second look found him at the moment when it began.

Source: the reads of proc.py, connections.py and mounts.py, none of which can hang.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from fusewire.watch.ages import ages
from fusewire.watch.connections import TELLS_HOLDERS, Connection, Fusectl, Holding, find_holders
from fusewire.watch.helpers import Ends, Helpers
from fusewire.watch.mounts import Mounts, View, read_mounts
from fusewire.watch.proc import PF_KTHREAD, Thread, contents, link, pids, thread, tids, wchan
from fusewire.watch.touches import Touch, touches_of

__all__ = ["REQUEST_WAITS", "Glimpse", "Look", "take"]


REQUEST_WAITS: Final = ("request_wait_answer", "fuse_get_req")  # for the answer; before it is sent, for INIT or room


class Glimpse(NamedTuple):
    """The little that is read of every thread."""

    pid: int
    tid: int
    state: str
    wchan: str


@dataclass
class Look:
    """Everything at one time."""

    began: float  # seconds, monotonic
    mounts: Mounts
    connections: dict[int, Connection]
    threads: dict[int, Thread] = field(default_factory=dict)  # those that matter, by tid
    touches: dict[int, list[Touch]] = field(default_factory=dict)  # what they are about, of those that wait
    own_pipes: set[int] = field(default_factory=set)  # tids of those who read a pipe that no other process has
    helpers: dict[int, frozenset[int]] = field(default_factory=dict)  # processes for whom a thread waits, by its tid
    busy: set[int] = field(default_factory=set)  # tids of the machine that run, or sleep in D
    ages: dict[int, float] = field(default_factory=dict)  # seconds for which those that matter have slept
    hidden: int = 0  # processes that were not ours to look at
    unseen: list[str] = field(default_factory=list)  # sentences on what was not ours to see
    seconds: float = 0.0  # that it took
    ourselves: int = field(default_factory=threading.get_native_id)  # the thread that looks

    def servers(self, number: int) -> list[Thread]:
        """Return all threads of the processes that hold the device of a connection."""
        pids = self.connections[number].holder_pids
        return [thread for thread in self.threads.values() if thread.pid in pids]

    def served_by(self, pid: int) -> frozenset[int]:
        """Return the connections whose devices a process has open."""
        return frozenset(n for n, connection in self.connections.items() if pid in connection.holder_pids)

    @property
    def hides_holders(self) -> bool:
        """Whether somebody may hold a device without our seeing it."""
        told = any(holding.certain for connection in self.connections.values() for holding in connection.holders)
        return self.hidden > 0 or hides_processes(self.mounts.view_of(os.getpid())) or not (TELLS_HOLDERS or told)

    def is_orphan(self, pid: int) -> bool:
        """Tell whether whoever started a process is gone."""
        stat = contents(f"/proc/{pid}/stat").rpartition(b")")[2].split()
        return len(stat) > 1 and (stat[1] in (b"0", b"1") or self.command(int(stat[1])) == "systemd")

    def command(self, pid: int) -> str:
        """Return the name of a process, "?" if it is gone."""
        leader = self.threads.get(pid)
        return leader.comm if leader else os.fsdecode(contents(f"/proc/{pid}/comm").strip()) or "?"

    def stood_still(self, later: Look, tid: int) -> bool:
        """Tell whether a thread slept from this look to a later one, without having run in between."""
        first, second = self.threads.get(tid), later.threads.get(tid)
        if first is None or second is None or first.pid != second.pid:
            return False
        unmoved = (first.switches, first.state) == (second.switches, second.state)
        return unmoved and first.switches >= 0 and second.state in "SDTtZX"


def take(fusectl: Fusectl, stolen: int = -1) -> Look:
    """Look. Takes about 50 microseconds for each thread of the machine.

    Args:
        stolen: a descriptor of ours for a device with which we serve nothing; surgery has one.
    """
    began = time.monotonic()
    running = pids()
    mounts = read_mounts(running)
    look = Look(began, mounts, {connection.number: connection for connection in fusectl.connections()})
    for number in connections_of(mounts, "fuse", "fuseblk"):
        look.connections.setdefault(number, Connection(number, None))
    for number in connections_of(mounts, "virtiofs"):  # served by the host of a virtual machine: nobody here
        look.connections.pop(number, None)
    ends = find_holders(running, look.connections, mounts, Holding(os.getpid(), stolen, True))
    holding = {pid for connection in look.connections.values() for pid in connection.holder_pids}
    for glimpse in glimpses(running):
        if glimpse.state in "RD":
            look.busy.add(glimpse.tid)
        if glimpse.pid in holding or matters(glimpse):
            examine(look, glimpse)
    look.own_pipes = {one.tid for one in look.threads.values() if ends.get(pipe_of(one)) == {one.pid}}
    find_helpers(look, holding, ends)
    look.ages = ages(look.threads.values())
    look.hidden = count_hidden(running)
    look.unseen = unseen(look, fusectl)
    look.seconds = time.monotonic() - began
    return look


def connections_of(mounts: Mounts, *fstypes: str) -> set[int]:
    """Return the connections that are mounted in anybody's view, as filesystems of these types."""
    all_mounts = (mount for view in mounts.views.values() for mount in view.table)
    return {mount.connection for mount in all_mounts if mount.fstype.partition(".")[0] in fstypes}


def glimpses(running: list[int]) -> Iterator[Glimpse]:
    """Yield every thread of these processes."""
    for pid in running:
        for tid in tids(pid):
            place = f"/proc/{pid}/task/{tid}"
            stat = contents(f"{place}/stat").rpartition(b")")[2][1:2].decode()
            if stat:
                yield Glimpse(pid, tid, stat, wchan(place) if stat in "SD" else "")


def matters(glimpse: Glimpse) -> bool:
    """Tell whether a thread may wait for something of FUSE."""
    return glimpse.state == "D" or (glimpse.state == "S" and glimpse.wchan.startswith(("request_wait", "fuse_")))


def examine(look: Look, glimpse: Glimpse) -> None:
    """Read all of a thread, and if it waits, what for."""
    found = thread(glimpse.pid, glimpse.tid)
    if found is None:
        return
    look.threads[found.tid] = found
    if found.state == "D" or found.passes(*REQUEST_WAITS):
        known = [touch for touch in touches_of(found, look.mounts) if touch.connections <= look.connections.keys()]
        look.touches[found.tid] = known


def find_helpers(look: Look, holding: set[int], ends: Ends) -> None:
    """Enter for whom the threads of the daemons wait, and those of who helps them, and examine these."""
    helpers, known, new = Helpers(ends), set[int](), set(holding)
    while new:
        known |= new
        waiting = [one for one in look.threads.values() if one.pid in new]
        found = {one.tid: helpers.of(one) for one in waiting}
        look.helpers |= {tid: pids for tid, pids in found.items() if pids}
        new = set[int]().union(*found.values()) - known
        for pid in new:
            for tid in tids(pid):
                examine(look, Glimpse(pid, tid, "", ""))


def pipe_of(reader: Thread) -> str:
    """Return the pipe that a thread sleeps on until something is written to it; "" if it does not."""
    call = reader.syscall
    if reader.state != "S" or not reader.wchan.endswith("pipe_read") or call is None or call.name != "read":
        return ""
    return link(f"/proc/{reader.pid}/fd/{call.arguments[0]}")


# --- what we could not see


def unseen(look: Look, fusectl: Fusectl) -> list[str]:
    """Return sentences on what was not ours to see, and what would let us."""
    found = []
    if not fusectl.readable and look.connections:
        found.append("how many requests wait: fusectl is not mounted, and only root can mount it")
    others = sum(connection.waiting is None for connection in look.connections.values())
    if fusectl.readable and others:
        found.append(f"how many requests wait on {counted(others, 'connection')} of other users")
    if look.hidden:
        whose = "of other users do" if os.geteuid() else "do, which takes more capabilities than this root has"
        found.append(f"what {counted(look.hidden, 'process', 'processes')} {whose}")
    if hides_processes(look.mounts.view_of(os.getpid())):
        found.append("processes of other users, for /proc is mounted with hidepid")
    return [*found, *lacking(look)]


def hides_processes(view: View | None) -> bool:
    """Tell whether /proc leaves out processes of others. From root it hides nothing."""
    options = [mount.super_options for mount in view.table if mount.mountpoint == "/proc"] if view else []
    return os.geteuid() != 0 and any(re.search(r"hidepid=(?!0|off)", option) for option in options)


def lacking(look: Look) -> Iterator[str]:
    """Yield sentences on what this kernel does not tell of those who wait."""
    waiting = [look.threads[tid] for tid in look.touches]
    waiting = [thread for thread in waiting if not thread.is_kernel and may_see(thread.pid)]
    if any(is_empty(thread, "syscall") for thread in waiting):
        setting = "kernel.yama.ptrace_scope hides" if restricts_tracing() and os.geteuid() else "without"
        yield f"which files the calls are about, {setting} /proc/PID/syscall: a deadlock is probable at most"
    if os.geteuid() == 0 and any(is_empty(thread, "stack") for thread in waiting):
        yield "how threads got where they sleep, without /proc/PID/stack"


def restricts_tracing() -> bool:
    """Tell whether users may not trace processes of their own, and so may not see in which calls they are."""
    return contents("/proc/sys/kernel/yama/ptrace_scope").strip() not in (b"", b"0")


def is_empty(thread: Thread, name: str) -> bool:
    """Tell whether a file of a thread that is alive says nothing to us."""
    place = f"/proc/{thread.pid}/task/{thread.tid}"
    return not contents(f"{place}/{name}") and bool(contents(f"{place}/stat"))


def count_hidden(running: list[int]) -> int:
    """Return how many processes are not ours to look at. A sandbox may hide its first from all; that does not count."""
    hidden = {pid for pid in running if not may_see(pid)}
    return 0 if hidden == {1} else len(hidden)


def may_see(pid: int) -> bool:
    """Tell whether the descriptors of a process are ours to read. A thread of the kernel has none.

    The kernel asks the same of whoever reads what a descriptor is of, and where the process works.
    """
    try:
        os.readlink(f"/proc/{pid}/cwd")
    except PermissionError:
        pass
    except OSError:  # it is gone, or as good as
        return True
    else:
        return True
    stat = contents(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return not stat or bool(int(stat[6]) & PF_KTHREAD)


def counted(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
