"""The last paragraph of kernel.txt: the copy that must not be interrupted, and what `req->locked` delays.

A daemon writes a reply of two pages from its own memory. The copy goes page by page:

    [get_user_pages()]            the next page is faulted in; the request is not locked
    [set req->locked]
    [copy a page of it to req]    the request's memory is written to, and must be there
    [clear req->locked]

An interruption comes before the copy, while a page is faulted in, in the middle of a page, and
afterwards. In 2005 it is the kill of the one who waits; today a kill interrupts nothing that the daemon has
read, and what does is the abort of the connection.
"""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Callable
from typing import Final, NamedTuple

from fusewire.daemon.filesystem import Filesystem
from fusewire.daemon.negotiation import Limits
from fusewire.daemon.request import Request
from fusewire.daemon.session import Call
from fusewire.daemon.values import Attributes, Entry, OpenFile
from fusewire.diagrams.columns import Detail
from fusewire.embedded.task_daemon import read_message, signals_taken
from fusewire.events import Step, named
from fusewire.explain.director import ADMINISTRATOR, Director
from fusewire.explain.explanation import SEED, Explanation, Options
from fusewire.explain.seed.unlink import TODAY
from fusewire.explore.scene import Mounted, Scene, mounted
from fusewire.kernel.device import Device
from fusewire.kernel.tasks import Task
from fusewire.kernel.user_memory import UserBuffer
from fusewire.kernel.vfs.credentials import Credentials
from fusewire.wire import OutHeader

__all__ = ["LOCKED_COPY"]

PAGE: Final = 4096
PAGES: Final = 2  # of the reply, after its header
FILE: Final = 2  # its nodeid

DETAIL: Final = Detail(
    steps=frozenset(
        {
            Step.SLEEP,
            Step.INTERRUPT,
            Step.QUEUE_INTERRUPT,
            Step.LOOK_UP,
            Step.MATCH,
            Step.LOCK,
            Step.UNLOCK,
            Step.FAULT,
            Step.COPY_IN,
            Step.COPY_PAGE,
            Step.WAKE,
            Step.KILL,
            Step.ABORT,
        }
    ),
    calls=frozenset({"sys_pread", "sys_write"}),
    queues=frozenset({"req->waitq"}),
    words={
        (Step.RETURN, "sys_pread"): "<{name}() {detail}",
        (Step.RETURN, "sys_write"): "<{name}() {detail}",
    },
    gaps_before=frozenset(),
    first=Detail(
        steps=frozenset({Step.SLEEP, Step.READ}),
        calls=frozenset({"sys_pread", "sys_write"}),
        queues=frozenset({"req->waitq"}),
        gaps_before=frozenset(),
    ),
    until=frozenset({Step.FAULT, Step.KILL, Step.ABORT}),
)


class PastTheCache(Filesystem):
    """One file, which is read past the page cache."""

    def __init__(self, name: str) -> None:
        self.name = name

    def lookup(self, request: Request, parent: int, name: str) -> Entry:
        return Entry(FILE, Attributes(mode=stat.S_IFREG | 0o644, size=PAGES * PAGE))

    def open(self, request: Request, nodeid: int, flags: int) -> OpenFile:
        return OpenFile(fh=7, direct_io=True)

    def read(self, request: Request, nodeid: int, fh: int, offset: int, size: int) -> bytes:
        raise AssertionError("it is answered from memory")


async def answer_from_memory(mount: Mounted, address: int) -> None:
    """Read one request, and answer it with the pages at `address`, before which there is room for a header."""
    message = await read_message(mount.device, mount.session.limits.buffer_size)
    call = mount.session.receive(message)
    assert isinstance(call, Call)
    length, start = OutHeader.SIZE + PAGES * PAGE, address - OutHeader.SIZE
    await mount.process.store(start, OutHeader(length, 0, call.request.unique).pack())
    await _write(mount.device, mount.process.buffer(start, length))


@named("sys_write")
async def _write(device: Device, message: UserBuffer) -> None:
    with signals_taken():
        await device.write(message)


# The moments.


def before(director: Director, cat: Task, daemon: Task) -> None:
    """Have the request read, and nothing of the answer written."""
    director.until(daemon, Step.READ)


def between(director: Director, cat: Task, daemon: Task) -> None:
    """Have the writer at its first page after the header."""
    director.until(daemon, Step.UNLOCK)
    director.until(daemon, Step.UNLOCK)


def during(director: Director, cat: Task, daemon: Task) -> None:
    """Have the writer in the middle of that page."""
    director.until(daemon, Step.COPY_PAGE)


def after(director: Director, cat: Task, daemon: Task) -> None:
    """Have the reply written."""
    director.until(daemon, Step.RETURN, "sys_write")


