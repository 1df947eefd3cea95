"""What the suite complains of, and must: an older kernel, and a filesystem of nodes, cannot do all.

Each row stands for checks by a pattern of their labels. A row that applies and excuses nothing is
itself a complaint: then somebody can do what he should not. What a case finds missing by itself
(EOPNOTSUPP: O_TMPFILE before 7.37; no time of birth before 7.39) is skipped, and needs no row.

The rows of a flag are Linux's own, too: a mount whose daemon does not take the flag fails the same
checks.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

__all__ = ["DIFFERENCES", "Difference", "Expected"]


ALL = "memory local nodes"
ALWAYS = 99  # on every minor


@dataclass(frozen=True)
class Difference:
    """One row: what fails below a minor, and why."""

    below: int
    filesystems: str
    checks: str  # a pattern of labels, as a shell has it
    reason: str


SEEK = "LSEEK came with 7.24, and nodes have none: without, a file is data from its beginning to its end"
RENAME2 = "RENAME2 came with 7.23: before, no flag of renameat2 is known"
ACLS = "POSIX_ACL came with 7.26: before, ACLs are attributes, by which nobody is let in or kept out"
KILLPRIV = (
    "HANDLE_KILLPRIV_V2 came with 7.33, and nodes do not take it: without, the kernel drops sgid "
    "of programs alone (fs/fuse/dir.c, fuse_setattr)"
)

DIFFERENCES: tuple[Difference, ...] = (
    Difference(23, ALL, "renameat2.*", RENAME2),
    Difference(23, ALL, "paths.*: root: renameat2(*", RENAME2),
    Difference(24, ALL, "holes.seeking: *", SEEK),
    Difference(24, ALL, "fallocate.punching: hole is *", SEEK),
    Difference(24, ALL, "fallocate.punching: data is *", SEEK),
    Difference(26, "memory local", "acl.*: bob: open(*", ACLS),
    Difference(26, "memory local", "acl.*: carol: open(*", ACLS),
    Difference(33, ALL, "suid.writing_drops_it: mode of mode-6766 *", KILLPRIV),
    Difference(ALWAYS, "nodes", "holes.seeking: *", SEEK),
    Difference(ALWAYS, "nodes", "fallocate.punching: hole is *", SEEK),
    Difference(ALWAYS, "nodes", "fallocate.punching: data is *", SEEK),
    Difference(ALWAYS, "nodes", "suid.writing_drops_it: mode of mode-6766 *", KILLPRIV),
)


class Expected:
    """The rows that apply, and which of them were needed."""

    def __init__(self, filesystem: str, minor: int) -> None:
        """Of no filesystem ("") nothing is expected to fail."""
        applying = [row for row in DIFFERENCES if minor < row.below and filesystem in row.filesystems.split()]
        self.rows = {row.checks: row for row in applying}
        self.used: set[Difference] = set()

    def reason(self, label: str) -> str:
        """Why a check of this label fails; nothing if it should not."""
        for row in self.rows.values():
            if fnmatchcase(label, row.checks):
                self.used.add(row)
                return row.reason
        return ""

    @property
    def unused(self) -> list[Difference]:
        """Rows that have excused nothing."""
        return [row for row in self.rows.values() if row not in self.used]
