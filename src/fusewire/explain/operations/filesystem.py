"""The filesystem behind the explanations of operations: it answers everything that Linux may ask.

It is `Memory`, and has what that leaves to Linux: locks, POLL, IOCTL, and all that means 'make it
safe'. What it tells holds for ever, so that nothing is asked but what an explanation is about, and it
leaves permissions to itself, so that ACCESS is asked.

A few methods can be made to wait, for a server somewhere that does not answer (`slow`): whoever wants
to see an INTERRUPT, an abort or a timeout needs a daemon that has not answered yet.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
from collections import defaultdict
from dataclasses import replace
from typing import ClassVar, Final

from fusewire.daemon.filesystem import Filesystem
from fusewire.daemon.request import Request
from fusewire.daemon.values import Lock, OpenFile
from fusewire.errors import os_error
from fusewire.events import note
from fusewire.filesystems.memory import Memory
from fusewire.kernel.tasks import current
from fusewire.kernel.waitq import Sleep, WaitQueue
from fusewire.wire import InitFlags

__all__ = [
    "ANSWER_EINTR",
    "ANSWER_ENOSYS",
    "COMMAND",
    "Deaf",
    "Direct",
    "Doubtful",
    "Everything",
    "Forgetful",
    "NoFsync",
    "NoReaddirplus",
    "OldCopy",
    "Slow",
]

ANSWER_ENOSYS: Final = "[answer ENOSYS]"  # what it does, as it says so
ANSWER_EINTR: Final = "[answer EINTR]"
COMMAND: Final = 2 << 30 | 4 << 16 | ord("f") << 8 | 7  # _IOR('f', 7, int): a command of this filesystem's own
ANSWER: Final = (42).to_bytes(4, "little")  # what it gives


class Everything(Memory):
    """A filesystem with every method, in memory."""

    default_permissions: ClassVar[bool] = False
    init_flags: ClassVar[int] = InitFlags.FUSE_HANDLE_KILLPRIV_V2

    def __init__(self) -> None:
        super().__init__(size=64 << 20, inodes=1000, mode=0o777)
        self.locks: defaultdict[int, dict[int, Lock]] = defaultdict(dict)  # by nodeid, then by owner
        self.released = WaitQueue("a lock to be released")
        self.ready = True  # whether files are, for who polls them
        self.polled = 0  # the kernel's number of the open file that was last polled

    # --- all is safe at once

    def access(self, request: Request, nodeid: int, mask: int) -> None:
        """Everybody may do everything."""

    def flush(self, request: Request, nodeid: int, fh: int) -> None: ...

    def fsync(self, request: Request, nodeid: int, fh: int, datasync: bool) -> None: ...

    def fsyncdir(self, request: Request, nodeid: int, fh: int, datasync: bool) -> None: ...

    def syncfs(self, request: Request, nodeid: int) -> None: ...

    # --- what only a daemon knows

    def ioctl(
        self, request: Request, nodeid: int, fh: int, cmd: int, data: memoryview, out_size: int, flags: int
    ) -> tuple[int, bytes]:
        if cmd != COMMAND:
            raise os_error(errno.ENOTTY)
        return 0, ANSWER

    def bmap(self, request: Request, nodeid: int, block: int) -> int:
        return 100 * nodeid + block

    def poll(self, request: Request, nodeid: int, fh: int, events: int) -> int:
        self.polled = request.body.kh
        return events if self.ready else 0

    # --- locks, of whole files

    def getlk(self, request: Request, nodeid: int, fh: int, owner: int, lock: Lock) -> Lock:
        return self._in_the_way(nodeid, owner, lock) or replace(lock, type=fcntl.F_UNLCK)

    def setlk(self, request: Request, nodeid: int, fh: int, owner: int, lock: Lock, flags: int) -> None:
        if self._in_the_way(nodeid, owner, lock) is not None:
            raise os_error(errno.EAGAIN)
        self._set(nodeid, owner, lock)

    async def setlkw(self, request: Request, nodeid: int, fh: int, owner: int, lock: Lock, flags: int) -> None:
        request.on_interrupt(self.released.wake_all)
        await self.released.sleep(
            lambda: request.interrupted or self._in_the_way(nodeid, owner, lock) is None, Sleep.UNINTERRUPTIBLE
        )
        if self._in_the_way(nodeid, owner, lock) is not None:
            raise os_error(errno.EINTR)
        self._set(nodeid, owner, lock)

    def _in_the_way(self, nodeid: int, owner: int, lock: Lock) -> Lock | None:
        if lock.type == fcntl.F_UNLCK:
            return None
        others = (held for other, held in self.locks[nodeid].items() if other != owner)
        return next((held for held in others if fcntl.F_WRLCK in (held.type, lock.type)), None)

    def _set(self, nodeid: int, owner: int, lock: Lock) -> None:
        if lock.type == fcntl.F_UNLCK:
            self.locks[nodeid].pop(owner, None)
            self.released.wake()
        else:
            self.locks[nodeid][owner] = lock


class OldCopy(Everything):
    """A daemon of before 7.45: it does not know COPY_FILE_RANGE_64."""

    def copy_file_range(self, request: Request, nodeid: int, fh: int, *more: int) -> int:
        if request.name == "COPY_FILE_RANGE_64":
            note(ANSWER_ENOSYS)
            raise os_error(errno.ENOSYS)
        return super().copy_file_range(request, nodeid, fh, *more)


class Forgetful(Everything):
    """Attributes hold for a second."""

    attr_timeout: ClassVar[float] = 1.0


class Doubtful(Everything):
    """Names and attributes hold for a second."""

    attr_timeout: ClassVar[float] = 1.0
    entry_timeout: ClassVar[float] = 1.0


class Direct(Everything):
    """Reads and writes go past the page cache."""

    def open(self, request: Request, nodeid: int, flags: int) -> OpenFile:
        return replace(super().open(request, nodeid, flags), direct_io=True)


class Slow(Direct):
    """Reads wait for a server until it answers, or their caller is sent a signal."""

    def __init__(self) -> None:
        super().__init__()
        self.answered = False
        self.server = WaitQueue("a server that is slow")

    async def read(self, request: Request, nodeid: int, fh: int, offset: int, size: int) -> bytes:  # type: ignore[override]
        request.on_interrupt(self.server.wake_all)
        with contextlib.suppress(InterruptedError):
            await self.server.sleep(lambda: self.answered or request.interrupted, Sleep.KILLABLE)
        current().take_signals()
        if request.interrupted:
            note(ANSWER_EINTR)
            raise os_error(errno.EINTR)
        return super().read(request, nodeid, fh, offset, size)

    def answer(self) -> None:
        """Let the server have answered."""
        self.answered = True
        self.server.wake_all()


class Deaf(Slow):
    """The same, whatever signals come."""

    async def read(self, request: Request, nodeid: int, fh: int, offset: int, size: int) -> bytes:  # type: ignore[override]
        await self.server.sleep(lambda: self.answered, Sleep.UNINTERRUPTIBLE)
        return Direct.read(self, request, nodeid, fh, offset, size)


class NoFsync(Everything):
    """A daemon that has nothing to make safe."""

    fsync = Filesystem.fsync  # type: ignore[assignment]  # which is to have none


class NoReaddirplus(Everything):
    """A daemon that tells names alone."""

    readdirplus = Filesystem.readdirplus  # type: ignore[assignment]  # which is to have none
