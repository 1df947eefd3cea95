"""In fixed order: no time passes, nothing is left to chance, and a deadlock is an error that names itself."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import errno
import os
import threading
from typing import Any

import pytest

import fusewire
from embedded.filesystems import Flat, kernel_of
from fusewire import Entry, Request
from fusewire.daemon.request import current_request
from fusewire.filesystems import Memory
from fusewire.kernel.runners import standing_loop

colour: contextvars.ContextVar[str] = contextvars.ContextVar("colour", default="none")


class Kamikaze(Flat):
    """Removes, through its own mount, the file that it is asked to remove."""

    async def unlink(self, request: Request, parent: int, name: str) -> None:
        await self.kernel.awaitable.unlink(f"/{name}")


def test_a_deadlock_is_an_error_that_says_who_waits_for_whom() -> None:
    with kernel_of(Kamikaze("file")) as kernel:
        with pytest.raises(fusewire.Deadlock) as caught:
            kernel.unlink("/file")
        me = kernel.ends.process.name
        assert str(caught.value).splitlines() == [
            "nothing can go on",
            f"  {me} sleeps on req->waitq, until daemon (UNLINK) lets it go on",
            f"  daemon (UNLINK) sleeps on what it awaits, until daemon (UNLINK), as {me} lets it go on",
            f'  daemon (UNLINK), as {me} sleeps on inode semaphore for "/", until {me} lets it go on',
        ]


def test_an_abort_frees_those_in_a_deadlock() -> None:
    with kernel_of(Kamikaze("file")) as kernel:
        call = kernel.begin(kernel.awaitable.unlink("/file"))
        assert (call.done, call.sleeps_on) == (False, "req->waitq")
        kernel.abort()
        with pytest.raises(ConnectionAbortedError):
            call.result()


class Blunders(Flat):
    """Its `def` method, and its `async def` one, call their kernel without awaiting."""

    def unlink(self, request: Request, parent: int, name: str) -> None:
        self.kernel.stat("/")

    async def mkdir(self, request: Request, parent: int, name: str, mode: int) -> Entry:
        self.kernel.stat("/")
        raise AssertionError("not reached")


@pytest.mark.parametrize(("method", "path"), [("unlink", "/a"), ("mkdir", "/new")])
def test_a_method_that_does_not_await_its_own_kernel_is_told_what_to_do(
    method: str, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    with kernel_of(Blunders()) as kernel:
        with pytest.raises(OSError, match="Input/output error"):
            getattr(kernel.process(), method)(path)
        assert kernel.exists("/a")
    assert "make it `async def` and await the call of `kernel.awaitable`, or use runner='threads'" in caplog.text


def test_two_threads_at_once_are_told_of_the_threads_runner() -> None:
    class Meanwhile(Flat):
        def unlink(self, request: Request, parent: int, name: str) -> None:
            thread = threading.Thread(target=self.call)
            thread.start()
            thread.join()

        def call(self) -> None:
            with pytest.raises(RuntimeError, match="with runner='threads' several may use it"):
                self.kernel.stat("/")
            self.said.append("told")

    filesystem = Meanwhile()
    with kernel_of(filesystem) as kernel:
        kernel.unlink("/a")
        assert filesystem.said == ["told"]


class Sleeps(Flat):
    """Its methods await asyncio, in every way."""

    async def unlink(self, request: Request, parent: int, name: str) -> None:
        self.said.append((asyncio.current_task() is not None, current_request() is request))
        async with asyncio.timeout(3600), asyncio.TaskGroup() as group:
            slept = group.create_task(asyncio.sleep(1000, "slept"))
            root = group.create_task(self.kernel.awaitable.stat("/"))
        self.said += [slept.result(), root.result().st_ino, current_request() is request]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                await asyncio.Event().wait()
        self.said.append(await asyncio.to_thread(os.getpid) == os.getpid())


def test_what_awaits_time_gets_it_at_once() -> None:
    filesystem = Sleeps()
    with kernel_of(filesystem) as kernel:
        kernel.unlink("/a")
        assert filesystem.said == [(True, True), "slept", 1, True, True]
        assert kernel.system.clock.now() == pytest.approx(1010, abs=1)


def test_context_variables_are_each_methods_own() -> None:
    class Coloured(Flat):
        async def unlink(self, request: Request, parent: int, name: str) -> None:
            self.said.append(colour.get())
            colour.set(name)
            await asyncio.sleep(1)
            self.said.append(colour.get())

    filesystem = Coloured()
    with kernel_of(filesystem) as kernel:
        kernel.unlink("/a")
        kernel.unlink("/b")
    assert filesystem.said == ["none", "a", "none", "b", "destroy"]


class Waits(Flat):
    """Its unlink waits until it is cancelled; its mkdir does not care."""

    async def unlink(self, request: Request, parent: int, name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.said.append(name)

    async def mkdir(self, request: Request, parent: int, name: str, mode: int) -> Entry:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.said.append("no")


def test_an_interrupt_cancels_the_method_and_the_caller_gets_eintr() -> None:
    filesystem = Waits()
    with kernel_of(filesystem) as kernel:
        call = kernel.begin(kernel.awaitable.unlink("/a"))
        kernel.run()
        call.interrupt()
        kernel.run()
        assert (call.done, filesystem.said) == (True, ["a"])
        with pytest.raises(InterruptedError):
            call.result()
        assert [request.name for request in kernel.requests][-3:-1] == ["UNLINK", "INTERRUPT"]


def test_a_process_is_killed_where_linux_lets_it_go() -> None:
    with kernel_of(Waits()) as kernel:
        process = kernel.process()
        kernel.daemon.hang()
        first = kernel.begin(process.awaitable.stat("/"))  # is read, and not answered
        kernel.run()
        second = kernel.begin(process.awaitable.stat("/"))  # is not read
        kernel.run()
        process.kill()
        assert (first.done, second.done) == (False, True)
        with pytest.raises(InterruptedError):
            second.result()
        kernel.daemon.resume()
        assert first.done


@pytest.mark.parametrize(("method", "path"), [("unlink", "/a"), ("mkdir", "/new")])
def test_a_kernel_ends_whatever_the_methods_do(method: str, path: str, caplog: pytest.LogCaptureFixture) -> None:
    filesystem = Waits()
    with kernel_of(filesystem) as kernel:
        call = kernel.begin(getattr(kernel.process().awaitable, method)(path))
        kernel.run()
        assert not call.done
    with pytest.raises(ConnectionAbortedError):
        call.result()
    assert "destroy" in filesystem.said
    assert ("is still running" in caplog.text) == (method == "mkdir")


def test_time_stands_still_and_is_told_to_pass() -> None:
    class Remembered(Flat):
        entry_timeout = attr_timeout = 5.0

    with kernel_of(Remembered()) as kernel:
        kernel.stat("/a")
        before = len(kernel.requests)
        kernel.stat("/a")
        assert len(kernel.requests) == before
        kernel.advance(6)
        kernel.stat("/a")
        assert [request.name for request in kernel.requests[before:]] == ["LOOKUP"]
        with pytest.raises(ValueError, match="time goes forwards"):
            kernel.advance(-1)


def test_a_run_is_the_same_each_time() -> None:
    def recorded() -> list[str]:
        with fusewire.Kernel(Memory()) as kernel:
            kernel.write_bytes("/a", b"x" * 100_000)
            kernel.mkdir("/d")
            kernel.rename("/a", "/d/a")
            kernel.read_bytes("/d/a")
            return [request.name for request in kernel.requests]

    assert recorded() == recorded()


def test_several_tasks_may_serve() -> None:
    filesystem = Sleeps()
    filesystem.threads = 3  # type: ignore[misc]
    with kernel_of(filesystem) as kernel:
        assert kernel.exists("/a")
        assert len(kernel.connection.readers) == 3


class Housekeeping(Flat):
    """Looks after something once a second, from its first request on; its mkdir waits for what does not come."""

    def __init__(self) -> None:
        super().__init__()
        self.rounds = 0

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(1)
            self.rounds += 1

    async def unlink(self, request: Request, parent: int, name: str) -> None:
        self.housekeeper = asyncio.create_task(self._look_after())

    async def mkdir(self, request: Request, parent: int, name: str, mode: int) -> Entry:
        self.housekeeper = asyncio.create_task(self._look_after())
        await asyncio.Event().wait()
        raise AssertionError("unreachable")


def test_what_never_ends_in_the_background_keeps_no_kernel_open() -> None:
    filesystem = Housekeeping()
    with kernel_of(filesystem) as kernel:
        kernel.unlink("/a")
        assert filesystem.rounds == 0
    assert filesystem.rounds == 5  # seconds that are left to it at the end, by a clock that stands still
    assert filesystem.said == ["destroy"]


def test_timers_that_bring_nothing_are_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing_loop, "IN_VAIN", 100)
    filesystem = Housekeeping()
    with kernel_of(filesystem) as kernel:
        with pytest.raises(fusewire.Deadlock, match="MKDIR"):
            kernel.mkdir("/d")
        assert filesystem.rounds == 100


def test_a_method_that_does_not_hear_of_its_end_is_left_to_itself(caplog: pytest.LogCaptureFixture) -> None:
    class Deaf(Flat):
        async def unlink(self, request: Request, parent: int, name: str) -> None:
            while True:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(1)
                self.kernel.connection.abort()

    with kernel_of(Deaf()) as kernel, pytest.raises(ConnectionAbortedError):
        kernel.unlink("/a")
    assert "is still running" in caplog.text


def test_it_works_in_a_program_whose_own_event_loop_runs() -> None:
    async def main() -> None:
        with kernel_of(Sleeps()) as kernel:
            kernel.unlink("/a")
        await asyncio.sleep(0)
        assert asyncio.current_task() is not None

    asyncio.run(main())


def test_two_kernels_in_one_process_are_two() -> None:
    with fusewire.Kernel({"a": b"1"}) as one, fusewire.Kernel({"a": b"2"}) as two:
        assert (one.read_bytes("/a"), two.read_bytes("/a")) == (b"1", b"2")


def test_a_program_may_do_without_with() -> None:
    kernel = fusewire.Kernel({"a": b"1"})
    assert kernel.read_bytes("/a") == b"1"
    kernel.close()
    kernel.close()
    with pytest.raises(RuntimeError, match="closed"):
        kernel.read_bytes("/a")


def test_ctrl_c_is_not_taken_for_a_mistake_of_the_filesystem() -> None:
    class Interrupted(Flat):
        def unlink(self, request: Request, parent: int, name: str) -> None:
            raise KeyboardInterrupt

    filesystem = Interrupted()
    with kernel_of(filesystem) as kernel, pytest.raises(KeyboardInterrupt):
        kernel.unlink("/a")
    assert filesystem.said == ["destroy"]


def errno_of(call: Any, *arguments: Any) -> int | None:
    try:
        call(*arguments)
    except OSError as error:
        return error.errno
    return None


def test_nobody_else_is_let_in_if_that_was_said() -> None:
    with fusewire.Kernel({"a": b"1"}, allow_other=False) as kernel:
        assert errno_of(kernel.process(uid=1000).stat, "/a") == errno.EACCES
    with fusewire.Kernel({"a": b"1"}) as kernel:
        assert errno_of(kernel.process(uid=1000).stat, "/a") is None
