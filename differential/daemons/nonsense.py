"""The table of nonsense: what a daemon may answer instead of what it should.

    ANYTHING    of any reply: wrong lengths, wrong errors, wrong uniques, twice, not at all
    FIELDS      one field of a reply has an odd value, by operation
    PAYLOADS    replies of names and bytes, by operation
    ENTRIES     records of a listing

`deeds(operation)` is all of it that applies to one operation.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from differential.daemons.scripted import Action, Asked, Deed
from differential.daemons.world import DIR, EMPTY, FILE, ROOT
from fusewire.wire import (
    FUSE_UNIQUE_RESEND,
    AttrOut,
    CopyFileRangeOut,
    EntryOut,
    GetxattrOut,
    InitOut,
    IoctlOut,
    LkOut,
    LseekOut,
    OpenOut,
    OutHeader,
    PollOut,
    StatfsOut,
    StatxOut,
    WireStruct,
    WriteOut,
    encode_notification,
    pack_dirent,
    pack_direntplus,
)

__all__ = ["ENTRIES", "FIELDS", "PAYLOADS", "deeds"]

PAGE: Final = 4096
U16, U32, U63, U64 = 2**16 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1
NOT_ERRORS: Final = (1, 2, 5000, 2**31 - 1, -512, -513, -1000, -5000, -(2**31))
ERRORS: Final = (1, 2, 4, 5, 11, 12, 13, 17, 18, 20, 22, 28, 34, 38, 39, 61, 75, 95, 107, 116, 511)


def write(data: bytes) -> Action:
    return Action("write", data)


# --- of any reply

Write = Callable[[Asked], bytes]


def error(code: int) -> Write:
    """Return what answers with a number in the place of an error, right or wrong."""
    return lambda asked: asked.reply(b"", error=code)


ANYTHING: Final[Mapping[str, Write]] = {
    "nothing": lambda asked: b"",
    "15 bytes": lambda asked: asked.right[:15],
    "a header and no payload": lambda asked: asked.reply(b""),
    "one byte short": lambda asked: asked.reply(asked.payload[:-1]),
    "half of it": lambda asked: asked.reply(asked.payload[: len(asked.payload) // 2]),
    "one byte too long": lambda asked: asked.reply(asked.payload + b"x"),
    "a page too long": lambda asked: asked.reply(asked.payload + bytes(PAGE)),
    "a megabyte": lambda asked: asked.reply(bytes(1 << 20)),
    "zeros": lambda asked: asked.reply(bytes(len(asked.payload))),
    "ones": lambda asked: asked.reply(b"\xff" * len(asked.payload)),
    "an error with a byte": lambda asked: asked.reply(b"x", error=-2),
    "an error with the payload": lambda asked: asked.reply(error=-5),
    "a header that says one more": lambda asked: asked.reply(length=1),
    "a header that says one less": lambda asked: asked.reply(length=-1),
    "a header that says 0": lambda asked: asked.reply(length=-16 - len(asked.payload)),
    "a header that says too much": lambda asked: OutHeader(U32, 0, asked.unique).pack() + asked.payload,
    "unique 0": lambda asked: asked.reply(unique=0),
    "unique 0, an error": lambda asked: asked.reply(b"", unique=0, error=-2),
    "an unknown unique": lambda asked: asked.reply(unique=asked.unique + 100),
    "an odd unique": lambda asked: asked.reply(unique=asked.unique | 1),
    "an odd unique, EAGAIN": lambda asked: asked.reply(b"", unique=asked.unique | 1, error=-11),
    "an odd unique, ENOENT": lambda asked: asked.reply(b"", unique=asked.unique | 1, error=-2),
    "an odd unique, an error with a byte": lambda asked: asked.reply(b"x", unique=asked.unique | 1, error=-2),
    "an odd unique, ENOSYS": lambda asked: asked.reply(b"", unique=asked.unique | 1, error=-38),
    "a unique sent again, which it was not": lambda asked: asked.reply(unique=asked.unique | FUSE_UNIQUE_RESEND),
    **{f"error {code:+}": error(code) for code in (*(-code for code in ERRORS), *NOT_ERRORS)},
}  # fmt: skip

SEVERAL: Final[Mapping[str, Callable[[Asked], Sequence[Action]]]] = {
    "twice": lambda asked: [write(asked.right)] * 2,
    "well, then an error": lambda asked: [write(asked.right), write(asked.reply(b"", error=-5))],
    "to another device": lambda asked: [Action("write to the clone", asked.right)],
    "never: aborted": lambda asked: [Action("abort")],
    "never: closed": lambda asked: [Action("close")],
    "sent again": lambda asked: [write(encode_notification("RESEND"))],
    "all that is refused, one after the other": lambda asked: [
        write(ANYTHING[name](asked)) for name in ANYTHING if name.startswith(("error +", "a header that", "15"))
    ],
}

# A signal comes, the INTERRUPT is read, and answered; then the request is, well or with EINTR.
INTERRUPTED: Final[Mapping[str, Callable[[Asked], Sequence[bytes]]]] = {
    "not answered": lambda asked: [],
    "ENOSYS": lambda asked: [asked.reply(b"", unique=asked.unique | 1, error=-38)],
    "error 0": lambda asked: [asked.reply(b"", unique=asked.unique | 1)],
    "EIO": lambda asked: [asked.reply(b"", unique=asked.unique | 1, error=-5)],
    "too long": lambda asked: [asked.reply(b"x", unique=asked.unique | 1)],
    "EAGAIN, too long": lambda asked: [asked.reply(b"x", unique=asked.unique | 1, error=-11)],
    "+11": lambda asked: [asked.reply(b"", unique=asked.unique | 1, error=11)],
    "the request with EINTR": lambda asked: [asked.reply(b"", error=-4)],
    "both": lambda asked: [asked.right, asked.reply(b"", unique=asked.unique | 1, error=-11)],
}


def general(operation: str) -> Iterator[Deed]:
    for name, one in ANYTHING.items():
        yield Deed(name, lambda asked, one=one: [write(one(asked))])  # type: ignore[misc]
    for name, actions in SEVERAL.items():
        yield Deed(name, actions)
    if operation in UNWAITED:
        return
    for name, replies in INTERRUPTED.items():
        yield Deed(f"interrupted: {name}", lambda asked, replies=replies: interrupted(replies(asked)))  # type: ignore[misc]
    yield Deed("interrupted: EAGAIN", again)


UNWAITED: Final = ("INIT", "RELEASE", "RELEASEDIR")  # nobody waits for their answers


def interrupted(replies: Sequence[bytes]) -> list[Action]:
    return [Action("signal"), Action("read"), *map(write, replies)]


def again(asked: Asked) -> list[Action]:
    return [*interrupted([asked.reply(b"", unique=asked.unique | 1, error=-11)]), Action("read")]


# --- one field of a reply

MODES: Final = (0, 0o644, 0o110644, 0o170644, U32, stat.S_IFREG | 0o7777, stat.S_IFREG, stat.S_IFDIR | 0o755)
OTHER_TYPES: Final = (stat.S_IFLNK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK)
MORE_MODES: Final = tuple(kind | 0o666 for kind in OTHER_TYPES)
ATTR: Final[Mapping[str, Sequence[int]]] = {
    "attr.ino": (0, 99, U64),
    "attr.size": (0, 1, 99_999, U63, U63 + 1, U64),
    "attr.blocks": (U63, U64),
    "attr.mode": MODES + MORE_MODES,
    "attr.nlink": (0, U32),
    "attr.uid": (1000, U32),
    "attr.gid": (1000, U32),
    "attr.rdev": (U32,),
    "attr.blksize": (0, 1, 511, 513, PAGE + 1, 2**31, U32),
    "attr.flags": (1, 2, 3, 4, U32),
    "attr.atime": (U63, U64),
    "attr.mtime": (U63, U63 + 1, U64),
    "attr.mtimensec": (10**9, U32),
    "attr.ctimensec": (10**9, U32),
    "attr_valid": (0, U64),
    "attr_valid_nsec": (10**9, U32),
}
ENTRY: Final[Mapping[str, Sequence[int]]] = {
    "nodeid": (0, ROOT, FILE, DIR, EMPTY, 77, U64),
    "generation": (7, U64),
    "entry_valid": (0, U64),
    "entry_valid_nsec": (10**9, U32),
    **ATTR,
}
OPENED: Final[Mapping[str, Sequence[int]]] = {
    "fh": (0, 6, U64),
    "open_flags": (*(1 << bit for bit in range(32)), 3, 0x81, 0xA1, 0x15, U32),
    "backing_id": (-1, 1),
}
COUNT: Final = (0, 1, 99, 100, 101, 1000, U32)
SXTIME: Final = (-1,)
FIELDS: Final[Mapping[str, tuple[type[WireStruct], int, Mapping[str, Sequence[int]]]]] = {
    **dict.fromkeys(("LOOKUP", "SYMLINK", "MKNOD", "MKDIR", "LINK", "CREATE", "TMPFILE"), (EntryOut, 0, ENTRY)),
    **dict.fromkeys(("GETATTR", "SETATTR"), (AttrOut, 0, ATTR)),
    **dict.fromkeys(("OPEN", "OPENDIR"), (OpenOut, 0, OPENED)),
    "CREATE, opened": (OpenOut, EntryOut.SIZE, OPENED),
    "TMPFILE, opened": (OpenOut, EntryOut.SIZE, OPENED),
    "WRITE": (WriteOut, 0, {"size": COUNT}),
    "GETXATTR": (GetxattrOut, 0, {"size": (0, 1, 65536, 65537, U32)}),
    "LISTXATTR": (GetxattrOut, 0, {"size": (0, 1, 65536, 65537, U32)}),
    "STATFS": (
        StatfsOut,
        0,
        {
            **{f"st.{name}": (0, U64) for name in ("blocks", "bfree", "bavail", "files", "ffree")},
            **{f"st.{name}": (0, 1, U32) for name in ("bsize", "namelen", "frsize")},
        },
    ),
    "GETLK": (
        LkOut,
        0,
        {
            "lk.type": (0, 1, 2, 3, 99, U32),
            "lk.start": (0, 20, U63, U63 + 1, U64),
            "lk.end": (0, 9, 10, U63, U63 + 1, U64),
            "lk.pid": (0, 1, U32),
        },
    ),
    "POLL": (PollOut, 0, {"revents": (0, 1, 4, 0x10, 0x20, 0x7FFF, U32)}),
    "LSEEK": (LseekOut, 0, {"offset": (0, 9999, 10_000, 10_001, U63, U63 + 1, U64)}),
    "COPY_FILE_RANGE_64": (CopyFileRangeOut, 0, {"bytes_copied": (*COUNT, U63, U63 + 1, U64)}),
    "COPY_FILE_RANGE": (WriteOut, 0, {"size": COUNT}),
    "IOCTL": (
        IoctlOut,
        0,
        {
            "result": (0, -1, -38, -511, -512, -515, -5000, 2**31 - 1, -(2**31)),
            "flags": (1, 2, 4, 8, 16, 64, U32),
            "in_iovs": (1, U32),
            "out_iovs": (1, 300, U32),
        },
    ),
    "STATX": (
        StatxOut,
        0,
        {
            "attr_valid": (0, U64),
            "attr_valid_nsec": (10**9, U32),
            "flags": (1, U32),
            "stat.mask": (0, 0x7FE, 0x7FF, 0x800, 0xFFF, U32),
            "stat.mode": tuple(mode & U16 for mode in MODES),
            "stat.size": ATTR["attr.size"],
            "stat.nlink": (0, U32),
            "stat.uid": (U32,),
            "stat.blksize": (0, 1, 513, U32),
            "stat.attributes": (U64,),
            "stat.ino": (0, U64),
            "stat.rdev_major": (U32,),
            "stat.dev_major": (U32,),
        },
    ),
    "INIT": (
        InitOut,
        0,
        {
            "major": (0, 6, 8, U32),
            "minor": (*range(46), 50, 1000, U32),
            "max_readahead": (0, 1, 4096, U32),
            "flags": (0, *(1 << bit for bit in range(31))),
            "flags2": tuple(1 << bit for bit in range(11) if bit != 9),  # 41 waits for a ring, if there is one
            "max_background": (0, 1, U16),
            "congestion_threshold": (0, 1, U16),
            "max_write": (0, 1, 4095, 4097),
            "time_gran": (0, 3, 1000, 10**9, 10**9 + 1, U32),
            "max_pages": (0, 1, 257, U16),
            "map_alignment": (1, U16),
            "max_stack_depth": (0, 1, 3, U32),
            "request_timeout": (0, 1, 15, U16),
        },
    ),
}  # fmt: skip


def fields_of(operation: str) -> Iterator[Deed]:
    for row, (kind, offset, fields) in FIELDS.items():
        if row.split(",")[0] == operation:
            for path, values in fields.items():
                for value in values:
                    yield Deed(f"{path} = {value:#x}", changed(kind, offset, path, value))


def changed(kind: type[WireStruct], offset: int, path: str, value: int) -> Callable[[Asked], list[Action]]:
    def actions(asked: Asked) -> list[Action]:
        if len(asked.payload) < offset + kind.SIZE:
            return []  # the right answer is an error, or of another kind
        body = kind.unpack_from(asked.payload, offset)
        whole: Any = body
        *inner, name = path.split(".")
        for each in inner:
            whole = getattr(whole, each)
        setattr(whole, name, value)
        payload = asked.payload[:offset] + body.pack() + asked.payload[offset + kind.SIZE :]
        return [write(asked.reply(payload))]

    return actions


# --- names and bytes

Payload = Callable[[Asked], bytes]


def whole(data: bytes) -> Payload:
    return lambda asked: data


PAYLOADS: Final[Mapping[str, Mapping[str, Payload]]] = {
    "READLINK": {
        "another": whole(b"other"),
        "one NUL": whole(b"\0"),
        "a NUL inside": whole(b"fi\0le"),
        "a NUL at its end": whole(b"file\0"),
        "nowhere": whole(b"nowhere"),
        "to itself": whole(b"link"),
        "4094 bytes": whole(b"x" * 4094),
        "4095 bytes": whole(b"./" * 2045 + b"/file"),
        "4096 bytes": whole(b"x" * 4096),
        "no UTF-8": whole(b"\xff\xfe"),
    },
    "READ": {
        "more than asked": lambda asked: bytes(asked.message.body.size + 1),
        "as much as asked": lambda asked: b"y" * asked.message.body.size,
        "one page": lambda asked: b"y" * PAGE,
    },
    "GETXATTR": {
        "as long as asked": lambda asked: b"v" * asked.message.body.size,
        "longer than asked": lambda asked: b"v" * (asked.message.body.size + 1),
        "short": whole(b"v"),
    },
    "LISTXATTR": {
        "one NUL": whole(b"\0"),
        "no NUL at its end": whole(b"user.one\0user.two"),
        "an empty name": whole(b"user.one\0\0user.two\0"),
        "an empty name first": whole(b"\0user.one\0"),
        "one name": whole(b"user.one\0"),
        "longer than asked": lambda asked: b"v" * (asked.message.body.size + 1),
    },
    "IOCTL": {
        "all that is asked": lambda asked: IoctlOut(0).pack() + b"z" * asked.message.body.out_size,
        "more than asked": lambda asked: IoctlOut(0).pack() + b"z" * (asked.message.body.out_size + 1),
        "a page": lambda asked: IoctlOut(0).pack() + bytes(PAGE),
        "an iovec": lambda asked: IoctlOut(0, 4, 1, 1).pack() + bytes(32),
        "an iovec that is not there": lambda asked: IoctlOut(0, 4, 1, 1).pack(),
    },
    "INIT": {
        "8 bytes": lambda asked: asked.payload[:8],
        "7 bytes": lambda asked: asked.payload[:7],
        "4 bytes": lambda asked: asked.payload[:4],
        "24 bytes": lambda asked: asked.payload[:24],
        "23 bytes": lambda asked: asked.payload[:23],
        "25 bytes": lambda asked: asked.payload[:25],
        "65 bytes": lambda asked: asked.payload + b"x",
    },
}


# --- records of a listing

REGULAR: Final = stat.S_IFREG >> 12


def record(name: bytes, *, ino: int = 2, off: int = 9, kind: int = REGULAR, namelen: int | None = None) -> bytes:
    packed = bytearray(pack_dirent(name, ino, off, kind))
    if namelen is not None:
        struct.pack_into("=I", packed, 16, namelen)
    return bytes(packed)


ENTRIES: Final[Mapping[str, bytes]] = {
    "a slash": record(b"a/b"),
    "one slash": record(b"/"),
    "no name": record(b""),
    "namelen 0": record(b"file", namelen=0),
    "namelen 255": record(b"n" * 255),
    "namelen 256": record(b"n" * 256),
    "namelen 1024": record(b"n" * 1024),
    "namelen 1025": record(b"n" * 1025),
    "namelen 2048": record(b"n" * 2048),
    "namelen beyond": record(b"file", namelen=100),
    "namelen too long": record(b"file", namelen=4096),
    "namelen absurd": record(b"file", namelen=U32),
    "a NUL inside": record(b"fi\0le"),
    "a dot": record(b"."),
    "two dots": record(b".."),
    "ino 0": record(b"file", ino=0),
    "ino huge": record(b"file", ino=U64),
    "off 0": record(b"file", off=0),
    "off 1": record(b"file", off=1),
    "off U63": record(b"file", off=U63),
    "off negative": record(b"file", off=U64),
    "type 0": record(b"file", kind=0),
    "type 15": record(b"file", kind=15),
    "type 99": record(b"file", kind=99),
    "type huge": record(b"file", kind=U32),
    "the same twice": record(b"file", off=8) + record(b"file", off=9),
    "cut in its name": record(b"file")[:-8],
    "cut in its header": record(b"file")[:20],
    "one and a half": record(b"file", off=8) + record(b"other")[:-4],
    "good, then bad": record(b"file", off=8) + record(b"a/b"),
    "not padded": record(b"file")[:-4],
}


def listings(operation: str) -> Iterator[Deed]:
    for name, packed in ENTRIES.items() if operation in ("READDIR", "READDIRPLUS") else ():
        yield Deed(f"entry: {name}", with_records(operation, packed))
    if operation == "READDIRPLUS":
        for path, values in ENTRY.items():
            for value in values:
                yield Deed(f"entry of file: {path} = {value:#x}", plus_changed(path, value))


def with_records(operation: str, packed: bytes) -> Callable[[Asked], list[Action]]:
    """Put records after the first one of the right answer, where there is an answer."""

    def actions(asked: Asked) -> list[Action]:
        if not asked.payload:
            return []
        if operation == "READDIR":
            return [write(asked.reply(pack_dirent(b"first", 3, 1, 4) + packed))]
        entry = EntryOut(nodeid=FILE, attr=EntryOut.unpack_from(asked.payload[plus_offset(asked) :]).attr)
        return [write(asked.reply(pack_direntplus(EntryOut(), b"first", 3, 1, 4) + entry.pack() + packed))]

    return actions


def plus_offset(asked: Asked) -> int:
    """Return where in the right answer the record of `file` begins."""
    return asked.payload.index(b"file\0\0\0\0") - EntryOut.SIZE - 24


def plus_changed(path: str, value: int) -> Callable[[Asked], list[Action]]:
    def actions(asked: Asked) -> list[Action]:
        return changed(EntryOut, plus_offset(asked), path, value)(asked) if asked.payload else []

    return actions


def deeds(operation: str) -> Iterator[Deed]:
    """Yield all that may be done to a request of `operation`."""
    yield from general(operation)
    yield from fields_of(operation)
    for name, payload in PAYLOADS.get(operation, {}).items():
        yield Deed(name, lambda asked, payload=payload: [write(asked.reply(payload(asked)))])  # type: ignore[misc]
    yield from listings(operation)
