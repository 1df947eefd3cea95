"""However a mount ends, and whatever happens meanwhile, it does end, and leaves nothing.

What was left is seen by the tests' own harness: threads, descriptors, mounts, connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
import tracemalloc  # noqa: F401 - pytest imports it to complain, when there may be no descriptor left
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fusewire
from clients import client, finish, mounts_on, python
from fusewire import Attributes, Directory, File, Filesystem, MountError, Request, current_request
from fusewire.filesystems import Memory
from kernel_mounts import abort

DISCONNECTED = f"{os.strerror(errno.ECONNABORTED)}|{os.strerror(errno.ENOTCONN)}"


class Does(File):
    """Each READ of it is a call."""

    direct_io = True

    def __init__(self, do: Callable[[], bytes]) -> None:
        self.do = do

    def read(self, offset: int, size: int) -> bytes:
        return self.do()


class Empty(Filesystem):
    def getattr(self, request: Request, nodeid: int, fh: int | None) -> Attributes:
        return Attributes(mode=0o40755)


# --- methods that do not behave


@pytest.mark.parametrize("how", ["interrupt", "abort"])
def test_a_callback_that_raises_keeps_nobody_waiting(mountpoint: Path, how: str) -> None:
    started = threading.Event()

    def do() -> bytes:
        woken = threading.Event()
        current_request().on_interrupt(lambda: 1 / 0)
        current_request().on_interrupt(woken.set)
        started.set()
        assert woken.wait(20)
        raise InterruptedError

    with fusewire.mount({"a": Does(do), "b": b"b"}, str(mountpoint), threads=1) as mount:
        reader = client("cat", mountpoint / "a")
        assert started.wait(10)
        if how == "interrupt":
            reader.kill()
            finish(reader)
            assert (mountpoint / "b").read_bytes() == b"b"
        else:
            mount.abort()
            assert mount.wait(4)
            finish(reader)


@pytest.mark.parametrize("error", [SystemExit, ZeroDivisionError])
def test_destroy_may_raise_whatever_it_likes(
    mountpoint: Path, error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    class Raises(Empty):
        def destroy(self) -> None:
            raise error

    mount = fusewire.mount(Raises(), str(mountpoint)).start()
    mount.unmount()
    assert mount.wait(10)
    assert "destroy failed" in caplog.text


@pytest.mark.parametrize("error", [SystemExit, ZeroDivisionError])
def test_what_init_raises_comes_out_of_start(mountpoint: Path, error: type[BaseException]) -> None:
    class Raises(Empty):
        def init(self) -> None:
            raise error

    with pytest.raises(error):
        fusewire.mount(Raises(), str(mountpoint)).start()
    with pytest.raises(error):
        asyncio.run(fusewire.mount(Raises(), str(mountpoint)).start_async())
    assert not mounts_on(mountpoint)


def test_a_task_that_exits_takes_no_coroutine_along(mountpoint: Path, caplog: pytest.LogCaptureFixture) -> None:
    """asyncio lets a SystemExit out of its loop."""

    async def exits() -> None:
        raise SystemExit

    class Exits(File):
        size = 1

        async def read(self, offset: int, size: int) -> bytes:
            await asyncio.create_task(exits())
            return b"x"

    class Sleeps(File):
        size = 1

        async def read(self, offset: int, size: int) -> bytes:
            await asyncio.sleep(0)
            return b"x"

    with fusewire.mount({"exits": Exits(), "sleeps": Sleeps()}, str(mountpoint)):
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            (mountpoint / "exits").read_bytes()
        assert (mountpoint / "sleeps").read_bytes() == b"x"


def test_data_whose_length_lies_is_eio(mountpoint: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The kernel refuses the reply, and its caller would wait for ever (fs/fuse/dev.c, fuse_dev_do_write)."""

    class Lies(bytearray):
        def __len__(self) -> int:
            return 1

    class Wrong(File):
        size = 1

        def read(self, offset: int, size: int) -> Lies:
            return Lies(b"xy")

    with fusewire.mount({"a": Wrong()}, str(mountpoint)), pytest.raises(OSError, match=os.strerror(errno.EIO)):
        (mountpoint / "a").read_bytes()
    assert "refused a reply" in caplog.text


def test_a_mount_can_be_ended_by_its_own_methods(mountpoint: Path) -> None:
    def is_busy() -> bytes:
        with pytest.raises(MountError, match="in use"):
            mount.unmount()
        return b""

    def detach() -> bytes:
        mount.unmount(lazy=True)
        return b""

    with fusewire.mount({"is busy": Does(is_busy), "detach": Does(detach)}, str(mountpoint), threads=1) as mount:
        assert (mountpoint / "is busy").read_bytes() == b""
        assert (mountpoint / "detach").read_bytes() == b""
        assert mount.wait(10)


