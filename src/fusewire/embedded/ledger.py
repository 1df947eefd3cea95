"""What a daemon has granted and not got back: open handles, and lookups of nodeids.

Counted on the wire, and not by what the kernel remembers, so that what the kernel forgets to give
back is found as well.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from fusewire.errors import ProtocolError
from fusewire.wire import EntryOut, ForgetOne, OpenOut, iter_direntplus

if TYPE_CHECKING:
    from fusewire.embedded.recording import RecordedRequest

__all__ = ["Handle", "Ledger"]

Handle: TypeAlias = tuple[int, int, bool]  # nodeid, fh, and whether of a directory


@dataclass(slots=True)
class Ledger:
    """`lookups` by nodeid, and by handle the requests that opened it, for as long as they are owed."""

    lookups: Counter[int] = field(default_factory=Counter)
    handles: defaultdict[Handle, list[RecordedRequest]] = field(default_factory=lambda: defaultdict(list))

    def answered(self, request: RecordedRequest, data: memoryview) -> None:
        """Count what the answer to `request` grants; `data` follows its structs."""
        if request.error:
            return
        nodeid = request.nodeid
        for struct in request.reply:
            if isinstance(struct, EntryOut):
                nodeid = struct.nodeid
                self._looked_up(nodeid)
            elif isinstance(struct, OpenOut):
                self.handles[nodeid, struct.fh, request.name == "OPENDIR"].append(request)
        if request.name == "READDIRPLUS":
            self._listed(data)

    def _looked_up(self, nodeid: int) -> None:
        if nodeid:
            self.lookups[nodeid] += 1

    def _listed(self, data: memoryview) -> None:
        try:
            for record, name in iter_direntplus(data):
                if name not in (b".", b".."):
                    self._looked_up(record.entry_out.nodeid)
        except ProtocolError:
            pass  # the kernel refuses the rest as well

    def released(self, request: RecordedRequest) -> None:
        """Count a handle that the daemon was told to release."""
        handle = (request.nodeid, request.body.fh, request.name == "RELEASEDIR")
        opened = self.handles.get(handle)
        if opened:
            opened.pop(0)
            if not opened:
                del self.handles[handle]

    def forgot(self, given_back: Iterable[ForgetOne]) -> None:
        """Count lookups that the daemon was told to forget."""
        for one in given_back:
            self.lookups[one.nodeid] -= one.nlookup
            if not self.lookups[one.nodeid]:
                del self.lookups[one.nodeid]
