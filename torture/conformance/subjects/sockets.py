"""Sockets with a name: bind makes it, connect finds it, and nothing else opens it.

Source: unix(7); net/unix/af_unix.c, unix_bind_bsd and unix_find_bsd.
"""

from __future__ import annotations

import os
import stat
from errno import EACCES, EADDRINUSE, ECONNREFUSED, ENOENT, ENXIO

from torture.conformance.tester import ALICE, Tester, case

TAKEN = ("file", "dir", "fifo", "socket", "symlink")


@case("sockets")
def binding(t: Tester) -> None:
    t.root.umask(0o027)
    t.works(t.root.bind_socket, "socket")
    t.root.umask(0)
    t.mode("socket", 0o750)
    t.equal("its kind", stat.S_ISSOCK(t.root.lstat("socket").st_mode), True)
    t.equal("its size", t.root.lstat("socket").st_size, 0)
    for kind in TAKEN:
        t.put(kind, f"a-{kind}")
        t.fails(EADDRINUSE, t.root.bind_socket, f"a-{kind}")
    t.fails(ENOENT, t.root.bind_socket, "missing/socket")
    for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
        t.fails(ENXIO, t.root.open, "socket", flags)
    t.works(t.root.unlink, "socket")
    t.fails(ENOENT, t.root.lstat, "socket")


@case("sockets")
def connecting(t: Tester) -> None:
    server = t.root.bind_socket("socket")
    t.fails(ECONNREFUSED, t.root.connect, "socket")
    t.works(t.root.listen, server)
    t.works(t.root.connect, "socket")
    t.works(t.root.link, "socket", "link")
    t.works(t.root.rename, "socket", "renamed")
    t.root.symlink("link", "symlink")
    for name in ("link", "renamed", "symlink"):
        t.works(t.root.connect, name)
    t.fails(ENOENT, t.root.connect, "socket")
    t.works(t.root.close, server)
    t.fails(ECONNREFUSED, t.root.connect, "link")
    t.put("file", "file")
    t.fails(ECONNREFUSED, t.root.connect, "file")


@case("sockets", needs="users")
def by_mode(t: Tester) -> None:
    """To connect is to write."""
    server = t.alice.bind_socket("socket")
    t.owner("socket", ALICE.uid, ALICE.gid)
    t.alice.listen(server)
    for mode, may in ((0o777, True), (0o775, False), (0o772, True), (0o700, False)):
        t.works(t.alice.chmod, "socket", mode)
        t.allowed(may, EACCES, t.bob.connect, "socket")
        t.works(t.alice.connect, "socket")
    t.put("dir", "closed", 0o755)
    t.fails(EACCES, t.alice.bind_socket, "closed/socket")
