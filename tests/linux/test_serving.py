"""The shells on Linux's own FUSE: who runs a method, who is interrupted, and how it ends.

The process that runs these tests serves the mounts, so it never touches them where Python holds
the GIL meanwhile (mmap, subprocess with a cwd inside): clients that do are processes of their own.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import fusewire
from fusewire import Attributes, Directory, File, Filesystem, Handle, MountError, Node, Request, current_request
from fusewire.daemon.values import Entry
from fusewire.filesystems import Memory
from kernel_mounts import CONNECTIONS, connection_of_descriptor


class Hello(File):
    def read(self, offset: int, size: int) -> bytes:
        return b"hello\n"[offset : offset + size]


def client(*command: str, **options: Any) -> subprocess.Popen[str]:
    """Start a client that is a process of its own."""
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def finish(process: subprocess.Popen[str], timeout: float = 20) -> tuple[str, str]:
    with process:
        out, err = process.communicate(timeout=timeout)
    return out, err


# --- mounting and leaving


def test_the_mount_answers_once_one_has_it(mountpoint: Path) -> None:
    with fusewire.mount({"hello": Hello(), "notes.txt": b"hi"}, mountpoint) as mount:
        assert sorted(os.listdir(mountpoint)) == ["hello", "notes.txt"]
        assert (mountpoint / "hello").read_bytes() == b"hello\n"
        assert (mountpoint / "notes.txt").read_bytes() == b"hi"
        assert mount.requests > 3
        assert mount.connection == os.stat(mountpoint).st_dev
        assert not mount.ended
    assert mount.ended
    assert os.listdir(mountpoint) == []


def test_it_is_there_only_once_init_is_answered(mountpoint: Path) -> None:
    """Both ways, and in the eyes of the kernel: it waits for nothing, and takes the limits that it was told."""

    def check(mount: fusewire.Mount) -> None:
        assert mount.requests == 1
        assert mount.session is not None
        assert mount.session.agreement is not None
        there = CONNECTIONS / str(mount.connection)
        if there.exists():  # fusectl is mounted
            found = [int((there / name).read_text()) for name in ("waiting", "max_background", "congestion_threshold")]
            assert found == [0, mount.session.limits.max_background, mount.session.limits.congestion_threshold]

    async def serve() -> None:
        async with fusewire.mount({}, str(mountpoint)) as mount:
            check(mount)

    with fusewire.mount({}, str(mountpoint)) as mount:
        check(mount)
    asyncio.run(serve())


def test_a_filesystem_that_does_not_begin_is_not_mounted(mountpoint: Path) -> None:
    class Fails(Filesystem):
        def init(self) -> None:
            raise ZeroDivisionError("no beginning")

    with pytest.raises(ZeroDivisionError, match="no beginning"):
        fusewire.mount(Fails(), str(mountpoint)).start()


def test_unmounted_from_elsewhere_it_ends(mountpoint: Path) -> None:
    destroyed: list[bool] = []

    class Ends(Filesystem):
        def getattr(self, request: Request, nodeid: int, fh: int | None) -> Attributes:
            return Attributes(mode=0o40755)

        def destroy(self) -> None:
            destroyed.append(True)

    mount = fusewire.mount(Ends(), str(mountpoint)).start()
    subprocess.run(["umount", str(mountpoint)], check=True)
    assert mount.wait(10)
    assert destroyed == [True]


def test_many_mounts_in_one_process(tmp_path: Path) -> None:
    places = [tmp_path / str(number) for number in range(5)]
    for place in places:
        place.mkdir()
    mounts = [fusewire.mount({"me": place.name.encode()}, str(place)).start() for place in places]
    assert [(place / "me").read_text() for place in places] == ["0", "1", "2", "3", "4"]
    for mount in mounts:
        mount.unmount()
        assert mount.wait(10)


def test_names_that_are_not_utf8(mountpoint: Path) -> None:
    name = b"\xff\xfe-\xc3\xa4"
    with fusewire.mount({os.fsdecode(name): b"x"}, str(mountpoint)):
        assert os.listdir(os.fsencode(mountpoint)) == [name]
        assert Path(os.fsdecode(os.fsencode(mountpoint) + b"/" + name)).read_bytes() == b"x"


def test_a_busy_mount_is_detached_and_then_aborted(mountpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fusewire.mounted.LINGER", 0.2)
    with fusewire.mount({"hello": Hello()}, str(mountpoint)):
        fd = os.open(mountpoint / "hello", os.O_RDONLY)
    with pytest.raises(OSError, match=os.strerror(errno.ENOTCONN)):
        os.read(fd, 10)
    with pytest.raises(OSError, match=os.strerror(errno.ENOTCONN)):
        os.close(fd)
    assert os.listdir(mountpoint) == []


def test_a_file_is_mounted_on_a_file_and_a_directory_on_a_directory(tmp_path: Path, mountpoint: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(MountError, match="it is a file, and the filesystem a directory"):
        fusewire.mount({}, str(file)).start()
    with pytest.raises(MountError, match="it is a directory, and the filesystem a file"):
        fusewire.mount(Hello(), str(mountpoint)).start()
    with fusewire.mount(Hello(), str(file)):
        assert file.read_bytes() == b"hello\n"
    assert file.read_bytes() == b""


def test_what_cannot_be_served_is_refused_before_it_is_mounted(mountpoint: Path) -> None:
    class Misspelt(Filesystem):
        def getatr(self) -> None: ...

    with pytest.raises(TypeError, match="did you mean 'getattr'"):
        fusewire.mount(Misspelt(), str(mountpoint))
    with pytest.raises(TypeError, match="call it to make"):
        fusewire.mount(Filesystem, str(mountpoint))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"is a path: for that directory say LocalDirectory\(\.\.\.\)"):
        fusewire.mount(mountpoint, {})  # type: ignore[arg-type]


def test_what_is_not_mounted_yet_cannot_be_waited_for(mountpoint: Path) -> None:
    mount = fusewire.mount({}, mountpoint)
    with pytest.raises(RuntimeError, match="start it first"):
        mount.wait()
    with pytest.raises(RuntimeError, match="enter it with `async with` first"):
        asyncio.run(mount.wait_async())


def test_run_is_for_the_main_thread(mountpoint: Path) -> None:
    with ThreadPoolExecutor(1) as thread:
        for run in (fusewire.run, lambda *given: asyncio.run(fusewire.run_async(*given))):
            with pytest.raises(RuntimeError, match="only the main thread can heed signals"):
                thread.submit(run, {}, mountpoint).result()


def test_a_forked_child_does_not_keep_the_mount_alive(mountpoint: Path) -> None:
    """The child lives on, but closes what it inherits of the device: the connection ends with the parent."""
    program = """
