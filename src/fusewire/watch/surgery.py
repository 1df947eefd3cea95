"""Cut one request out of a deadlock: the daemon lives, the mount goes on, one call fails with EDEADLK.

A deadlock needs every link of its chain. One of them is a request, and whoever has the device may
answer it, the daemon or not. So the device is taken from the daemon by pidfd_getfd(2), as a second
descriptor of the same open file. What can be done with it:

    poll     tells whether requests are pending, read by nobody yet
    read     takes one of them; its header names the thread that asked
    write    answers one by its number; or, as the notification RESEND, makes all that were read
             but not answered pending again, so that they can be read once more

Which request, depends on what the daemon's thread waits for:

    an answer   its own request is pending, or was read by another thread that is stuck: that one. So
                too if it asked another daemon, which waits for this one
    a lock      the request of whoever has the lock: it was read long since, and is sent again first.
                With the lock the daemon's thread goes on, and asks something itself: then that

The daemon is stopped (SIGSTOP) meanwhile, lest its free threads read what we are about to read and
hang as well. What we read and do not answer is made pending again at the end, when the daemon has
had time to answer what it had in hand: else it would do that twice.

What it costs: a request sent again has another number, so what the daemon answers to the first is
refused (ENOENT), and it does that request again. FORGETs that we read cannot be given back: the
daemon keeps some nodes for longer than it must. Both are said when they happen.

It cannot help where the chain runs through a page (the answer is being copied: it is no longer
among those that can be sent again), nor through io_uring.

Source: fs/fuse/dev.c, fuse_resend and fuse_dev_do_write; man 2 pidfd_getfd.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from fusewire.mounting import connection_of_fd
from fusewire.watch.connections import Connection, Fusectl
from fusewire.watch.look import Look, take
from fusewire.watch.proc import Thread, contents
from fusewire.watch.verdict import is_stopped
from fusewire.watch.wait_graph import Kind, WaitGraph, polls, reads_device
from fusewire.wire import InHeader, encode_error, encode_notification
from fusewire.wire.operations import OPERATIONS

__all__ = ["SurgeryError", "operate"]

ROUNDS: Final = 16  # a daemon that does the same again hangs again, for each request that it has in a queue
PATIENCE: Final = 1.5  # seconds in which an answer must have helped, or another be found
SETTLING: Final = 2.0  # seconds for the daemon to answer what it has in hand
SETTLED: Final = 0.1  # seconds without moving, after which a thread is taken to hang again
PAUSE: Final = 0.02  # seconds between two tries
FORGETS: Final = ("FORGET", "BATCH_FORGET")
PIDFD_GETFD: Final = 438  # the same number on every architecture but Alpha

libc: Final = ctypes.CDLL(None, use_errno=True)


class SurgeryError(Exception):
    """It could not be done, and nothing has been changed; the text says why."""


class Asked(NamedTuple):
    """A request that we have read."""

    unique: int
    name: str
    tid: int  # of who asked, in the pid namespace of whoever mounted; 0 for the kernel itself


@dataclass
class StolenDevice:
    """The device of a daemon, in our hands as well as in its own."""

    fd: int
    held: dict[int, Asked] = field(default_factory=dict)  # read and not answered, by number
    forgets: int = 0  # messages of them that nobody will hear of
    sent_again: bool = False  # in this round: what the daemon had begun is among those held

    def read_all(self) -> None:
        """Read all requests that nobody has read yet, and hold them."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        while any(event & select.POLLIN for _, event in poll.poll(0)):
            message = os.read(self.fd, room())
            header = InHeader.unpack_from(message)
            row = OPERATIONS.get(header.opcode)
            asked = Asked(header.unique, row.name if row else f"opcode {header.opcode}", header.pid)
            if asked.name in FORGETS:
                self.forgets += 1
            elif asked.name != "INTERRUPT":  # that is sent again with its request
                self.held[asked.unique] = asked

    def refuse(self, asked: Asked) -> None:
        """Answer a request with EDEADLK."""
        del self.held[asked.unique]
        with suppress(FileNotFoundError):  # whoever asked was killed
            os.write(self.fd, encode_error(asked.unique, errno.EDEADLK))

    def resend(self) -> None:
        """Make all requests pending that are not answered.

        Raises:
            SurgeryError: this kernel cannot.
        """
        try:
            os.write(self.fd, encode_notification("RESEND"))
        except OSError as error:
            raise SurgeryError(
                f"the kernel sends no request again: it is older than Linux 6.9 ({error.strerror})"
            ) from error
        self.held.clear()
        self.sent_again = True


