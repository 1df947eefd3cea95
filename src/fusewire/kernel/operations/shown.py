"""What stat(2) shows of an inode, made of its attributes.

Some of it is never the daemon's to say: the type of a file and its device number, which stay, and
size and times of a file that is written back.

Source: fs/fuse/dir.c, fuse_fillattr; fs/stat.c, generic_fillattr.
"""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from fusewire.kernel.vfs.attr import LAST_NANOSECOND, PERMISSIONS, S_IFMT, with_whole_seconds
from fusewire.wire import Attr, Statx, SxTime

if TYPE_CHECKING:
    from fusewire.kernel.vfs.inode import Inode

__all__ = ["attr_of_statx", "nanoseconds", "stat_of", "stat_of_reply"]

SECOND: Final = 1_000_000_000  # nanoseconds
MASK_64: Final = (1 << 64) - 1
NOBODY: Final = 0xFFFFFFFF  # an id that is none,
OVERFLOW: Final = 65534  # and what is shown of it (/proc/sys/kernel/overflowuid)
DEVICE_TYPES: Final = (stat.S_IFCHR, stat.S_IFBLK)


def stat_of(inode: Inode) -> os.stat_result:
    """Return what stat(2) shows of `inode` as we know it; nothing is sent.

    `st_ino` is the daemon's `attr.ino`, times are exact to the nanosecond in `st_*_ns`.
    """
    return _stat(inode, inode.attr)


def stat_of_reply(inode: Inode, attr: Attr) -> os.stat_result:
    """Return what stat(2) shows of `inode` whose attributes the daemon has just told, believed or not."""
    return _stat(inode, _with_ours(inode, attr))


def _with_ours(inode: Inode, attr: Attr) -> Attr:
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


def nanoseconds(time: SxTime) -> int:
    """Return nanoseconds since 1970."""
    return time.tv_sec * SECOND + min(time.tv_nsec, LAST_NANOSECOND)


def attr_of_statx(told: Statx) -> Attr:
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