import os, sys, fusewire
mount = fusewire.mount({"a": b"x"}, sys.argv[1]).start()
reader, writer = os.pipe()
if os.fork() == 0:
    os.write(writer, b"!")
    sys.stdin.read()  # lives on
    os._exit(0)
os.read(reader, 1)
print("forked", flush=True)
os.kill(os.getpid(), 9)
"""
    process = client(sys.executable, "-W", "ignore", "-c", program, str(mountpoint), stdin=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "forked\n"
    assert process.wait(10) == -signal.SIGKILL
    with pytest.raises(OSError, match=os.strerror(errno.ENOTCONN)):
        os.stat(mountpoint / "a")
    finish(process)  # closes the child's stdin, which ends it
    fusewire.mount({"b": b""}, str(mountpoint)).start().unmount()  # over the corpse
    subprocess.run(["umount", "-l", str(mountpoint)], check=False, stderr=subprocess.DEVNULL)


def test_a_child_that_leaves_the_with_leaves_the_mount_to_its_parent(mountpoint: Path) -> None:
    program = """
import os, sys, fusewire
with fusewire.mount({"a": b"x"}, sys.argv[1]):
    child = os.fork()
    if child == 0:
        sys.exit(3)  # leaves the with, and runs what is registered with atexit
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 3
    print(os.listdir(sys.argv[1]))
