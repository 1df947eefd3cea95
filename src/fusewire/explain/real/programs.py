"""What the processes of a staged deadlock do. Each runs in a child that the stage has forked (stage.py).

The serving loop is the smallest there is: one read(2) a request, one write(2) a reply, as in kernel.txt. What the
messages mean is the affair of the daemon's end (daemon/session.py), as ever.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import stat
import threading
import warnings
from collections.abc import Iterator
from typing import Final

from fusewire.daemon.filesystem import Filesystem
from fusewire.daemon.request import Request
from fusewire.daemon.session import Call, Session
from fusewire.daemon.values import Attributes, Dirent, Entry, OpenFile
from fusewire.errors import errno_name, os_error
from fusewire.explain.real.namespace import die_with_parent
from fusewire.explain.real.stage import Line
from fusewire.wire import InHeader, OutHeader, encode_error, operation

__all__ = ["Kamikaze", "KamikazeProcess", "Unlinking", "serve", "unlink"]

PAGE: Final = 4096
FILE: Final = 2  # a nodeid; 1 is the root
INTERRUPT: Final = operation("INTERRUPT").code
READ: Final = operation("READ").code
HEADER: Final = OutHeader.SIZE
GONE: Final = frozenset({errno.ENODEV, errno.ECONNABORTED, errno.ENOTCONN})

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
libc.memcpy.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
libc.write.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
libc.write.restype = ctypes.c_ssize_t


# --- serving


def serve(fd: int, session: Session, size: int) -> None:
    """Serve until the connection is gone."""
    for message in messages(fd, size):
        write(fd, answer(session, message))


def messages(fd: int, size: int) -> Iterator[bytes]:
    """Yield what the kernel sends, until the connection is gone."""
    while True:
        try:
            yield os.read(fd, size)
        except OSError as error:
            if error.errno in GONE:
                return
            raise


def answer(session: Session, message: bytes) -> bytes | None:
    """Return the reply to a message, None where there is none.

    An INTERRUPT is answered for whoever is stuck: its target gets EINTR.
    """
    if InHeader.unpack_from(message).opcode == INTERRUPT:
        return encode_error(target(message), errno.EINTR)
    outcome = session.receive(message)
    if isinstance(outcome, Call):
        outcome = carry_out(session, outcome)
    return None if outcome is None else b"".join(outcome)


def target(message: bytes) -> int:
    """Return the request that an INTERRUPT is about: its number is the INTERRUPT's own but for the lowest bit."""
    return InHeader.unpack_from(message).unique & ~1


def carry_out(session: Session, call: Call) -> tuple[bytes | bytearray | memoryview, ...] | None:
    """Run a method, and put what it returns or raises into a reply."""
    try:
        result = call.run()
    except OSError as error:
        return session.fail(call, error)
    return session.reply(call, result)


def write(fd: int, reply: bytes | None) -> None:
    """Write a reply, if there is one; that nobody waits for it any more is no error."""
    if reply is None:
        return
    try:
        os.write(fd, reply)
    except OSError as error:
        if error.errno != errno.ENOENT and error.errno not in GONE:
            raise


def attributes(nodeid: int, size: int = 0) -> Attributes:
    """Everybody may do everything. It is all ours: in a user namespace there is nobody else."""
    mode = stat.S_IFREG | 0o666 if nodeid == FILE else stat.S_IFDIR | 0o777
    return Attributes(mode=mode, size=size if nodeid == FILE else 0, uid=os.geteuid(), gid=os.getegid())


# --- scenario 1: a daemon that removes, while it removes, the same file by the same path


class Unlinking(Filesystem):
    """One file, whose UNLINK is carried out by unlink(2) on the mount itself."""

    blocking = False
    entry_timeout = attr_timeout = 3600.0  # asked once, before anybody looks

    def __init__(self, path: str) -> None:
        self.path = path

    def lookup(self, request: Request, parent: int, name: str) -> Entry:
        if name != os.path.basename(self.path):
            raise os_error(errno.ENOENT)
        return Entry(FILE, self.getattr(request, FILE, None))

    def getattr(self, request: Request, nodeid: int, fh: int | None) -> Attributes:
        return attributes(nodeid)

    def readdir(self, request: Request, nodeid: int, fh: int, offset: int) -> Iterator[Dirent]:
        if offset == 0:
            yield Dirent(os.path.basename(self.path), FILE, stat.S_IFREG, offset=1)

    def unlink(self, request: Request, parent: int, name: str) -> None:
        os.unlink(self.path)


def unlink(path: str, uid: int, line: Line) -> None:
    """rm: one unlink(2), when it is told to. A SIGINT interrupts it, and does nothing else."""
    become(uid)
    signal.signal(signal.SIGINT, lambda *_: None)
    for known in (os.path.dirname(path), path):
        os.stat(known)  # so that the kernel knows whose directory it is, and the name
    line.say("ready")
    line.wait()
    try:
        os.unlink(path)
    except OSError as error:
        line.say(f"unlink: {errno_name(error.errno or 0)}")
    else:
        line.say("unlink: done")


