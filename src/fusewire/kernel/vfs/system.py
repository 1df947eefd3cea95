"""One computer: its clock, its mounts and its processes. Several may exist in one Python process."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from fusewire.kernel.clock import Clock, StandingClock

if TYPE_CHECKING:
    from fusewire.kernel.runners import Runner
    from fusewire.kernel.syscalls.process import Process
    from fusewire.kernel.vfs.dentry import Dentry
    from fusewire.kernel.vfs.file_locks import Waiter
    from fusewire.kernel.vfs.superblock import Superblock

__all__ = ["System"]


class System:
    """What all processes of one kernel share."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock: Clock = clock or StandingClock()
        self.runner: Runner  # set by who makes it
        self.root: Dentry | None = None  # of the first mount
        self.superblocks: list[Superblock] = []
        self.processes: dict[int, Process] = {}  # by pid
        self.protected_hardlinks = True  # fs.protected_hardlinks: nobody links others' files that he may not write
        self.protected_symlinks = False  # fs.protected_symlinks: nobody follows others' links in /tmp and the like
        self.lock_waiters: list[Waiter] = []  # for locks on any file, that no two wait for each other
        self._pids = itertools.count(100)
        self._devices = itertools.count(64)

    def new_pid(self) -> int:
        return next(self._pids)

    def new_device(self) -> int:
        """Return the number of a new mount, as st_dev shows it."""
        return next(self._devices)
