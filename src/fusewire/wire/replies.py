"""Replies: what the daemon answers, by the rules of the device.

A reply that is refused is not always harmless. What is wrong with its header, the device calls
EINVAL and nothing else happens (`decode_reply_header`): the request waits on. What is wrong after
it (`decode_reply`) is EINVAL too, but the request is over and its caller gets EIO.

Source: fs/fuse/dev.c, fuse_dev_do_write and fuse_copy_out_args.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from fusewire.errors import ProtocolError
from fusewire.wire.flags import FUSE_KERNEL_MINOR_VERSION as MINOR
from fusewire.wire.flags import FUSE_MAX_ERRNO
from fusewire.wire.layout import Buffer, WireStruct
from fusewire.wire.operations import Operation, operation
from fusewire.wire.parts import NO_DATA, unpack
from fusewire.wire.structs import OutHeader

__all__ = ["Reply", "decode_reply", "decode_reply_header", "encode_error", "encode_reply", "reply_header"]


@dataclass(slots=True)
class Reply:
    """A reply. `error` is a positive errno, or 0; with an error there is nothing else."""

    unique: int
    error: int = 0
    structs: tuple[Any, ...] = ()  # of the types `operation.reply`
    data: memoryview = NO_DATA


def reply_header(unique: int, payload_length: int) -> bytes:
    """Return the 16 bytes that go before `payload_length` bytes of reply, for `os.writev`."""
    return pack_out_header(OutHeader.SIZE + payload_length, 0, unique)


def encode_reply(unique: int, *parts: WireStruct | Buffer, minor: int = MINOR) -> bytes:
    """Encode a reply: the structs of the operation's row in order, or bytes as they are.

    Structs are cut to the form of `minor`. Large data is better left where it is: `reply_header`.

    Raises:
        ValueError: a value does not fit its field.
    """
    payload = b""  # one or two parts: adding is faster than joining
    for part in parts:
        if isinstance(part, WireStruct):
            payload += part.pack() if minor == MINOR else part.pack_at(minor)
        else:
            payload += part
    return pack_out_header(OutHeader.SIZE + len(payload), 0, unique) + payload


def encode_error(unique: int, errno: int) -> bytes:
    """Encode a refusal with a positive errno.

    Raises:
        ValueError: it is not 1 to 511. The device refuses all others, and the caller would
            wait for ever (fs/fuse/dev.c, fuse_dev_do_write).
    """
    if not 0 < errno <= FUSE_MAX_ERRNO:
        raise ValueError(f"no errno for the wire: {errno}")
    return pack_out_header(OutHeader.SIZE, -errno, unique)


def pack_out_header(length: int, error: int, unique: int) -> bytes:
    try:
        return OutHeader.STRUCT.pack(length, error, unique)
    except struct.error:
        return OutHeader(length, error, unique).pack()  # says which does not fit


def decode_reply_header(buffer: Buffer) -> OutHeader:
    """Decode the header of what was written to the device, whose request is still to be found.

    A ProtocolError here is the device's EINVAL and harms no request. `unique` 0 is a notification,
    whose code is in `error`.
    """
    header = OutHeader.unpack_from(buffer)
    if header.len != len(buffer):
        raise ProtocolError(header.unique, f"the header says {header.len} bytes, {len(buffer)} came")
    if header.unique and not -FUSE_MAX_ERRNO <= header.error <= 0:
        raise ProtocolError(header.unique, f"error {header.error} is not 0 or -{FUSE_MAX_ERRNO} to -1")
    return header


def decode_reply(
    buffer: Buffer, row: Operation | str, *, minor: int = MINOR, request_body: WireStruct | None = None
) -> Reply:
    """Decode the reply to a request of `row`, an `Operation` or its name.

    Args:
        request_body: the body that was sent. It says how much data may come back, and whether a
            GETXATTR asked for a size; without it neither is checked, and data is assumed.

    Raises:
        ProtocolError: the device's EINVAL; the request fails with EIO if its header was sound.
    """
    if isinstance(row, str):
        row = operation(row)
    header = decode_reply_header(buffer)
    if not header.unique or row.reply is None:
        raise ProtocolError(header.unique, f"no reply to {row.name}")
    if header.error:
        if len(buffer) != OutHeader.SIZE:
            raise ProtocolError(header.unique, f"{len(buffer) - OutHeader.SIZE} bytes follow an error")
        return Reply(header.unique, -header.error)
    return _decode_payload(buffer, header.unique, row, minor, request_body)


def _decode_payload(buffer: Buffer, unique: int, row: Operation, minor: int, request_body: Any) -> Reply:
    probed = row.size_probe and request_body is not None and request_body.size == 0
    kinds = row.reply_structs if probed or not row.size_probe else ()
    structs, offset = _decode_structs(buffer, unique, row, kinds, minor)
    left = len(buffer) - offset
    if row.reply_data and not probed:
        if row.reply_limit is not None and (request_body is not None or row.body is None):
            _check_limit(unique, row, row.reply_limit(request_body), left)
        return Reply(unique, 0, structs, memoryview(buffer)[offset:])
    if left:
        raise ProtocolError(unique, f"{left} bytes are left after the reply to {row.name}")
    return Reply(unique, 0, structs)


def _check_limit(unique: int, row: Operation, limit: int, length: int) -> None:
    if length > limit:
        raise ProtocolError(unique, f"{row.name} has room for {limit} bytes of reply, {length} came")


def _decode_structs(
    buffer: Buffer, unique: int, row: Operation, kinds: tuple[type[WireStruct], ...], minor: int
) -> tuple[tuple[WireStruct, ...], int]:
    structs = []
    offset = OutHeader.SIZE
    for kind in kinds:
        size, left = kind.size_at(minor), len(buffer) - offset
        if row.reply_short:
            size = kind.SIZE if left > kind.SIZE else left
        elif left < size:
            raise ProtocolError(unique, f"{row.name} is answered by {size} bytes of {kind.__name__}, {left} came")
        structs.append(unpack(kind, buffer, offset, size))
        offset += size
    return tuple(structs), offset
