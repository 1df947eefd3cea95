"""Decode, or ProtocolError: never another exception, whatever the bytes are.

Bytes from nowhere rarely get past a header, so most examples have a header that fits them. The fuzzer (fuzz/wire.py)
goes further, from valid messages with a few bytes changed.
"""

from __future__ import annotations

import contextlib
import sys

from hypothesis import example, given, settings
from hypothesis import strategies as st

from fusewire.errors import ProtocolError
from fusewire.wire import (
    NOTIFICATIONS,
    OPERATIONS,
    InHeader,
    Message,
    Operation,
    OutHeader,
    UnknownOperation,
    decode_notification,
    decode_reply,
    decode_request,
    forgets,
    iter_direntplus,
    iter_dirents,
    pruned_nodeids,
    removed_mappings,
)
from fusewire.wire.extensions import decode_extensions

anything = st.binary(max_size=300)
minors = st.integers(0, 60)
many = settings(max_examples=500)


@given(buffer=anything, minor=minors)
@example(buffer=b"", minor=45)
def test_request_of_any_bytes(buffer: bytes, minor: int) -> None:
    with contextlib.suppress(ProtocolError):
        decode_request(buffer, minor)


@many
@given(
    opcode=st.sampled_from(list(OPERATIONS)) | st.integers(0, 2**32 - 1),
    rest=anything,
    extlen=st.just(0) | st.integers(0, 50),
    minor=minors,
    setxattr_ext=st.booleans(),
)
def test_request_of_any_bytes_after_a_good_header(
    opcode: int, rest: bytes, extlen: int, minor: int, setxattr_ext: bool
) -> None:
    header = InHeader(InHeader.SIZE + len(rest), opcode, unique=7, nodeid=1, total_extlen=extlen)
    got = decode_or_error(memoryview(header.pack() + rest), minor, setxattr_ext)
    if isinstance(got, Message):
        read_records(got)
    else:
        assert got.unique == 7  # so that it can be answered
        assert isinstance(got, UnknownOperation) == (opcode not in OPERATIONS)


def decode_or_error(buffer: memoryview, minor: int, setxattr_ext: bool) -> Message | ProtocolError:
    try:
        return decode_request(buffer, minor, setxattr_ext)
    except ProtocolError as error:
        return error


def read_records(message: Message) -> None:
    """What is decoded later must be sound too."""
    if message.operation.name == "BATCH_FORGET":
        assert len(forgets(message)) == message.body.count
    if message.operation.name == "REMOVEMAPPING":
        assert len(removed_mappings(message)) == message.body.count


@many
@given(
    row=st.sampled_from(list(OPERATIONS.values())),
    error=st.just(0) | st.integers(-(2**31), 2**31 - 1),
    rest=anything,
    minor=minors,
    body=st.binary(min_size=300, max_size=300) | st.none(),
)
def test_reply_of_any_bytes_after_a_good_header(
    row: Operation, error: int, rest: bytes, minor: int, body: bytes | None
) -> None:
    buffer = OutHeader(OutHeader.SIZE + len(rest), error, unique=8).pack() + rest
    request_body = row.body.unpack_from(body) if row.body is not None and body is not None else None
    with contextlib.suppress(ProtocolError):
        assert decode_reply(buffer, row, minor=minor, request_body=request_body).unique == 8


@given(buffer=anything, row=st.sampled_from(list(OPERATIONS.values())))
def test_reply_of_any_bytes(buffer: bytes, row: Operation) -> None:
    with contextlib.suppress(ProtocolError):
        decode_reply(buffer, row)


@many
@given(code=st.sampled_from(list(NOTIFICATIONS)) | st.integers(-(2**31), 2**31 - 1), rest=anything)
def test_notification_of_any_bytes_after_a_good_header(code: int, rest: bytes) -> None:
    buffer = OutHeader(OutHeader.SIZE + len(rest), code, unique=0).pack() + rest
    with contextlib.suppress(ProtocolError):
        notice = decode_notification(buffer)
        assert notice.notification.code == code
        if notice.notification.name == "PRUNE":
            assert len(pruned_nodeids(notice)) == notice.body.count


@given(buffer=anything)
def test_notification_of_any_bytes(buffer: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        decode_notification(buffer)


@given(buffer=anything)
def test_dirents_of_any_bytes(buffer: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        list(iter_dirents(buffer))
    with contextlib.suppress(ProtocolError):
        list(iter_direntplus(buffer))


@many
@given(header=st.binary(min_size=16, max_size=16), length=st.integers(0, 40), rest=anything)
def test_dirents_of_any_bytes_after_a_good_length(header: bytes, length: int, rest: bytes) -> None:
    record = header + length.to_bytes(4, sys.byteorder) + bytes(4) + rest
    with contextlib.suppress(ProtocolError):
        list(iter_dirents(record + record))
    with contextlib.suppress(ProtocolError):
        list(iter_direntplus(bytes(128) + record))


@given(block=anything)
def test_extensions_of_any_bytes(block: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        decode_extensions(block, 1)


@many
@given(kind=st.integers(0, 33), content=anything)
def test_extensions_of_any_bytes_after_a_good_header(kind: int, content: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        decode_extensions((8 + len(content)).to_bytes(4, sys.byteorder) + kind.to_bytes(4, sys.byteorder) + content, 1)