"""
    process = client(sys.executable, "-W", "ignore", "-c", program, str(mountpoint))
    assert finish(process) == ("['a']\n", "")


def test_a_filesystem_that_never_waits_is_served_by_one_thread(mountpoint: Path) -> None:
    with pytest.raises(ValueError, match="Memory never waits"):
        fusewire.mount(Memory(), str(mountpoint), threads=4)
    with pytest.raises(ValueError, match="at least one"):
        fusewire.mount({}, str(mountpoint), threads=0)


# --- who runs a method


class Gate:
    """Methods wait in it until they are let out; a test can see who is in."""

    def __init__(self) -> None:
        self.inside = threading.Semaphore(0)
        self.open = threading.Event()

    def __call__(self) -> None:
        self.inside.release()
        assert self.open.wait(20)


class Gated(File):
    """Reading it waits in a gate."""

    size = 4

    def __init__(self, gate: Callable[[], None]) -> None:
        self.gate = gate

    def read(self, offset: int, size: int) -> bytes:
        self.gate()
        return b"free"[offset : offset + size]


def test_as_many_methods_run_at_once_as_threads_say(mountpoint: Path) -> None:
    gate = Gate()
    tree = {str(number): Gated(gate) for number in range(5)}
    with fusewire.mount(tree, str(mountpoint), threads=3), ThreadPoolExecutor(5) as pool:
        reads = [pool.submit((mountpoint / name).read_bytes) for name in tree]
        for _ in range(3):
            assert gate.inside.acquire(timeout=10)
        assert not gate.inside.acquire(timeout=0.1), "a fourth method runs"
        gate.open.set()
        assert [read.result(10) for read in reads] == [b"free"] * 5


def test_a_method_that_waits_does_not_stop_the_others(mountpoint: Path) -> None:
    gate = Gate()
    with fusewire.mount({"slow": Gated(gate), "fast": b"x"}, str(mountpoint), threads=2), ThreadPoolExecutor(1) as pool:
        slow = pool.submit((mountpoint / "slow").read_bytes)
        assert gate.inside.acquire(timeout=10)
        assert (mountpoint / "fast").read_bytes() == b"x"
        gate.open.set()
        assert slow.result(10) == b"free"


def test_coroutines_run_while_another_waits(mountpoint: Path) -> None:
    both_in = threading.Barrier(2, timeout=10)

    class Meets(File):
        size = 1

        async def read(self, offset: int, size: int) -> bytes:
            await asyncio.to_thread(both_in.wait)  # passes only if both are here at once
            return b"x"

    with fusewire.mount({"a": Meets(), "b": Meets()}, str(mountpoint)), ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda name: (mountpoint / name).read_bytes(), "ab")) == [b"x", b"x"]


def test_asyncio_tools_work_in_a_handler(mountpoint: Path) -> None:
    class Tools(File):
        size = 1

        async def read(self, offset: int, size: int) -> bytes:
            assert asyncio.current_task() is not None
            assert current_request().name == "READ"
            async with asyncio.timeout(5), asyncio.TaskGroup() as group:
                part = group.create_task(asyncio.sleep(0, b"x"))
            return part.result()

    with fusewire.mount({"a": Tools()}, str(mountpoint)):
        assert (mountpoint / "a").read_bytes() == b"x"


def test_serving_by_a_running_event_loop(mountpoint: Path) -> None:
    class Loops(File):
        size = 4

        async def read(self, offset: int, size: int) -> bytes:
            assert asyncio.get_running_loop() in loops
            await asyncio.sleep(0)
            return b"loop"[offset : offset + size]

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        async with fusewire.mount({"loop": Loops(), "plain": b"x", "def": Hello()}, str(mountpoint)) as mount:
            for name, content in {"loop": b"loop", "plain": b"x", "def": b"hello\n"}.items():
                assert await asyncio.to_thread((mountpoint / name).read_bytes) == content
            await asyncio.to_thread(mount.unmount)
            await asyncio.wait_for(mount.wait_async(), 10)

    loops: list[asyncio.AbstractEventLoop] = []
    asyncio.run(serve())


def opened_devices(connection: int) -> int:
    """How many times this process has the device of a connection open. Duplicates share their flags."""
    numbers = [
        int(name) for name in os.listdir("/proc/self/fd") if connection_of_descriptor("self", name) == connection
    ]
    opened = 0
    while numbers:
        first = numbers[0]
        fcntl.fcntl(first, fcntl.F_SETFL, fcntl.fcntl(first, fcntl.F_GETFL) ^ os.O_APPEND)
        numbers = [number for number in numbers if not fcntl.fcntl(number, fcntl.F_GETFL) & os.O_APPEND]
        opened += 1
    return opened


def test_each_thread_reads_a_clone_of_its_own(mountpoint: Path) -> None:
    with fusewire.mount({"a": b"x"}, str(mountpoint), threads=3) as mount:
        if connection_of_descriptor("self", mount.server.device.fd) is None:  # type: ignore[union-attr]
            pytest.skip("before Linux 6.18 a descriptor does not tell its connection")
        assert opened_devices(mount.connection) == 3 + 1  # one more to read while they work


def test_one_descriptor_does_where_it_cannot_be_cloned(mountpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int) -> int:
        raise OSError(errno.ENOTTY, "no clones here")

    monkeypatch.setattr("fusewire.daemon.device.clone_device", refuse)
    with fusewire.mount({"a": b"x"}, str(mountpoint), threads=3) as mount, ThreadPoolExecutor(3) as pool:
        assert opened_devices(mount.connection) <= 1
        assert set(pool.map(lambda _: (mountpoint / "a").read_bytes(), range(20))) == {b"x"}


# --- interrupts


def interrupted_reader(path: Path) -> subprocess.Popen[str]:
    """A process that reads `path`, and tells how that ended, when it gets SIGUSR1 meanwhile."""
    program = """
