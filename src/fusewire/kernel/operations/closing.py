"""FLUSH: a descriptor of an open file is closed.

FLUSH goes out at each close of a regular file, once the daemon has all that was written, and its
error is what close(2) says. What RELEASE is for, the end of the open file, stands in releasing.py.

Source: fs/fuse/file.c, fuse_flush; fs/open.c, filp_flush.
"""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING

from fusewire.errors import os_error
from fusewire.events import named
from fusewire.kernel.operations.lock_owner import owner_of
from fusewire.kernel.operations.releasing import put_file
from fusewire.kernel.operations.writeback import write_inode
from fusewire.kernel.vfs.attr import STATX_BLOCKS
from fusewire.wire import FlushIn, InitFlags, OpenFlags

if TYPE_CHECKING:
    from fusewire.kernel.vfs.caller import Caller
    from fusewire.kernel.vfs.open_file import OpenFile

__all__ = ["close_file", "flush"]


async def flush(file: OpenFile) -> None:
    """Tell the daemon that one who has had `file` open closes it, once it has all that was written.

    Nobody can be killed meanwhile. No effect on anything but a regular file.

    Raises:
        OSError: what writing failed with since the last flush or fsync; otherwise as the daemon says.
    """
    if file.inode.is_regular and not file.path_only:
        await fuse_flush(file)


@named("fuse_flush")
async def fuse_flush(file: OpenFile) -> None:
    """Do as `flush` for a regular file."""
    inode = file.inode
    inode.check_bad()
    connection = inode.superblock.connection
    writeback = connection.has(InitFlags.FUSE_WRITEBACK_CACHE)
    if file.open_flags & OpenFlags.FOPEN_NOFLUSH and not writeback:
        return
    if inode.writeback is not None:
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


async def close_file(file: OpenFile, process: Caller) -> None:
    """Do what close(2) does for the file of a descriptor that `process` no longer has, and give the reference back.

    Raises:
        OSError: as `flush`.
    """
    failed: OSError | None = None
    try:
        try:
            await flush(file)
        except OSError as error:
            failed = error
        finally:
            if file.inode.locks is not None and not file.path_only:
                file.inode.locks.forget_owner(process.owner)
        await _write_the_rest(file)
    finally:
        put_file(file)
    if failed is not None:
        raise failed


async def _write_the_rest(file: OpenFile) -> None:
    """Send what others wrote while the last who had `file` open flushed it; an error is nobody's (fuse_release)."""
    inode = file.inode
    if file.references > 1 or file.path_only or not inode.written_back:
        return
    with contextlib.suppress(OSError):
        await write_inode(inode)
