"""Kamikaze: a filesystem that hangs by its own hand, as kernel.txt of 2005 describes it under "Tricky deadlock".

    python examples/kamikaze.py --yes /mnt/x           # it hangs for five seconds, and dies
    fusewire mount examples/kamikaze.py:Kamikaze /mnt/x   # without thread 1: no harm

    head -1 /mnt/x/file                 # without thread 1: served normally
    grep . /proc/PID/task/*/wchan       # while it hangs: where in the kernel its threads sleep

Thread 1 maps a file of its own mount, closes it, and reads a byte of the mapping. The page is not there: Linux makes
one, locks it, and asks for its contents with a READ. Thread 2 is to answer that. Closing the file has put up its
flag, so it answers out of the same mapping: nothing looks wrong about that, it returns 4096 bytes of its memory.
But to copy them Linux needs the page that it has locked until this very answer is there.

Both threads sleep where only a fatal signal reaches them. SIGKILL frees them, and so does who aborts the connection:
then thread 1 learns that there will be no page, by SIGBUS. Here somebody stands by who does, before anything hangs:
a process of its own, for those who hang can do nothing any more. Do not run this without him.
"""

import ctypes
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Iterator

import fusewire
from fusewire import Attributes, Dirent, Entry, OpenFile, Request

FILE = 2  # a nodeid; 1 is the root
PAGE = 4096

libc = ctypes.CDLL(None, use_errno=True)  # its functions run without Python's lock, which thread 2 needs
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
libc.memcpy.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
PROT_READ, MAP_SHARED = 1, 1


class Kamikaze(fusewire.Filesystem):
    """One file of one page."""

    blocking = False  # one thread serves, and no other stands by: kernel.txt's thread 2

    def __init__(self) -> None:
        self.magic = False
        self.page: memoryview | None = None  # of the file, mapped; whoever looks into it asks for it

    def getattr(self, request: Request, nodeid: int, fh: int | None) -> Attributes:
        if nodeid == FILE:
            return Attributes(mode=stat.S_IFREG | 0o444, size=PAGE)
        return Attributes(mode=stat.S_IFDIR | 0o555, nlink=2)

    def lookup(self, request: Request, parent: int, name: str) -> Entry:
        if name != "file":
            raise FileNotFoundError
        return Entry(FILE, self.getattr(request, FILE, None))

    def readdir(self, request: Request, nodeid: int, fh: int, offset: int) -> Iterator[Dirent]:
        if offset == 0:
            yield Dirent("file", FILE, stat.S_IFREG, 1)

    def open(self, request: Request, nodeid: int, flags: int) -> OpenFile:
        return OpenFile()

    def flush(self, request: Request, nodeid: int, fh: int) -> None:
        self.magic = True

    def read(self, request: Request, nodeid: int, fh: int, offset: int, size: int) -> bytes | memoryview:
        if self.magic and self.page is not None:
            return self.page  # kernel.txt: "create reply header before addr"; ours is written along with it
        return b"not yet\n".ljust(PAGE, b"\n")


def map_and_close(path: str, kamikaze: Kamikaze) -> int:
    """Map the file and close it; return the address of the page. Nothing has read it yet."""
    fd = os.open(path, os.O_RDONLY)
    address = libc.mmap(None, PAGE, PROT_READ, MAP_SHARED, fd, 0)
    if address == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), "mmap")
    kamikaze.page = memoryview((ctypes.c_char * PAGE).from_address(address)).cast("B")
    os.close(fd)  # FLUSH
    return int(address)


def stand_by(mountpoint: str, seconds: float) -> None:
    """Have another process unmount by force, in so many seconds: that aborts, and frees whoever hangs."""
    script = 'sleep "$1"; exec "$2" -m fusewire umount --force "$3"'
    arguments = [str(seconds), sys.executable, mountpoint]
    subprocess.Popen(["sh", "-c", script, "sh", *arguments], start_new_session=True, cwd="/")


def main(yes: str = "", mountpoint: str = "", seconds: str = "5") -> None:
    """Be thread 1."""
    if yes != "--yes" or not mountpoint:
        sys.exit("kamikaze.py hangs, and dies of it. If that is what you want: kamikaze.py --yes MOUNTPOINT [SECONDS]")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # it will die of SIGBUS
    kamikaze = Kamikaze()
    with fusewire.mount(kamikaze, mountpoint):
        stand_by(mountpoint, float(seconds))
        address = map_and_close(os.path.join(mountpoint, "file"), kamikaze)
        print(f"pid {os.getpid()} reads a byte of its own file, and hangs for {seconds} s", flush=True)
        byte = ctypes.create_string_buffer(1)
        libc.memcpy(byte, address, 1)
        sys.exit(f"it does not hang on this kernel: the byte is {byte.raw!r}")


if __name__ == "__main__":
    main(*sys.argv[1:])
