"""Attributes: when they are asked for, what becomes of the answer, and what stat(2) shows.

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
import stat
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from fusewire.errors import os_error
from fusewire.events import named
from fusewire.kernel.operations.pages import invalidate_pages, truncate_pages
from fusewire.kernel.vfs.attr import (
    LAST_NANOSECOND,
    PERMISSIONS,
    S_IFMT,
    STATX_BASIC,
    STATX_BTIME,
    STATX_SIZE,
    STATX_TYPE,
    plausible,
    seconds,
    with_whole_seconds,
)
from fusewire.kernel.vfs.credentials import allowed
from fusewire.kernel.vfs.inode import INVALIDATE, TRUNCATE, Inode
from fusewire.wire import Attr, AttrOut, GetattrFlags, GetattrIn, Statx, StatxIn, StatxOut, SxTime

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
    "stat_of",
]

SECOND: Final = 1_000_000_000  # nanoseconds
MASK_64: Final = (1 << 64) - 1
NOBODY: Final = 0xFFFFFFFF  # an id that is none,
OVERFLOW: Final = 65534  # and what is shown of it (/proc/sys/kernel/overflowuid)
DEVICE_TYPES: Final = (stat.S_IFCHR, stat.S_IFBLK)
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
        return _stat(inode, _shown(inode, await getattr_now(inode)))
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
    told, attr = answer.stat, _attr_of(answer.stat)
    check_attr(
        inode,
        Attr(
            mode=attr.mode if told.mask & STATX_TYPE else inode.attr.mode,
            size=attr.size if told.mask & STATX_SIZE else 0,
        ),
    )
    btime = _nanoseconds(told.btime)
    if told.mask & STATX_BASIC == STATX_BASIC:
        await change_attributes(
            inode, attr, seconds(answer.attr_valid, answer.attr_valid_nsec), version, btime=btime, told=told.mask
        )
    shown = told.mask & (STATX_BASIC | STATX_BTIME) | STATX_TYPE
    return _stat(inode, _shown(inode, attr)), btime if shown & STATX_BTIME else None, shown


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


def stat_of(inode: Inode) -> os.stat_result:
    """Return what stat(2) shows of `inode` as we know it; nothing is sent.

    `st_ino` is the daemon's `attr.ino`, times are exact to the nanosecond in `st_*_ns`.
    """
    return _stat(inode, inode.attr)


def _shown(inode: Inode, attr: Attr) -> Attr:
    """Return `attr` of a reply with what is not the daemon's to say put right."""
    if not inode.is_regular or not inode.kept_locally:
        return attr
    mine = inode.attr
    return replace(
        attr,
        size=mine.size,
        mtime=mine.mtime,
        mtimensec=mine.mtimensec,
        ctime=mine.ctime,
        ctimensec=mine.ctimensec,
    )


def _stat(inode: Inode, attr: Attr) -> os.stat_result:
    """What is shown of `attr`, with what never changes of an inode: its type, and its device number."""
    mine = inode.attr
    attr = with_whole_seconds(attr)
    atime, mtime, ctime = attr.atime, attr.mtime, attr.ctime
    if (atime | mtime | ctime) >> 63:  # before 1970
        atime, mtime, ctime = _signed(atime), _signed(mtime), _signed(ctime)
    atime_ns = atime * SECOND + attr.atimensec
    mtime_ns = mtime * SECOND + attr.mtimensec
    ctime_ns = ctime * SECOND + attr.ctimensec
    mode = mine.mode & S_IFMT | attr.mode & PERMISSIONS
    return os.stat_result(
        (
            mode,
            attr.ino,
            inode.superblock.dev,
            attr.nlink,
            attr.uid if attr.uid != NOBODY else OVERFLOW,
            attr.gid if attr.gid != NOBODY else OVERFLOW,
            attr.size,
            atime,
            mtime,
            ctime,
            atime_ns / SECOND,
            mtime_ns / SECOND,
            ctime_ns / SECOND,
            atime_ns,
            mtime_ns,
            ctime_ns,
            1 << (attr.blksize or inode.superblock.options.blksize).bit_length() - 1,
            attr.blocks if attr.blocks < 1 << 63 else _signed(attr.blocks),
            _device(mine.rdev) if mode & S_IFMT in DEVICE_TYPES else 0,
        )
    )


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _device(encoded: int) -> int:
    """Return the st_rdev of a device number as the wire has it (new_decode_dev)."""
    return os.makedev(encoded >> 8 & 0xFFF, encoded & 0xFF | encoded >> 12 & 0xFFF00)


def _nanoseconds(time: SxTime) -> int:
    return time.tv_sec * SECOND + min(time.tv_nsec, LAST_NANOSECOND)


def _attr_of(told: Statx) -> Attr:
    """Return what STATX tells in the words of GETATTR."""
    return Attr(
        told.ino,
        told.size,
        told.blocks,
        told.atime.tv_sec & MASK_64,
        told.mtime.tv_sec & MASK_64,
        told.ctime.tv_sec & MASK_64,
        told.atime.tv_nsec,
        told.mtime.tv_nsec,
        told.ctime.tv_nsec,
        told.mode,
        told.nlink,
        told.uid,
        told.gid,
        0,  # rdev: never shown of a reply
        told.blksize,
    )
