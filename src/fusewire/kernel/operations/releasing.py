"""RELEASE and RELEASEDIR: the daemon is told that nobody has an open file any more.

It goes out when the last reference is given back, be it a descriptor's, a mapping's, or that of I/O
under way; in the background, so that nobody waits: its error is nobody's. It holds the inode until
it has been answered, so that no FORGET overtakes it.

Source: fs/fuse/file.c, fuse_release_common, fuse_file_put; fs/file_table.c, __fput.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from fusewire.events import Step, note
from fusewire.kernel.operations.io_mode import leave_mode
from fusewire.kernel.operations.lock_owner import owner_of_file
from fusewire.wire import ReleaseFlags, ReleaseIn

if TYPE_CHECKING:
    from fusewire.kernel.vfs.open_file import OpenFile

__all__ = ["put_file", "release_now"]


def put_file(file: OpenFile) -> None:
    """Give back a reference; with the last one the daemon is told that the file is closed. Never sleeps."""
    file.references -= 1
    if file.references:
        return
    inode = file.inode
    leave_mode(file)
    if inode.locks is not None:
        inode.locks.forget_file(file)
    inode.superblock.connection.polled.pop(file.kh, None)
    if file.poll_waitq is not None:
        file.poll_waitq.wake_all()
    if file.opened and _release_is_wanted(file):
        name = "fuse_dir_release" if inode.is_dir else "fuse_release"
        note(Step.CALL, name)
        _release_in_background(file)
        note(Step.RETURN, name)
    file.dentry.put()


def _release_is_wanted(file: OpenFile) -> bool:
    """Whether the daemon is told: if it has no OPEN, not of files either that CREATE or TMPFILE opened."""
    return file.inode.is_dir or "OPEN" not in file.inode.superblock.connection.absent


def _release_in_background(file: OpenFile) -> None:
    inode = file.inode
    name = "RELEASEDIR" if inode.is_dir else "RELEASE"
    inode.hold()  # until it is answered: no FORGET is to overtake it
    inode.superblock.connection.ask_background(
        name, inode.nodeid, _release_in(file), end=lambda request: inode.drop(), force=True, nocreds=True
    )


async def release_now(file: OpenFile) -> None:
    """Have the daemon close a file that could not be opened to the end; nobody has had it."""
    leave_mode(file)
    if not file.opened or not _release_is_wanted(file):
        return
    with contextlib.suppress(OSError):  # as in the background, its error is nobody's
        await file.inode.superblock.connection.ask(
            "RELEASE", file.inode.nodeid, _release_in(file), force=True, nocreds=True
        )


def _release_in(file: OpenFile) -> ReleaseIn:
    if not file.flocked:
        return ReleaseIn(file.fh, file.flags)
    return ReleaseIn(file.fh, file.flags, ReleaseFlags.FUSE_RELEASE_FLOCK_UNLOCK, owner_of_file(file))