def test_strict_has_put_everything_away_when_it_raises(mountpoint: Path) -> None:
    def fails() -> bytes:
        raise ZeroDivisionError

    for _ in range(10):
        mount = fusewire.mount({"a": Does(fails)}, str(mountpoint), strict=True).start()
        with pytest.raises(OSError, match=f"{os.strerror(errno.EIO)}|{DISCONNECTED}"):
            (mountpoint / "a").read_bytes()
        with pytest.raises(ZeroDivisionError):
            mount.wait(10)
        assert not mounts_on(mountpoint)


def test_strict_ends_on_what_forget_raises(mountpoint: Path) -> None:
    class Raises(Empty):
        def lookup(self, request: Request, parent: int, name: str) -> fusewire.Entry:
            return fusewire.Entry(2, Attributes(mode=0o40755), timeout=0)

        def forget(self, nodeid: int, nlookup: int) -> None:
            raise ZeroDivisionError

    mount = fusewire.mount(Raises(), str(mountpoint), strict=True).start()
    os.stat(mountpoint / "a")
    Path("/proc/sys/vm/drop_caches").write_text("2")
    with pytest.raises(ZeroDivisionError):
        mount.wait(10)


# --- others who end it


def test_a_mount_that_others_abort_does_not_stay_as_a_corpse(mountpoint: Path) -> None:
    with fusewire.mount({"a": b"a"}, str(mountpoint)) as mount:
        assert abort(mount.connection)
        assert mount.wait(10)
        assert not mounts_on(mountpoint)


def test_what_others_have_mounted_in_our_place_is_theirs(mountpoint: Path) -> None:
    ours = fusewire.mount({"a": b"a"}, str(mountpoint)).start()
    fd = os.open(mountpoint / "a", os.O_RDONLY)
    subprocess.run(["umount", "-l", mountpoint], check=True)
    with fusewire.mount({"theirs": b"b"}, str(mountpoint)):
        with pytest.raises(MountError, match="another mount"):
            ours.unmount()
        assert ours.leave() is not None
        ours.abort()
        assert os.listdir(mountpoint) == ["theirs"]
        assert ours.wait(10)
        assert os.listdir(mountpoint) == ["theirs"]
    with pytest.raises(OSError, match=DISCONNECTED):
        os.close(fd)


def test_unmounted_while_init_runs_it_ends_at_once(mountpoint: Path) -> None:
    class Slow(Empty):
        def init(self) -> None:
            subprocess.run(["umount", "-l", mountpoint], check=True)

    with contextlib.suppress(OSError):  # start may notice, or not
        assert fusewire.mount(Slow(), str(mountpoint)).start().wait(10)


# --- one object, several mounts


def test_a_filesystem_has_one_mount_at_a_time(tmp_path: Path) -> None:
    first, second, filesystem = tmp_path / "first", tmp_path / "second", Memory()
    first.mkdir()
    second.mkdir()
    with fusewire.mount(filesystem, str(first)):
        (first / "kept").write_bytes(b"x")
        with pytest.raises(ValueError, match=f"mounted on {first} already"):
            fusewire.mount(filesystem, str(second)).start()
        assert not mounts_on(second)
    with fusewire.mount(filesystem, str(second)):
        assert (second / "kept").read_bytes() == b"x"


def test_a_tree_that_could_not_be_mounted_can_be_mounted_elsewhere(mountpoint: Path) -> None:
    tree = Directory()
    with pytest.raises(MountError):
        fusewire.mount(tree, str(mountpoint / "nowhere")).start()
    with fusewire.mount(tree, str(mountpoint)), pytest.raises(ValueError, match="mounted elsewhere"):
        fusewire.mount(tree, str(mountpoint))


# --- no descriptors


def test_without_descriptors_it_is_mounted_or_leaves_nothing(mountpoint: Path) -> None:
    outcomes = set()
    for free in range(1, 16):
        with few_descriptors(free):
            try:
                mount = fusewire.mount({"a": b"a"}, str(mountpoint), threads=3).start()
            except OSError as error:
                outcomes.add(error.errno)
                assert not mounts_on_with_a_descriptor(mountpoint)
                continue
        outcomes.add(0)
        mount.unmount()
        assert mount.wait(10)
    assert outcomes == {0, errno.EMFILE}


@contextlib.contextmanager
def few_descriptors(free: int) -> Any:
    """Leave so many descriptors to this process."""
    limits, taken = resource.getrlimit(resource.RLIMIT_NOFILE), list[int]()
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 60, limits[1]))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        for _ in range(free):
            os.close(taken.pop())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for fd in taken:
            os.close(fd)


