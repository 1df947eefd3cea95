"""Mounting other people's filesystems safely: daemons as children, and a way out when they hang.

Everything happens in a mount namespace of our own, so that nothing is left on the machine
whatever goes wrong. A daemon is a child process; it counts as mounted once the kernel lists
its mountpoint and a statfs of that has an answer. A step that touches a mount runs in a child
with a time limit; when that passes, the connection is aborted through fusectl, which frees
every process that waits in it, also those that SIGKILL does not free.

Source: Documentation/filesystems/fuse.rst, "Aborting a filesystem connection".
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CONNECTIONS = Path("/sys/fs/fuse/connections")
INSIDE = "FUSEWIRE_PRIVATE_NAMESPACE"  # set in the environment of the process that runs inside
MNT_DETACH = 2

libc = ctypes.CDLL(None, use_errno=True)


def enter_private_namespace() -> None:
    """Run this program again in a mount namespace of its own, unless it does already.

    Raises:
        SystemExit: with what is missing, when mounting is impossible here.
    """
    if os.environ.get(INSIDE):
        mount_fusectl()
        return
    why_not = obstacle()
    if why_not:
        sys.exit(why_not)
    os.environ[INSIDE] = "1"
    os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv])


def obstacle() -> str:
    """Why filesystems cannot be mounted here, as a sentence; or nothing."""
    if os.geteuid() != 0:
        return "This mounts filesystems in a mount namespace of its own and needs root: run it with sudo."
    if not os.path.exists("/dev/fuse"):
        return "There is no /dev/fuse: load the kernel module (modprobe fuse), or give the container the device."
    return ""


def mount_fusectl() -> None:
    """Make the directory of connections visible in our namespace, if it is not."""
    if CONNECTIONS.is_dir() and not os.path.ismount(CONNECTIONS):
        subprocess.run(["mount", "-t", "fusectl", "none", CONNECTIONS], check=True)


def connection_of(mountpoint: str) -> int | None:
    """The connection mounted at a path, the topmost if there are several; or None."""
    return next((number for path, number in reversed(fuse_mounts()) if path == mountpoint), None)


def fuse_mounts() -> list[tuple[str, int]]:
    """Mountpoint and connection of each FUSE mount here; the connection is the minor device number."""
    found = []
    with open("/proc/self/mountinfo") as lines:
        for line in lines:
            fields = line.split()
            if fields[fields.index("-") + 1].split(".")[0] in ("fuse", "fuseblk"):
                found.append((fields[4], int(fields[2].split(":")[1])))
    return found


def abort_below(home: str) -> None:
    """Abort every connection that is mounted below a directory."""
    for mountpoint, connection in fuse_mounts():
        if mountpoint.startswith(f"{home}/"):  # it is mounted, so its number is its own
            (CONNECTIONS / str(connection) / "abort").write_text("1")


def open_abort(connection: int) -> int:
    """The file that aborts a connection when something is written to it.

    The kernel gives the number of a dead connection to the next one at once, also to one of a
    stranger. An open file stays with its connection: written to later, it does nothing.
    """
    return os.open(CONNECTIONS / str(connection) / "abort", os.O_WRONLY | os.O_CLOEXEC)


def unmount(mountpoint: str) -> None:
    """Take a mount away at once, in use or not."""
    libc.umount2(os.fsencode(mountpoint), MNT_DETACH)


def answers(path: str, connection: int, seconds: float) -> bool:
    """What is mounted at `path` is that connection, and it answers in time.

    Asked in a child, which may be lost; by STATFS, which is never cached. The device number is
    looked at, too: what answers may be the directory below a mount that has just gone.
    """
    pid = os.fork()
    if pid == 0:
        try:
            os.statvfs(path)
            os._exit(0 if os.stat(path).st_dev == os.makedev(0, connection) else 1)
        except OSError:
            os._exit(1)
    return wait_for_exit(pid, seconds) == 0


def wait_for_exit(pid: int, seconds: float) -> int | None:
    """The exit code of a child of ours (negative: a signal), or None if it has not ended in time."""
    deadline = time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            return None
        time.sleep(0.005)


class MountError(Exception):
    """A daemon did not mount; the text says why."""


@dataclass
class Mount:
    """A daemon and its mountpoint.

    `command` is what serves it in the foreground; its output goes to `log`.
    """

    command: Sequence[str]
    mountpoint: str
    log: Path
    process: subprocess.Popen[bytes] | None = None
    connection: int = 0
    abort_fd: int | None = None

    def start(self, seconds: float = 15) -> None:
        """Start the daemon; return when the mount answers.

        Raises:
            MountError: it ended, or did not answer in time.
        """
        try:
            os.makedirs(self.mountpoint)
        except FileExistsError:  # exist_ok would stat it, which a dead mount does not like
            pass
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + seconds
        while not self.ready(seconds):
            if self.process.poll() is not None:
                raise MountError(f"it ended with {self.process.returncode}: {self.last_words()}")
            if time.monotonic() > deadline:
                self.kill()
                raise MountError(f"no answer after {seconds:.0f} s: {self.last_words()}")
            time.sleep(0.005)

    def ready(self, seconds: float) -> bool:
        """It is mounted and answers. A mount whose daemon is dead may be there before: that answers ENOTCONN."""
        found = connection_of(self.mountpoint)
        if found is None:
            return False
        self.forget_connection()
        try:
            self.connection, self.abort_fd = found, open_abort(found)
        except FileNotFoundError:  # the dead one that was there is gone by now
            return False
        return answers(self.mountpoint, found, seconds)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def last_words(self) -> str:
        """The end of what the daemon wrote."""
        text = self.log.read_text(errors="replace").strip() if self.log.exists() else ""
        return text.splitlines()[-1][-300:] if text else "it wrote nothing"

    def alive(self) -> bool:
        """The daemon runs."""
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """Kill the daemon, and wait until it is gone."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:  # it waits in its own connection
            self.abort()
            self.process.wait(5)

    def stop(self, seconds: float = 10) -> bool:
        """Unmount, and let the daemon end; whether it ended by itself, and with exit code 0."""
        if self.process is None:
            return True
        unmount(self.mountpoint)
        try:
            return self.process.wait(seconds) == 0
        except subprocess.TimeoutExpired:
            self.abort()
            self.kill()
            return False
        finally:
            self.process = None
            self.forget_connection()

    def abort(self) -> None:
        """End the connection, and with it every request that waits, with an error."""
        if self.abort_fd is not None:
            try:
                os.write(self.abort_fd, b"1")
            except OSError:  # it has ended by itself
                pass

    def forget_connection(self) -> None:
        """There will be another one, or none."""
        if self.abort_fd is not None:
            os.close(self.abort_fd)
            self.abort_fd = None


class TooLong(Exception):
    """A program did not end in time; it was ended, and the connection aborted."""


@dataclass(frozen=True)
class Finished:
    """How a program ended (negative: by which signal), and what it wrote to stdout and stderr together."""

    code: int
    output: str


def run_bounded(
    command: Sequence[str],
    seconds: float,
    mount: Mount | None = None,
    cwd: str | None = None,
    environment: dict[str, str] | None = None,
) -> Finished:
    """Run a program that uses `mount`, in a session of its own, for at most `seconds`.

    Raises:
        TooLong: the connection was aborted and the program's session killed.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        start_new_session=True,
        text=True,
        errors="replace",
    )
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        if mount is not None:
            mount.abort()
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        raise TooLong(f"not done after {seconds:.0f} s: {' '.join(command)[:200]}") from None
    return Finished(process.returncode, output)
