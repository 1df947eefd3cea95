"""Short programs, each of which makes one operation happen, and looks at what is left afterwards.

A scenario's main step is the one whose request gets the deed. What follows is harmless, and shows
whether the inode has gone bad, the name is still known, the file still open. At the end the daemon
has the kernel forget it all (a PRUNE), so that the FORGETs tell how often it thinks it was given each
node.
"""

from __future__ import annotations

import fcntl
import os
import select
import stat
from dataclasses import dataclass
from typing import Any, Final

from differential.daemons.world import FOREVER
from fusewire.wire import InitFlags, NotifyPruneOut, encode_notification, pack_nodeids

__all__ = ["LOOK", "SCENARIOS", "Scenario", "Step", "Tell", "tell", "told"]

IOC_READ8: Final = 0x80087A01  # 8 bytes come back
IOC_BOTH8: Final = 0xC0087A02
IOC_NONE: Final = 0x00007A03
GETFLAGS: Final = 0x80086601  # FS_IOC_GETFLAGS


@dataclass(frozen=True, slots=True)
class Step:
    """A call of the one caller."""

    call: str
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Tell:
    """A message that the daemon writes unasked, while nobody waits for it."""

    name: str
    message: bytes


def tell(name: str, *arguments: Any, **more: Any) -> Tell:
    return Tell(name, encode_notification(name, *arguments, **more))


def prune(*nodes: int) -> Tell:
    return tell("PRUNE", NotifyPruneOut(len(nodes)), data=pack_nodeids(nodes))


def steps(*rows: tuple[Any, ...]) -> tuple[Step, ...]:
    return tuple(Step(row[0], row[1:]) for row in rows)