import os, signal, sys
signal.signal(signal.SIGUSR1, lambda *_: (_ for _ in ()).throw(InterruptedError))
try:
    fd = os.open(sys.argv[1], os.O_RDONLY)
    print(os.read(fd, 100))
except InterruptedError:
    print("EINTR")
"""
    return client(sys.executable, "-c", program, str(path))


@pytest.mark.parametrize("how", ["asks", "callback", "coroutine"])
def test_an_interrupt_ends_the_wait_of_a_method(mountpoint: Path, how: str) -> None:
    """One serving thread: another reads the INTERRUPT while it is busy."""
    started, seen = threading.Event(), list[str]()

    class Asks(Handle):
        direct_io = True

        def read(self, offset: int, size: int) -> bytes:
            request = current_request()
            started.set()
            for _ in range(2000):
                if request.interrupted:
                    seen.append("asks")
                    raise InterruptedError
                threading.Event().wait(0.01)
            return b"never interrupted"

    class Callback(Handle):
        direct_io = True

        def read(self, offset: int, size: int) -> bytes:
            woken = threading.Event()
            current_request().on_interrupt(woken.set)
            started.set()
            assert woken.wait(20)
            seen.append("callback")
            raise InterruptedError

    class Coroutine(Handle):
        direct_io = True

        async def read(self, offset: int, size: int) -> bytes:
            started.set()
            try:
                await asyncio.sleep(20)
            except asyncio.CancelledError:
                seen.append("coroutine")
                raise
            return b"never cancelled"

    class Opens(File):
        def open(self, flags: int) -> Handle:
            return {"asks": Asks, "callback": Callback, "coroutine": Coroutine}[how]()

    with fusewire.mount({"a": Opens()}, str(mountpoint), threads=1):
        reader = interrupted_reader(mountpoint / "a")
        assert started.wait(10)
        reader.send_signal(signal.SIGUSR1)
        assert finish(reader) == ("EINTR\n", "")
    assert seen == [how]


def test_an_interrupt_that_nobody_heeds_harms_nothing(mountpoint: Path) -> None:
    gate = Gate()
    with fusewire.mount({"a": Gated(gate)}, str(mountpoint)):
        reader = client(sys.executable, "-c", "import sys; print(open(sys.argv[1]).read())", str(mountpoint / "a"))
        assert gate.inside.acquire(timeout=10)
        reader.send_signal(signal.SIGSTOP)
        reader.send_signal(signal.SIGCONT)
        gate.open.set()
        assert finish(reader) == ("free\n", "")
        assert (mountpoint / "a").read_bytes() == b"free"


STORM = """
import os, signal, sys

