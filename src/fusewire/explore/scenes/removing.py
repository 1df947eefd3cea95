"""`rm /file`, once on a daemon that behaves, once on one that removes the file through its own mount.

The first two diagrams of kernel.txt. Somebody has the file open, so that the kernel does not forget it
in the end. The kernel has looked it up before.
"""

from __future__ import annotations

from collections.abc import Mapping

from fusewire.daemon.request import Request
from fusewire.explore.scene import Mounted, OneDirectory, Scene, mounted
from fusewire.kernel.profile import Profile
from fusewire.kernel.syscalls.process import Process
from fusewire.kernel.tasks import Task
from fusewire.kernel.vfs.credentials import Credentials

__all__ = ["RemovesItself", "forget", "looked_up", "simple_deadlock", "unlink"]


class RemovesItself(OneDirectory):
    """A filesystem that removes, through its own mount, the file that it is asked to remove."""

    process: Process  # set once it is mounted

    async def unlink(self, request: Request, parent: int, name: str) -> None:  # type: ignore[override]
        await self.process.unlink(f"/{name}")


def looked_up(filesystem: OneDirectory, profile: Profile, request_timeout: int = 0, uid: int = 0) -> Mounted:
    """Mount `filesystem`, and have the kernel look up its one file, which somebody else has open."""
    mount = mounted(filesystem, profile, request_timeout=request_timeout)
    mount.process.credentials = Credentials.of(uid, uid)
    (name,) = filesystem.nodeids
    mount.run(mount.process.stat(f"/{name}"))
    mount.file(name).get()
    return mount


def unlink(profile: Profile, threads: int = 1, request_timeout: int = 0, name: str = "file", uid: int = 0) -> Scene:
    """One rm of a user, and a daemon that serves it."""
    mount = looked_up(OneDirectory(name), profile, request_timeout, uid)
    return Scene.of(mount, lambda: [Task("rm", mount.process.unlink(f"/{name}")), *mount.serving(threads)])


def forget(profile: Profile, threads: int = 1, request_timeout: int = 0, name: str = "file", uid: int = 0) -> Scene:
    """The same, of a file that nobody has open: the kernel forgets it, and the daemon counts how often."""
    filesystem = OneDirectory(name)
    mount = looked_up(filesystem, profile, request_timeout, uid)
    mount.file(name).put()
    scene = Scene.of(mount, lambda: [Task("rm", mount.process.unlink(f"/{name}")), *mount.serving(threads)])
    scene.at_end = lambda: check_lookups(mount, filesystem.granted)
    return scene


def check_lookups(mount: Mounted, granted: Mapping[int, int]) -> None:
    """Raise AssertionError unless the daemon has granted as many lookups as the kernel has, or will give back."""
    connection = mount.superblock.connection
    if not connection.connected:
        return
    for nodeid, count in granted.items():
        inode = mount.superblock.inodes.get(nodeid)
        known = inode.nlookup if inode is not None else 0
        known += sum(nlookup for queued, nlookup in connection.forgets.queue if queued == nodeid)
        assert count == known, f"45: the daemon has granted {count} lookups of nodeid {nodeid}, the kernel has {known}"


def simple_deadlock(
    profile: Profile, threads: int = 1, request_timeout: int = 0, name: str = "file", uid: int = 0
) -> Scene:
    """Scenario 1: the daemon waits for a lock that is held until it has answered. Each thread makes the mistake."""
    filesystem = RemovesItself(name)
    mount = looked_up(filesystem, profile, request_timeout, uid)
    filesystem.process = mount.process
    return Scene.of(mount, lambda: [Task("rm", mount.process.unlink(f"/{name}")), *mount.serving(threads)])
