"""What is done to the content of regular files: the part of `Memory` that knows no names.

An open file needs no state of its own, since every request brings the nodeid and the offset;
so no fh is given out, and opens are counted for the inode's life alone.
"""

from __future__ import annotations

import errno
import os
from time import time_ns
from typing import Final

from fusewire.daemon.filesystem import Filesystem
from fusewire.daemon.request import Request
from fusewire.daemon.values import OpenFile
from fusewire.errors import os_error
from fusewire.filesystems.memory.inodes import Inode, RegularFile
from fusewire.filesystems.memory.ownership import kill_privileges
from fusewire.filesystems.memory.sparse import SparseFile, check_range
from fusewire.filesystems.memory.tree import Tree
from fusewire.wire import WriteFlags

__all__ = ["Files", "mark_accessed"]

FALLOC_FL_KEEP_SIZE: Final = 1
FALLOC_FL_PUNCH_HOLE: Final = 2
FALLOC_FL_ZERO_RANGE: Final = 16

CHANGES: Final = {  # what fallocate does in which mode; KEEP_SIZE apart
    0: SparseFile.allocate,
    FALLOC_FL_PUNCH_HOLE: SparseFile.punch,
    FALLOC_FL_ZERO_RANGE: SparseFile.zero,
}
KILL_SUIDGID: Final = int(WriteFlags.FUSE_WRITE_KILL_SUIDGID)
COPY_MAX: Final = 64 << 20  # bytes copied by one copy_file_range, lest everybody else wait; callers go on


class Files(Filesystem):
    """Regular files by nodeid: how they are read, written and cut to size."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def open(self, request: Request, nodeid: int, flags: int) -> OpenFile:
        return self._open(self._tree.file(nodeid), flags)

    def _open(self, file: RegularFile, flags: int) -> OpenFile:
        """Count an open, and say whether the kernel may keep the pages that it has.

        It may, for nobody else writes here. But what is read from there, we do not hear of: so the
        first who opens a changed file to read it shall ask us, or atime would stay behind for ever.
        """
        self._tree.count_again(file)
        file.nopen += 1
        return OpenFile(keep_cache=not file.atime_is_behind or flags & os.O_ACCMODE == os.O_WRONLY)

    def release(self, request: Request, nodeid: int, fh: int) -> None:
        file = self._tree.file(nodeid)
        file.nopen = max(0, file.nopen - 1)
        self._tree.settle(file)

    def read(self, request: Request, nodeid: int, fh: int, offset: int, size: int) -> bytes:
        file = self._tree.file(nodeid)
        mark_accessed(file, request)
        return file.content.read(offset, size)

    def write(self, request: Request, nodeid: int, fh: int, offset: int, data: memoryview) -> int:
        """As `Filesystem.write`: fewer bytes than there are if there is room for no more, ENOSPC if for none."""
        file = self._tree.file(nodeid)
        count = file.content.write(offset, data)
        if count:
            file.modified(time_ns())
            kill_privileges(request, file, suidgid=bool(request.body.write_flags & KILL_SUIDGID))
        return count

    def _resize(self, file: RegularFile, size: int, now_ns: int, always: bool) -> None:
        """Set a file's size. A size that it has already is no change, unless it is 0 or that of an open file.

        So POSIX has it: ftruncate, and open with O_TRUNC, mark the times whatever the size was;
        truncate does not.
        """
        if always or not size or size != file.content.size:
            file.content.truncate(size)
            file.mtime_ns = now_ns

    def fallocate(self, request: Request, nodeid: int, fh: int, offset: int, length: int, mode: int) -> None:
        """As `Filesystem.fallocate`; EOPNOTSUPP for what is none of allocate, punch and zero."""
        file, end = self._tree.file(nodeid), offset + length
        if length <= 0:
            raise os_error(errno.EINVAL)
        check_range(offset, end)
        change, keep_size = CHANGES.get(mode & ~FALLOC_FL_KEEP_SIZE), mode & FALLOC_FL_KEEP_SIZE
        if change is None or (change is SparseFile.punch and not keep_size):
            raise os_error(errno.EOPNOTSUPP)
        change(file.content, offset, end)
        if not keep_size:
            file.content.size = max(file.content.size, end)
        file.modified(time_ns())
        kill_privileges(request, file, suidgid=request.uid != 0)

    def lseek(self, request: Request, nodeid: int, fh: int, offset: int, whence: int) -> int:
        content = self._tree.file(nodeid).content
        if whence not in (os.SEEK_DATA, os.SEEK_HOLE):
            raise os_error(errno.EINVAL)
        if not 0 <= offset < content.size:
            raise os_error(errno.ENXIO)
        if whence == os.SEEK_HOLE:
            return content.next_hole(offset)
        found = content.next_data(offset)
        if found == content.size:
            raise os_error(errno.ENXIO)
        return found

    def copy_file_range(
        self,
        request: Request,
        nodeid: int,
        fh: int,
        offset: int,
        nodeid_out: int,
        fh_out: int,
        offset_out: int,
        length: int,
        flags: int,
    ) -> int:
        """As `Filesystem.copy_file_range`. Holes stay holes."""
        source, target = self._tree.file(nodeid), self._tree.file(nodeid_out)
        length = min(length, source.content.size - offset)
        if flags or (source is target and abs(offset - offset_out) < length):
            raise os_error(errno.EINVAL)
        count = target.content.copy_from(source.content, offset, offset_out, min(length, COPY_MAX))
        source.accessed(time_ns())
        if count:
            target.modified(time_ns())
            kill_privileges(request, target, suidgid=request.uid != 0)
        return count


def mark_accessed(inode: Inode, request: Request) -> None:
    """Note that content was read, unless the caller opened it with O_NOATIME."""
    now = time_ns()
    if inode.atime_is_old(now) and not request.body.flags & os.O_NOATIME:
        inode.atime_ns = now
