"""A scene: a mounted filesystem, tasks that use it and serve it, and what may come at any moment.

A *scenario* makes a scene, the same each time, so that a state is reached again by making it anew and
running it in the same order. Set-up is part of it: `Mounted.run` does what has to be done before,
unwatched, such as the answer to INIT.

    tasks      programs and serving threads, in the order in which they run if nothing else decides
    moments    what may come before any step, or never: a signal, an abort, the end of the daemon. Each
               is a task of one step

Tasks that the kernel starts by itself, such as the flusher, join the others.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from fusewire.daemon.filesystem import Filesystem
from fusewire.daemon.negotiation import Limits
from fusewire.daemon.request import Request
from fusewire.daemon.session import Session
from fusewire.daemon.values import Attributes, Entry
from fusewire.embedded.task_daemon import daemon, serve_one
from fusewire.errors import os_error
from fusewire.kernel.connection import Connection
from fusewire.kernel.device import Device
from fusewire.kernel.init import Sysctls
from fusewire.kernel.mounting import mount
from fusewire.kernel.profile import Profile
from fusewire.kernel.syscalls.process import Process
from fusewire.kernel.tasks import Task, close, run
from fusewire.kernel.timeouts import PERIOD
from fusewire.kernel.vfs.credentials import Credentials
from fusewire.kernel.vfs.dentry import Dentry
from fusewire.kernel.vfs.superblock import Options, Superblock
from fusewire.kernel.vfs.system import System

__all__ = [
    "MOMENTS",
    "Mounted",
    "NotThereError",
    "OneDirectory",
    "Scenario",
    "Scene",
    "SetUpError",
    "add_moment",
    "mounted",
]

T = TypeVar("T")

PATIENCE: Final = 4  # times that somebody is made to look once more


class NotThereError(ValueError):
    """A scene has not what was asked for; the text says what it has."""


class SetUpError(Exception):
    """A scene cannot even begin."""


class OneDirectory(Filesystem):
    """A directory of empty files, to be looked up and removed."""

    def __init__(self, *names: str) -> None:
        self.nodeids = {name: nodeid for nodeid, name in enumerate(names, start=2)}
        self.granted = dict.fromkeys(self.nodeids.values(), 0)  # lookups, by nodeid

    def lookup(self, request: Request, parent: int, name: str) -> Entry:
        if name not in self.nodeids:
            raise os_error(errno.ENOENT)
        self.granted[self.nodeids[name]] += 1
        return Entry(self.nodeids[name], Attributes(mode=stat.S_IFREG | 0o644))

    def forget(self, nodeid: int, nlookup: int) -> None:
        self.granted[nodeid] -= nlookup

    def unlink(self, request: Request, parent: int, name: str) -> None:
        if self.nodeids.pop(name, None) is None:
            raise os_error(errno.ENOENT)


class Mounted(NamedTuple):
    """A filesystem, mounted in this process, whose daemon does what it is told."""

    process: Process  # of a program, at the root
    device: Device
    session: Session

    @property
    def system(self) -> System:
        return self.process.system

    @property
    def superblock(self) -> Superblock:
        return self.process.cwd.superblock

    def run(self, call: Coroutine[Any, Any, Any]) -> Any:
        """Run a system call to its end, unwatched, and return what it returned.

        Who sleeps though nobody is left to wake him is made to look once more: what is wrong with the kernel's end
        is to be found by those who look for it, and a lost wake-up must not keep them from it.

        Raises:
            SetUpError: it never returns.
            BaseException: what it raised.
        """
        task = Task("before", call)
        while not task.finished:
            serving = Task("daemon", serve_one(self.device, self.session))
            for _ in range(PATIENCE):
                run([task, serving])
                for each in (task, serving):
                    if each.asleep_on is not None:
                        each.asleep_on.leave(each)
                if task.finished or serving.finished:
                    break
            stuck = not task.finished and not serving.finished
            close([task, serving] if stuck else [serving])
            self.device.readers.pop(serving, None)  # it will read no more
            if stuck:
                raise SetUpError("a call that the scene begins with never returns")
        if isinstance(task.result, BaseException):
            raise task.result
        return task.result

    def file(self, name: str) -> Dentry:
        """Return what the kernel knows by `name` in the root directory."""
        dentry = self.process.cwd.child(os.fsencode(name))
        assert dentry is not None
        return dentry

    def serving(self, threads: int = 1) -> list[Task]:
        """Return the threads of a daemon: each reads, does what it is asked, answers. The last closes the device."""
        self.device.descriptors = threads
        names = ["daemon"] if threads == 1 else [f"daemon {number}" for number in range(1, threads + 1)]
        return [Task(name, daemon(self.device, self.session)) for name in names]


def mounted(
    filesystem: Filesystem, profile: Profile, limits: Limits | None = None, request_timeout: int = 0
) -> Mounted:
    """Mount `filesystem`; INIT is sent, and not answered yet.

    Args:
        limits: what the daemon asks for at INIT.
        request_timeout: seconds after which a request that is not answered aborts the connection; 0 if never.
    """
    system, device = System(), Device()
    sysctls = Sysctls(default_request_timeout=request_timeout) if request_timeout else None
    connection = Connection(profile, clock=system.clock, sysctls=sysctls)
    superblock = mount(system, device, Options(allow_other=True), profile, connection=connection)
    process = Process.new(system, Credentials(), superblock.root, "rm")
    return Mounted(process, device, Session(filesystem, limits=limits or Limits()))


class Beside:
    """The runner of a scene's system: what the kernel starts by itself runs beside the tasks of the scene."""

    def __init__(self, tasks: list[Task]) -> None:
        self.tasks = tasks

    def start(self, task: Task) -> None:
        self.tasks.append(task)

    def do(self, function: Callable[[], T]) -> T:
        return function()


