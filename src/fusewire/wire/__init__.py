"""The ABI of FUSE, 7.45: bytes to objects and back, for both ends.

`operations` has one row for each message, `structs` what the rows are made of, `message` reads and
writes whole messages by their rows, `dirents` the records of a directory listing. No I/O and no
state; nothing of ours is imported but the errors.
"""

from __future__ import annotations

from fusewire.wire import flags, structs
from fusewire.wire.dirents import (
    dirent_size,
    direntplus_size,
    iter_direntplus,
    iter_dirents,
    pack_dirent,
    pack_direntplus,
)
from fusewire.wire.extensions import NO_EXTENSIONS, Extensions, SecurityContext
from fusewire.wire.flags import *  # noqa: F403  each of its names is public, and of structs too
from fusewire.wire.layout import Buffer, WireStruct, wire_struct
from fusewire.wire.message import (
    Message,
    Notice,
    Reply,
    UnknownOperation,
    decode_notification,
    decode_reply,
    decode_reply_header,
    decode_request,
    encode_error,
    encode_notification,
    encode_reply,
    encode_request,
    forgets,
    pack_nodeids,
    pruned_nodeids,
    removed_mappings,
    reply_header,
)
from fusewire.wire.operations import NOTIFICATIONS, OPERATIONS, Notification, Operation, notification, operation
from fusewire.wire.structs import *  # noqa: F403

__all__ = [
    "NOTIFICATIONS",
    "NO_EXTENSIONS",
    "OPERATIONS",
    "Buffer",
    "Extensions",
    "Message",
    "Notice",
    "Notification",
    "Operation",
    "Reply",
    "SecurityContext",
    "UnknownOperation",
    "WireStruct",
    "decode_notification",
    "decode_reply",
    "decode_reply_header",
    "decode_request",
    "dirent_size",
    "direntplus_size",
    "encode_error",
    "encode_notification",
    "encode_reply",
    "encode_request",
    "forgets",
    "iter_direntplus",
    "iter_dirents",
    "notification",
    "operation",
    "pack_dirent",
    "pack_direntplus",
    "pack_nodeids",
    "pruned_nodeids",
    "removed_mappings",
    "reply_header",
    "wire_struct",
]
__all__ += flags.__all__
__all__ += structs.__all__