class Act(NamedTuple):
    """One interruption, and what is said of it when it comes, and when everybody goes on."""

    heading: str
    moment: Callable[[Director, Task, Task], None]
    comes: Callable[[Director, Task], None]
    now: str
    then: str = ""


def killed(director: Director, cat: Task) -> None:
    director.kill(cat)


def aborted(director: Director, cat: Task) -> None:
    director.abort()


OF_2005: Final = (
    Act(
        "Killed before the copy",
        before,
        killed,
        "The request is with the daemon. cat is killed, and goes.",
        "The reply comes to a request that nobody waits for: ENOENT.",
    ),
    Act(
        "Killed while a page of the writer's buffer is faulted in",
        between,
        killed,
        "The request is not locked: cat is killed, and goes at once. Its memory is no longer there.",
        "The writer has its page now, finds that nobody waits any more, and copies nothing: ENOENT.",
    ),
    Act(
        "Killed during the copy",
        during,
        killed,
        "The request is locked. cat is killed, and has to wait: the copy goes to its memory.",
        "At the end of the page the request is unlocked, and cat is woken. The writer copies no other page: ENOENT.",
    ),
    Act(
        "Killed after the copy",
        after,
        killed,
        "The request has ended: cat has its answer, and dies of the signal when it returns to its program.",
    ),
)
OF_TODAY: Final = (
    Act(
        "Killed before the copy",
        before,
        killed,
        "The request is with the daemon. cat is killed, and stays: the daemon is only asked to hurry.",
        "The reply comes, and cat dies of the signal when it returns to its program. An INTERRUPT that nobody has read "
        "is withdrawn.",
    ),
    Act(
        "Killed during the copy",
        during,
        killed,
        "The request is on its way back: the daemon is not even asked to hurry. cat sleeps on.",
        "The copy goes on as if nothing had happened.",
    ),
    Act(
        "Aborted before the copy",
        before,
        aborted,
        "The request is with the daemon. It is ended at once.",
        "The reply comes too late: ENOENT.",
    ),
    Act(
        "Aborted while a page of the writer's buffer is faulted in",
        between,
        aborted,
        "The request is not locked: it is ended at once, though its copier is still at the fault.",
        "The writer has its page now, finds the request ended, and copies nothing: ENOENT.",
    ),
    Act(
        "Aborted during the copy",
        during,
        aborted,
        "The request is locked: the abort only marks it, and leaves it to its copier. cat sleeps on.",
        "At the end of the page the copier sees the mark, ends the request and copies no other page: ENOENT.",
    ),
    Act(
        "Aborted after the copy",
        after,
        aborted,
        "The request has ended, and cat has its answer. Only what comes later fails.",
    ),
)


def play(director: Director, options: Options) -> None:
    for act in OF_2005 if options.of_2005 else OF_TODAY:
        director.heading(act.heading)
        cat = into_copy(director, options, act)
        director.say(act.now)
        act.comes(director, cat)
        director.go_on(cat)
        if act.then:
            director.say(act.then)
        director.go_on()
        director.end()
    director.say(SAME_THEN if options.of_2005 else WHAT_CHANGED)


def into_copy(director: Director, options: Options, act: Act) -> Task:
    """Have cat wait for its answer, and the daemon on its way to it at the moment of `act`; return cat."""
    mount = mounted(PastTheCache(options.name), options.kernel, Limits(max_readahead=0))
    mount.process.credentials = Credentials.of(options.uid, options.uid)
    fd = mount.run(mount.process.open(f"/{options.name}", os.O_RDONLY))
    memory = mount.run(mount.process.mmap(-1, (PAGES + 1) * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    mount.run(mount.process.store(memory.address, bytes((PAGES + 1) * PAGE)))
    cat = Task("cat", mount.process.pread(fd, PAGES * PAGE, 0))
    daemon = Task("daemon", answer_from_memory(mount, memory.address + PAGE))
    columns = {"cat": f'"cat {options.path}"', "daemon": "FUSE filesystem daemon"}
    if not options.of_2005:
        columns[ADMINISTRATOR] = ADMINISTRATOR
    director.stage(Scene(mount, [cat, daemon]), columns)
    director.prepare(daemon)
    director.go_on(cat)
    act.moment(director, cat, daemon)
    return cat


SAME_THEN: Final = (
    "So a kill is delayed by one page at most, and never comes while the memory of the one who is killed is written "
    "to. What an abort finds is the same in both profiles."
)
WHAT_CHANGED: Final = (
    "What is different today, and why: a killed process does not leave a request that the daemon has read, so there is "
    "no kill to be delayed. What can still take a request away from under its copier is an abort, or the end of the "
    "daemon, and that is what `req->locked` delays, by one page at most."
)

LOCKED_COPY: Final = Explanation(
    name="locked-copy",
    summary="what comes before, during and after the copy of a reply",
    play=play,
    group=SEED,
    detail=DETAIL,
    today=TODAY,
    profile="seed2005",
)
