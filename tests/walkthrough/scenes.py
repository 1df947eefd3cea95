"""What the tests of kernel.txt start from: a mounted filesystem of one file, which the kernel has looked up."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, NamedTuple

import fusewire.kernel as kernel_end
from fusewire.daemon.request import Request
from fusewire.daemon.session import Session
from fusewire.embedded.task_daemon import daemon
from fusewire.explore.scene import Mounted, OneDirectory
from fusewire.explore.scene import mounted as mount
from fusewire.kernel.connection import Connection
from fusewire.kernel.device import Device
from fusewire.kernel.profile import Profile
from fusewire.kernel.tasks import Task


class Kamikaze(OneDirectory):
    """A filesystem that removes, through its own mount, the file that it is asked to remove."""

    process: kernel_end.Process

    async def unlink(self, request: Request, parent: int, name: str) -> None:  # type: ignore[override]
        await self.process.unlink(f"/{name}")


class Scene(NamedTuple):
    """A mount whose root holds one file, and a process that can remove it."""

    mount: Mounted

    @property
    def connection(self) -> Connection:
        connection = self.device.connection
        assert connection is not None
        return connection

    @property
    def device(self) -> Device:
        return self.mount.device

    @property
    def session(self) -> Session:
        return self.mount.session

    def rm(self) -> Task:
        """A task that removes the file."""
        return Task("rm", self.unlink())

    def unlink(self) -> Coroutine[Any, Any, None]:
        return self.mount.process.unlink("/file")

    def daemon(self, name: str = "daemon") -> Task:
        """A task that serves, and takes the device along at the end."""
        return Task(name, daemon(self.device, self.session))


def mounted(filesystem: OneDirectory, profile: Profile) -> Scene:
    """Mount `filesystem` and have the kernel look "file" up, which somebody else has open."""
    scene = Scene(mount(filesystem, profile))
    scene.mount.run(scene.mount.process.stat("/file"))
    scene.mount.file("file").get()
    if isinstance(filesystem, Kamikaze):
        filesystem.process = scene.mount.process
    return scene