def mounts_on_with_a_descriptor(path: Path) -> list[object]:
    """`mounts_on`, where there may be no descriptor left for it."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    try:
        return list(mounts_on(path))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.filterwarnings("ignore:unclosed event loop")  # asyncio's own, half made when descriptors ran out
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_coroutine_for_which_there_is_no_loop_is_an_error_of_its_caller(mountpoint: Path) -> None:
    class Sleeps(File):
        size = 1

        async def read(self, offset: int, size: int) -> bytes:
            return b"x"

    with fusewire.mount({"a": Sleeps()}, str(mountpoint)):
        fd = os.open(mountpoint / "a", os.O_RDONLY)
        try:
            with (
                few_descriptors(0),
                pytest.raises(OSError, match=f"{os.strerror(errno.EIO)}|{os.strerror(errno.EMFILE)}"),
            ):
                os.pread(fd, 1, 0)
            assert os.pread(fd, 1, 0) == b"x"
        finally:
            os.close(fd)


# --- asyncio


@pytest.mark.parametrize("steps", range(4))
def test_a_mount_whose_start_is_cancelled_does_not_stay(mountpoint: Path, steps: int) -> None:
    async def cancel() -> None:
        start = asyncio.create_task(fusewire.mount({"a": b"a"}, str(mountpoint)).start_async())
        for _ in range(steps):
            await asyncio.sleep(0)
        start.cancel()
        with pytest.raises(asyncio.CancelledError):
            await start

    asyncio.run(cancel())
    assert not mounts_on(mountpoint)


def test_an_async_with_that_is_cancelled_while_it_waits_aborts(mountpoint: Path) -> None:
    """The mount is busy, so leaving it takes a time; the program has none."""

    async def serve() -> int:
        try:
            async with asyncio.timeout(None) as patience, fusewire.mount({"a": b"a"}, str(mountpoint)):
                fd = await asyncio.to_thread(os.open, mountpoint / "a", os.O_RDONLY)
                patience.reschedule(asyncio.get_running_loop().time() + 0.05)
        except TimeoutError:
            return fd
        pytest.fail("it was left without waiting")

    fd = asyncio.run(serve())
    assert not mounts_on(mountpoint)
    with pytest.raises(OSError, match=DISCONNECTED):
        os.close(fd)


HANGS = """
import asyncio, subprocess, sys, threading, fusewire
import fusewire.daemon.serve_async, fusewire.mounted
fusewire.mounted.LINGER = fusewire.daemon.server.GRACE = 0.1

class Hangs(fusewire.File):
    size = 1
    def read(self, offset, size):
        reached.set()
        threading.Event().wait()

async def main():
    async with fusewire.mount({"a": Hangs()}, sys.argv[1]):
        reader = subprocess.Popen(["cat", sys.argv[1] + "/a"], stderr=subprocess.DEVNULL)
        await asyncio.to_thread(reached.wait)
    reader.wait()

reached = threading.Event()
asyncio.run(main())
print("over", flush=True)
"""


def test_a_method_that_never_returns_keeps_no_program_alive(mountpoint: Path) -> None:
    assert finish(python(HANGS, mountpoint), timeout=10)[0] == "over\n"


FULL = """
import asyncio, sys, threading, fusewire
import fusewire.mounted
fusewire.mounted.LINGER = 0.1

class Hangs(fusewire.File):
    size = 1
    async def read(self, offset, size):
        reached.set()
        await asyncio.Event().wait()

async def main():
    async with fusewire.mount({"a": Hangs()}, sys.argv[1]):
        for _ in range(100):
            asyncio.get_running_loop().run_in_executor(None, lambda: open(sys.argv[1] + "/a").read())
        async with asyncio.timeout(10):
            await reached.wait()

