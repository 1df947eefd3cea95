"""Between the wire and a method: the arguments that it gets, and what becomes of its result.

Each method of `Filesystem` stands under an `@answers(...)`, which is the whole of what the
engine knows about it: the operations that call it, where its arguments stand in the message,
how its result is put on the wire, and what is answered in place of an absent one. That answer
is an errno, or SUCCESS where an errno would make Linux switch something off for good.

A result is *put* as the parts of one reply: structs and buffers, in their order.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias, TypeVar

from fusewire.daemon.request import Request
from fusewire.daemon.timeouts import Timeouts
from fusewire.daemon.values import UTIME_NOW, Attributes, Dirent, Entry, Lock, OpenFile, SetAttributes, StatFs
from fusewire.errors import ProtocolError, os_error
from fusewire.wire import (
    Attr,
    AttrOut,
    BmapOut,
    Buffer,
    CopyFileRangeOut,
    EntryOut,
    FileLock,
    GetxattrOut,
    IoctlOut,
    Kstatfs,
    LkOut,
    LseekOut,
    Message,
    OpenFlags,
    OpenOut,
    PollOut,
    SetattrValid,
    StatfsOut,
    Statx,
    StatxOut,
    SxTime,
    WireStruct,
    WriteOut,
    pack_dirent,
    pack_direntplus,
)

__all__ = ["ANSWERS", "SUCCESS", "Answer", "Arguments", "Part", "Parts", "Put", "answers"]

Part: TypeAlias = WireStruct | Buffer
Parts: TypeAlias = tuple[Part, ...]
Arguments: TypeAlias = Callable[[Message], tuple[Any, ...]]
Put: TypeAlias = Callable[["Answering", Request, Any], Parts]
Method = TypeVar("Method", bound=Callable[..., Any])

SUCCESS: Final = 0
NANOSECONDS: Final = 1_000_000_000
U64: Final = (1 << 64) - 1
PATH_MAX: Final = 4096  # bytes of a path with its NUL
XATTR_MAX: Final = 65536  # bytes of a value, or of a list of names (XATTR_SIZE_MAX, XATTR_LIST_MAX)


class Answering(Protocol):
    """What must be known of a session to put a result on its wire."""

    timeouts: Timeouts

    def give_back(self, nodeid: int) -> None:
        """Return a lookup that was granted, and did not fit into the reply."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How one operation is handed to its method and back."""

    method: str
    arguments: Arguments
    put: Put
    absent: int  # positive errno, or SUCCESS for an empty one


ANSWERS: dict[str, Answer] = {}  # by the operation's name


def answers(*operations: str, arguments: Arguments, put: Put, absent: int) -> Callable[[Method], Method]:
    """Say that a method of `Filesystem` answers `operations`."""

    def decorate(method: Method) -> Method:
        for name in operations:
            ANSWERS[name] = Answer(method.__name__, arguments, put, absent)
        return method

    return decorate


# --- from the message to arguments


def text(name: bytes) -> str:
    """A name of the wire as `str`; bytes that are not UTF-8 become surrogates and come back unharmed."""
    return os.fsdecode(name)


def device_number(rdev: int) -> int:
    """Linux's 32-bit encoding of a device number, as `os.makedev` makes it."""
    return os.makedev((rdev & 0xFFF00) >> 8, (rdev & 0xFF) | ((rdev >> 12) & 0xFFF00))


def encoded_device(rdev: int) -> int:
    """The reverse of `device_number` (include/linux/kdev_t.h, new_encode_dev)."""
    major, minor = os.major(rdev), os.minor(rdev)
    return (minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12)


def changes(message: Message) -> SetAttributes:
    """The body of a SETATTR, with only what its `valid` mask says."""
    body, valid = message.body, message.body.valid
    return SetAttributes(
        mode=body.mode if valid & SetattrValid.FATTR_MODE else None,
        uid=body.uid if valid & SetattrValid.FATTR_UID else None,
        gid=body.gid if valid & SetattrValid.FATTR_GID else None,
        size=body.size if valid & SetattrValid.FATTR_SIZE else None,
        atime_ns=_time(valid, SetattrValid.FATTR_ATIME, SetattrValid.FATTR_ATIME_NOW, body.atime, body.atimensec),
        mtime_ns=_time(valid, SetattrValid.FATTR_MTIME, SetattrValid.FATTR_MTIME_NOW, body.mtime, body.mtimensec),
        ctime_ns=nanoseconds(body.ctime, body.ctimensec) if valid & SetattrValid.FATTR_CTIME else None,
        fh=body.fh if valid & SetattrValid.FATTR_FH else None,
        lock_owner=body.lock_owner if valid & SetattrValid.FATTR_LOCKOWNER else None,
        kill_suidgid=bool(valid & SetattrValid.FATTR_KILL_SUIDGID),
    )


def _time(valid: int, given: int, now: int, seconds: int, nsec: int) -> Any:
    if valid & now:
        return UTIME_NOW
    return nanoseconds(seconds, nsec) if valid & given else None


