"""The device of a daemon in another process: one end of a SOCK_SEQPACKET pair is its /dev/fuse.

    pending --> one thread reads the device and sends     --> the daemon's read(2)
    finish  <-- another receives and writes to the device <-- the daemon's write(2)

A socket of this kind keeps messages apart, as the device does: a `read` returns one whole message,
a `write` is one. So a daemon that is handed the socket where it expects the device serves it, and
does not notice. It does not convey everything, though:

write's errors      the daemon does not learn that a reply was refused, or came too late. What write(2)
                    would have said is kept in `refused`
who waits           a notification that has to wait holds its writer up on Linux; here it waits by itself,
                    and the daemon goes on. Two that overtake each other are no concern of ours
pending             what has been sent counts as read. So no message is sent before the one ahead has been
                    taken: one at most is behind the daemon's back, and an INTERRUPT overtakes the rest
a short buffer      would lose the rest of a message. We take the daemon's to hold what libfuse's does,
                    a page more than `max_write`; what is longer fails here, as on Linux
long messages       a socket has a largest message, far above what the kernel sends by itself: `most_pages`
                    says how many pages a request may have
splice              cuts a long reply into pieces, of which none is one: it is not offered in INIT (`SPLICE`).
                    libfuse does not ask whether it was; whoever starts the daemon keeps it from splicing
ioctl               there is none: the daemon cannot clone its device, and shares it among its threads
the end             an aborted daemon reads ENODEV from Linux; here nothing, like the end of a file. It ends
                    of that as well, but may complain. What it still writes is taken, and comes too late

When the daemon has closed its end, or has died, the device is closed, which aborts the connection.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import select
import socket
import struct
import termios
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from fusewire.kernel.tasks import Task, current
from fusewire.kernel.waitq import INTERRUPTIBLE
from fusewire.wire import FUSE_MIN_READ_BUFFER, OPERATIONS, InHeader, InitFlags, OutHeader, encode_error

if TYPE_CHECKING:
    from fusewire.kernel.connection import Connection
    from fusewire.kernel.device import Device
    from fusewire.kernel.runners import Runner

__all__ = ["SPLICE", "RemoteDevice", "most_pages", "socket_pair"]

logger = logging.getLogger("fusewire")

PAGE: Final = 4096
WANTED: Final = (1 << 20) + 64 * PAGE  # bytes that a socket should take: 256 pages, and what stands before them
OVERHEAD: Final = 32  # bytes of its buffer that a socket keeps for itself
LARGEST: Final = 4 << 20  # bytes that are received at once
SPLICE: Final = InitFlags.FUSE_SPLICE_WRITE | InitFlags.FUSE_SPLICE_MOVE | InitFlags.FUSE_SPLICE_READ
SO_SNDBUFFORCE: Final = 32  # include/uapi/asm-generic/socket.h: beyond the limit, for who may
SHORTEST, LONGEST = 0.00005, 0.01  # seconds between two looks at whether a message has been taken


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Return our end and the daemon's, whose messages may be as long as the kernel's get."""
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in pair:
        try:
            end.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, WANTED)
        except PermissionError:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, WANTED)
    return pair


def most_pages(sock: socket.socket) -> int:
    """Return how many pages of data a message may have, so that the socket takes it with all that stands before."""
    room: int = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) - OVERHEAD
    return max(1, min(256, room // PAGE - 1))


class RemoteDevice:
    """Joins an open device to a socket, whose other end a daemon has."""

    def __init__(self, device: Device, runner: Runner, sock: socket.socket) -> None:
        self.device = device
        self.runner = runner
        self.sock = sock
        self.refused: deque[tuple[int, int]] = deque(maxlen=1000)  # unique, and the errno of write(2)
        self._came = threading.Event()  # a message, so that the daemon is likely to read again
        self._threads = [
            threading.Thread(target=self._send_all, name="fusewire-send", daemon=True),
            threading.Thread(target=self._receive_all, name="fusewire-receive", daemon=True),
        ]

    def start(self) -> None:
        """Begin to send and to receive."""
        for thread in self._threads:
            thread.start()

    def hang_up(self) -> None:
        """Let the daemon read the end. Idempotent."""
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)
        self._came.set()

    def close(self) -> None:
        """Take nothing more from the daemon either, and return when nothing is sent or received any more. Idempotent.

        The socket stays open: it belongs to whoever made it.
        """
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self._came.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    @property
    def connection(self) -> Connection:
        assert self.device.connection is not None
        return self.device.connection

    # --- to the daemon

    def _send_all(self) -> None:
        try:
            while True:
                self.runner.call(self._until_readable())
                self._until_taken()
                self._send(self.runner.call(self._read()))
        except OSError as error:
            if self.device.connected:  # else: it is the end of the mount
                logger.debug("the daemon reads no more: %s", error)
        finally:
            self.hang_up()

    async def _until_readable(self) -> None:
        await self.connection.waitq.sleep(self.device.may_read, INTERRUPTIBLE)

    async def _read(self) -> bytes:
        try:
            return await self.device.read(self._room())
        finally:
            self.device.readers.pop(current(), None)  # each read is another task

    def _room(self) -> int:
        """The bytes of the daemon's buffer, as far as we can know."""
        return max(FUSE_MIN_READ_BUFFER, self.connection.settings.max_write + PAGE)

    def _until_taken(self) -> None:
        """Wait until the daemon has taken what was sent before. Nothing tells us, so we look, less and less often."""
        pause = SHORTEST
        while self.device.connected and not_taken(self.sock):
            self._came.wait(pause)
            self._came.clear()
            pause = min(2 * pause, LONGEST)

    def _send(self, message: bytes) -> None:
        try:
            self.sock.send(message)
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            self._fail(message)

    def _fail(self, message: bytes) -> None:
        """End a request that is too long for the socket, as one is that is too long for a daemon's buffer."""
        header = InHeader.unpack_from(message)
        if OPERATIONS[header.opcode].reply is not None:
            with suppress(OSError):
                self.runner.call(self.device.write(encode_error(header.unique, errno.EIO)))

    # --- from the daemon

    def _receive_all(self) -> None:
        buffer = memoryview(bytearray(LARGEST))
        try:
            while (length := self._receive(buffer)) is not None:
                self._write(bytes(buffer[:length]))
                self._came.set()
        except OSError as error:  # the daemon died with something unread
            logger.debug("the daemon writes no more: %s", error)
        finally:
            self.runner.do(self.device.close)

    def _receive(self, buffer: memoryview) -> int | None:
        """Return the length of the next message; None if there will be none."""
        length = self.sock.recv_into(buffer)
        return length if length or not hung_up(self.sock) else None

    def _write(self, message: bytes) -> None:
        """Write it to the device. A reply has its effect at once; a notification may take its time."""
        task = Task("daemon", self.device.write(message))
        unique = OutHeader.unpack_from(message).unique if len(message) >= OutHeader.SIZE else 0
        task.ended = lambda task: self._written(unique, task.result)
        self.runner.start(task)

    def _written(self, unique: int, result: object) -> None:
        if isinstance(result, OSError):
            self.refused.append((unique, result.errno or errno.EIO))


def not_taken(sock: socket.socket) -> bool:
    """Whether something that was sent has not been received yet (SIOCOUTQ)."""
    return bool(struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))[0])


def hung_up(sock: socket.socket) -> bool:
    """Whether the other end is gone; else a message of no bytes has come."""
    poll = select.poll()
    poll.register(sock, 0)
    return bool(poll.poll(0))
