"""Many clients, many signals, many mounts: nothing is lost, nothing is left. Run by `make stress`."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import json
import os
import subprocess
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from torture.nodes import Anew, Branch, names_in

import fusewire
from clients import finish, mounts_on, python
from fusewire import Directory, File, Mount, current_request
from fusewire.daemon import NodeFilesystem, Tree
from kernel_mounts import abort

pytestmark = pytest.mark.stress

SHELLS = ["threads", "asyncio"]
DISCONNECTED = (errno.ECONNABORTED, errno.ENOTCONN, errno.EIO)  # the last where a page was read


def serve(shell: str, what: Any, mountpoint: Path, use: Callable[[Mount], None], **options: Any) -> Mount:
    """Mount, let `use` use it in this thread or another, and unmount."""
    if shell == "threads":
        with fusewire.mount(what, str(mountpoint), **options) as mount:
            use(mount)
        return mount

    async def in_loop() -> Mount:
        async with fusewire.mount(what, str(mountpoint), **options) as mount:
            await asyncio.to_thread(use, mount)
        return mount

    return asyncio.run(in_loop())


# --- interrupts


HIT = """
import errno, json, os, random, signal, sys
path, times, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
random.seed(seed)
class Hit(Exception): pass
def hit(*_): raise Hit
signal.signal(signal.SIGALRM, hit)
counts = {"answered": 0, "interrupted": 0}
fd = os.open(path, os.O_RDWR)
print("begun", flush=True)
for _ in range(times):
    try:
        signal.setitimer(signal.ITIMER_REAL, random.random() * 0.004 + 1e-6)
        if random.random() < 0.5:
            assert os.pread(fd, 100, 0) == b"content"
        else:
            assert os.pwrite(fd, b"x" * 4000, 0) == 4000
        signal.setitimer(signal.ITIMER_REAL, 0)
    except Hit:
        counts["interrupted"] += 1
    else:
        counts["answered"] += 1
signal.signal(signal.SIGALRM, signal.SIG_IGN)
print(json.dumps(counts))
"""


def ask() -> None:
    for _ in range(4):
        if current_request().interrupted:
            raise InterruptedError
        threading.Event().wait(0.001)


def be_called() -> None:
    woken = threading.Event()
    current_request().on_interrupt(woken.set)
    if woken.wait(0.003):
        raise InterruptedError


async def be_cancelled() -> None:
    await asyncio.sleep(0.003)


class Slow(File):
    """It takes its time to read and write, unless it is interrupted, and sees its data change if it does."""

    mode = 0o666
    size = 7
    direct_io = True

    def __init__(self, wait: Callable[[], Any]) -> None:
        self.wait = wait

    def read(self, offset: int, size: int) -> Any:
        return self.do(lambda: b"content"[offset : offset + size])

    def write(self, offset: int, data: memoryview) -> Any:
        before = bytes(data)
        return self.do(lambda: None if bytes(data) == before else 0)

    def do(self, result: Callable[[], Any]) -> Any:
        waited = self.wait()
        return result() if waited is None else self.do_later(waited, result)

    async def do_later(self, waited: Any, result: Callable[[], Any]) -> Any:
        await waited
        return result()


@pytest.mark.parametrize("threads", [1, 8])
@pytest.mark.parametrize("wait", [ask, be_called, be_cancelled])
@pytest.mark.parametrize("shell", SHELLS)
def test_a_storm_of_interrupts_loses_nothing(
    mountpoint: Path, shell: str, wait: Callable[[], Any], threads: int
) -> None:
    counts = {"answered": 0, "interrupted": 0}

    def use(mount: Mount) -> None:
        killed, *clients = begun(python(HIT, mountpoint / "a", "60", str(seed)) for seed in range(4))
        killed.kill()
        finish(killed)
        for process in clients:
            out, complaint = finish(process)
            assert not complaint
            for what, count in json.loads(out).items():
                counts[what] += count

    mount = serve(shell, {"a": Slow(wait)}, mountpoint, use, threads=threads)
    assert sum(counts.values()) == 180
    assert counts["interrupted"]
    assert mount.session is not None
    assert not mount.session.calls


def begun(clients: Iterable[subprocess.Popen[str]]) -> list[subprocess.Popen[str]]:
    """Return clients that say so once they have."""
    started = list(clients)
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
    return started


# --- ends under load


LOAD = """
import os, random, sys
root, seed = sys.argv[1], int(sys.argv[2])
random.seed(seed)
fds = []
print("begun", flush=True)
try:
    while True:
        match random.randrange(5):
            case 0: os.listdir(root)
            case 1: open(root + "/slow").read()
            case 2: open(root + "/big", "rb").read()
            case 3: os.pwrite(os.open(root + "/slow", os.O_WRONLY), bytes(1 << 20), 0)
            case 4: fds.append(os.open(root + "/big", os.O_RDONLY))
        if len(fds) > 3:
            os.close(fds.pop(0))
