"""What everything is like between two steps of a run, as plain data for people to look at.

A `State` is names and numbers alone, so that it can be kept for each step, compared with the one
before, and written down (as_json.py). Each of its tables goes from a thing to what there is to say
of it, and things are called what kernel.txt and /proc would call them:

    queues      fc's lists                      "pending": ["UNLINK 4"]
    sleepers    wait queues with a sleeper      "req->waitq of UNLINK 4": ["rm"]
    locks       locks that somebody has         'inode semaphore for "file"': held by rm, awaited by the daemon
    flags       what is true of a thing         "UNLINK 4": ["locked", "interrupted"]
    tasks       all of the scene                "rm": "asleep on req->waitq of UNLINK 4"

This module and held.py are all of diagrams/ that know the kernel's end, and only read it. At the step
that says `[sleep on ...]` a task has joined its queue and runs for a moment more: it counts as asleep.

Not shown: what a file holds, times of attributes, requests in their sender's own hands, which are on
no list before they are queued, and after they have ended.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from fusewire.diagrams.held import (
    Lock,
    cached_pages,
    held_locks,
    lock_tables,
    name_of_lookup,
    names,
    page_runs,
    quoted,
    semaphores,
)
from fusewire.errors import errno_name

if TYPE_CHECKING:
    from fusewire.kernel.connection import Connection
    from fusewire.kernel.request import Request
    from fusewire.kernel.tasks import Task
    from fusewire.kernel.vfs.inode import Inode
    from fusewire.kernel.vfs.page_cache import Page
    from fusewire.kernel.vfs.superblock import Superblock
    from fusewire.kernel.waitq import WaitQueue

__all__ = ["QUEUES", "Lock", "State", "look"]

Table = dict[str, list[str]]

QUEUES: Final = ("unused", "background", "pending", "io", "processing", "interrupts", "forgets")  # in a request's order
ANONYMOUS: Final = "request"  # in the pool, where nothing has been asked yet
SIGNALS: Final = {1: "signal pending", 2: "kill pending"}


@dataclass(frozen=True, slots=True)
class State:
    """What everything is like between two steps."""

    queues: Table  # by the names in `QUEUES`, all of them
    sleepers: Table
    locks: dict[str, Lock]
    flags: Table
    tasks: dict[str, str]  # 'running', 'can go on', 'asleep on ...', 'returned', 'killed', 'failed with ENOENT'


class Watched(Protocol):
    """What is looked at: a mount, and the tasks that use and serve it."""

    @property
    def superblock(self) -> Superblock: ...

    @property
    def tasks(self) -> Sequence[Task]: ...


def look(scene: Watched) -> State:
    """Return what `scene` is like now; changes nothing."""
    superblock = scene.superblock
    return State(
        queues=_queues(superblock.connection),
        sleepers=_sleepers(scene),
        locks=held_locks(superblock, list(_requests(superblock.connection))),
        flags=_table([*_connection_flags(superblock), *_task_flags(scene.tasks)]),
        tasks={task.name: _condition(task, superblock) for task in scene.tasks},
    )


def _table(rows: Iterable[tuple[str, list[str]]]) -> Table:
    """Put together what is said of things of the same name; leave out those of which nothing is."""
    table: Table = {}
    for name, words in rows:
        if words:
            table.setdefault(name, []).extend(words)
    return table


# Queues.


def _queues(connection: Connection) -> Table:
    devices = connection.devices
    lists: tuple[Iterable[object], ...] = (
        [ANONYMOUS for _ in connection.unused],
        connection.background.queue,
        connection.pending,
        [request for device in devices for request in device.io],
        [request for device in devices for request in device.processing.values()],
        connection.interrupts,
        [f"nodeid {nodeid}, nlookup {nlookup}" for nodeid, nlookup in connection.forgets.queue],
    )
    return {name: [str(each) for each in found] for name, found in zip(QUEUES, lists, strict=True)}


def _requests(connection: Connection) -> Iterator[Request]:
    """Every request that is on a list of ours."""
    yield from connection.background.queue
    yield from connection.pending
    for device in connection.devices:
        yield from device.io
        yield from device.processing.values()


# Wait queues.


def _sleepers(scene: Watched) -> Table:
    """Who sleeps where. Those who are no tasks of the scene are found by the queues of the mount."""
    superblock = scene.superblock
    queues = dict.fromkeys(_wait_queues(superblock))
    queues.update(dict.fromkeys(queue for task in scene.tasks if (queue := _asleep_on(task)) is not None))
    return _table((_called(queue, superblock), names(queue.sleepers)) for queue in queues)


def _wait_queues(superblock: Superblock) -> Iterator[WaitQueue]:
    connection = superblock.connection
    yield connection.waitq
    yield connection.blocked_waitq
    made = [request._waitq for request in _requests(connection)]
    made += [lock._waitq for lock in semaphores(superblock)]
    made += [page.waitq for _, page in cached_pages(superblock)]
    made += [table.waitq for table in lock_tables(superblock)]
    yield from (queue for queue in made if queue is not None)
    yield from superblock.looking_up.values()


def _called(queue: WaitQueue, superblock: Superblock) -> str:
    """Return the name of a queue, and whose it is where others have the same."""
    inode = next((inode for inode, page in cached_pages(superblock) if page.waitq is queue), None)
    if inode is not None:
        return f"{queue.name} of {inode.shown}"
    for (parent, name), lookup in superblock.looking_up.items():
        if lookup is queue:
            return name_of_lookup(parent, name)
    about = "" if queue.about is None else str(queue.about)
    return f"{queue.name} of {about}" if about else queue.name


def _asleep_on(task: Task) -> WaitQueue | None:
    """Where `task` sleeps, or is just about to."""
    queue = task.joined
    return queue if queue is not None and task in queue.sleepers else None


# Flags.


def _connection_flags(superblock: Superblock) -> Iterator[tuple[str, list[str]]]:
    connection = superblock.connection
    yield (
        "fc",
        _true(
            connected=connection.connected,
            initialized=connection.initialized,
            refused=connection.refused,
            blocked=connection.background.blocked,
            no_interrupt=connection.no_interrupt,
        ),
    )
    for request in _requests(connection):
        yield str(request), _request_flags(request)
    for inode in superblock.inodes.values():
        yield f"nodeid {inode.nodeid}", _inode_flags(inode)
        yield from ((name, list(words)) for name, _, words in page_runs(inode, _page_flags))


def _true(**facts: bool) -> list[str]:
    """The names of those facts that are true."""
    return [name.replace("__", " ") for name, fact in facts.items() if fact]


def _request_flags(request: Request) -> list[str]:
    stage = request.stage.value
    return _true(
        sent=stage in ("processing", "given up"),
        locked=request.locked,
        interrupted=request.interrupted,
        aborted=stage == "aborted",
        given__up=stage in ("given up", "left"),
        background=request.background,
        force=request.force,
    )


def _inode_flags(inode: Inode) -> list[str]:
    """What the daemon was told to remember of a file, if anything, under which name it is known."""
    if not inode.nlookup:
        return _true(bad=inode.bad)
    name = [] if inode.alias is None else [quoted(inode.alias.name)]
    return [*name, f"nlookup {inode.nlookup}", *_true(bad=inode.bad)]


def _page_flags(page: Page) -> tuple[str, ...]:
    return tuple(_true(locked=page.locked, uptodate=page.uptodate, dirty=page.dirty, writeback=page.writeback))


# Tasks.


def _task_flags(tasks: Iterable[Task]) -> Iterator[tuple[str, list[str]]]:
    """The signals of which a task has yet to take notice."""
    for task in tasks:
        if task.signal and not task.finished:
            yield task.name, [SIGNALS[int(task.signal)]]


def _condition(task: Task, superblock: Superblock) -> str:
    if task.finished:
        return _end(task.result)
    queue = _asleep_on(task)
    if queue is not None:
        return f"asleep on {_called(queue, superblock)}"
    running = inspect.getcoroutinestate(task.coroutine) == inspect.CORO_RUNNING
    return "running" if running else "can go on"


def _end(result: object) -> str:
    """How a task ended whose result is this; only a kill ends it with what is no `Exception`."""
    match result:
        case OSError(errno=int(number)):
            return f"failed with {errno_name(number)}"
        case Exception():
            return f"failed with {type(result).__name__}"
        case BaseException():
            return "killed"
    return "returned"
