"""Messages byte by byte, with the fields named, and messages as Linux sent them.

The dumps are little-endian, so they are compared on such machines alone; the layout itself is tested everywhere.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fusewire.wire import (
    Attr,
    AttrOut,
    BatchForgetIn,
    EntryOut,
    Extensions,
    ForgetOne,
    InitIn,
    InitOut,
    InterruptIn,
    LkIn,
    Message,
    MkdirIn,
    NotifyInvalEntryOut,
    NotifyInvalInodeOut,
    NotifyPruneOut,
    NotifyRetrieveOut,
    NotifyStoreOut,
    OpenOut,
    SecurityContext,
    SetxattrIn,
    WriteIn,
    decode_notification,
    decode_reply,
    decode_request,
    encode_error,
    encode_notification,
    encode_reply,
    encode_request,
    flags,
    forgets,
    join_init_flags,
    pack_dirent,
    pack_direntplus,
    pack_nodeids,
)

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="the dumps are little-endian")

RECORDED = Path(__file__).with_name("recorded_linux_6_18.txt")


def dump(text: str) -> bytes:
    """Bytes from hex with comments."""
    return bytes.fromhex("".join(line.partition("#")[0] for line in text.splitlines()))


LOOKUP = dump("""
    2f 00 00 00              # len: 40 + 7
    01 00 00 00              # opcode: LOOKUP
    06 00 00 00 00 00 00 00  # unique
    01 00 00 00 00 00 00 00  # nodeid: the root
    e8 03 00 00              # uid 1000
    e9 03 00 00              # gid 1001
    2a 00 00 00              # pid 42
    00 00                    # total_extlen
    00 00                    # padding
    63 61 66 e9 2e 63 00     # name: "caf\\xe9.c" in Latin-1, NUL
""")

MKDIR_WITH_EXTENSIONS = dump("""
    6d 00 00 00              # len: 40 + 8 + 5 + 56
    09 00 00 00              # opcode: MKDIR
    08 00 00 00 00 00 00 00  # unique
    03 00 00 00 00 00 00 00  # nodeid
    00 00 00 00 00 00 00 00  # uid, gid
    2a 00 00 00              # pid
    07 00                    # total_extlen: 56 / 8
    00 00                    # padding
    ff 01 00 00 12 00 00 00  # mode 0777, umask 022
    64 69 72 73 00           # name: "dirs", NUL
    28 00 00 00 01 00 00 00  # security contexts: 40 bytes, 1 context
    0c 00 00 00 00 00 00 00  # value of 12 bytes, padding
    73 65 6c 69 6e 75 78 00  # name: "selinux", NUL
    73 79 73 74 65 6d 5f 75 3a 6f 3a 00  # value: "system_u:o:", NUL
    00 00 00 00              # padding to 8
    10 00 00 00 20 00 00 00  # extension of 16 bytes, type 32: groups
    01 00 00 00 d2 04 00 00  # 1 group: 1234
""")

WRITE = dump("""
    53 00 00 00              # len: 40 + 40 + 3
    10 00 00 00              # opcode: WRITE
    0a 00 00 00 00 00 00 00  # unique
    02 00 00 00 00 00 00 00  # nodeid
    00 00 00 00 00 00 00 00  # uid, gid
    07 00 00 00 00 00 00 00  # pid, total_extlen, padding
    05 00 00 00 00 00 00 00  # fh
    00 00 00 00 01 00 00 00  # offset: 4 GiB
    03 00 00 00              # size
    02 00 00 00              # write_flags: FUSE_WRITE_LOCKOWNER
    ff ff ff ff ff ff ff ff  # lock_owner
    02 80 00 00              # flags: O_RDWR|O_LARGEFILE
    00 00 00 00              # padding
    61 00 62                 # data: "a\\0b"
""")

SETXATTR = dump("""
    3c 00 00 00              # len: 40 + 8 + 7 + 5
    15 00 00 00              # opcode: SETXATTR
    0c 00 00 00 00 00 00 00  # unique
    02 00 00 00 00 00 00 00  # nodeid
    00 00 00 00 00 00 00 00  # uid, gid
    07 00 00 00 00 00 00 00  # pid, total_extlen, padding
    05 00 00 00              # size
    01 00 00 00              # flags: XATTR_CREATE
    75 73 65 72 2e 78 00     # name: "user.x", NUL
    76 00 61 6c 00           # value: "v\\0al\\0"
