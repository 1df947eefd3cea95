"""Older minors have shorter structs: written by cutting, read by padding with zeros.

Source: fs/fuse/dev.c, fuse_adjust_compat; the FUSE_COMPAT sizes of include/uapi/linux/fuse.h.
"""

from __future__ import annotations

from typing import Any

import pytest

from fusewire.errors import ProtocolError
from fusewire.wire import (
    Attr,
    AttrOut,
    CreateIn,
    EntryOut,
    InHeader,
    InitIn,
    InitOut,
    Kstatfs,
    MknodIn,
    OpenOut,
    OutHeader,
    StatfsOut,
    WireStruct,
    WriteIn,
    decode_reply,
    decode_request,
    encode_reply,
    encode_request,
    operation,
    structs,
)

ATTR = Attr(*range(1, 17))
OLD_ATTR = Attr(*range(1, 15))  # without blksize and flags

REPLIES = [
    # operation, last minor, whole, what is left of it, its size
    ("STATFS", 3, StatfsOut(Kstatfs(*range(1, 9))), StatfsOut(Kstatfs(*range(1, 8))), 48),
    ("LOOKUP", 8, EntryOut(1, 2, 3, 4, 5, 6, ATTR), EntryOut(1, 2, 3, 4, 5, 6, OLD_ATTR), 120),
    ("LINK", 8, EntryOut(1, 2, 3, 4, 5, 6, ATTR), EntryOut(1, 2, 3, 4, 5, 6, OLD_ATTR), 120),
    ("GETATTR", 8, AttrOut(1, 2, ATTR), AttrOut(1, 2, OLD_ATTR), 96),
    ("SETATTR", 8, AttrOut(1, 2, ATTR), AttrOut(1, 2, OLD_ATTR), 96),
    ("INIT", 4, InitOut(*range(1, 14)), InitOut(1, 2), 8),
    ("INIT", 22, InitOut(*range(1, 14)), InitOut(1, 2, 3, 4, 5, 6, 7), 24),
]


@pytest.mark.parametrize(("name", "minor", "whole", "left", "size"), REPLIES)
def test_reply_is_cut_and_padded(name: str, minor: int, whole: WireStruct, left: WireStruct, size: int) -> None:
    message = encode_reply(2, whole, minor=minor)
    assert len(message) == OutHeader.SIZE + size
    assert decode_reply(message, name, minor=minor).structs == (left,)


@pytest.mark.parametrize(("name", "minor", "whole", "left", "size"), REPLIES)
def test_reply_of_the_next_minor_is_longer(name: str, minor: int, whole: Any, left: Any, size: int) -> None:
    message = encode_reply(2, whole, minor=minor + 1)
    assert len(message) > OutHeader.SIZE + size
    assert decode_reply(message, name, minor=45 if name != "INIT" else minor).structs[0] != left


@pytest.mark.parametrize(("name", "minor"), [("STATFS", 3), ("LOOKUP", 8), ("GETATTR", 8)])
def test_reply_in_the_form_of_another_minor_is_refused(name: str, minor: int) -> None:
    (kind,) = operation(name).reply_structs
    with pytest.raises(ProtocolError, match="is answered by"):
        decode_reply(encode_reply(2, kind(), minor=minor), name)
    with pytest.raises(ProtocolError, match="are left after the reply"):
        decode_reply(encode_reply(2, kind()), name, minor=minor)


def test_second_struct_of_create_follows_the_shorter_first() -> None:
    message = encode_reply(2, EntryOut(attr=ATTR), OpenOut(7, 1), minor=8)
    assert len(message) == OutHeader.SIZE + 120 + 16
    assert decode_reply(message, "CREATE", minor=8).structs == (EntryOut(attr=OLD_ATTR), OpenOut(7, 1))


@pytest.mark.parametrize("length", [0, 8, 20, 24, 40, 63, 64])
def test_reply_of_init_may_end_anywhere(length: int) -> None:
    """fs/fuse/inode.c, fuse_send_init: a short one is zero-filled, whatever its minor."""
    whole = InitOut(*range(1, 14)).pack()
    message = OutHeader(OutHeader.SIZE + length, 0, 2).pack() + whole[:length]
    (got,) = decode_reply(message, "INIT").structs
    assert got.pack() == whole[:length].ljust(64, b"\0")


REQUESTS = [
    ("WRITE", 8, WriteIn(1, 2, 4, 3, 5, 6), WriteIn(1, 2, 4, 3), 24, {"data": b"data"}),
    ("CREATE", 11, CreateIn(1, 2, 3, 4), CreateIn(1, 2), 8, {"names": (b"name",)}),
    ("MKNOD", 11, MknodIn(1, 2, 3), MknodIn(1, 2), 8, {"names": (b"name",)}),
]


@pytest.mark.parametrize(("name", "minor", "whole", "left", "size", "more"), REQUESTS)
def test_request_is_cut_and_padded(
    name: str, minor: int, whole: WireStruct, left: WireStruct, size: int, more: dict[str, Any]
) -> None:
    message = encode_request(name, unique=2, body=whole, minor=minor, **more)
    assert len(message) == InHeader.SIZE + size + (4 if "data" in more else 5)
    got = decode_request(message, minor)
    assert got.body == left
    assert (got.names, bytes(got.data)) == (more.get("names", ()), more.get("data", b""))
    newer = decode_request(encode_request(name, unique=2, body=whole, minor=minor + 1, **more), minor + 1)
    assert newer.body == whole


@pytest.mark.parametrize(("size", "left"), [(8, InitIn(1, 2)), (16, InitIn(1, 2, 3, 4)), (64, InitIn(1, 2, 3, 4, 5))])
@pytest.mark.parametrize("minor", [0, 5, 45])
def test_request_of_init_is_read_in_any_of_its_sizes(size: int, left: InitIn, minor: int) -> None:
    """Its own minor is inside, and none has been negotiated yet."""
    message = InHeader(40 + size, 26, 2).pack() + InitIn(1, 2, 3, 4, 5).pack()[:size]
    assert decode_request(message, minor).body == left


def test_request_of_init_may_be_longer_than_we_know() -> None:
    message = InHeader(40 + 128, 26, 2).pack() + InitIn(1, 2, 3, 4, 5).pack() + b"\xff" * 64
    assert decode_request(message).body == InitIn(1, 2, 3, 4, 5)


def test_security_context_that_the_header_does_not_count() -> None:
    """Minors 36 and 37 had the extension, and no total_extlen (fs/fuse/dir.c before Linux 6.3)."""
    block = structs.SecctxHeader(32, 1).pack() + structs.Secctx(3).pack() + b"selinux\0" + b"abc" + bytes(5)
    message = InHeader(40 + 8 + 2 + len(block), 9, 2).pack() + bytes(8) + b"d\0" + block
    (context,) = decode_request(message, 37).extensions.contexts
    assert (context.name, context.value) == (b"selinux", b"abc")


def test_only_the_structs_that_linux_cuts_have_older_sizes() -> None:
    old = {name: getattr(structs, name).SIZES for name in structs.__all__ if getattr(structs, name).SIZES}
    assert old == {
        "StatfsOut": {3: 48},
        "EntryOut": {8: 120},
        "AttrOut": {8: 96},
        "WriteIn": {8: 24},
        "CreateIn": {11: 8},
        "MknodIn": {11: 8},
        "InitIn": {5: 8, 35: 16},
        "InitOut": {4: 8, 22: 24},
    }