def become(uid: int) -> None:
    """Be this user, if we are root; and still die with the stage."""
    if uid and os.geteuid() == 0:
        os.setgroups([])
        os.setuid(uid)
        die_with_parent()


# --- scenario 2: a daemon that answers READ out of its own mapping of the page that is to be read


class Kamikaze(Filesystem):
    """One file of one page. From the first FLUSH on its READ is answered out of a mapping of itself."""

    blocking = False
    entry_timeout = attr_timeout = 3600.0  # asked once, before anybody looks

    def __init__(self, path: str) -> None:
        self.path = path
        self.magic = False
        self.address = 0  # of the page, once it is mapped; the reply's header fits in before it

    def lookup(self, request: Request, parent: int, name: str) -> Entry:
        if name != os.path.basename(self.path):
            raise os_error(errno.ENOENT)
        return Entry(FILE, self.getattr(request, FILE, None))

    def getattr(self, request: Request, nodeid: int, fh: int | None) -> Attributes:
        return attributes(nodeid, size=PAGE)

    def open(self, request: Request, nodeid: int, flags: int) -> OpenFile:
        return OpenFile()

    def flush(self, request: Request, nodeid: int, fh: int) -> None:
        self.magic = True

    def read(self, request: Request, nodeid: int, fh: int, offset: int, size: int) -> bytes:
        return bytes(PAGE)  # served normally; what is not is seen to in KamikazeProcess


class KamikazeProcess:
    """Thread 1 maps the file and reads a byte of it; thread 2 serves, and so may further processes."""

    def __init__(self, fd: int, session: Session, size: int, line: Line) -> None:
        assert isinstance(session.filesystem, Kamikaze)
        self.fd, self.session, self.size, self.line = fd, session, size, line
        self.filesystem = session.filesystem

    def run(self, processes: int) -> None:
        """Be the Kamikaze filesystem, with so many serving processes. Each step is taken when the stage says so."""
        signal.signal(signal.SIGINT, lambda *_: None)
        serving = threading.Thread(target=self.serve, daemon=True)
        serving.start()
        os.stat(self.filesystem.path)  # so that the kernel knows the name
        self.line.say(f"thread 2: {serving.native_id}")
        self.line.wait()
        self.map()
        if processes > 1:
            self.start_others(processes)
        self.line.say(f"address: {self.filesystem.address}")
        self.line.wait()
        self.touch()

    def start_others(self, processes: int) -> None:
        """Start further serving processes, and then have thread 2 serve a request: so it waits behind them."""
        for number in range(2, processes + 1):
            self.fork(number)
        self.line.wait()
        os.statvfs(self.filesystem.path)

    def touch(self) -> None:
        """Read a byte of the page, without Python's lock, which thread 2 needs."""
        byte = ctypes.create_string_buffer(1)
        libc.memcpy(byte, self.filesystem.address, 1)
        self.line.say("read a byte")

    def map(self) -> None:
        """Open, map and close the file: a page of our own, and behind it the file's."""
        fd = os.open(self.filesystem.path, os.O_RDONLY)
        room = libc.mmap(None, 2 * PAGE, 3, 0x22, -1, 0)  # PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS
        address = libc.mmap(room + PAGE, PAGE, 1, 0x11, fd, 0)  # PROT_READ, MAP_SHARED | MAP_FIXED
        assert address == room + PAGE
        self.filesystem.address = address
        os.close(fd)

    def fork(self, number: int) -> None:
        """Start one more serving process: it has the mapping, and the descriptor.

        It is not our child but the stage's, which adopts orphans: so that the stage hears how it ends.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads: the child runs Python alone
            between = os.fork()
            if between == 0 and os.fork() == 0:
                self.be_process(number)
        if between == 0:
            os._exit(0)
        os.waitpid(between, 0)

    def be_process(self, number: int) -> None:
        try:
            self.line.say(f"process {number}: {os.getpid()}")
            self.serve()
        finally:
            os._exit(0)

    def serve(self) -> None:
        """Serve, and answer READ out of the mapping once the flag is up."""
        for message in messages(self.fd, self.size):
            header = InHeader.unpack_from(message)
            if header.opcode == READ and self.filesystem.magic:
                self.answer_from_the_page(header.unique)
            else:
                write(self.fd, answer(self.session, message))

    def answer_from_the_page(self, unique: int) -> None:
        """Put the header right before the page, and write both: the page is not there, for it is what is asked for."""
        start = self.filesystem.address - HEADER
        ctypes.memmove(start, OutHeader(HEADER + PAGE, 0, unique).pack(), HEADER)
        if libc.write(self.fd, start, HEADER + PAGE) < 0:
            self.line.say(f"write: {errno_name(ctypes.get_errno())}")
