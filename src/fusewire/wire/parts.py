"""What a row promises, checked: shared by requests, replies and notifications.

`check_parts` judges arguments and raises ValueError; `check_length` judges bytes and raises
ProtocolError. That is the difference between a mistake of ours and one of the peer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fusewire.errors import ProtocolError
from fusewire.wire.layout import Buffer, WireStruct
from fusewire.wire.operations import Notification, Operation

NO_DATA = memoryview(b"")


def unpack(kind: type[WireStruct], buffer: Buffer, offset: int, size: int) -> WireStruct:
    return kind.unpack_from(buffer, offset) if size == kind.SIZE else kind.unpack_padded(buffer, offset, size)


def check_parts(row: Operation | Notification, body: Any, names: Sequence[bytes], data: Buffer) -> None:
    """Raise ValueError unless these are the parts of `row`."""
    if type(body) is not (row.body or type(None)):
        raise ValueError(f"{row.name} takes {row.body.__name__ if row.body else 'no body'}, not {body!r}")
    if len(names) != row.names or any(b"\0" in name for name in names):
        raise ValueError(f"{row.name} takes {row.names} names without NUL, not {names!r}")
    if len(data) and not row.data:
        raise ValueError(f"{row.name} takes no data")
    if row.data_length is not None and row.data_length(body) != len(data):
        raise ValueError(f"{row.name} says {row.data_length(body)} bytes of data, not {len(data)}")


def check_length(unique: int, row: Operation | Notification, body: Any, length: int) -> None:
    if row.data_length is not None and row.data_length(body) != length:
        raise ProtocolError(unique, f"{row.name} says {row.data_length(body)} bytes of data, {length} came")