except OSError as error:
    os._exit(error.errno)
"""


class Big(File):
    size = 1 << 20
    data = os.urandom(1 << 20)

    def read(self, offset: int, size: int) -> memoryview:
        return memoryview(self.data)[offset : offset + size]


def leave(mount: Mount) -> None:
    """What the end of a `with` does."""


ENDS: dict[str, Callable[[Mount], object]] = {
    "with": leave,
    "abort": Mount.abort,
    "abort by others": lambda mount: abort(mount.connection),
    "umount -f": lambda mount: subprocess.run(["umount", "-f", mount.mountpoint], stderr=subprocess.DEVNULL),
    "umount -l": lambda mount: subprocess.run(["umount", "-l", mount.mountpoint], check=True),
}


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("shell", SHELLS)
def test_a_mount_ends_under_load(mountpoint: Path, monkeypatch: pytest.MonkeyPatch, shell: str, how: str) -> None:
    monkeypatch.setattr("fusewire.mounted.LINGER", 0.05)
    clients = list[subprocess.Popen[str]]()

    def use(mount: Mount) -> None:
        clients.extend(begun(python(LOAD, mountpoint, str(seed)) for seed in range(3)))
        while mount.requests < 500 and all(process.poll() is None for process in clients):
            threading.Event().wait(0.005)
        ENDS[how](mount)

    serve(shell, {"slow": Slow(be_cancelled), "big": Big()}, mountpoint, use, threads=4)
    assert not mounts_on(mountpoint)
    for process in clients:
        finish(process)
        assert process.returncode in (*DISCONNECTED, errno.ENOENT)  # the last: it looks at the empty directory


# --- bookkeeping


CHANGES = """
import os, random, signal, sys
root, times, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
random.seed(seed)
class Hit(Exception): pass
def hit(*_): raise Hit
signal.signal(signal.SIGALRM, hit)
def name():
    return f"{root}/{random.choice('abcd')}/{random.choice('pqrs')}"
def change():
    match random.randrange(8):
        case 0: [entry.stat() for entry in os.scandir(root)]
        case 1: [entry.stat() for entry in os.scandir(os.path.dirname(name()))]
        case 2: os.close(os.open(name(), os.O_CREAT | os.O_RDWR, 0o644))
        case 3: os.unlink(name())
        case 4: os.rename(name(), name())
        case 5: os.link(name(), name())
        case 6: os.stat(name())
        case 7: os.truncate(name(), 0)
for _ in range(times):
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, random.choice([0, 0, random.random() * 0.003 + 1e-6]))
            change()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except (Hit, FileNotFoundError, FileExistsError, InterruptedError):
        pass
