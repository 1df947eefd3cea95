"""The errors, row by row of the table of opcodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from differential.planted.patches import (
    Planted,
    fields,
    method,
    names,
    never,
    never_again,
    twice,
    with_lock,
    without_locks,
)
from fusewire.kernel import init
from fusewire.kernel.connection import Connection
from fusewire.kernel.locks import Held, Semaphore
from fusewire.kernel.vfs.dentry import Dentry
from fusewire.kernel.vfs.inode import Inode
from fusewire.wire import InitFlags

__all__ = ["PLANTED"]


def nothing(right: Any, *arguments: Any, **more: Any) -> None:
    """In the place of a method: do nothing."""


def bit(flag: int) -> Callable[[int], int]:
    """Flip a flag."""
    return lambda value: value ^ flag


def more(amount: int) -> Callable[[int], int]:
    return lambda value: value + amount


def less_forgotten(right: Any, self: Connection, nodeid: int, nlookup: int) -> None:
    right(self, nodeid, nlookup + 1)


def alone(right: Any, self: Semaphore, *depth: Any) -> Held:
    return self.exclusive(*depth)


def less_offered(right: Any, minor: int) -> Any:
    return right(minor) & ~InitFlags.FUSE_HAS_EXPIRE_ONLY


def not_agreed(right: Any, *answer: Any) -> Any:
    """Take pages to be one in each WRITE, whatever the daemon said."""
    settings = right(*answer)
    return settings and replace(settings, flags=settings.flags & ~InitFlags.FUSE_BIG_WRITES, max_write=4096)


async def one_byte_less(right: Any, self: Connection, unique: int, nodeid: int, body: Any, data: bytes) -> None:
    body.size -= bool(data)
    await right(self, unique, nodeid, body, data[:-1])


PLANTED: Final = (
    Planted("INIT", "one flag is not offered", method(init, "offered_flags", less_offered)),
    Planted("INIT", "what was agreed on is not kept", method(init, "negotiate", not_agreed)),
    Planted("DESTROY", "never sent", never("DESTROY")),
    Planted("LOOKUP", "asked twice of a name that is not known", twice("LOOKUP")),
    Planted("LOOKUP", "a name that was removed stays known", method(Dentry, "expire", nothing)),
    Planted("FORGET", "one lookup too many is given back", method(Connection, "forget", less_forgotten)),
    Planted("FORGET", "never sent", method(Connection, "forget", nothing)),
    Planted("GETATTR", "says that it has a handle", fields("GETATTR", getattr_flags=bit(1))),
    Planted("GETATTR", "what changes in passing is not asked for again", method(Inode, "invalidate", nothing)),
    Planted("GETATTR", "sent twice", twice("GETATTR")),
    Planted("SETATTR", "a new size without its lock owner's flag", fields("SETATTR", valid=lambda it: it & ~512)),
    Planted("READLINK", "sent once, and then remembered", never_again("READLINK")),
    Planted("SYMLINK", "target and name are mixed up", names("SYMLINK", lambda both: both[::-1])),
    Planted("MKNOD", "the umask is not told", fields("MKNOD", umask=lambda _: 0)),
    Planted("MKDIR", "the type is in the mode", fields("MKDIR", mode=lambda it: it | 0o040000)),
    Planted("UNLINK", "sent twice", twice("UNLINK")),
    Planted("RMDIR", "sent twice", twice("RMDIR")),
    Planted("RENAME", "old and new are mixed up", names("RENAME", lambda both: both[::-1])),
    Planted("RENAME2", "the flags are lost", fields("RENAME2", flags=lambda _: 0)),
    Planted("LINK", "of another node", fields("LINK", oldnodeid=more(1))),
    Planted("OPEN", "O_CREAT is passed on", fields("OPEN", flags=lambda it: it | 0o100)),
    Planted("READ", "one byte less than a page", fields("READ", size=more(-1))),
    Planted("READ", "the flags of the file are not told", fields("READ", flags=lambda _: 0)),
    Planted("WRITE", "KILL_SUIDGID is the wrong way round", fields("WRITE", write_flags=bit(4))),
    Planted("STATFS", "sent twice", twice("STATFS")),
    Planted("RELEASE", "the flags are not the file's", fields("RELEASE", flags=bit(0o2000))),
    Planted("FSYNC", "data alone is everything", fields("FSYNC", fsync_flags=bit(1))),
    Planted("SETXATTR", "CREATE and REPLACE are mixed up", fields("SETXATTR", flags=bit(3))),
    Planted("GETXATTR", "asks for one byte more", fields("GETXATTR", size=more(1))),
    Planted("LISTXATTR", "asks for one byte more", fields("LISTXATTR", size=more(1))),
    Planted("REMOVEXATTR", "sent twice", twice("REMOVEXATTR")),
    Planted("FLUSH", "sent twice", twice("FLUSH")),
    Planted("OPENDIR", "other flags", fields("OPENDIR", flags=bit(0o2000000))),
    Planted("READDIR", "goes on one too far", fields("READDIR", offset=more(1))),
    Planted("READDIRPLUS", "a smaller buffer", fields("READDIRPLUS", size=lambda _: 4096)),
    Planted("RELEASEDIR", "the flags are not the file's", fields("RELEASEDIR", flags=bit(0o2000))),
    Planted("FSYNCDIR", "data alone is everything", fields("FSYNCDIR", fsync_flags=bit(1))),
    Planted("ACCESS", "read and execute are mixed up", fields("ACCESS", mask=bit(5))),
    Planted("CREATE", "the type is not in the mode", fields("CREATE", mode=lambda it: it & 0o7777)),
    Planted("TMPFILE", "the umask is not told", fields("TMPFILE", umask=more(1))),
    Planted("IOCTL", "says too little room", fields("IOCTL", out_size=lambda it: it // 2)),
    Planted("POLL", "other events", fields("POLL", events=bit(2))),
    Planted("BMAP", "of the next block", fields("BMAP", block=more(1))),
    Planted("BMAP", "asked again though the daemon has none", twice("BMAP")),
    Planted("SYNCFS", "sent twice", twice("SYNCFS")),
    Planted("NOTIFY_REPLY", "the last byte is missing", method(Connection, "notify_reply", one_byte_less)),
    Planted("FALLOCATE", "the mode is lost", fields("FALLOCATE", mode=lambda _: 0)),
    Planted("LSEEK", "data and holes are mixed up", fields("LSEEK", whence=bit(7))),
    Planted("COPY_FILE_RANGE_64", "one byte less", fields("COPY_FILE_RANGE_64", len=more(-1))),
    Planted("COPY_FILE_RANGE", "one byte less", fields("COPY_FILE_RANGE", len=more(-1))),
    Planted("STATX", "asks for what GETATTR tells", fields("STATX", sx_mask=lambda _: 0x7FF)),
    Planted("STATX", "sent twice", twice("STATX")),
    Planted("GETLK", "of the whole file", fields("GETLK", fh=more(1))),
    Planted("SETLK", "flock is not told from fcntl", fields("SETLK", lk_flags=lambda _: 0)),
    Planted("SETLK", "sent twice", twice("SETLK")),
    Planted("SETLKW", "flock is not told from fcntl", fields("SETLKW", lk_flags=lambda _: 0)),
    Planted("INTERRUPT", "never sent", method(Connection, "queue_interrupt", nothing)),
    *(
        Planted(opcode, "the locks are not held meanwhile", without_locks(opcode))
        for opcode in (
            *("SETATTR", "SYMLINK", "MKNOD", "MKDIR", "UNLINK", "RMDIR", "RENAME", "RENAME2", "LINK", "WRITE"),
            *("FSYNC", "SETXATTR", "REMOVEXATTR", "READDIR", "READDIRPLUS", "CREATE", "FALLOCATE", "LSEEK", "LOOKUP"),
        )
    ),
    *(
        Planted(opcode, "only one at a time", with_lock(opcode))
        for opcode in ("GETATTR", "READLINK", "OPEN", "STATFS", "GETXATTR", "LISTXATTR", "OPENDIR", "ACCESS", "SETLKW")
    ),
    Planted("LOOKUP", "the directory is locked for one alone", method(Semaphore, "shared", alone)),
)
