"""Notifications: what a filesystem tells the kernel unasked, by a write that lasts until the kernel has done it.

The kernel keeps names, attributes and bytes for as long as it was told that it may. A filesystem whose
content changes behind the kernel's back says what is old before its time. It has a `Notifier` for that:

    fusewire.current_request().notify_now    in a method; it may be kept, and used by whom and when you like
    mount.notify_now, kernel.notify_now      for who has made a mount, or an embedded kernel

    notify.inval_entry(directory, "name")                     a plain call, from any thread
    await notify.awaitable.inval_entry(directory, "name")     the same, awaited

Nodes are named by nodeid, or are the node itself. False is returned if the kernel knew nothing of it,
which is no reason to worry; of a node that it was never told of, nothing is written.

**When this deadlocks.** The kernel does what it is told under the locks of system calls, and whoever is
being served holds some: the notification waits for the lock, its holder waits for the answer, and the
answer is to come from whoever notifies. Neither SIGKILL nor Ctrl-C ends that; an abort of the connection does.

    told                               takes                           held by the caller of
    inval_entry, expire_entry,         the semaphore of `directory`    LOOKUP, CREATE, MKDIR, UNLINK, RENAME...
    delete                             (delete: the child's, too)        there
    inval_inode, store                 the locks of its pages          READ and WRITE of them; dirty pages are
                                                                         written first, and waited for
    inval_attr, inc_epoch, prune       none                            prune sends FORGETs, without waiting

So notify after the answer, from a thread or a task that owes none: the method of an `async def` makes a
task of it (`asyncio.create_task`), whose first step comes after the reply. With `threads` it is not enough
that another thread is free to answer: it is *this* answer that the lock's holder waits for.

`now` in the name says that it is this form, written by who calls. One that queues, and picks its moment
itself, can have the same methods under the name `notify`.

Source: fs/fuse/dev.c, fuse_notify; fs/fuse/dir.c, fuse_reverse_inval_entry; fs/fuse/inode.c,
fuse_reverse_inval_inode. The rows are those of wire/operations.py; what the kernel's end does: kernel/notifications.py.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar

from fusewire.daemon.nodes import Node
from fusewire.errors import os_error
from fusewire.wire import (
    Buffer,
    ExpireFlags,
    NotifyDeleteOut,
    NotifyInvalEntryOut,
    NotifyInvalInodeOut,
    NotifyPruneOut,
    NotifyStoreOut,
    WireStruct,
    encode_notification,
    notification,
    pack_nodeids,
)

__all__ = ["AwaitableNotifier", "Notifications", "Notifier", "NotifyingDevice"]

R = TypeVar("R", covariant=True)

NodeOrId: TypeAlias = Node | int
ATTRIBUTES_ALONE: Final = -1  # an offset, which no page has


class NotifyingDevice(Protocol):
    """Where notifications are written: /dev/fuse, or the device of an embedded kernel."""

    def notify(self, message: bytes) -> None:
        """Write `message`, and return when the kernel has done what it says. Raises what the kernel says."""

    async def notify_async(self, message: bytes) -> None:
        """The same, awaited: others go on meanwhile."""


class Notifications(Generic[R]):
    """What can be told, however it is sent. Each returns whether the kernel knew of what it was told about.

    Each raises OSError: ENODEV when the mount is gone; EOPNOTSUPP if this kernel is too old; ENAMETOOLONG; and
    ENOTDIR of a directory that is none. A name is `str`, as methods get it.
    """

    def inval_inode(self, node: NodeOrId, offset: int = 0, length: int = 0) -> R:
        """Have attributes asked for anew, and drop what is cached of the bytes from `offset`; 0: to the end.

        Dirty pages there are written first, and the daemon must answer that WRITE meanwhile.
        """
        if offset < 0 or length < 0:
            raise ValueError(f"offset={offset}, length={length}: neither can be negative")
        return self._send("INVAL_INODE", (node,), NotifyInvalInodeOut(nodeid_of(node), offset, length))

    def inval_attr(self, node: NodeOrId) -> R:
        """Have attributes asked for anew, and leave its bytes alone. Takes no lock, so it is always safe."""
        return self._send("INVAL_INODE", (node,), NotifyInvalInodeOut(nodeid_of(node), ATTRIBUTES_ALONE))

    def inval_entry(self, directory: NodeOrId, name: str) -> R:
        """Have a name looked up anew, and forget what is cached below it. Mounts below it are detached."""
        return self._entry(directory, name, 0)

    def expire_entry(self, directory: NodeOrId, name: str) -> R:
        """Have a name looked up anew when it is next met, as if its timeout were over (Linux 6.2; before: inval)."""
        return self._entry(directory, name, ExpireFlags.FUSE_EXPIRE_ONLY)

    def _entry(self, directory: NodeOrId, name: str, flags: int) -> R:
        named = os.fsencode(name)
        return self._send(
            "INVAL_ENTRY", (directory,), NotifyInvalEntryOut(nodeid_of(directory), len(named), flags), (named,)
        )

    def delete(self, directory: NodeOrId, name: str, child: NodeOrId) -> R:
        """Say that a name is gone, and its file with it: watchers (inotify) are told, which inval_entry does not do.

        Raises:
            OSError: ENOTEMPTY of a directory of which names are known; EBUSY if something is mounted there.
        """
        named = os.fsencode(name)
        body = NotifyDeleteOut(nodeid_of(directory), nodeid_of(child), len(named))
        return self._send("DELETE", (directory, child), body, (named,))

    def store(self, node: NodeOrId, offset: int, data: Buffer) -> R:
        """Put bytes into the page cache of a file, which grows if they reach beyond its end.

        Raises:
            OSError: EINVAL if it is no regular file.
        """
        given = bytes(data)
        return self._send("STORE", (node,), NotifyStoreOut(nodeid_of(node), offset, len(given)), data=given)

    def inc_epoch(self) -> R:
        """Have every name looked up anew when it is next met (Linux 6.16)."""
        return self._send("INC_EPOCH")

    def prune(self, nodes: Sequence[NodeOrId]) -> R:
        """Have nodes forgotten that nobody uses (Linux 6.18): their FORGETs follow."""
        numbers = [nodeid for nodeid in map(nodeid_of, nodes) if nodeid]
        return self._send("PRUNE", (), NotifyPruneOut(len(numbers)), data=pack_nodeids(numbers))

    def _send(
        self,
        name: str,
        about: Iterable[NodeOrId] = (),
        body: WireStruct | None = None,
        names: Sequence[bytes] = (),
        data: Buffer = b"",
    ) -> R:
        raise NotImplementedError


def nodeid_of(node: NodeOrId) -> int:
    """Return the number that the kernel knows `node` by; 0 if it was never told of it."""
    return node if isinstance(node, int) else node.nodeid


class Notifier(Notifications[bool]):
    """Tells the kernel, and returns when it has done what it was told: docs at the head of this module."""

    def __init__(self) -> None:
        self.device: NotifyingDevice | None = None  # set by who opens it
        self.minor = 0  # agreed on with the kernel; 0 before INIT

    @property
    def awaitable(self) -> AwaitableNotifier:
        """The same, its calls awaited: for `async def`, whose event loop must not stand still meanwhile."""
        return AwaitableNotifier(self)

    def _send(
        self,
        name: str,
        about: Iterable[NodeOrId] = (),
        body: WireStruct | None = None,
        names: Sequence[bytes] = (),
        data: Buffer = b"",
    ) -> bool:
        device = self.ready(name)
        if not all(map(nodeid_of, about)):
            return False
        try:
            device.notify(encode_notification(name, body, names, data))
        except FileNotFoundError:
            return False
        return True

    def ready(self, name: str) -> NotifyingDevice:
        """Return the device on which a notification of this name can be written.

        Raises:
            OSError: ENODEV if nothing is mounted, or not yet; EOPNOTSUPP if this kernel does not know it.
        """
        if self.device is None or not self.minor:
            raise os_error(errno.ENODEV)
        if self.minor < notification(name).since:
            raise os_error(errno.EOPNOTSUPP)
        return self.device


class AwaitableNotifier(Notifications[Coroutine[Any, Any, bool]]):
    """A `Notifier` whose calls are awaited."""

    def __init__(self, notifier: Notifier) -> None:
        self.notifier = notifier

    async def _send(
        self,
        name: str,
        about: Iterable[NodeOrId] = (),
        body: WireStruct | None = None,
        names: Sequence[bytes] = (),
        data: Buffer = b"",
    ) -> bool:
        device = self.notifier.ready(name)
        if not all(map(nodeid_of, about)):
            return False
        try:
            await device.notify_async(encode_notification(name, body, names, data))
        except FileNotFoundError:
            return False
        return True
