"""What a daemon has granted and not got back, as one who listens to the conversation counts it.

Lookups are granted by each reply that names a nodeid, and given back by FORGET. A handle is granted
by OPEN and the like, and given back by RELEASE; in between it stands in requests. Two opens may have
been given the same handle, of which one cannot tell later which was released.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from stat import S_IFMT
from typing import Any, Final, TypeAlias

from fusewire.kernel.checks.rules import require
from fusewire.kernel.vfs.attr import plausible
from fusewire.wire import FUSE_ROOT_ID, EntryOut, GetattrFlags, Message, SetattrValid

__all__ = ["Handle", "Handles", "Lookups"]

Handle: TypeAlias = tuple[int, int]  # nodeid, fh
RELEASING: Final = ("RELEASE", "RELEASEDIR")
OTHERS: Final = ("newdir", "oldnodeid", "nodeid_out")  # fields that are nodeids


@dataclass(slots=True)
class Lookups:
    """How often each nodeid was granted and not forgotten."""

    granted: dict[int, int] = field(default_factory=dict)
    files: dict[int, tuple[int, int]] = field(default_factory=dict)  # generation and type, as they were last said
    spoilt: set[int] = field(default_factory=lambda: {0})  # of which the daemon has said what cannot be

    def grant(self, entry: EntryOut, kind: int | None = None) -> None:
        """Count a reply; `kind` is the type of file that was to be made, None if any will do."""
        nodeid, file = entry.nodeid, (entry.generation, S_IFMT(entry.attr.mode))
        if not nodeid:
            return
        another = self.granted.get(nodeid, 0) and self.files[nodeid] != file
        self.granted[nodeid] = self.granted.get(nodeid, 0) + 1
        self.files[nodeid] = file
        if nodeid == FUSE_ROOT_ID or another or not plausible(entry.attr) or kind not in (None, file[1]):
            self.spoilt.add(nodeid)

    def type_of(self, nodeid: int) -> int | None:
        """Return the type of a file that was granted."""
        return self.files[nodeid][1] if nodeid in self.files else None

    def used(self, message: Message) -> None:
        """Find whatever `message` is about granted."""
        for nodeid in (message.header.nodeid, *nodeids(message.body)):
            known = nodeid == FUSE_ROOT_ID or self.granted.get(nodeid, 0) > 0
            require(38, known, f"{message.operation.name} of {nodeid}, which was not granted, or was forgotten")

    def forgotten(self, nodeid: int, nlookup: int) -> None:
        nonsense = FUSE_ROOT_ID in self.spoilt  # the daemon has said that the root is an entry of a directory
        require(47, nodeid != FUSE_ROOT_ID or nonsense, "the root is never forgotten")
        left = self.granted.get(nodeid, 0) - nlookup
        require(43, left >= 0, f"{nodeid} is forgotten {-left} times too often")
        self.granted[nodeid] = left


def nodeids(body: Any) -> Iterator[int]:
    """Yield the nodeids that a body names."""
    for name in OTHERS:
        nodeid = getattr(body, name, None)
        if nodeid is not None:
            yield nodeid


@dataclass(slots=True)
class Handles:
    """How often each handle is open.

    Where the daemon has no OPEN, Linux sends no RELEASE either, even of files that the daemon has made
    and opened in one go (CREATE, TMPFILE), and forgets them when they are closed. OPENDIR likewise.
    """

    opened: Counter[Handle] = field(default_factory=Counter)
    closed: set[Handle] = field(default_factory=set)  # that were open once
    directories: set[int] = field(default_factory=set)  # nodeids that were opened by OPENDIR
    absent: set[str] = field(default_factory=set)  # OPEN, OPENDIR: the handle is 0 then, and is not opened

    def open(self, nodeid: int, fh: int, name: str) -> None:
        self.opened[nodeid, fh] += 1
        if name == "OPENDIR":
            self.directories.add(nodeid)
        else:
            self.directories.discard(nodeid)

    def refused(self, name: str, error: int) -> None:
        if name in ("OPEN", "OPENDIR") and error == errno.ENOSYS:
            self.absent.add(name)

    def end_untold(self, nodeid: int) -> bool:
        """Whether nobody says when what is open of a nodeid is released."""
        return ("OPENDIR" if nodeid in self.directories else "OPEN") in self.absent

    def of(self, nodeid: int) -> list[int]:
        """Return the handles that are open of a nodeid, of whose end one is told."""
        if self.end_untold(nodeid):
            return []
        return [fh for (of, fh), count in self.opened.items() if of == nodeid and count]

    def used(self, message: Message, unanswered: Iterable[Message]) -> None:
        """Find what `message` names open; of a RELEASE, that nobody uses it any more."""
        name = message.operation.name
        for handle in handles(message):
            if name in RELEASING:
                require(51, self.opened[handle] > 0, f"{name} of {handle[1]}, which is not open")
                self._release(handle, unanswered)
            elif not (self.absent and handle[1] == 0):
                rule = 39 if handle not in self.closed else 52 if name == "FLUSH" else 53
                require(rule, self.opened[handle] > 0, f"{name} by {handle[1]}, which is not open")

    def _release(self, handle: Handle, unanswered: Iterable[Message]) -> None:
        self.opened[handle] -= 1
        if not self.opened[handle]:
            self.closed.add(handle)
            names = (one.operation.name for one in unanswered if handle in handles(one))
            using = [name for name in names if name not in RELEASING]
            require(54, not using, f"{handle[1]} is released before {', '.join(using)} is answered")


def handles(message: Message) -> Iterator[Handle]:
    """Yield the handles that `message` names."""
    body, nodeid = message.body, message.header.nodeid
    match message.operation.name:
        case "SETATTR":
            if body.valid & SetattrValid.FATTR_FH:
                yield nodeid, body.fh
        case "GETATTR" | "STATX":
            if body.getattr_flags & GetattrFlags.FUSE_GETATTR_FH:
                yield nodeid, body.fh
        case "COPY_FILE_RANGE" | "COPY_FILE_RANGE_64":
            yield nodeid, body.fh_in
            yield body.nodeid_out, body.fh_out
        case _:
            fh = getattr(body, "fh", None)
            if fh is not None:
                yield nodeid, fh
