"""What a program gets from a kernel is the same whoever runs it: in fixed order, on threads, in an event loop."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias

import pytest

import fusewire
from embedded.filesystems import Flat
from fusewire import Filesystem, Request
from fusewire.embedded import AwaitableKernel
from fusewire.filesystems import Memory

Body: TypeAlias = Callable[[AwaitableKernel], Coroutine[Any, Any, None]]
Run: TypeAlias = Callable[..., None]


def run_plainly(runner: str, filesystem: Filesystem, body: Body, **options: Any) -> None:
    with fusewire.Kernel(filesystem, runner=runner, **options) as kernel:
        kernel.run(body(kernel.awaitable))


def run_in_loop(runner: str, filesystem: Filesystem, body: Body, **options: Any) -> None:
    async def main() -> None:
        async with fusewire.Kernel(filesystem, runner=runner, **options) as kernel:
            await body(kernel)

    asyncio.run(main())


WAYS = {
    "fixed order": (run_plainly, "fixed order"),
    "fixed order, awaited": (run_in_loop, "fixed order"),
    "threads": (run_plainly, "threads"),
    "threads, awaited": (run_in_loop, "threads"),
    "asyncio": (run_in_loop, "asyncio"),
}


@pytest.fixture(params=WAYS)
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine function of a kernel whose calls are awaited."""
    way, runner = WAYS[request.param]
    return lambda filesystem, body, **options: way(runner, filesystem, body, **options)


def test_what_is_written_is_read(run: Run) -> None:
    async def body(kernel: AwaitableKernel) -> None:
        assert await kernel.write_bytes("/a", b"hi" * 100_000) == 200_000
        assert await kernel.read_bytes("/a") == b"hi" * 100_000
        await kernel.write_text("/b", "größer")
        assert await kernel.read_text("/b") == "größer"

    run(Memory(), body)


def test_names_are_made_found_moved_and_removed_as_by_pathlib(run: Run) -> None:
    async def body(kernel: AwaitableKernel) -> None:
        await kernel.mkdir("/d/e", parents=True)
        await kernel.mkdir("/d", exist_ok=True)
        await kernel.touch("/d/x")
        await kernel.symlink_to("/d/l", "x")
        await kernel.hardlink_to("/y", "/d/x")
        assert await kernel.walk("/") == [("/", ["d"], ["y"]), ("/d", ["e"], ["x", "l"]), ("/d/e", [], [])]
        assert await kernel.iterdir("/d") == ["/d/e", "/d/x", "/d/l"]
        kinds = [await kind("/d/l") for kind in (kernel.exists, kernel.is_file, kernel.is_dir, kernel.is_symlink)]
        assert kinds == [True, True, False, True]
        assert (await kernel.readlink("/d/l"), (await kernel.stat("/y")).st_nlink) == ("x", 2)
        await kernel.rename("/d/x", "/d/z")
        assert not await kernel.exists("/d/l")
        await kernel.unlink("/d/x", missing_ok=True)
        await kernel.rmtree("/")
        assert await kernel.listdir() == []

    run(Memory(), body)


def test_errors_are_those_of_linux_and_name_the_path(run: Run) -> None:
    async def body(kernel: AwaitableKernel) -> None:
        for call, code in (
            (kernel.read_bytes("/none"), errno.ENOENT),
            (kernel.mkdir("/d"), errno.EEXIST),
            (kernel.rmdir("/d"), errno.ENOTEMPTY),
            (kernel.touch("/d/f", exist_ok=False), errno.EEXIST),
            (kernel.unlink("/d"), errno.EISDIR),
        ):
            assert await error_of(call) == code
        with pytest.raises(FileNotFoundError) as caught:
            await kernel.stat("/none")
        assert caught.value.filename == "/none"

    async def prepared(kernel: AwaitableKernel) -> None:
        await kernel.mkdir("/d")
        await kernel.touch("/d/f")
        await body(kernel)

    run(Memory(), prepared)


async def error_of(call: Awaitable[Any]) -> int | None:
    try:
        await call
    except OSError as error:
        return error.errno
    return None


def test_processes_have_credentials_a_directory_and_files_of_their_own(run: Run) -> None:
    async def body(kernel: AwaitableKernel) -> None:
        await kernel.mkdir("/home")
        await kernel.chown("/home", 1000, 1000)
        user, other = kernel.process(uid=1000), kernel.process(uid=1001)
        await user.chdir("/home")
        await user.umask(0o077)
        fd = await user.open("mine", os.O_RDWR | os.O_CREAT, 0o666)
        await user.pwrite(fd, b"secret", 0)
        status = await kernel.stat("/home/mine")
        assert (status.st_uid, status.st_mode & 0o777, status.st_size) == (1000, 0o600, 6)
        assert await error_of(other.open("/home/mine", os.O_RDONLY)) == errno.EACCES
        assert await error_of(other.read(fd, 1)) == errno.EBADF
        assert await error_of(kernel.unmount()) == errno.EBUSY
        await user.exit()
        assert [request.name for request in kernel.requests if request.uid == 1000][-1] == "FLUSH"
        assert await kernel.leaks() == []

    run(Memory(), body)


