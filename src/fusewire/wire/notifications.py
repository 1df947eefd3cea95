"""Notifications: what the daemon tells the kernel unasked.

On the wire one is a reply to nobody: its `unique` is 0 and its `error` holds its positive code.

Source: fs/fuse/dev.c, fuse_notify.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fusewire.errors import ProtocolError
from fusewire.wire.layout import Buffer, WireStruct
from fusewire.wire.operations import NOTIFICATIONS, Notification, notification
from fusewire.wire.parts import NO_DATA, check_length, check_parts
from fusewire.wire.replies import decode_reply_header, pack_out_header
from fusewire.wire.structs import NotifyPruneOut, OutHeader

__all__ = ["Notice", "decode_notification", "encode_notification", "pack_nodeids", "pruned_nodeids"]


@dataclass(slots=True)
class Notice:
    """A notification."""

    notification: Notification
    body: Any = None
    names: tuple[bytes, ...] = ()
    data: memoryview = NO_DATA


def encode_notification(
    row: Notification | str, body: WireStruct | None = None, names: Sequence[bytes] = (), data: Buffer = b""
) -> bytes:
    """Encode a notification of `row`, a `Notification` or its name, such as "INVAL_ENTRY".

    Raises:
        ValueError: body, names or data are not what the row says, or a value does not fit.
    """
    if isinstance(row, str):
        row = notification(row)
    check_parts(row, body, names, data)
    if row.names and body is not None and _name_length(body) != len(names[0]):
        raise ValueError(f"namelen is {_name_length(body)}, the name has {len(names[0])} bytes")
    fixed = body.pack() if body is not None else b""
    payload = b"".join((fixed, *(name + b"\0" for name in names), data))
    return pack_out_header(OutHeader.SIZE + len(payload), row.code, 0) + payload


def decode_notification(buffer: Buffer) -> Notice:
    """Decode a notification; ProtocolError if it is malformed, which the device calls EINVAL."""
    header = decode_reply_header(buffer)
    if header.unique:
        raise ProtocolError(header.unique, "a reply, not a notification")
    row = NOTIFICATIONS.get(header.error)
    if row is None:
        raise ProtocolError(0, f"unknown notification {header.error}")
    notice = Notice(row)
    offset = OutHeader.SIZE
    if row.body is not None:
        notice.body = row.body.unpack_from(buffer, offset)
        offset += row.body.SIZE
    if row.names:
        notice.names, offset = _cut_name(buffer, offset, notice.body)
    if row.data:
        notice.data = memoryview(buffer)[offset:]
        check_length(0, row, notice.body, len(notice.data))
    elif offset != len(buffer):
        raise ProtocolError(0, f"{len(buffer) - offset} bytes are left after {row.name}")
    return notice


def _name_length(body: Any) -> int:
    return int(body.namelen)


def _cut_name(buffer: Buffer, offset: int, body: Any) -> tuple[tuple[bytes, ...], int]:
    """Return the name by its length; the kernel does not look at the byte after it."""
    end = offset + _name_length(body)
    if end + 1 > len(buffer):
        raise ProtocolError(0, f"namelen is {body.namelen}, {len(buffer) - offset} bytes came")
    return (bytes(buffer[offset:end]),), end + 1


def pack_nodeids(nodeids: Sequence[int]) -> bytes:
    """Return the data of a PRUNE, whose `count` is their number; ValueError if one does not fit."""
    try:
        return struct.pack(f"={len(nodeids)}Q", *nodeids)
    except struct.error:
        raise ValueError(f"a nodeid does not fit 64 bits: {nodeids!r}") from None


def pruned_nodeids(notice: Notice) -> tuple[int, ...]:
    """Return the nodeids of a PRUNE, in its order."""
    if not isinstance(notice.body, NotifyPruneOut):
        raise ValueError(f"{notice.notification.name} prunes nothing")
    return struct.unpack(f"={notice.body.count}Q", notice.data)
