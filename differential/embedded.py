"""A program on our own kernel end, in this process.

In fixed order a system call ends when nothing can go on any more, so whatever a step leaves behind
has been answered before the next one, as it has on the real mount (real.py).
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import time
from collections.abc import Coroutine
from typing import Any, Final

import fusewire.kernel as kernel_end
from differential.calls import Actor, Result, perform
from differential.native import PAGE
from differential.program import ROLES, Program, Step
from differential.real import source
from differential.recorder import RecordedSession
from differential.subjects import SUBJECTS, Subject, begin
from differential.transcript import Transcript, transcribe
from fusewire.embedded.ends import Ends, Plan
from fusewire.kernel.clock import StandingClock
from fusewire.kernel.profile import LINUX
from fusewire.kernel.runners.fixed_order import Deadlock
from fusewire.kernel.syscalls.memory import Mapping
from fusewire.kernel.vfs.file_locks import TO_THE_END
from fusewire.kernel.vfs.superblock import Options
from fusewire.mounting import MountOptions
from fusewire.wire import FUSE_KERNEL_MINOR_VERSION

__all__ = ["run"]

STUCK: Final[Result] = ("hung", None)


def run(program: Program, home: str) -> Transcript:
    """Run a program on a fresh kernel; return what happened. `home` is a directory for what it serves."""
    subject = SUBJECTS[program.subject]
    with source(home) as directory:
        session = RecordedSession(subject.make(directory), subject.timeouts)
        ends = started(session, subject)
        try:
            return perform_all(program, ends, session)
        finally:
            ends.close()


def started(session: RecordedSession, subject: Subject) -> Ends:
    """Make a kernel's end which that session serves."""
    options = Options(
        allow_other=subject.allow_other, default_permissions=subject.default_permissions, nosuid=True, nodev=True
    )
    plan = Plan(session.filesystem, MountOptions(), options, FUSE_KERNEL_MINOR_VERSION, LINUX, 1, False, 0)
    ends = Ends(plan, "fixed order")
    session.new_request = ends.session.new_request  # which knows the groups of callers who are not in /proc
    ends.session = session
    set_clock(ends)
    ends.start()
    return ends


def perform_all(program: Program, ends: Ends, session: RecordedSession) -> Transcript:
    processes = {role: process(ends, role) for role in program.roles}
    actors = {role: Actor(Foreign(ends, it)) for role, it in processes.items()}
    for each in processes.values():
        begin_at_root(ends, each)
    session.messages.clear()
    begin(session.filesystem)
    results = []
    ticks = SUBJECTS[program.subject].ticks
    for step in program.steps:
        if ticks:
            set_clock(ends)
        results.append(performed(actors[step.role], step))
        session.marks.append(len(session.messages))
    return transcribe(session, results, {it.pid: f"p{role}" for role, it in processes.items()})


def set_clock(ends: Ends) -> None:
    """Let the kernel's clock say what the filesystem's does: a filesystem compares times of both."""
    clock = ends.system.clock
    assert isinstance(clock, StandingClock)
    clock.advance(max(0, time.time_ns() - clock.wall()) / 1e9)


def process(ends: Ends, role: int) -> kernel_end.Process:
    who = ROLES[role]
    return ends.new_process(who.uid, who.gid, frozenset(who.groups))


def begin_at_root(ends: Ends, it: kernel_end.Process) -> None:
    """Ask what a child on the real mount asks as it makes the mount its root: as root, it may be there."""
    who, it.credentials = it.credentials, kernel_end.Credentials.of(0, 0)
    ends.call(it.chdir("/"), it)
    ends.call(it.chdir("/"), it)
    it.credentials = who


def performed(actor: Actor, step: Step) -> Result:
    try:
        return perform(actor, step)
    except Deadlock:
        return STUCK


class Foreign:
    """The system calls of one process, in the shape in which `calls` asks for them."""

    def __init__(self, ends: Ends, it: kernel_end.Process) -> None:
        self.ends = ends
        self.process = it

    def call(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.ends.call(coroutine, self.process)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.process, name)
        return lambda *arguments, **more: self.call(method(*arguments, **more))

    def renameat2(self, old: str, new: str, flags: int) -> None:
        self.call(self.process.rename(old, new, flags=flags))

    def getdents(self, fd: int, size: int) -> list[tuple[int, int, int, bytes]]:
        found = self.call(self.process.getdents(fd, size))
        return [(entry.ino, entry.off, entry.type, entry.name) for entry in found]

    # --- memory

    def mmap(self, fd: int, length: int, flags: int, protection: int, offset: int) -> Mapping:
        mapping: Mapping = self.call(self.process.mmap(fd, length, protection, flags, offset))
        return mapping

    def munmap(self, mapping: Mapping) -> None:
        self.call(self.process.munmap(mapping.address, len(mapping)))

    def msync(self, mapping: Mapping) -> None:
        self.call(self.process.msync(mapping.address, len(mapping)))

    def peek(self, mapping: Mapping, offset: int, size: int) -> bytes:
        check_inside(mapping, offset + size)
        return bytes(self.fault(self.process.load(mapping.address + offset, size)))

    def poke(self, mapping: Mapping, offset: int, data: bytes) -> int:
        check_inside(mapping, offset + len(data))
        if data:
            self.fault(self.process.store(mapping.address + offset, data))
        return len(data)

    def fault(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Touch memory; a kernel that touches it for a program says EFAULT where the program would be killed."""
        try:
            return self.call(coroutine)
        except OSError:
            raise
        except Exception as error:
            if type(error).__name__ in ("BusError", "SegmentationFault"):
                raise OSError(errno.EFAULT, os.strerror(errno.EFAULT)) from error
            raise

    # --- locks, ioctl, poll

    def ioctl(self, fd: int, request: int, data: bytes) -> tuple[int, bytes]:
        buffer = bytearray(data)
        result: int = self.call(self.process.ioctl(fd, request, buffer))
        return result, bytes(buffer)

    def poll(self, fd: int, events: int) -> int:
        found = self.call(self.process.poll([(fd, events)], 0))
        if found and found[0][1] & select.POLLNVAL:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return found[0][1] if found else 0

    def getlk(self, fd: int, kind: int, start: int, length: int) -> tuple[int, int, int]:
        held = self.call(self.process.getlk(fd, kind, start, length))
        if held is None:
            return fcntl.F_UNLCK, 0, 0
        return held.type, held.start, 0 if held.end == TO_THE_END else held.end - held.start + 1


def check_inside(mapping: Mapping, end: int) -> None:
    if end > -(-len(mapping) // PAGE) * PAGE:
        raise OSError(errno.EFAULT, "outside the mapping")
