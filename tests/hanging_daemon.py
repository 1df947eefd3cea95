"""A daemon that hangs in one way, by the name of it. A program of its own: it mounts, says so, serves.

    hanging_daemon.py MOUNTPOINT WAY [OTHER]

It serves a directory with the files `file` and `other`. The ways are the methods below. What they
do, they do when somebody else asks, never for the daemon's own threads; so that one can look at
the mount first. `OTHER` is the path of a file on another mount.

Nothing here uses fusewire: what is tested must not have made the hang that it finds.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # it is run with -I

from kernel_mounts import raw_mount
from raw_daemon import FILE, GETATTR, IN_HEADER, INIT, LOOKUP, READ, RawDaemon

UNLINK, WRITE, FSYNC = 10, 16, 20
OTHER = 3  # nodeid of `other`
WRITEBACK_CACHE, PARALLEL_DIROPS = 1 << 16, 1 << 18
OWNER = 68  # where uid and gid are in fuse_attr
INVAL_ENTRY = 3  # enum fuse_notify_code
PAGE = mmap.PAGESIZE

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
libc.write.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
libc.memcpy.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]


class HangingDaemon(RawDaemon):
    """Serves from as many threads as its way wants, and hangs."""

    def __init__(self, mountpoint: str, way: str, elsewhere: str) -> None:
        super().__init__(content=b"k" * PAGE)
        self.mountpoint, self.way, self.elsewhere = mountpoint, way, elsewhere
        self.writeback = way in ("fsync", "big_write")
        if self.writeback:
            self.attr_timeout = 3600
        self.device = raw_mount(Path(mountpoint), "allow_other")
        self.hang: Callable[[int, int, bytes], None] = getattr(self, way)
        self.opened = -1
        self.together, self.reentered = threading.Barrier(3), False
        self.greeted = threading.Event()  # INIT is answered

    def path(self, name: str) -> str:
        return f"{self.mountpoint}/{name}"

    def answer_one(self, device: int, message: bytes) -> None:
        _, opcode, unique, *_, caller, _, _ = IN_HEADER.unpack_from(message)
        if caller not in map(int, os.listdir("/proc/self/task")):
            try:
                self.hang(opcode, unique, message)
            except OSError as error:  # so it was freed
                with contextlib.suppress(OSError):  # who asked may have been answered, too
                    os.write(device, struct.pack("=IiQ", 16, -(error.errno or 0), unique))
                return
        super().answer_one(device, message)
        self.greeted.set()

    def reply(self, opcode: int, nodeid: int, body: bytes) -> bytes:
        if opcode == INIT:
            flags = PARALLEL_DIROPS | (WRITEBACK_CACHE if self.writeback else 0)
            return struct.pack("=IIIIHHIIHH32x", 7, 31, 65536, flags, 12, 9, 1 << 17, 1, 0, 0)
        if opcode == LOOKUP and body == b"other\0":
            attr = struct.pack("=Q", OTHER) + self.attr(FILE)[8:]
            return struct.pack("=QQQQII", OTHER, 0, self.attr_timeout, self.attr_timeout, 0, 0) + attr
        if opcode == GETATTR and nodeid == OTHER:
            return struct.pack("=QIIQ", self.attr_timeout, 0, 0, OTHER) + self.attr(FILE)[8:]
        if opcode in (UNLINK, FSYNC):
            return b""
        if opcode == WRITE:
            return struct.pack("=II", struct.unpack_from("=QQI", body)[2], 0)
        return super().reply(opcode, nodeid, body)

    def attr(self, nodeid: int) -> bytes:
        """All belongs to whoever mounted: what is root's, root of a user namespace may not remove."""
        attr = bytearray(super().attr(nodeid))
        struct.pack_into("=II", attr, OWNER, os.getuid(), os.getgid())
        return bytes(attr)

    def serve_all(self, threads: int) -> None:
        """Serve from several threads, until the connection ends."""
        serving = [threading.Thread(target=self.serve, args=[self.device]) for _ in range(threads)]
        for thread in serving:
            thread.start()
        self.greeted.wait()
        os.stat(self.mountpoint)  # until then the kernel takes the root for root's
        getattr(self, f"prepare_{self.way}", lambda: None)()
        print("ready", flush=True)
        for thread in serving:
            thread.join()

    # --- healthy ways

    def idle(self, opcode: int, _unique: int, _message: bytes) -> None:
        """Answers all."""

    def prepare_leaderless(self) -> None:
        """End the main thread alone, which leaves its process to the others."""
        print("ready", flush=True)
        libc.pthread_exit(None)

    leaderless = idle

    def slow(self, opcode: int, _unique: int, _message: bytes) -> None:
        """Takes a minute to remove a file, as a server far away may."""
        if opcode == UNLINK:
            time.sleep(60)

    def uses_itself(self, opcode: int, _unique: int, _message: bytes) -> None:
        """Uses its own mount, but has a thread left that answers; and then takes its time."""
        if opcode == UNLINK:
            os.stat(self.mountpoint)
            time.sleep(60)

    # --- it uses its own mount

    def unlink(self, opcode: int, _unique: int, _message: bytes) -> None:
        """Needs the lock of the directory, which the caller holds."""
        if opcode == UNLINK:
            os.unlink(self.path("file"))

    unlink_in_part = unlink

    def child(self, opcode: int, _unique: int, _message: bytes) -> None:
        """Has another program remove the file, and reads what that says."""
        if opcode == UNLINK:
            subprocess.run(["unlink", self.path("file")], capture_output=True, check=False)

    def lookup(self, opcode: int, _unique: int, message: bytes) -> None:
        """Needs the name that the caller looks up."""
        if opcode == LOOKUP and message.endswith(b"file\0"):
            os.stat(self.path("file"))

    def getattr(self, opcode: int, _unique: int, message: bytes) -> None:
        """Asks for another file, and nobody is left to answer."""
        if opcode == LOOKUP and message.endswith(b"file\0"):
            os.stat(self.path("other"))

    def prepare_threads(self) -> None:
        """Have the names looked up, so that to do it again takes no lock."""
        os.stat(self.path("file"))
        os.stat(self.path("other"))

    def threads(self, opcode: int, _unique: int, message: bytes) -> None:
        """The same, from all of its threads at once."""
        if opcode == LOOKUP and message.endswith(b"file\0") and not self.reentered:
            self.together.wait()
            self.reentered = True
            os.stat(self.path("other"))

    def read(self, opcode: int, _unique: int, _message: bytes) -> None:
        """Reads another file while a caller waits for a page."""
        if opcode == READ:
            with open(self.path("other"), "rb") as file:
                file.read(1)

    def cross(self, opcode: int, _unique: int, message: bytes) -> None:
        """Asks another daemon, which asks this one."""
        if opcode == LOOKUP and message.endswith(b"file\0"):
            os.stat(self.elsewhere)

    def invalidate(self, opcode: int, _unique: int, _message: bytes) -> None:
        """Has the kernel forget a name in the directory that the caller has locked."""
        if opcode == UNLINK:
            body = struct.pack("=QII", 1, 4, 0) + b"file\0"
            os.write(self.device, struct.pack("=IiQ", 16 + len(body), INVAL_ENTRY, 0) + body)

    # --- writeback

    def prepare_fsync(self) -> None:
        self.opened = os.open(self.path("other"), os.O_RDWR)
        os.write(self.opened, b"first")

    def fsync(self, opcode: int, _unique: int, _message: bytes) -> None:
        """Waits for its own answer to WRITE."""
        if opcode == UNLINK:
            os.write(self.opened, b"second")
            os.fsync(self.opened)

    prepare_big_write = prepare_fsync

    def big_write(self, opcode: int, _unique: int, _message: bytes) -> None:
        """Is held back because so much waits to be written."""
        while opcode == UNLINK:
            os.write(self.opened, bytes(1 << 20))

    # --- the kamikaze

    def prepare_page_fault(self) -> None:
        """Map a page of the own file behind one of no file, and touch it from another thread."""
        file = os.open(self.path("file"), os.O_RDONLY)
        base = libc.mmap(None, 2 * PAGE, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
        fixed = mmap.MAP_SHARED | 0x10  # MAP_FIXED
        self.address = libc.mmap(base + PAGE, PAGE, mmap.PROT_READ, fixed, file, 0)
        os.close(file)
        one = ctypes.create_string_buffer(1)
        threading.Thread(target=libc.memcpy, args=[one, self.address, 1]).start()

    def page_fault(self, opcode: int, _unique: int, _message: bytes) -> None:
        """Nothing for others: it hangs by itself."""

    def serve_page_fault(self, unique: int) -> None:
        """Answer READ with the very page that it is to fill."""
        header = struct.pack("=IiQ", 16 + PAGE, 0, unique)
        ctypes.memmove(self.address - len(header), header, len(header))
        libc.write(self.device, self.address - len(header), len(header) + PAGE)

    # --- dying

    def prepare_exit_flush(self) -> None:
        self.opened = os.open(self.path("file"), os.O_RDONLY)

    def exit_flush(self, opcode: int, _unique: int, _message: bytes) -> None:
        """Is to be killed, with a file of its own open."""

    def prepare_forked_child(self) -> None:
        if os.fork() == 0:
            time.sleep(600)
            os._exit(0)

    def forked_child(self, opcode: int, _unique: int, _message: bytes) -> None:
        """Is to be killed; a child of its has the device."""


class Kamikaze(HangingDaemon):
    def answer_one(self, device: int, message: bytes) -> None:
        _, opcode, unique, *_ = IN_HEADER.unpack_from(message)
        if opcode == READ:
            self.serve_page_fault(unique)
        else:
            super().answer_one(device, message)


THREADS = {"threads": 3, "unlink_in_part": 2, "uses_itself": 2}  # that serve; one in all other ways

if __name__ == "__main__":
    mountpoint, way, *elsewhere = sys.argv[1:]
    daemon = (Kamikaze if way == "page_fault" else HangingDaemon)(mountpoint, way, "".join(elsewhere))
    daemon.serve_all(THREADS.get(way, 1))
