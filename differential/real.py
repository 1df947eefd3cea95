"""A program on Linux's own kernel end.

One process serves the mount and says whose turn it is; the program's processes are children of it,
which make their system calls and tell what came back (processes.py). The server has one thread, and
waits for both the device and the children that are at work. When they have told their results, the
device is read until it is empty: whatever the step left behind (RELEASE, FORGET, readahead) has then
been answered, and belongs to that step. So one program does the same each time.

A child may be asleep instead: /proc says so, while there is nothing to be read. Whoever makes it go
on, be it a reply, a signal or another child, makes it runnable at once, and /proc says that as well;
so a busy machine is no sleeping child.

Mounts are made in a mount namespace of the server's own. If somebody is neither asleep nor says
anything for `PATIENCE` seconds, the connection is aborted through fusectl, which ends every wait there
is, and the step counts as hung.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from differential.block_device import block_device
from differential.calls import Result
from differential.native import PAGE, libc
from differential.player import DONE, Hung, Player
from differential.processes import SIGNAL, Caller
from differential.program import Program
from differential.recorder import RecordedSession, carried_out
from differential.subjects import SUBJECTS, Subject, session_of
from differential.transcript import Transcript
from fusewire.daemon.session import Buffers, Call
from fusewire.kernel.checks.transcript import Exchange, check_transcript
from fusewire.mounting import close_device, syscalls
from fusewire.mounting.device import open_device

__all__ = ["Machine"]

CLOCK_REALTIME_COARSE: Final = 5
PATIENCE: Final = 5.0  # seconds in which every step is over by far, or asleep
MOMENT: Final = 1  # milliseconds after which we look whether everybody is asleep
CERTAIN: Final = 2  # so many times in a row: somebody may wait for the kernel itself, which needs a moment
CLONE_NEWNS: Final = 0x00020000
MS_REC: Final = 0x4000
MS_PRIVATE: Final = 0x40000
CONNECTIONS: Final = Path("/sys/fs/fuse/connections")
BUFFER: Final = (1 << 20) + 4096


class Machine:
    """Where programs run: a mount namespace, a mountpoint, and a place for the sources of local directories."""

    def __init__(self) -> None:
        self.home = tempfile.mkdtemp(prefix="fusewire-differential-")
        syscalls.mount("none", self.home, "tmpfs", 0, "")  # which uses no inode number twice
        self.mountpoint = os.path.join(self.home, "mnt")
        os.mkdir(self.mountpoint)
        self.buffer = bytearray(BUFFER)

    @staticmethod
    def enter_namespace() -> None:
        """Part from everybody else's mounts; call it once in a process, as root, before the first `Machine`."""
        if libc.unshare(CLONE_NEWNS) or libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None):
            raise OSError(errno.EPERM, "a mount namespace cannot be had: this takes root")
        if CONNECTIONS.is_dir() and not os.path.ismount(CONNECTIONS):
            syscalls.mount("none", str(CONNECTIONS), "fusectl", 0, "")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        syscalls.umount(self.home, syscalls.MNT_DETACH)
        os.rmdir(self.home)

    def run(self, program: Program) -> Transcript:
        """Run a program on a fresh mount; return what happened.

        Raises:
            AssertionError: a rule of the wire was broken (fusewire.kernel.checks.transcript).
        """
        subject = SUBJECTS[program.subject]
        with source(self.home) as directory, device_for(subject) as device:
            session = session_of(subject, directory)
            with Served(session, subject, self.mountpoint, self.buffer, device) as served:
                transcript = RealPlayer(program, served).run()
        check_transcript(served.exchanges)
        return transcript


