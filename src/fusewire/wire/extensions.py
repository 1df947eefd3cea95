"""What the kernel may add at the end of a request that makes an inode.

The header's `total_extlen` says how long the block of extensions is, in units of 8 bytes. Each
extension begins with its size and its type. A type up to 31 is really a count: that many security
contexts follow, each a size, a name ending in NUL and a value, padded to 8 bytes. Type 32 holds
supplementary groups of the caller. Types that we do not know are skipped: a newer kernel sends
them, and nothing depends on their being understood.

Source: fs/fuse/dir.c, get_security_context, get_create_supp_group and get_create_ext.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from fusewire.errors import ProtocolError
from fusewire.wire.flags import ExtensionType
from fusewire.wire.structs import ExtHeader, Secctx, SecctxHeader, SuppGroups

__all__ = ["NO_EXTENSIONS", "Extensions", "SecurityContext"]


@dataclass(frozen=True, slots=True)
class SecurityContext:
    """What a security module wants a new inode to be labelled with.

    `name` is an xattr without its `security.` in front, such as b"selinux".
    """

    name: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Extensions:
    """The extensions of one request; both are empty in nearly all."""

    groups: tuple[int, ...] = ()  # gids; today's kernel sends at most one, the parent directory's
    contexts: tuple[SecurityContext, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.groups or self.contexts)


NO_EXTENSIONS = Extensions()


def round_up(size: int) -> int:
    """Return `size` rounded up to 8 bytes, where every record begins (FUSE_REC_ALIGN)."""
    return (size + 7) & ~7


def encode_extensions(extensions: Extensions) -> bytes:
    """Encode to a block whose length is a multiple of 8; ValueError if it cannot be said."""
    contexts = _encode_contexts(extensions.contexts) if extensions.contexts else b""
    return contexts + (_encode_groups(extensions.groups) if extensions.groups else b"")


def _encode_contexts(contexts: tuple[SecurityContext, ...]) -> bytes:
    if len(contexts) > ExtensionType.FUSE_MAX_NR_SECCTX:
        raise ValueError(f"{len(contexts)} security contexts; the most is {ExtensionType.FUSE_MAX_NR_SECCTX}")
    records = b"".join(map(_encode_context, contexts))
    return SecctxHeader(SecctxHeader.SIZE + len(records), len(contexts)).pack() + records


def _encode_context(context: SecurityContext) -> bytes:
    if b"\0" in context.name:
        raise ValueError(f"the name of a security context holds a NUL: {context.name!r}")
    record = Secctx(len(context.value)).pack() + context.name + b"\0" + context.value
    return record.ljust(round_up(len(record)), b"\0")


def _encode_groups(groups: tuple[int, ...]) -> bytes:
    try:
        record = SuppGroups(len(groups)).pack() + struct.pack(f"={len(groups)}I", *groups)
    except struct.error:
        raise ValueError(f"a gid does not fit 32 bits: {groups}") from None
    size = round_up(ExtHeader.SIZE + len(record))
    return (ExtHeader(size, ExtensionType.FUSE_EXT_GROUPS).pack() + record).ljust(size, b"\0")


def decode_extensions(block: bytes, unique: int) -> Extensions:
    """Decode a block of extensions of request `unique`; ProtocolError if it is malformed."""
    groups: tuple[int, ...] = ()
    contexts: tuple[SecurityContext, ...] = ()
    offset = 0
    while offset < len(block):
        header = ExtHeader.unpack_from(block.ljust(offset + ExtHeader.SIZE, b"\0"), offset)
        end = offset + header.size
        if header.size < ExtHeader.SIZE or end > len(block):
            raise ProtocolError(unique, f"an extension of {header.size} bytes, where {len(block) - offset} are left")
        content = block[offset + ExtHeader.SIZE : end]
        if header.type <= ExtensionType.FUSE_MAX_NR_SECCTX:
            contexts += _decode_contexts(content, header.type, unique)
        elif header.type == ExtensionType.FUSE_EXT_GROUPS:
            groups += _decode_groups(content, unique)
        offset = round_up(end)
    return Extensions(groups, contexts)


def _decode_contexts(content: bytes, count: int, unique: int) -> tuple[SecurityContext, ...]:
    contexts = []
    offset = 0
    for _ in range(count):
        name_at = offset + Secctx.SIZE
        name_end = content.find(b"\0", name_at)
        if name_end < 0:
            raise ProtocolError(unique, "a security context's name does not end")
        value_at, size = name_end + 1, Secctx.unpack_from(content, offset).size
        if value_at + size > len(content):
            raise ProtocolError(unique, f"a security context of {size} bytes, where {len(content) - value_at} are left")
        contexts.append(SecurityContext(content[name_at:name_end], content[value_at : value_at + size]))
        offset = round_up(value_at + size)
    return tuple(contexts)


def _decode_groups(content: bytes, unique: int) -> tuple[int, ...]:
    count = SuppGroups.unpack_from(content.ljust(SuppGroups.SIZE, b"\0")).nr_groups
    if SuppGroups.SIZE + 4 * count > len(content):
        raise ProtocolError(unique, f"{count} supplementary groups in {len(content)} bytes")
    return struct.unpack_from(f"={count}I", content, SuppGroups.SIZE)
