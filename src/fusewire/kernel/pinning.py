"""What a request that was given up still needs: the inodes and the file that it is about.

Its sender has gone and has let go of them, but the daemon is still at it. Were they forgotten or
released now, the daemon would be told that before it has answered. So they are held, until it has.

Source: fs/fuse/dev.c of 2005, background_request and fuse_release_background.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fusewire.kernel.operations.releasing import put_file
from fusewire.kernel.tasks import current

if TYPE_CHECKING:
    from fusewire.kernel.request import Request
    from fusewire.kernel.vfs.inode import Inode
    from fusewire.kernel.vfs.open_file import OpenFile

__all__ = ["pin"]


def pin(request: Request) -> Callable[[], None]:
    """Hold what `request` of the current task is about; return what lets go of it."""
    inodes, file = _inodes(request), _file(request)
    for inode in inodes:
        inode.hold()
    if file is not None:
        file.hold()

    def unpin() -> None:
        if file is not None:
            put_file(file)
        for inode in inodes:
            inode.drop()

    return unpin


def _inodes(request: Request) -> list[Inode]:
    superblock = request.connection.superblock
    if superblock is None:
        return []
    others = (getattr(request.body, name, 0) for name in ("newdir", "oldnodeid", "nodeid_out"))
    return [superblock.inodes[nodeid] for nodeid in {request.nodeid, *others} if nodeid in superblock.inodes]


def _file(request: Request) -> OpenFile | None:
    """Return the caller's open file that the request names by its `fh`."""
    process, fh = current().process, getattr(request.body, "fh", None)
    if process is None or fh is None:
        return None
    of_inode = (file for file in process.files.values() if file.inode.nodeid == request.nodeid)
    return next((file for file in of_inode if file.opened and file.fh == fh), None)