def again(act, *arguments):
    while True:
        try:
            return act(*arguments)
        except InterruptedError:
            pass

signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
for turn in range(100):
    for name in sys.argv[2:]:
        fd = again(os.open, f"{sys.argv[1]}/{name}", os.O_RDONLY)
        assert again(os.read, fd, 5000) == bytes(4096)
        os.close(fd)
signal.setitimer(signal.ITIMER_REAL, 0)
"""


@pytest.mark.parametrize("threads", [1, 3])
def test_a_storm_of_interrupts_harms_nothing(threads: int, mountpoint: Path, caplog: pytest.LogCaptureFixture) -> None:
    """They come before, while and after a request is carried out: whichever, the caller gets EINTR or the answer."""

    class Zeros(Handle):
        direct_io = True

        def read(self, offset: int, size: int) -> bytes:
            return bytes(4096)[offset : offset + size]

    class Heeds(Zeros):
        def read(self, offset: int, size: int) -> bytes:
            if current_request().interrupted:
                raise InterruptedError
            return super().read(offset, size)

    class Coroutine(Handle):
        direct_io = True

        async def read(self, offset: int, size: int) -> bytes:
            await asyncio.sleep(0)
            return bytes(4096)[offset : offset + size]

    class Opens(File):
        size = 4096

        def __init__(self, kind: type[Handle]) -> None:
            self.kind = kind

        def open(self, flags: int) -> Handle:
            return self.kind()

    caplog.set_level(logging.DEBUG, "fusewire.requests")
    files = {"zeros": Opens(Zeros), "heeds": Opens(Heeds), "coroutine": Opens(Coroutine)}
    with fusewire.mount(files, str(mountpoint), entry_timeout=0, threads=threads) as mount:
        assert finish(client(sys.executable, "-c", STORM, str(mountpoint), *files)) == ("", "")
        assert (mountpoint / "coroutine").read_bytes() == bytes(4096)
        assert mount.session is not None
        assert len(mount.session.calls) <= 1  # the RELEASE that nobody waits for
    kinds = [message.split()[0] for message in caplog.messages]
    assert kinds.count("INTERRUPT") > 10
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


# --- what goes wrong


class Broken(File):
    size = 5

    def read(self, offset: int, size: int) -> bytes:
        raise ZeroDivisionError("a bug")


def test_a_bug_is_eio_and_the_daemon_lives_on(mountpoint: Path, caplog: pytest.LogCaptureFixture) -> None:
    with fusewire.mount({"broken": Broken(), "fine": b"x"}, str(mountpoint)):
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            (mountpoint / "broken").read_bytes()
        assert (mountpoint / "fine").read_bytes() == b"x"
    assert "a bug" in caplog.text


def test_strict_ends_the_mount_and_raises(mountpoint: Path, caplog: pytest.LogCaptureFixture) -> None:
    mount = fusewire.mount({"broken": Broken()}, str(mountpoint), strict=True).start()
    with pytest.raises(OSError, match=f"{os.strerror(errno.EIO)}|{os.strerror(errno.ENOTCONN)}"):
        (mountpoint / "broken").read_bytes()
    with pytest.raises(ZeroDivisionError, match="a bug"):
        mount.wait(10)
    assert os.listdir(mountpoint) == []


def test_strict_raises_out_of_run(mountpoint: Path, caplog: pytest.LogCaptureFixture) -> None:
    readers = []

    def read(mount: fusewire.Mount) -> None:
        readers.append(client("cat", str(mountpoint / "broken")))

    with pytest.raises(ZeroDivisionError, match="a bug"):
        fusewire.run({"broken": Broken()}, str(mountpoint), strict=True, ready=read)
    assert finish(readers[0])[1]
    assert os.listdir(mountpoint) == []


def test_strict_raises_out_of_with(mountpoint: Path, caplog: pytest.LogCaptureFixture) -> None:
    with (
        pytest.raises(ZeroDivisionError, match="a bug"),
        fusewire.mount({"broken": Broken()}, str(mountpoint), strict=True),
    ):
        assert finish(client("cat", str(mountpoint / "broken")))[1]
    assert os.listdir(mountpoint) == []


def test_strict_raises_out_of_async_with(mountpoint: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def serve() -> None:
        async with fusewire.mount({"broken": Broken()}, str(mountpoint), strict=True):
            assert (await asyncio.to_thread(finish, client("cat", str(mountpoint / "broken"))))[1]

    with pytest.raises(ZeroDivisionError, match="a bug"):
        asyncio.run(serve())
    assert os.listdir(mountpoint) == []


@pytest.mark.parametrize("offset", [2**63 - 4096, 2**62])
def test_huge_offsets_reach_the_method_or_no_one(mountpoint: Path, offset: int) -> None:
    with fusewire.mount({"hello": Hello()}, str(mountpoint)):
        fd = os.open(mountpoint / "hello", os.O_RDONLY)
        try:
            assert os.pread(fd, 10, offset) == b""
        finally:
            os.close(fd)


def test_kill_9_lets_nobody_wait(mountpoint: Path) -> None:
    program = """
