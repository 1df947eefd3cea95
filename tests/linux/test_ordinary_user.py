"""The ground that the tests of ordinary users stand on: what uid 65534 may do, with mount(2) alone."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from kernel_mounts import fuse_mounts, raw_mount
from namespaces import umount
from ordinary_user import USER, python_as_user, run_as_user

MOUNT_AND_READ_INIT = """
import os, struct
from pathlib import Path
from kernel_mounts import fuse_mounts, raw_mount
from namespaces import umount

mountpoint = Path("mnt").absolute()
mountpoint.mkdir()
device = raw_mount(mountpoint)
assert [mount.path for mount in fuse_mounts()] == [mountpoint]
length, opcode, unique, nodeid, uid, gid, pid = struct.unpack_from("=IIQQIII", message := os.read(device, 1 << 16))
assert length == len(message)
os.close(device)
umount(mountpoint)
print(os.getuid(), os.getgid(), opcode)
"""

FUSE_INIT = 26


@pytest.fixture
def user() -> int:
    """The uid of the ordinary user: ourselves, where the tests do not run as root."""
    return os.geteuid() or USER


def test_an_ordinary_user_mounts_and_reads_init(user: int) -> None:
    uid, _, opcode = python_as_user(MOUNT_AND_READ_INIT).split()
    assert (int(uid), int(opcode)) == (user, FUSE_INIT)


def test_programs_that_the_user_starts_may_mount_too(user: int) -> None:
    script = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]], check=True)"
    assert python_as_user(script, MOUNT_AND_READ_INIT).split()[0] == str(user)


@pytest.mark.skipif(os.geteuid() != 0, reason="who runs the tests as a user is in a user namespace already")
def test_without_a_user_namespace_he_may_not_mount() -> None:
    done = run_as_user(sys.executable, "-c", MOUNT_AND_READ_INIT, may_mount=False)
    assert "PermissionError" in done.stderr


def test_a_script_that_fails_says_where() -> None:
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        python_as_user("1 / 0")


def test_a_program_that_hangs_is_killed() -> None:
    with pytest.raises(AssertionError, match="still ran"):
        run_as_user("sleep", "60", timeout=1)


def test_mounts_of_the_run_are_seen_by_nobody_else(mountpoint: Path) -> None:
    device = raw_mount(mountpoint)
    seen_here, seen_by_parent = fuse_mounts(), fuse_mounts(os.getppid())
    os.close(device)
    umount(mountpoint)
    assert mountpoint in [mount.path for mount in seen_here]
    assert mountpoint not in [mount.path for mount in seen_by_parent]
