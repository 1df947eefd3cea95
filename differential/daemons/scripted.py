"""A daemon that does as it is told: it answers well, but for one request, to which it does a `Deed`.

It neither reads nor writes. `handle` is given a message and says, one by one, what is to be done at
the device; whoever drives it (on_linux.py, on_ours.py) does it and gives back what came of it. So
both kernels meet the same daemon. After a deed it writes the right reply, which is refused if the
deed has ended the request, and frees the caller if it has not: no program waits for ever.

What it saw and did is its log, in words that can be compared. Numbers that need not be equal (lock
owners, pids, clocks) have names there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from differential.daemons.world import World
from differential.recorder import data_of, flattened
from fusewire.errors import ProtocolError
from fusewire.wire import FUSE_UNIQUE_RESEND, InitFlags, Message, OutHeader, decode_request, forgets

__all__ = ["Action", "Asked", "Deed", "Outcome", "Plan", "ScriptedDaemon"]

Outcome = int | str | bytes  # of a write its length, or the name of its errno; of a read the message
CLOCKS: Final = 10**9  # seconds: what a clock tells is after it
SENDERLESS: Final = frozenset({"FORGET", "BATCH_FORGET", "INTERRUPT", "NOTIFY_REPLY"})
FLOATING: Final = frozenset({"RELEASE", "RELEASEDIR"})  # sent when the caller is on his way out, or just before
SHOWN: Final = 40  # bytes of data


class Action(NamedTuple):
    """Something to be done at the device."""

    kind: str  # 'write', 'write to the clone', 'read', 'signal', 'abort', 'close'
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Asked:
    """The request under test, and its right answer."""

    message: Message
    payload: bytes
    error: int = 0  # positive

    @property
    def unique(self) -> int:
        return self.message.header.unique

    def reply(
        self, payload: bytes | None = None, *, error: int = 0, length: int = 0, unique: int | None = None
    ) -> bytes:
        """Return a reply, by default the right one; `length` is added to what its header says."""
        payload = self.payload if payload is None else payload
        said = max(0, OutHeader.SIZE + len(payload) + length) & 0xFFFFFFFF
        return OutHeader(said, error, self.unique if unique is None else unique).pack() + payload

    @property
    def right(self) -> bytes:
        return self.reply(error=-self.error) if not self.error else self.reply(b"", error=-self.error)


@dataclass(frozen=True, slots=True)
class Deed:
    """What is done instead of the right answer, or before it."""

    name: str
    actions: Callable[[Asked], Sequence[Action]]


@dataclass(frozen=True, slots=True)
class Plan:
    """Which request gets which deed: the first of this `operation` once the daemon is `armed`."""

    operation: str
    deed: Deed


@dataclass(slots=True)
class ScriptedDaemon:
    """The daemon of one mount."""

    world: World
    plan: Plan | None = None
    armed: bool = False
    minor: int = 45
    log: list[str] = field(default_factory=list)
    released: list[str] = field(default_factory=list)
    forgotten: Counter[int] = field(default_factory=Counter)

    def take_log(self) -> list[str]:
        """Return what was seen and done since last time; at its end what floats, releases and what was forgotten."""
        taken = self.log + self.released
        if self.forgotten:
            taken.append(f"forgotten: {sorted(self.forgotten.items())}")
        self.log, self.released = [], []
        self.forgotten.clear()
        return taken

    def handle(self, data: bytes) -> Generator[Action, Outcome, None]:
        """Answer a message, or do the deed."""
        message = self.understood(data)
        if message is None or message.operation.name in SENDERLESS:
            return
        asked = self.asked(message)
        plan = self.plan
        if plan is not None and self.armed and message.operation.name == plan.operation:
            self.armed = False
            for action in plan.deed.actions(asked):
                yield from self.act(action)
        outcome = yield Action("write", asked.right)
        log = self.released if message.operation.name in FLOATING else self.log
        log.append(f"  answered {len(asked.right)}: {outcome!r}")

    def act(self, action: Action) -> Generator[Action, Outcome, None]:
        outcome = yield action
        if action.kind == "read":
            assert isinstance(outcome, bytes | str)
            if isinstance(outcome, str) or self.understood(outcome) is None:
                self.log.append(f"  read: {outcome!r}")
            return
        self.log.append(f"  {action.kind} {len(action.data)}: {outcome!r}")

    def asked(self, message: Message) -> Asked:
        try:
            payload = self.world.answer(message)
        except OSError as error:
            return Asked(message, b"", error.errno or 0)
        return Asked(message, payload)

    def understood(self, data: bytes) -> Message | None:
        try:
            message = decode_request(data, self.minor)
        except ProtocolError as error:
            self.log.append(f"{error.reason}: {data[40:].hex()}")
            return None
        if message.operation.name == "FORGET":
            self.forgotten[message.header.nodeid] += message.body.nlookup
        elif message.operation.name == "BATCH_FORGET":
            for one in forgets(message):
                self.forgotten[one.nodeid] += one.nlookup
        else:
            log = self.released if message.operation.name in FLOATING else self.log
            log.append(described(message))
        return message


def described(message: Message) -> str:
    """Say what was asked, without what need not be equal."""
    header = message.header
    body = [] if message.body is None else flattened(message.body)
    by = "by us" if header.pid else "by the kernel"
    if message.operation.name == "NOTIFY_REPLY":
        by = "by the daemon"  # which is a process on Linux, and none here
    parts = [message.operation.name, f"of {header.nodeid}", by]
    parts += [f"{header.uid}:{header.gid}"]
    parts += [f"{name}={named(message, name, value)}" for name, value in body if value]
    parts += [repr(name) for name in message.names]
    data = data_of(message)
    parts += [f"{len(data)} bytes {data[:SHOWN]!r}"] if data else []
    parts += ["again"] if header.unique & FUSE_UNIQUE_RESEND else []
    return " ".join(parts)


def named(message: Message, name: str, value: Any) -> object:
    if name == "flags2" and message.operation.name == "INIT":
        return value & ~(InitFlags.FUSE_PASSTHROUGH >> 32)  # which is not modelled
    if name in ("lock_owner", "owner", "kh", "unique", "pid", "arg"):
        return f"a {name}"
    if name in ("atime", "mtime", "ctime") and value > CLOCKS:
        return "a clock's"
    if name in ("atimensec", "mtimensec", "ctimensec"):
        return "some"
    return value if name != "max_readahead" else "some"