import sys, threading, fusewire
class Hangs(fusewire.File):
    size = 1
    def read(self, offset, size):
        print("reading", flush=True)
        threading.Event().wait()
fusewire.mount({"hangs": Hangs(), "b": b""}, sys.argv[1]).start().wait()
"""
    daemon = client(sys.executable, "-c", program, str(mountpoint))
    assert daemon.stdout is not None
    while "hangs" not in os.listdir(mountpoint):
        assert daemon.poll() is None
    reader = client("cat", str(mountpoint / "hangs"))
    assert daemon.stdout.readline() == "reading\n"
    daemon.kill()
    finish(daemon)
    _, complaint = finish(reader)
    assert os.strerror(errno.ENOTCONN) in complaint or os.strerror(errno.ECONNABORTED) in complaint
    with fusewire.mount({"again": b""}, str(mountpoint)):
        assert os.listdir(mountpoint) == ["again"]


def test_a_method_that_would_not_end_is_named_and_left_to_itself(
    mountpoint: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("fusewire.mounted.LINGER", 0.1)
    monkeypatch.setattr("fusewire.daemon.server.GRACE", 0.1)
    gate = Gate()
    try:
        with fusewire.mount({"a": Gated(gate)}, str(mountpoint)):
            reader = client("cat", str(mountpoint / "a"))
            assert gate.inside.acquire(timeout=10)
        assert "READ" in caplog.text
        assert "still running" in caplog.text
        complaint = finish(reader)[1]  # by whichever way the page cache hears of it
        assert os.strerror(errno.ECONNABORTED) in complaint or os.strerror(errno.ENOTCONN) in complaint
        assert os.listdir(mountpoint) == []
    finally:
        gate.open.set()


# --- programs: run() and signals


PROGRAM = """
import asyncio, sys, fusewire
def ready(mount): print("ready", flush=True)
{how}
print("over", flush=True)
"""
ON_THREADS = 'fusewire.run({"a": b"x"}, sys.argv[1], ready=ready)'
IN_A_LOOP = 'asyncio.run(fusewire.run_async({"a": b"x"}, sys.argv[1], ready=ready))'
either_way = pytest.mark.parametrize("how", [ON_THREADS, IN_A_LOOP], ids=["threads", "asyncio"])


def started_program(mountpoint: Path, how: str = ON_THREADS) -> subprocess.Popen[str]:
    process = client(sys.executable, "-c", PROGRAM.replace("{how}", how), str(mountpoint))
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@either_way
def test_a_signal_unmounts(mountpoint: Path, how: str, number: int) -> None:
    process = started_program(mountpoint, how)
    process.send_signal(number)
    assert finish(process) == ("over\n", "")
    assert process.returncode == 0
    assert os.listdir(mountpoint) == []


WITH = """
import signal, sys, fusewire
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
with fusewire.mount({"a": b"x"}, sys.argv[1]) as mount:
    print("ready", flush=True)
    mount.wait()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_is_an_exception_leaves_the_with(mountpoint: Path, number: int) -> None:
    process = client(sys.executable, "-c", WITH, str(mountpoint))
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    finish(process)
    assert process.returncode in (1, -signal.SIGINT)
    assert os.listdir(mountpoint) == []