LOOK: Final[tuple[Step | Tell, ...]] = (
    *steps(
        ("stat", "/file"),
        ("stat", "/new"),
        ("lstat", "/link"),
        ("stat", "/dir"),
        ("open", 7, "/file", os.O_RDONLY | os.O_NONBLOCK, 0),
        ("pread", 7, 20, 4090),
        ("close", 7),
        ("listdir", "/"),
    ),
    prune(10, 9, 8, 7, 6, 5, 4, 3, 2),
    *steps(
        ("stat", "/file"),
    ),
)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A program: what comes `before`, the `main` step, and what comes after it."""

    name: str
    operation: str  # that is answered with nonsense, the first time that the main step asks it
    main: Step | Tell
    before: tuple[Step | Tell, ...] = ()
    after: tuple[Step | Tell, ...] = ()
    flags: int = 0  # for INIT, beyond those of every world
    open_flags: int = 0
    valid: tuple[int, ...] = (FOREVER, 0)  # seconds for which things may be cached: each is a scenario of its own
    default_permissions: bool = True
    from_start: bool = False  # the request comes before the first step
    background: bool = False  # nobody waits for the request itself, so no INTERRUPT comes of a signal

    @property
    def steps(self) -> tuple[Step | Tell, ...]:
        return (*self.before, self.main, *self.after, *LOOK)


NONBLOCK: Final = os.O_RDWR | os.O_NONBLOCK  # in case it is a fifo now
EMPTIED: Final = NONBLOCK | os.O_TRUNC
NEW: Final = NONBLOCK | os.O_CREAT
OPEN: Final = ("open", 0, "/file", NONBLOCK, 0)
OPENED: Final = steps(OPEN)
CLOSED: Final = steps(("fstat", 0), ("pread", 0, 20, 0), ("close", 0))
LISTED: Final = steps(("open", 1, "/", os.O_RDONLY | os.O_DIRECTORY, 0))
KNOWN: Final = steps(("stat", "/file"), ("stat", "/dir"))
TWO: Final = steps(OPEN, ("open", 2, "/other", os.O_RDWR, 0))
PLUS: Final = int(InitFlags.FUSE_DO_READDIRPLUS)
DIRECT: Final = 1  # FOPEN_DIRECT_IO
ALWAYS: Final = (0,)


def one(name: str, operation: str, *main: Any, **more: Any) -> Scenario:
    call, *arguments = main
    return Scenario(name, operation, Step(call, tuple(arguments)), **more)


SCENARIOS: Final = {
    scenario.name: scenario
    for scenario in (
        one("a name is looked up", "LOOKUP", "stat", "/file"),
        one("a directory is looked up", "LOOKUP", "stat", "/dir", before=KNOWN[:1]),
        one("a name below is looked up", "LOOKUP", "stat", "/dir/inner", before=KNOWN),
        one("no name is looked up", "LOOKUP", "stat", "/new"),
        one("a name is looked up again", "LOOKUP", "stat", "/file", before=KNOWN + OPENED, after=CLOSED, valid=ALWAYS),
        one("a directory is looked up again", "LOOKUP", "stat", "/dir", before=(*KNOWN, *LISTED), valid=ALWAYS),
        one("attributes of the root", "GETATTR", "stat", "/"),
        one("attributes of an open file", "GETATTR", "fstat", 0, before=OPENED, after=CLOSED, valid=ALWAYS),
        one("the end of a file is sought", "GETATTR", "lseek", 0, 0, 2, before=OPENED, after=CLOSED, valid=ALWAYS),
        one("all attributes", "STATX", "statx", "/file", after=steps(("statx", "/file"))),
        one("a mode is changed", "SETATTR", "chmod", "/file", 0o600),
        one("a file is truncated", "SETATTR", "truncate", "/file", 10),
        one("an open file is truncated", "SETATTR", "ftruncate", 0, 20000, before=OPENED, after=CLOSED),
        one("times are changed", "SETATTR", "utime", "/dir", 10**9, 2 * 10**9, 1),
        one("a file is opened to be empty", "SETATTR", "open", 0, "/file", EMPTIED, 0, after=CLOSED),
        one("a symlink is read", "READLINK", "readlink", "/link"),
        one("a symlink is followed", "READLINK", "stat", "/link"),
        one(
            "a symlink is kept",
            "READLINK",
            "readlink",
            "/link",
            flags=int(InitFlags.FUSE_CACHE_SYMLINKS),
            after=steps(("readlink", "/link")),
        ),
        one("a symlink is made", "SYMLINK", "symlink", "file", "/new"),
        one("a node is made", "MKNOD", "mknod", "/new", stat.S_IFREG | 0o644, 0),
        one("a fifo is made", "MKNOD", "mknod", "/new", stat.S_IFIFO | 0o644, 0),
        one("a directory is made", "MKDIR", "mkdir", "/new", 0o755),
        one("a name is removed", "UNLINK", "unlink", "/file", before=OPENED, after=CLOSED),
        one("a directory is removed", "RMDIR", "rmdir", "/empty"),
        one("a name is changed", "RENAME", "rename", "/file", "/new"),
        one("a name takes another's place", "RENAME", "rename", "/file", "/other"),
        one("names are exchanged", "RENAME2", "renameat2", "/file", "/other", 2),
        one("a name is changed, if it is free", "RENAME2", "renameat2", "/file", "/new", 1),
        one("a link is made", "LINK", "link", "/file", "/new", 0),
        one("a file is opened", "OPEN", *OPEN, after=(*CLOSED, *steps(OPEN), *CLOSED)),
        one("a file is read", "READ", "pread", 0, 5000, 0, before=OPENED, after=CLOSED, background=True),
        one("a file's end is read", "READ", "pread", 0, 5000, 8000, before=OPENED, after=CLOSED, background=True),
        one("a file is read directly", "READ", "pread", 0, 5000, 0, before=OPENED, after=CLOSED, open_flags=DIRECT),
        one("a file is written", "WRITE", "pwrite", 0, b"w" * 100, 50, before=OPENED, after=CLOSED),
        one("a file is written, over pages", "WRITE", "pwrite", 0, b"w" * 5000, 4000, before=OPENED, after=CLOSED),
        one("a file is extended", "WRITE", "pwrite", 0, b"w" * 100, 12000, before=OPENED, after=CLOSED),
        one("a file is written directly", "WRITE", "pwrite", 0, b"w" * 100, 50, before=OPENED, open_flags=DIRECT),
        one("space is asked for", "STATFS", "statfs", "/"),
        one("a file is closed", "FLUSH", "close", 0, before=OPENED),
        one("a file is closed, behind the scenes", "RELEASE", "close", 0, before=OPENED),
        one("a file is synced", "FSYNC", "fsync", 0, before=OPENED, after=steps(("fsync", 0), *[("fdatasync", 0)])),
        one("a directory is synced", "FSYNCDIR", "fsync_directory", 1, before=LISTED, after=steps(("fsync", 1))),
        one("an attribute is set", "SETXATTR", "setxattr", "/file", "user.x", b"value", 0, 1),
        one("an attribute's length", "GETXATTR", "getxattr_into", "/file", "user.x", 0),
        one("an attribute is got", "GETXATTR", "getxattr_into", "/file", "user.x", 100),
        one("an attribute is got, as long as can be", "GETXATTR", "getxattr_into", "/file", "user.x", 65536),
        one("a list's length", "LISTXATTR", "listxattr_into", "/file", 0),
        one("attributes are listed", "LISTXATTR", "listxattr_into", "/file", 100),
        one("an attribute is removed", "REMOVEXATTR", "removexattr", "/file", "user.x", 1),
        one("a directory is opened", "OPENDIR", "open", *LISTED[0].arguments),
        one("a directory is read", "READDIR", "getdents", 1, 4096, before=LISTED, after=steps(("getdents", 1, 4096))),
        one(
            "a directory is read, with attributes",
            "READDIRPLUS",
            "getdents",
            1,
            4096,
            before=LISTED,
            after=steps(("getdents", 1, 4096)),
            flags=PLUS,
        ),
        one(
            "a known directory is read, with attributes",
            "READDIRPLUS",
            "getdents",
            1,
            4096,
            before=(*KNOWN, *OPENED, *LISTED),
            after=(*steps(("getdents", 1, 4096)), *CLOSED),
            flags=PLUS,
        ),
        one("a directory is closed", "RELEASEDIR", "close", 1, before=LISTED),
        one("a lock is asked about", "GETLK", "getlk", 0, fcntl.F_WRLCK, 0, 100, before=OPENED, after=CLOSED),
        one("a lock is set", "SETLK", "setlk", 0, fcntl.F_WRLCK, 0, 100, before=OPENED, after=CLOSED),
        one("a lock is waited for", "SETLKW", "setlkw", 0, fcntl.F_WRLCK, 0, 100, before=OPENED, after=CLOSED),
        one("a file is locked", "SETLK", "flock", 0, fcntl.LOCK_EX | fcntl.LOCK_NB, before=OPENED, after=CLOSED),
        one("a file is locked, waiting", "SETLKW", "flock", 0, fcntl.LOCK_EX, before=OPENED, after=CLOSED),
        one("access is checked", "ACCESS", "access", "/file", os.R_OK, 0, default_permissions=False),
        one("a file is made", "CREATE", "open", 0, "/new", NEW, 0o644, after=CLOSED),
        one("a file is made, and only made", "CREATE", "open", 0, "/new", NEW | os.O_EXCL, 0o644),
        one("a nameless file is made", "TMPFILE", "open", 0, "/dir", os.O_RDWR | os.O_TMPFILE, 0o644, after=CLOSED),
        one("an ioctl that reads", "IOCTL", "ioctl", 0, IOC_READ8, bytes(8), before=OPENED, after=CLOSED),
        one("an ioctl of both ways", "IOCTL", "ioctl", 0, IOC_BOTH8, b"abcdefgh", before=OPENED, after=CLOSED),
        one("an ioctl without data", "IOCTL", "ioctl", 0, IOC_NONE, b"", before=OPENED, after=CLOSED),
        one("flags are asked for", "IOCTL", "ioctl", 0, GETFLAGS, bytes(8), before=OPENED, after=CLOSED),
        one("a file is polled", "POLL", "poll", 0, select.POLLIN | select.POLLOUT, 0, before=OPENED, after=CLOSED),
        one("space is taken", "FALLOCATE", "fallocate", 0, 0, 0, 20000, before=OPENED, after=CLOSED),
        one("a hole is made", "FALLOCATE", "fallocate", 0, 3, 0, 5000, before=OPENED, after=CLOSED),
        one("data is sought", "LSEEK", "lseek", 0, 100, os.SEEK_DATA, before=OPENED, after=CLOSED),
        one("a hole is sought", "LSEEK", "lseek", 0, 100, os.SEEK_HOLE, before=OPENED, after=CLOSED),
        one("a range is copied", "COPY_FILE_RANGE_64", "copy_file_range", 0, 2, 100, 0, 50, before=TWO, after=CLOSED),
        one("the first request", "INIT", "stat", "/file", from_start=True, valid=(FOREVER,)),
    )
}  # fmt: skip


BEFORE_NOTICES: Final = steps(
    ("stat", "/file"), ("stat", "/dir/inner"), ("stat", "/new"), ("readlink", "/link"), OPEN, ("pread", 0, 9000, 0)
)
AFTER_NOTICES: Final = steps(("fstat", 0), ("pread", 0, 9000, 0), ("stat", "/dir/inner"), ("close", 0))


def told(notice: Tell) -> Scenario:
    """Return the program in whose midst the daemon tells something."""
    return Scenario(notice.name, "", notice, BEFORE_NOTICES, AFTER_NOTICES)
