"""System calls: who a process is.

There are three user ids. The *effective* one decides what it may do, the *real* one says who it is
for, and the *saved* one is to where it may go back. Files are accessed with a fourth, which follows
the effective one, and which a daemon is told in every request. Root may take any; others may only
exchange those that they have. Groups likewise.

Source: kernel/sys.c, __sys_setuid, __sys_setreuid, __sys_setresuid; kernel/groups.c.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from fusewire.errors import os_error
from fusewire.kernel.syscalls.base import syscall
from fusewire.kernel.vfs.caller import Caller

__all__ = ["Identity"]

UNCHANGED: Final = -1
LARGEST_ID: Final = 0xFFFFFFFE  # the next is -1


class Identity(Caller):
    """User and group ids."""

    @property
    def _capable(self) -> bool:
        """It may take any id (CAP_SETUID, CAP_SETGID)."""
        return self.credentials.euid == 0

    # Users.

    @syscall
    async def setuid(self, uid: int) -> None:
        """Become `uid` for good if root, else exchange the effective user id.

        Raises:
            OSError: EPERM if it is neither the real nor the saved one; EINVAL if it is no id.
        """
        who = self.credentials
        _check(uid)
        if self._capable:
            self.credentials = replace(who, uid=uid, euid=uid, suid=uid, fsuid=uid)
        elif uid in (who.uid, who.suid):
            self.credentials = replace(who, euid=uid, fsuid=uid)
        else:
            raise os_error(errno.EPERM)

    @syscall
    async def seteuid(self, euid: int) -> None:
        """Exchange the effective user id; errors as `setresuid`."""
        _check(euid)
        self._set_uids(UNCHANGED, euid, UNCHANGED)

    @syscall
    async def setreuid(self, ruid: int, euid: int) -> None:
        """Set real and effective user ids; -1 leaves one as it is. The saved one follows, as a rule, the effective one.

        Raises:
            OSError: EPERM for a real one that is neither the real nor the effective one, or an
                effective one that is none of the three.
        """
        who = self.credentials
        if not self._may_be(euid) or not (self._capable or ruid in (UNCHANGED, who.uid, who.euid)):
            raise os_error(errno.EPERM)
        effective = _chosen(euid, who.euid)
        saves = ruid != UNCHANGED or euid not in (UNCHANGED, who.uid)
        self.credentials = replace(
            who, uid=_chosen(ruid, who.uid), euid=effective, suid=effective if saves else who.suid, fsuid=effective
        )

    @syscall
    async def setresuid(self, ruid: int, euid: int, suid: int) -> None:
        """Set real, effective and saved user ids; -1 leaves one as it is.

        Raises:
            OSError: EPERM for one that is none of the three.
        """
        self._set_uids(ruid, euid, suid)

    def _may_be(self, uid: int) -> bool:
        who = self.credentials
        return self._capable or uid in (UNCHANGED, who.uid, who.euid, who.suid)

    def _set_uids(self, ruid: int, euid: int, suid: int) -> None:
        if not all(self._may_be(uid) for uid in (ruid, euid, suid)):
            raise os_error(errno.EPERM)
        who = self.credentials
        effective = _chosen(euid, who.euid)
        self.credentials = replace(
            who, uid=_chosen(ruid, who.uid), euid=effective, suid=_chosen(suid, who.suid), fsuid=effective
        )

    @syscall
    async def getuid(self) -> int:
        return self.credentials.uid

    @syscall
    async def geteuid(self) -> int:
        return self.credentials.euid

    @syscall
    async def getresuid(self) -> tuple[int, int, int]:
        """Return real, effective and saved user ids."""
        return self.credentials.uid, self.credentials.euid, self.credentials.suid

    # Groups.

    @syscall
    async def setgid(self, gid: int) -> None:
        """As `setuid`, of the group."""
        who = self.credentials
        _check(gid)
        if self._capable:
            self.credentials = replace(who, gid=gid, egid=gid, sgid=gid, fsgid=gid)
        elif gid in (who.gid, who.sgid):
            self.credentials = replace(who, egid=gid, fsgid=gid)
        else:
            raise os_error(errno.EPERM)

    @syscall
    async def setegid(self, egid: int) -> None:
        """Exchange the effective group id; errors as `setresgid`."""
        _check(egid)
        self._set_gids(UNCHANGED, egid, UNCHANGED)

    @syscall
    async def setresgid(self, rgid: int, egid: int, sgid: int) -> None:
        """As `setresuid`, of the group."""
        self._set_gids(rgid, egid, sgid)

    def _set_gids(self, rgid: int, egid: int, sgid: int) -> None:
        who = self.credentials
        mine = (UNCHANGED, who.gid, who.egid, who.sgid)
        if not self._capable and not all(gid in mine for gid in (rgid, egid, sgid)):
            raise os_error(errno.EPERM)
        effective = _chosen(egid, who.egid)
        self.credentials = replace(
            who, gid=_chosen(rgid, who.gid), egid=effective, sgid=_chosen(sgid, who.sgid), fsgid=effective
        )

    @syscall
    async def setgroups(self, groups: Iterable[int]) -> None:
        """Set the supplementary groups.

        Raises:
            OSError: EPERM unless root asks; EINVAL if one is no id.
        """
        chosen = frozenset(groups)
        if not self._capable:
            raise os_error(errno.EPERM)
        for gid in chosen:
            _check(gid)
        self.credentials = replace(self.credentials, groups=chosen)

    @syscall
    async def getgid(self) -> int:
        return self.credentials.gid

    @syscall
    async def getegid(self) -> int:
        return self.credentials.egid

    @syscall
    async def getresgid(self) -> tuple[int, int, int]:
        """Return real, effective and saved group ids."""
        return self.credentials.gid, self.credentials.egid, self.credentials.sgid

    @syscall
    async def getgroups(self) -> list[int]:
        return sorted(self.credentials.groups)

    @syscall
    async def getpid(self) -> int:
        return self.pid


def _check(number: int) -> None:
    if not 0 <= number <= LARGEST_ID:
        raise os_error(errno.EINVAL)


def _chosen(wanted: int, present: int) -> int:
    return present if wanted == UNCHANGED else wanted
