"""A scene of somebody's own filesystem: programs that use it, and the daemon that serves it.

The daemon is that of the embedded kernel in fixed order (embedded/task_server.py): each of its threads reads,
runs a `def` method to its end, answers; an `async def` is left to itself at its first `await`, and goes on in
an event loop (event_loop.py). So methods meet at every `await`, however many threads there are.

Programs are tasks of processes of their own. What is wrong with a run is raised as a `Failure`: in the step
in which a program, or a method, raises it; or in the end, when a program has never come to its own, or the
last look (`after`) finds what should not be.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import inspect
import os
import re
import traceback
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import fusewire
from fusewire.embedded.daemon_device import Stall
from fusewire.embedded.plan import kernel_options
from fusewire.embedded.task_server import TaskServer
from fusewire.events import Step
from fusewire.explore.event_loop import TURN
from fusewire.explore.own_daemon import OwnNotifications, OwnRunner
from fusewire.explore.scene import Mounted, Scene, add_moment
from fusewire.explore.stuck import why
from fusewire.kernel.connection import Connection
from fusewire.kernel.device import Device
from fusewire.kernel.mounting import mount
from fusewire.kernel.profile import Profile
from fusewire.kernel.syscalls.process import Process
from fusewire.kernel.tasks import Killed, Task, close, run, step
from fusewire.kernel.vfs.credentials import Credentials
from fusewire.kernel.vfs.system import System
from fusewire.mounting import MountOptions
from fusewire.served import Served, as_filesystem, new_session, options_for

__all__ = ["Failure", "OwnFilesystem", "Program"]

T = TypeVar("T")

Program = Callable[..., Coroutine[Any, Any, Any]]  # (process), or (process, filesystem)

NOT_HIS: Final = tuple(f"{Path(inspect.getfile(ours)).parent}{os.sep}" for ours in (fusewire, asyncio))  # code
ADDRESS: Final = re.compile(r" at 0x[0-9a-f]+")  # in a text that is otherwise the same in each run
CALL: Final = "[next system call]"
STOPS: Final = frozenset({CALL, str(Step.ACQUIRE), str(Step.LOCK_PAGE), TURN})
STOPS_OF_THREADS: Final = STOPS | {str(Step.READ), str(Step.LOCK)}  # one may read before another, and answer after it
ENDED: Final = frozenset({errno.ECONNABORTED, errno.ENOTCONN, errno.ENODEV, errno.EINTR, errno.EIO})  # by a moment


class Failure(AssertionError):
    """Something that a program, a method or the last look raised. Its text says who, what and where."""

    kind = "failure"  # of what is found


@dataclass(frozen=True)
class OwnFilesystem:
    """What a scene is made of, again and again: call it to make one."""

    filesystem: Callable[[], Served]
    programs: Mapping[str, Program]
    threads: int
    profile: Profile
    before: Program | None = None  # runs first, and is not explored
    after: Program | None = None  # has a last look, when all is at rest
    moments: tuple[str, ...] = ()  # 'abort', 'kill NAME'...
    every_step: bool = False  # of the kernel's end
    options: MountOptions = field(default_factory=lambda: MountOptions(allow_other=True))

    def __call__(self) -> Scene:
        served = self.filesystem()
        scene = Scene(self._mounted(served), [])
        made = Own(self, served, scene)
        try:
            made.prepare()
            for moment in self.moments:
                what, _, name = moment.partition(" ")
                add_moment(scene, what, name)
        except BaseException:
            close(scene.tasks)
            made.runner.put_away()
            raise
        return scene

    def _mounted(self, served: Served) -> Mounted:
        filesystem = as_filesystem(served)
        options = options_for(filesystem, self.options, {})
        system, device = System(), Device()
        mounting = kernel_options(options, filesystem.root_type)
        connection = Connection(self.profile, clock=system.clock)
        superblock = mount(system, device, mounting, self.profile, connection=connection)
        process = Process.new(system, Credentials(), superblock.root, "before")
        process.umask_ = 0
        return Mounted(process, device, new_session(filesystem, options))


class Own:
    """One scene, as it is made, and as it ends."""

    def __init__(self, plan: OwnFilesystem, served: Served, scene: Scene) -> None:
        self.plan = plan
        self.served = served
        self.scene = scene
        self.process = scene.mounted.process
        runner = self.runner = OwnRunner(scene)
        scene.system.runner = runner  # type: ignore[assignment]  # nobody in a scene asks for more of it
        session, device = scene.mounted.session, scene.mounted.device
        session.notify_now.device = OwnNotifications(runner, device)
        self.server = TaskServer(session, device, plan.threads, Stall(), runner, fail)  # type: ignore[arg-type]

    def prepare(self) -> None:
        """Have INIT answered and `before` run to its end, and put the programs in their places."""
        scene, readers = self.scene, self.server.readers
        scene.tasks += readers
        if self.plan.before is not None:
            self._run("before", self.plan.before)
        else:
            run(scene.tasks)
        programs = [self._program(name, program) for name, program in self.plan.programs.items()]
        scene.tasks[:] = [*programs, *(task for task in scene.tasks if not task.finished)]
        scene.at_end, scene.put_away = self.at_end, self.runner.put_away
        scene.stops = None if self.plan.every_step else STOPS if self.plan.threads == 1 else STOPS_OF_THREADS

    def _run(self, name: str, program: Program) -> None:
        """Run a program beside everything else that can go on."""
        task = Task(name, watched(name, program, self.process, self.served), self.process)
        tasks = [task, *self.scene.tasks]
        while self._go_on(tasks):
            tasks = [task, *self.scene.tasks]  # some may have been started meanwhile
        if not task.finished:
            raise Failure(f"{name} never ends: {why(self.scene, task)}")
        if isinstance(task.result, BaseException):
            raise Failure(f"{name} failed: {task.result}")

    def _go_on(self, tasks: list[Task]) -> bool:
        """Run `tasks` as far as they can; return whether others can go on."""
        run(tasks)
        return any(task.ready for task in self.scene.tasks)

    def _program(self, name: str, program: Program) -> Task:
        process = ProgramProcess.new(self.scene.system, Credentials(), self.scene.superblock.root, name)
        process.umask_ = 0
        return Task(name, watched(name, program, process, self.served, bool(self.plan.moments)), process)

    def at_end(self) -> None:
        """Have the last look, when no task can go on.

        Raises:
            Failure: a program never ended; or what is raised by `after`.
        """
        for task in self.scene.tasks[: len(self.plan.programs)]:
            if not task.finished:
                raise Failure(f"{task.name} never ends: {why(self.scene, task)}")
        if self.plan.after is not None and self.scene.connection.connected:
            self._run("after", self.plan.after)


class ProgramProcess(Process):
    """A process before each of whose calls others may go on: what the kernel has cached it tells without any step."""


def with_a_stop(function: Callable[..., Coroutine[Any, Any, T]]) -> Callable[..., Coroutine[Any, Any, T]]:
    """Make a system call one that can be held up before it begins."""

    @functools.wraps(function)
    async def called(*args: Any, **kwargs: Any) -> T:
        await step(CALL)
        return await function(*args, **kwargs)

    return called


for name, function in inspect.getmembers(Process, inspect.iscoroutinefunction):
    if not name.startswith("_"):
        setattr(ProgramProcess, name, with_a_stop(function))


async def watched(name: str, program: Program, process: Process, served: Served, excused: bool = False) -> Any:
    """Run a program; what it raises is a failure, unless it is excused since something may have ended its calls."""
    try:
        return await given(program, process, served)
    except Killed:
        raise
    except Exception as error:
        if excused and isinstance(error, OSError) and error.errno in ENDED:
            raise
        raise failure(name, error) from error


def given(program: Program, process: Process, served: Served) -> Coroutine[Any, Any, Any]:
    """Call a program with what it takes."""
    takes_both = len(inspect.signature(program).parameters) > 1
    return program(process, served) if takes_both else program(process)


def fail(error: BaseException) -> None:
    """A method raised what is no OSError."""
    raise failure("the filesystem", error) from error


def failure(name: str, error: BaseException) -> Failure:
    """Say who raised what, and where in his own code that was."""
    text = str(error)
    if isinstance(error, AssertionError):
        text = text.partition("\n")[0]  # what pytest adds below
    what = f"{type(error).__name__}: {ADDRESS.sub('', text)}" if text else type(error).__name__
    if isinstance(error, RuntimeError) and text == "no running event loop":
        what += " (a program awaits the calls of its process, and nothing else)"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(NOT_HIS)]
    if not frames:
        return Failure(f"{name} raised {what}")
    last = frames[-1]
    return Failure(
        f"{name} raised {what}, at {last.name}, line {last.lineno}" + (f": {last.line}" if last.line else "")
    )
