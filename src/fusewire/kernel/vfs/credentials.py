"""Who somebody is, and what follows for what he may do.

Rights go by the credentials of the process whose system call it is. The kernel's own tasks have no
process, and may do anything.

Source: include/linux/cred.h; fs/fuse/dir.c, fuse_allow_current_process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusewire.kernel.tasks import current

if TYPE_CHECKING:
    from fusewire.kernel.vfs.inode import Inode
    from fusewire.kernel.vfs.superblock import Superblock

__all__ = ["Credentials", "allowed", "credentials", "owner_or_capable"]


@dataclass(slots=True)
class Credentials:
    """Who a process is. As root (uid 0) it has every capability."""

    uid: int = 0
    gid: int = 0
    euid: int = 0
    egid: int = 0
    suid: int = 0
    sgid: int = 0
    fsuid: int = 0
    fsgid: int = 0
    groups: frozenset[int] = frozenset()

    @classmethod
    def of(cls, uid: int, gid: int, groups: frozenset[int] = frozenset()) -> Credentials:
        return cls(uid, gid, uid, gid, uid, gid, uid, gid, groups)

    @property
    def privileged(self) -> bool:
        """It may override permissions (CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_CHOWN, CAP_FSETID, CAP_SYS_ADMIN)."""
        return self.fsuid == 0

    def in_group(self, gid: int) -> bool:
        return gid == self.fsgid or gid in self.groups


def credentials() -> Credentials:
    """Return who calls; the kernel itself may do anything."""
    process = current().process
    return process.credentials if process is not None else Credentials()


def allowed(superblock: Superblock) -> bool:
    """Whether the caller may use the mount at all: all his ids are those of its owner, or allow_other."""
    options = superblock.options
    if options.allow_other:
        return True
    who = credentials()
    return who.uid == who.euid == who.suid == options.user_id and who.gid == who.egid == who.sgid == options.group_id


def owner_or_capable(inode: Inode) -> bool:
    """Whether the caller owns the file, or may do as if he did."""
    who = credentials()
    return who.fsuid == inode.attr.uid or who.privileged
