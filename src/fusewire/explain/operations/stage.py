"""The stage of an operation: a mount whose daemon waits for requests, and a program.

What is drawn of a request are a few of its steps, in words that say which it is. Its way from queue to
queue is drawn by `fusewire explain unlink`, and here by --all.
"""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from fusewire.daemon.negotiation import Limits
from fusewire.diagrams.columns import Detail
from fusewire.events import Step
from fusewire.explain.director import Director
from fusewire.explain.explanation import Explanation, Options
from fusewire.explain.operations.filesystem import ANSWER_EINTR, ANSWER_ENOSYS, Everything
from fusewire.explain.operations.rows import Operation, beside
from fusewire.explore.scene import Scene, mounted
from fusewire.kernel import Credentials, Process, Task
from fusewire.kernel.syscalls.base import OTHER_NAMES

__all__ = [
    "DETAIL",
    "PROGRAM",
    "Stage",
    "columns",
    "ended_in",
    "explanation",
    "finished",
    "pass_time",
    "set_up",
    "show_flusher",
]

T = TypeVar("T")

PROGRAM: Final = "program"
DAEMON: Final = "FUSE filesystem daemon"
FLUSHER: Final = "The kernel's flusher"
MOST_COLUMNS: Final = 3  # if the daemon's threads would take more, they share one
UNSAID: Final = {"sys_read", "sys_write", "sys_fcntl"}  # what a daemon reads and writes; what of `fcntl` is no argument
SYSCALLS: Final = {f"sys_{OTHER_NAMES.get(name, name)}" for name in dir(Process)} - UNSAID

DETAIL: Final = Detail(
    steps=frozenset(
        {
            Step.QUEUE,
            Step.SLEEP,
            Step.WAKE,
            Step.COPY_OUT,
            Step.PERFORM,
            Step.COPY_IN,
            Step.QUEUE_FORGET,
            Step.TAKE_FORGET,
            Step.QUEUE_INTERRUPT,
            Step.TAKE_INTERRUPT,
            Step.INTERRUPT,
            Step.SIGNAL,
            Step.KILL,
            Step.RESEND,
            Step.ABORT,
            Step.FIND_PAGE,
            Step.LOCK_PAGE,
            Step.TOUCH,
            ANSWER_EINTR,
            ANSWER_ENOSYS,
        }
    ),
    without=frozenset(
        {
            "request_send",
            "request_wait_answer",
            "request_wait",
            "fuse_dev_read",
            "fuse_dev_write",
            "sys_read",  # the daemon's; programs here say where they read and write
            "sys_write",
            "fc->blocked_waitq",
            "fuse_dev_waitq",
            "the flusher's clock",
        }
    ),
    usual=frozenset(
        {
            Step.GET,
            Step.PUT,
            Step.TAKE,
            Step.LOCK,
            Step.UNLOCK,
            Step.READ,
            Step.LOOK_UP,
            Step.MATCH,
            "request_send",
            "request_wait_answer",
            "request_wait",
            "fuse_dev_read",
            "fuse_dev_write",
            "sys_read",
            "sys_write",
        }
    ),
    usually="The way of each request from list to list: --all draws it, and so does 'fusewire explain unlink'.",
    words={
        Step.CALL: ">{name}()",
        **{(Step.CALL, call): ">{name}({detail})" for call in SYSCALLS},
        Step.RETURN: "<{name}() {detail}",
        Step.QUEUE: "[queue {operation} request]",
        Step.QUEUE_FORGET: "[queue FORGET: {detail}]",
        Step.COPY_OUT: "[read {operation} request]",
        Step.PERFORM: "[perform {name}({detail})]",
        Step.COPY_IN: "[write reply]",
        Step.LOCK_PAGE: "[lock {detail}]",
    },
    gaps_before=frozenset({Step.CALL, Step.TOUCH}),
)