""")

SETXATTR_EXT = dump("""
    44 00 00 00              # len: 40 + 16 + 7 + 5
    15 00 00 00              # opcode: SETXATTR
    0c 00 00 00 00 00 00 00  # unique
    02 00 00 00 00 00 00 00  # nodeid
    00 00 00 00 00 00 00 00  # uid, gid
    07 00 00 00 00 00 00 00  # pid, total_extlen, padding
    05 00 00 00              # size
    01 00 00 00              # flags: XATTR_CREATE
    01 00 00 00              # setxattr_flags: FUSE_SETXATTR_ACL_KILL_SGID
    00 00 00 00              # padding
    75 73 65 72 2e 78 00     # name: "user.x", NUL
    76 00 61 6c 00           # value: "v\\0al\\0"
""")

INTERRUPT = dump("""
    30 00 00 00              # len: 40 + 8
    24 00 00 00              # opcode: INTERRUPT
    0b 00 00 00 00 00 00 00  # unique: that of the request | 1
    00 00 00 00 00 00 00 00  # nodeid
    00 00 00 00 00 00 00 00  # uid, gid
    00 00 00 00 00 00 00 00  # pid, total_extlen, padding
    0a 00 00 00 00 00 00 00  # unique of the request
""")

BATCH_FORGET = dump("""
    50 00 00 00              # len: 40 + 8 + 2 * 16
    2a 00 00 00              # opcode: BATCH_FORGET
    0e 00 00 00 00 00 00 00  # unique
    00 00 00 00 00 00 00 00  # nodeid
    00 00 00 00 00 00 00 00  # uid, gid
    00 00 00 00 00 00 00 00  # pid, total_extlen, padding
    02 00 00 00 00 00 00 00  # count, dummy
    05 00 00 00 00 00 00 00  # nodeid
    01 00 00 00 00 00 00 00  # nlookup
    06 00 00 00 00 00 00 00  # nodeid
    09 00 00 00 00 00 00 00  # nlookup
""")

ATTR = """
    02 00 00 00 00 00 00 00  # ino
    05 00 00 00 00 00 00 00  # size
    01 00 00 00 00 00 00 00  # blocks
    ff ff ff ff ff ff ff ff  # atime: one second before 1970
    0b 00 00 00 00 00 00 00  # mtime
    0c 00 00 00 00 00 00 00  # ctime
    0d 00 00 00              # atimensec
    0e 00 00 00              # mtimensec
    0f 00 00 00              # ctimensec
    a4 81 00 00              # mode: a regular file, 0644
    01 00 00 00              # nlink
    e8 03 00 00              # uid
    e9 03 00 00              # gid
    00 00 00 00              # rdev
    00 10 00 00              # blksize
    02 00 00 00              # flags: FUSE_ATTR_DAX
"""
attr = Attr(2, 5, 1, 2**64 - 1, 11, 12, 13, 14, 15, 0o100644, 1, 1000, 1001, 0, 4096, 2)

GETATTR_REPLY = dump(f"""
    78 00 00 00              # len: 16 + 104
    00 00 00 00              # error
    10 00 00 00 00 00 00 00  # unique
    01 00 00 00 00 00 00 00  # attr_valid: 1 second
    00 ca 9a 3b              # attr_valid_nsec: and one more
    00 00 00 00              # dummy
    {ATTR}
""")

CREATE_REPLY = dump(f"""
    a0 00 00 00              # len: 16 + 128 + 16
    00 00 00 00              # error
    12 00 00 00 00 00 00 00  # unique
    02 00 00 00 00 00 00 00  # nodeid
    03 00 00 00 00 00 00 00  # generation
    04 00 00 00 00 00 00 00  # entry_valid
    05 00 00 00 00 00 00 00  # attr_valid
    06 00 00 00              # entry_valid_nsec
    07 00 00 00              # attr_valid_nsec
    {ATTR}
    08 00 00 00 00 00 00 00  # fh
    02 00 00 00              # open_flags: FOPEN_KEEP_CACHE
    ff ff ff ff              # backing_id: -1
""")

INIT_REPLY = dump("""
    50 00 00 00              # len: 16 + 64
    00 00 00 00              # error
    02 00 00 00 00 00 00 00  # unique
    07 00 00 00              # major
    2d 00 00 00              # minor
    00 00 02 00              # max_readahead: 128 KiB
    01 00 40 40              # flags: FUSE_ASYNC_READ|FUSE_MAX_PAGES|FUSE_INIT_EXT
    0c 00                    # max_background
    09 00                    # congestion_threshold
    00 00 10 00              # max_write: 1 MiB
    01 00 00 00              # time_gran
    00 01                    # max_pages
    00 00                    # map_alignment
    80 00 00 00              # flags2: FUSE_HAS_RESEND
    00 00 00 00              # max_stack_depth
    1e 00                    # request_timeout: 30 seconds
    00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  # unused
""")

ENOENT_REPLY = dump("""
    10 00 00 00              # len
    fe ff ff ff              # error: -2
    14 00 00 00 00 00 00 00  # unique
