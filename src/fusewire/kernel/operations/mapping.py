"""A file's part in a mapping: when it is mapped, and when that ends.

A file that the daemon wants to be read and written past the cache may be mapped privately; shared
only if DIRECT_IO_ALLOW_MMAP was negotiated, and from then on it counts as one that uses the cache.

The end of a mapping tells the daemon all that is dirty in the file, and waits (fuse_vma_close): it
may be the last through which that could be written. For private mappings, too; but not for those
of a file opened with DIRECT_IO.

Source: fs/fuse/file.c, fuse_file_mmap, fuse_vma_close; mm/mmap.c, do_mmap.
"""

from __future__ import annotations

import errno
import mmap
from typing import TYPE_CHECKING

from fusewire.errors import os_error
from fusewire.events import named
from fusewire.kernel.operations.io_mode import use_page_cache
from fusewire.kernel.operations.pages import invalidate_pages
from fusewire.kernel.operations.write_pages import link_write_file, state_of
from fusewire.kernel.operations.writeback import write_inode
from fusewire.wire import InitFlags, OpenFlags

if TYPE_CHECKING:
    from fusewire.kernel.vfs.address_space import Area
    from fusewire.kernel.vfs.open_file import OpenFile

__all__ = ["check_mappable", "fuse_file_mmap", "fuse_vma_close"]


def check_mappable(file: OpenFile, prot: int, shared: bool) -> None:
    """Check that a file may be mapped as `prot` (PROT_*) says.

    Raises:
        OSError: EACCES if it is not open for that; EPERM on a noexec mount; ENODEV of what is no regular file.
    """
    if shared and prot & mmap.PROT_WRITE and not file.writable:
        raise os_error(errno.EACCES)
    if not file.readable:
        raise os_error(errno.EACCES)
    if prot & mmap.PROT_EXEC and file.inode.superblock.options.noexec:
        raise os_error(errno.EPERM)
    if not file.inode.is_regular:
        raise os_error(errno.ENODEV)


@named("fuse_file_mmap")
async def fuse_file_mmap(area: Area, file: OpenFile) -> None:
    """Let `area` be a mapping of `file`.

    Raises:
        OSError: ENODEV if the file is read and written past the cache, and must not be shared.
    """
    inode = file.inode
    if file.open_flags & OpenFlags.FOPEN_DIRECT_IO:
        if area.shared and not inode.superblock.connection.has(InitFlags.FUSE_DIRECT_IO_ALLOW_MMAP):
            raise os_error(errno.ENODEV)
        await invalidate_pages(inode)
        if not area.shared:
            area.saves = False
            return
        await use_page_cache(file)
    if area.shared and file.writable:
        link_write_file(file)


@named("fuse_vma_close")
async def fuse_vma_close(area: Area, file: OpenFile) -> None:
    """Have all that is dirty in `file` written, since `area` is to be unmapped. Raises nothing."""
    if not area.saves:
        return
    try:
        await write_inode(file.inode)
    except OSError as error:
        state_of(file.inode).fail(error.errno or errno.EIO)  # for whoever asks later: munmap has no errors
