"""System calls: open, close, dup and what concerns descriptors.

A descriptor is set aside before its file is opened, so that no open is sent in vain: EMFILE comes
first. Each close sends FLUSH, and its error is what close says, but the descriptor is gone
whatever happens.

Source: fs/open.c, do_sys_openat2, filp_flush; fs/file.c; fs/fcntl.c, setfl.
"""

from __future__ import annotations

import errno
import os
from typing import Final

from fusewire.errors import os_error
from fusewire.kernel.operations.closing import close_file
from fusewire.kernel.paths.open_flags import Opening
from fusewire.kernel.paths.open_path import open_path
from fusewire.kernel.paths.resolve import Path, filename_of
from fusewire.kernel.syscalls.base import syscall
from fusewire.kernel.vfs.caller import Caller
from fusewire.kernel.vfs.credentials import owner_or_capable

__all__ = ["Files"]

SETTABLE: Final = os.O_APPEND | os.O_NONBLOCK | os.O_DIRECT | os.O_NOATIME  # by F_SETFL


class Files(Caller):
    """open, close, dup and what concerns descriptors."""

    @syscall
    async def open(self, path: Path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        """Open, and as `flags` (O_*) say make or empty, the file at `path`; return its descriptor.

        Raises:
            OSError: EMFILE if there is no descriptor left, and whatever open(2) may say.
        """
        try:
            opening = Opening(flags, mode)
            fd = self.reserve_fd()
        except OSError as error:
            error.filename = filename_of(path)
            raise
        try:
            file = await open_path(self, path, opening, dir_fd)
        except BaseException:
            self.free_fd(fd)
            raise
        return self.install(fd, file, close_on_exec=bool(flags & os.O_CLOEXEC))

    @syscall
    async def close(self, fd: int) -> None:
        """Close `fd`, which is free again whatever happens.

        Raises:
            OSError: EBADF if it is not open; what FLUSH ends in, and the writing before it.
        """
        await self._close(fd)

    async def _close(self, fd: int) -> None:
        file = self.file(fd)
        del self.files[fd]
        self.free_fd(fd)
        await close_file(file, self)

    @syscall
    async def dup(self, fd: int) -> int:
        """Return another descriptor, the lowest that is free, for the file that `fd` stands for.

        Raises:
            OSError: EBADF if `fd` is not open; EMFILE if there is no descriptor left.
        """
        return self._dup(fd, 0, False)

    def _dup(self, fd: int, least: int, close_on_exec: bool) -> int:
        file = self.file(fd)
        new = self.reserve_fd(least)
        return self.install(new, file.hold(), close_on_exec=close_on_exec)

    @syscall
    async def dup2(self, fd: int, fd2: int, inheritable: bool = True) -> int:
        """Have `fd2` stand for the file that `fd` stands for, closing what it stood for; return `fd2`.

        What that close fails with is nobody's.

        Raises:
            OSError: EBADF if `fd` is not open, or `fd2` is no descriptor; EBUSY if a file is just
                being opened at `fd2`.
        """
        file = self.file(fd)
        if not 0 <= fd2 < self.open_max:
            raise os_error(errno.EBADF)
        if fd == fd2:
            return fd2
        if fd2 in self._reserved:
            raise os_error(errno.EBUSY)
        previous = self.files.get(fd2)
        self.close_on_exec.discard(fd2)
        self.install(fd2, file.hold(), close_on_exec=not inheritable)
        if previous is not None:
            try:
                await close_file(previous, self)
            except OSError:
                pass
        return fd2

    @syscall
    async def dup_from(self, fd: int, least: int = 0, *, close_on_exec: bool = False) -> int:
        """Return the lowest free descriptor from `least` on for the file of `fd` (F_DUPFD, F_DUPFD_CLOEXEC).

        Raises:
            OSError: EBADF if `fd` is not open; EINVAL if no descriptor is as high as `least`; EMFILE
                if there is none left.
        """
        self.file(fd)
        if not 0 <= least < self.open_max:
            raise os_error(errno.EINVAL)
        return self._dup(fd, least, close_on_exec)

    # Flags.

    @syscall
    async def get_flags(self, fd: int) -> int:
        """Return the O_* with which the file was opened, as far as they last (F_GETFL).

        Raises:
            OSError: EBADF if `fd` is not open.
        """
        return self.file(fd).flags

    @syscall
    async def set_flags(self, fd: int, flags: int) -> None:
        """Set O_APPEND, O_NONBLOCK, O_DIRECT and O_NOATIME as `flags` say (F_SETFL); the rest of `flags` is ignored.

        Raises:
            OSError: EBADF if `fd` is not open, or with O_PATH; EPERM for O_NOATIME on another's
                file; EINVAL for O_DIRECT on a directory.
        """
        file = self.opened_file(fd)
        if flags & ~file.flags & os.O_NOATIME and not owner_or_capable(file.inode):
            raise os_error(errno.EPERM)
        if flags & os.O_DIRECT and file.inode.is_dir:
            raise os_error(errno.EINVAL)
        file.flags = flags & SETTABLE | file.flags & ~SETTABLE

    @syscall
    async def set_blocking(self, fd: int, blocking: bool) -> None:
        """Take away O_NONBLOCK, or set it.

        Raises:
            OSError: EBADF if `fd` is not open, or with O_PATH.
        """
        file = self.opened_file(fd)
        file.flags = file.flags & ~os.O_NONBLOCK if blocking else file.flags | os.O_NONBLOCK

    @syscall
    async def get_blocking(self, fd: int) -> bool:
        """Return whether O_NONBLOCK is not set.

        Raises:
            OSError: EBADF if `fd` is not open.
        """
        return not self.file(fd).flags & os.O_NONBLOCK

    @syscall
    async def set_inheritable(self, fd: int, inheritable: bool) -> None:
        """Choose whether `fd` outlives `exec` (FD_CLOEXEC).

        Raises:
            OSError: EBADF if `fd` is not open.
        """
        self.file(fd)
        (self.close_on_exec.discard if inheritable else self.close_on_exec.add)(fd)

    @syscall
    async def get_inheritable(self, fd: int) -> bool:
        """Return whether `fd` outlives `exec`.

        Raises:
            OSError: EBADF if `fd` is not open.
        """
        self.file(fd)
        return fd not in self.close_on_exec

    @syscall
    async def umask(self, mask: int) -> int:
        """Set the permissions that new files are not to have; return the previous ones."""
        previous, self.umask_ = self.umask_, mask & 0o777
        return previous
