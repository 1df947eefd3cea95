"""To act as the caller: the identity under which a thread of the daemon touches files.

A daemon that runs as root makes files for others. Made as root they would belong to root, and
root may do what the caller may not. So a thread takes the caller's filesystem uid, gid and
supplementary groups for one operation and puts its own back, whatever happens. What the
operation needs as root (a file handle opened) comes before; nothing may be awaited between.

- A caller who is not root acts without capabilities over files, as Linux takes them from
  whoever's filesystem uid is not 0. A process with capabilities but another uid gets less
  here than on a local filesystem.
- A daemon that is not root cannot be anybody else, and what it may do is all that can be done.
- Groups come from /proc, each time: 12 us, against 100 us for a file made through a mount.
  The caller waits for us, so they are exact; any cache could be wrong.

The umask is another such thing: it belongs to the process. A thread that makes files gets one
of its own, so that neither the daemon's umask nor another thread's has a say.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence

from fusewire.daemon.request import Request
from fusewire.filesystems.local.syscalls import setfsgid, setfsuid, setgroups, unshare_umask

__all__ = ["Credentials"]


class Credentials:
    """Who the daemon is, and how a thread of it becomes the caller for a while."""

    def __init__(self) -> None:
        self.uid = os.geteuid()
        self.gid = os.getegid()
        self.groups = os.getgroups()

    @contextlib.contextmanager
    def acting_as(self, request: Request) -> Iterator[None]:
        """Within the `with`, this thread is the caller to every filesystem.

        Raises:
            OSError: EPERM if the caller's identity cannot be taken: nothing is then done as root instead.
        """
        if self.uid != 0 or (request.uid, request.gid) == (self.uid, self.gid):
            yield
            return
        try:
            self._become(request.uid, request.gid, request.groups if request.uid else None)
            yield
        finally:
            self._become(self.uid, self.gid, self.groups if request.uid else None)

    @contextlib.contextmanager
    def making_as(self, request: Request) -> Iterator[None]:
        """The same, to make a file: the caller's umask holds, and no other."""
        with _umask(request.umask), self.acting_as(request):
            yield

    def _become(self, uid: int, gid: int, groups: Sequence[int] | None) -> None:
        """Take an identity. None leaves the groups: root may do everything without."""
        if groups is not None:
            setgroups(groups)
        setfsgid(gid)
        setfsuid(uid)


class _Thread(threading.local):
    """Whether this thread has a umask of its own; None before it was asked."""

    alone: bool | None = None


_thread = _Thread()
_shared_umask = threading.Lock()


@contextlib.contextmanager
def _umask(mask: int) -> Iterator[None]:
    if _thread.alone is None:
        _thread.alone = _have_own_umask()
    with contextlib.nullcontext() if _thread.alone else _shared_umask:
        previous = os.umask(mask)
        try:
            yield
        finally:
            os.umask(previous)


def _have_own_umask() -> bool:
    """Part from the process's umask. Some containers forbid it: threads then take turns with the one there is."""
    try:
        unshare_umask()
    except OSError:
        return False
    return True