def test_a_file_is_an_object_with_a_position(run: Run) -> None:
    async def body(kernel: AwaitableKernel) -> None:
        async with await kernel.open("/f", "w+b") as file:
            await file.write(b"0123456789")
            assert await file.seek(-4, os.SEEK_END) == 6
            assert await file.read(2) == b"67"
            assert (await file.truncate(), await file.tell()) == (8, 8)
        assert await kernel.read_bytes("/f") == b"01234567"
        assert file.closed

    run(Memory(), body)


class Waits(Flat):
    """Its unlink waits for `asyncio`."""

    async def unlink(self, request: Request, parent: int, name: str) -> None:
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))
        self.said.append(asyncio.current_task() is not None)
        del self.nodeids[name]


def test_methods_may_await_asyncio(run: Run) -> None:
    filesystem = Waits("a", "b")

    async def body(kernel: AwaitableKernel) -> None:
        await kernel.unlink("/a")
        assert not await kernel.exists("/a")

    run(filesystem, body)
    assert filesystem.said == [True, "destroy"]
    assert list(filesystem.nodeids) == ["b"]


class Stats(Flat):
    """Its unlink looks at the root of its own mount."""

    async def unlink(self, request: Request, parent: int, name: str) -> None:
        self.said.append((await self.kernel.stat("/")).st_ino)


def test_async_methods_may_use_their_own_kernel(run: Run) -> None:
    filesystem = Stats()

    async def body(kernel: AwaitableKernel) -> None:
        filesystem.kernel = kernel
        await kernel.unlink("/a")

    run(filesystem, body)
    assert filesystem.said == [1, "destroy"]


def test_every_minor_that_people_run_works(run: Run) -> None:
    for minor in (19, 31, 36, 45):

        async def body(kernel: AwaitableKernel, minor: int = minor) -> None:
            await kernel.write_bytes("/a", b"hi")
            assert await kernel.read_bytes("/a") == b"hi"
            init = kernel.requests[0]
            assert (init.name, init.body.minor) == ("INIT", minor)

        run(Memory(), body, minor=minor)


class Hopeless(Flat):
    """Cannot begin."""

    def init(self) -> None:
        raise PermissionError(errno.EACCES, "no")


def test_a_filesystem_that_cannot_begin_is_not_served(run: Run) -> None:
    async def body(kernel: AwaitableKernel) -> None:
        raise AssertionError("not reached")

    with pytest.raises(PermissionError):
        run(Hopeless(), body)


class Mistaken(Flat):
    """Its unlink has a mistake."""

    def unlink(self, request: Request, parent: int, name: str) -> None:
        raise ZeroDivisionError(name)


def test_a_mistake_in_a_method_is_its_callers_eio(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def body(kernel: AwaitableKernel) -> None:
        assert await error_of(kernel.unlink("/a")) == errno.EIO
        assert await kernel.exists("/a")

    run(Mistaken(), body)
    assert "ZeroDivisionError: a" in caplog.text


class Leaves(Flat):
    """Its unlink calls sys.exit."""

    def unlink(self, request: Request, parent: int, name: str) -> None:
        sys.exit(3)


class LeavesLater(Flat):
    """It does so in a coroutine."""

    async def unlink(self, request: Request, parent: int, name: str) -> None:
        await asyncio.sleep(0)
        sys.exit(3)


@pytest.mark.parametrize("kind", [Leaves, LeavesLater])
def test_a_method_that_would_leave_python_is_mistaken(run: Run, kind: type[Flat]) -> None:
    async def body(kernel: AwaitableKernel) -> None:
        assert await error_of(kernel.unlink("/a")) == errno.EIO
        assert await kernel.exists("/a")

    run(kind(), body)


def test_strict_ends_the_mount_and_raises_the_mistake(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def body(kernel: AwaitableKernel) -> None:
        assert await error_of(kernel.unlink("/a")) in (errno.EIO, errno.ECONNABORTED)

    with pytest.raises(ZeroDivisionError):
        run(Mistaken(), body, strict=True)


def test_after_an_abort_everything_fails_and_all_ends(run: Run) -> None:
    filesystem = Flat()

    async def body(kernel: AwaitableKernel) -> None:
        kernel.control["abort"].write(b"1")
        assert await error_of(kernel.stat("/a")) == errno.ENOTCONN

    run(filesystem, body)
    assert filesystem.said == ["destroy"]


def test_the_daemons_death_ends_the_connection(run: Run) -> None:
    async def body(kernel: AwaitableKernel) -> None:
        kernel.daemon.kill()
        assert not kernel.daemon.alive
        assert await error_of(kernel.stat("/a")) == errno.ENOTCONN

    run(Flat(), body)


def test_unmounted_is_unmounted(run: Run) -> None:
    filesystem = Flat()

    async def body(kernel: AwaitableKernel) -> None:
        await kernel.unmount()
        with pytest.raises(RuntimeError, match="closed, or unmounted"):
            await kernel.stat("/a")

    run(filesystem, body)
    assert filesystem.said == ["destroy"]