def nanoseconds(seconds: int, nsec: int) -> int:
    """Join a time of the wire, whose seconds are a signed number in an unsigned field."""
    return (seconds - (1 << 64) if seconds >> 63 else seconds) * NANOSECONDS + nsec


def lock(message: Message) -> Lock:
    wire = message.body.lk
    return Lock(wire.start, wire.end, wire.type, wire.pid)


# --- from the result to parts of a reply


def attr(attributes: Attributes, nodeid: int) -> Attr:
    """`attributes` as the wire has them; `nodeid` stands in for an ino of 0.

    Raises:
        ValueError: the mode says no type. Linux would answer EIO for us, and nobody would know why.
    """
    if nodeid and not stat.S_IFMT(attributes.mode):
        raise ValueError(f"the mode {attributes.mode:#o} has no type: add one, such as stat.S_IFREG")
    atime, atimensec = divmod(attributes.atime_ns, NANOSECONDS)
    mtime, mtimensec = divmod(attributes.mtime_ns, NANOSECONDS)
    ctime, ctimensec = divmod(attributes.ctime_ns, NANOSECONDS)
    blocks = attributes.blocks
    return Attr(
        attributes.ino or nodeid,
        attributes.size,
        (attributes.size + 511) // 512 if blocks is None else blocks,
        atime & U64,
        mtime & U64,
        ctime & U64,
        atimensec,
        mtimensec,
        ctimensec,
        attributes.mode,
        attributes.nlink,
        attributes.uid,
        attributes.gid,
        encoded_device(attributes.rdev) if attributes.rdev else 0,
        attributes.blksize,
        0,
    )


def entry_out(session: Answering, entry: Entry) -> EntryOut:
    """`entry` as the wire has it, with the timeouts that hold in this session."""
    attributes = entry.attributes
    if entry.nodeid:
        valid, valid_nsec = session.timeouts.entry(entry.timeout)
    else:
        valid, valid_nsec = session.timeouts.negative(entry.timeout)
    attr_valid, attr_valid_nsec = session.timeouts.attr(attributes.timeout)
    wire = attr(attributes, entry.nodeid)
    return EntryOut(entry.nodeid, entry.generation, valid, attr_valid, valid_nsec, attr_valid_nsec, wire)


def open_out(opened: OpenFile) -> OpenOut:
    flags = OpenFlags
    return OpenOut(
        opened.fh,
        (flags.FOPEN_DIRECT_IO if opened.direct_io else 0)
        | (flags.FOPEN_KEEP_CACHE if opened.keep_cache else 0)
        | (flags.FOPEN_NONSEEKABLE if opened.nonseekable else 0)
        | (flags.FOPEN_CACHE_DIR if opened.cache_dir else 0)
        | (flags.FOPEN_STREAM if opened.stream else 0)
        | (flags.FOPEN_NOFLUSH if opened.noflush else 0)
        | (flags.FOPEN_PARALLEL_DIRECT_WRITES if opened.parallel_direct_writes else 0),
        0,
    )


def put_nothing(session: Answering, request: Request, result: object) -> Parts:
    return ()


def put_entry(session: Answering, request: Request, entry: Entry) -> Parts:
    return (entry_out(session, entry),)


def put_attributes(session: Answering, request: Request, attributes: Attributes) -> Parts:
    valid, valid_nsec = session.timeouts.attr(attributes.timeout)
    return (AttrOut(valid, valid_nsec, attr(attributes, request.nodeid)),)


def put_open(session: Answering, request: Request, opened: OpenFile | None) -> Parts:
    return (open_out(opened or OpenFile()),)


def put_created(session: Answering, request: Request, created: tuple[Entry, OpenFile]) -> Parts:
    entry, opened = created
    return entry_out(session, entry), open_out(opened)


def fitting(request: Request, data: Buffer, room: int) -> Buffer:
    """Return `data`. More than there is room for would kill the request: it is an error here, which says whose."""
    length = data.nbytes if isinstance(data, memoryview) else len(data)
    if length > room:
        method = request.name.lower()
        raise ProtocolError(request.unique, f"{method} returned {length} bytes where {room} were asked for")
    return data


def put_data(session: Answering, request: Request, data: Buffer) -> Parts:
    return (fitting(request, data, request.body.size),)


def put_path(session: Answering, request: Request, target: str) -> Parts:
    return (fitting(request, os.fsencode(target), PATH_MAX - 1),)


def put_written(session: Answering, request: Request, count: int | None) -> Parts:
    length = request.body.size  # not of the data, which the method may have released
    if count is not None and count > length:
        raise ProtocolError(request.unique, f"write took {count} bytes where {length} were given")
    return (WriteOut(length if count is None else count),)


def put_statfs(session: Answering, request: Request, result: StatFs | None) -> Parts:
    fs = result or StatFs()
    wire = Kstatfs(fs.blocks, fs.bfree, fs.bavail, fs.files, fs.ffree, fs.bsize, fs.namelen, fs.frsize)
    return (StatfsOut(wire),)


