"""A bounded set of descriptors, each of which several threads may be using.

The files of a source are many more than a process may have open. What was not used for the
longest time is closed, though never under the hands of a thread: whoever takes a descriptor
holds it in a `with`, and one that was dropped meanwhile is closed by its last user.
"""

from __future__ import annotations

import errno
import os
import threading
from collections import OrderedDict
from collections.abc import Callable

__all__ = ["Descriptor", "Descriptors"]


class Descriptor:
    """A descriptor in use. The count of users and `dropped` change under the lock of the set."""

    __slots__ = ("_lock", "dropped", "fd", "users")

    def __init__(self, fd: int, lock: threading.Lock, dropped: bool = False) -> None:
        self.fd = fd
        self.users = 1  # made for somebody
        self.dropped = dropped  # not, or no more in the set: the last user closes it
        self._lock = lock

    def __enter__(self) -> int:
        return self.fd

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self.users -= 1
            closing = self.dropped and self.users == 0
        if closing:
            os.close(self.fd)


class Descriptors:
    """At most `capacity` descriptors, by nodeid, the least recently used first."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._lock = threading.Lock()
        self._held: OrderedDict[int, Descriptor] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def take(self, nodeid: int) -> Descriptor | None:
        """Return the node's descriptor, for a `with`; None if it has none here."""
        with self._lock:
            descriptor = self._held.get(nodeid)
            if descriptor is not None:
                descriptor.users += 1
                self._held.move_to_end(nodeid)
            return descriptor

    def add(self, nodeid: int, fd: int) -> Descriptor:
        """Keep `fd` for the node, and return it for a `with`. It is ours from here on.

        If another thread was faster, its descriptor stays and `fd` is closed.
        """
        with self._lock:
            descriptor = self._held.get(nodeid)
            if descriptor is None:
                descriptor = self._held[nodeid] = Descriptor(fd, self._lock)
                unused = self._drop_beyond(self.capacity)
            else:
                descriptor.users += 1
                unused = [fd]
        _close(unused)
        return descriptor

    def once(self, fd: int) -> Descriptor:
        """Return `fd` for one `with`, which closes it."""
        return Descriptor(fd, self._lock, dropped=True)

    def with_room(self, make: Callable[[], int]) -> int:
        """Make a descriptor; if the process has too many, without those that are only kept here."""
        try:
            return make()
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
        self.shrink()
        return make()

    def drop(self, nodeid: int) -> None:
        """Close the node's descriptor, if there is one, as soon as nobody uses it."""
        with self._lock:
            descriptor = self._held.pop(nodeid, None)
            unused = [] if descriptor is None else self._dropped(descriptor)
        _close(unused)

    def shrink(self, capacity: int = 0) -> None:
        """Drop all but `capacity` of them."""
        with self._lock:
            unused = self._drop_beyond(capacity)
        _close(unused)

    def _drop_beyond(self, capacity: int) -> list[int]:
        unused: list[int] = []
        while len(self._held) > capacity:
            _, descriptor = self._held.popitem(last=False)
            unused += self._dropped(descriptor)
        return unused

    @staticmethod
    def _dropped(descriptor: Descriptor) -> list[int]:
        """What is to be closed now that it is no more in the set."""
        descriptor.dropped = True
        return [] if descriptor.users else [descriptor.fd]


def _close(fds: list[int]) -> None:
    """Close outside of the lock: close(2) may wait for the source."""
    for fd in fds:
        os.close(fd)
