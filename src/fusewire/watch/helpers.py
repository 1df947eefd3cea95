"""Whom a daemon's thread waits for in another process: one that does its work.

sshfs has ssh, a daemon may run a program for each request; what such a helper does on the daemon's own
mount, the daemon does. So a thread sleeps for another process, if it

    reads, or polls with no timeout, pipes and unix sockets   those who have the other ends
    waits for a child (wait4, waitid)                         the child, or all of them

Who has the other end of a socket the kernel tells by sock_diag(7), in our own network namespace alone. A helper may
have helpers. One that waits for the daemon in turn, for more to do, is in nobody's way: who follows the threads has to
see to it that he does not walk in a circle.

Not seen: a helper on another machine, or behind TCP; one that is told by a file, or by shared memory.

Source: net/unix/diag.c; kernel/exit.c, do_wait.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator, Mapping
from typing import Final

from fusewire.watch.patience import within
from fusewire.watch.proc import Syscall, Thread, contents, link, names

__all__ = ["Ends", "Helpers", "children"]

Ends = Mapping[str, set[int]]  # which processes have each pipe and each socket, by its name in /proc

READS: Final = ("read", "readv", "recvfrom", "recvmsg")
SOCKET_WAITS: Final = ("unix_stream_read_generic", "unix_stream_data_wait", "__skb_wait_for_more_packets")
MANY: Final = 64  # descriptors; who polls more is nobody who waits for one process
P_PID: Final = 1  # of waitid(2)

NETLINK_SOCK_DIAG: Final = 4
SOCK_DIAG_BY_FAMILY, NLMSG_ERROR, NLMSG_DONE = 20, 2, 3
REQUEST, DUMP = 1, 0x300
SHOW_PEER, PEER = 4, 2  # UDIAG_SHOW_PEER, UNIX_DIAG_PEER


class Helpers:
    """Finds them, for one look."""

    def __init__(self, ends: Ends) -> None:
        self.ends = ends
        self._peers: dict[int, int] | None = None

    def of(self, thread: Thread) -> frozenset[int]:
        """Return the processes for whom a thread sleeps; none if it is for something else, or we cannot tell."""
        call = thread.syscall
        if thread.state != "S" or call is None or call.number < 0:  # a page fault has no arguments
            return frozenset()
        if thread.passes("do_wait"):
            return awaited(thread.pid, call)
        nothing: list[int] = []
        wanted = within(lambda: list(descriptors(thread, call)), nothing)
        found = [self._behind(thread, fd) for fd in wanted]
        return frozenset().union(*found) if all(found) else frozenset()  # any of them may bring news

    def _behind(self, thread: Thread, fd: int) -> frozenset[int]:
        """Return who has the other end of a pipe or a socket."""
        name = link(f"{thread.place}/fd/{fd}")
        if name.startswith("socket:["):
            name = f"socket:[{self.peers.get(int(name[8:-1]), 0)}]"
        return frozenset(self.ends.get(name, set())) - {thread.pid}

    @property
    def peers(self) -> dict[int, int]:
        """Which unix sockets are connected, by their numbers; asked for when it is needed first."""
        if self._peers is None:
            nobody: dict[int, int] = {}
            self._peers = within(lambda: dict(connected()), nobody)
        return self._peers


def awaited(pid: int, call: Syscall) -> frozenset[int]:
    """Return the children for whom a call waits."""
    which, number = call.arguments[0] & 0xFFFFFFFF, call.arguments[1]
    if call.name == "waitid":
        return frozenset([number]) if which == P_PID else children(pid)
    return frozenset([which]) if 0 < which < 1 << 31 else children(pid)


def children(pid: int) -> frozenset[int]:
    """Return the children of a process."""
    texts = (contents(f"/proc/{pid}/task/{tid}/children") for tid in names(f"/proc/{pid}/task"))
    return frozenset(int(word) for text in texts for word in text.split())


def descriptors(thread: Thread, call: Syscall) -> Iterator[int]:
    """Yield the descriptors of which a thread waits for something to read, with no clock to wake it."""
    if call.name in READS and (thread.wchan.endswith("pipe_read") or thread.wchan in SOCKET_WAITS):
        yield call.arguments[0]
    for_ever = call.arguments[2] & 0xFFFFFFFF == 0xFFFFFFFF if call.name == "poll" else call.arguments[2] == 0
    if call.name in ("poll", "ppoll") and for_ever and 0 < call.arguments[1] <= MANY:
        yield from polled(thread, call.arguments[0], call.arguments[1])


def polled(thread: Thread, address: int, count: int) -> Iterator[int]:
    """Yield the descriptors in an array of struct pollfd. It was read a moment ago, so it is in memory."""
    fd = os.open(f"{thread.place}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        for descriptor, _, _ in struct.iter_unpack("=ihh", os.pread(fd, 8 * count, address)):
            if descriptor >= 0:
                yield descriptor
    finally:
        os.close(fd)


# --- sockets


def connected() -> Iterator[tuple[int, int]]:
    """Yield the unix sockets of our network namespace, each with the one to which it is connected."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_SOCK_DIAG) as channel:
        wanted = struct.pack("=BBHIIIII", socket.AF_UNIX, 0, 0, 0xFFFFFFFF, 0, SHOW_PEER, 0, 0)
        channel.send(struct.pack("=IHHII", 16 + len(wanted), SOCK_DIAG_BY_FAMILY, REQUEST | DUMP, 1, 0) + wanted)
        while True:
            for kind, body in messages(channel.recv(1 << 18)):
                if kind in (NLMSG_DONE, NLMSG_ERROR):
                    return
                yield from peer_in(body)


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Split what the kernel sends: struct nlmsghdr, and what follows it."""
    while len(data) >= 16:
        length, kind = struct.unpack_from("=IH", data)
        yield kind, data[16:length]
        data = data[max(16, (length + 3) & ~3) :]


def peer_in(body: bytes) -> Iterator[tuple[int, int]]:
    """Yield of a struct unix_diag_msg which sockets it says are connected."""
    (number,) = struct.unpack_from("=I", body, 4)
    attributes = body[16:]
    while len(attributes) >= 8:
        length, kind, peer = struct.unpack_from("=HHI", attributes)
        if kind == PEER:
            yield number, peer
        attributes = attributes[max(4, (length + 3) & ~3) :]
