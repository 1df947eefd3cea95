"""System calls: copy_file_range and sendfile.

Source: fs/read_write.c, vfs_copy_file_range, generic_copy_file_checks and do_sendfile.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from fusewire.errors import os_error
from fusewire.kernel.operations.copying import fuse_copy_file_range, splice
from fusewire.kernel.operations.reading import LARGEST
from fusewire.kernel.syscalls.base import syscall
from fusewire.kernel.syscalls.held import held
from fusewire.kernel.syscalls.positions import MAX_RW_COUNT
from fusewire.kernel.syscalls.space import Space

if TYPE_CHECKING:
    from fusewire.kernel.vfs.open_file import OpenFile

__all__ = ["Copying"]

WORD: Final = 1 << 64


class Copying(Space):
    """copy_file_range and sendfile."""

    @syscall
    async def copy_file_range(
        self, src: int, dst: int, count: int, offset_src: int | None = None, offset_dst: int | None = None
    ) -> int:
        """Copy up to `count` bytes of `src` to `dst`, the daemon doing it if it can; return how many.

        Where no offset is given, the position is meant, and moved.

        Raises:
            OSError: EBADF, also if `dst` is opened with O_APPEND; EISDIR; EINVAL if the ranges overlap in one
                file, or for what is no regular file; EFBIG and EOVERFLOW; otherwise as the daemon says.
        """
        with held(self, src) as source, held(self, dst) as target:
            start = source.position if offset_src is None else offset_src
            target_start = target.position if offset_dst is None else offset_dst
            copied = await _copy_range(source, start, target, target_start, count)
            if offset_src is None:
                source.position = start + copied
            if offset_dst is None:
                target.position = target_start + copied
            return copied

    @syscall
    async def sendfile(self, out_fd: int, in_fd: int, offset: int | None, count: int) -> int:
        """Copy up to `count` bytes of `in_fd`, from `offset` or its position on, to the position of `out_fd`.

        Raises:
            OSError: EBADF; ESPIPE if `in_fd` has no offsets; EINVAL for a directory, or if `out_fd` was opened
                with O_APPEND; EOVERFLOW; otherwise what reading or writing says.
        """
        with held(self, in_fd) as source:
            start = source.position if offset is None else offset
            _check_source(source, start, count, by_offset=offset is not None)
            with held(self, out_fd) as target:
                copied = await _send(source, start, target, count)
            if offset is None:
                source.position = start + copied
            return copied


def _check_source(source: OpenFile, start: int, count: int, by_offset: bool) -> None:
    """Check what sendfile(2) reads from, which it does before it looks at where that is to go."""
    if not source.readable:
        raise os_error(errno.EBADF)
    if by_offset and not source.seekable:
        raise os_error(errno.ESPIPE)
    _check_area(start, count)


async def _copy_range(source: OpenFile, start: int, target: OpenFile, target_start: int, count: int) -> int:
    _check_files(source, target)
    if start % WORD + count >= WORD or target_start % WORD + count >= WORD:
        raise os_error(errno.EOVERFLOW)
    count = min(count, max(0, source.inode.attr.size - start))
    if target_start >= LARGEST:
        raise os_error(errno.EFBIG)
    count = min(count, LARGEST - target_start)
    if source.inode is target.inode and target_start + count > start and target_start < start + count:
        raise os_error(errno.EINVAL)
    _check_area(start, count)
    _check_area(target_start, count)
    if not count:
        return 0
    return await fuse_copy_file_range(source, start, target, target_start, count)


def _check_files(source: OpenFile, target: OpenFile) -> None:
    """Check that both are regular files, opened for what is to be done (generic_file_rw_checks)."""
    if source.inode.is_dir or target.inode.is_dir:
        raise os_error(errno.EISDIR)
    if not source.inode.is_regular or not target.inode.is_regular:
        raise os_error(errno.EINVAL)
    if not source.readable or not target.writable or target.flags & os.O_APPEND:
        raise os_error(errno.EBADF)


def _check_area(offset: int, count: int) -> None:
    """Check that there are such bytes (rw_verify_area)."""
    if offset < 0 or count < 0 or offset + count > LARGEST:
        raise os_error(errno.EINVAL)


async def _send(source: OpenFile, start: int, target: OpenFile, count: int) -> int:
    if not target.writable:
        raise os_error(errno.EBADF)
    count = min(count, MAX_RW_COUNT)
    _check_area(target.position, count)
    if start + count > LARGEST:
        raise os_error(errno.EOVERFLOW)
    if target.flags & os.O_APPEND or source.inode.is_dir:
        raise os_error(errno.EINVAL)
    copied = await splice(source, start, target, target.position, count)
    target.position += copied
    return copied
