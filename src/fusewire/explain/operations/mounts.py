"""How a mount begins and ends.

Here the mount is upon a directory of another one, which is there for that alone, so that mount(2) and
umount(2) are seen too. Only root may call them, whoever uses the filesystem.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from typing import Any, Final

from fusewire.daemon.session import Session
from fusewire.explain.director import Director
from fusewire.explain.explanation import Explanation, Options
from fusewire.explain.operations.endings import WITH_DEVICE
from fusewire.explain.operations.filesystem import Everything, Slow
from fusewire.explain.operations.rows import Named
from fusewire.explain.operations.stage import DETAIL, PROGRAM, columns, ended_in, finished
from fusewire.explore.scene import Mounted, Scene, mounted
from fusewire.kernel import Credentials, Device, Process, Superblock, Task
from fusewire.kernel import Options as MountOptions
from fusewire.kernel.mounting import MNT_FORCE

__all__ = ["MOUNTS"]

GROUP: Final = "how a mount begins and ends"
ROOT: Final = "root"  # the task that mounts and unmounts


class Upon(Scene):
    """A scene whose mount is upon another, and may not be there yet, or not any more."""

    _upper: Superblock | None = None

    @property
    def superblock(self) -> Superblock:
        lower, *upper = self.system.superblocks
        if upper:
            self._upper = upper[0]
        return self._upper or lower


@dataclass
class Place:
    """A directory to be mounted on, root who does so, and a program."""

    director: Director
    options: Options
    scene: Scene
    root: Process
    process: Process
    path: str  # of the directory

    @property
    def file(self) -> str:
        return f"{self.path}/{self.options.name}"

    def mount(self) -> Task:
        """Have root mount, watched; the daemon does not serve yet."""
        return self.start(ROOT, self._mount(fuseblk=False))

    def _mount(self, fuseblk: bool) -> Coroutine[Any, Any, Any]:
        options = MountOptions(allow_other=True, fuseblk=fuseblk)
        return self.root.mount(self.scene.mounted.device, self.path, options, profile=self.options.kernel)

    def start(self, name: str, call: Coroutine[Any, Any, Any]) -> Task:
        """Have root or the program make a system call, watched, as far as all get."""
        task = self.director.start(name, call, self.root if name == ROOT else self.process)
        self.director.go_on()
        return task

    def serve(self) -> None:
        """Let the daemon begin, and wait for requests if there are none; unwatched."""
        self.scene.tasks += self.scene.mounted.serving(self.options.threads)
        self.director.prepare()

    def mount_unwatched(self, fuseblk: bool = False) -> None:
        """Have all behind us that a mount begins with."""
        self.director.run(self._mount(fuseblk))
        self.director.run(self.process.stat(self.path))

    def open(self) -> int:
        """Make a file and open it, unwatched."""
        run, process = self.director.run, self.process
        run(process.close(run(process.open(self.file, os.O_CREAT))))
        return run(process.open(self.file, os.O_RDONLY))


def set_up(director: Director, options: Options, titles: dict[str, str], filesystem: Everything) -> Place:
    """Have a directory where `filesystem` can be mounted; what is there now takes no part."""
    outer = mounted(Everything(), options.kernel)
    name = posixpath.basename(options.mountpoint)
    outer.run(outer.process.mkdir(f"/{name}"))
    process = Process.new(outer.system, Credentials.of(options.uid, options.uid), outer.superblock.root, PROGRAM)
    inner = Mounted(outer.process, Device(), Session(filesystem))
    director.mountpoint = posixpath.dirname(options.mountpoint).rstrip("/")
    scene = director.stage(Upon(inner, []), columns(titles, options))
    return Place(director, options, scene, outer.process, process, f"/{name}")


def play_init(director: Director, options: Options) -> None:
    place = set_up(director, options, {ROOT: "mount {mountpoint}", PROGRAM: "stat {mountpoint}"}, Everything())
    finished(place.mount())
    waiting = place.start(PROGRAM, place.process.stat(place.path))
    scene = place.scene
    scene.tasks += scene.mounted.serving(options.threads)
    director.go_on()
    finished(waiting)


def play_unmount(director: Director, options: Options) -> None:
    place = set_up(director, options, {ROOT: "umount {mountpoint}", PROGRAM: "exec 3<&-"}, Everything())
    place.mount_unwatched()
    fd = place.open()
    place.serve()
    ended_in(place.start(ROOT, place.root.umount(place.path)), OSError)
    finished(place.start(PROGRAM, place.process.close(fd)))
    finished(place.start(ROOT, place.root.umount(place.path)))


def play_forced_unmount(director: Director, options: Options) -> None:
    slow = Slow()
    place = set_up(director, options, {ROOT: "umount -f {mountpoint}", PROGRAM: "cat {path}"}, slow)
    place.mount_unwatched()
    fd = place.open()
    place.serve()
    reading = place.start(PROGRAM, place.process.pread(fd, 1, 0))
    ended_in(place.start(ROOT, place.root.umount(place.path, Named(MNT_FORCE, "MNT_FORCE"))), OSError)
    ended_in(reading, ConnectionAbortedError)
    director.say("The program exits.")
    director.run(place.process.exit())
    finished(place.start(ROOT, place.root.umount(place.path)))
    slow.answer()
    director.go_on()


def play_destroy(director: Director, options: Options) -> None:
    place = set_up(director, options, {ROOT: "umount {mountpoint}"}, Everything())
    place.mount_unwatched(fuseblk=True)
    place.serve()
    finished(place.start(ROOT, place.root.umount(place.path)))


MOUNTS: Final = (
    Explanation(
        "init",
        "how kernel and daemon come to terms at a mount",
        play_init,
        GROUP,
        detail=replace(DETAIL, without=DETAIL.without - {"fc->blocked_waitq"}),
        remark="mount does not wait for the answer. Until it comes, whoever uses the mount does, and if the daemon "
        "never reads, for ever. INIT says which version and which features the kernel has; the reply, which of them "
        "are to be used.",
    ),
    Explanation(
        "unmount",
        "a mount ends",
        play_unmount,
        GROUP,
        detail=WITH_DEVICE,
        remark="While anything is open the mount is busy, and the daemon hears nothing of the attempt. The end is no "
        "request either: no FORGET and no DESTROY is sent, the daemon's next read fails with ENODEV.",
    ),
    Explanation(
        "unmount-force",
        "a mount ends, though its daemon does not answer",
        play_forced_unmount,
        GROUP,
        detail=WITH_DEVICE,
        remark="With -f the connection is aborted first: whoever waits goes on, and it stays aborted, though the mount "
        "is still busy. When the program has gone, nothing is in the way of an unmount.",
    ),
    Explanation(
        "destroy",
        "the last request, on a block device",
        play_destroy,
        GROUP,
        detail=WITH_DEVICE,
        remark="Only a mount of a block device (fuseblk) is sent DESTROY, and unmounting waits for the answer, so that "
        "the device is free when umount returns. Any other daemon learns of the end by ENODEV.",
    ),
)