""")

INVAL_ENTRY = dump("""
    24 00 00 00              # len: 16 + 16 + 4
    03 00 00 00              # code: INVAL_ENTRY
    00 00 00 00 00 00 00 00  # unique
    01 00 00 00 00 00 00 00  # parent
    03 00 00 00              # namelen
    01 00 00 00              # flags: FUSE_EXPIRE_ONLY
    6f 6c 64 00              # name: "old", NUL
""")

DIRENT = dump("""
    09 00 00 00 00 00 00 00  # ino
    03 00 00 00 00 00 00 00  # off
    05 00 00 00              # namelen
    08 00 00 00              # type: DT_REG
    68 65 6c 6c 6f 00 00 00  # name: "hello", padding to 8
""")


def caller(message: Message) -> tuple[int, int, int]:
    return message.header.uid, message.header.gid, message.header.pid


def test_lookup() -> None:
    message = decode_request(LOOKUP)
    assert (message.operation.name, message.header.unique, message.header.nodeid) == ("LOOKUP", 6, 1)
    assert caller(message) == (1000, 1001, 42)
    assert message.names == (b"caf\xe9.c",)
    assert encode_request("LOOKUP", unique=6, nodeid=1, uid=1000, gid=1001, pid=42, names=[b"caf\xe9.c"]) == LOOKUP


def test_mkdir_with_extensions() -> None:
    context = SecurityContext(b"selinux", b"system_u:o:\0")
    extensions = Extensions(groups=(1234,), contexts=(context,))
    message = decode_request(MKDIR_WITH_EXTENSIONS)
    assert (message.body, message.names, message.extensions) == (MkdirIn(0o777, 0o22), (b"dirs",), extensions)
    assert (
        encode_request(
            "MKDIR", unique=8, nodeid=3, pid=42, body=MkdirIn(0o777, 0o22), names=[b"dirs"], extensions=extensions
        )
        == MKDIR_WITH_EXTENSIONS
    )


def test_write() -> None:
    body = WriteIn(5, 1 << 32, 3, flags.WriteFlags.FUSE_WRITE_LOCKOWNER, 2**64 - 1, 0o100002)
    message = decode_request(WRITE)
    assert (message.body, bytes(message.data)) == (body, b"a\0b")
    assert encode_request("WRITE", unique=10, nodeid=2, pid=7, body=body, data=b"a\0b") == WRITE


def test_data_is_a_view_of_the_buffer() -> None:
    buffer = bytearray(WRITE)
    message = decode_request(buffer)
    buffer[-1:] = b"X"
    assert bytes(message.data) == b"a\0X"


@pytest.mark.parametrize(
    ("expected", "body", "extended"),
    [(SETXATTR, SetxattrIn(5, 1), False), (SETXATTR_EXT, SetxattrIn(5, 1, 1), True)],
)
def test_setxattr_has_two_sizes(expected: bytes, body: SetxattrIn, extended: bool) -> None:
    message = decode_request(expected, setxattr_ext=extended)
    assert (message.body, message.names, bytes(message.data)) == (body, (b"user.x",), b"v\0al\0")
    assert expected == encode_request(
        "SETXATTR",
        unique=12,
        nodeid=2,
        pid=7,
        body=body,
        names=[b"user.x"],
        data=b"v\0al\0",
        setxattr_ext=extended,
    )


def test_interrupt() -> None:
    assert decode_request(INTERRUPT).body == InterruptIn(10)
    assert encode_request("INTERRUPT", unique=11, body=InterruptIn(10)) == INTERRUPT


def test_batch_forget() -> None:
    message = decode_request(BATCH_FORGET)
    assert forgets(message) == [ForgetOne(5, 1), ForgetOne(6, 9)]
    data = b"".join(record.pack() for record in forgets(message))
    assert encode_request("BATCH_FORGET", unique=14, body=BatchForgetIn(2), data=data) == BATCH_FORGET


def test_reply_of_getattr() -> None:
    reply = AttrOut(1, 1_000_000_000, attr)
    assert encode_reply(16, reply) == GETATTR_REPLY
    assert decode_reply(GETATTR_REPLY, "GETATTR").structs == (reply,)


def test_reply_of_create() -> None:
    parts = EntryOut(2, 3, 4, 5, 6, 7, attr), OpenOut(8, flags.OpenFlags.FOPEN_KEEP_CACHE, -1)
    assert encode_reply(18, *parts) == CREATE_REPLY
    assert decode_reply(CREATE_REPLY, "CREATE").structs == parts


def test_reply_of_init() -> None:
    reply = InitOut(
        major=7,
        minor=45,
        max_readahead=131072,
        flags=0x40400001,
        max_background=12,
        congestion_threshold=9,
        max_write=1 << 20,
        time_gran=1,
        max_pages=256,
        flags2=0x80,
        request_timeout=30,
    )
    assert encode_reply(2, reply) == INIT_REPLY
    assert decode_reply(INIT_REPLY, "INIT").structs == (reply,)


def test_error() -> None:
    assert encode_error(20, 2) == ENOENT_REPLY
    assert decode_reply(ENOENT_REPLY, "LOOKUP").error == 2


def test_inval_entry() -> None:
    body = NotifyInvalEntryOut(1, 3, flags.ExpireFlags.FUSE_EXPIRE_ONLY)
    assert encode_notification("INVAL_ENTRY", body, [b"old"]) == INVAL_ENTRY
    notice = decode_notification(INVAL_ENTRY)
    assert (notice.body, notice.names) == (body, (b"old",))


def test_dirent() -> None:
    assert pack_dirent(b"hello", 9, 3, 8) == DIRENT


def test_direntplus() -> None:
    entry = EntryOut(2, 3, 4, 5, 6, 7, attr)
    assert pack_direntplus(entry, b"hello", 9, 3, 8) == CREATE_REPLY[16:144] + DIRENT


# What Linux sent, and what it took


def recorded() -> list[tuple[str, bytes]]:
    lines = [line.split() for line in RECORDED.read_text().splitlines() if not line.startswith("#")]
    return [(name, bytes.fromhex(message)) for name, message in lines]


@pytest.mark.parametrize(("name", "message"), recorded(), ids=[name for name, _ in recorded()])
def test_request_that_linux_sent_is_understood_and_made_again(name: str, message: bytes) -> None:
    got = decode_request(message, setxattr_ext=True)
    assert got.operation.name == name
    header = got.header
    again = encode_request(
        got.operation,
        unique=header.unique,
        nodeid=header.nodeid,
        uid=header.uid,
        gid=header.gid,
        pid=header.pid,
        body=got.body,
        names=got.names,
        data=got.data,
        extensions=got.extensions,
        setxattr_ext=True,
    )
    if header.total_extlen:  # Linux also sends a list of no security contexts, which we leave out
        second = decode_request(again, setxattr_ext=True)
        assert (second.body, second.names, second.extensions) == (got.body, got.names, got.extensions)
    else:
        assert again == message


def test_what_linux_says_of_a_caller_with_a_group() -> None:
    made = [decode_request(message) for name, message in recorded() if name in ("MKDIR", "CREATE")]
    assert [message.extensions.groups for message in made] == [(), (), (1234,), (1234,)]


def test_what_linux_offers() -> None:
    init = decode_request(dict(recorded())["INIT"]).body
    assert isinstance(init, InitIn)
    offered = join_init_flags(init.flags, init.flags2)
    assert (init.major, init.minor, init.max_readahead) == (7, 45, 131072)
    bits = {bit for bit in range(64) if offered >> bit & 1}
    assert bits == {0, 1, *range(3, 26), 28, 29, 30, 32, *range(34, 41), 42}
    assert len(flags.InitFlags.names(offered)) == len(bits)


def test_lock_that_linux_asked_for() -> None:
    lock = decode_request(dict(recorded())["SETLKW"]).body
    assert isinstance(lock, LkIn)
    assert (lock.lk.start, lock.lk.end, lock.lk.type) == (0, 2**63 - 1, 1)


ACCEPTED = {
    "INVAL_INODE": "28000000020000000000000000000000020000000000000000000000000000000000000000000000",
    "STORE": "2d000000040000000000000000000000020000000000000000000000000000000500000000000000574f524c44",
    "RETRIEVE": "300000000500000000000000000000006300000000000000020000000000000000000000000000000500000000000000",
    "INC_EPOCH": "10000000080000000000000000000000",
    "PRUNE": "c0000000090000000000000000000000"
    "14000000000000000000000000000000" + "".join(f"{nodeid:02x}00000000000000" for nodeid in range(100, 120)),
}


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("INVAL_INODE", (NotifyInvalInodeOut(2, 0, 0),)),
        ("STORE", (NotifyStoreOut(2, 0, 5), (), b"WORLD")),
        ("RETRIEVE", (NotifyRetrieveOut(99, 2, 0, 5),)),
        ("INC_EPOCH", ()),
        ("PRUNE", (NotifyPruneOut(20), (), pack_nodeids(range(100, 120)))),
    ],
)
def test_notification_that_linux_took(name: str, parts: tuple[object, ...]) -> None:
    """Each was written to the device of Linux 6.18, which took it whole."""
    message = bytes.fromhex(ACCEPTED[name])
    assert encode_notification(name, *parts) == message  # type: ignore[arg-type]
    assert decode_notification(message).notification.name == name
