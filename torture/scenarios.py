"""What `engine.py` plays: a process of its own for each, which serves mounts and has clients use them.

A scenario gets a `Stage` and returns in a few words how it went, or raises `Failed`. What must
be true everywhere: each client is answered; a mount ends soon, however it ends; and then there
is nothing left of it, no thread, descriptor, mount, connection, lookup or open file.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fusewire
import fusewire.mounted
from fusewire import Directory, File, Handle, Mount, current_request
from fusewire.daemon import NodeFilesystem, Tree
from fusewire.mounting import read_table
from torture.loads.place import Failed, expect
from torture.mounts import CONNECTIONS

CLIENTS = Path(__file__).with_name("clients.py")
SOON = 5.0  # seconds in which what was left must have gone
DISCONNECTED = {errno.ECONNABORTED, errno.ENOTCONN, errno.EIO, errno.ENOENT}  # EIO: of a page; ENOENT: below it


@dataclass
class Stage:
    """Where a scenario plays: a directory to mount on, for so many seconds, by this chance."""

    mountpoint: Path
    seconds: float
    rng: random.Random
    end: float = 0.0
    requests: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.end = time.monotonic() + self.seconds

    @property
    def goes_on(self) -> bool:
        return time.monotonic() < self.end

    def clients(self, what: str, number: int, seconds: float) -> list[subprocess.Popen[str]]:
        """Start clients."""
        return [
            subprocess.Popen(
                [sys.executable, CLIENTS, what, self.mountpoint, str(self.rng.randrange(1 << 30)), str(seconds)],
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(number)
        ]

    def finish(self, clients: list[subprocess.Popen[str]], seconds: float) -> set[int]:
        """Wait for them; return their exit codes."""
        deadline = time.monotonic() + seconds
        for process in clients:
            try:
                out, _ = process.communicate(timeout=max(0.01, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                where = Path(f"/proc/{process.pid}/wchan").read_text()
                raise Failed(f"a client still waits in {where}") from None
            if out:
                self.counts.update(json.loads(out))
        return {process.returncode for process in clients}

    def serve(self, shell: str, what: Any, use: Callable[[Mount], object], **options: Any) -> Mount:
        """Mount, let `use` use it, and unmount."""
        if shell == "threads":
            with fusewire.mount(what, str(self.mountpoint), **options) as mount:
                use(mount)
        else:
            mount = asyncio.run(self.serve_in_loop(what, use, **options))
        self.requests += mount.requests
        return mount

    async def serve_in_loop(self, what: Any, use: Callable[[Mount], object], **options: Any) -> Mount:
        async with fusewire.mount(what, str(self.mountpoint), **options) as mount:
            await asyncio.to_thread(use, mount)
        return mount

    def figures(self) -> str:
        rate = self.requests / self.seconds
        return f"{self.requests} requests, {rate:.0f}/s" + "".join(f", {n} {what}" for what, n in self.counts.items())


@dataclass(frozen=True)
class Remains:
    """What this process has, for a comparison."""

    descriptors: int
    threads: int
    mounts: int

    @classmethod
    def now(cls) -> Remains:
        mounts = sum(mount.is_fuse for mount in read_table())
        return cls(len(os.listdir("/proc/self/fd")), threading.active_count(), mounts)

    def expect_again(self, mount: Mount | None = None) -> None:
        """Wait until there is no more than this.

        Raises:
            Failed: that did not come.
        """
        deadline = time.monotonic() + SOON
        while self != Remains.now() or (mount and (CONNECTIONS / str(mount.connection)).exists()):
            if time.monotonic() > deadline:
                raise Failed(f"there was {self}, now there is {Remains.now()}: {threading.enumerate()}")
            time.sleep(0.005)


# --- trees


class Slow(File):
    """Takes its time to read and write, unless it is interrupted; its data must not change meanwhile."""

    mode = 0o666
    size = 7
    direct_io = True

    def __init__(self, wait: Callable[[], Any]) -> None:
        self.wait = wait

    def read(self, offset: int, size: int) -> Any:
        return self.do(lambda: b"content"[offset : offset + size])

    def write(self, offset: int, data: memoryview) -> Any:
        before = hash(bytes(data))
        return self.do(lambda: None if hash(bytes(data)) == before else 0)

    def do(self, result: Callable[[], Any]) -> Any:
        waited = self.wait()
        return result() if waited is None else self.do_later(waited, result)

    async def do_later(self, waited: Any, result: Callable[[], Any]) -> Any:
        await waited
        return result()


def ask() -> None:
    for _ in range(random.randrange(4)):
        if current_request().interrupted:
            raise InterruptedError
        time.sleep(0.001)


def be_called() -> None:
    woken = threading.Event()
    current_request().on_interrupt(woken.set)
    if woken.wait(random.random() * 0.004):
        raise InterruptedError


async def be_cancelled() -> None:
    await asyncio.sleep(random.random() * 0.004)


async def shield() -> None:
    await asyncio.shield(asyncio.sleep(random.random() * 0.002))


def hurry() -> None:
    pass


WAITS: list[Callable[[], Any]] = [ask, be_called, be_cancelled, shield, hurry]


class Big(File):
    size = 1 << 20
    data = os.urandom(1 << 20)

    def read(self, offset: int, size: int) -> memoryview:
        return memoryview(self.data)[offset : offset + size]


class Leaf(File):
    mode = 0o644
    size = 0
    opened = 0

    def open(self, flags: int) -> Handle:
        self.opened += 1
        return self

    def release(self) -> None:
        self.opened -= 1

    def write(self, offset: int, data: memoryview) -> None: ...

    def truncate(self, size: int) -> None: ...


class Branch(Directory):
    """Equal to every other of its name; each method is a coroutine now and then."""

    def __init__(self, name: str, names: dict[str, Leaf]) -> None:
        self.name = name
        self.names = names

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Branch) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def lookup(self, name: str) -> Any:
        return sometimes_later(lambda: self.names.get(name))

    def list(self) -> Any:
        return sometimes_later(lambda: dict(self.names))

    def create(self, name: str, mode: int) -> Leaf:
        if name in self.names:
            raise FileExistsError
        return self.names.setdefault(name, Leaf())

    def link(self, name: str, node: Leaf) -> None:
        if self.names.setdefault(name, node) is not node:
            raise FileExistsError

    def unlink(self, name: str) -> Any:
        return sometimes_later(lambda: self.names.pop(name) and None)

    def rename(self, name: str, new_directory: Any, new_name: str, flags: int) -> None:
        new_directory.names[new_name] = self.names.pop(name)


def sometimes_later(result: Callable[[], Any]) -> Any:
    async def later() -> Any:
        await asyncio.sleep(random.random() * 0.002)
        return result()

    return later() if random.random() < 0.3 else result()


class Anew(Directory):
    """Makes its directories anew for each that asks."""

    def __init__(self) -> None:
        self.names: dict[str, dict[str, Leaf]] = {name: {} for name in "abcd"}

    def list(self) -> dict[str, Branch]:
        return {name: Branch(name, names) for name, names in self.names.items()}


# --- scenarios


def interrupts(stage: Stage) -> str:
    """Clients are hit by signals at any moment, and some are killed; nothing is lost."""
    while stage.goes_on:
        shell, threads, wait = stage.rng.choice(["threads", "asyncio"]), stage.rng.choice([1, 2, 8]), choose(stage)

        def use(mount: Mount) -> None:
            killed, *clients = stage.clients("read_and_write", 4, 1)
            time.sleep(0.5 * stage.rng.random())
            killed.kill()
            expect("their exit codes", stage.finish([*clients, killed], 15) - {-signal.SIGKILL}, {0})
            waiting = (CONNECTIONS / str(mount.connection) / "waiting").read_text()
            expect("requests that wait when all clients are gone", int(waiting), 0)

        mount = stage.serve(shell, {"slow": Slow(wait)}, use, threads=threads)
        assert mount.session is not None
        expect("calls that are left", list(mount.session.calls), [])
    return stage.figures()


def choose(stage: Stage) -> Callable[[], Any]:
    return stage.rng.choice(WAITS)


ENDS: dict[str, Callable[[Mount], object]] = {
    "with": lambda mount: None,
    "abort": Mount.abort,
    "abort by others": lambda mount: (CONNECTIONS / str(mount.connection) / "abort").write_text("1"),
    "umount -f": lambda mount: subprocess.run(["umount", "-f", mount.mountpoint], stderr=subprocess.DEVNULL),
    "umount -l": lambda mount: subprocess.run(["umount", "-l", mount.mountpoint], stderr=subprocess.DEVNULL),
}


def ends(stage: Stage) -> str:
    """A mount ends under load, in any way."""
    fusewire.mounted.LINGER = 0.05  # type: ignore[misc]
    before, slowest = Remains.now(), 0.0
    while stage.goes_on:
        shell, how = stage.rng.choice(["threads", "asyncio"]), stage.rng.choice(list(ENDS))
        clients, began = list[subprocess.Popen[str]](), 0.0

        def use(mount: Mount) -> None:
            nonlocal began
            clients.extend(stage.clients("use", 3, 60))
            time.sleep(0.05 + 0.3 * stage.rng.random())
            began = time.monotonic()
            ENDS[how](mount)

        tree = {"slow": Slow(choose(stage)), "big": Big()}
        mount = stage.serve(shell, tree, use, threads=stage.rng.choice([1, 2, 8]))
        codes = stage.finish(clients, 10)
        if not codes <= DISCONNECTED:
            raise Failed(f"clients of a mount that ended by {how!r} ended with {codes}")
        slowest = max(slowest, time.monotonic() - began)
        clients.clear()
        before.expect_again(mount)
        stage.counts[how] += 1
    return f"{stage.figures()}; the slowest took {slowest:.1f} s"


def kills(stage: Stage) -> str:
    """The daemon is killed under load, while it forks; its clients must not wait for its children."""
    slowest = 0.0
    while stage.goes_on:
        daemon = os.fork()
        if daemon == 0:
            serve_and_fork(stage)
        wait_for(lambda: any(mount.mountpoint == str(stage.mountpoint) for mount in read_table()))
        clients = stage.clients("use", 4, 60)
        time.sleep(0.1 + 0.4 * stage.rng.random())
        os.kill(daemon, signal.SIGKILL)
        began = time.monotonic()
        os.waitpid(daemon, 0)
        codes = stage.finish(clients, 5)
        slowest = max(slowest, time.monotonic() - began)
        if not codes <= DISCONNECTED:
            raise Failed(f"clients of a daemon that was killed ended with {codes}")
        subprocess.run(["umount", "-l", stage.mountpoint], check=True)
        stage.counts["killed"] += 1
    return f"{stage.counts['killed']} times, the slowest client ended after {slowest:.2f} s"


def serve_and_fork(stage: Stage) -> None:
    tree = {"slow": Slow(be_cancelled), "big": Big()}
    with fusewire.mount(tree, str(stage.mountpoint), threads=4):
        while True:
            child = os.fork()
            if child == 0:
                time.sleep(0.02)
                os._exit(0)
            os.waitpid(child, 0)


def wait_for(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.002)


def counting(stage: Stage) -> str:
    """Lookups, links and openings are counted exactly, while the kernel forgets."""
    while stage.goes_on:
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

        shell, threads = stage.rng.choice(["threads", "asyncio"]), stage.rng.choice([1, 8])
        stage.serve(shell, filesystem, use, threads=threads, attr_timeout=0)
        check_leaves(tree)
    return stage.figures()


def check_leaves(tree: Directory) -> None:
    branches = tree.names.values() if isinstance(tree, Anew) else (it.names for it in tree.children.values())  # type: ignore[attr-defined]
    listed = [leaf for names in branches for leaf in names.values()]
    for leaf in listed:
        expect("links to a file", leaf.nlink, sum(other is leaf for other in listed))
        expect("openings of it that are left", leaf.opened, 0)


def drop_caches() -> None:
    Path("/proc/sys/vm/drop_caches").write_text("2")


def comings(stage: Stage) -> str:
    """Mounts come and go."""
    before = Remains.now()
    while stage.goes_on:
        shell, threads = stage.rng.choice(["threads", "asyncio"]), stage.rng.choice([1, 2, 8])
        mount = stage.serve(shell, {"big": Big(), "slow": Slow(be_cancelled)}, read_all, threads=threads)
        stage.counts["mounts"] += 1
    before.expect_again(mount)
    return stage.figures()


def read_all(mount: Mount) -> None:
    for name in os.listdir(mount.mountpoint):
        Path(mount.mountpoint, name).read_bytes()


def cancellations(stage: Stage) -> str:
    """An `async with` is cancelled at any moment, once or more."""
    fusewire.mounted.LINGER = 0.05  # type: ignore[misc]
    asyncio.run(cancel_after(stage, 10, 1))
    before = Remains.now()
    while stage.goes_on:
        asyncio.run(cancel_after(stage, stage.rng.random() * 0.03, stage.rng.choice([1, 1, 2, 3])))
        before.expect_again()
        stage.counts["cancelled"] += 1
    return f"{stage.counts['cancelled']} times"


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


SCENARIOS: dict[str, Callable[[Stage], str]] = {
    scenario.__name__: scenario for scenario in (interrupts, ends, kills, counting, comings, cancellations)
}