def put_sized(session: Answering, request: Request, value: Buffer) -> Parts:
    """An xattr's value, or its size alone where that was the question.

    Raises:
        OSError: ERANGE if it is longer than the caller's buffer, E2BIG if longer than Linux takes.
    """
    if len(value) > XATTR_MAX:
        raise os_error(errno.E2BIG)
    if request.body.size == 0:
        return (GetxattrOut(len(value)),)
    if len(value) > request.body.size:
        raise os_error(errno.ERANGE)
    return (value,)


def put_names(session: Answering, request: Request, names: Iterable[str]) -> Parts:
    """The names of a file's xattrs, each ending in NUL."""
    return put_sized(session, request, b"".join(os.fsencode(name) + b"\0" for name in names))


def file_name(dirent: Dirent) -> bytes:
    """A name as the wire has it. For one that no file can have Linux would refuse the listing, and not say why."""
    name = os.fsencode(dirent.name)
    if not name or b"/" in name or b"\0" in name:
        raise ValueError(f"{dirent.name!r} is listed, and cannot be the name of a file")
    return name


def put_dirents(session: Answering, request: Request, dirents: Iterable[Dirent] | None) -> Parts:
    """As many of `dirents` as fit."""
    room, packed, last = request.body.size, [], None
    for dirent in dirents or ():
        record = pack_dirent(file_name(dirent), dirent.ino, dirent.offset, dirent.type >> 12)
        room -= len(record)
        if room < 0:
            break
        packed.append(record)
        last = dirent
    refuse_circle(request, last)
    return (b"".join(packed),)


def refuse_circle(request: Request, last: Dirent | None) -> None:
    """Refuse a listing that ends where it began: Linux would ask for the same again, without end."""
    offset = request.body.offset
    if last is not None and last.offset == offset:
        raise ValueError(
            f"asked for what comes after offset {offset}, it listed {last.name!r} with the same offset: leave out what "
            "comes before, and give each name the offset at which the next one begins, such as its position + 1"
        )


NO_ENTRY: Final = EntryOut(0, 0, 0, 0, 0, 0, Attr(*[0] * 16))


def put_direntsplus(session: Answering, request: Request, dirents: Iterable[Dirent] | None) -> Parts:
    """As many of `dirents` as fit, each with its entry; the lookup of the one that did not is returned."""
    room, packed, last = request.body.size, [], None
    for dirent in dirents or ():
        entry = dirent.entry
        wire = NO_ENTRY if entry is None else entry_out(session, entry)
        record = pack_direntplus(wire, file_name(dirent), dirent.ino, dirent.offset, dirent.type >> 12)
        room -= len(record)
        if room < 0:
            if entry is not None and entry.nodeid:
                session.give_back(entry.nodeid)
            break
        packed.append(record)
        last = dirent
    refuse_circle(request, last)
    return (b"".join(packed),)


def put_lock(session: Answering, request: Request, found: Lock) -> Parts:
    return (LkOut(FileLock(found.start, found.end, found.type, found.pid)),)


def put_ioctl(session: Answering, request: Request, result: tuple[int, Buffer] | int | None) -> Parts:
    value, data = result if isinstance(result, tuple) else (result or 0, b"")
    return IoctlOut(value, 0, 0, 0), fitting(request, data, request.body.out_size)


def put_poll(session: Answering, request: Request, revents: int) -> Parts:
    return (PollOut(revents),)


def put_offset(session: Answering, request: Request, offset: int) -> Parts:
    return (LseekOut(offset),)


def put_block(session: Answering, request: Request, block: int) -> Parts:
    return (BmapOut(block),)


def put_copied(session: Answering, request: Request, count: int) -> Parts:
    return (CopyFileRangeOut(count) if request.name.endswith("_64") else WriteOut(count),)


STATX_BASIC_STATS: Final = 0x7FF
STATX_BTIME: Final = 0x800


def put_statx(session: Answering, request: Request, attributes: Attributes) -> Parts:
    """The same attributes in STATX's struct, which alone has a place for the birth time."""
    valid, valid_nsec = session.timeouts.attr(attributes.timeout)
    times = [attributes.atime_ns, attributes.btime_ns or 0, attributes.ctime_ns, attributes.mtime_ns]
    atime, btime, ctime, mtime = (SxTime(*divmod(time, NANOSECONDS)) for time in times)
    blocks = attributes.blocks
    stat = Statx(
        mask=STATX_BASIC_STATS | (0 if attributes.btime_ns is None else STATX_BTIME),
        blksize=attributes.blksize,
        nlink=attributes.nlink,
        uid=attributes.uid,
        gid=attributes.gid,
        mode=attributes.mode,
        ino=attributes.ino or request.nodeid,
        size=attributes.size,
        blocks=(attributes.size + 511) // 512 if blocks is None else blocks,
        atime=atime,
        btime=btime,
        ctime=ctime,
        mtime=mtime,
        rdev_major=os.major(attributes.rdev),
        rdev_minor=os.minor(attributes.rdev),
    )
    return (StatxOut(attr_valid=valid, attr_valid_nsec=valid_nsec, stat=stat),)
