"""Attributes as such: which there are, and what of a reply can be one.

STATX_* name them, as statx(2) does: in a mask of what is wanted, of what is known, of what is old.

Source: include/uapi/linux/stat.h; fs/fuse/inode.c, fuse_change_attributes_common.
"""

from __future__ import annotations

import stat
from dataclasses import replace
from typing import Final

from fusewire.wire import Attr

__all__ = [
    "FILE_TYPES",
    "LARGEST_SIZE",
    "LAST_NANOSECOND",
    "PERMISSIONS",
    "STATX_ATIME",
    "STATX_BASIC",
    "STATX_BLOCKS",
    "STATX_BTIME",
    "STATX_CTIME",
    "STATX_GID",
    "STATX_INO",
    "STATX_MODE",
    "STATX_MTIME",
    "STATX_NLINK",
    "STATX_SIZE",
    "STATX_TYPE",
    "STATX_UID",
    "S_IFMT",
    "copy_of",
    "plausible",
    "seconds",
    "with_whole_seconds",
]

# include/uapi/linux/stat.h
STATX_TYPE: Final = 0x1
STATX_MODE: Final = 0x2
STATX_NLINK: Final = 0x4
STATX_UID: Final = 0x8
STATX_GID: Final = 0x10
STATX_ATIME: Final = 0x20
STATX_MTIME: Final = 0x40
STATX_CTIME: Final = 0x80
STATX_INO: Final = 0x100
STATX_SIZE: Final = 0x200
STATX_BLOCKS: Final = 0x400
STATX_BASIC: Final = 0x7FF
STATX_BTIME: Final = 0x800

LAST_NANOSECOND: Final = 999_999_999
S_IFMT: Final = 0o170000  # the type in a mode
PERMISSIONS: Final = 0o7777  # the rest of it
FILE_TYPES: Final = frozenset(
    (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK)
)
LARGEST_SIZE: Final = (1 << 63) - 1  # bytes


def plausible(attr: Attr) -> bool:
    """Whether `attr` can be a file's at all: a type that exists, and a size that fits (fuse_invalid_attr)."""
    return attr.mode & S_IFMT in FILE_TYPES and attr.size <= LARGEST_SIZE


def with_whole_seconds(attr: Attr) -> Attr:
    """Return `attr`, or a copy if a time in it has more nanoseconds than a second, which are cut to the last one."""
    if attr.atimensec <= LAST_NANOSECOND and attr.mtimensec <= LAST_NANOSECOND and attr.ctimensec <= LAST_NANOSECOND:
        return attr
    return replace(
        attr,
        atimensec=min(attr.atimensec, LAST_NANOSECOND),
        mtimensec=min(attr.mtimensec, LAST_NANOSECOND),
        ctimensec=min(attr.ctimensec, LAST_NANOSECOND),
    )


def seconds(whole: int, nanoseconds: int) -> float:
    """Return a timeout of the wire in seconds; 0.0 if what came with it may not be kept (fuse_time_to_jiffies)."""
    return whole + min(nanoseconds, LAST_NANOSECOND) / 1e9 if whole or nanoseconds else 0.0


def copy_of(attr: Attr) -> Attr:
    return Attr(
        attr.ino,
        attr.size,
        attr.blocks,
        attr.atime,
        attr.mtime,
        attr.ctime,
        attr.atimensec,
        attr.mtimensec,
        attr.ctimensec,
        attr.mode,
        attr.nlink,
        attr.uid,
        attr.gid,
        attr.rdev,
        attr.blksize,
        attr.flags,
    )
