"""One row for each opcode and each notification.

Every request is

    header | body | names, each ending in NUL | data | extensions

and a row says which of these a message has. From the row come both ends' encoding and decoding, the
method that a filesystem has for it, the tables of the docs and the corpus of the fuzzer: a new
opcode is one row here.

A reply is a header, the row's structs in their order, then data if `reply_data`. The kernel makes
room for exactly that much, so a reply that is longer is refused, and a shorter one too unless it
ends in data (fs/fuse/dev.c, fuse_copy_out_args). `CUSE_INIT` (4096), which opens character devices
in user space, is left out.

Source: include/uapi/linux/fuse.h, whose list of versions also gives `since`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, TypeAlias

from fusewire.wire import structs as s
from fusewire.wire.layout import WireStruct

__all__ = ["NOTIFICATIONS", "OPERATIONS", "Notification", "Operation", "notification", "operation"]

Structs: TypeAlias = tuple[type[WireStruct], ...]
Length: TypeAlias = Callable[[Any], int]  # of something in a message, in bytes, by its body


@dataclass(frozen=True, slots=True, eq=False)  # there is one of each row
class Operation:
    """What a request of one opcode is made of, and its reply.

    `reply` may be written as one struct and reads as a tuple; None means that no reply is ever
    sent, `()` an empty one.
    """

    code: int
    name: str
    body: type[WireStruct] | None = None
    names: int = 0
    data: bool = False
    data_length: Length | None = None  # what the body says of the data's length
    extensions: bool = False  # the kernel may add extensions to it today
    reply: Structs | type[WireStruct] | None = ()
    reply_data: bool = False
    reply_limit: Length | None = None  # the most data its reply may bring
    reply_short: bool = False  # the last struct of the reply may be cut anywhere: the rest is 0
    size_probe: bool = False  # a body of size 0 asks for `reply`, any other for data
    since: int = 1  # the first minor that has it
    method: str = field(init=False)  # of Filesystem
    reply_structs: Structs = field(init=False)  # that a reply begins with

    def __post_init__(self) -> None:
        object.__setattr__(self, "method", self.name.lower())
        if isinstance(self.reply, type):
            object.__setattr__(self, "reply", (self.reply,))
        object.__setattr__(self, "reply_structs", self.reply or ())


@dataclass(frozen=True, slots=True, eq=False)  # there is one of each row
class Notification:
    """What a message that the daemon sends unasked is made of: header, body, names, data."""

    code: int
    name: str
    body: type[WireStruct] | None = None
    names: int = 0
    data: bool = False
    data_length: Length | None = None
    since: int = 1


size: Length = attrgetter("size")
in_size: Length = attrgetter("in_size")


def pairs(body: Any) -> int:
    return 16 * int(body.count)  # ForgetOne, RemovemappingOne: two u64


def nodeids(body: Any) -> int:
    return 8 * int(body.count)


def ioctl_room(body: Any) -> int:
    return max(int(body.out_size), 4096)  # iovecs may come instead (fs/fuse/ioctl.c, fuse_do_ioctl)


def path(body: Any) -> int:
    return 4095  # a page less its NUL (fs/fuse/dir.c, fuse_readlink_folio)


OPERATIONS: dict[int, Operation] = {
    row.code: row
    for row in (
        Operation(1, "LOOKUP", names=1, reply=s.EntryOut),
        Operation(2, "FORGET", s.ForgetIn, reply=None),
        Operation(3, "GETATTR", s.GetattrIn, reply=s.AttrOut),
        Operation(4, "SETATTR", s.SetattrIn, reply=s.AttrOut),
        Operation(5, "READLINK", reply_data=True, reply_limit=path),
        Operation(6, "SYMLINK", names=2, extensions=True, reply=s.EntryOut),
        Operation(8, "MKNOD", s.MknodIn, names=1, extensions=True, reply=s.EntryOut),
        Operation(9, "MKDIR", s.MkdirIn, names=1, extensions=True, reply=s.EntryOut),
        Operation(10, "UNLINK", names=1),
        Operation(11, "RMDIR", names=1),
        Operation(12, "RENAME", s.RenameIn, names=2),
        Operation(13, "LINK", s.LinkIn, names=1, reply=s.EntryOut),
        Operation(14, "OPEN", s.OpenIn, reply=s.OpenOut),
        Operation(15, "READ", s.ReadIn, reply_data=True, reply_limit=size),
        Operation(16, "WRITE", s.WriteIn, data=True, data_length=size, reply=s.WriteOut),
        Operation(17, "STATFS", reply=s.StatfsOut),
        Operation(18, "RELEASE", s.ReleaseIn),
        Operation(20, "FSYNC", s.FsyncIn),
        Operation(21, "SETXATTR", s.SetxattrIn, names=1, data=True, data_length=size),
        Operation(
            22,
            "GETXATTR",
            s.GetxattrIn,
            names=1,
            reply=s.GetxattrOut,
            reply_data=True,
            reply_limit=size,
            size_probe=True,
        ),
        Operation(
            23, "LISTXATTR", s.GetxattrIn, reply=s.GetxattrOut, reply_data=True, reply_limit=size, size_probe=True
        ),
        Operation(24, "REMOVEXATTR", names=1),
        Operation(25, "FLUSH", s.FlushIn),
        Operation(26, "INIT", s.InitIn, reply=s.InitOut, reply_short=True),
        Operation(27, "OPENDIR", s.OpenIn, reply=s.OpenOut),
        Operation(28, "READDIR", s.ReadIn, reply_data=True, reply_limit=size),
        Operation(29, "RELEASEDIR", s.ReleaseIn),
        Operation(30, "FSYNCDIR", s.FsyncIn, since=2),
        Operation(31, "GETLK", s.LkIn, reply=s.LkOut, since=7),
        Operation(32, "SETLK", s.LkIn, since=7),
        Operation(33, "SETLKW", s.LkIn, since=7),
        Operation(34, "ACCESS", s.AccessIn, since=3),
        Operation(35, "CREATE", s.CreateIn, names=1, extensions=True, reply=(s.EntryOut, s.OpenOut), since=3),
        Operation(36, "INTERRUPT", s.InterruptIn, since=7),  # answered with EAGAIN or ENOSYS, or not at all
        Operation(37, "BMAP", s.BmapIn, reply=s.BmapOut, since=8),
        Operation(38, "DESTROY", since=8),
        Operation(
            39,
            "IOCTL",
            s.IoctlIn,
            data=True,
            data_length=in_size,
            reply=s.IoctlOut,
            reply_data=True,
            reply_limit=ioctl_room,
            since=11,
        ),
        Operation(40, "POLL", s.PollIn, reply=s.PollOut, since=11),
        Operation(41, "NOTIFY_REPLY", s.NotifyRetrieveIn, data=True, data_length=size, reply=None, since=15),
        Operation(42, "BATCH_FORGET", s.BatchForgetIn, data=True, data_length=pairs, reply=None, since=16),
        Operation(43, "FALLOCATE", s.FallocateIn, since=19),
        Operation(44, "READDIRPLUS", s.ReadIn, reply_data=True, reply_limit=size, since=21),
        Operation(45, "RENAME2", s.Rename2In, names=2, since=23),
        Operation(46, "LSEEK", s.LseekIn, reply=s.LseekOut, since=24),
        Operation(47, "COPY_FILE_RANGE", s.CopyFileRangeIn, reply=s.WriteOut, since=28),
        Operation(48, "SETUPMAPPING", s.SetupmappingIn, since=31),
        Operation(49, "REMOVEMAPPING", s.RemovemappingIn, data=True, data_length=pairs, since=31),
        Operation(50, "SYNCFS", s.SyncfsIn, since=34),
        Operation(51, "TMPFILE", s.CreateIn, names=1, extensions=True, reply=(s.EntryOut, s.OpenOut), since=37),
        Operation(52, "STATX", s.StatxIn, reply=s.StatxOut, since=39),
        Operation(53, "COPY_FILE_RANGE_64", s.CopyFileRangeIn, reply=s.CopyFileRangeOut, since=45),
    )
}

NOTIFICATIONS: dict[int, Notification] = {
    row.code: row
    for row in (
        Notification(1, "POLL", s.NotifyPollWakeupOut, since=11),
        Notification(2, "INVAL_INODE", s.NotifyInvalInodeOut, since=12),
        Notification(3, "INVAL_ENTRY", s.NotifyInvalEntryOut, names=1, since=12),
        Notification(4, "STORE", s.NotifyStoreOut, data=True, data_length=size, since=15),
        Notification(5, "RETRIEVE", s.NotifyRetrieveOut, since=15),
        Notification(6, "DELETE", s.NotifyDeleteOut, names=1, since=18),
        Notification(7, "RESEND", data=True, since=40),  # the kernel does not look at what follows
        Notification(8, "INC_EPOCH", data=True, since=44),  # nor here
        Notification(9, "PRUNE", s.NotifyPruneOut, data=True, data_length=nodeids, since=45),
    )
}

_operations_by_name = {row.name: row for row in OPERATIONS.values()}
_notifications_by_name = {row.name: row for row in NOTIFICATIONS.values()}


def operation(name: str) -> Operation:
    """Return the row of `name`, such as "LOOKUP"; KeyError if there is none."""
    return _operations_by_name[name]


def notification(name: str) -> Notification:
    """Return the row of `name`, such as "INVAL_ENTRY"; KeyError if there is none."""
    return _notifications_by_name[name]
