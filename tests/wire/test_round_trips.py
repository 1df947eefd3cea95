"""What one end encodes, the other decodes to the same: for every row, in both directions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wire_strategies as strategies
from fusewire.wire import (
    NOTIFICATIONS,
    OPERATIONS,
    EntryOut,
    InHeader,
    Notification,
    Operation,
    WireStruct,
    decode_notification,
    decode_reply,
    decode_request,
    dirent_size,
    direntplus_size,
    encode_error,
    encode_notification,
    encode_reply,
    encode_request,
    iter_direntplus,
    iter_dirents,
    pack_dirent,
    pack_direntplus,
    reply_header,
    structs,
)

few = settings(max_examples=25)  # of each row: there are many rows

ROWS = list(OPERATIONS.values())
ANSWERED = [row for row in ROWS if row.reply is not None]
STRUCTS: list[type[WireStruct]] = [getattr(structs, name) for name in structs.__all__]


def named(row: Operation | Notification) -> str:
    return row.name


@given(cls=st.sampled_from(STRUCTS), data=st.data())
@settings(max_examples=500)
def test_struct(cls: type[WireStruct], data: st.DataObject) -> None:
    value = data.draw(strategies.structs_of(cls))
    packed = value.pack()
    assert len(packed) == cls.SIZE
    again = cls.unpack_from(b"12345" + packed, 5)
    assert (again, again.pack()) == (value, packed)


@pytest.mark.parametrize("row", ROWS, ids=named)
@few
@given(data=st.data())
def test_request(row: Operation, data: st.DataObject) -> None:
    sent = data.draw(strategies.requests(row))
    message = encode_request(row, **sent, setxattr_ext=True)
    got = decode_request(memoryview(message), setxattr_ext=True)
    length = len(message)
    header = InHeader(length, row.code, *(sent[name] for name in ("unique", "nodeid", "uid", "gid", "pid")))
    header.total_extlen = got.header.total_extlen
    assert (got.header, got.operation) == (header, row)
    assert (got.body, got.names, bytes(got.data)) == (sent["body"], sent["names"], sent["data"])
    assert got.extensions == sent["extensions"]
    assert bool(got.header.total_extlen) == bool(sent["extensions"])


@pytest.mark.parametrize("row", ANSWERED, ids=named)
@few
@given(data=st.data())
def test_reply(row: Operation, data: st.DataObject) -> None:
    sent = data.draw(strategies.replies(row))
    message = encode_reply(sent.unique, *sent.structs, sent.data)
    got = decode_reply(message, row, request_body=sent.request_body)
    assert (got.unique, got.error) == (sent.unique, 0)
    assert (got.structs, bytes(got.data)) == (sent.structs, sent.data)


@given(row=st.sampled_from(ANSWERED), unique=st.integers(1, 2**64 - 1), errno=st.integers(1, 511))
def test_error(row: Operation, unique: int, errno: int) -> None:
    got = decode_reply(encode_error(unique, errno), row)
    assert (got.unique, got.error, got.structs, bytes(got.data)) == (unique, errno, (), b"")


@given(data=st.binary(max_size=100), unique=st.integers(1, 2**64 - 1))
def test_header_and_payload_written_apart_are_the_whole_reply(data: bytes, unique: int) -> None:
    assert reply_header(unique, len(data)) + data == encode_reply(unique, data)


@pytest.mark.parametrize("row", NOTIFICATIONS.values(), ids=named)
@few
@given(data=st.data())
def test_notification(row: Notification, data: st.DataObject) -> None:
    sent: dict[str, Any] = data.draw(strategies.notifications(row))
    got = decode_notification(encode_notification(row, **sent))
    assert got.notification == row
    assert (got.body, got.names, bytes(got.data)) == (sent["body"], sent["names"], sent["data"])


@given(records=st.lists(strategies.dirents(), max_size=5))
def test_dirents(records: list[Any]) -> None:
    packed = [pack_dirent(name, dirent.ino, dirent.off, dirent.type) for dirent, name in records]
    assert [len(record) for record in packed] == [dirent_size(len(name)) for _, name in records]
    assert list(iter_dirents(b"".join(packed))) == records


@given(records=st.lists(st.tuples(strategies.structs_of(EntryOut), strategies.dirents()), max_size=5))
def test_direntplus(records: list[Any]) -> None:
    packed = [pack_direntplus(entry, name, dirent.ino, dirent.off, dirent.type) for entry, (dirent, name) in records]
    assert [len(record) for record in packed] == [direntplus_size(len(name)) for _, (_, name) in records]
    got = [(plus.entry_out, (plus.dirent, name)) for plus, name in iter_direntplus(b"".join(packed))]
    assert got == records
