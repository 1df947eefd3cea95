"""In an event loop: a call that waits is awaited, and the loop goes on."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

import fusewire
from embedded.filesystems import Flat
from fusewire import Request
from fusewire.daemon import server
from fusewire.daemon.server import GRACE
from fusewire.embedded import ends
from fusewire.filesystems import Memory


class Waits(Flat):
    """Its unlink waits until somebody lets it go on."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def unlink(self, request: Request, parent: int, name: str) -> None:
        self.reached.set()
        try:
            await self.opened.wait()
        except asyncio.CancelledError:
            self.said.append("cancelled")
            raise


def test_others_go_on_while_one_waits() -> None:
    async def main() -> None:
        filesystem = Waits()
        async with fusewire.Kernel(filesystem) as kernel:
            waiting = asyncio.create_task(kernel.unlink("/a"))
            await filesystem.reached.wait()
            assert (await kernel.stat("/")).st_ino == 1
            assert not waiting.done()
            filesystem.opened.set()
            await waiting

    asyncio.run(main())


def test_a_signal_interrupts_and_a_cancellation_kills() -> None:
    async def main() -> None:
        filesystem = Waits()
        async with fusewire.Kernel(filesystem) as kernel:
            process = kernel.process()
            waiting = asyncio.create_task(process.unlink("/a"))
            await filesystem.reached.wait()
            process.interrupt()
            with pytest.raises(InterruptedError):
                await waiting
            assert filesystem.said == ["cancelled"]
            filesystem.reached.clear()
            cancelled = asyncio.create_task(process.unlink("/a"))
            await filesystem.reached.wait()
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            assert [request.name for request in kernel.requests].count("UNLINK") == 2

    asyncio.run(main())


def test_leaving_frees_whoever_waits() -> None:
    async def main() -> None:
        filesystem = Waits()
        async with fusewire.Kernel(filesystem) as kernel:
            waiting = asyncio.create_task(kernel.unlink("/a"))
            await filesystem.reached.wait()
        with pytest.raises(ConnectionAbortedError):
            await waiting
        assert filesystem.said == ["cancelled", "destroy"]

    asyncio.run(main())


class Deaf(fusewire.File):
    """Its read does not return, and does not hear that it was interrupted."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()
        self.opened = threading.Event()

    def read(self, offset: int, size: int) -> bytes:
        self.reached.set()
        self.opened.wait()
        return b""


def test_who_cancels_waits_for_no_method_and_no_flush(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for module in (server, ends):
        monkeypatch.setattr(module, "HASTE", 0.01)
    file = Deaf()

    async def reads() -> None:
        async with fusewire.Kernel({"a": file}) as kernel:
            await kernel.read_bytes("/a")

    async def main() -> None:
        reading = asyncio.create_task(reads())
        await asyncio.to_thread(file.reached.wait)
        reading.cancel()  # as Ctrl-C does
        with pytest.raises(asyncio.CancelledError):
            await reading

    begun = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - begun < GRACE
    assert "READ" in caplog.text
    assert "is still running" in caplog.text
    file.opened.set()  # for the sake of other tests


def test_plain_methods_run_beside_the_loop() -> None:
    class Tells(Flat):
        def unlink(self, request: Request, parent: int, name: str) -> None:
            self.said.append(threading.current_thread() is threading.main_thread())

    async def main() -> None:
        filesystem = Tells()
        async with fusewire.Kernel(filesystem) as kernel:
            await kernel.unlink("/a")
        assert filesystem.said == [False, "destroy"]

    asyncio.run(main())


def test_many_calls_at_once() -> None:
    async def work(kernel: fusewire.embedded.AwaitableKernel, number: int) -> None:
        await kernel.write_bytes(f"/{number}", b"x" * number)
        assert (await kernel.stat(f"/{number}")).st_size == number

    async def main() -> None:
        async with fusewire.Kernel(Memory()) as kernel:
            await asyncio.gather(*(work(kernel, number) for number in range(100)))
            assert len(await kernel.listdir()) == 100
            assert await kernel.leaks() == []

    asyncio.run(main())


def test_a_plain_with_says_what_to_write() -> None:
    with pytest.raises(RuntimeError, match="enter it with `async with`"), fusewire.Kernel(Flat(), runner="asyncio"):
        pass
