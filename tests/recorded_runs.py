"""Runs of both ends with what everything was like at each step: for tests of the diagrams' other forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fusewire.daemon.request import Request
from fusewire.diagrams.recording import Recording
from fusewire.diagrams.state import look
from fusewire.events import Event
from fusewire.explore.scene import OneDirectory, Scene, mounted
from fusewire.kernel.profile import LINUX, SEED2005, Profile
from fusewire.kernel.syscalls.process import Process
from fusewire.kernel.tasks import Task, close, run

RM = '"rm /mnt/fuse/file"'
DAEMON = "FUSE filesystem daemon"


class Mistaken(OneDirectory):
    """Removes a file by asking for its removal, as the daemon of scenario 1 does."""

    process: Process

    async def unlink(self, request: Request, parent: int, name: str) -> None:  # type: ignore[override]
        await self.process.unlink(f"/{name}")


def record(scene: Scene, recording: Recording) -> Recording:
    """Run all of `scene` until none of its tasks can go on."""
    run(scene.tasks, watch=lambda task, event: recording.hear(task.name, event, look(scene)))
    return recording


def scene_of_unlink(filesystem: OneDirectory, profile: Profile, threads: int = 1, name: str = "file") -> Scene:
    """A scene with one `rm`, of a file that the kernel knows."""
    mount = mounted(filesystem, profile)
    mount.run(mount.process.stat(f"/{name}"))
    serving = mount.serving(threads)
    return Scene(mount, [*serving, Task("rm", mount.process.unlink(f"/{name}"), mount.process)])


def unlink(profile: Profile = LINUX, name: str = "file") -> Recording:
    """The first diagram of kernel.txt."""
    scene = scene_of_unlink(OneDirectory(name), profile, name=name)
    recording = record(scene, Recording(f"unlink {name}", {"rm": f'"rm /mnt/fuse/{name}"', "daemon": DAEMON}))
    close(scene.tasks)
    return recording


def simple_deadlock(threads: int = 1, columns: dict[str, str] | None = None) -> Recording:
    """Scenario 1, and its cure of 2005: the caller is killed, then the daemon, thread by thread."""
    filesystem = Mistaken("file")
    scene = scene_of_unlink(filesystem, SEED2005, threads)
    filesystem.process = scene.mounted.process
    recording = Recording("Scenario 1 - Simple deadlock", columns or {"rm": RM, "daemon": DAEMON})
    recording.say("heading", recording.title)
    record(scene, recording)
    recording.say("deadlock", "rm waits for the daemon, and the daemon for rm.")
    recording.say("heading", "The cure")
    for task in reversed(scene.tasks):
        task.kill()
        record(scene, recording)
    recording.say("end", "All are dead.")
    close(scene.tasks)
    return recording


def twice() -> Recording:
    """Two runs, one after the other, of which the second begins anew with the same names."""
    recording = unlink()
    recording.say("heading", "Once more")
    recording.entries += unlink().entries
    return recording


def made_up(*events: tuple[str, Event], **fields: Any) -> Recording:
    """A recording of which each step took a millisecond."""
    recording = Recording(**({"title": "made up", "columns": {"a": "A", "b": "B"}} | fields))
    recording.clock = milliseconds()
    for task, event in events:
        recording.hear(task, event)
    return recording


def milliseconds() -> Callable[[], float]:
    """A clock that goes on by one each time it is looked at."""
    now = iter(range(1_000_000))
    return lambda: next(now) / 1000
