"""What the tests of kernel.txt start from: a mounted filesystem of one file, which the kernel has looked up."""

from __future__ import annotations

from fusewire.daemon.request import Request
from fusewire.daemon.session import Session
from fusewire.diagrams.explain import OneDirectory
from fusewire.embedded import mount, serve_one
from fusewire.kernel.device import Device
from fusewire.kernel.inode import Inode
from fusewire.kernel.profile import Profile
from fusewire.kernel.syscalls import fuse_lookup, sys_unlink
from fusewire.kernel.tasks import Task, run


class Kamikaze(OneDirectory):
    """A filesystem that removes, through its own mount, the file that it is asked to remove."""

    root: Inode

    async def unlink(self, request: Request, parent: int, name: str) -> None:  # type: ignore[override]
        await sys_unlink(self.root, name)


def mounted(filesystem: OneDirectory, profile: Profile) -> tuple[Device, Session, Inode]:
    """Mount `filesystem` and have the kernel look "file" up."""
    session = Session(filesystem)
    device, root = mount(session, profile)
    walk = Task("walk", fuse_lookup(root, "file"))
    run([walk, Task("daemon", serve_one(device, session))])
    assert isinstance(walk.result, Inode)
    return device, session, root
