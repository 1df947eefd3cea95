"""What has been left over: `kernel.leaks()`.

    a request   that the daemon has read and not answered, or could read and does not
    a handle    that the daemon has opened, and was not told to release
    lookups     that the daemon has granted, and did not get back though nobody uses the node

A file that a process still has open is a handle not released: a leak if it was to be closed. A node
is used by who has it, or something below it, open, mapped, or as working directory, and nobody can
tell what a system call uses that is under way. First of all the kernel is made to drop what it
merely remembers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusewire.wire import FUSE_ROOT_ID

if TYPE_CHECKING:
    from fusewire.embedded.ends import Ends
    from fusewire.embedded.ledger import Ledger
    from fusewire.embedded.recording import Record
    from fusewire.kernel.vfs.dentry import Dentry

__all__ = ["Leak", "leaks"]


@dataclass(frozen=True, slots=True)
class Leak:
    """One thing that has been left over."""

    kind: str  # 'request', 'handle' or 'lookups'
    nodeid: int
    text: str  # what it is, for people

    def __repr__(self) -> str:
        return f"<{self.text}>"


def leaks(ends: Ends, record: Record) -> list[Leak]:
    """Return what has been left over by now; plain kernel code, to be run by the runner."""
    return [
        *(Leak("request", request.nodeid, f"not answered: {request!r}") for request in record.unanswered),
        *_handles(record.ledger),
        *(_lookups(ends, record.ledger) if not ends.over else ()),  # an unmount gives them all back
    ]


def _handles(ledger: Ledger) -> Iterator[Leak]:
    for (nodeid, fh, _), opened in ledger.handles.items():
        for request in opened:
            yield Leak("handle", nodeid, f"not released: handle {fh} of nodeid {nodeid}, opened by {request!r}")


def _lookups(ends: Ends, ledger: Ledger) -> Iterator[Leak]:
    used = set(_used(ends))
    inodes = ends.superblock.inodes
    for nodeid, count in ledger.lookups.items():
        known = inodes[nodeid].nlookup if nodeid in used and nodeid in inodes else 0
        if count > known and nodeid != FUSE_ROOT_ID:
            yield Leak("lookups", nodeid, f"not forgotten: {count - known} of {count} lookups of nodeid {nodeid}")


def _used(ends: Ends) -> Iterator[int]:
    """Yield the nodeids that a process uses, or may use."""
    if any(task.process is not None for task in ends.runner.tasks):
        yield from ends.superblock.inodes
    for process in ends.system.processes.values():
        yield from _upwards(process.cwd)
        for file in process.files.values():
            yield from _upwards(file.dentry)
        for area in process.memory.areas:
            if area.file is not None:
                yield from _upwards(area.file.dentry)


def _upwards(dentry: Dentry | None) -> Iterator[int]:
    while dentry is not None:
        if dentry.inode is not None:
            yield dentry.inode.nodeid
        dentry = dentry.parent
