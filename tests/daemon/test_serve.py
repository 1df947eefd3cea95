"""The shells with a socket in the device's place, for what no kernel would send: nonsense harms nobody."""

from __future__ import annotations

import asyncio
import logging
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fusewire.daemon import Attributes, Filesystem, Request, Session
from fusewire.daemon.device import Device
from fusewire.daemon.serve import ThreadServer
from fusewire.daemon.serve_async import AsyncServer
from fusewire.wire import OPERATIONS, GetattrIn, InHeader, InitIn, OutHeader, decode_reply, encode_request

INIT = encode_request("INIT", unique=2, body=InitIn(major=7, minor=45))
ASKED = 1 << 40  # a unique that no nonsense here has


class Answers(Filesystem):
    """Has one directory."""

    def getattr(self, request: Request, nodeid: int, fh: int | None) -> Attributes:
        return Attributes(mode=stat.S_IFDIR | 0o755, size=7)


def with_header(opcode: int, unique: int, body: bytes) -> bytes:
    return InHeader(InHeader.SIZE + len(body), opcode, unique, nodeid=1).pack() + body


nonsense = st.binary(min_size=1, max_size=100) | st.builds(
    with_header, st.sampled_from(sorted(OPERATIONS)), st.sampled_from([0, 4, 5, 8]), st.binary(max_size=100)
)


def pair() -> tuple[socket.socket, Device]:
    """The kernel's end, and the daemon's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(10)
    ours.send(INIT)
    return ours, Device(theirs.detach(), 1 << 16)


@contextmanager
def served_by_threads() -> Iterator[socket.socket]:
    kernel, device = pair()
    server = ThreadServer(Session(Answers()), device, 2, None, lambda: None)
    server.start()
    kernel.recv(1 << 16)
    try:
        yield kernel
    finally:
        kernel.close()
        assert server.wait(10)


def is_answered(kernel: socket.socket) -> bool:
    """Ask for attributes, and pass over what is answered to nonsense."""
    kernel.send(encode_request("GETATTR", unique=ASKED, nodeid=1, body=GetattrIn()))
    while OutHeader.unpack_from(reply := kernel.recv(1 << 16)).unique != ASKED:
        pass
    return bool(decode_reply(reply, "GETATTR").structs[0].attr.size == 7)


def test_threads_pass_over_what_cannot_be_read() -> None:
    logging.getLogger("fusewire").setLevel(logging.CRITICAL)  # an error for each
    try:
        with served_by_threads() as kernel:

            @given(nonsense)
            @example(b"short")
            @example(struct.pack("=I", 0) * 10)
            @example(INIT)
            @example(with_header(26, 8, InitIn(major=6).pack()))
            def lives_on(message: bytes) -> None:
                kernel.send(message)
                assert is_answered(kernel)

            lives_on()
    finally:
        logging.getLogger("fusewire").setLevel(logging.NOTSET)


def test_the_event_loop_passes_over_what_cannot_be_read(caplog: pytest.LogCaptureFixture) -> None:
    async def serve() -> bool:
        kernel, device = pair()
        server = AsyncServer(Session(Answers()), device, 1, None, lambda: None)
        await server.start()
        kernel.recv(1 << 16)
        kernel.send(b"short")
        kernel.send(with_header(3, 0, b""))
        answered = await asyncio.to_thread(is_answered, kernel)
        kernel.close()
        await asyncio.wait_for(server.ended.wait(), 10)
        return answered

    assert asyncio.run(serve())
    assert caplog.text.count("a message that cannot be read is passed over") == 2
