"""Where a request is born, and the two calls by which a daemon reads and answers it.

A system call (`sys_...`) walks the path, takes the semaphores and hands over to the function of
the filesystem (`fuse_...`), which knows one operation: what is sent, and what its reply changes.

Whoever waits for a semaphore waits uninterruptibly, and whoever holds one may be waiting for the
daemon: that is all it takes for a deadlock.

Not modelled yet: all system calls but these; paths of more than one name; that a name is looked up
under its directory's semaphore, held shared.

Source: fs/namei.c, do_unlinkat; fs/fuse/dir.c.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from fusewire.errors import os_error
from fusewire.events import named
from fusewire.kernel.connection import Connection
from fusewire.kernel.device import Device
from fusewire.kernel.init import send_init
from fusewire.kernel.inode import Inode
from fusewire.kernel.profile import LINUX, Profile
from fusewire.kernel.tasks import current
from fusewire.wire import FUSE_ROOT_ID

P = ParamSpec("P")
T = TypeVar("T")


def syscall(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Make `function` a system call: it is noted, and on its return signals are delivered.

    Raises:
        Killed: instead of anything else, if the task was killed meanwhile.
    """
    noted = named(function.__name__)(function)

    @functools.wraps(function)
    async def called(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            result = await noted(*args, **kwargs)
        except OSError as error:
            current().take_signals(error)
            raise
        current().take_signals()
        return result

    return called


@syscall
async def sys_mount(device: Device, profile: Profile = LINUX) -> Inode:
    """Mount what the daemon behind `device` serves; return the root. INIT is sent, not awaited."""
    connection = Connection(profile)
    device.bind(connection)
    send_init(connection)
    return Inode(connection)


@syscall
async def sys_unlink(parent: Inode, name: str) -> None:
    """Remove `name` from `parent`, holding the file's semaphore all the while, and the directory's.

    Raises:
        OSError: ENOENT if there is no such name; EINTR if a signal came first; ENOTCONN or
            ECONNABORTED if the daemon is gone; otherwise as the daemon says.
    """
    holds_parent = parent.connection.profile.parent_semaphore
    async with parent.semaphore if holds_parent else contextlib.nullcontext():
        victim = await fuse_lookup(parent, name)
        async with victim.semaphore:
            await fuse_unlink(parent, name)


async def fuse_lookup(parent: Inode, name: str) -> Inode:
    """Return the inode of `name`, asking the daemon only if it is not known yet.

    Raises:
        OSError: ENOENT if there is no such name; EIO if the daemon says that it is the root.
    """
    if name in parent.children:
        return parent.children[name]
    reply = await parent.connection.ask("LOOKUP", parent.nodeid, names=[os.fsencode(name)])
    entry = reply.structs[0]
    if entry.nodeid == 0:
        raise os_error(errno.ENOENT)
    if entry.nodeid == FUSE_ROOT_ID:
        raise os_error(errno.EIO)
    inode = parent.children.setdefault(name, Inode(parent.connection, entry.nodeid, name))
    inode.nlookup += 1
    return inode


@named("fuse_unlink")
async def fuse_unlink(parent: Inode, name: str) -> None:
    try:
        await parent.connection.ask("UNLINK", parent.nodeid, names=[os.fsencode(name)])
    except OSError as error:
        if error.errno in (errno.EINTR, errno.ENOENT):  # it may be gone: look again next time
            parent.children.pop(name, None)
        raise
    parent.children.pop(name, None)


@syscall
async def sys_read(device: Device, size: int) -> bytes:
    """Return the next message for the daemon; what it raises stands at `Device.read`."""
    return await device.read(size)


@syscall
async def sys_write(device: Device, message: bytes) -> int:
    """Give the daemon's `message` to the kernel's end; what it raises stands at `Device.write`."""
    return await device.write(message)
