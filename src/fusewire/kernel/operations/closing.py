"""FLUSH, RELEASE and RELEASEDIR: the end of an open file.

FLUSH goes out at each close of a regular file, and its error is what close(2) says. RELEASE goes out
when the last reference is gone, be it a descriptor's, a mapping's, or that of I/O under way; in the
background, so that nobody waits: its error is nobody's. It holds the inode until it has been
answered, so that no FORGET overtakes it.

Source: fs/fuse/file.c, fuse_flush, fuse_release_common; fs/open.c, filp_flush; fs/file_table.c, __fput.
"""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING

from fusewire.errors import os_error
from fusewire.kernel.operations.io_mode import leave_mode
from fusewire.kernel.operations.lock_owner import owner_of, owner_of_file
from fusewire.kernel.vfs.inode import STATX_BLOCKS
from fusewire.wire import FlushIn, InitFlags, OpenFlags, ReleaseFlags, ReleaseIn

if TYPE_CHECKING:
    from fusewire.kernel.syscalls.base import Caller
    from fusewire.kernel.vfs.open_file import OpenFile

__all__ = ["close_file", "flush", "put_file", "release_now"]


async def flush(file: OpenFile) -> None:
    """Tell the daemon that one who has had `file` open closes it, once it has all that was written.

    Nobody can be killed meanwhile. No effect on anything but a regular file.

    Raises:
        OSError: what writing failed with since the last flush or fsync; otherwise as the daemon says.
    """
    inode = file.inode
    if not inode.is_regular or file.path_only:
        return
    inode.check_bad()
    connection = inode.superblock.connection
    writeback = connection.has(InitFlags.FUSE_WRITEBACK_CACHE)
    if file.open_flags & OpenFlags.FOPEN_NOFLUSH and not writeback:
        return
    if inode.writeback is not None:
        from fusewire.kernel.operations.writeback import write_inode  # which needs us, too

        await write_inode(inode)
        code = inode.writeback.take_error()
        if code:
            raise os_error(code)
    await _send_flush(file)
    if writeback:
        inode.invalidate(STATX_BLOCKS)


async def _send_flush(file: OpenFile) -> None:
    connection = file.inode.superblock.connection
    if "FLUSH" in connection.absent:
        return
    try:
        await connection.ask("FLUSH", file.inode.nodeid, FlushIn(file.fh, owner_of(file.inode)), force=True)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        connection.absent.add("FLUSH")


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
    if file.opened:
        _release_in_background(file)
    file.dentry.put()


def _release_in_background(file: OpenFile) -> None:
    inode = file.inode
    name = "RELEASEDIR" if inode.is_dir else "RELEASE"
    inode.hold()  # until it is answered: no FORGET is to overtake it
    inode.superblock.connection.ask_background(
        name, inode.nodeid, _release_in(file), end=lambda request: inode.drop(), force=True, nocreds=True
    )


async def close_file(file: OpenFile, process: Caller) -> None:
    """Do what close(2) does for the file of a descriptor that `process` no longer has, and give the reference back.

    Raises:
        OSError: as `flush`.
    """
    try:
        await flush(file)
    finally:
        if file.inode.locks is not None and not file.path_only:
            file.inode.locks.forget_owner(process.owner)
        put_file(file)


async def release_now(file: OpenFile) -> None:
    """Have the daemon close a file that could not be opened to the end; nobody has had it."""
    leave_mode(file)
    if not file.opened:
        return
    with contextlib.suppress(OSError):  # as in the background, its error is nobody's
        await file.inode.superblock.connection.ask(
            "RELEASE", file.inode.nodeid, _release_in(file), force=True, nocreds=True
        )


def _release_in(file: OpenFile) -> ReleaseIn:
    if not file.flocked:
        return ReleaseIn(file.fh, file.flags)
    return ReleaseIn(file.fh, file.flags, ReleaseFlags.FUSE_RELEASE_FLOCK_UNLOCK, owner_of_file(file))
