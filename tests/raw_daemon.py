"""A daemon that trusts nobody: raw messages, written out with `struct`.

It serves one directory with one file, `file`. The tests of mounting use it, so that they test
mounting and not the daemon's end of this project. `start` runs it as a process of its own: one
that can be killed, and that does not share Python's lock with those who wait for it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import struct
import subprocess
import sys
from dataclasses import dataclass

LOOKUP, FORGET, GETATTR, OPEN, READ, STATFS = 1, 2, 3, 14, 15, 17
RELEASE, FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR, INTERRUPT, BATCH_FORGET = 18, 25, 26, 27, 28, 29, 36, 42

ROOT, FILE = 1, 2
IN_HEADER = struct.Struct("=IIQQIIIHH")  # len, opcode, unique, nodeid, uid, gid, pid, total_extlen, padding


@dataclass
class RawDaemon:
    """Answers every request read from a device; a `mute` one answers INIT alone."""

    content: bytes = b"hello\n"  # of the file
    attr_timeout: int = 0  # seconds
    root_type: int = stat.S_IFDIR
    mute: bool = False

    def serve(self, device: int) -> int:
        """Serve until the connection ends; return the errno with which it does."""
        while True:
            try:
                message = os.read(device, 1 << 18)
            except OSError as error:
                return error.errno or 0
            self.answer_one(device, message)

    def answer_one(self, device: int, message: bytes) -> None:
        """Answer one message, if it wants one."""
        _, opcode, unique, nodeid, *_ = IN_HEADER.unpack_from(message)
        if opcode in (FORGET, BATCH_FORGET, INTERRUPT) or (self.mute and opcode != INIT):
            return
        try:
            error, body = 0, self.reply(opcode, nodeid, message[IN_HEADER.size :])
        except OSError as failure:
            error, body = failure.errno or errno.EIO, b""
        with contextlib.suppress(OSError):  # whoever asked is gone
            os.write(device, struct.pack("=IiQ", 16 + len(body), -error, unique) + body)

    def reply(self, opcode: int, nodeid: int, body: bytes) -> bytes:
        if opcode == INIT:  # major, minor, max_readahead, flags, background limits, max_write, time_gran, max_pages
            return struct.pack("=IIIIHHIIHH32x", 7, 31, 65536, 0, 12, 9, 4096, 1, 0, 0)
        if opcode == GETATTR:
            return struct.pack("=QII", self.attr_timeout, 0, 0) + self.attr(nodeid)
        if opcode == LOOKUP and body == b"file\0":
            return struct.pack("=QQQQII", FILE, 0, self.attr_timeout, self.attr_timeout, 0, 0) + self.attr(FILE)
        if opcode in (OPEN, OPENDIR):
            return struct.pack("=QII", 0, 0, 0)
        if opcode == READ:
            _, offset, size = struct.unpack_from("=QQI", body)
            return self.content[offset : offset + size]
        if opcode == STATFS:
            return struct.pack("=QQQQQIIII24x", 0, 0, 0, 0, 0, 4096, 255, 4096, 0)
        if opcode in (READDIR, RELEASE, RELEASEDIR, FLUSH):
            return b""
        raise OSError(errno.ENOENT if opcode == LOOKUP else errno.ENOSYS, "")

    def attr(self, nodeid: int) -> bytes:
        is_file = nodeid == FILE or stat.S_ISREG(self.root_type)
        mode, size = (stat.S_IFREG | 0o755, len(self.content)) if is_file else (self.root_type | 0o755, 0)
        return struct.pack("=QQQQQQIIIIIIIIII", nodeid, size, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def start(device: int, daemon: RawDaemon | None = None) -> subprocess.Popen[bytes]:
    """Serve a device in a process of its own, which has it open, too."""
    daemon = daemon or RawDaemon()
    arguments = [str(device), str(daemon.attr_timeout), str(daemon.root_type), "mute" if daemon.mute else ""]
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, *arguments], pass_fds=[device], stdin=subprocess.PIPE, cwd="/"
    )
    assert process.stdin is not None
    with process.stdin:
        process.stdin.write(daemon.content)
    return process


def main() -> None:
    """Serve what the arguments say, a file with the content of standard input."""
    device, attr_timeout, root_type = map(int, sys.argv[1:4])
    RawDaemon(sys.stdin.buffer.read(), attr_timeout, root_type, bool(sys.argv[4])).serve(device)


if __name__ == "__main__":
    main()
