"""Operations on attributes: what stat(2) shows, who may do what, and extended attributes."""

from __future__ import annotations

import os
from typing import Any, Final

from fusewire.explain.operations.filesystem import Forgetful
from fusewire.explain.operations.rows import Named, Operation, a_file
from fusewire.kernel import Process

__all__ = ["ATTRIBUTES"]

NAME: Final = "user.colour"
STATX_BTIME: Final = 0x800  # include/uapi/linux/stat.h


async def a_file_with_an_xattr(process: Process, path: str) -> None:
    await a_file(process, path)
    await process.setxattr(path, NAME, b"green")


async def an_old_file(process: Process, path: str) -> None:
    """Make a file, of which the daemon is not trusted any more."""
    await a_file(process, path)
    process.system.clock.advance(2 * Forgetful.attr_timeout)  # type: ignore[attr-defined]  # it stands still


async def getattr_(process: Process, path: str, got: Any) -> None:
    await process.stat(path)
    await process.stat(path)


async def setattr_(process: Process, path: str, got: Any) -> None:
    await process.chmod(path, Named(0o600, "0600"))


async def statx(process: Process, path: str, got: Any) -> None:
    await process.statx(path, mask=STATX_BTIME)


async def statfs(process: Process, path: str, got: Any) -> None:
    await process.statvfs(path)


async def access(process: Process, path: str, got: Any) -> None:
    await process.access(path, Named(os.R_OK, "R_OK"))


async def setxattr(process: Process, path: str, got: Any) -> None:
    await process.setxattr(path, NAME, b"green")


async def getxattr(process: Process, path: str, got: Any) -> None:
    await process.get_xattr_length(path, NAME)
    await process.getxattr(path, NAME, size=5)


async def listxattr(process: Process, path: str, got: Any) -> None:
    await process.listxattr(path)


async def removexattr(process: Process, path: str, got: Any) -> None:
    await process.removexattr(path, NAME)


ATTRIBUTES: Final = (
    Operation(
        "getattr",
        "the attributes that stat shows",
        "stat {path}",
        getattr_,
        "The name still held, the attributes no longer: their time was up. The reply says how long they hold from "
        "now on (attr_timeout), so the second stat asks nothing.",
        before=an_old_file,
        filesystem=Forgetful,
    ),
    Operation(
        "setattr",
        "change mode, owner, size or times",
        "chmod 600 {path}",
        setattr_,
        "chmod, chown, utimensat and truncate are all SETATTR, with a bit for each that is to change. The file's "
        "semaphore is held until the reply, which brings the new attributes.",
    ),
    Operation(
        "statx",
        "attributes with the time of creation",
        "stat -c %w {path}",
        statx,
        "Linux asks so only for the time of creation, and never again once a daemon has answered ENOSYS: the other "
        "attributes come with GETATTR.",
    ),
    Operation(
        "statfs",
        "how large a filesystem is, and how full",
        "df {path}",
        statfs,
        "Nothing of it is kept: each call asks. So a df that touches a mount whose daemon hangs does not return.",
    ),
    Operation(
        "access",
        "may I?",
        "test -r {path}",
        access,
        "access(2) and chdir(2) ask the daemon so, but not under default_permissions: then the kernel checks modes "
        "and owners by itself. A daemon that has no ACCESS says ENOSYS, once, and everything is permitted.",
    ),
    Operation(
        "setxattr",
        "set an extended attribute",
        "setfattr -n user.colour {path}",
        setxattr,
        "The file's semaphore is held until the daemon has answered. Nothing of it is kept by the kernel.",
    ),
    Operation(
        "getxattr",
        "read an extended attribute",
        "getfattr -n user.colour {path}",
        getxattr,
        "The first asks with size 0 how long the value is, the second for the value. Linux itself asks for "
        "security.capability before a write: before each, or before the first alone if the daemon takes suid off by "
        "itself (HANDLE_KILLPRIV_V2).",
        before=a_file_with_an_xattr,
    ),
    Operation(
        "listxattr",
        "the names of extended attributes",
        "getfattr {path}",
        listxattr,
        "The names come in one piece, each ending in NUL; a caller whose buffer is too small gets ERANGE, and tries "
        "a larger one.",
        before=a_file_with_an_xattr,
    ),
    Operation(
        "removexattr",
        "remove an extended attribute",
        "setfattr -x user.colour {path}",
        removexattr,
        "A daemon without extended attributes says ENOSYS once; from then on the kernel itself says EOPNOTSUPP.",
        before=a_file_with_an_xattr,
    ),
)
