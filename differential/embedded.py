"""A program on our own kernel end, in this process.

In fixed order a system call ends when nothing can go on any more, so whatever a step leaves behind
has been answered before the next one, as it has on the real mount (real.py).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import time
from collections import deque
from collections.abc import Coroutine
from random import Random
from typing import Any

import fusewire.kernel as kernel_end
from differential.calls import Actor, Result, perform
from differential.native import PAGE, STATX_BTIME
from differential.player import DONE, Player
from differential.program import ROLES, Program
from differential.real import source
from differential.recorder import RecordedSession
from differential.subjects import SUBJECTS, Subject, session_of
from differential.transcript import Transcript
from fusewire.daemon.session import Buffers
from fusewire.embedded.daemon_device import Tap
from fusewire.embedded.ends import Ends
from fusewire.embedded.plan import Plan
from fusewire.kernel.checks.transcript import check_transcript
from fusewire.kernel.clock import StandingClock
from fusewire.kernel.profile import LINUX
from fusewire.kernel.runners.fixed_order import FixedOrder
from fusewire.kernel.syscalls.memory import Mapping
from fusewire.kernel.tasks import Killed, Task
from fusewire.kernel.vfs.file_locks import TO_THE_END
from fusewire.kernel.vfs.superblock import Options
from fusewire.mounting import MountOptions
from fusewire.wire import FUSE_KERNEL_MINOR_VERSION

__all__ = ["run"]


class AnyOrder(deque[Task]):
    """Tasks that can go on, of which any goes on next: as it is where several CPUs run them."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random = Random(seed)

    def popleft(self) -> Task:
        self.rotate(-self.random.randrange(len(self)))
        return super().popleft()


def run(program: Program, home: str, order: int | None = None) -> Transcript:
    """Run a program on a fresh kernel; return what happened.

    `home` is a directory for what it serves. Of several tasks that can go on, the one that was woken
    first does, unless `order` is the seed of another order.

    Raises:
        AssertionError: a rule of the wire was broken (fusewire.kernel.checks.transcript).
    """
    subject = SUBJECTS[program.subject]
    with source(home) as directory:
        session = session_of(subject, directory)
        tap = Tap()
        ends = started(session, subject, tap, order)
        try:
            transcript = EmbeddedPlayer(program, ends, session).play()
        finally:
            ends.close()
        if tap.whole:
            check_transcript(tap.exchanges)
        return transcript


def started(session: RecordedSession, subject: Subject, tap: Tap, order: int | None) -> Ends:
    """Make a kernel's end which that session serves, and of which `tap` hears every message."""
    options = Options(
        allow_other=subject.allow_other,
        default_permissions=subject.default_permissions,
        nosuid=True,
        nodev=True,
        fuseblk=subject.block,
    )
    plan = Plan(session.filesystem, MountOptions(), options, FUSE_KERNEL_MINOR_VERSION, LINUX, 1, False, 0)
    ends = Ends(plan, "fixed order", tap)
    session.new_request = ends.session.new_request  # which knows the groups of callers who are not in /proc
    ends.session = session
    set_clock(ends)
    if order is not None:
        assert isinstance(ends.runner, FixedOrder)
        ends.runner.runnable = AnyOrder(order)
    ends.start()
    return ends


def set_clock(ends: Ends) -> None:
    """Let the kernel's clock say what the filesystem's does: a filesystem compares times of both."""
    clock = ends.system.clock
    assert isinstance(clock, StandingClock)
    clock.advance(max(0, time.time_ns() - clock.wall()) / 1e9)


