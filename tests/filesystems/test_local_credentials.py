"""A daemon that is root acts as its callers: what it makes is theirs, and what they may not it does not."""

from __future__ import annotations

import errno
import os
import platform
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fusewire.daemon import SetAttributes
from fusewire.filesystems.local import LocalDirectory
from local_callers import ROOT, asked, making, walk, write

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as others")
ALICE, BOB, TEAM = 54321, 54322, 54399
DEFAULT_ACL = "system.posix_acl_default"


def failing(code: int) -> pytest.RaisesExc[OSError]:
    return pytest.RaisesExc(OSError, check=lambda error: error.errno == code)


@contextmanager
def member_of(*groups: int) -> Iterator[int]:
    """The pid of a process that has supplementary groups, and waits."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setgroups(groups)
        os.write(writer, b"!")
        signal.pause()
    assert os.read(reader, 1) == b"!"
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reader)
        os.close(writer)


def identity() -> list[str]:
    """Who this thread is to filesystems: uids, gids and groups."""
    lines = Path("/proc/thread-self/status").read_text().splitlines()
    return [line for line in lines if line.startswith(("Uid", "Gid", "Groups", "CapEff"))]


def owner(path: Path) -> tuple[int, int]:
    found = os.lstat(path)
    return found.st_uid, found.st_gid


@pytest.fixture(autouse=True)
def open_to_all(source: Path) -> Iterator[None]:
    """Let everybody write into the source; see that the daemon is itself again afterwards."""
    source.chmod(0o777)
    before, mask = identity(), os.umask(0o77)
    yield
    assert identity() == before
    assert os.umask(mask) == 0o77


def test_what_is_made_belongs_to_the_caller(source: Path, local: LocalDirectory) -> None:
    alice = making(uid=ALICE, gid=TEAM, pid=0)
    entry, opened = local.create(alice, ROOT, "file", os.O_RDWR, 0o666)
    local.mkdir(alice, ROOT, "dir", 0o777)
    local.mknod(alice, ROOT, "fifo", stat.S_IFIFO | 0o666, 0)
    local.symlink(asked(uid=ALICE, gid=TEAM), ROOT, "link", "x")
    local.link(asked(uid=ALICE, gid=TEAM), entry.nodeid, ROOT, "other")
    assert {owner(source / name) for name in os.listdir(source)} == {(ALICE, TEAM)}
    assert stat.S_IMODE(os.stat(source / "file").st_mode) == 0o666  # the daemon's umask has no say
    hidden, _ = local.tmpfile(alice, ROOT, os.O_RDWR, 0o600)
    assert (hidden.attributes.uid, hidden.attributes.gid) == (ALICE, TEAM)
    local.release(alice, entry.nodeid, opened.fh)


def test_root_of_another_group_makes_files_of_that_group(source: Path, local: LocalDirectory) -> None:
    local.mkdir(making(uid=0, gid=TEAM), ROOT, "dir", 0o755)
    assert owner(source / "dir") == (0, TEAM)


@pytest.mark.parametrize(("umask", "mode"), [(0, 0o777), (0o22, 0o755), (0o77, 0o700)])
def test_the_callers_umask_holds(source: Path, local: LocalDirectory, umask: int, mode: int) -> None:
    local.mkdir(making(umask, uid=ALICE, gid=ALICE), ROOT, "dir", 0o777)
    assert stat.S_IMODE(os.stat(source / "dir").st_mode) == mode


def test_a_default_acl_has_no_use_for_a_umask(source: Path, local: LocalDirectory) -> None:
    everybody = bytes.fromhex("02000000 0100 0700 ffffffff 0400 0700 ffffffff 2000 0700 ffffffff")
    try:
        os.setxattr(source, DEFAULT_ACL, everybody)
    except OSError as error:
        pytest.skip(f"no ACLs here: {error.strerror}")
    local.mkdir(making(0o77, uid=ALICE, gid=ALICE), ROOT, "dir", 0o777)
    assert stat.S_IMODE(os.stat(source / "dir").st_mode) == 0o777


def test_supplementary_groups_are_the_callers(source: Path, local: LocalDirectory) -> None:
    (source / "team").mkdir()
    os.chown(source / "team", 0, TEAM)
    (source / "team").chmod(0o2770)
    team = walk(local, "team").nodeid
    with failing(errno.EACCES):
        local.mkdir(making(uid=ALICE, gid=ALICE), team, "no", 0o755)
    with member_of(TEAM) as pid:
        local.mkdir(making(uid=ALICE, gid=ALICE, pid=pid), team, "yes", 0o755)
        assert owner(source / "team/yes") == (ALICE, TEAM)
        mine = walk(local, "team", "yes").nodeid
        changed = local.setattr(asked(uid=ALICE, gid=ALICE, pid=pid), mine, SetAttributes(mode=0o2775))
        assert changed.mode & stat.S_ISGID  # kept, for its owner is a member
    with failing(errno.EPERM):
        local.setattr(asked(uid=ALICE, gid=ALICE), mine, SetAttributes(gid=BOB))


def test_the_source_says_no_to_strangers(source: Path, local: LocalDirectory) -> None:
    os.chown(write(source / "alices"), ALICE, ALICE)
    nodeid = walk(local, "alices").nodeid
    bob = asked(uid=BOB, gid=BOB)
    for changes in (SetAttributes(mode=0o777), SetAttributes(uid=BOB), SetAttributes(atime_ns=1, mtime_ns=1)):
        with failing(errno.EPERM):
            local.setattr(bob, nodeid, changes)
    with failing(errno.EACCES):
        local.setattr(bob, nodeid, SetAttributes(size=0))
    with failing(errno.EACCES):
        local.setxattr(bob, nodeid, "user.x", memoryview(b"v"), 0)
    source.chmod(0o1777)
    with failing(errno.EPERM):
        local.unlink(bob, ROOT, "alices")
    with failing(errno.EPERM):
        local.rename(bob, ROOT, "alices", ROOT, "bobs", 0)
    local.setattr(asked(uid=ALICE, gid=ALICE), nodeid, SetAttributes(mode=0o600))
    local.unlink(asked(uid=ALICE, gid=ALICE), ROOT, "alices")


def test_a_chown_to_nobody_is_one_all_the_same(source: Path, local: LocalDirectory) -> None:
    """It takes set-user-id; but whoever may be about to write is left to do so, for Linux sends the same before."""
    program = write(source / "program")
    os.chown(program, ALICE, ALICE)
    nodeid = walk(local, "program").nodeid
    for caller, left in ((BOB, 0o6755), (ALICE, 0o755), (0, 0o6755)):
        program.chmod(0o6755)
        before = os.stat(program).st_ctime_ns
        after = local.setattr(asked(uid=caller, gid=caller), nodeid, SetAttributes())
        assert stat.S_IMODE(after.mode) == left
        assert after.ctime_ns >= before


def test_an_identity_that_cannot_be_taken_is_refused(source: Path, local: LocalDirectory) -> None:
    """An idmapped mount sends such; silently staying root would be worse."""
    with failing(errno.EPERM):
        local.mkdir(making(uid=0xFFFFFFFF, gid=ALICE), ROOT, "dir", 0o755)
    assert os.listdir(source) == []


UNSHARE = {"x86_64": 272, "aarch64": 97}.get(platform.machine())
WITHOUT_UNSHARE = """
import ctypes, errno, os, struct, sys
from fusewire.filesystems.local import LocalDirectory
from local_callers import ROOT, making
allow, refuse = 0x7FFF0000, 0x00050000 | errno.EPERM
program = b"".join(struct.pack("=HBBI", *step) for step in (
    (0x20, 0, 0, 0), (0x15, 0, 1, int(sys.argv[2])), (0x06, 0, 0, refuse), (0x06, 0, 0, allow)))
code = ctypes.create_string_buffer(program)
filter = ctypes.create_string_buffer(struct.pack("=HxxxxxxQ", 4, ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, filter) == 0, ctypes.get_errno()
assert libc.unshare(0x200) == -1
os.umask(0o77)
LocalDirectory(sys.argv[1]).mkdir(making(0o22, uid=54321, gid=54321), ROOT, "dir", 0o777)
assert os.umask(0) == 0o77
"""


@pytest.mark.skipif(UNSHARE is None, reason="the number of unshare(2) on this machine is not known to the test")
def test_where_a_thread_may_have_no_umask_of_its_own(source: Path) -> None:
    """As in a container whose seccomp filter forbids unshare(2)."""
    tests = str(Path(__file__).parent.parent)
    command = [sys.executable, "-c", WITHOUT_UNSHARE, str(source), str(UNSHARE)]
    subprocess.run(command, check=True, timeout=20, env={**os.environ, "PYTHONPATH": tests})
    assert stat.S_IMODE(os.stat(source / "dir").st_mode) == 0o755
    assert owner(source / "dir") == (ALICE, ALICE)
