"""Notifications: the daemon tells the kernel something unasked, and what the kernel does differently after it.

Each is played alike: something is cached, the daemon notifies, and a program does again what it had
done. Whoever notifies owes no answer at that moment: the locks that a notification takes may be held by
somebody who waits for one (kernel/notifications.py).
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from fusewire.embedded.task_daemon import write_message
from fusewire.explain.director import Director
from fusewire.explain.explanation import Explanation, Options
from fusewire.explain.operations.rows import HELLO, Before, Program, a_file
from fusewire.explain.operations.stage import DETAIL, PROGRAM, Stage, finished, set_up
from fusewire.kernel import Process
from fusewire.wire import (
    FUSE_ROOT_ID,
    NotifyDeleteOut,
    NotifyInvalEntryOut,
    NotifyInvalInodeOut,
    NotifyPollWakeupOut,
    NotifyPruneOut,
    NotifyRetrieveOut,
    NotifyStoreOut,
    WireStruct,
    encode_notification,
    pack_nodeids,
)

__all__ = ["NOTICES", "Parts", "notify"]

GROUP: Final = "what a daemon says unasked: notifications"
NOTIFIER: Final = "notifier"  # the daemon's thread that does so
NUMBER: Final = 1000  # by which the daemon knows its question again
BYE: Final = b"good-bye all\n"  # as long as HELLO


@dataclass(frozen=True)
class Parts:
    """What a notification is made of."""

    body: WireStruct | None = None
    names: tuple[bytes, ...] = ()
    data: bytes = b""


@dataclass(frozen=True)
class Notice:
    """One notification, explained."""

    name: str
    summary: str
    command: str
    kind: str  # such as 'INVAL_INODE'
    parts: Callable[[Stage], Parts]
    before: Before
    program: Program  # what is done after it
    remark: str


def notify(stage: Stage, kind: str, parts: Parts) -> None:
    """Have a thread of the daemon that owes no answer send a notification, and all go on that can."""
    message = encode_notification(kind, parts.body, parts.names, parts.data)
    recording = stage.director.recording
    recording.columns[NOTIFIER] = recording.titles[-1]
    finished(stage.play(write_message(stage.scene.mounted.device, message), NOTIFIER))


def explanation(notice: Notice) -> Explanation:
    """Return the explanation of `notice`."""

    def play(director: Director, options: Options) -> None:
        stage = set_up(director, options, {PROGRAM: notice.command})
        got = stage.run(notice.before(stage.process, stage.path))
        director.prepare()
        notify(stage, notice.kind, notice.parts(stage))
        finished(stage.play(notice.program(stage.process, stage.path, got)))

    return Explanation(notice.name, notice.summary, play, GROUP, detail=DETAIL, remark=notice.remark)


# What has to be there.


async def a_read_file(process: Process, path: str) -> int:
    """Make a file of which the page cache has all."""
    await a_file(process, path)
    fd = await process.open(path, os.O_RDONLY)
    await process.pread(fd, len(HELLO), 0)
    return fd


async def a_file_that_is_open(process: Process, path: str) -> int:
    """Make a file, and open it, of which nothing is cached."""
    await a_file(process, path)
    return await process.open(path, os.O_RDONLY)


# Programs.


async def read(process: Process, path: str, fd: int) -> None:
    await process.pread(fd, len(HELLO), 0)


async def stat(process: Process, path: str, got: Any) -> None:
    await process.stat(path)


async def nothing(process: Process, path: str, got: Any) -> None:
    """Leave it at that."""


# What is told.


def _nodeid(stage: Stage) -> int:
    return stage.scene.mounted.file(stage.options.name).positive.nodeid


def _name(stage: Stage) -> bytes:
    return os.fsencode(stage.options.name)


def _whole_file(stage: Stage) -> Parts:
    return Parts(NotifyInvalInodeOut(_nodeid(stage)))


def _entry(stage: Stage) -> Parts:
    name = _name(stage)
    return Parts(NotifyInvalEntryOut(FUSE_ROOT_ID, len(name)), (name,))


def _deleted(stage: Stage) -> Parts:
    name = _name(stage)
    return Parts(NotifyDeleteOut(FUSE_ROOT_ID, _nodeid(stage), len(name)), (name,))


def _bytes(stage: Stage) -> Parts:
    return Parts(NotifyStoreOut(_nodeid(stage), 0, len(BYE)), data=BYE)


def _wanted(stage: Stage) -> Parts:
    return Parts(NotifyRetrieveOut(NUMBER, _nodeid(stage), 0, len(HELLO)))


def _unused(stage: Stage) -> Parts:
    return Parts(NotifyPruneOut(1), data=pack_nodeids([_nodeid(stage)]))


def _none(stage: Stage) -> Parts:
    return Parts()


ROWS: Final = (
    Notice(
        "inval_inode",
        "the daemon says that a file's content is old",
        "cat {path}",
        "INVAL_INODE",
        _whole_file,
        a_read_file,
        read,
        "Its pages are dropped, so the read that follows asks the daemon, though it had all in the cache. A page that "
        "is locked is waited for: a daemon that notifies while it owes the READ of that page deadlocks with itself.",
    ),
    Notice(
        "inval_entry",
        "the daemon says that a name is old",
        "stat {path}",
        "INVAL_ENTRY",
        _entry,
        a_file,
        stat,
        "The next who meets the name has it looked up. It takes the directory's semaphore (--all), which whoever waits "
        "for a LOOKUP, a CREATE or an UNLINK there holds: notify from a thread that owes no answer.",
    ),
    Notice(
        "delete",
        "the daemon says that a file is gone",
        "stat {path}",
        "DELETE",
        _deleted,
        a_file,
        stat,
        "As INVAL_ENTRY, but the kernel takes the file for removed, and tells who watches it. Here the daemon still "
        "has it, so the next LOOKUP finds it again.",
    ),
    Notice(
        "inc_epoch",
        "the daemon says that all names are old",
        "stat {path}",
        "INC_EPOCH",
        _none,
        a_file,
        stat,
        "One message for a whole tree, for instance one whose snapshot has changed: each name is looked up anew when "
        "it is next met.",
    ),
    Notice(
        "prune",
        "the daemon wants to be rid of a file",
        "Nobody uses {path}",
        "PRUNE",
        _unused,
        a_file,
        nothing,
        "What nobody uses is forgotten at once, and FORGETs follow; what is in use stays. So a daemon with too many "
        "nodes need not wait until the kernel lacks memory.",
    ),
    Notice(
        "store",
        "the daemon puts bytes into the page cache",
        "cat {path}",
        "STORE",
        _bytes,
        a_file_that_is_open,
        read,
        "The bytes that are told stand in the page cache: the read that follows finds them, and asks nothing.",
    ),
    Notice(
        "notify_reply",
        "the daemon wants bytes of the page cache back",
        "Nobody does anything",
        "RETRIEVE",
        _wanted,
        a_read_file,
        nothing,
        "A RETRIEVE is answered by a request, NOTIFY_REPLY, that is itself not answered: what is cached and up to "
        "date, up to the first gap.",
    ),
)


# poll: a program that waits for a file to be ready, which only a notification can tell it.


def play_poll_wakeup(director: Director, options: Options) -> None:
    stage = set_up(director, options, {PROGRAM: "Program: poll {path}"})
    fd = stage.run(a_file_that_is_open(stage.process, stage.path))
    stage.filesystem.ready = False
    director.prepare()
    polling = stage.play(stage.process.poll([(fd, select.POLLIN)]))
    director.say("Now there is something to read.")
    stage.filesystem.ready = True
    notify(stage, "POLL", Parts(NotifyPollWakeupOut(stage.filesystem.polled)))
    finished(polling)


# invalidate: content and name of one file, one after the other.


def play_invalidate(director: Director, options: Options) -> None:
    stage = set_up(director, options, {PROGRAM: "cat {path}"})
    fd = stage.run(a_read_file(stage.process, stage.path))
    director.prepare()
    director.say("All of the file is cached, and its content changes behind the kernel's back.")
    notify(stage, "INVAL_INODE", _whole_file(stage))
    finished(stage.play(read(stage.process, stage.path, fd)))
    director.say("Its name is old, too: somebody else has renamed it.")
    notify(stage, "INVAL_ENTRY", _entry(stage))
    finished(stage.play(stat(stage.process, stage.path, fd)))


NOTICES: Final = (
    Explanation(
        "invalidate",
        "what the kernel keeps is old: content, and a name",
        play_invalidate,
        GROUP,
        detail=DETAIL,
        remark="Two notifications, of which either has something asked for anew that was cached. Both take locks that "
        "somebody may hold who waits for an answer of this daemon: notify from a thread that owes none.",
    ),
    *map(explanation, ROWS),
    Explanation(
        "poll-wakeup",
        "wait until a file is ready",
        play_poll_wakeup,
        GROUP,
        detail=DETAIL,
        remark="The first POLL says that it is not ready; with its flag SCHEDULE_NOTIFY it has asked to be told when "
        "that changes. The notification does not say what is ready: it wakes who waits, and he asks again.",
    ),
)
