"""On threads: a blocked system call blocks its thread, and no other."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

import fusewire
from embedded.filesystems import Flat, kernel_of
from fusewire import Request
from fusewire.daemon import server
from fusewire.daemon.server import GRACE
from fusewire.embedded import ends
from fusewire.filesystems import Memory


class Gate(Flat):
    """Its unlink waits at a gate, until it is opened or the caller is interrupted."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()
        self.opened = threading.Event()

    def unlink(self, request: Request, parent: int, name: str) -> None:
        request.on_interrupt(self.opened.set)
        self.reached.set()
        self.opened.wait()
        if request.interrupted:
            raise InterruptedError


def in_thread(call: Callable[..., Any], *arguments: Any) -> Future[Any]:
    """Run `call` in a thread of its own."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(call, *arguments)
    pool.shutdown(wait=False)
    return future


def test_others_go_on_while_one_waits() -> None:
    filesystem = Gate()
    filesystem.threads = 2  # type: ignore[misc]
    with kernel_of(filesystem, runner="threads") as kernel:
        waiting = in_thread(kernel.unlink, "/a")
        filesystem.reached.wait()
        assert kernel.stat("/").st_ino == 1
        assert not waiting.done()
        filesystem.opened.set()
        assert waiting.result() is None


def test_a_signal_reaches_a_call_in_another_thread() -> None:
    filesystem = Gate()
    with kernel_of(filesystem, runner="threads") as kernel:
        process = kernel.process()
        waiting = in_thread(process.unlink, "/a")
        filesystem.reached.wait()
        process.interrupt()
        with pytest.raises(InterruptedError):
            waiting.result()


def test_leaving_frees_whoever_waits() -> None:
    filesystem = Gate()
    with kernel_of(filesystem, runner="threads") as kernel:
        waiting = in_thread(kernel.unlink, "/a")
        filesystem.reached.wait()
    with pytest.raises(ConnectionAbortedError):
        waiting.result()
    assert filesystem.said == ["destroy"]


class Deaf(Gate):
    """Does not hear that it was interrupted."""

    def unlink(self, request: Request, parent: int, name: str) -> None:
        self.reached.set()
        self.opened.wait()


def test_a_method_that_never_returns_keeps_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server, "GRACE", 0.01)
    filesystem = Deaf()
    with kernel_of(filesystem, runner="threads") as kernel:
        waiting = in_thread(kernel.unlink, "/a")
        filesystem.reached.wait()
    with pytest.raises(ConnectionAbortedError):
        waiting.result()
    assert "is still running" in caplog.text
    filesystem.opened.set()  # for the sake of other tests
    for thread in kernel.ends.server.readers:  # type: ignore[union-attr]
        thread.join()  # type: ignore[union-attr]


def interrupted_while_it_waits(filesystem: Deaf) -> fusewire.Kernel:
    """Have Ctrl-C leave a `with` while a method does not return; return the kernel."""
    with suppress(KeyboardInterrupt), kernel_of(filesystem, runner="threads") as kernel:
        in_thread(kernel.unlink, "/a")
        filesystem.reached.wait()
        raise KeyboardInterrupt
    return kernel


def test_after_ctrl_c_a_method_that_never_returns_is_not_waited_for_long(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for module in (server, ends):
        monkeypatch.setattr(module, "HASTE", 0.01)
    filesystem = Deaf()
    begun = time.monotonic()
    kernel = interrupted_while_it_waits(filesystem)
    assert time.monotonic() - begun < GRACE
    assert "is still running" in caplog.text
    filesystem.opened.set()  # for the sake of other tests
    for thread in kernel.ends.server.readers:  # type: ignore[union-attr]
        thread.join()  # type: ignore[union-attr]


def test_a_plain_method_may_use_its_own_kernel() -> None:
    class Looks(Flat):
        threads = 2

        def unlink(self, request: Request, parent: int, name: str) -> None:
            self.said.append(self.kernel.stat("/").st_ino)

    filesystem = Looks()
    with kernel_of(filesystem, runner="threads") as kernel:
        kernel.unlink("/a")
    assert filesystem.said == [1, "destroy"]


def test_a_thousand_calls_of_several_threads_are_all_right() -> None:
    def work(kernel: fusewire.Kernel, name: str) -> None:
        process = kernel.process()
        process.mkdir(f"/{name}")
        for number in range(50):
            fd = process.open(f"/{name}/{number}", os.O_RDWR | os.O_CREAT)
            process.write(fd, name.encode())
            process.close(fd)
        for number in range(50):
            assert kernel.read_bytes(f"/{name}/{number}") == name.encode()
        assert len(process.listdir(f"/{name}")) == 50
        process.exit()

    with fusewire.Kernel(Memory(), runner="threads") as kernel, ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work, kernel, f"thread{number}") for number in range(4)]:
            done.result()
        assert kernel.leaks() == []
        assert not kernel.violations


def test_time_cannot_be_told_to_pass() -> None:
    with fusewire.Kernel(Flat(), runner="threads") as kernel, pytest.raises(RuntimeError, match="passes by itself"):
        kernel.advance(1)
