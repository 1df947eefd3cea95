"""A mount that is read-only: nothing changes, everything can be read.

The case mounts its directory over itself, read-only, in a namespace of a process of its own.
"""

from __future__ import annotations

import os
from errno import EEXIST, EISDIR, ENOENT, ENOTDIR, EPERM, EROFS

from torture.conformance.actors import Actor
from torture.conformance.calls import AT_SYMLINK_NOFOLLOW, RENAME_EXCHANGE, UTIME_NOW
from torture.conformance.tester import Tester, case

REFUSED: tuple[tuple[str, tuple[object, ...]], ...] = (
    ("chmod", ("file", 0o600)),
    ("chown", ("file", 1, 1)),
    ("chown", ("file", -1, -1)),
    ("lchown", ("link", 1, 1)),
    ("link", ("file", "new")),
    ("mkdir", ("new", 0o755)),
    ("mkfifo", ("new", 0o644)),
    ("mknod", ("new", 0o140644)),
    ("mknod", ("new", 0o20644, 1, 3)),
    ("mknod", ("new", 0o644)),
    ("symlink", ("x", "new")),
    ("create", ("new",)),
    ("open", ("file", os.O_WRONLY)),
    ("open", ("file", os.O_RDWR)),
    ("open", ("file", os.O_RDONLY | os.O_TRUNC)),
    ("open", ("file", os.O_WRONLY | os.O_CREAT)),
    ("open", ("new", os.O_WRONLY | os.O_CREAT)),
    ("open", ("new", os.O_RDONLY | os.O_CREAT)),
    ("open", (".", os.O_RDWR | os.O_TMPFILE)),
    ("rename", ("file", "new")),
    ("rename", ("file", "other")),
    ("rename", ("missing", "new")),
    ("renameat2", ("file", "other", RENAME_EXCHANGE)),
    ("rmdir", ("dir",)),
    ("unlink", ("file",)),
    ("truncate", ("file", 0)),
    ("utimensat", ("file", UTIME_NOW, UTIME_NOW)),
    ("utimensat", ("file", (1, 0), (1, 0))),
    ("utimensat", ("link", (1, 0), (1, 0), AT_SYMLINK_NOFOLLOW)),
    ("setxattr", ("file", "user.x", b"1")),
    ("removexattr", ("file", "user.x")),
    ("access", ("file", os.W_OK)),
    ("access", ("dir", os.W_OK)),
)

REFUSED_BY_DESCRIPTOR: tuple[tuple[str, tuple[object, ...]], ...] = (
    ("fchmod", (0o600,)),
    ("fchown", (1, 1)),
    ("futimens", (UTIME_NOW, UTIME_NOW)),
)

OTHER_REASONS: tuple[tuple[str, tuple[object, ...], int], ...] = (
    # what is wrong anyway, whether it could be written or not, is said first
    ("mkdir", ("dir", 0o755), EEXIST),
    ("mkdir", ("file", 0o755), EEXIST),
    ("mknod", ("file", 0o140644), EEXIST),
    ("symlink", ("x", "link"), EEXIST),
    ("link", ("file", "other"), EEXIST),
    ("link", ("missing", "new"), ENOENT),
    ("open", ("file", os.O_WRONLY | os.O_CREAT | os.O_EXCL), EEXIST),
    ("open", ("dir", os.O_WRONLY), EISDIR),
    ("chmod", ("missing", 0o600), ENOENT),
    ("mkdir", ("missing/new", 0o755), ENOENT),
    ("mkdir", ("file/new", 0o755), ENOTDIR),
)


@case("read-only", needs="root")
def everything_that_would_change_it(t: Tester) -> None:
    t.put("file", "file", content=b"content")
    t.put("file", "other")
    t.root.symlink("file", "link")
    t.root.mkdir("dir", 0o755)
    with t.also(t.root.identity) as reader:
        enter_read_only(t, reader)
        for name, arguments in REFUSED:
            t.fails(EROFS, getattr(reader, name), *arguments)
        fd = reader.open("file", os.O_RDONLY)
        for name, arguments in REFUSED_BY_DESCRIPTOR:
            t.fails(EROFS, getattr(reader, name), fd, *arguments)
        for name, arguments, error in OTHER_REASONS:
            t.fails(error, getattr(reader, name), *arguments)
        t.equal("what is read", t.works(reader.read_file, "file"), b"content")
        t.equal("names", sorted(reader.listdir(".")), ["dir", "file", "link", "other"])
        t.works(reader.access, "file", os.R_OK)
        t.works(reader.open, "file", os.O_RDONLY | os.O_CREAT)


def enter_read_only(t: Tester, reader: Actor) -> None:
    """Mount the case's directory read-only for one actor, or skip."""
    try:
        reader.mount_read_only()
    except OSError as error:
        if error.errno == EPERM:
            t.skip("no mount namespaces here")
        raise
