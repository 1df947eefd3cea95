"""What `engine.py` plays, again and again: one round of each scenario is a function here.

A round gets a `Stage`, or raises `Failed`. What must be true everywhere: each client is answered;
a mount ends soon, however it ends; and then there is nothing left of it, no thread, descriptor,
mount, connection, lookup or open file.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import fusewire
import fusewire.mounted
from fusewire import Directory, Mount
from fusewire.daemon import NodeFilesystem, Tree
from fusewire.mounting import read_table
from torture.loads.place import Failed, expect
from torture.mounts import CONNECTIONS
from torture.nodes import WAITS, Anew, Big, Branch, Slow, be_cancelled, names_in
from torture.stage import SOON, Remains, Stage

DISCONNECTED = {errno.ECONNABORTED, errno.ENOTCONN, errno.EIO, errno.ENOENT}  # EIO: of a page; ENOENT: below it

fusewire.mounted.LINGER = 0.05  # type: ignore[misc]  # there is much to end


def interrupts(stage: Stage) -> None:
    """Clients are hit by signals at any moment, and some are killed; nothing is lost."""

    def use(mount: Mount) -> None:
        killed, *clients = stage.clients("read_and_write", 4, 1)
        time.sleep(0.5 * stage.rng.random())
        killed.kill()
        expect("their exit codes", stage.finish([*clients, killed], 15) - {-signal.SIGKILL}, {0})
        deadline = time.monotonic() + SOON  # a RELEASE may be under way, for which nobody waits
        while (waiting := requests_under_way(mount)) and time.monotonic() < deadline:
            time.sleep(0.005)
        expect("requests under way when all clients are gone", waiting, 0)

    mount = stage.serve(stage.shell, {"slow": Slow(stage.rng.choice(WAITS))}, use, threads=stage.threads)
    assert mount.session is not None
    expect("calls that are left", list(mount.session.calls), [])


def requests_under_way(mount: Mount) -> int:
    return int((CONNECTIONS / str(mount.connection) / "waiting").read_text())


ENDS: dict[str, Callable[[Mount], object]] = {
    "with": lambda mount: None,
    "abort": Mount.abort,
    "abort by others": lambda mount: (CONNECTIONS / str(mount.connection) / "abort").write_text("1"),
    "umount -f": lambda mount: subprocess.run(["umount", "-f", mount.mountpoint], stderr=subprocess.DEVNULL),
    "umount -l": lambda mount: subprocess.run(["umount", "-l", mount.mountpoint], stderr=subprocess.DEVNULL),
}


def ends(stage: Stage) -> None:
    """A mount ends under load, in any way."""
    before, how, began = Remains.now(), stage.rng.choice(list(ENDS)), 0.0
    clients = list[subprocess.Popen[str]]()

    def use(mount: Mount) -> None:
        nonlocal began
        clients.extend(stage.clients("use", 3, 60))
        time.sleep(0.05 + 0.3 * stage.rng.random())
        began = time.monotonic()
        ENDS[how](mount)

    tree = {"slow": Slow(stage.rng.choice(WAITS)), "big": Big()}
    mount = stage.serve(stage.shell, tree, use, threads=stage.threads)
    codes = stage.finish(clients, 10)
    if not codes <= DISCONNECTED:
        raise Failed(f"clients of a mount that ended by {how!r} ended with {codes}")
    stage.slowest = max(stage.slowest, time.monotonic() - began)
    clients.clear()
    before.expect_again(mount)
    stage.counts[how] += 1


def kills(stage: Stage) -> None:
    """The daemon is killed under load, while it forks; its clients must not wait for its children."""
    daemon = os.fork()
    if daemon == 0:
        serve_and_fork(stage)
    while str(stage.mountpoint) not in (mount.mountpoint for mount in read_table()):
        time.sleep(0.002)
    clients = stage.clients("use", 4, 60)
    time.sleep(0.1 + 0.4 * stage.rng.random())
    os.kill(daemon, signal.SIGKILL)
    began = time.monotonic()
    os.waitpid(daemon, 0)
    codes = stage.finish(clients, 5)
    stage.slowest = max(stage.slowest, time.monotonic() - began)
    if not codes <= DISCONNECTED:
        raise Failed(f"clients of a daemon that was killed ended with {codes}")
    subprocess.run(["umount", "-l", stage.mountpoint], check=True)
    stage.counts["kills"] += 1


def serve_and_fork(stage: Stage) -> None:
    tree = {"slow": Slow(be_cancelled), "big": Big()}
    with fusewire.mount(tree, str(stage.mountpoint), threads=4):
        while True:
            child = os.fork()
            if child == 0:
                time.sleep(0.02)
                os._exit(0)
            os.waitpid(child, 0)


def counting(stage: Stage) -> None:
    """Lookups, links and openings are counted exactly, while the kernel forgets."""
    tree: Directory = stage.rng.choice([Anew(), Tree({name: Branch(name, {}) for name in "abcd"})])
    filesystem = NodeFilesystem(tree)

    def use(mount: Mount) -> None:
        clients = stage.clients("change", 4, 2)
        while any(process.poll() is None for process in clients):
            drop_caches()
            time.sleep(0.02)
        expect("their exit codes", stage.finish(clients, 5), {0})
        deadline = time.monotonic() + SOON
        while len(filesystem.nodes) > 1 and time.monotonic() < deadline:
            drop_caches()
        expect("nodes that are left", list(filesystem.known), [tree])
        expect("handles that are left", filesystem.handles, {})

    stage.serve(stage.shell, filesystem, use, threads=stage.threads, attr_timeout=0)
    listed = [leaf for names in names_in(tree) for leaf in names.values()]
    for leaf in listed:
        expect("links to a file", leaf.nlink, sum(other is leaf for other in listed))
        expect("openings of it that are left", leaf.opened, 0)


def drop_caches() -> None:
    Path("/proc/sys/vm/drop_caches").write_text("2")


def comings(stage: Stage) -> None:
    """Mounts come and go."""
    before = Remains.now()

    def read_all(mount: Mount) -> None:
        for name in os.listdir(mount.mountpoint):
            Path(mount.mountpoint, name).read_bytes()

    mount = stage.serve(stage.shell, {"big": Big(), "slow": Slow(be_cancelled)}, read_all, threads=stage.threads)
    before.expect_again(mount)
    stage.counts["mounts"] += 1


def cancellations(stage: Stage) -> None:
    """An `async with` is cancelled at any moment, once or more."""
    before = Remains.now()
    asyncio.run(cancel_after(stage, stage.rng.random() * 0.03, stage.rng.choice([1, 1, 2, 3])))
    before.expect_again()
    stage.counts["cancelled"] += 1


async def cancel_after(stage: Stage, seconds: float, times: int) -> None:
    async def use() -> None:
        async with fusewire.mount({"slow": Slow(be_cancelled), "big": Big()}, str(stage.mountpoint)):
            await asyncio.to_thread(open_and_read)
            asyncio.get_running_loop().run_in_executor(None, open_and_read)
            await asyncio.sleep(stage.rng.random() * 0.01)

    def open_and_read() -> None:
        with contextlib.suppress(OSError):
            fd = os.open(stage.mountpoint / "slow", os.O_RDONLY)
            try:
                os.read(fd, 100)
                time.sleep(stage.rng.random() * 0.1)
            finally:
                os.close(fd)

    task = asyncio.create_task(use())
    for _ in range(times):
        await asyncio.wait({task}, timeout=seconds)
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError, OSError):
        await task


SCENARIOS: dict[str, Callable[[Stage], None]] = {
    scenario.__name__: scenario for scenario in (interrupts, ends, kills, counting, comings, cancellations)
}
