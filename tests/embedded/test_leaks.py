"""`kernel.leaks()`: empty when nothing leaked, and otherwise it says what did."""

from __future__ import annotations

import asyncio
import os
import stat

import pytest

import fusewire
from embedded.filesystems import Flat
from fusewire import Directory, File, Request
from fusewire.filesystems import Memory
from fusewire.kernel.vfs.inode import Inode
from fusewire.kernel.vfs.superblock import Superblock
from watched_mounts import WatchedMount


def test_nothing_leaks_where_all_is_put_away() -> None:
    with fusewire.Kernel(Memory()) as kernel:
        kernel.mkdir("/d/e", parents=True)
        for number in range(100):
            kernel.write_bytes(f"/d/{number}", b"x")
        kernel.process().listdir("/d")
        assert kernel.leaks() == []
        assert set(kernel.superblock.inodes) == {1}
    assert kernel.leaks() == []


def test_a_file_that_stays_open_is_a_handle_not_released() -> None:
    with fusewire.Kernel(Memory()) as kernel:
        process = kernel.process()
        fd = process.open("/a", os.O_RDWR | os.O_CREAT)
        (leak,) = kernel.leaks()
        assert leak.kind == "handle"
        assert repr(leak).startswith(f"<not released: handle 0 of nodeid {leak.nodeid}, opened by <CREATE nodeid=1 'a'")
        process.close(fd)
        assert kernel.leaks() == []


def test_a_directory_that_is_used_is_no_leak() -> None:
    with fusewire.Kernel(Memory()) as kernel:
        kernel.mkdir("/d/e", parents=True)
        process = kernel.process()
        process.chdir("/d/e")
        assert kernel.leaks() == []
        process.exit()
        assert kernel.leaks() == []


def test_a_request_that_nobody_answers_is_named() -> None:
    with fusewire.Kernel(Flat()) as kernel:
        kernel.daemon.hang()
        kernel.begin(kernel.awaitable.stat("/"))
        kernel.run()
        (leak,) = kernel.leaks()
        assert leak.kind == "request"
        assert "not answered: <GETATTR nodeid=1" in repr(leak)


def test_a_kernels_end_that_does_not_forget_is_found_out(
    monkeypatch: pytest.MonkeyPatch, watched: list[WatchedMount]
) -> None:
    def evict(superblock: Superblock, inode: Inode) -> None:
        superblock.inodes.pop(inode.nodeid, None)

    monkeypatch.setattr(Superblock, "evict", evict)
    with fusewire.Kernel(Flat("a")) as kernel:
        watched[-1].wrong = True
        kernel.stat("/a")
        (leak,) = kernel.leaks()
        assert (leak.kind, repr(leak)) == ("lookups", "<not forgotten: 1 of 1 lookups of nodeid 2>")


def test_lookups_that_a_listing_grants_are_counted() -> None:
    class Files(Directory):
        def list(self) -> dict[str, File]:
            return {str(number): File() for number in range(20)}

    with fusewire.Kernel({"d": Files()}) as kernel:
        assert len(kernel.listdir("/d")) == 20
        assert any(request.name == "READDIRPLUS" for request in kernel.requests)
        record = kernel.ends.recorded()
        assert sum(record.ledger.lookups.values()) == 21
        assert kernel.leaks() == []
        assert not record.ledger.lookups


def test_what_the_kernel_refuses_after_it_was_granted_leaks_as_on_linux() -> None:
    class Contradicts(Flat):
        def lookup(self, request: fusewire.Request, parent: int, name: str) -> fusewire.Entry:
            return fusewire.Entry(2, fusewire.Attributes(mode=stat.S_IFREG, ino=2, size=-1 & (1 << 64) - 1))

    with fusewire.Kernel(Contradicts()) as kernel:
        with pytest.raises(OSError, match="Input/output error"):
            kernel.stat("/a")
        assert [leak.kind for leak in kernel.leaks()] == ["lookups"]


def test_a_release_that_takes_its_time_is_waited_for() -> None:
    class Slow(Flat):
        async def release(self, request: Request, nodeid: int, fh: int) -> None:
            await asyncio.sleep(1)

    with fusewire.Kernel(Slow("a")) as kernel:
        process = kernel.process()
        process.close(process.open("/a", os.O_RDONLY))
        before = kernel.system.clock.now()
        assert kernel.leaks() == []
        assert kernel.system.clock.now() - before <= 1  # and no longer than that
        (release,) = (request for request in kernel.requests if request.name == "RELEASE")
        assert (release.error, release.answered) == (0, kernel.system.clock.now())
