"""What the page cache asks for by itself: reading ahead, writing back, page faults, and how much of it at once."""

from __future__ import annotations

import mmap
import os
from dataclasses import replace
from typing import ClassVar, Final

from fusewire.daemon.negotiation import Limits
from fusewire.events import Step, note
from fusewire.explain.director import Director
from fusewire.explain.explanation import Explanation, Options
from fusewire.explain.operations.filesystem import Everything
from fusewire.explain.operations.rows import a_file
from fusewire.explain.operations.stage import DETAIL, PROGRAM, Stage, finished, pass_time, set_up, show_flusher
from fusewire.kernel import Process
from fusewire.wire import InitFlags

__all__ = ["CACHING"]

GROUP: Final = "what the page cache does by itself"
PAGE: Final = 4096  # bytes
CLOCK: Final = "flusher's clock"  # the task that lets it strike
OLD: Final = 40.0  # seconds, after which no page is still dirty
DETAIL_OF_BACKGROUND: Final = replace(
    DETAIL,
    steps=(DETAIL.steps or frozenset()) | {Step.QUEUE_BACKGROUND, Step.TAKE_BACKGROUND},
    without=DETAIL.without - {"fc->blocked_waitq"},
)


class WrittenBack(Everything):
    """A filesystem that leaves it to the kernel when it is told of what was written."""

    init_flags: ClassVar[int] = Everything.init_flags | InitFlags.FUSE_WRITEBACK_CACHE


def open_with_pages(stage: Stage, pages: int) -> int:
    """Make a file of so many pages, of which nothing is cached, and open it; then let the daemon wait."""
    stage.run(a_file(stage.process, stage.path, bytes(pages * PAGE)))
    fd = stage.run(stage.process.open(stage.path, os.O_RDONLY))
    stage.director.prepare()
    return fd


# Reading ahead.


def play_readahead(director: Director, options: Options) -> None:
    stage = set_up(director, options, {PROGRAM: "cat {path}"})
    fd = open_with_pages(stage, 64)
    finished(stage.play(read_on(stage.process, fd)))


async def read_on(process: Process, fd: int) -> None:
    """Read page by page, until one more READ has been sent."""
    for page in range(3):
        await process.pread(fd, PAGE, page * PAGE)


# Many at once.


def play_background(director: Director, options: Options) -> None:
    limits = Limits(max_write=PAGE, max_background=2, congestion_threshold=100)
    stage = set_up(director, options, {PROGRAM: "cat {path}"}, limits=limits)
    fd = open_with_pages(stage, 3)
    finished(stage.play(stage.process.pread(fd, 3 * PAGE, 0)))


# Writing back.


def play_writeback(director: Director, options: Options) -> None:
    director.heading("Two writes, and fsync")
    stage, fd = ready_to_write(director, options)
    finished(stage.play(write_twice(stage.process, fd)))
    finished(stage.play(stage.process.fsync(fd)))
    director.heading("A write, and nobody asks for more")
    stage, fd = ready_to_write(director, options)
    finished(stage.play(stage.process.pwrite(fd, b"HELLO", 0)))
    director.say("Half a minute later (dirty_expire_centisecs).")
    director.perform(pass_time(stage, OLD), CLOCK)
    director.go_on()
    show_flusher(stage)


def ready_to_write(director: Director, options: Options) -> tuple[Stage, int]:
    """Open a file of which nothing is cached; that it has no capabilities is known."""
    stage = set_up(director, options, {PROGRAM: "Program: write to {path}"}, WrittenBack())
    process = stage.process
    stage.run(a_file(process, stage.path))
    fd = stage.run(process.open(stage.path, os.O_RDWR))
    stage.run(process.pwrite(fd, b"hello", 0))
    stage.run(process.fsync(fd))
    stage.run(process.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED))
    director.prepare()
    return stage, fd


async def write_twice(process: Process, fd: int) -> None:
    await process.pwrite(fd, b"HELLO", 0)
    await process.pwrite(fd, b"WORLD", 7)


# Page faults.


def play_page_fault(director: Director, options: Options) -> None:
    stage = set_up(director, options, {PROGRAM: "Program: use mapped memory"})
    fd = open_with_pages(stage, 1)
    mapping = stage.run(stage.process.mmap(fd, PAGE, mmap.PROT_READ, mmap.MAP_SHARED))
    finished(stage.play(touch_twice(stage.process, mapping.address)))


async def touch_twice(process: Process, address: int) -> None:
    for _ in range(2):
        note(Step.TOUCH, "addr")
        await process.load(address, 1)


CACHING: Final = (
    Explanation(
        "readahead",
        "what is read before anybody asks for it",
        play_readahead,
        GROUP,
        detail=DETAIL,
        remark="Who reads a file from its beginning will read on: the first READ is of four pages. The second read "
        "finds its page, and comes to a mark there; so the next READ, of eight pages, goes out before anybody has to "
        "wait for it. Each window is twice as large as the last, up to max_readahead.",
    ),
    Explanation(
        "background",
        "how many requests may be under way that nobody waits for",
        play_background,
        GROUP,
        detail=DETAIL_OF_BACKGROUND,
        profiles=("linux",),
        remark="max_background is 2 here, and a READ of one page at most, so that readahead wants three. Whoever would "
        "make the third sleeps on fc->blocked_waitq until one of the two is answered. RELEASE and the WRITEs of dirty "
        "pages do not sleep there, but wait on fc->bg_queue.",
    ),
    Explanation(
        "writeback",
        "write into the page cache, and tell the daemon later",
        play_writeback,
        GROUP,
        detail=DETAIL,
        remark="With WRITEBACK_CACHE a write only makes a page dirty, and asks nothing, but for the page itself if it "
        "is not there and not all of it is written. fsync sends what is dirty, two writes in one WRITE here, waits for "
        "the answer, and then sends FSYNC. close does so too, before its FLUSH; else the flusher comes, and "
        "the next fsync or close tells of his errors.",
    ),
    Explanation(
        "page-fault",
        "a program touches memory that is a file",
        play_page_fault,
        GROUP,
        detail=replace(DETAIL, gaps_before=frozenset({Step.TOUCH})),
        remark="There is no system call: the processor finds no page at that address. The second time it does. Who "
        "touches memory does not expect to wait for a daemon; 'tricky-deadlock' shows what comes of that if it is "
        "the daemon itself.",
    ),
)
