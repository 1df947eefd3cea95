"""POLL: whether a file is ready to be read or written.

The daemon is asked each time that somebody looks. If anybody is going to wait, it is asked beside
that to say when that changes (SCHEDULE_NOTIFY): it then sends a NOTIFY_POLL with the file's number
`kh`, upon which whoever waits looks again. A daemon without POLL has files that are always ready.

Source: fs/fuse/file.c (poll.c of late), fuse_file_poll, fuse_notify_poll_wakeup.
"""

from __future__ import annotations

import errno
import select
from typing import TYPE_CHECKING, Final

from fusewire.events import named
from fusewire.wire import PollFlags, PollIn

if TYPE_CHECKING:
    from fusewire.kernel.vfs.open_file import OpenFile
    from fusewire.kernel.vfs.polling import Poller

__all__ = ["READY", "fuse_poll"]

READY: Final = select.POLLIN | select.POLLOUT | select.POLLRDNORM | select.POLLWRNORM


@named("fuse_file_poll")
async def fuse_poll(file: OpenFile, events: int, poller: Poller) -> int:
    """Return which POLL* are so, of `events` at least; register `poller` if it wants to be told of changes.

    An error of the daemon's is POLLERR. What is no regular file is always ready.
    """
    inode = file.inode
    connection = inode.superblock.connection
    if not inode.is_regular or "POLL" in connection.absent:
        return READY
    if poller.registers:
        poller.register(file)
    flags = 0
    if file.poll_waitq is not None and file.poll_waitq.registered:
        flags = PollFlags.FUSE_POLL_SCHEDULE_NOTIFY
        connection.polled[file.kh] = file
    try:
        reply = await connection.ask("POLL", inode.nodeid, PollIn(file.fh, file.kh, flags, events))
    except OSError as error:
        if error.errno != errno.ENOSYS:
            return select.POLLERR
        connection.absent.add("POLL")
        return READY
    revents: int = reply.structs[0].revents
    return revents
