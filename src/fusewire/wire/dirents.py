"""The records of READDIR's and READDIRPLUS' replies.

A record is a fixed struct and a name without NUL, padded to 8 bytes. A reply holds as many whole
records as fit the size that was asked for; an empty one ends the directory. The kernel ignores a
record that is cut off at the end, and refuses the whole reply for a name that is empty, too long
or holds a slash.

Source: fs/fuse/readdir.c, parse_dirfile and parse_dirplusfile.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from fusewire.errors import ProtocolError
from fusewire.wire.flags import FUSE_NAME_MAX
from fusewire.wire.layout import Buffer
from fusewire.wire.structs import Dirent, Direntplus, EntryOut

__all__ = ["dirent_size", "direntplus_size", "iter_direntplus", "iter_dirents", "pack_dirent", "pack_direntplus"]

_pack_header = Dirent.STRUCT.pack
_padding = [b"\0" * (-length & 7) for length in range(8)]


def dirent_size(name_length: int) -> int:
    """Return the bytes that a record of READDIR takes, padding included."""
    return (Dirent.SIZE + name_length + 7) & ~7


def direntplus_size(name_length: int) -> int:
    """Return the bytes that a record of READDIRPLUS takes, padding included."""
    return (Direntplus.SIZE + name_length + 7) & ~7


def pack_dirent(name: bytes, ino: int, off: int, type: int) -> bytes:
    """Return one record of READDIR, padded to 8 bytes.

    Args:
        off: where a listing that stops after this record goes on; not 0.
        type: DT_REG, DT_DIR...: the mode shifted right by 12.

    Raises:
        ValueError: a number does not fit its field.
    """
    length = len(name)
    try:
        # Dirent.SIZE and EntryOut.SIZE are multiples of 8, so the name alone decides the padding
        return _pack_header(ino, off, length, type) + name + _padding[length & 7]
    except struct.error:
        Dirent(ino, off, length, type).pack()
        raise AssertionError("the object packs what its struct does not") from None


def pack_direntplus(entry: EntryOut, name: bytes, ino: int, off: int, type: int) -> bytes:
    """Return one record of READDIRPLUS, padded to 8 bytes; nodeid 0 in `entry` gives the name alone."""
    return entry.pack() + pack_dirent(name, ino, off, type)


def iter_dirents(buffer: Buffer) -> Iterator[tuple[Dirent, bytes]]:
    """Yield the records of a READDIR reply with their names.

    Raises:
        ProtocolError: a name is empty, too long, or holds a slash; the kernel says EIO.
    """
    offset = 0
    while offset + Dirent.SIZE <= len(buffer):
        dirent = Dirent.unpack_from(buffer, offset)
        end = offset + dirent_size(_checked(dirent.namelen))
        if end > len(buffer):
            return
        yield dirent, _name(buffer, offset + Dirent.SIZE, dirent.namelen)
        offset = end


def iter_direntplus(buffer: Buffer) -> Iterator[tuple[Direntplus, bytes]]:
    """Yield the records of a READDIRPLUS reply with their names; errors as `iter_dirents`."""
    offset = 0
    while offset + Direntplus.SIZE <= len(buffer):
        record = Direntplus.unpack_from(buffer, offset)
        end = offset + direntplus_size(_checked(record.dirent.namelen))
        if end > len(buffer):
            return
        yield record, _name(buffer, offset + Direntplus.SIZE, record.dirent.namelen)
        offset = end


def _checked(length: int) -> int:
    if not 0 < length <= FUSE_NAME_MAX:
        raise ProtocolError(0, f"a directory entry's name has {length} bytes; 1 to {FUSE_NAME_MAX} are allowed")
    return length


def _name(buffer: Buffer, offset: int, length: int) -> bytes:
    name = bytes(buffer[offset : offset + length])
    if b"/" in name:
        raise ProtocolError(0, f"a directory entry's name holds a slash: {name!r}")
    return name