@either_way
def test_umount_ends_the_program(mountpoint: Path, how: str) -> None:
    process = started_program(mountpoint, how)
    subprocess.run(["umount", str(mountpoint)], check=True)
    assert finish(process)[0] == "over\n"


@either_way
def test_a_signal_detaches_a_busy_mount_and_serves_until_it_is_closed(mountpoint: Path, how: str) -> None:
    process = started_program(mountpoint, how)
    fd = os.open(mountpoint / "a", os.O_RDONLY)
    process.send_signal(signal.SIGTERM)
    assert process.stderr is not None
    said = process.stderr.readline() + process.stderr.readline()
    assert "detached" in said
    assert os.listdir(mountpoint) == []
    assert os.pread(fd, 10, 0) == b"x"
    os.close(fd)
    assert finish(process)[0] == "over\n"
    assert process.returncode == 0


@either_way
def test_a_second_signal_aborts(mountpoint: Path, how: str) -> None:
    process = started_program(mountpoint, how)
    fd = os.open(mountpoint / "a", os.O_RDONLY)
    process.send_signal(signal.SIGTERM)
    assert process.stderr is not None
    assert "detached" in process.stderr.readline() + process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    assert finish(process)[0] == "over\n"
    with pytest.raises(OSError, match=os.strerror(errno.ENOTCONN)):
        os.close(fd)


def test_a_node_made_by_a_directory_is_listed_once(mountpoint: Path) -> None:
    class Grows(Directory):
        def __init__(self) -> None:
            self.files: dict[str, Node] = {}

        def list(self) -> dict[str, Node]:
            return self.files

        def mkdir(self, name: str, mode: int) -> Directory:
            made = self.files[name] = Directory()
            return made

    with fusewire.mount(Grows(), str(mountpoint)):
        for number in range(300):
            os.mkdir(mountpoint / f"{number:03}")
        assert sorted(os.listdir(mountpoint)) == [f"{number:03}" for number in range(300)]


def test_a_raw_filesystem_of_coroutines(mountpoint: Path) -> None:
    class Raw(Filesystem):
        async def lookup(self, request: Request, parent: int, name: str) -> Entry:
            if name != "one":
                raise FileNotFoundError
            return Entry(2, Attributes(mode=0o100444, size=3))

        async def getattr(self, request: Request, nodeid: int, fh: int | None) -> Attributes:
            return Attributes(mode=0o40755) if nodeid == 1 else Attributes(mode=0o100444, size=3)

        async def read(self, request: Request, nodeid: int, fh: int, offset: int, size: int) -> bytes:
            return b"raw"[offset : offset + size]

    with fusewire.mount(Raw(), str(mountpoint)):
        assert (mountpoint / "one").read_bytes() == b"raw"
        assert not (mountpoint / "two").exists()
