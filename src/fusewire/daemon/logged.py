"""A session that says what it is asked and what it answers: `fusewire mount --verbose`.

    LOOKUP parent=1 name='hello' for pid 812, uid 0: ok in 0.1 ms
    READ nodeid=2 fh=1 offset=0 size=4096 for pid 812, uid 0: 13 bytes in 0.1 ms
    GETXATTR nodeid=2 name='user.x' for pid 812, uid 0: ENODATA in 0.1 ms
    FLUSH nodeid=2 for pid 812, uid 0: ENOSYS at once

A line is logged, at level DEBUG, when a request has been answered: after the operation stand the
arguments of the method. 'at once' is what the engine answers by itself. It costs some
microseconds a request, so it is a class of its own, and who does not ask for it has none of it.
"""

from __future__ import annotations

import functools
import inspect
import logging
import time
from dataclasses import dataclass, field, fields
from typing import Any, Final

from fusewire.daemon.answers import ANSWERS
from fusewire.daemon.filesystem import Filesystem
from fusewire.daemon.session import Buffers, Call, Session
from fusewire.daemon.values import SetAttributes
from fusewire.errors import errno_name
from fusewire.wire import OPERATIONS, Buffer, ForgetOne, InHeader, OutHeader

__all__ = ["LoggedSession", "requests_are_logged"]

logger = logging.getLogger("fusewire.requests")

WITH_DATA: Final = frozenset({"READ", "READDIR", "READDIRPLUS", "READLINK", "GETXATTR", "LISTXATTR", "IOCTL"})
OCTAL: Final = frozenset({"mode", "flags"})


def requests_are_logged() -> bool:
    """True if somebody wants to see the lines."""
    return logger.isEnabledFor(logging.DEBUG)


@dataclass(slots=True)
class LoggedSession(Session):
    """Logs a line a request."""

    began: dict[int, float] = field(default_factory=dict)  # by unique

    def receive(self, buffer: Buffer) -> Buffers | Call | None:
        outcome = Session.receive(self, buffer)
        if isinstance(outcome, Call):
            self.began[outcome.request.unique] = time.perf_counter()
        else:
            asked = InHeader.unpack_from(buffer)
            row = OPERATIONS.get(asked.opcode)
            name = row.name if row else f"opcode {asked.opcode}"
            whose = f"nodeid={asked.nodeid} for pid {asked.pid}, uid {asked.uid}"
            logger.debug("%s %s: %s at once", name, whose, said(name, outcome))
        return outcome

    def reply(self, call: Call, result: Any) -> Buffers | None:
        buffers = Session.reply(self, call, result)
        self.tell(call, buffers)
        return buffers

    def fail(self, call: Call, error: BaseException) -> Buffers | None:
        buffers = Session.fail(self, call, error)
        self.tell(call, buffers)
        return buffers

    def tell(self, call: Call, buffers: Buffers | None) -> None:
        request, name = call.request, call.request.name
        ms = (time.perf_counter() - self.began.pop(request.unique)) * 1000
        pairs = zip(parameters(name), call.arguments[1:], strict=False)
        asked = " ".join(shown(*pair) for pair in pairs)
        outcome = said(name, buffers)
        logger.debug("%s %s for pid %d, uid %d: %s in %.1f ms", name, asked, request.pid, request.uid, outcome, ms)


@functools.cache
def parameters(operation: str) -> tuple[str, ...]:
    """What the arguments of an operation's method are called, after `request`."""
    if operation not in ANSWERS:
        return ("forgotten",)
    method = getattr(Filesystem, ANSWERS[operation].method)
    return tuple(inspect.signature(method).parameters)[2:]


def said(operation: str, reply: Buffers | None) -> str:
    """A reply in a word: its errno, or how many bytes of data it has."""
    if reply is None:
        return "unanswered"
    header = OutHeader.unpack_from(reply[0])
    if header.error:
        return errno_name(-header.error)
    if operation == "LOOKUP" and not any(reply[0][OutHeader.SIZE :][:8]):
        return "no such name"  # nodeid 0: the kernel may remember that
    return f"{header.len - OutHeader.SIZE} bytes" if operation in WITH_DATA else "ok"


def shown(name: str, argument: Any) -> str:
    """One argument of a method, in short."""
    if isinstance(argument, SetAttributes):
        pairs = ((it.name, getattr(argument, it.name)) for it in fields(argument) if it.name != "lock_owner")
        return " ".join(shown(*pair) for pair in pairs if pair[1] is not None and pair[1] is not False)
    if isinstance(argument, list):
        return " ".join(f"nodeid={one.nodeid} nlookup={one.nlookup}" for one in argument if isinstance(one, ForgetOne))
    if isinstance(argument, memoryview):
        try:
            return f"{name}={argument.nbytes} bytes"
        except ValueError:
            return f"{name}=released"
    return f"{name}={argument:#o}" if name in OCTAL else f"{name}={argument!r}"
