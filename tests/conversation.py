"""A session and the kernel's side of a conversation with it, in bytes."""

from __future__ import annotations

import asyncio
import itertools
from types import CoroutineType
from typing import Any

from fusewire.daemon import Call, Filesystem, Session
from fusewire.wire import InitFlags, InitIn, Reply, WireStruct, decode_reply, encode_request, operation

EVERYTHING = (1 << 43) - 1  # each feature that a kernel may offer


class Conversation:
    """Asks a filesystem what a kernel would, and decodes what it answers."""

    def __init__(self, filesystem: Filesystem, *, offered: int = EVERYTHING, minor: int = 45, **options: Any) -> None:
        self.session = Session(filesystem, **options)
        self.uniques = itertools.count(2, 2)
        self.minor = minor
        self.init = self.ask(
            "INIT",
            body=InitIn(
                major=7,
                minor=minor,
                max_readahead=131072,
                flags=offered & 0xFFFFFFFF | InitFlags.FUSE_INIT_EXT,
                flags2=offered >> 32,
            ),
        )

    def message(self, name: str, unique: int, **fields: Any) -> bytes:
        extended = self.session.agreement is not None and self.session.agreement.setxattr_ext
        return encode_request(operation(name), unique=unique, minor=self.minor, setxattr_ext=extended, **fields)

    def send(self, name: str, unique: int | None = None, **fields: Any) -> Any:
        """Give the session a request; return what it makes of it."""
        return self.session.receive(self.message(name, unique or next(self.uniques), **fields))

    def finish(self, call: Call) -> Any:
        """Run a call to its end and return the buffers of its reply."""
        try:
            result = call.run()
            if isinstance(result, CoroutineType):
                result = asyncio.run(call.finish(result))
        except BaseException as error:
            return self.session.fail(call, error)
        return self.session.reply(call, result)

    def ask(self, name: str, *, body: WireStruct | None = None, **fields: Any) -> Reply:
        """Send a request, have it carried out, and return the reply."""
        outcome = self.send(name, body=body, **fields)
        buffers = self.finish(outcome) if isinstance(outcome, Call) else outcome
        assert buffers is not None, f"{name} got no reply"
        return self.decode(name, buffers, body)

    def decode(self, name: str, buffers: Any, body: WireStruct | None = None) -> Reply:
        return decode_reply(b"".join(buffers), operation(name), minor=self.minor, request_body=body)
