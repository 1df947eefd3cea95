"""Whole messages, read and written by their rows in `operations`.

                 kernel                                  daemon
    encode_request  --->  header body names data  --->  decode_request
    decode_reply    <---  header structs data     <---  encode_reply, encode_error
    decode_notification  <---                     <---  encode_notification

The device passes exactly one message for each read and each write, so the length that a header
states must be that of the buffer. Whatever is wrong with bytes raises `ProtocolError`; whatever is
wrong with arguments raises `ValueError`. Payloads stay views of the buffer that they came in: a
decoded message is valid until that buffer is used again. Names are copied.

Two liberties, both because kernels are older and newer than we are. A body that nothing follows may
have any of its older sizes, or be longer than we know it: a newer minor adds fields at the end. And
where the row says `extensions`, what follows the names is a block of extensions even if the header
does not count it: minors 36 and 37 had security contexts, and no `total_extlen` yet.
"""

from __future__ import annotations

from fusewire.wire.notifications import Notice, decode_notification, encode_notification, pack_nodeids, pruned_nodeids
from fusewire.wire.replies import Reply, decode_reply, decode_reply_header, encode_error, encode_reply, reply_header
from fusewire.wire.requests import (
    Message,
    UnknownOperation,
    decode_request,
    encode_request,
    forgets,
    removed_mappings,
)

__all__ = [
    "Message",
    "Notice",
    "Reply",
    "UnknownOperation",
    "decode_notification",
    "decode_reply",
    "decode_reply_header",
    "decode_request",
    "encode_error",
    "encode_notification",
    "encode_reply",
    "encode_request",
    "forgets",
    "pack_nodeids",
    "pruned_nodeids",
    "removed_mappings",
    "reply_header",
]