def room() -> int:
    """Return a length in bytes that holds any request: one that is too long for its reader fails."""
    pages = int(contents("/proc/sys/fs/fuse/max_pages_limit") or 256)
    return max(2 << 20, pages * os.sysconf("SC_PAGESIZE") + (64 << 10))


def operate(number: int, tell: Callable[[str], None] = lambda _: None) -> bool:
    """Free the threads of a deadlocked daemon; return whether the mount answers again.

    Args:
        number: the connection. That it is deadlocked should have been made sure of.
        tell: is called with a sentence for each thing that is done.

    Raises:
        SurgeryError: it cannot be done.
    """
    with Fusectl() as fusectl:
        connection = take(fusectl).connections.get(number)
        if connection is None:
            raise SurgeryError(f"there is no connection {number} any more")
        with stolen(connection) as device:
            for turn in range(ROUNDS):
                answered = one_round(fusectl, connection, device, tell, again=turn > 0)
                if not still_hangs(fusectl, number, device):
                    return True
                if not answered:
                    break
    return False


def one_round(
    fusectl: Fusectl, connection: Connection, device: StolenDevice, tell: Callable[[str], None], again: bool
) -> int:
    """Answer requests until no thread of the daemon waits any more; give back what was read besides.

    If it hangs `again`, then because what we had sent again made the daemon do the same again: so that
    is answered, too, and not sent a third time.

    Returns how many were answered.
    """
    try:
        look = take(fusectl, device.fd)
        servers = names_of_servers(look, connection.number)
        helpers = {thread.pid for thread in WaitGraph(look).helping(connection.number)}
        with stopped(connection.holder_pids):
            answered = free(fusectl, connection.number, device, servers, helpers, tell)
            if again and device.sent_again:
                look = take(fusectl, device.fd)
                for asked in list(device.held.values()):
                    tell(f"answers {asked.name} of {whose(look, asked)} with EDEADLK")
                    device.refuse(asked)
        settle(fusectl, connection.number, device)
        return answered
    finally:
        if device.held:
            begun = "; what it had begun of them it does twice" if device.sent_again else ""
            tell(f"sends {len(device.held)} more to the daemon again{begun}")
            device.resend()
        if device.forgets:
            tell(f"could not give back FORGETs ({device.forgets}): the daemon keeps some nodes for longer")
            device.forgets = 0


def free(
    fusectl: Fusectl,
    number: int,
    device: StolenDevice,
    servers: set[int],
    helpers: set[int],
    tell: Callable[[str], None],
) -> int:
    """Answer, one after the other, the requests that keep the daemon's threads from returning; return how many.

    Args:
        servers: the threads of the daemons that are in it.
        helpers: processes that do work for this daemon. They are not stopped.
    """
    deadline = time.monotonic() + PATIENCE
    answered, device.sent_again = 0, False
    while time.monotonic() < deadline:
        look = take(fusectl, device.fd)
        graph = WaitGraph(look)
        stuck = [thread for thread in look.servers(number) if not (is_stopped(thread) or thread.is_dead)]
        stuck += [wait.thread for wait in graph.waits.values() if wait.thread.pid in helpers]
        if not stuck:
            break
        device.read_all()
        victim = choose(look, servers, stuck, list(device.held.values()))
        if victim is not None:
            tell(f"answers {victim.name} of {whose(look, victim)} with EDEADLK")
            device.refuse(victim)
            answered += 1
            deadline = time.monotonic() + PATIENCE
        elif not device.sent_again and any(thread.tid in graph.waits for thread in stuck):
            device.resend()
            continue
        select.select([], [], [], PAUSE)
    return answered


def choose(look: Look, servers: set[int], stuck: list[Thread], held: list[Asked]) -> Asked | None:
    """Return the request to answer: one that a thread of a daemon waits for, else that of who has its lock."""
    own = [asked for asked in held if asked.tid in servers]
    if own:
        return own[0]
    graph = WaitGraph(look)
    locked = [wait for thread in stuck if (wait := graph.waits.get(thread.tid)) and wait.kind is Kind.LOCK]
    for wait in locked:
        holder = look.threads.get(wait.holder or 0)
        of_it = [asked for asked in held if holder is not None and asked.tid in names_of(holder)]
        if of_it:
            return of_it[0]
    return held[0] if locked and held else None  # whose lock it is, is not known: the oldest


def names_of_servers(look: Look, number: int) -> set[int]:
    """Return the threads of a daemon, and of all for whose answers it waits in the end, by all their numbers."""
    graph = WaitGraph(look)
    reached: dict[int, list[Thread]] = {}
    new = {number}
    while new:
        reached |= {one: [*graph.answering(one), *graph.helping(one)] for one in new}
        waits = (graph.waits.get(thread.tid) for one in new for thread in reached[one])
        new = {one for wait in waits if wait for one in wait.connections if one in look.connections} - reached.keys()
    return {name for threads in reached.values() for thread in threads for name in names_of(thread)}


