"""What programs see of ACLs and set-user-id in a directory: python permission_probe.py DIR, as root.

It prints what happens, and judges nothing: run in two directories, the outputs can be compared.
"""

from __future__ import annotations

import mmap
import os
import stat
import struct
import sys
from collections.abc import Callable, Sequence

ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
USER_OBJ, USER, GROUP_OBJ, MASK, OTHER = 0x01, 0x02, 0x04, 0x10, 0x20  # include/uapi/linux/posix_acl.h
NO_ID = 0xFFFFFFFF
ALICE, BOB, CAROL, TEAM = 5001, 5002, 5003, 6000
CAP_NET_RAW = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)  # struct vfs_cap_data, effective


def acl(*entries: tuple[int, int] | tuple[int, int, int]) -> bytes:
    """The xattr of an ACL: entries of tag, permissions and, for USER, an id."""
    body = (struct.pack("<HHI", *(entry if len(entry) == 3 else (*entry, NO_ID))) for entry in entries)
    return struct.pack("<I", 2) + b"".join(body)


def as_user(uid: int, act: Callable[[], object], groups: Sequence[int] = ()) -> str:
    """Do something in a child that is a user; return its result, or the errno, as text."""
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        os.setgroups(list(groups))
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        try:
            result = repr(act())
        except OSError as error:
            result = f"errno {error.errno}"
        os.write(writer, result.encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    with open(reader, "rb") as pipe:
        return pipe.read().decode()


def attempt(act: Callable[[], object]) -> object:
    try:
        return act()
    except OSError as error:
        return f"errno {error.errno}"


def xattr(path: str, name: str) -> object:
    return attempt(lambda: os.getxattr(path, name).hex())


def show(label: str, path: str, *results: object) -> None:
    found = os.stat(path)
    print(label, stat.filemode(found.st_mode), found.st_uid, found.st_gid, xattr(path, ACCESS), *results)


def read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def overwrite(path: str, flags: int = 0) -> None:
    fd = os.open(path, os.O_WRONLY | flags)
    os.write(fd, b"x")
    os.close(fd)


def acls_decide() -> None:
    """An ACL lets in and keeps out, whatever the mode says."""
    overwrite("file", os.O_CREAT)
    os.chown("file", 5000, 5000)
    os.chmod("file", 0o640)
    os.setxattr(
        "file", ACCESS, acl((USER_OBJ, 6), (USER, 0, ALICE), (USER, 6, BOB), (GROUP_OBJ, 4), (MASK, 6), (OTHER, 4))
    )
    for uid in (ALICE, BOB, CAROL):
        results = (as_user(uid, act) for act in (lambda: read("file"), lambda: overwrite("file")))
        show(f"{uid}", "file", *results, as_user(uid, lambda: os.access("file", os.W_OK)))
    os.chmod("file", 0o600)
    show("masked", "file", as_user(BOB, lambda: read("file")))


def defaults_are_inherited() -> None:
    """A directory's default ACL takes the umask's place."""
    os.mkdir("parent", 0o777)
    os.chmod("parent", 0o777)
    entries = acl((USER_OBJ, 7), (USER, 7, BOB), (GROUP_OBJ, 5), (MASK, 7), (OTHER, 1))
    os.setxattr("parent", DEFAULT, entries)
    print(as_user(ALICE, make_all_sorts))
    for name in ("dir", "file", "fifo"):
        show(name, f"parent/{name}", xattr(f"parent/{name}", DEFAULT))
    stranger = as_user(CAROL, lambda: os.setxattr("parent/file", ACCESS, entries))
    owner = as_user(ALICE, lambda: os.setxattr("parent/file", ACCESS, entries))
    show("set", "parent/file", stranger, owner)


def make_all_sorts() -> int:
    os.umask(0o077)
    os.mkdir("parent/dir", 0o777)
    os.close(os.open("parent/file", os.O_CREAT | os.O_WRONLY, 0o666))
    os.mkfifo("parent/fifo", 0o660)
    os.symlink("x", "parent/symlink")
    return os.fstat(os.open("parent", os.O_TMPFILE | os.O_RDWR, 0o666)).st_mode


WRITERS: dict[str, Callable[[], object]] = {
    "write": lambda: overwrite("program"),
    "truncate": lambda: os.truncate("program", 0),
    "ftruncate": lambda: os.ftruncate(os.open("program", os.O_WRONLY), 0),
    "O_TRUNC": lambda: overwrite("program", os.O_TRUNC),
    "fallocate": lambda: os.posix_fallocate(os.open("program", os.O_WRONLY), 0, 10),
    "chown": lambda: os.chown("program", ALICE, TEAM),
    "chmod": lambda: os.chmod("program", 0o6777),
    "mmap": lambda: map_and_write("program"),
}


def map_and_write(path: str) -> None:
    fd = os.open(path, os.O_RDWR)
    os.ftruncate(fd, 1)
    with mmap.mmap(fd, 1) as memory:
        memory[:1] = b"m"


def set_user_id_is_cleared() -> None:
    """Or not, by whom, and with which groups."""
    overwrite("program", os.O_CREAT)
    for uid in (0, ALICE, BOB):
        for groups in ((), (TEAM,)):
            for mode in (0o6777, 0o2767):
                for way, act in WRITERS.items():
                    os.chown("program", ALICE, TEAM)
                    os.chmod("program", mode)
                    os.setxattr("program", "security.capability", CAP_NET_RAW)
                    result = as_user(uid, act, groups)
                    show(f"{uid} {groups} {mode:o} {way}", "program", result, xattr("program", "security.capability"))


def acls_clear_set_group_id() -> None:
    """For an owner who is no member of the group."""
    overwrite("shared", os.O_CREAT)
    os.chown("shared", ALICE, TEAM)
    entries = acl((USER_OBJ, 7), (USER, 7, BOB), (GROUP_OBJ, 7), (MASK, 7), (OTHER, 0))
    for groups in ((), (TEAM,)):
        os.chmod("shared", 0o2775)
        result = as_user(ALICE, lambda: os.setxattr("shared", ACCESS, entries), groups)
        show(f"{groups}", "shared", result)


if __name__ == "__main__":
    os.umask(0o022)
    os.chdir(sys.argv[1])
    acls_decide()
    defaults_are_inherited()
    set_user_id_is_cleared()
    acls_clear_set_group_id()
