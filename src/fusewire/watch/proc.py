"""Threads as /proc shows them: what each does, and where in the kernel it sleeps.

    /proc/PID/task/TID/stat      name, state, flags
                       status    how often it gave up a CPU
                       wchan     the kernel's function in which it sleeps
                       syscall   number, six arguments, stack pointer, program counter; "running"
                       stack     how it got there; only for who has CAP_SYS_ADMIN

All are text that the kernel writes without asking any filesystem, so reading them cannot hang,
whatever the thread hangs in. What can hang is read elsewhere (patience.py).

A thread may be gone, or not ours to look at, between any two reads: what cannot be read is empty,
never an error. Of another user's thread one sees name, state and flags. Two reads may belong to
two moments as well. `switches` tells: whoever sleeps at two moments with the same count has slept
from the one to the other, so all that was read between the two is of one piece.

Source: fs/proc/array.c, do_task_stat; fs/proc/base.c, proc_pid_syscall and proc_pid_stack.
"""

from __future__ import annotations

import os
import re
from typing import Final, NamedTuple

from fusewire.watch.syscalls import name_of

__all__ = ["Syscall", "Thread", "contents", "link", "names", "pids", "survivor", "thread", "threads", "tids"]

PF_EXITING: Final = 0x4  # include/linux/sched.h
PF_KTHREAD: Final = 0x200000
SWITCHES: Final = re.compile(rb"ctxt_switches:\t(\d+)")
PENDING: Final = re.compile(rb"(?:SigPnd|ShdPnd):\t([0-9a-f]+)")
SIGKILL_BIT: Final = 1 << 8


class Syscall(NamedTuple):
    """The system call that a sleeping thread is in; number -1 is a page fault, or another trap."""

    number: int
    name: str
    arguments: tuple[int, ...]
    sp: int
    pc: int


class Thread(NamedTuple):
    """One thread at one moment."""

    pid: int
    tid: int
    comm: str
    state: str  # R runs, S sleeps, D sleeps and no signal wakes it, T stopped, Z dead
    wchan: str  # "" if it sleeps nowhere, or that is not ours to know
    syscall: Syscall | None  # None if it runs, or that is not ours to know
    stack: tuple[str, ...] | None  # innermost first; None if that is not ours to know
    switches: int  # how often it gave up a CPU so far; -1 if that is not ours to know
    flags: int
    cpu: int = -1  # on which it ran last
    is_killed: bool = False  # a SIGKILL is on its way to it, which ends it as soon as it can be woken

    @property
    def place(self) -> str:
        """Its directory."""
        return f"/proc/{self.pid}/task/{self.tid}"

    @property
    def is_exiting(self) -> bool:
        """It has begun to die: its descriptors are closed, or about to be."""
        return bool(self.flags & PF_EXITING)

    @property
    def is_kernel(self) -> bool:
        return bool(self.flags & PF_KTHREAD)

    @property
    def is_dead(self) -> bool:
        return self.state in "ZX"

    @property
    def is_visible(self) -> bool:
        """Whether we may know where it sleeps. (The kernel writes a 0 for a thread that is not ours.)"""
        return bool(self.wchan) or self.syscall is not None or self.state not in "SD"

    def passes(self, *functions: str) -> bool:
        """Tell whether one of these functions of the kernel is where it sleeps, or on the way there."""
        return self.wchan in functions or any(function in functions for function in self.stack or ())


def threads(pid: int) -> list[Thread]:
    """Return the threads of a process that has any, by number."""
    return [found for tid in tids(pid) if (found := thread(pid, tid)) is not None]


def thread(pid: int, tid: int) -> Thread | None:
    """Return one thread; None if it is gone."""
    place = f"/proc/{pid}/task/{tid}"
    stat = contents(f"{place}/stat")
    if not stat:
        return None
    before, _, after = stat.rpartition(b")")
    fields = after.split()
    flags = int(fields[6])
    status = contents(f"{place}/status")
    return Thread(
        pid,
        tid,
        os.fsdecode(before.partition(b"(")[2]),
        fields[0].decode(),
        wchan(place),
        None if flags & PF_KTHREAD else parse_syscall(contents(f"{place}/syscall")),
        parse_stack(contents(f"{place}/stack")),
        count_switches(status),
        flags,
        int(fields[36]),
        any(int(pending, 16) & SIGKILL_BIT for pending in PENDING.findall(status)),
    )


def wchan(place: str) -> str:
    """Return where the thread with this directory sleeps."""
    name = contents(f"{place}/wchan").decode("ascii", "replace").strip()
    return "" if name == "0" else name.partition(".")[0]  # do_poll.constprop.0: the compiler's ending says nothing


def parse_syscall(text: bytes) -> Syscall | None:
    """Read the file `syscall`."""
    words = text.split()
    if len(words) < 3 or words[0] == b"running":
        return None
    number = int(words[0])
    *arguments, sp, pc = (int(word, 16) for word in words[1:])
    return Syscall(number, name_of(number), tuple(arguments), sp, pc)


def parse_stack(text: bytes) -> tuple[str, ...] | None:
    """Read the file `stack`: lines like '[<0>] request_wait_answer+0x166/0x210'."""
    frames = [line.rpartition(b"] ")[2].partition(b"+")[0].partition(b".")[0] for line in text.splitlines()]
    return tuple(frame.decode("ascii", "replace") for frame in frames) or None


def count_switches(status: bytes) -> int:
    """Read the two counters in the file `status`: gave up a CPU of its own accord, and was made to."""
    counts = SWITCHES.findall(status)
    return sum(map(int, counts)) if counts else -1


# --- the files of /proc, without errors


def pids() -> list[int]:
    """Return the processes that there are."""
    return sorted(int(name) for name in names("/proc") if name.isdigit())


def tids(pid: int) -> list[int]:
    """Return the threads of a process; none if it is gone."""
    return sorted(int(name) for name in names(f"/proc/{pid}/task"))


def survivor(pid: int) -> int:
    """Return a thread of a process that has its descriptors, memory and namespaces: the leader, unless it has ended.

    Then /proc/PID shows none of these, though other threads have them still; /proc/TID does, which is there for each
    thread, but not listed.
    """
    ended = contents(f"/proc/{pid}/stat").rpartition(b")")[2][1:2] == b"Z"
    return next((tid for tid in tids(pid) if names(f"/proc/{tid}/fd")), pid) if ended else pid


def names(directory: str) -> list[str]:
    """Return what is in a directory of /proc; nothing if it is gone, or not ours to look at."""
    try:
        return os.listdir(directory)
    except OSError:
        return []


def contents(path: str) -> bytes:
    """Return a file of /proc; b"" if it is gone, or not ours to look at."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return read_all(fd)
    except OSError:  # it was there when we opened it
        return b""
    finally:
        os.close(fd)


def read_all(fd: int) -> bytes:
    """Read to the end: a single read returns what whole lines fill a page, however many there are."""
    text = b""
    while more := os.read(fd, 1 << 16):
        text += more
    return text


def link(path: str) -> str:
    """Return where a link of /proc leads; "" if it is gone, or not ours to know. Follows nothing."""
    try:
        return os.readlink(path)
    except OSError:
        return ""