@dataclass
class Stage:
    """What an explanation plays with."""

    director: Director
    options: Options
    scene: Scene
    filesystem: Everything
    process: Process
    path: str  # of the file that it is about, as the process sees it

    @property
    def daemons(self) -> list[Task]:
        return [task for task in self.scene.tasks if task.name.startswith("daemon")]

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """Run a system call to its end, unwatched."""
        return self.director.run(call)

    def play(self, call: Coroutine[Any, Any, Any], name: str = PROGRAM, process: Process | None = None) -> Task:
        """Have a program make system calls, watched, as far as it and the daemon get."""
        task = self.director.start(name, call, process or self.process)
        self.director.go_on()
        return task


def set_up(
    director: Director,
    options: Options,
    titles: dict[str, str],
    filesystem: Everything | None = None,
    *,
    limits: Limits | None = None,
    request_timeout: int = 0,
    fuseblk: bool = False,
) -> Stage:
    """Mount `filesystem`, INIT behind it, and have a process of the user who was asked for.

    `titles` are those of the programs' columns, `{path}` or `{other}` in them; the daemon's come after them.
    """
    filesystem = filesystem or Everything()
    mount = mounted(filesystem, options.kernel, limits, request_timeout)
    mount.superblock.options = replace(mount.superblock.options, fuseblk=fuseblk)
    mount.run(mount.process.stat("/"))
    process = Process.new(mount.system, Credentials.of(options.uid, options.uid), mount.superblock.root, PROGRAM)
    scene = director.stage(Scene(mount, mount.serving(options.threads)), columns(titles, options))
    return Stage(director, options, scene, filesystem, process, f"/{options.name}")


def columns(titles: dict[str, str], options: Options) -> dict[str, str]:
    """Return the columns of programs, and of the daemon behind them: task -> title."""
    daemons = _daemons(options.threads, MOST_COLUMNS - len(titles))
    return {name: _title(name, title, options) for name, title in titles.items()} | daemons


def _title(name: str, title: str, options: Options) -> str:
    by = f", uid {options.uid}" if options.uid and name == PROGRAM else ""
    said = title.format(path=options.path, other=beside(options.path), mountpoint=options.mountpoint)
    return f'"{said}"{by}' if said[0].islower() else f"{said}{by}"  # what a user would type is quoted


def _daemons(threads: int, most: int) -> dict[str, str]:
    if threads == 1:
        return {"daemon": DAEMON}
    if threads <= most:
        return {f"daemon {number}": f"daemon, thread {number}" for number in range(1, threads + 1)}
    return {f"daemon {number}": f"daemon, {threads} threads" for number in range(1, threads + 1)}


def explanation(row: Operation, group: str) -> Explanation:
    """Return the explanation of `row`, to be listed under `group`."""

    def play(director: Director, options: Options) -> None:
        stage = set_up(director, options, {PROGRAM: row.command}, row.filesystem(), fuseblk=row.fuseblk)
        got = stage.run(row.before(stage.process, stage.path))
        director.prepare()
        finished(stage.play(row.program(stage.process, stage.path, got)))
        show_flusher(stage)

    return Explanation(row.name, row.summary, play, group, detail=DETAIL, remark=row.remark, profiles=row.profiles)


async def pass_time(stage: Stage, seconds: float) -> None:
    """Let so much time pass at once."""
    stage.scene.system.clock.advance(seconds)  # type: ignore[attr-defined]  # it stands still


def show_flusher(stage: Stage, title: str = FLUSHER) -> None:
    """Give the kernel's flusher a column of its own, before the daemon's: so far it stood in the last."""
    columns = stage.director.recording.columns
    served = {name: columns.pop(name) for name in list(columns) if name.startswith("daemon")}
    flushers = [task.name for task in stage.scene.tasks if task.name.startswith("flusher")]
    columns.update(dict.fromkeys(flushers, title) | served)


def finished(task: Task) -> None:
    """See to it that `task` has come to its end.

    Raises:
        BaseException: what ended it.
        RuntimeError: it has not ended.
    """
    if isinstance(task.result, BaseException):
        raise task.result
    if not task.finished:
        raise RuntimeError(f"{task.name} has not come to its end")


def ended_in(task: Task, error: type[BaseException]) -> None:
    """See to it that `task` has ended in `error`.

    Raises:
        RuntimeError: it has not.
    """
    if not isinstance(task.result, error):
        raise RuntimeError(f"{task.name} did not end in {error.__name__}: {task.result!r}")
