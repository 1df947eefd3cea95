"""`diagnose()`: two looks at all FUSE mounts of the machine, and what they say of each.

It touches no mount, asks no daemon, and changes nothing. It takes half a second, or a little more
on a machine with thousands of processes.
"""

from __future__ import annotations

import os
import time
from typing import Final

from fusewire.watch.connections import Fusectl
from fusewire.watch.cures import cure_of, kill_ends
from fusewire.watch.diagnosis import Certainty, Diagnosis, Edge, Server, State
from fusewire.watch.look import Look, take
from fusewire.watch.proc import contents
from fusewire.watch.verdict import Verdict, Verdicts
from fusewire.watch.wait_graph import LOOKUP_LOCKS, Kind, Wait, reads_device

__all__ = ["diagnose"]

GAP: Final = 0.25  # seconds between the looks
TIMEOUTS: Final = "/proc/sys/fs/fuse"


def diagnose(connection: int | None = None, *, gap: float = GAP) -> list[Diagnosis]:
    """Return how every FUSE connection of the machine is, or the one that is asked for, by number.

    Sees what the caller may see: as root, everything; else his own mounts and processes, and says
    what it could not see.

    Args:
        gap: seconds between the two looks. Who has not moved in between is taken to be stuck where he was.
    """
    with Fusectl() as fusectl:
        first = take(fusectl)
        for number in first.connections:
            fusectl.hold(number)  # so that its number means this one, whatever happens meanwhile
        time.sleep(gap)
        second = take(fusectl)
    verdicts = Verdicts(first, second)
    numbers = [number for number in sorted(second.connections) if connection in (None, number)]
    return [describe(verdicts, number) for number in numbers]


def describe(verdicts: Verdicts, number: int) -> Diagnosis:
    """Gather all that is known of one connection."""
    look, verdict = verdicts.look, with_timeout(verdicts, number)
    mounted = list(look.mounts.mounted(number))
    fstype, source = (mounted[0][1].fstype, mounted[0][1].source) if mounted else ("", "")
    servers = verdicts.waits_of_servers(number)
    return Diagnosis(
        connection=number,
        mountpoints=mountpoints(look, number),
        fstype=fstype,
        source=source,
        state=verdict.state,
        certainty=verdict.certainty,
        waiting=look.connections[number].waiting,
        oldest=verdicts.oldest(number),
        servers=tuple(server_of(verdicts, number, pid) for pid in look.connections[number].holder_pids),
        edges=tuple(edge_of(look, wait, wait in servers) for wait in [*servers, *verdicts.waits_of_callers(number)]),
        scenario=verdict.scenario,
        partial=verdict.partial,
        remarks=tuple(remarks(verdicts, number, verdict)),
        killable=verdict.state is State.DEADLOCKED and kill_ends(verdicts, number),
        cure=cure_of(verdicts, number, verdict),
        unseen=tuple(look.unseen),
    )


def mountpoints(look: Look, number: int) -> tuple[str, ...]:
    """Return where a connection is mounted; of a namespace that is not ours, with a process that sees it."""
    ours = look.mounts.view_of(os.getpid())
    found: dict[tuple[str, bool], str] = {}
    for view, mount in look.mounts.mounted(number):
        where = "" if view is ours else f" (as {look.command(view.pid)}, pid {view.pid}, sees it)"
        found.setdefault((mount.mountpoint, view is ours), mount.mountpoint + where)
    return tuple(text for _, text in sorted(found.items(), key=lambda item: not item[0][1]))


def server_of(verdicts: Verdicts, number: int, pid: int) -> Server:
    threads = [thread for thread in verdicts.look.servers(number) if thread.pid == pid]
    blocked = sum(thread.tid in verdicts.graph.waits for thread in threads)
    certain = all(h.certain for h in verdicts.look.connections[number].holders if h.pid == pid)
    return Server(pid, verdicts.look.command(pid), len(threads), blocked, sum(map(reads_device, threads)), certain)


def edge_of(look: Look, wait: Wait, serves: bool) -> Edge:
    thread = wait.thread
    return Edge(
        pid=thread.pid,
        tid=thread.tid,
        command=thread.comm,
        call=thread.syscall.name if thread.syscall and wait.kind is not Kind.EXIT else "",
        path=wait.touch.shown if wait.touch else "",
        kind=wait.kind,
        connections=tuple(sorted(wait.connections)),
        holder=wait.holder,
        where=thread.wchan,
        seconds=look.ages.get(thread.tid),
        serves=serves,
        lock=lock_of(wait),
    )


def lock_of(wait: Wait) -> str:
    """Name what a thread waits to lock; "" if it waits for no lock, or we cannot tell.

    Whoever makes, removes or moves a name locks its directory in the system call itself, and the file that
    has the name behind vfs_unlink and its like. Whoever looks a name up may wait for another who does so.
    """
    path = wait.touch.shown if wait.kind is Kind.LOCK and wait.touch else ""
    if not path.startswith("/") or (wait.touch and wait.touch.by_device):
        return ""
    if wait.thread.passes(*LOOKUP_LOCKS):
        return f"the name {path}"
    in_directory = wait.touch is not None and wait.touch.changes_directory and not wait.thread.wchan.startswith("vfs_")
    if in_directory or wait.thread.passes("walk_component", "lookup_slow", "__lookup_slow"):
        return f"the directory {os.path.dirname(path)}"
    return f"the file {path}"


# --- what else is known


def with_timeout(verdicts: Verdicts, number: int) -> Verdict:
    """Judge a connection: probably, if we guess who serves it; and see whether the kernel is about to end it."""
    verdict, limit, oldest = verdicts.of(number), request_timeout(), verdicts.oldest(number) or 0.0
    guessed = any(not holding.certain for holding in verdicts.look.connections[number].holders)
    if guessed and verdict.certainty is Certainty.CERTAIN:  # that this process serves it
        verdict = verdict._replace(certainty=Certainty.PROBABLE)
    if verdict.state is State.SLOW and limit and oldest >= limit / 2:
        return verdict._replace(state=State.TIMING_OUT)
    return verdict


def request_timeout() -> float:
    """Return how old a request may get before the kernel ends its connection, in seconds; 0 for any age.

    A daemon may have asked for less; that is not to be seen.
    """
    default, most = (int(contents(f"{TIMEOUTS}/{name}_request_timeout") or 0) for name in ("default", "max"))
    return min(default or most, most) if most else default


def remarks(verdicts: Verdicts, number: int, verdict: Verdict) -> list[str]:
    """Return sentences on what else is known."""
    look, found = verdicts.look, []
    connection = look.connections[number]
    if verdict.state is State.TIMING_OUT:
        found.append(f"The kernel ends the connection when a request is {request_timeout()} s old: {TIMEOUTS}")
    if any(not holding.certain for holding in connection.holders):
        found.append("This kernel does not tell who serves what: that it is this process is a guess.")
    if connection.rings:
        found.append("It serves through io_uring: a queue for each CPU, and one that hangs is hard to tell.")
    if verdict.state is State.SLOW:
        found += where_it_is(verdicts, number)
    return found


def where_it_is(verdicts: Verdicts, number: int) -> list[str]:
    """Say what a slow daemon does."""
    threads = [thread for thread in verdicts.look.servers(number) if not thread.is_dead]
    if any(map(reads_device, threads)):
        return ["A thread is ready for more: the daemon has read the request, and not answered it yet."]
    places = sorted({thread.wchan or thread.state for thread in threads})
    return [f"No thread waits for requests; they are in {', '.join(places[:4])}."]