class EmbeddedPlayer(Player):
    """A program's processes are those of the embedded kernel, and each step is a task."""

    def __init__(self, program: Program, ends: Ends, session: RecordedSession) -> None:
        super().__init__(program, session)
        self.both_ends = ends
        self.processes = {role: self.new_process(role) for role in program.roles}
        self.actors = {role: Actor(Foreign(it)) for role, it in self.processes.items()}
        self.tasks: dict[int, Task] = {}  # of those under way, by role
        for it in self.processes.values():
            begin_at_root(ends, it)

    def new_process(self, role: int) -> kernel_end.Process:
        who = ROLES[role]
        return self.both_ends.new_process(who.uid, who.gid, frozenset(who.groups))

    def start(self, role: int, number: int) -> None:
        self.begin(role, perform(self.actors[role], self.program.steps[number]))

    def begin(self, role: int, coroutine: Coroutine[Any, Any, Any]) -> None:
        it = self.processes[role]
        self.tasks[role] = Task(it.name, coroutine, it)
        self.both_ends.runner.start(self.tasks[role])

    def interrupt(self, role: int) -> None:
        self.processes[role].interrupt()

    def kill(self, role: int) -> None:
        self.processes[role].kill()
        if role not in self.tasks:
            self.exit(role)

    def exit(self, role: int) -> None:
        self.begin(role, self.processes[role].exit())

    def write(self, message: Buffers) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.both_ends.call(self.both_ends.device.write(b"".join(message)))

    def unmount(self) -> Result:
        self.both_ends.call(self.both_ends.unmount())
        return DONE

    def pids(self) -> dict[int, int]:
        return {it.pid: role for role, it in self.processes.items()}

    def tick(self) -> None:
        set_clock(self.both_ends)

    def until_quiet(self) -> None:
        """Run until nothing can go on; those who were killed exit then."""
        while True:
            self.both_ends.runner.run()
            finished = [role for role, task in self.tasks.items() if task.finished]
            if not finished:
                return
            for role in finished:
                self.came_to_its_end(role, self.tasks.pop(role).result)

    def came_to_its_end(self, role: int, result: Any) -> None:
        if isinstance(result, Killed):
            self.exit(role)
        elif self.processes[role].ended:
            self.died(role)
        else:
            self.ended(role, result)


def begin_at_root(ends: Ends, it: kernel_end.Process) -> None:
    """Ask what a child on the real mount asks as it makes the mount its root: as root, it may be there."""
    who, it.credentials = it.credentials, kernel_end.Credentials.of(0, 0)
    ends.call(it.chdir("/"), it)
    ends.call(it.chdir("/"), it)
    it.credentials = who


class Foreign:
    """The system calls of one process, in the shape in which `calls` asks for them."""

    def __init__(self, it: kernel_end.Process) -> None:
        self.process = it

    def __getattr__(self, name: str) -> Any:
        return getattr(self.process, name)

    async def renameat2(self, old: str, new: str, flags: int) -> None:
        await self.process.rename(old, new, flags=flags)

    async def btime(self, path: str) -> bool:
        found = await self.process.statx(path)
        return bool(found.mask & STATX_BTIME)

    async def getdents(self, fd: int, size: int) -> list[tuple[int, int, int, bytes]]:
        found = await self.process.getdents(fd, size)
        return [(entry.ino, entry.off, entry.type, entry.name) for entry in found]

    # --- memory

    async def mmap(self, fd: int, length: int, flags: int, protection: int, offset: int) -> Mapping:
        mapping: Mapping = await self.process.mmap(fd, length, protection, flags, offset)
        return mapping

    async def munmap(self, mapping: Mapping) -> None:
        await self.process.munmap(mapping.address, len(mapping))

    async def msync(self, mapping: Mapping) -> None:
        await self.process.msync(mapping.address, len(mapping))

    async def peek(self, mapping: Mapping, offset: int, size: int) -> bytes:
        check_inside(mapping, offset + size)
        return bytes(await self.fault(self.process.load(mapping.address + offset, size)))

    async def poke(self, mapping: Mapping, offset: int, data: bytes) -> int:
        check_inside(mapping, offset + len(data))
        if data:
            await self.fault(self.process.store(mapping.address + offset, data))
        return len(data)

    async def fault(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Touch memory; a kernel that touches it for a program says EFAULT where the program would be killed."""
        try:
            return await coroutine
        except OSError:
            raise
        except Exception as error:
            if type(error).__name__ in ("BusError", "SegmentationFault"):
                raise OSError(errno.EFAULT, os.strerror(errno.EFAULT)) from error
            raise

    # --- locks, ioctl, poll

    async def ioctl(self, fd: int, request: int, data: bytes) -> tuple[int, bytes]:
        buffer = bytearray(data)
        result: Any = await self.process.ioctl(fd, request, buffer)
        return result, bytes(buffer)

    async def poll(self, fd: int, events: int, wait: int) -> int:
        found = await self.process.poll([(fd, events)], None if wait else 0)
        if found and found[0][1] & select.POLLNVAL:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return found[0][1] if found else 0

    async def setlkw(self, fd: int, kind: int, start: int, length: int) -> None:
        await self.process.setlk(fd, kind, start, length, wait=True)

    async def getlk(self, fd: int, kind: int, start: int, length: int) -> tuple[int, int, int]:
        held = await self.process.getlk(fd, kind, start, length)
        if held is None:
            return fcntl.F_UNLCK, 0, 0
        return held.type, held.start, 0 if held.end == TO_THE_END else held.end - held.start + 1


def check_inside(mapping: Mapping, end: int) -> None:
    if end > -(-len(mapping) // PAGE) * PAGE:
        raise OSError(errno.EFAULT, "outside the mapping")
