"""What people do with a kernel that they had better not: each gets a sentence, and nothing hangs."""

from __future__ import annotations

import asyncio
import copy
import errno
import os
import pickle
import subprocess
import sys
import traceback
from typing import Any

import pytest

import fusewire
from embedded.filesystems import Flat, kernel_of
from fusewire import Attributes, Deadlock, File, OpenFile, Request
from fusewire.embedded import ends
from fusewire.filesystems import Memory


class Asks(File):
    """A file that holds what `/a` of another kernel holds, or of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel: Any = None

    def read(self, offset: int, size: int) -> bytes:
        data: bytes = self.kernel.read_bytes("/a")
        return data[offset : offset + size]


class AsksInTheLoop(Asks):
    async def read(self, offset: int, size: int) -> bytes:  # type: ignore[override]
        return Asks.read(self, offset, size)


def python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", program], capture_output=True, text=True, timeout=60
    )


# --- kernels in kernels, and methods that use their own


@pytest.mark.parametrize("inner", ["fixed order", "threads"])
@pytest.mark.parametrize("outer", ["fixed order", "threads"])
@pytest.mark.parametrize("kind", [Asks, AsksInTheLoop])
def test_a_method_may_use_another_kernel(inner: str, outer: str, kind: type[Asks]) -> None:
    file = kind()
    with fusewire.Kernel({"a": b"hi"}, runner=inner) as below, fusewire.Kernel({"b": file}, runner=outer) as above:
        file.kernel = below
        assert above.read_bytes("/b") == b"hi"
        assert above.leaks() == below.leaks() == []


def test_a_method_that_waits_for_the_only_thread_there_is_learns_of_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ends, "LINGER", 0.2)
    file = Asks()
    with fusewire.Kernel({"a": b"hi", "b": file}, runner="threads", threads=1) as kernel:
        file.kernel = kernel
        with pytest.raises(OSError, match="Input/output"):
            kernel.read_bytes("/b")
    assert "none is left to serve it: with threads=1 no more `def` than that run at once" in caplog.text


def test_with_a_thread_more_it_is_served() -> None:
    file = Asks()
    with fusewire.Kernel({"a": b"hi", "b": file}, runner="threads", threads=2) as kernel:
        file.kernel = kernel
        assert kernel.read_bytes("/b") == b"hi"


# --- event loops


def test_a_plain_call_in_the_loop_that_serves_is_told_to_be_awaited() -> None:
    async def main() -> None:
        kernel = fusewire.Kernel({"a": b"hi"})
        async with kernel as awaited:
            with pytest.raises(Deadlock, match="await the call"):
                kernel.read_bytes("/a")
            assert await awaited.read_bytes("/a") == b"hi"

    asyncio.run(main())


def test_a_kernel_whose_loop_is_closed_says_so_and_closes() -> None:
    kernel = fusewire.Kernel({"a": b"hi"})

    async def enter() -> Any:
        return await kernel.__aenter__()

    async def use(awaited: Any) -> None:
        with pytest.raises(RuntimeError, match="the event loop in which this kernel was entered is closed"):
            await awaited.read_bytes("/a")

    asyncio.run(use(asyncio.run(enter())))
    kernel.close()


# --- processes of this machine


def test_a_forked_child_is_told_that_the_threads_are_elsewhere() -> None:
    done = python(
        "import fusewire, os, warnings\n"
        "warnings.simplefilter('ignore')\n"  # Python's own, about forks
        "with fusewire.Kernel({'a': b'hi'}, runner='threads') as kernel:\n"
        "    kernel.stat('/a')\n"
        "    if os.fork() == 0:\n"
        "        try: kernel.stat('/a')\n"
        "        except RuntimeError as error: print(error, flush=True)\n"
        "        kernel.close()\n"
        "        os._exit(0)\n"
        "    os.wait()\n"
        "    print(kernel.read_bytes('/a'))\n"
    )
    assert done.stderr == ""
    told, read = done.stdout.splitlines()
    assert told.startswith("this kernel belongs to the process that made it")
    assert read == "b'hi'"


@pytest.mark.parametrize("runner", ["fixed order", "threads"])
@pytest.mark.parametrize("last", ["", "del kernel, file, call; gc.collect()", "raise SystemExit"])
def test_a_kernel_that_nobody_closes_says_nothing_at_the_end(runner: str, last: str) -> None:
    done = python(
        "import asyncio, fusewire, gc\n"
        "class Never(fusewire.File):\n"
        "    async def read(self, offset, size): await asyncio.Event().wait()\n"
        f"kernel = fusewire.Kernel({{'a': b'hi', 'never': Never()}}, runner={runner!r})\n"
        "assert kernel.read_bytes('/a') == b'hi'\n"
        "file = kernel.process().open('/a', 0)\n"
        "call = kernel.begin(kernel.awaitable.read_bytes('/never'))\n"
        "kernel.run()\n"
        f"{last}\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# --- after the end


def test_what_has_been_closed_says_so() -> None:
    with fusewire.Kernel(Memory()) as kernel:
        process = kernel.process()
    for call in (kernel.listdir, kernel.process, process.getcwd, kernel.__enter__, process.fork):
        with pytest.raises(RuntimeError, match="this kernel has been closed"):
            call()


def test_a_process_that_outlives_its_kernel_is_left_in_peace() -> None:
    with fusewire.Kernel(Memory()) as kernel, kernel.process() as process:
        process.open("/a", os.O_CREAT)
        kernel.close()


def test_a_lazy_unmount_leaves_what_is_open_to_those_who_have_it() -> None:
    with fusewire.Kernel(Memory()) as kernel:
        process = kernel.process()
        fd = process.open("/a", os.O_CREAT | os.O_RDWR)
        kernel.unmount(lazy=True)
        for call in (kernel.listdir, kernel.process):
            with pytest.raises(RuntimeError, match="nothing is mounted here any more: only processes that use"):
                call()
        process.write(fd, b"hi")
        assert process.pread(fd, 9, 0) == b"hi"
        process.exit()
        with pytest.raises(RuntimeError, match="closed, or unmounted"):
            process.getcwd()
        assert kernel.leaks() == []


# --- errors


class Fails(Flat):
    """Fails to read, and to close in another way."""

    def open(self, request: Request, nodeid: int, flags: int) -> OpenFile:
        return OpenFile(1, direct_io=True)

    def read(self, request: Request, nodeid: int, fh: int, offset: int, size: int) -> bytes:
        raise OSError(errno.EBADMSG, "rotten")

    def flush(self, request: Request, nodeid: int, fh: int) -> None:
        raise OSError(errno.ENOSPC, "full")


def test_what_went_wrong_first_is_what_is_told() -> None:
    with fusewire.Kernel(Fails("a")) as kernel:
        with pytest.raises(OSError, match="Bad message"):
            kernel.read_bytes("/a")
        assert kernel.requests[-2].name == "FLUSH"


def test_a_traceback_ends_where_the_kernel_begins() -> None:
    with fusewire.Kernel(Memory()) as kernel:
        for call in (kernel.stat, kernel.process().stat, kernel.open):
            with pytest.raises(FileNotFoundError) as caught:
                call("/none")
            assert len(traceback.extract_tb(caught.value.__traceback__)) <= 4
            assert caught.value.__suppress_context__


class Mistaken(Flat):
    def getattr(self, request: Request, nodeid: int, fh: int | None) -> Attributes:
        raise KeyError(nodeid)


@pytest.mark.parametrize("runner", ["fixed order", "threads"])
def test_a_mistake_is_raised_without_what_followed_from_it(runner: str) -> None:
    with fusewire.Kernel(Mistaken(), runner=runner, strict=True) as kernel:
        with pytest.raises(KeyError) as caught:
            kernel.stat("/")
        assert caught.value.__context__ is None


def test_a_deadlock_names_the_requests_that_are_not_answered() -> None:
    class Never(Flat):
        async def getattr(self, request: Request, nodeid: int, fh: int | None) -> Attributes:  # type: ignore[override]
            await asyncio.Event().wait()
            raise AssertionError

    with kernel_of(Never()) as kernel:
        with pytest.raises(Deadlock) as caught:
            kernel.stat("/")
        assert caught.value.__notes__ == ["not answered: <GETATTR nodeid=1 for pid 100, uid 0: not answered>"]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda kernel: kernel.process(uid="bob"), "'bob' is no user or group: they are numbers"),
        (lambda kernel: kernel.process(gid=-1), "-1 is no user or group: their numbers are 0 to 4294967294"),
        (lambda kernel: kernel.process(groups=["wheel"]), "'wheel' is no user or group"),
        (lambda kernel: kernel.begin(kernel.stat), "is no call that can be awaited, such as"),
        (lambda kernel: kernel.run(3), "3 is no call that can be awaited, such as"),
        (lambda kernel: kernel.write_text("/a", b"hi"), "which is a str, not bytes: for bytes say write_bytes"),
        (lambda kernel: kernel.process().open("/", "r"), "flags='r': they are numbers here, as for os.open"),
        (lambda kernel: kernel.open("/"), "Is a directory: '/'"),
        (lambda kernel: fusewire.Kernel({}, minor="19"), "minor='19': it is a whole number"),  # type: ignore[arg-type]
        (lambda kernel: fusewire.Kernel({}, minor=None), "minor=None: it is a whole number"),  # type: ignore[arg-type]
        (lambda kernel: fusewire.Kernel({}, threads="2"), "threads='2': it is a whole number"),  # type: ignore[arg-type]
        (lambda kernel: fusewire.Kernel({}, 3), "options=3: they are as after -o"),  # type: ignore[arg-type]
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(wrong: Any, told: str) -> None:
    with fusewire.Kernel(Memory()) as kernel:
        with pytest.raises((TypeError, ValueError, OSError)) as caught:
            wrong(kernel)
        assert told in str(caught.value)
        assert kernel.leaks() == []


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, pickle.dumps])
def test_what_is_under_way_is_not_copied(how: Any) -> None:
    with fusewire.Kernel(Memory()) as kernel:
        for what in (kernel, kernel.process()):
            with pytest.raises(TypeError, match="can be neither copied nor pickled"):
                how(what)


class Closes(File):
    kernel: Any = None

    def read(self, offset: int, size: int) -> bytes:
        self.kernel.close()
        return b""


def test_a_method_cannot_close_the_kernel_that_carries_it_out() -> None:
    file = Closes()
    with fusewire.Kernel({"a": file}, strict=True) as kernel:
        file.kernel = kernel
        with pytest.raises(RuntimeError, match="a method of a filesystem cannot wait for its own kernel"):
            kernel.read_bytes("/a")
    assert kernel.session.destroyed


def test_an_outcome_is_the_same_each_time_it_is_asked_for() -> None:
    with fusewire.Kernel(Memory()) as kernel:
        call = kernel.begin(kernel.process().awaitable.stat("/none"))
        lengths = set()
        for _ in range(2):
            with pytest.raises(FileNotFoundError) as caught:
                call.result()
            lengths.add(len(traceback.extract_tb(caught.value.__traceback__)))
        assert len(lengths) == 1


def test_an_awaited_calls_traceback_ends_where_the_kernel_begins() -> None:
    async def main() -> None:
        async with fusewire.Kernel(Memory()) as kernel:
            with pytest.raises(FileNotFoundError) as caught:
                await kernel.process().stat("/none")
            files = [frame.filename for frame in traceback.extract_tb(caught.value.__traceback__)]
            assert not [name for name in files if "/kernel/vfs/" in name or "/kernel/operations/" in name]

    asyncio.run(main())
