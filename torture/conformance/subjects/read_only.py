"""A mount that is read-only: nothing changes, everything can be read.

The case mounts its directory over itself, read-only, in a namespace of a process of its own.
"""

from __future__ import annotations

import os
from errno import EPERM, EROFS

from torture.conformance.actors import Actor
from torture.conformance.calls import UTIME_NOW
from torture.conformance.tester import Tester, case

REFUSED: tuple[tuple[str, tuple[object, ...]], ...] = (
    ("chmod", ("file", 0o600)),
    ("chown", ("file", 1, 1)),
    ("lchown", ("link", 1, 1)),
    ("link", ("file", "new")),
    ("mkdir", ("new", 0o755)),
    ("mkfifo", ("new", 0o644)),
    ("mknod", ("new", 0o140644)),
    ("symlink", ("x", "new")),
    ("create", ("new",)),
    ("open", ("file", os.O_WRONLY)),
    ("open", ("file", os.O_RDWR)),
    ("open", ("file", os.O_RDONLY | os.O_TRUNC)),
    ("open", ("new", os.O_WRONLY | os.O_CREAT)),
    ("rename", ("file", "new")),
    ("rmdir", ("dir",)),
    ("unlink", ("file",)),
    ("truncate", ("file", 0)),
    ("utimensat", ("file", UTIME_NOW, UTIME_NOW)),
    ("setxattr", ("file", "user.x", b"1")),
    ("removexattr", ("file", "user.x")),
    ("access", ("file", os.W_OK)),
)


@case("read-only", needs="root")
def everything_that_would_change_it(t: Tester) -> None:
    t.put("file", "file", content=b"content")
    t.root.symlink("file", "link")
    t.root.mkdir("dir", 0o755)
    home = os.path.basename(t.root.getcwd())
    reader = Actor(t.root.identity, t.base)
    try:
        reader.enter(home)
        enter_read_only(t, reader)
        for name, arguments in REFUSED:
            t.fails(EROFS, getattr(reader, name), *arguments)
        t.equal("what is read", t.works(reader.read_file, "file"), b"content")
        t.equal("names", sorted(reader.listdir(".")), ["dir", "file", "link"])
        t.works(reader.access, "file", os.R_OK)
        t.works(reader.open, "file", os.O_RDONLY | os.O_CREAT)
    finally:
        reader.end()


def enter_read_only(t: Tester, reader: Actor) -> None:
    """Mount the case's directory read-only for one actor, or skip."""
    try:
        reader.mount_read_only()
    except OSError as error:
        if error.errno == EPERM:
            t.skip("no mount namespaces here")
        raise
