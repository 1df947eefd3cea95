"""Attributes: when they are asked for, and what becomes of the answer. What stat(2) shows of them: shown.py.

A stat of attributes that are still good sends nothing. Otherwise GETATTR goes out, or STATX if the
time of creation is wanted, and what the caller sees is the reply, even where we do not believe it:
`Inode.accept` throws away what a local change has outdated. Only regular files are named to the
daemon by file handle too, and only by who reads, writes or seeks: fstat(2) asks as stat(2) does.

A reply that changes the type of a file, or has none, makes the inode bad.

No lock is held while the daemon is asked, unless the caller holds one.

Source: fs/fuse/dir.c, fuse_update_get_attr, fuse_do_getattr, fuse_do_statx, fuse_fillattr.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from fusewire.errors import os_error
from fusewire.events import named
from fusewire.kernel.operations.pages import invalidate_pages, truncate_pages
from fusewire.kernel.operations.shown import attr_of_statx, nanoseconds, stat_of, stat_of_reply
from fusewire.kernel.vfs.attr import (
    S_IFMT,
    STATX_BASIC,
    STATX_BTIME,
    STATX_SIZE,
    STATX_TYPE,
    plausible,
    seconds,
)
from fusewire.kernel.vfs.credentials import allowed
from fusewire.kernel.vfs.inode import INVALIDATE, TRUNCATE, Inode
from fusewire.wire import Attr, AttrOut, GetattrFlags, GetattrIn, StatxIn, StatxOut

if TYPE_CHECKING:
    from fusewire.kernel.vfs.open_file import OpenFile
    from fusewire.kernel.vfs.superblock import Superblock

__all__ = [
    "change_attributes",
    "check_allowed",
    "fuse_getattr",
    "fuse_statx",
    "getattr_now",
    "refresh",
    "settle_pages",
]

AT_STATX_FORCE_SYNC: Final = 0x2000  # include/uapi/linux/fcntl.h
AT_STATX_DONT_SYNC: Final = 0x4000
PLAIN_GETATTR: Final = GetattrIn()  # of whoever has no file handle to name


async def refresh(inode: Inode, mask: int, file: OpenFile | None = None) -> None:
    """See to it that the attributes in `mask` (statx bits) are good, asking the daemon if they are not.

    Raises:
        OSError: what GETATTR ends in; EIO if the daemon contradicts itself.

    Source: fs/fuse/dir.c, fuse_update_attributes.
    """
    if inode.stale(mask):
        await getattr_now(inode, file)


@named("fuse_getattr")
async def fuse_getattr(inode: Inode, mask: int = STATX_BASIC, flags: int = 0) -> os.stat_result:
    """Return what stat(2) shows, asking the daemon if the attributes in `mask` are not good.

    Raises:
        OSError: EACCES if the caller may not use the mount; EIO if the inode is bad, or becomes so;
            what GETATTR ends in.
    """
    if inode.bad:
        raise os_error(errno.EIO)
    if not inode.superblock.options.allow_other:
        check_allowed(inode.superblock)
    if inode.stale(mask) if not flags else _sync(inode, mask, flags):
        return stat_of_reply(inode, await getattr_now(inode))
    return stat_of(inode)


async def fuse_statx(inode: Inode, mask: int, flags: int) -> tuple[os.stat_result, int | None, int]:
    """Return what statx(2) shows: the attributes, nanoseconds since 1970 of creation if known, and what is valid.

    Raises:
        OSError: as `fuse_getattr`.
    """
    absent = inode.superblock.connection.absent
    mask &= STATX_BASIC | STATX_BTIME
    if mask & STATX_BTIME and "STATX" not in absent and _sync(inode, mask, flags):
        inode.check_bad()
        check_allowed(inode.superblock)
        try:
            return await _statx_now(inode)
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise
            absent.add("STATX")
    if "STATX" in absent:
        mask &= STATX_BASIC
    attributes = await fuse_getattr(inode, mask, flags)
    return attributes, inode.btime, STATX_BASIC | (STATX_BTIME if inode.btime is not None else 0)


def _sync(inode: Inode, mask: int, flags: int) -> bool:
    """Whether the daemon has to be asked: statx(2) may insist on it, or on the contrary."""
    if flags & AT_STATX_FORCE_SYNC:
        return mask != 0
    return not flags & AT_STATX_DONT_SYNC and inode.stale(mask)


async def getattr_now(inode: Inode, file: OpenFile | None = None) -> Attr:
    """Send GETATTR; return the attributes of the reply, whether or not they were believed.

    Raises:
        OSError: what GETATTR ends in; EIO if the reply is of no file, or of one of another type.

    Source: fs/fuse/dir.c, fuse_do_getattr.
    """
    body = PLAIN_GETATTR
    if file is not None and inode.is_regular:
        body = GetattrIn(GetattrFlags.FUSE_GETATTR_FH, file.fh)
    inode.acls = None
    connection = inode.superblock.connection
    version = connection.attr_version
    reply = await connection.ask("GETATTR", inode.nodeid, body)
    answer: AttrOut = reply.structs[0]
    attr = answer.attr
    check_attr(inode, attr)
    inode.accept(attr, seconds(answer.attr_valid, answer.attr_valid_nsec), version)
    if inode.stale_pages:
        await settle_pages(inode)
    return attr


@named("fuse_do_statx")
async def _statx_now(inode: Inode) -> tuple[os.stat_result, int | None, int]:
    """Send STATX; what it says is kept if it says all that GETATTR would."""
    inode.acls = None
    connection = inode.superblock.connection
    version = connection.attr_version
    reply = await connection.ask("STATX", inode.nodeid, StatxIn(sx_mask=STATX_BASIC | STATX_BTIME))
    answer: StatxOut = reply.structs[0]
    told, attr = answer.stat, attr_of_statx(answer.stat)
    check_attr(
        inode,
        Attr(
            mode=attr.mode if told.mask & STATX_TYPE else inode.attr.mode,
            size=attr.size if told.mask & STATX_SIZE else 0,
        ),
    )
    btime = nanoseconds(told.btime)
    if told.mask & STATX_BASIC == STATX_BASIC:
        await change_attributes(
            inode, attr, seconds(answer.attr_valid, answer.attr_valid_nsec), version, btime=btime, told=told.mask
        )
    shown = told.mask & (STATX_BASIC | STATX_BTIME) | STATX_TYPE
    return stat_of_reply(inode, attr), btime if shown & STATX_BTIME else None, shown


def check_attr(inode: Inode, attr: Attr) -> None:
    """Make `inode` bad if `attr` cannot be its own.

    Raises:
        OSError: EIO.
    """
    if (attr.mode ^ inode.attr.mode) & S_IFMT or not plausible(attr):
        inode.bad = True
        raise os_error(errno.EIO)


async def change_attributes(
    inode: Inode, attr: Attr, attr_valid: float, version: int, *, btime: int | None = None, told: int = 0
) -> None:
    """Take over `attr` of a reply, unless we know better, and do what follows for the page cache.

    Args:
        attr_valid: seconds for which it holds.
        version: the connection's `attr_version` before the request was sent; 0 of what makes a file.
        btime: nanoseconds since 1970 of creation, if `told`, the mask of a STATX, has STATX_BTIME.
    """
    if inode.accept(attr, attr_valid, version) and told:
        inode.invalid &= ~STATX_BTIME
        if told & STATX_BTIME:
            inode.btime = btime
    if inode.stale_pages:
        await settle_pages(inode)


async def settle_pages(inode: Inode) -> None:
    """Drop the pages that `Inode.accept` has found to be stale."""
    stale, inode.stale_pages = inode.stale_pages, 0
    if stale & TRUNCATE:
        await truncate_pages(inode, inode.size)
    if stale & INVALIDATE:
        await invalidate_pages(inode)


def check_allowed(superblock: Superblock) -> None:
    """Refuse a caller who may not use the mount at all.

    Raises:
        OSError: EACCES.
    """
    if not superblock.options.allow_other and not allowed(superblock):
        raise os_error(errno.EACCES)
