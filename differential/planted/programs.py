"""Programs for what none by chance is sure to do.

In some two requests are under way at once: what the second process can do meanwhile shows which
locks the first one's caller holds.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from typing import Final

from differential.generate import GETFLAGS
from differential.program import Program, Step

__all__ = ["BY_HAND", "HELD", "ON_DEVICE", "held_program"]

SETUP: Final = (
    Step(0, "chmod", ("/", 0o777)),
    Step(1, "umask", (0,)),
    Step(1, "open", (0, "/a", os.O_CREAT | os.O_RDWR, 0o666)),
    Step(1, "write", (0, b"a" * 10000)),
    Step(1, "setxattr", ("/a", "user.a", b"v", 0, 1)),
    Step(1, "mkdir", ("/d", 0o777)),
    Step(1, "mkdir", ("/e", 0o777)),
    Step(1, "symlink", ("a", "/l")),
    Step(1, "open", (1, "/", os.O_RDONLY | os.O_DIRECTORY, 0)),
    Step(1, "open", (2, "/b", os.O_CREAT | os.O_RDWR, 0o666)),
    Step(2, "open", (0, "/a", os.O_RDWR, 0)),
)
BESIDE: Final = Step(2, "mkdir", ("/new", 0o777))  # wants the directory
WITHIN: Final = Step(2, "pwrite", (0, b"w", 0))  # wants the file
HELD: Final[Mapping[str, tuple[Step, Step]]] = {  # a call whose request is held back, and what another does meanwhile
    "LOOKUP": (Step(1, "stat", ("/none",)), Step(2, "stat", ("/neither",))),
    "GETATTR": (Step(1, "stat", ("/a",)), Step(2, "stat", ("/a",))),
    "SETATTR": (Step(1, "chmod", ("/a", 0o600)), WITHIN),
    "READLINK": (Step(1, "readlink", ("/l",)), Step(2, "readlink", ("/l",))),
    "SYMLINK": (Step(1, "symlink", ("a", "/m")), BESIDE),
    "MKNOD": (Step(1, "mknod", ("/m", 0o10666, 0)), BESIDE),
    "MKDIR": (Step(1, "mkdir", ("/m", 0o777)), BESIDE),
    "UNLINK": (Step(1, "unlink", ("/a",)), BESIDE),
    "RMDIR": (Step(1, "rmdir", ("/d",)), BESIDE),
    "RENAME": (Step(1, "rename", ("/a", "/d/a")), BESIDE),
    "RENAME2": (Step(1, "renameat2", ("/a", "/d/a", 1)), BESIDE),
    "LINK": (Step(1, "link", ("/a", "/m", 0)), WITHIN),
    "OPEN": (Step(1, "open", (3, "/a", os.O_RDWR, 0)), Step(2, "open", (3, "/a", os.O_RDWR, 0))),
    "WRITE": (Step(1, "pwrite", (0, b"v", 0)), Step(2, "chmod", ("/a", 0o666))),
    "STATFS": (Step(1, "statvfs", ("/a",)), Step(2, "statvfs", ("/a",))),
    "FSYNC": (Step(1, "fsync", (0,)), WITHIN),
    "SETXATTR": (Step(1, "setxattr", ("/a", "user.b", b"v", 0, 1)), WITHIN),
    "GETXATTR": (Step(1, "getxattr", ("/a", "user.a", 1)), Step(2, "getxattr", ("/a", "user.a", 1))),
    "LISTXATTR": (Step(1, "listxattr", ("/a", 1)), Step(2, "listxattr", ("/a", 1))),
    "REMOVEXATTR": (Step(1, "removexattr", ("/a", "user.a", 1)), WITHIN),
    "OPENDIR": (Step(1, "listdir", ("/d",)), Step(2, "listdir", ("/d",))),
    "READDIR": (Step(1, "getdents", (1, 4096)), BESIDE),
    "READDIRPLUS": (Step(1, "getdents", (1, 4096)), BESIDE),
    "ACCESS": (Step(1, "access", ("/a", 4, 0)), Step(2, "access", ("/a", 4, 0))),
    "CREATE": (Step(1, "open", (3, "/m", os.O_CREAT | os.O_RDWR, 0o666)), BESIDE),
    "FALLOCATE": (Step(1, "fallocate", (0, 0, 0, 20000)), WITHIN),
    "IOCTL": (Step(1, "ioctl", (0, GETFLAGS, bytes(8))), Step(2, "ioctl", (0, GETFLAGS, bytes(8)))),
    "LSEEK": (Step(1, "lseek", (0, 0, os.SEEK_DATA)), WITHIN),
    "COPY_FILE_RANGE": (Step(1, "copy_file_range", (0, 2, 100, 0, 0)), BESIDE),
    "SETLKW": (Step(1, "setlkw", (0, fcntl.F_WRLCK, 0, 10)), Step(2, "setlkw", (0, fcntl.F_WRLCK, 20, 10))),
}
WHERE: Final[Mapping[str, str]] = {  # not on the usual filesystem
    "FSYNC": "local, asked each time",
    "READDIR": "plain, asked each time",
    "ACCESS": "unchecked, asked each time",
    "COPY_FILE_RANGE": "older",
    "SETLKW": "locking",
}

ON_DEVICE: Final = frozenset({"BMAP", "SYNCFS", "DESTROY"})  # which are asked on a block device alone
FIBMAP: Final = 1
BY_HAND: Final[Mapping[str, Program]] = {
    "on a block device": Program(
        "on a block device",
        (
            *SETUP,
            Step(0, "open", (0, "/a", os.O_RDWR, 0)),
            Step(0, "ioctl", (0, FIBMAP, bytes(8))),
            Step(0, "syncfs", (0,)),
            Step(0, "unmount"),
        ),
    ),
    "pages are retrieved": Program(
        "memory", (*SETUP, Step(1, "pread", (0, 10000, 0)), Step(0, "retrieve", (2, 1000, 5000)))
    ),
}


def held_program(opcode: str) -> Program:
    """Return a program in which a request of this opcode is held back while another process goes on."""
    first, second = HELD[opcode]
    hold, let_go = Step(0, "hold", (opcode, 0)), Step(0, "let_go")
    steps = (*SETUP, hold, first, second, let_go, let_go, Step(1, "stat", ("/a",)))
    return Program(WHERE.get(opcode, "memory, asked each time"), steps)
