"""Directing a scene: who goes on when, what comes between, and what of it is recorded.

    prepare   something runs that the diagram takes for granted
    go_on     tasks run until none of them can go on
    until     one task runs, and whoever must, up to a step
    kill, interrupt, abort, unmount
    say, heading, deadlock, end

A director decides about order and says sentences. What is drawn is what the kernel's end, the daemon's
and the programs of the scene say that they do.

In this process a mount stands at the root of its kernel. Diagrams are about a mount at a directory,
`mountpoint`, so paths are recorded as they are from there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import fields, replace
from typing import Any, Final, TypeVar

from fusewire.diagrams.recording import Recording
from fusewire.diagrams.state import State, look
from fusewire.events import Event, Step, failure, named
from fusewire.explore.scene import Scene
from fusewire.explore.stuck import ending, in_words
from fusewire.kernel.mounting import MNT_FORCE, umount
from fusewire.kernel.syscalls.process import Process
from fusewire.kernel.tasks import Killed, Task, close, run
from fusewire.kernel.user_memory import BusError, MemoryFault
from fusewire.kernel.vfs.superblock import Superblock

__all__ = ["ADMINISTRATOR", "Director"]

T = TypeVar("T")

ADMINISTRATOR: Final = "administrator"  # the task that aborts and unmounts
IN_MOUNT: Final = re.compile(r'(?<=")/([^"]*)(?=")')  # a path, quoted


class _Reached(Exception):
    """The step has been reached up to which somebody was to run."""


class Director:
    """Plays one explanation, of one scene or several in turn."""

    def __init__(self, title: str, mountpoint: str = "/mnt/fuse") -> None:
        self.recording = Recording(title, {})
        self.mountpoint = mountpoint
        self.scene: Scene
        self._scenes: list[Scene] = []
        self._seen: set[tuple[str, str]] = set()  # (task, step) while `until` waits for one

    # Setting up.

    def stage(self, scene: Scene, columns: dict[str, str]) -> Scene:
        """Put `scene` up, whose tasks stand in `columns` (task -> title); what was up before is left as it is."""
        self.recording.columns.update(columns)
        self.scene = scene
        self._scenes.append(scene)
        return scene

    def task(self, name: str) -> Task:
        return self.scene.task(name)

    def start(self, name: str, call: Coroutine[Any, None, Any], process: Process | None = None) -> Task:
        """Have one more task in the scene, which begins with the next `go_on`."""
        task = Task(name, call, process)
        self.scene.tasks.append(task)
        return task

    def prepare(self, *tasks: Task) -> None:
        """Run `tasks`, or all, until none can go on; that is not recorded."""
        run(tasks or self.scene.tasks, watch=lambda task, event: None)

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """Run a system call to its end, served by tasks of its own; that is not recorded."""
        result: T = self.scene.mounted.run(call)
        return result

    def close(self) -> None:
        """End what is left of all scenes."""
        for scene in self._scenes:
            close(scene.tasks)

    # Going on.

    def go_on(self, *tasks: Task) -> None:
        """Run `tasks`, or all, until none of them can go on; one that has begun goes on while it can."""
        self._run(tasks or self.scene.tasks)

    def until(self, task: Task, step: str, name: str = "", others: Sequence[Task] = ()) -> None:
        """Run `task`, and while it cannot go on `others` or all, until it has taken `step` (of that `name`).

        It stops where the step lets others run. A step that does not is passed up to the next that does.

        Raises:
            RuntimeError: nobody can go on, and it has not been taken.
        """
        wanted = (task.name, step.format(name) if name else str(step))
        self._seen.clear()

        def choose(ready: Sequence[Task]) -> Task:
            if wanted in self._seen:
                raise _Reached
            return task if task in ready else ready[0]

        try:
            self._run([task, *others] if others else self.scene.tasks, choose)
        except _Reached:
            return
        if wanted not in self._seen:
            raise RuntimeError(f"{task.name} has not come to {wanted[1]}")

    def _run(self, tasks: Sequence[Task], choose: Callable[[Sequence[Task]], Task] = lambda ready: ready[0]) -> None:
        run(tasks, choose, self._hear)

    def _hear(self, task: Task, event: Event) -> None:
        self._seen.add((task.name, event.text))
        self._record(task.name, event)

    def _record(self, task: str, event: Event) -> None:
        recording = self.recording
        began = recording.clock()
        shown = event._replace(name=self._outside(event.name), detail=self._outside(event.detail))
        state = self._look()
        recording.away += recording.clock() - began
        recording.hear(task, shown, state)

    def _look(self) -> State:
        state = look(self.scene)
        return replace(state, **{field.name: self._outside_all(getattr(state, field.name)) for field in fields(state)})

    def _outside_all(self, table: Any) -> Any:
        """The same with the paths as they are with the mount at its directory."""
        if isinstance(table, str):
            return self._outside(table)
        if isinstance(table, dict):
            return {self._outside(name): self._outside_all(value) for name, value in table.items()}
        return [self._outside_all(each) for each in table] if isinstance(table, list) else table

    def _outside(self, text: str) -> str:
        def path(match: re.Match[str]) -> str:
            return f"{self.mountpoint}/{match[1]}".rstrip("/")

        return IN_MOUNT.sub(path, text) if '"/' in text else text

    # What comes from without.

    def kill(self, task: Task) -> None:
        """Send `task` SIGKILL; what it does then is up to `go_on`."""
        self._record(task.name, Event(Step.KILL))
        task.kill()

    def interrupt(self, task: Task) -> None:
        """Send `task` a signal that has a handler."""
        self._record(task.name, Event(Step.SIGNAL))
        task.interrupt()

    def abort(self) -> None:
        """Abort the connection, as `echo 1 > .../abort` does."""
        self.perform(self._abort())

    async def _abort(self) -> None:
        self.scene.superblock.control["abort"].write(b"1")

    def unmount(self, force: bool = False) -> None:
        """Unmount, as `umount` does, or `umount -f`; it may have to wait."""
        self.perform(self._unmount(MNT_FORCE if force else 0))

    async def _unmount(self, flags: int) -> None:
        await _umount("/", self.scene.superblock, flags)  # noted, since it is called while it is watched

    def perform(self, call: Coroutine[Any, None, Any], name: str = ADMINISTRATOR) -> Task:
        """Have somebody who is no task of the scene do something, as far as it goes."""
        task = self.start(name, call)
        self._run([task])
        return task

    # Saying.

    def heading(self, text: str) -> None:
        self.recording.say("heading", text)

    def say(self, text: str) -> None:
        self.recording.say("text", text)

    def deadlock(self) -> None:
        """Say who waits for whom in a circle.

        Raises:
            RuntimeError: nobody does.
        """
        circle = ending(self.scene).cycle
        if not circle:
            raise RuntimeError("there is no deadlock here")
        self.recording.say("deadlock", self._outside(f"Nobody can go on: {in_words(circle)}"))

    def end(self) -> None:
        """Say who is dead, and who lives."""
        tasks = [task for task in self.scene.tasks if task.name != ADMINISTRATOR]
        dead = [task.name for task in tasks if task.finished and isinstance(task.result, Killed)]
        if not self.scene.connection.connected:
            dead.append("the filesystem")
        alive = [_condition(task) for task in tasks if task.name not in dead]
        self.recording.say("end", f"Dead: {_listed(dead)}. Alive: {_listed(alive)}.")


@named("sys_umount")
async def _umount(path: str, superblock: Superblock, flags: int) -> None:
    """Do what umount2(2) does, which is told `path` and the flags."""
    await umount(superblock, flags)


def _condition(task: Task) -> str:
    if task.finished:
        return f"{task.name}, which {_outcome(task.result)}"
    queue = task.asleep_on
    return task.name if queue is None else f"{task.name}, asleep on {queue.name}"


def _outcome(result: object) -> str:
    if isinstance(result, MemoryFault):
        return f"got SIG{'BUS' if isinstance(result, BusError) else 'SEGV'}"
    return f"got {failure(result)[1:]}" if isinstance(result, OSError) else "is done"


def _listed(names: Collection[str]) -> str:
    """Return `names` as a sentence has them."""
    if not names:
        return "nobody"
    *others, last = names
    return f"{'; '.join(others)}; and {last}" if others else last
