"""The scripted daemon on Linux's own kernel end.

This process is the daemon: it reads the device when there is something to read, and never touches
the mount. The caller is a child of it, which makes one call at a time and tells what came of it.
Then the device is read until it is empty, so that what a call left behind belongs to it (as in
../real.py). If nothing comes for `PATIENCE` seconds the connection is aborted through fusectl.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import marshal
import os
import select
import signal
import socket
from types import TracebackType
from typing import Any, Final, Self

from differential.calls import Actor, Result
from differential.daemons.calls import NativeAt, perform
from differential.daemons.scenarios import Scenario, Step, Tell
from differential.daemons.scripted import Action, Outcome, Plan, ScriptedDaemon
from differential.daemons.world import World
from differential.processes import Awaited
from differential.real import Gone, abort, mount_device, next_message
from differential.recorder import finished
from fusewire.mounting import close_device, syscalls
from fusewire.mounting.device import clone_device, open_device

__all__ = ["Linux", "run"]

PATIENCE: Final = 5.0  # seconds in which every step is over by far
MOMENT: Final = 0.5  # seconds in which a signal that leads to an INTERRUPT has done so
BUFFER: Final = 1 << 21
ROUND: Final = 1 << 18  # bytes in which every result has room
SIGNAL: Final = signal.SIGUSR1


class Linux:
    """One mount, one caller, one daemon."""

    def __init__(self, scenario: Scenario, daemon: ScriptedDaemon, mountpoint: str) -> None:
        self.daemon = daemon
        self.mountpoint = mountpoint
        self.fd: int | None = open_device()
        self.gone = False
        os.set_blocking(self.fd, False)
        options = f"fd={self.fd},rootmode=40000,user_id=0,group_id=0,allow_other"
        options += ",default_permissions" if scenario.default_permissions else ""
        syscalls.mount("nonsense", mountpoint, "fuse", syscalls.MS_NOSUID | syscalls.MS_NODEV, options)
        self.mounted = mount_device(mountpoint)
        self.buffer = bytearray(BUFFER)
        self.clone: int | None = clone_device(self.fd)
        self.caller = Caller(mountpoint)
        self.serve()  # INIT

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        syscalls.umount(self.mountpoint, syscalls.MNT_DETACH)
        self.caller.end()

    # The daemon.

    def serve(self) -> None:
        """Answer until nothing is left to be read."""
        try:
            while self.fd is not None and (message := next_message(self.fd, self.buffer)) is not None:
                self.drive(message)
        except Gone:
            self.gone = True

    def drive(self, message: bytes) -> None:
        handling = self.daemon.handle(message)
        outcome: Outcome | None = None
        try:
            while True:
                outcome = self.act(handling.send(outcome))  # type: ignore[arg-type]
        except StopIteration:
            return

    def act(self, action: Action) -> Outcome:
        try:
            match action.kind:
                case "write":
                    return os.write(self.opened(self.fd), action.data)
                case "write to the clone":
                    return os.write(self.opened(self.clone), action.data)
                case "read":
                    return self.read()
                case "signal":
                    os.kill(self.caller.pid, SIGNAL)
                case "abort":
                    self.abort()
                case "close":
                    self.close()
        except OSError as error:
            return errno.errorcode[error.errno or 0]
        return 0

    def opened(self, fd: int | None) -> int:
        if fd is None:
            raise OSError(errno.ENOENT, "closed")
        return fd

    def read(self) -> bytes:
        """Wait for a message."""
        fd = self.opened(self.fd)
        if not select.select([fd], [], [], MOMENT)[0]:
            raise OSError(errno.ETIMEDOUT, "nothing to read")
        return os.read(fd, BUFFER)

    def close(self) -> None:
        for fd in (self.clone, self.fd):
            if fd is not None:
                close_device(fd)
        self.clone = self.fd = None

    def abort(self) -> None:
        abort(self.mounted)

    # The caller.

    def perform(self, step: Step) -> Result:
        """Have the caller make a call, and serve it meanwhile."""
        self.caller.begin(step)
        poller = select.poll()
        poller.register(self.caller.socket, select.POLLIN)
        watched = self.watch(poller)
        while True:
            ready = poller.poll(PATIENCE * 1000)
            if not ready:
                self.abort()
                self.caller.kill()
                return "hung", None
            self.serve()
            if any(one == self.caller.socket.fileno() for one, _ in ready):
                result = self.caller.result()
                self.serve()
                return result
            if watched is not None and (self.gone or self.fd is None):
                poller.unregister(watched)
                watched = None

    def watch(self, poller: select.poll) -> int | None:
        if self.fd is not None and not self.gone:
            poller.register(self.fd, select.POLLIN)
            return self.fd
        return None


class Caller:
    """The process that makes the calls, as its parent sees it."""

    def __init__(self, mountpoint: str) -> None:
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid == 0:
            live(theirs, self.socket, mountpoint)
        theirs.close()
        self.socket.recv(16)

    def begin(self, step: Step) -> None:
        with contextlib.suppress(OSError):  # it has died
            self.socket.send(marshal.dumps((step.call, step.arguments)))

    def result(self) -> Result:
        try:
            said = self.socket.recv(ROUND)
        except ConnectionResetError:
            said = b""
        result: Result = marshal.loads(said) if said else ("died", None)
        return result

    def kill(self) -> None:
        """End what an abort does not end: it waits for another process."""
        os.kill(self.pid, signal.SIGKILL)

    def end(self) -> None:
        """Have it exit; nothing holds it, for the connection is gone."""
        self.socket.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def live(told: socket.socket, parents: socket.socket, mountpoint: str) -> None:
    """Be the caller, until there is nobody to tell."""
    status = 1
    try:
        parents.close()
        gc.disable()
        signal.signal(SIGNAL, lambda number, frame: None)
        signal.siginterrupt(SIGNAL, False)  # SA_RESTART, as the embedded kernel takes for granted
        os.umask(0o022)
        actor = Actor(Awaited(NativeAt(mountpoint)))
        told.send(b"ready")
        while order := told.recv(ROUND):
            call, arguments = marshal.loads(order)
            told.send(marshal.dumps(finished(perform(actor, call, arguments))))
        status = 0
    finally:
        os._exit(status)


def run(scenario: Scenario, valid: int, plan: Plan | None, mountpoint: str) -> list[list[str]]:
    """Run a scenario; return what was seen and done, as `embedded.run`."""
    world: Any = World(valid, scenario.flags, scenario.open_flags)
    daemon = ScriptedDaemon(world, plan, armed=scenario.from_start)
    with Linux(scenario, daemon, mountpoint) as linux:
        seen = [daemon.take_log()]
        for step in scenario.steps:
            daemon.armed |= step is scenario.main
            perform_step(linux, daemon, step)
            if step is scenario.main:
                daemon.armed = False
            seen.append(daemon.take_log())
    return seen


def perform_step(linux: Linux, daemon: ScriptedDaemon, step: Step | Tell) -> None:
    if isinstance(step, Tell):
        outcome = linux.act(Action("write", step.message))
        daemon.log.insert(0, f"told {step.name}: {outcome!r}")
        linux.serve()
        return
    result = linux.perform(step)
    daemon.log.insert(0, f"{step.call}{step.arguments} -> {result!r}")