def names_of(thread: Thread) -> set[int]:
    """Return the numbers of a thread in all pid namespaces that it is in: a request has that of the mounter's."""
    for line in contents(f"/proc/{thread.pid}/task/{thread.tid}/status").splitlines():
        if line.startswith(b"NSpid:"):
            return {int(word) for word in line.split()[1:]}
    return {thread.tid}


def whose(look: Look, asked: Asked) -> str:
    """Name who asked."""
    thread = look.threads.get(asked.tid)
    return f"{thread.comm} (pid {thread.pid})" if thread else f"thread {asked.tid}" if asked.tid else "the kernel"


# --- around it


@contextmanager
def stolen(connection: Connection) -> Iterator[StolenDevice]:
    """Take the device of a connection.

    Raises:
        SurgeryError: it is not to be had.
    """
    fd = take_device(connection)
    try:
        yield StolenDevice(fd)
    finally:
        os.close(fd)


def take_device(connection: Connection) -> int:
    """Return a descriptor of our own for what a holder has open."""
    if connection.rings:
        raise SurgeryError("the daemon serves through io_uring, where requests cannot be taken from it")
    if not connection.holders:
        raise SurgeryError("nobody has its device")
    holding = connection.holders[0]
    try:
        process = os.pidfd_open(holding.pid)
    except OSError as error:
        raise SurgeryError(f"its daemon, pid {holding.pid}, is not to be reached ({error.strerror})") from error
    try:
        fd: int = libc.syscall(PIDFD_GETFD, process, holding.fd, 0)
        code = ctypes.get_errno()
    finally:
        os.close(process)
    if fd == -1:
        raise SurgeryError(why_refused(code))
    if connection_of_fd(fd) != connection.number:  # it was closed meanwhile, and is another file now
        os.close(fd)
        raise SurgeryError(f"{holding.pid} has let go of its device")
    return fd


def why_refused(code: int) -> str:
    """Say why a descriptor could not be taken."""
    if code == errno.EPERM and contents("/proc/sys/kernel/yama/ptrace_scope").strip() not in (b"", b"0"):
        return (
            "kernel.yama.ptrace_scope keeps programs from reaching into others: run it with sudo, "
            "or allow it by: sysctl kernel.yama.ptrace_scope=0"
        )
    if code == errno.ENOSYS:
        return "this kernel cannot take the device from the daemon: it is older than Linux 5.6"
    return f"its device cannot be taken from the daemon ({os.strerror(code)})"


@contextmanager
def stopped(pids: list[int]) -> Iterator[None]:
    """Keep processes from running, but for what they do in the kernel; those that were stopped before stay so."""
    ours = [pid for pid in pids if state_of(pid) not in "Tt"]
    try:
        for pid in ours:
            signal_one(pid, signal.SIGSTOP)
        yield
    except PermissionError as error:
        raise SurgeryError("you may not stop its daemon: run it with sudo") from error
    finally:
        for pid in ours:
            with suppress(PermissionError):
                signal_one(pid, signal.SIGCONT)


def signal_one(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def state_of(pid: int) -> str:
    return contents(f"/proc/{pid}/stat").rpartition(b")")[2][1:2].decode() or "X"


def settle(fusectl: Fusectl, number: int, device: StolenDevice) -> None:
    """Wait until the daemon has answered what it had in hand: its threads wait for requests, or for each other."""
    deadline = time.monotonic() + SETTLING
    while time.monotonic() < deadline:
        look = take(fusectl, device.fd)
        connection = look.connections.get(number)
        graph = WaitGraph(look)
        servers = [*look.servers(number), *graph.helping(number)] if connection else []
        if all(
            reads_device(thread) or polls(thread) or is_futex(thread) or thread.tid in look.helpers
            for thread in servers
            if not thread.is_dead
        ):
            return
        if any(thread.tid in graph.waits for thread in servers):  # it hangs again
            return
        select.select([], [], [], PAUSE)


def is_futex(thread: Thread) -> bool:
    return thread.syscall is not None and thread.syscall.name == "futex"


def still_hangs(fusectl: Fusectl, number: int, device: StolenDevice) -> bool:
    """Look whether a thread of the daemon waits once more for what it should give itself."""
    first = take(fusectl, device.fd)
    select.select([], [], [], SETTLED)
    second = take(fusectl, device.fd)
    if number not in second.connections:
        return False
    graph = WaitGraph(second, first)
    threads = [*second.servers(number), *graph.helping(number)]
    stuck = [thread for thread in threads if thread.tid in graph.waits]
    return any(first.stood_still(second, thread.tid) for thread in stuck)
