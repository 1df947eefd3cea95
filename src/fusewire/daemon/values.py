"""What a filesystem's methods take and give: attributes, entries, open files.

The wire splits a time into seconds and nanoseconds and says in bit masks which fields count.
Here a time is one integer of nanoseconds since the epoch, and what is not to change is None.

How long the kernel may trust a value stands on the value itself, in seconds (`timeout`); None
leaves it to the filesystem's and the mount's default (`-o entry_timeout=`, `attr_timeout=`),
and what the mount's options say wins over both.
"""

from __future__ import annotations

import enum
import stat as modes
import time
from dataclasses import dataclass, replace
from os import stat_result
from typing import Final, TypeAlias

__all__ = [
    "UTIME_NOW",
    "Attributes",
    "Dirent",
    "Entry",
    "Lock",
    "OpenFile",
    "SetAttributes",
    "StatFs",
    "Timestamp",
    "UtimeNow",
]

BLOCK: Final = 512  # the unit of `st_blocks`, whatever the block size is


class UtimeNow(enum.Enum):
    """The moment at which the filesystem carries out a SETATTR: utimensat's UTIME_NOW."""

    UTIME_NOW = "now"


UTIME_NOW: Final = UtimeNow.UTIME_NOW
Timestamp: TypeAlias = int | UtimeNow  # nanoseconds since the epoch, or now


@dataclass(slots=True)
class Attributes:
    """What stat(2) tells of a file.

    `mode` holds type and permissions, as `st_mode` does. `ino` 0 stands for the nodeid.
    `blocks` are of 512 bytes; None counts them from `size`. `rdev` is as `os.makedev` makes it.
    """

    mode: int
    size: int = 0
    nlink: int = 1
    uid: int = 0
    gid: int = 0
    atime_ns: int = 0
    mtime_ns: int = 0
    ctime_ns: int = 0
    ino: int = 0
    rdev: int = 0
    blocks: int | None = None
    blksize: int = 4096
    btime_ns: int | None = None  # told by STATX; None if not known
    timeout: float | None = None  # seconds the kernel may keep all this

    @classmethod
    def from_stat(cls, result: stat_result) -> Attributes:
        """Copy what `os.stat` and its kin return."""
        return cls(
            mode=result.st_mode,
            size=result.st_size,
            nlink=result.st_nlink,
            uid=result.st_uid,
            gid=result.st_gid,
            atime_ns=result.st_atime_ns,
            mtime_ns=result.st_mtime_ns,
            ctime_ns=result.st_ctime_ns,
            ino=result.st_ino,
            rdev=result.st_rdev,
            blocks=result.st_blocks,
            blksize=result.st_blksize,
        )

    @property
    def type(self) -> int:
        """The type bits of `mode`, such as `stat.S_IFREG`."""
        return modes.S_IFMT(self.mode)


@dataclass(slots=True)
class Entry:
    """A name's answer: which node it is. Each one given grants the kernel a lookup of `nodeid`.

    `nodeid` 0 says that there is nothing of that name, and that the kernel may remember so for
    `timeout` seconds; `Entry.negative` makes one. `generation` tells two files apart that bear
    one nodeid one after the other.
    """

    nodeid: int
    attributes: Attributes
    generation: int = 0
    timeout: float | None = None  # seconds the kernel may keep the name

    @classmethod
    def negative(cls, timeout: float | None = None) -> Entry:
        """Nothing is there; the kernel need not ask again for `timeout` seconds."""
        return cls(0, Attributes(mode=0), timeout=timeout)


@dataclass(slots=True)
class OpenFile:
    """What OPEN, OPENDIR and CREATE answer: the handle, and how the kernel may treat it.

    `fh` is any number below 2**64; the kernel hands it back with each request on the file.
    """

    fh: int = 0
    direct_io: bool = False  # every read and write comes to the filesystem; size is not believed
    keep_cache: bool = False  # pages cached by earlier opens stay good
    nonseekable: bool = False  # seeking and pread fail with ESPIPE
    cache_dir: bool = False  # the kernel may keep the listing
    stream: bool = False  # no file position at all
    noflush: bool = False  # close sends no FLUSH
    parallel_direct_writes: bool = False  # with direct_io: writes to one file may overlap


@dataclass(slots=True)
class SetAttributes:
    """What chmod, chown, truncate and utimensat change: None stays as it is (UTIME_OMIT).

    `fh` is the open file that the caller changes it through, None if by path.
    `kill_suidgid` asks to clear set-user-id and set-group-id where POSIX does so for a caller
    without CAP_FSETID; sent only to filesystems that negotiated FUSE_HANDLE_KILLPRIV_V2.
    """

    mode: int | None = None  # permissions, with the type bits as they are
    uid: int | None = None
    gid: int | None = None
    size: int | None = None  # bytes
    atime_ns: Timestamp | None = None
    mtime_ns: Timestamp | None = None
    ctime_ns: int | None = None  # with writeback cache only: the kernel's own
    fh: int | None = None
    lock_owner: int | None = None
    kill_suidgid: bool = False

    def resolved(self, now_ns: int | None = None) -> SetAttributes:
        """Return this with UTIME_NOW made a number: `now_ns`, or the clock's."""
        if self.atime_ns is not UTIME_NOW and self.mtime_ns is not UTIME_NOW:
            return self
        now = time.time_ns() if now_ns is None else now_ns
        return replace(
            self,
            atime_ns=now if self.atime_ns is UTIME_NOW else self.atime_ns,
            mtime_ns=now if self.mtime_ns is UTIME_NOW else self.mtime_ns,
        )


@dataclass(slots=True)
class StatFs:
    """What statvfs(3) tells of a filesystem. `blocks` are of `frsize` bytes."""

    blocks: int = 0
    bfree: int = 0
    bavail: int = 0
    files: int = 0
    ffree: int = 0
    bsize: int = 4096  # bytes it likes to be read and written in
    frsize: int = 4096
    namelen: int = 255  # bytes of the longest name


@dataclass(slots=True)
class Dirent:
    """One name of a listing.

    `offset` is where the listing goes on *after* this name: not 0, and for the filesystem
    alone to understand. `type` holds the type bits of a mode. `entry` counts in READDIRPLUS
    only, where it grants a lookup; None there gives the name alone.
    """

    name: str
    ino: int
    type: int
    offset: int
    entry: Entry | None = None


@dataclass(slots=True)
class Lock:
    """A POSIX lock or flock: bytes `start` to `end`, both included; `type` is F_RDLCK, F_WRLCK or F_UNLCK."""

    start: int
    end: int
    type: int
    pid: int