reached = asyncio.Event()
asyncio.run(main())
print("over", flush=True)
"""


def test_callers_in_every_thread_of_the_loop_do_not_keep_a_mount(mountpoint: Path) -> None:
    assert finish(python(FULL, mountpoint), timeout=15)[0] == "over\n"


def test_a_task_that_is_cancelled_before_it_begins_is_answered(mountpoint: Path) -> None:
    """Many a program cancels all tasks of its loop in the end; ours are among them."""
    logging.getLogger("fusewire").setLevel(logging.CRITICAL)  # an error for each

    class Sleeps(File):
        direct_io = True

        async def read(self, offset: int, size: int) -> bytes:
            await asyncio.sleep(0)
            return b""

    def read_often() -> None:
        for _ in range(100):
            with contextlib.suppress(OSError):
                (mountpoint / "a").read_bytes()

    async def cancel_all_until(done: Callable[[], bool]) -> None:
        while not done():
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            await asyncio.sleep(0)

    async def serve() -> None:
        mount = await fusewire.mount({"a": Sleeps(), "def": b"x"}, str(mountpoint)).start_async()
        await cancel_all_until(asyncio.get_running_loop().run_in_executor(None, read_often).done)
        mount.unmount()
        await cancel_all_until(lambda: mount.ended)

    try:
        asyncio.run(serve())
    finally:
        logging.getLogger("fusewire").setLevel(logging.NOTSET)


# --- run() and signals


def test_a_mount_whose_ready_raises_ends(mountpoint: Path) -> None:
    def ready(mount: fusewire.Mount) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fusewire.run({"a": b"a"}, str(mountpoint), ready=ready)
    assert not mounts_on(mountpoint)


RUNS = """
import asyncio, os, signal, sys, threading, fusewire, fusewire.daemon

def obey():
    for line in sys.stdin:
        exec(line)

def ready(mount):
    threading.Thread(target=obey, daemon=True).start()
    print("ready", flush=True)

class Filesystem(fusewire.daemon.NodeFilesystem):
    def init(self):
        super().init()
        for number in sys.argv[3:]:
            os.kill(os.getpid(), int(number))

shell, mountpoint = sys.argv[1:3]
filesystem = Filesystem({"a": b"a"})
if shell == "threads":
    fusewire.run(filesystem, mountpoint, ready=ready)
else:
    asyncio.run(fusewire.run_async(filesystem, mountpoint, ready=ready))
print("over", flush=True)
"""
SHELLS = ["threads", "asyncio"]


def running(shell: str, mountpoint: Path, *signals: int, prefix: str = "env") -> subprocess.Popen[str]:
    """Start a program that is in `run`, and executes in another thread what it is told, line by line.

    `signals` are those that come to it while it mounts.
    """
    command: list[str | Path] = [
        prefix,
        sys.executable,
        "-W",
        "ignore",
        "-c",
        RUNS,
        shell,
        mountpoint,
        *map(str, signals),
    ]
    process = client(*command, stdin=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def tell(process: subprocess.Popen[str], line: str) -> str:
    """Have it execute a line, and return the line that it prints."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()
    return process.stdout.readline()


@pytest.mark.parametrize("shell", SHELLS)
def test_a_signal_that_another_thread_gets_is_heard(mountpoint: Path, shell: str) -> None:
    """Linux gives it to any thread; Python's handler runs in the main one, whenever that wakes."""
    process = running(shell, mountpoint)
    wait_until_it_sleeps(process.pid)
    assert tell(process, "signal.pthread_kill(threading.get_ident(), signal.SIGTERM)") == "over\n"
    finish(process)


def wait_until_it_sleeps(pid: int) -> None:
    """Return once the main thread of a process waits for something."""
    while Path(f"/proc/{pid}/task/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "S":
        os.sched_yield()


@pytest.mark.parametrize("shell", SHELLS)
def test_what_ends_a_forked_child_is_not_for_its_parent(mountpoint: Path, shell: str) -> None:
    process = running(shell, mountpoint)
    fork_one = "child = os.fork() or (signal.pause(), os._exit(3)); os.kill(child, signal.SIGTERM); "
    assert tell(process, fork_one + "print(os.waitpid(child, 0)[1], flush=True)") == f"{signal.SIGTERM.value}\n"
    assert tell(process, "print(os.listdir(mountpoint), flush=True)") == "['a']\n"
    process.send_signal(signal.SIGTERM)
    assert finish(process)[0] == "over\n"


@pytest.mark.parametrize("shell", SHELLS)
def test_a_signal_that_was_ignored_stays_ignored(mountpoint: Path, shell: str) -> None:
    process = running(shell, mountpoint, prefix="nohup")
    assert tell(process, "print(signal.getsignal(signal.SIGHUP).name, flush=True)") == "SIG_IGN\n"
    process.send_signal(signal.SIGHUP)
    assert tell(process, "print(os.listdir(mountpoint), flush=True)") == "['a']\n"
    process.send_signal(signal.SIGTERM)
    assert finish(process)[0] == "over\n"


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGINT, signal.SIGTERM, signal.SIGINT]])
def test_signals_that_come_while_it_mounts_end_it_then(mountpoint: Path, shell: str, signals: list[int]) -> None:
    process = running(shell, mountpoint, *signals)
    assert finish(process)[0] == "over\n"
    assert process.returncode == 0
    assert not mounts_on(mountpoint)
