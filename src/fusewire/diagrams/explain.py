"""What FUSE does, shown by doing it: each explanation is a run of both ends, drawn.

Nothing is drawn beforehand. A small filesystem is mounted in this process, a task does what the
explanation is about, and the events of both ends are put in two columns (text.py). Where they are
more than kernel.txt shows, what is left out is said below the drawing.
"""

from __future__ import annotations

import errno
import os
import stat
import textwrap
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import fusewire.kernel as kernel_end
from fusewire.daemon.filesystem import Filesystem
from fusewire.daemon.request import Request
from fusewire.daemon.session import Session
from fusewire.daemon.values import Attributes, Entry
from fusewire.diagrams.text import Recording, render, rows
from fusewire.embedded.task_daemon import serve_one
from fusewire.errors import os_error
from fusewire.events import named
from fusewire.kernel.device import Device
from fusewire.kernel.mounting import mount
from fusewire.kernel.profile import SEED2005, Profile
from fusewire.kernel.tasks import Task, run
from fusewire.kernel.vfs.credentials import Credentials
from fusewire.kernel.vfs.dentry import Dentry
from fusewire.kernel.vfs.superblock import Options
from fusewire.kernel.vfs.system import System

__all__ = ["EXPLANATIONS", "Explanation", "explain"]

DAEMON: Final = "FUSE filesystem daemon"


class OneDirectory(Filesystem):
    """A directory of empty files, to be looked up and removed."""

    def __init__(self, *names: str) -> None:
        self.nodeids = {name: nodeid for nodeid, name in enumerate(names, start=2)}

    def lookup(self, request: Request, parent: int, name: str) -> Entry:
        if name not in self.nodeids:
            raise os_error(errno.ENOENT)
        return Entry(self.nodeids[name], Attributes(mode=stat.S_IFREG | 0o644))

    def unlink(self, request: Request, parent: int, name: str) -> None:
        if self.nodeids.pop(name, None) is None:
            raise os_error(errno.ENOENT)


class Mounted(NamedTuple):
    """A filesystem, mounted in this process, whose daemon does what it is told."""

    process: kernel_end.Process
    device: Device
    session: Session

    def run(self, call: Coroutine[Any, Any, Any]) -> None:
        """Run a system call to its end, unwatched."""
        task = Task("before", call)
        while not task.finished:
            run([task, Task("daemon", serve_one(self.device, self.session))])

    def file(self, name: str) -> Dentry:
        """Return what the kernel knows by `name` in the root directory."""
        dentry = self.process.cwd.child(os.fsencode(name))
        assert dentry is not None
        return dentry


def mounted(filesystem: Filesystem, profile: Profile) -> Mounted:
    """Mount `filesystem`; INIT is sent, and not answered yet."""
    system, device = System(), Device()
    superblock = mount(system, device, Options(allow_other=True), profile)
    process = kernel_end.Process.new(system, Credentials(), superblock.root, "rm")
    return Mounted(process, device, Session(filesystem))


class Scene(NamedTuple):
    """Tasks that have yet to run, in the order in which they do if nothing else decides."""

    left: Task  # whose column is the left one
    tasks: Sequence[Task]


@dataclass(frozen=True)
class Explanation:
    """One thing that can be explained."""

    summary: str  # one line, for a list of them
    left: str  # title of the left column
    scene: Callable[[], Scene]
    remark: str  # what there is to say below the drawing
    leave_out: tuple[str, ...] = ()  # what is not drawn: events with one of these in their text
    left_out: str = ""  # the same, in a sentence


def _unlink() -> Scene:
    scene = mounted(OneDirectory("file"), SEED2005)
    scene.run(scene.process.stat("/file"))
    scene.file("file").get()  # somebody has it open, so the kernel does not forget it in the end
    rm = Task("rm", scene.process.unlink("/file"))
    daemon = Task("daemon", serve_one(scene.device, scene.session))
    return Scene(rm, [daemon, rm])


def _init() -> Scene:
    device = Device()
    mounting = Task("mount", _begin_mount(device))
    return Scene(mounting, [mounting, Task("daemon", serve_one(device, Session(OneDirectory())))])


async def _begin_mount(device: Device) -> None:
    await _mount(device)  # a call is noted if it is made while somebody watches


@named("sys_mount")
async def _mount(device: Device) -> None:
    mount(System(), device, Options(), SEED2005)


EXPLANATIONS: Final = {
    "unlink": Explanation(
        summary="how one request travels: rm removes a file",
        left='"rm /mnt/fuse/file"',
        scene=_unlink,
        remark='INIT (see "init") and the LOOKUP of "file" came before.',
        leave_out=("semaphore", "outstanding_sem"),
        left_out="Left out, as in kernel.txt: the semaphores of the inode and of the pool of requests.",
    ),
    "init": Explanation(
        summary="how kernel and daemon come to terms at a mount",
        left='"mount -t fuse /mnt/fuse"',
        scene=_init,
        remark="mount does not wait for the answer: until it comes, whoever uses the mount does.",
    ),
}


def explain(name: str, everything: bool = False) -> str:
    """Run what `name` stands for, both ends in this process, and return its diagram.

    Args:
        name: a key of `EXPLANATIONS`.
        everything: draw also what kernel.txt passes over.

    Raises:
        ValueError: there is no such explanation; the text names those that there are.
    """
    if name not in EXPLANATIONS:
        raise ValueError(f"There is no explanation of {name!r}. There is one of: {', '.join(EXPLANATIONS)}.")
    explanation = EXPLANATIONS[name]
    scene = explanation.scene()
    drawn = rows(record(scene), scene.left.name, () if everything else explanation.leave_out)
    diagram = render((explanation.left, DAEMON), drawn)
    below = explanation.remark if everything else f"{explanation.remark} {explanation.left_out}"
    return f"{diagram}\n\n{textwrap.fill(below, 80)}\n"


def record(scene: Scene) -> Recording:
    """Run `scene` to its end and return what happened.

    Raises:
        BaseException: what a task of it raised.
    """
    recording: Recording = []
    run(scene.tasks, watch=lambda task, event: recording.append((task.name, event)))
    for task in scene.tasks:
        if isinstance(task.result, BaseException):
            raise task.result
    return recording