@dataclass(eq=False)
class Scene:
    """Tasks that have yet to run, and what they run on."""

    mounted: Mounted
    tasks: list[Task]
    moments: list[Task] = field(default_factory=list)
    stops: Collection[str] | None = None  # the steps at which others may go on; None: all of them
    at_end: Callable[[], None] | None = None  # a last look, when no task can go on and none is stuck; raises
    put_away: Callable[[], None] | None = None  # ends what is no task
    again: Callable[[], list[Task]] | None = None  # makes the tasks anew, on a mount that is what it was (rewind.py)
    coming: list[tuple[str, str]] = field(default_factory=list)  # which moments, of which tasks

    @classmethod
    def of(cls, mounted: Mounted, tasks: Callable[[], list[Task]]) -> Scene:
        """Make the scene of the tasks that `tasks` makes, and does nothing else."""
        return cls(mounted, tasks(), again=tasks)

    def __post_init__(self) -> None:
        self.system.runner = Beside(self.tasks)  # type: ignore[assignment]  # nobody in a scene asks for more of it

    @property
    def system(self) -> System:
        return self.mounted.system

    @property
    def superblock(self) -> Superblock:
        return self.mounted.superblock

    @property
    def connection(self) -> Connection:
        return self.superblock.connection

    @property
    def devices(self) -> Sequence[Device]:
        return self.connection.devices

    def task(self, name: str) -> Task:
        """Return the task of this name.

        Raises:
            NotThereError: there is none.
        """
        for task in self.tasks:
            if task.name == name:
                return task
        raise NotThereError(f"There is no task '{name}' here, only {', '.join(task.name for task in self.tasks)}.")


Scenario: TypeAlias = Callable[[], Scene]  # makes everything anew, so that a state can be reached again


# What may come at any moment.


async def _kill(scene: Scene, name: str) -> None:
    scene.task(name).kill()


async def _interrupt(scene: Scene, name: str) -> None:
    scene.task(name).interrupt()


async def _abort(scene: Scene, name: str) -> None:
    scene.connection.abort()


async def _close(scene: Scene, name: str) -> None:
    for device in list(scene.devices):
        device.descriptors = min(device.descriptors, 1)
        device.close()


async def _timeout(scene: Scene, name: str) -> None:
    clock = scene.system.clock
    clock.advance(2 * PERIOD)  # type: ignore[attr-defined]  # a scene's clock stands still


MOMENTS: Final[dict[str, Callable[[Scene, str], Coroutine[Any, Any, None]]]] = {
    "kill": _kill,  # a task
    "interrupt": _interrupt,  # a task, by a signal that has a handler
    "abort": _abort,
    "close": _close,  # every descriptor of the device, as when the whole daemon dies
    "timeout": _timeout,  # time passes: requests that may time out do (`request_timeout`)
}


def add_moment(scene: Scene, what: str, name: str = "") -> None:
    """Have `what`, a key of `MOMENTS`, come at any moment, or never; a signal comes to the task of this name.

    Raises:
        NotThereError: there is no such moment, or no such task.
    """
    if what not in MOMENTS:
        raise NotThereError(f"Nothing is called '{what}' that may come, only {', '.join(MOMENTS)}.")
    if what in ("kill", "interrupt"):
        scene.task(name)
    scene.moments.append(Task(f"{what} {name}".strip(), MOMENTS[what](scene, name)))
    scene.coming.append((what, name))
