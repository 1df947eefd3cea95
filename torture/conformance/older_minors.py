"""What an embedded kernel of an older ABI cannot do, and of which the suite therefore complains.

Each row stands for checks by a pattern of their labels, below a minor. A row that applies and
excuses nothing is itself a complaint: then the older kernel can do what it should not.

Calls that a case finds missing by itself (EOPNOTSUPP: O_TMPFILE before 7.37; no time of birth before
7.39) are skipped, and need no row.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

__all__ = ["DIFFERENCES", "Difference", "Expected"]


@dataclass(frozen=True)
class Difference:
    """One row; `filesystem` is "" for all."""

    below: int  # this minor
    checks: str  # a pattern of labels, as a shell has it
    reason: str
    filesystem: str = ""


SEEK = "LSEEK came with 7.24: before, a file is data from its beginning to its end"
RENAME2 = "RENAME2 came with 7.23: before, no flag of renameat2 is known"
ACLS = "POSIX_ACL came with 7.26: before, ACLs are attributes, by which nobody is let in or kept out"
KILLPRIV = (
    "HANDLE_KILLPRIV_V2 came with 7.33: before, the kernel drops sgid from programs alone (fs/fuse/dir.c, fuse_setattr)"
)

DIFFERENCES: tuple[Difference, ...] = (
    Difference(23, "renameat2.*", RENAME2),
    Difference(23, "paths.*: root: renameat2(*", RENAME2),
    Difference(24, "holes.seeking: *", SEEK),
    Difference(24, "fallocate.punching: hole is *", SEEK),
    Difference(24, "fallocate.punching: data is *", SEEK),
    Difference(26, "acl.*: bob: open(*", ACLS),
    Difference(26, "acl.*: carol: open(*", ACLS),
    Difference(33, "suid.writing_drops_it: mode of mode-6766 *", KILLPRIV),
)


class Expected:
    """The rows that apply, and which of them were needed."""

    def __init__(self, filesystem: str, minor: int) -> None:
        self.rows = [row for row in DIFFERENCES if minor < row.below and row.filesystem in ("", filesystem)]
        self.used: set[Difference] = set()

    def reason(self, label: str) -> str:
        """Why a check of this label fails; nothing if it should not."""
        for row in self.rows:
            if fnmatchcase(label, row.checks):
                self.used.add(row)
                return row.reason
        return ""

    @property
    def unused(self) -> list[Difference]:
        """Rows that have excused nothing."""
        return [row for row in self.rows if row not in self.used]