@contextlib.contextmanager
def source(home: str) -> Iterator[str]:
    """Give an empty directory to make a filesystem of, open to all."""
    path = tempfile.mkdtemp(dir=home)
    os.chmod(path, 0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def device_for(subject: Subject) -> contextlib.AbstractContextManager[str]:
    """Give what a filesystem is mounted from: the path of a block device, if it stands on one."""
    return block_device() if subject.block else contextlib.nullcontext("differential")


class Served:
    """A mount that is served by this thread, whenever it waits for something."""

    def __init__(
        self, session: RecordedSession, subject: Subject, mountpoint: str, buffer: bytearray, device: str
    ) -> None:
        self.session = session
        self.subject = subject
        self.mountpoint = mountpoint
        self.buffer = buffer
        self.gone = False  # it was aborted
        self.exchanges: list[Exchange] = []  # what passed the device
        self.fd = open_device()
        options = f"fd={self.fd},rootmode=40000,user_id=0,group_id=0"
        options += ",allow_other" if subject.allow_other else ""
        options += ",default_permissions" if subject.default_permissions else ""
        options += f",blksize={PAGE}" if subject.block else ""
        kind = "fuseblk" if subject.block else "fuse"
        os.set_blocking(self.fd, False)
        syscalls.mount(device, mountpoint, kind, syscalls.MS_NOSUID | syscalls.MS_NODEV, options)
        self.mounted = True
        self.serve()  # INIT

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        close_device(self.fd)  # first: of those that are alive when unmounted, Linux keeps some for minutes
        if self.mounted:
            syscalls.umount(self.mountpoint, syscalls.MNT_DETACH)
        self.session.destroy()

    def unmount(self) -> None:
        """Unmount, answering meanwhile: DESTROY is waited for."""
        unmounting = threading.Thread(target=syscalls.umount, args=(self.mountpoint, 0), daemon=True)
        unmounting.start()
        deadline = time.monotonic() + PATIENCE
        while unmounting.is_alive() and time.monotonic() < deadline:
            self.wait(())
        if unmounting.is_alive():
            self.abort()
            raise Hung
        self.serve()
        self.mounted = False

    def serve(self) -> None:
        """Answer until nothing is left to be read, but for what is held back."""
        try:
            while (message := next_message(self.fd, self.buffer)) is not None:
                self.exchanges.append(Exchange(True, message))
                reply = answer(self.session, memoryview(message))
                if reply is not None:
                    self.write(reply)
        except Gone:
            self.gone = True

    def write(self, reply: Buffers) -> None:
        refused = 0
        try:
            os.writev(self.fd, reply)
        except OSError as error:
            refused = error.errno or -1
            if error.errno != errno.ENOENT:  # whoever asked has gone meanwhile
                raise
        finally:
            self.exchanges.append(Exchange(False, b"".join(reply), refused))

    def wait(self, fds: Iterable[int]) -> set[int] | None:
        """Wait a moment until one of `fds` can be read, answering meanwhile; return which, None if nothing came."""
        poller = select.poll()
        for fd in fds:
            poller.register(fd, select.POLLIN)
        if not self.gone:
            poller.register(self.fd, select.POLLIN)
        ready = {fd for fd, _ in poller.poll(MOMENT)}
        if not ready:
            return None
        self.serve()
        return ready - {self.fd}

    def abort(self) -> None:
        """End every wait on this mount."""
        if self.gone:
            return
        abort(mount_device(self.mountpoint))


def mount_device(mountpoint: str) -> int:
    """Return the device number of what is mounted there, without touching it."""
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        fields = line.split()
        if fields[4] == mountpoint:
            major, minor = map(int, fields[2].split(":"))
            return os.makedev(major, minor)
    raise OSError(errno.ENOENT, "not mounted", mountpoint)


def abort(device: int) -> None:
    """Abort the connection of a mount."""
    number = os.major(device) << 20 | os.minor(device)  # as the kernel itself writes it
    (CONNECTIONS / str(number) / "abort").write_text("1")


class Gone(Exception):
    """The mount is."""


def next_message(fd: int, buffer: bytearray) -> bytes | None:
    """Return what can be read of a device now; None if there is nothing.

    Raises:
        Gone: there will be nothing more.
    """
    while True:
        try:
            return bytes(memoryview(buffer)[: os.readv(fd, [buffer])])
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno in (errno.ENODEV, errno.ECONNABORTED):
                raise Gone from None
            if error.errno != errno.ENOENT:  # what was interrupted while it was read
                raise


def answer(session: RecordedSession, message: memoryview) -> Buffers | None:
    """Give a session one message; run the method; return the reply."""
    received = session.receive(message)
    return carried_out(session, received) if isinstance(received, Call) else received


# --- a program


class RealPlayer(Player):
    """A program's processes are our children (processes.py)."""

    def __init__(self, program: Program, served: Served) -> None:
        super().__init__(program, served.session)
        self.served = served
        self.callers: dict[int, Caller] = {}

    def run(self) -> Transcript:
        """Start the processes, play, and see to it that they are gone."""
        try:
            for role in self.program.roles:
                self.callers[role] = Caller(role, self.program.steps, self.served.mountpoint)
                self.under_way[role] = 0
                self.until_quiet()
            return self.play()
        except BaseException:
            self.served.abort()  # else those who are killed wait for us as they close what they have open
            raise
        finally:
            for caller in self.callers.values():
                caller.reap()

    def start(self, role: int, number: int) -> None:
        self.callers[role].start(number)

    def interrupt(self, role: int) -> None:
        os.kill(self.callers[role].pid, SIGNAL)

    def kill(self, role: int) -> None:
        os.kill(self.callers[role].pid, signal.SIGKILL)

    def exit(self, role: int) -> None:
        self.callers[role].leave()

    def write(self, message: Buffers) -> None:
        self.served.write(message)

    def unmount(self) -> Result:
        self.served.unmount()
        return DONE

    def pids(self) -> dict[int, int]:
        return {caller.pid: role for role, caller in self.callers.items()}

    def tick(self) -> None:
        await_tick()

    def until_quiet(self) -> None:
        """Answer until all that are in a call have told their results, have died, or are asleep."""
        deadline, asleep = time.monotonic() + PATIENCE, 0
        while self.under_way:
            callers = {fd: role for role in self.under_way for fd in self.callers[role].tells()}
            ready = self.served.wait(callers)
            if ready is not None:
                deadline, asleep = time.monotonic() + PATIENCE, 0
                for role in {callers[fd] for fd in ready}:
                    self.hear(role)
            elif all(self.callers[role].is_asleep() for role in self.under_way):
                asleep += 1
                if asleep == CERTAIN:
                    break
            if self.served.gone or time.monotonic() > deadline:
                self.served.abort()
                raise Hung
        self.served.serve()  # who told its result went back to the kernel first, for what was left to do

    def hear(self, role: int) -> None:
        """Take what a process has to say."""
        caller = self.callers[role]
        if caller.has_ended():
            self.died(role)
        elif (result := caller.hear()) is not None:
            self.ended(role, result)


def await_tick() -> None:
    """Wait until the clock that inodes get their times from has moved, and again: a few milliseconds each time.

    Once is not quite enough: now and then an inode still gets the tick before the last.
    """
    for _ in range(2):
        now = time.clock_gettime_ns(CLOCK_REALTIME_COARSE)
        while time.clock_gettime_ns(CLOCK_REALTIME_COARSE) == now:
            time.sleep(0.0005)
