"""The request that a filesystem is carrying out: who asks, and does the caller still wait.

A caller who is sent a signal does not return: Linux asks the filesystem to hurry, with an
INTERRUPT. For an `async def` that is a cancellation. A `def` looks at `interrupted` now and
then, or registers a callback that makes its wait end; it then raises `InterruptedError`, or
returns what it has got. Ignoring all this is legal: the caller waits on.

`current_request()` finds the request from anywhere below the method that serves it.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from fusewire.wire import InHeader, Message, Operation

if TYPE_CHECKING:
    from fusewire.daemon.notify import Notifier

__all__ = ["Request", "current_request"]

logger = logging.getLogger("fusewire")

current: ContextVar[Request] = ContextVar("fusewire.current_request")  # set by the engine
_interrupting = threading.Lock()  # rarely taken, so one for all requests


class Request:
    """One operation, as the kernel asks for it.

    `uid` and `gid` are the caller's filesystem ids, `pid` the caller's *thread* id; all three
    are 0 where the kernel acts for itself. `body` is the decoded struct of the wire, for
    whoever needs more than a method's arguments say.
    """

    __slots__ = ("_callbacks", "_notifier", "header", "interrupted", "message")

    def __init__(self, message: Message, notifier: Notifier | None = None) -> None:
        self.message = message
        self._notifier = notifier
        self.header: InHeader = message.header
        self.interrupted = False  # the caller was sent a signal: be quick, or raise InterruptedError
        self._callbacks: list[Callable[[], object]] = []

    @property
    def operation(self) -> Operation:
        """The operation's row: its number, name and structs."""
        return self.message.operation

    @property
    def name(self) -> str:
        """The operation's name, such as 'UNLINK'."""
        return self.message.operation.name

    @property
    def unique(self) -> int:
        """The request's number, which its reply bears; even, and not used again while it is under way."""
        return self.header.unique

    @property
    def nodeid(self) -> int:
        """The node that is asked about; the directory, where a name in one is."""
        return self.header.nodeid

    @property
    def uid(self) -> int:
        """The caller's filesystem uid, as the mount's user namespace has it; 0 where the kernel acts for itself."""
        return self.header.uid

    @property
    def gid(self) -> int:
        """The caller's filesystem gid, likewise."""
        return self.header.gid

    @property
    def pid(self) -> int:
        """The caller's thread id, as the mount's pid namespace has it; 0 for callers outside, and for the kernel."""
        return self.header.pid

    @property
    def body(self) -> Any:
        """The struct that follows the header, such as `ReadIn`; None where the operation has none."""
        return self.message.body

    @property
    def umask(self) -> int:
        """The caller's umask where the operation creates something, else 0.

        Linux has applied it to the mode already, unless the filesystem took FUSE_DONT_MASK.
        """
        return int(getattr(self.message.body, "umask", 0))

    @property
    def groups(self) -> list[int]:
        """The caller's supplementary groups, as /proc has them; [] if the caller is gone."""
        with contextlib.suppress(OSError), open(f"/proc/{self.pid}/status", "rb") as status:
            for line in status:
                if line.startswith(b"Groups:"):
                    return [int(group) for group in line.split()[1:]]
        return []

    @property
    def notify_now(self) -> Notifier:
        """What tells the kernel that something is old (daemon/notify.py). It may be kept, for when this is answered.

        Raises:
            LookupError: of a request that no session has received.
        """
        if self._notifier is None:
            raise LookupError(f"{self} was received by no session: there is no kernel to be told of anything")
        return self._notifier

    def on_interrupt(self, callback: Callable[[], object]) -> None:
        """Call `callback` once, from another thread, when the caller is sent a signal; now if it was already.

        What it raises then is logged.
        """
        with _interrupting:
            if not self.interrupted:
                self._callbacks.append(callback)
                return
        callback()

    def interrupt(self) -> None:
        """Tell the filesystem that the caller was sent a signal. Idempotent; the engine calls it."""
        with _interrupting:
            self.interrupted = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            try:
                callback()
            except BaseException:  # whatever it is: here runs a thread that others wait for
                logger.exception("a callback for the interrupt of %s failed", self)

    def __repr__(self) -> str:
        return f"<{self.name} unique={self.unique} nodeid={self.nodeid} pid={self.pid} uid={self.uid} gid={self.gid}>"


def current_request() -> Request:
    """Return the request that is being carried out here.

    Raises:
        LookupError: outside a filesystem's method.
    """
    try:
        return current.get()
    except LookupError:
        raise LookupError("no request is being carried out here: ask within a method of a filesystem") from None
