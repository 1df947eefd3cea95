"""Notifications, by who sends them: in a method, after the answer, where it deadlocks. Their effects: both_kernels/."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import threading
from pathlib import Path

import pytest

import fusewire
from clients import finish, python
from fusewire.daemon.device import Device
from fusewire.wire import decode_request, encode_request
from memory_caller import refused
from notes import Folder, Note


class Inside(Folder):
    """Tells the kernel, before it answers an UNLINK, that the name is old: the directory is locked for the UNLINK."""

    def unlink(self, name: str) -> None:
        super().unlink(name)
        fusewire.current_request().notify_now.inval_entry(self, name)


class InsideAsync(Folder):
    """The same, awaited."""

    async def unlink(self, name: str) -> None:  # type: ignore[override]
        super().unlink(name)
        await fusewire.current_request().notify_now.awaitable.inval_entry(self, name)


class Afterwards(Folder):
    """Tells it in a task, whose first step comes after the answer."""

    def __init__(self, **children: fusewire.Node) -> None:
        super().__init__(**children)
        self.told: list[asyncio.Task[bool]] = []

    async def unlink(self, name: str) -> None:  # type: ignore[override]
        super().unlink(name)
        notify = fusewire.current_request().notify_now
        self.told.append(asyncio.create_task(notify.awaitable.inval_entry(self, name)))


class Harmless(Folder):
    """Tells what takes no lock."""

    def unlink(self, name: str) -> None:
        super().unlink(name)
        assert fusewire.current_request().notify_now.inval_attr(self)


def test_in_fixed_order_a_plain_method_is_told_for_whom_it_would_wait() -> None:
    with fusewire.Kernel(Inside(a=Note()), strict=True) as kernel:
        with pytest.raises(fusewire.Deadlock) as caught:
            kernel.unlink("/a")
        text = str(caught.value)
        assert 'daemon sleeps on inode semaphore for "/", until process 100 lets it go on' in text
        assert "process 100 sleeps on req->waitq, until daemon lets it go on" in text
        assert "can go on" not in text.splitlines()[3]
        assert "notify after the answer" in text


def test_an_awaited_one_is_a_deadlock_that_names_the_circle() -> None:
    with fusewire.Kernel(InsideAsync(a=Note())) as kernel:
        with pytest.raises(fusewire.Deadlock) as caught:
            kernel.unlink("/a")
        text = str(caught.value)
        assert "daemon (UNLINK), as kernel sleeps on inode semaphore" in text
        assert "until process 100 lets it go on" in text


def test_what_takes_no_lock_can_be_told_in_any_method() -> None:
    with fusewire.Kernel(Harmless(a=Note()), strict=True) as kernel:
        kernel.unlink("/a")
        assert kernel.leaks() == []


@pytest.mark.parametrize("runner", ["fixed order", "threads"])
def test_after_the_answer_the_directory_is_free(runner: str) -> None:
    folder = Afterwards(a=Note(), b=Note())
    with fusewire.Kernel(folder, runner=runner, strict=True) as kernel:
        kernel.stat("/a")
        kernel.unlink("/a")
        kernel.unlink("/b")
    assert len(folder.told) == 2
    for task in folder.told:
        assert getattr(task.exception(), "errno", errno.ENODEV) == errno.ENODEV  # the kernel may have been faster to go


def test_in_an_event_loop_too() -> None:
    folder = Afterwards(a=Note())

    async def remove() -> None:
        async with fusewire.Kernel(folder) as kernel:
            await kernel.unlink("/a")
            await asyncio.wait(folder.told, timeout=20)
            assert folder.told[0].done()

    asyncio.run(remove())


def test_a_program_tells_an_embedded_kernel_what_is_old() -> None:
    with fusewire.Kernel({"a": b"hi"}, entry_timeout=1000, attr_timeout=1000) as kernel:
        kernel.stat("/a")
        before = len(kernel.requests)
        assert kernel.notify_now.inval_entry(1, "a")
        kernel.stat("/a")
        assert [request.name for request in kernel.requests[before:]] == ["FORGET", "GETATTR", "LOOKUP"]
        assert not kernel.notify_now.inval_entry(1, "b")
    with refused(errno.ENODEV):
        kernel.notify_now.inval_entry(1, "a")


def test_what_no_file_can_take_is_refused_and_noted() -> None:
    with fusewire.Kernel({"a": b"hi"}) as kernel:
        kernel.stat("/")
        with refused(errno.EINVAL):
            kernel.notify_now.store(1, 0, b"x")
        assert [violation.rule for violation in kernel.violations] == [5]
        with refused(errno.ENAMETOOLONG):
            kernel.notify_now.inval_entry(1, "n" * 5000)
        with pytest.raises(ValueError, match="offset=-1, length=0: neither can be negative"):
            kernel.notify_now.inval_inode(1, -1)


def test_a_request_of_no_session_has_no_kernel_to_tell() -> None:
    request = fusewire.Request(decode_request(encode_request("UNLINK", unique=2, nodeid=1, names=(b"a",))))
    with pytest.raises(LookupError, match="received by no session"):
        request.notify_now  # noqa: B018


def test_a_device_that_is_closed_takes_none() -> None:
    reader, writer = os.pipe()
    device = Device(writer, 100)
    device.notify(b"told")
    assert os.read(reader, 10) == b"told"
    device.close()
    with refused(errno.ENODEV):
        device.notify(b"told")
    os.close(reader)


def test_nothing_is_told_before_it_is_mounted(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="nothing is mounted on"):
        fusewire.mount({}, str(tmp_path)).notify_now  # noqa: B018


class Told(Inside):
    """Says when it is about to tell."""

    def __init__(self, **children: fusewire.Node) -> None:
        super().__init__(**children)
        self.telling = threading.Event()

    def unlink(self, name: str) -> None:
        self.telling.set()
        super().unlink(name)


@pytest.mark.kernel
def test_on_linux_it_waits_for_itself_until_an_abort(mountpoint: Path) -> None:
    folder = Told(a=Note())
    with fusewire.mount(folder, str(mountpoint), threads=2, allow_other=os.geteuid() == 0) as mount:
        rm = python("import os, sys; os.unlink(sys.argv[1])", mountpoint / "a")
        assert folder.telling.wait(20)
        with pytest.raises(subprocess.TimeoutExpired):
            rm.wait(0.2)
        mount.abort()
        assert "Software caused connection abort" in finish(rm)[1]


@pytest.mark.kernel
def test_on_linux_an_event_loop_goes_on_while_it_tells(mountpoint: Path) -> None:
    folder = Afterwards(a=Note(), b=Note())

    async def remove_both() -> None:
        async with fusewire.mount(folder, str(mountpoint), allow_other=os.geteuid() == 0) as mount:
            for name in "ab":
                rm = python("import os, sys; os.unlink(sys.argv[1])", mountpoint / name)
                await asyncio.to_thread(finish, rm)
            await asyncio.wait_for(asyncio.gather(*folder.told), 20)
            assert not await mount.notify_now.awaitable.inval_entry(folder, "c")
            assert await mount.notify_now.awaitable.inval_attr(folder)

    asyncio.run(remove_both())
    assert folder.children == {}


@pytest.mark.kernel
def test_on_linux_it_is_told_after_the_answer(mountpoint: Path) -> None:
    folder = Afterwards(a=Note())
    with fusewire.mount(folder, str(mountpoint), strict=True, allow_other=os.geteuid() == 0) as mount:
        finish(python("import os, sys; os.unlink(sys.argv[1])", mountpoint / "a"))
        assert not mount.notify_now.inval_entry(folder, "a")  # returns once the task before it has let go
    assert folder.told[0].done()