signal.signal(signal.SIGALRM, signal.SIG_IGN)
"""


@pytest.mark.parametrize(
    "root", [Anew, lambda: Tree({name: Branch(name, {}) for name in "abcd"})], ids=["anew", "kept"]
)
@pytest.mark.parametrize("shell", SHELLS)
def test_lookups_links_and_openings_are_counted_exactly(
    mountpoint: Path, shell: str, root: Callable[[], Directory]
) -> None:
    tree = root()
    filesystem = NodeFilesystem(tree)

    def use(mount: Mount) -> None:
        clients = [python(CHANGES, mountpoint, "400", str(seed)) for seed in range(4)]
        while any(process.poll() is None for process in clients):
            drop_caches()
            threading.Event().wait(0.02)
        for process in clients:
            assert finish(process) == ("", "")
        while filesystem.nodes.keys() != {1} and not mount.ended:  # or the watchdog comes
            drop_caches()
        assert filesystem.known.keys() == {tree}
        assert not filesystem.handles

    serve(shell, filesystem, mountpoint, use, threads=8, attr_timeout=0)
    directories = [names.values() for names in names_in(tree)]
    leaves = {id(leaf): leaf for names in directories for leaf in names}.values()
    for leaf in leaves:
        assert leaf.nlink == sum(other is leaf for names in directories for other in names)
        assert leaf.opened == 0


def drop_caches() -> None:
    Path("/proc/sys/vm/drop_caches").write_text("2")


# --- data


def test_data_that_is_kept_stays_as_it_is(mountpoint: Path) -> None:
    kept = dict[int, memoryview]()

    class Keeps(File):
        mode = 0o666
        size = 0

        def write(self, offset: int, data: memoryview) -> None:
            kept[offset] = data

        def truncate(self, size: int) -> None: ...

    with fusewire.mount({"a": Keeps()}, str(mountpoint), threads=2):
        with open(mountpoint / "a", "wb", buffering=0) as file:
            for number in range(20):
                file.write(bytes([number]) * (1 << 20))
        for _ in range(50):
            os.stat(mountpoint / "a")
            os.listdir(mountpoint)
    assert b"".join(kept[offset] for offset in sorted(kept)) == b"".join(bytes([n]) * (1 << 20) for n in range(20))


# --- many mounts


@contextmanager
def nothing_grows() -> Iterator[None]:
    """Compare what this process has before and after."""

    def look() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    before = look()
    yield
    assert look() == before


@pytest.mark.parametrize("shell", SHELLS)
def test_mounts_that_come_and_go_leave_nothing(mountpoint: Path, shell: str) -> None:
    ended = list[weakref.ref[Mount]]()

    def read(mount: Mount) -> None:
        assert (mountpoint / "a").read_bytes() == b"content"

    with nothing_grows():
        for number in range(40):
            mount = serve(shell, {"a": Slow(be_cancelled)}, mountpoint, read, threads=1 + number % 4)
            ended.append(weakref.ref(mount))
    del mount
    gc.collect()
    assert not [reference for reference in ended if reference() is not None]


def test_many_mounts_are_served_at_once(tmp_path: Path) -> None:
    places = [tmp_path / str(number) for number in range(20)]
    for place in places:
        place.mkdir()

    def use(place: Path) -> None:
        for _ in range(20):
            assert (place / "me").read_text() == place.name
            assert (place / "slow").read_bytes() == b"content"

    @asynccontextmanager
    async def mounted(place: Path) -> AsyncIterator[None]:
        async with fusewire.mount(tree(place), str(place)):
            yield

    async def serve_one(place: Path) -> None:
        async with mounted(place):
            await asyncio.get_running_loop().run_in_executor(pool, use, place)

    async def serve_all() -> None:
        await asyncio.gather(*map(serve_one, places))

    def tree(place: Path) -> dict[str, Any]:
        return {"me": place.name.encode(), "slow": Slow(be_cancelled)}

    with ThreadPoolExecutor(20) as pool, contextlib.ExitStack() as mounts:
        for place in places:
            mounts.enter_context(fusewire.mount(tree(place), str(place)))
        list(pool.map(use, places))
        mounts.close()
        asyncio.run(serve_all())


def test_many_may_wait_for_one_end(mountpoint: Path) -> None:
    mount = fusewire.mount({"a": b"a"}, str(mountpoint), threads=4).start()
    with ThreadPoolExecutor(8) as pool:
        waits = [pool.submit(mount.wait, 20) for _ in range(8)]
        mount.unmount()
        assert all(wait.result() for wait in waits)
