"""A program on Linux's own kernel end.

One process serves the mount and says whose turn it is; the program's processes are children of it,
which make their system calls and tell what came back. The server has one thread, and waits for both
the device and the child that is at work. When the child has told its result, the device is read
until it is empty: whatever the step left behind (RELEASE, FORGET, readahead) has then been answered,
and belongs to that step. So one program does the same each time.

The children live in the mount as their root directory, so that a path means what it means on the
embedded kernel, `/` and `..` included. They are forked for each program, after the mount is made;
the device's descriptor is closed in them (fusewire.mounting).

Mounts are made in a mount namespace of the server's own. If nothing comes for `PATIENCE` seconds, the
connection is aborted through fusectl, which ends every wait there is, and the step counts as `HUNG`.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import inspect
import marshal
import os
import select
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from differential.calls import Actor, Result, perform
from differential.native import Native, libc
from differential.program import ROLES, Program, Role, Step
from differential.recorder import RecordedSession
from differential.subjects import SUBJECTS, Subject, begin
from differential.transcript import Transcript, transcribe
from fusewire.daemon.session import Buffers, Call
from fusewire.mounting import close_device, syscalls
from fusewire.mounting.device import open_device

__all__ = ["HUNG", "Machine"]

CLOCK_REALTIME_COARSE: Final = 5
PATIENCE: Final = 5.0  # seconds in which every step is over by far
HUNG: Final[Result] = ("hung", None)
CLONE_NEWNS: Final = 0x00020000
MS_REC: Final = 0x4000
MS_PRIVATE: Final = 0x40000
CONNECTIONS: Final = Path("/sys/fs/fuse/connections")
BUFFER: Final = (1 << 20) + 4096
ROUND: Final = 1 << 18  # bytes in which every result has room
OVER: Final = b"over"  # in place of the number of a step


class Machine:
    """Where programs run: a mount namespace, a mountpoint, and a place for the sources of local directories."""

    def __init__(self) -> None:
        self.home = tempfile.mkdtemp(prefix="fusewire-differential-")
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
        shutil.rmtree(self.home, ignore_errors=True)

    def run(self, program: Program) -> Transcript:
        """Run a program on a fresh mount; return what happened."""
        subject = SUBJECTS[program.subject]
        with source(self.home) as directory:
            session = RecordedSession(subject.make(directory), subject.timeouts)
            with Served(session, subject, self.mountpoint, self.buffer) as served:
                return perform_all(program, served)


@contextlib.contextmanager
def source(home: str) -> Iterator[str]:
    """Give an empty directory to make a filesystem of, open to all."""
    path = tempfile.mkdtemp(dir=home)
    os.chmod(path, 0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


class Hung(Exception):
    """Nothing came for too long; the connection has been aborted."""


class Served:
    """A mount that is served by this thread, whenever it waits for something."""

    def __init__(self, session: RecordedSession, subject: Subject, mountpoint: str, buffer: bytearray) -> None:
        self.session = session
        self.subject = subject
        self.mountpoint = mountpoint
        self.buffer = buffer
        self.gone = False  # it was aborted
        self.fd = open_device()
        options = f"fd={self.fd},rootmode=40000,user_id=0,group_id=0"
        options += ",allow_other" if subject.allow_other else ""
        options += ",default_permissions" if subject.default_permissions else ""
        os.set_blocking(self.fd, False)
        syscalls.mount("differential", mountpoint, "fuse", syscalls.MS_NOSUID | syscalls.MS_NODEV, options)
        self.serve()  # INIT

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        close_device(self.fd)  # first: of those that are alive when unmounted, Linux keeps some for minutes
        syscalls.umount(self.mountpoint, syscalls.MNT_DETACH)
        self.session.destroy()

    def serve(self) -> None:
        """Answer until nothing is left to be read."""
        while True:
            try:
                length = os.readv(self.fd, [self.buffer])
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.ENODEV, errno.ECONNABORTED):
                    self.gone = True
                    return
                if error.errno != errno.ENOENT:
                    raise
                continue
            reply = answer(self.session, memoryview(self.buffer)[:length])
            if reply is not None:
                self.write(reply)

    def write(self, reply: Buffers) -> None:
        try:
            os.writev(self.fd, reply)
        except OSError as error:
            if error.errno != errno.ENOENT:  # whoever asked has gone meanwhile
                raise

    def serve_until(self, fd: int) -> None:
        """Answer until `fd` can be read, and then whatever is left.

        Raises:
            Hung: nothing came for too long.
        """
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        if not self.gone:
            poller.register(self.fd, select.POLLIN)
        while True:
            ready = poller.poll(PATIENCE * 1000)
            if not ready or self.gone:
                self.abort()
                raise Hung
            self.serve()
            if any(one == fd for one, _ in ready):
                self.serve()  # it told its result, and went back to the kernel for what was left to do
                return

    def abort(self) -> None:
        """End every wait on this mount."""
        if self.gone:
            return
        number = os.minor(int(mount_device(self.mountpoint)))
        (CONNECTIONS / str(number) / "abort").write_text("1")


def mount_device(mountpoint: str) -> int:
    """Return the device number of what is mounted there, without touching it."""
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        fields = line.split()
        if fields[4] == mountpoint:
            major, minor = map(int, fields[2].split(":"))
            return os.makedev(major, minor)
    raise OSError(errno.ENOENT, "not mounted", mountpoint)


def answer(session: RecordedSession, message: memoryview) -> Buffers | None:
    """Give a session one message; run the method; return the reply."""
    received = session.receive(message)
    if not isinstance(received, Call):
        return received
    try:
        result = received.run()
        if inspect.iscoroutine(result):
            result = finished(result)
    except Exception as error:
        return session.fail(received, error)
    return session.reply(received, result)


def finished(coroutine: object) -> object:
    """Run a coroutine that waits for nothing."""
    try:
        coroutine.send(None)  # type: ignore[attr-defined]
    except StopIteration as stop:
        return stop.value
    raise RuntimeError("a filesystem that waits cannot be compared here")


# --- the program's processes


def perform_all(program: Program, served: Served) -> Transcript:
    """Start the processes, have each step made in its turn, and end them."""
    session = served.session
    callers: dict[int, Caller] = {}
    results: list[Result] = []
    try:
        for role in program.roles:
            callers[role] = Caller(role, program.steps, served)
        session.messages.clear()
        begin(session.filesystem)
        for number, step in enumerate(program.steps):
            if served.subject.ticks:
                await_tick()
            results.append(callers[step.role].step(number))
            session.marks.append(len(session.messages))
    except Hung:
        missing = len(program.steps) - len(results)
        results += [HUNG] * missing
        session.marks += [len(session.messages)] * missing
    finally:
        for caller in callers.values():
            caller.end()
    roles = {caller.pid: f"p{role}" for role, caller in callers.items()}
    return transcribe(session, results, roles)


def await_tick() -> None:
    """Wait until the clock that inodes get their times from has moved: a few milliseconds at most."""
    now = time.clock_gettime_ns(CLOCK_REALTIME_COARSE)
    while time.clock_gettime_ns(CLOCK_REALTIME_COARSE) == now:
        time.sleep(0.0005)


class Caller:
    """One of them, as its parent sees it."""

    def __init__(self, role: int, steps: Sequence[Step], served: Served) -> None:
        self.served = served
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid == 0:
            live(ROLES[role], steps, theirs, self.socket, served.mountpoint)
        theirs.close()
        self.pidfd = os.pidfd_open(self.pid)
        self.served.serve_until(self.socket.fileno())
        self.socket.recv(ROUND)

    def step(self, number: int) -> Result:
        self.socket.send(number.to_bytes(4, "little"))
        self.served.serve_until(self.socket.fileno())
        said = self.socket.recv(ROUND)
        result: Result = marshal.loads(said) if said else ("died", None)
        return result

    def end(self) -> None:
        """Have it exit, which closes what is still open; kill it if it does not."""
        with contextlib.suppress(OSError):  # it has died
            self.socket.send(OVER)
        self.socket.close()
        try:
            self.served.serve_until(self.pidfd)
        except Hung:  # a connection that is aborted holds nobody
            os.kill(self.pid, signal.SIGKILL)
        os.close(self.pidfd)
        os.waitpid(self.pid, 0)
        self.served.serve()


def live(role: Role, steps: Sequence[Step], told: socket.socket, parents: socket.socket, root: str) -> None:
    """Be one of them: do what one is told, until there is nobody to tell."""
    status = 1
    try:
        parents.close()
        gc.disable()
        actor = Actor(Native())
        settle(role, root)
        told.send(b"ready")
        while (order := told.recv(4)) not in (OVER, b""):
            told.send(marshal.dumps(perform(actor, steps[int.from_bytes(order, "little")])))
        status = 0
    finally:
        os._exit(status)


def settle(role: Role, root: str) -> None:
    """Make the mount one's root, and become who one is."""
    place = os.open(root, os.O_PATH | os.O_DIRECTORY)
    os.fchdir(place)
    os.close(place)
    os.chroot(".")
    os.setgroups(role.groups)
    os.setresgid(role.gid, role.gid, role.gid)
    os.setresuid(role.uid, role.uid, role.uid)
    os.umask(0o022)
