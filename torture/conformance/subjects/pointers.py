"""Pointers to nowhere: EFAULT, from every call that takes a path or a buffer; and nothing is done.

Source: the ERRORS of each call; fs/namei.c, getname_flags.
"""

from __future__ import annotations

import os
import stat
from errno import EFAULT

from torture.conformance.calls import AT_FDCWD
from torture.conformance.libc import Address
from torture.conformance.tester import Tester, case

NOWHERE = object()  # where the bad pointer goes in the arguments

PATHS: tuple[tuple[str, tuple[object, ...]], ...] = (
    ("chmod", (NOWHERE, 0o644)),
    ("chown", (NOWHERE, 0, 0)),
    ("lchown", (NOWHERE, 0, 0)),
    ("link", (NOWHERE, "new")),
    ("link", ("file", NOWHERE)),
    ("link", (NOWHERE, NOWHERE)),
    ("mkdir", (NOWHERE, 0o755)),
    ("mkfifo", (NOWHERE, 0o644)),
    ("mknod", (NOWHERE, stat.S_IFSOCK | 0o644, 0)),
    ("symlink", (NOWHERE, "new")),
    ("symlink", ("target", NOWHERE)),
    ("open", (NOWHERE, os.O_RDONLY)),
    ("open", (NOWHERE, os.O_RDWR | os.O_CREAT, 0o644)),
    ("rename", (NOWHERE, "new")),
    ("rename", ("file", NOWHERE)),
    ("rename", (NOWHERE, NOWHERE)),
    ("renameat2", (AT_FDCWD, "file", AT_FDCWD, NOWHERE, 1)),
    ("rmdir", (NOWHERE,)),
    ("truncate", (NOWHERE, 0)),
    ("unlink", (NOWHERE,)),
    ("access", (NOWHERE, os.F_OK)),
    ("chdir", (NOWHERE,)),
    ("readlink", (NOWHERE, "buffer", 6)),
    ("setxattr", (NOWHERE, "user.x", "value", 5, 0)),
    ("removexattr", ("file", NOWHERE)),
)


def filled(arguments: tuple[object, ...], address: Address) -> tuple[object, ...]:
    """The arguments with a pointer in its place."""
    return tuple(address if argument is NOWHERE else argument for argument in arguments)


@case("pointers")
def paths(t: Tester) -> None:
    t.put("file", "file", content=b"content")
    for name, arguments in PATHS:
        for address in Address:
            t.fails(EFAULT, t.root.raw, name, *filled(arguments, address))
    t.equal("names", t.root.listdir("."), ["file"])
    t.content("file", b"content")


@case("pointers")
def buffers(t: Tester) -> None:
    t.put("file", "file", content=b"content")
    fd = t.root.open("file", os.O_RDWR)
    for address in Address:
        t.fails(EFAULT, t.root.raw, "read", fd, address, 5)
        t.fails(EFAULT, t.root.raw, "pread", fd, address, 5, 0)
        t.fails(EFAULT, t.root.raw, "write", fd, address, 5)
        t.fails(EFAULT, t.root.raw, "pwrite", fd, address, 5, 2)
    t.equal("where the descriptor stands", t.root.lseek(fd, 0, os.SEEK_CUR), 0)
    t.equal("size", t.root.fstat(fd).st_size, 7)
    t.content("file", b"content")


@case("pointers")
def buffers_for_a_target(t: Tester) -> None:
    t.root.symlink("file", "link")
    for address in Address:
        t.fails(EFAULT, t.root.raw, "readlink", "link", address, 4)


@case("pointers")
def times(t: Tester) -> None:
    """Only here is no pointer at all an answer: both times become now."""
    t.put("file", "file")
    t.root.utimensat("file", (1, 0), (1, 0))
    for address in (Address.UNMAPPED, Address.KERNEL):
        t.fails(EFAULT, t.root.raw, "utimensat", AT_FDCWD, "file", address, 0)
        t.fails(EFAULT, t.root.raw, "utimensat", AT_FDCWD, address, Address.NULL, 0)
    t.equal("mtime", t.root.lstat("file").st_mtime, 1.0)
    t.works(t.root.raw, "utimensat", AT_FDCWD, "file", Address.NULL, 0)
    t.true("mtime is now", t.root.lstat("file").st_mtime > 1)
