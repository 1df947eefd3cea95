"""POSIX ACLs of the filesystem in memory, enforced by Linux: the same program finds on tmpfs what it finds here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fusewire
from fusewire.filesystems import Memory
from namespaces import mount, umount

PROGRAM = """
import errno, os, stat, struct, sys

ACCESS, DEFAULT, NOBODY = "system.posix_acl_access", "system.posix_acl_default", 2**32 - 1
USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 1, 2, 4, 8, 16, 32

def acl(*entries):
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *(*entry, NOBODY)[:3]) for entry in entries)

def show(path):
    attributes = os.lstat(path)
    acls = {name: list(struct.iter_unpack("<HHI", os.getxattr(path, name)[4:]))
            for name in sorted(os.listxattr(path, follow_symlinks=False)) if name in (ACCESS, DEFAULT)}
    print(path, oct(attributes.st_mode), attributes.st_uid, acls)

def attempt(what, function, *arguments):
    try:
        print(what, function(*arguments) is not None)
    except OSError as error:
        print(what, errno.errorcode[error.errno])

def opens(path):
    for flags in (os.O_RDONLY, os.O_WRONLY):
        attempt(f"{os.getuid()} opens {path} with {flags}", lambda: os.close(os.open(path, flags)))

def as_user(uid, groups, function):
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        os.setgroups(groups)
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        function()
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(pid, 0)

def make():
    os.umask(0o077)
    os.mkdir("d/theirs", 0o777)
    os.close(os.open("d/file", os.O_CREAT | os.O_RDWR, 0o666))
    show("d/theirs")
    show("d/file")

os.chdir(sys.argv[1])
os.umask(0o027)
named = (USER_OBJ, 6), (USER, 4, 65501), (GROUP_OBJ, 0), (GROUP, 7, 65511), (MASK, 6), (OTHER, 0)
open("f", "w").close()
os.setxattr("f", ACCESS, acl(*named))
for mode in (None, 0o604, 0o660):
    if mode is not None:
        os.chmod("f", mode)
    show("f")
    for uid, groups in ((65501, []), (65502, []), (65503, [65511])):
        as_user(uid, groups, lambda: opens("f"))
os.setxattr("f", ACCESS, acl((USER_OBJ, 6), (GROUP_OBJ, 4), (OTHER, 4)))
show("f")
attempt("no directory", os.setxattr, "f", DEFAULT, acl(*named))
attempt("no mask", os.setxattr, "f", ACCESS, acl((USER_OBJ, 6), (USER, 4, 65501), (GROUP_OBJ, 4), (OTHER, 4)))
attempt("junk", os.setxattr, "f", ACCESS, b"junk")

os.mkdir("d")
os.chmod("d", 0o777)
os.setxattr("d", DEFAULT, acl((USER_OBJ, 7), (USER, 6, 65501), (GROUP_OBJ, 5), (MASK, 7), (OTHER, 4)))
os.mkdir("d/d")
os.symlink("x", "d/s")
os.mkfifo("d/p")
os.mknod("d/n", stat.S_IFREG | 0o640)
for path in ("d", "d/d", "d/s", "d/p", "d/n"):
    show(path)
as_user(65502, [], make)
as_user(65501, [], lambda: opens("d/file"))
nameless = os.open("d", os.O_TMPFILE | os.O_RDWR, 0o666)
print(oct(os.fstat(nameless).st_mode), os.listxattr(nameless))

os.mkdir("e")
os.setxattr("e", DEFAULT, acl((USER_OBJ, 7), (GROUP_OBJ, 5), (OTHER, 1)))
open("e/f", "w").close()
show("e/f")
for path, name in (("e", DEFAULT), ("e", DEFAULT), ("d/n", ACCESS)):
    attempt("removed", os.removexattr, path, name)
    show(path)
attempt("none", os.getxattr, "d/n", ACCESS)

os.mknod("g", stat.S_IFREG)
os.chown("g", 65502, 0)
os.chmod("g", 0o2755)
as_user(65502, [], lambda: os.setxattr("g", ACCESS, acl(*named)))
show("g")
"""


def run_in(place: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, place], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become other users")
def test_acls_are_those_of_tmpfs(mountpoint: Path, tmp_path: Path) -> None:
    other = tmp_path / "tmpfs"
    other.mkdir()
    mount("tmpfs", other, "tmpfs")
    wanted = run_in(other)
    umount(other)
    with fusewire.mount(Memory(), str(mountpoint), allow_other=True, strict=True):
        assert run_in(mountpoint) == wanted
    assert len(wanted) > 40
