"""kill -9 of the daemon while many processes use its mount.

What must be true then: every process gets an error and goes on, soon; none is left in an
uninterruptible sleep; and the mountpoint can be mounted again, over the corpse.
"""

from __future__ import annotations

import mmap
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from torture.loads.place import Failed, Place, expect
from torture.mounts import Mount, unmount, wait_for_exit

SOON = 5.0  # seconds in which all clients must have ended


def write_for_ever(root: Path, number: int) -> None:
    fd = os.open(root / f"written-{number}", os.O_RDWR | os.O_CREAT)
    while True:
        os.pwrite(fd, b"x" * 100_000, 0)


def read_for_ever(root: Path, number: int) -> None:
    while True:
        (root / "shared").read_bytes()


def map_for_ever(root: Path, number: int) -> None:
    path = root / f"mapped-{number}"
    while True:
        path.write_bytes(bytes(100_000))
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
            memory[:5] = b"dirty"
            memory.flush()


def make_for_ever(root: Path, number: int) -> None:
    while True:
        path = root / f"made-{number}"
        path.write_bytes(b"x")
        path.rename(root / f"renamed-{number}")
        (root / f"renamed-{number}").unlink()


def walk_for_ever(root: Path, number: int) -> None:
    while True:
        for name in os.listdir(root):
            try:
                os.stat(root / name)
            except FileNotFoundError:
                pass


def lock_for_ever(root: Path, number: int) -> None:
    fd = os.open(root / "shared", os.O_RDWR)
    while True:
        os.lockf(fd, os.F_LOCK, 0)
        os.pwrite(fd, b"s", 0)  # locks may be the kernel's alone, and outlive the daemon
        os.lockf(fd, os.F_ULOCK, 0)


CLIENTS: tuple[Callable[[Path, int], None], ...] = (
    write_for_ever, read_for_ever, map_for_ever, make_for_ever, walk_for_ever, lock_for_ever,
)  # fmt: skip


def client(work: Callable[[Path, int], None], root: Path, number: int) -> int:
    """Start a process that works until it gets an error."""
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGBUS, signal.SIG_DFL)  # what a mapping gets
        try:
            work(root, number)
        except BaseException as error:  # a fork must not run what its parent runs
            os._exit(getattr(error, "errno", None) or 255)
        os._exit(254)
    return pid


def killed(place: Place) -> str:
    """Kill the daemon several times, at other moments."""
    source, mountpoint = place.native / "source", place.native / "mountpoint"
    source.mkdir()
    words = {"SOURCE": str(source), "MOUNTPOINT": str(mountpoint)}
    command = [words.get(word, word) for word in place.mount_command]
    mount = Mount(command, str(mountpoint), place.native / "killed.log")
    times, slowest = place.amount(3, 10), 0.0
    try:
        for number in range(times):
            mount.start()
            (mountpoint / "shared").write_bytes(b"shared" * 10_000)
            slowest = max(slowest, kill_once(mount, mountpoint, 0.2 + 0.07 * number))
        mount.start()  # over the last corpse
        (mountpoint / "after").write_bytes(b"it works")
        expect("what is read after all", (mountpoint / "after").read_bytes(), b"it works")
        expect("it ends well", mount.stop(), True)
    finally:
        for _ in range(times + 1):
            unmount(str(mountpoint))
    return f"{times} times, {2 * len(CLIENTS)} clients, the last ended after {slowest:.2f} s"


def kill_once(mount: Mount, mountpoint: Path, after: float) -> float:
    """Kill the daemon under load; how many seconds its slowest client needed to end."""
    pids = [client(work, mountpoint, number) for number, work in enumerate(CLIENTS * 2)]
    time.sleep(after)
    died_early = [pid for pid in pids if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)]
    begun = time.monotonic()
    os.kill(mount.pid, signal.SIGKILL)
    ended = [wait_for_exit(pid, max(0.0, begun + SOON - time.monotonic())) for pid in pids]
    took = time.monotonic() - begun
    stuck = [pid for pid, code in zip(pids, ended, strict=True) if code is None]
    if stuck:
        states = "\n".join(f"  {pid}: {state_of(pid)}" for pid in stuck)
        mount.abort()
        for pid in stuck:
            os.kill(pid, signal.SIGKILL)
            wait_for_exit(pid, 5)
        raise Failed(f"{len(stuck)} of {len(pids)} clients had not ended {SOON:.0f} s after the kill\n{states}")
    expect("clients that ended before the kill", len(died_early), 0)
    mount.kill()
    return took


def state_of(pid: int) -> str:
    """What a process waits for."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        return f"state {state}, in {Path(f'/proc/{pid}/wchan').read_text()}"
    except OSError as error:
        return str(error)
