"""System calls: fork, exec, exit.

A child has its parent's open files, not copies of them: who reads in one moves the position in the
other, and RELEASE comes when both have closed. Its descriptors are its own, and so are its memory,
its directory, its umask, and its locks, of which it begins with none.

Not modelled: threads that share descriptors but not memory, or the like (clone's flags); memory
that both share without a file (MAP_ANONYMOUS | MAP_SHARED) is copied like any other.

Source: kernel/fork.c, copy_files and dup_mm; fs/exec.c, begin_new_exec; kernel/exit.c, do_exit.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Self, cast

from fusewire.kernel.operations.closing import close_file
from fusewire.kernel.operations.releasing import put_file
from fusewire.kernel.syscalls.base import syscall
from fusewire.kernel.syscalls.memory import Memory
from fusewire.kernel.tasks import current
from fusewire.kernel.vfs.address_space import AddressSpace, Area
from fusewire.kernel.vfs.page_cache import Page

if TYPE_CHECKING:
    from fusewire.kernel.syscalls.process import Process
    from fusewire.kernel.vfs.credentials import Credentials
    from fusewire.kernel.vfs.dentry import Dentry
    from fusewire.kernel.vfs.open_file import OpenFile
    from fusewire.kernel.vfs.system import System

__all__ = ["Lifetime"]


class Lifetime(Memory):
    """How a process begins and ends."""

    @classmethod
    def new(cls, system: System, credentials: Credentials, directory: Dentry, name: str = "") -> Self:
        """Return a process of `system`, with a number of its own, that is in `directory`."""
        process = cls(system, system.new_pid(), credentials, directory.get(), name)
        system.processes[process.pid] = cast("Process", process)
        return process

    @syscall
    async def fork(self) -> Self:
        """Return a child: a process with the same open files, and the same of everything else."""
        child = self.new(self.system, dataclasses.replace(self.credentials), self.cwd)
        child.umask_, child.open_max = self.umask_, self.open_max
        child.close_on_exec = set(self.close_on_exec)
        for fd, file in self.files.items():
            child.files[fd] = file.hold()
        if self._memory is not None:
            child._memory = copy_of(self._memory)
        return child

    @syscall
    async def exec(self) -> None:
        """Begin another program: memory is empty, and descriptors with FD_CLOEXEC are closed, whatever that says."""
        held = self._hold_files(sorted(self.close_on_exec))
        await self.unmap_all()
        for fd in sorted(self.close_on_exec):
            await self._close_quietly(self.files.pop(fd))
            self.free_fd(fd)
        for file in held:
            put_file(file)

    @syscall
    async def exit(self) -> None:
        """End: memory goes first, then descriptors, lowest first, whatever that says. Idempotent."""
        if self.ended:
            return
        self.ended = True
        if self.killed:  # by a signal that is pending to the end, but is no longer a fatal one (kernel/signal.c)
            current().interrupt()
        held = self._hold_files(sorted(self.files))
        await self.unmap_all()
        while self.files:
            fd = min(self.files)
            await self._close_quietly(self.files.pop(fd))
            self.free_fd(fd)
        self.cwd.put()
        for file in held:
            put_file(file)
        self.system.processes.pop(self.pid, None)

    def _hold_files(self, fds: Iterable[int]) -> list[OpenFile]:
        """Hold all files that are mapped, and those of `fds`, until the rest is done.

        They are returned in the order in which Linux lets go of them, the last one first: what a task has
        left to do when it leaves the kernel is a stack (fs/file_table.c, fput; kernel/task_work.c).
        """
        mapped = [area.file for area in self._memory.areas if area.file is not None] if self._memory is not None else []
        files = [*mapped, *(self.files[fd] for fd in fds)]
        return [file.hold() for file in dict.fromkeys(reversed(files))]

    async def _close_quietly(self, file: OpenFile) -> None:
        with contextlib.suppress(OSError):
            await close_file(file, self)


def copy_of(memory: AddressSpace) -> AddressSpace:
    """Return what a child gets: the same files mapped, and copies of the pages that are a process's own."""
    copy = AddressSpace()
    for area in memory.areas:
        file = area.file.hold() if area.file is not None else None
        twin = Area(area.start, area.end, area.prot, file=file, offset=area.offset, shared=area.shared)
        twin.saves, twin.advice = area.saves, area.advice
        twin.own = {number: _copy_of_page(page) for number, page in area.own.items()}
        copy.add(twin)
    return copy


def _copy_of_page(page: Page) -> Page:
    copy = Page(page.index)
    copy.data[:] = page.data
    copy.uptodate = page.uptodate
    return copy
