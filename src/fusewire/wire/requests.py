"""Requests: what the kernel sends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fusewire.errors import ProtocolError
from fusewire.wire.extensions import NO_EXTENSIONS, Extensions, decode_extensions, encode_extensions
from fusewire.wire.flags import FUSE_KERNEL_MINOR_VERSION as MINOR
from fusewire.wire.layout import Buffer, WireStruct
from fusewire.wire.operations import OPERATIONS, Operation, operation
from fusewire.wire.parts import NO_DATA, check_length, check_parts, unpack
from fusewire.wire.structs import (
    BatchForgetIn,
    ForgetIn,
    ForgetOne,
    InHeader,
    RemovemappingIn,
    RemovemappingOne,
    SetxattrIn,
)

__all__ = ["Message", "UnknownOperation", "decode_request", "encode_request", "forgets", "removed_mappings"]


class UnknownOperation(ProtocolError):
    """A request whose opcode has no row; to be answered ENOSYS."""


@dataclass(slots=True)
class Message:
    """A request."""

    header: InHeader
    operation: Operation
    body: Any = None  # of type `operation.body`
    names: tuple[bytes, ...] = ()
    data: memoryview = NO_DATA
    extensions: Extensions = NO_EXTENSIONS


def decode_request(buffer: Buffer, minor: int = MINOR, setxattr_ext: bool = False) -> Message:
    """Decode one request, as a read of the device gave it.

    Args:
        buffer: exactly the message.
        minor: the smaller of both ends' minor versions, once they have negotiated.
        setxattr_ext: whether FUSE_SETXATTR_EXT was negotiated.

    Raises:
        UnknownOperation: there is no such opcode.
        ProtocolError: the message is malformed; `unique` is 0 if not even its header was there.
    """
    header = InHeader.unpack_from(buffer)
    length = len(buffer)
    if header.len != length:
        raise ProtocolError(header.unique, f"the header says {header.len} bytes, {length} came")
    row = OPERATIONS.get(header.opcode)
    if row is None:
        raise UnknownOperation(header.unique, f"unknown opcode {header.opcode}")
    if header.total_extlen:
        return _decode_extended(buffer, header, row, minor, setxattr_ext)
    if row.names or row.data:
        return _decode_tail(buffer, length, header, row, minor, setxattr_ext)
    body = row.body
    if body is None:
        if length != InHeader.SIZE:
            raise ProtocolError(header.unique, f"{row.name} has no body, {length - InHeader.SIZE} bytes came")
        return Message(header, row)
    if length >= InHeader.SIZE + body.SIZE:
        return Message(header, row, body.unpack_from(buffer, InHeader.SIZE))
    return Message(header, row, _decode_old_body(buffer, header, row.name, body))


def _decode_old_body(buffer: Buffer, header: InHeader, name: str, body: type[WireStruct]) -> WireStruct:
    size = len(buffer) - InHeader.SIZE
    if size not in body.SIZES.values():
        raise ProtocolError(header.unique, f"{name} has {body.SIZE} bytes of body, {size} came")
    return body.unpack_padded(buffer, InHeader.SIZE, size)


def _decode_extended(buffer: Buffer, header: InHeader, row: Operation, minor: int, setxattr_ext: bool) -> Message:
    """Decode a request that ends in extensions; a kernel newer than the row may have added them."""
    end = len(buffer) - 8 * header.total_extlen
    if end < InHeader.SIZE:
        raise ProtocolError(header.unique, f"{8 * header.total_extlen} bytes of extensions, {len(buffer)} came")
    message = _decode_tail(buffer, end, header, row, minor, setxattr_ext)
    message.extensions = decode_extensions(bytes(buffer[end:]), header.unique)
    return message


def _decode_tail(buffer: Buffer, end: int, header: InHeader, row: Operation, minor: int, setxattr_ext: bool) -> Message:
    """Decode body, names and data, which must fill the bytes up to `end`."""
    message = Message(header, row)
    offset = InHeader.SIZE
    if row.body is not None:
        size = _body_size(row.body, minor, setxattr_ext)
        if offset + size > end:
            raise ProtocolError(header.unique, f"{row.name} has {size} bytes of body, {end - offset} came")
        message.body = unpack(row.body, buffer, offset, size)
        offset += size
    if row.names:
        message.names, offset = _split_names(buffer, offset, end, row, header.unique)
    if row.data:
        message.data = memoryview(buffer)[offset:end]
        check_length(header.unique, row, message.body, len(message.data))
    elif offset != end:
        _decode_uncounted(message, bytes(buffer[offset:end]))
    return message


def _decode_uncounted(message: Message, rest: bytes) -> None:
    """Take what follows the names as extensions, where an older kernel does not count them."""
    unique, row = message.header.unique, message.operation
    if not row.extensions or message.header.total_extlen:
        raise ProtocolError(unique, f"{len(rest)} bytes are left after {row.name}")
    message.extensions = decode_extensions(rest, unique)


def _body_size(body: type[WireStruct], minor: int, setxattr_ext: bool) -> int:
    if body is SetxattrIn and not setxattr_ext:
        return SetxattrIn.COMPAT_SIZE
    return body.size_at(minor) if body.SIZES else body.SIZE


def _split_names(buffer: Buffer, offset: int, end: int, row: Operation, unique: int) -> tuple[tuple[bytes, ...], int]:
    """Return the names that begin at `offset`, and where the last one's NUL was passed."""
    *names, rest = bytes(buffer[offset:end]).split(b"\0", row.names)
    if len(names) != row.names:
        raise ProtocolError(unique, f"{row.name} has {row.names} names, {len(names)} came")
    return tuple(names), end - len(rest)


def encode_request(
    row: Operation | str,
    *,
    unique: int,
    nodeid: int = 0,
    uid: int = 0,
    gid: int = 0,
    pid: int = 0,
    body: WireStruct | None = None,
    names: Sequence[bytes] = (),
    data: Buffer = b"",
    extensions: Extensions = NO_EXTENSIONS,
    minor: int = MINOR,
    setxattr_ext: bool = False,
) -> bytes:
    """Encode one request of `row`, an `Operation` or its name.

    Raises:
        ValueError: body, names or data are not what the row says, or a value does not fit.
    """
    if isinstance(row, str):
        row = operation(row)
    check_parts(row, body, names, data)
    parts: list[Buffer] = [name + b"\0" for name in names]
    if body is not None:
        parts.insert(0, body.pack()[: _body_size(type(body), minor, setxattr_ext)])
    block = encode_extensions(extensions) if extensions else b""
    payload = b"".join((*parts, data, block))
    length = InHeader.SIZE + len(payload)
    return InHeader(length, row.code, unique, nodeid, uid, gid, pid, len(block) // 8).pack() + payload


def forgets(message: Message) -> list[ForgetOne]:
    """Return what a FORGET or a BATCH_FORGET gives back, in its order."""
    if isinstance(message.body, ForgetIn):
        return [ForgetOne(message.header.nodeid, message.body.nlookup)]
    if not isinstance(message.body, BatchForgetIn):
        raise ValueError(f"{message.operation.name} forgets nothing")
    return [ForgetOne(nodeid, nlookup) for nodeid, nlookup in ForgetOne.STRUCT.iter_unpack(message.data)]


def removed_mappings(message: Message) -> list[RemovemappingOne]:
    """Return the records of a REMOVEMAPPING."""
    if not isinstance(message.body, RemovemappingIn):
        raise ValueError(f"{message.operation.name} removes no mappings")
    return [RemovemappingOne(moffset, length) for moffset, length in RemovemappingOne.STRUCT.iter_unpack(message.data)]
