"""Mounting without being root: by mount(2) in a user namespace, by fusermount3, or not at all.

Each test runs a script as uid 65534, in an empty home of his own, with a device of mode 0666.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias, cast

import pytest

import raw_daemon
from fusewire import mounting
from ordinary_user import python_as_user, run_as_user

Way: TypeAlias = Callable[[str], str]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make the device node that this needs")
with_helper = pytest.mark.skipif(shutil.which("fusermount3") is None, reason="needs fusermount3: install fuse3")

# What all scripts begin with. `serve` has the device served by a process of its own.
HEAD = """
import contextlib, errno, os, select, subprocess, sys
from pathlib import Path
import raw_daemon
from fusewire import mounting
from fusewire.mounting import MountError, MountOptions

path = Path("mnt").absolute()
path.mkdir()

@contextlib.contextmanager
def served(options="", daemon=None):
    made = mounting.mount(path, MountOptions.parse(options))
    with raw_daemon.start(made.fd, daemon) as daemon:
        mounting.close_device(made.fd)
        try:
            yield made
        finally:
            daemon.kill()
    made.close()

def found():
    return [mount for mount in mounting.read_table() if mount.is_fuse]

def refusal(action):
    try:
        action()
    except MountError as error:
        return f"{errno.errorcode[error.errno]} {error}"
"""


def by_mount(script: str) -> str:
    """Run a script where mount(2) is allowed."""
    return python_as_user(HEAD + script)


def by_helper(script: str) -> str:
    """Run a script where only fusermount3 may mount."""
    return python_as_user(HEAD + script, may_mount=False)


@pytest.fixture(params=[by_mount, pytest.param(by_helper, marks=[as_root, with_helper])])
def either(request: pytest.FixtureRequest) -> Way:
    """Run a script in one of both ways."""
    return cast(Way, request.param)


WHOLE_LIFE = """
with served("ro,noexec,fsname=a b\\\\,c,subtype=x,max_read=8192") as made:
    [mount] = found()
    assert (mount.mountpoint, mount.source, mount.fstype) == (str(path), "a b,c", "fuse.x"), mount
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(mount.options.split(",")), mount
    assert "max_read=8192" in mount.super_options
    assert (path / "file").read_bytes() == b"hello\\n"
    assert made.connection == mount.connection == os.stat(path).st_dev
    with open(path / "file"):
        busy = refusal(lambda: mounting.unmount(path, timeout=0))
        assert busy.startswith(f"EBUSY Cannot unmount {path}: it is in use: python"), busy
        assert busy.count("has open") == 1
    mounting.unmount(path)
    assert found() == []
    print(made.via)
"""


def test_a_whole_life_by_mount() -> None:
    assert by_mount(WHOLE_LIFE) == "mount\n"


@as_root
@with_helper
def test_a_whole_life_by_the_helper() -> None:
    assert by_helper(WHOLE_LIFE) == "fusermount3\n"


def test_a_dead_mount_is_replaced_and_unmounted(either: Way) -> None:
    either("""
for _ in range(2):
    mounting.close_device(mounting.mount(path).fd)
    assert len(found()) == 1
with served():
    assert (path / "file").read_bytes() == b"hello\\n"
    mounting.unmount(path)
mounting.close_device(mounting.mount(path).fd)
mounting.unmount(path)
assert found() == []
""")


def test_a_mount_that_lives_is_not_replaced(either: Way) -> None:
    either("""
with served() as made:
    words = refusal(lambda: mounting.mount(path))
    assert words.startswith(f"EBUSY Cannot mount on {path}: there is a FUSE mount already (fusewire, "), words
    mounting.unmount(path)
""")


def test_a_mount_that_hangs_is_neither_replaced_nor_in_the_way(either: Way) -> None:
    either("""
with served(daemon=raw_daemon.RawDaemon(mute=True)):
    assert "there is a FUSE mount already" in refusal(lambda: mounting.mount(path))
    mounting.unmount(path)
    assert found() == []
""")


def test_lazy(either: Way) -> None:
    either("""
with served():
    with open(path / "file", "rb") as file:
        mounting.unmount(path, lazy=True)
        assert found() == []
        assert file.read() == b"hello\\n"
""")


def test_a_regular_file(either: Way) -> None:
    either("""
path = Path("file").absolute()
path.touch()
made = mounting.mount(path)
assert [mount.mountpoint for mount in found()] == [str(path)]
mounting.unmount(path)
mounting.close_device(made.fd)
""")


def test_auto_unmount(either: Way) -> None:
    either("""
daemon = subprocess.Popen([sys.executable, "-S", "-c", '''
import os, sys
from fusewire import mounting
from raw_daemon import RawDaemon
made = mounting.mount(sys.argv[1], mounting.MountOptions(auto_unmount=True))
print(made.guard.process.pid, flush=True)
if os.fork() == 0:
    os.read(0, 1)  # a child that outlives its parent
    os._exit(0)
RawDaemon().serve(made.fd)
''', path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
guard = os.pidfd_open(int(daemon.stdout.readline()))
assert (path / "file").read_bytes() == b"hello\\n"
daemon.kill()
assert select.select([guard], [], [], 10)[0]
assert found() == []
""")


@as_root
@with_helper
def test_force_needs_fusectl_without_root_and_says_so() -> None:
    by_helper("""
from fusewire.mounting import fusectl
fusectl.CONNECTIONS = "/nowhere"
with served():
    words = refusal(lambda: mounting.unmount(path, force=True))
    assert "ENOENT The FUSE connection" in words and "sudo mount -t fusectl none /nowhere" in words, words
    assert (path / "file").read_bytes() == b"hello\\n"
    mounting.unmount(path)
""")


@as_root
@with_helper
def test_force_ends_ones_own_mount() -> None:
    by_helper(
        """
with served(), open(path / "file", "rb"):
    mounting.unmount(path, force=True)
    assert found() == []
    with contextlib.suppress(OSError):
        os.statvfs(path)
""".replace(', open(path / "file", "rb")', "")
    )


# --- refused by the helper


def refused_by_helper(script: str) -> str:
    return by_helper(f"print(refusal(lambda: {script}))").strip()


@as_root
@with_helper
def test_allow_other_needs_a_line_in_fuse_conf() -> None:
    if "user_allow_other" in Path("/etc/fuse.conf").read_text().splitlines():
        pytest.skip("here it has that line")
    words = refused_by_helper("mounting.mount(path, MountOptions(allow_other=True))")
    assert words.startswith("EPERM Cannot mount on ")
    assert "allow_other needs a line 'user_allow_other' in /etc/fuse.conf, which is not there. Add it as root" in words


@as_root
@with_helper
def test_the_line_in_fuse_conf_is_what_counts(tmp_path: Path) -> None:
    """As far as we are concerned; fusermount3 reads its own."""
    by_helper("""
from fusewire.mounting import helper
Path("conf").write_text("# user_allow_other\\nmount_max = 5\\n")
helper.CONFIGURATION = "conf"
assert not helper.users_may_allow_other()
Path("conf").write_text("mount_max = 5\\n  user_allow_other\\n")
assert helper.users_may_allow_other()
words = refusal(lambda: mounting.mount(path, MountOptions(allow_other=True)))
assert "fusermount3 refuses: option allow_other only allowed if" in words, words
assert found() == []
""")


@as_root
@with_helper
def test_suid_is_for_root() -> None:
    words = refused_by_helper('mounting.mount(path, MountOptions.parse("suid"))')
    assert "EPERM Cannot mount on" in words
    assert "the options suid and dev are for root. Leave them away, or use sudo" in words


@as_root
@with_helper
def test_a_directory_of_somebody_else() -> None:
    words = refused_by_helper('mounting.mount("/usr")')
    assert words.startswith("EACCES Cannot mount on /usr: you may not write to it (mode 0755, owner root). Mount on a ")


@as_root
def test_without_the_helper() -> None:
    words = by_helper("""
from fusewire.mounting import helper
helper.HELPER = "fusermount3-is-not-here"
print(refusal(lambda: mounting.mount(path)))
""")
    assert words.startswith("EPERM Cannot mount on ")
    assert "is not installed. Install it (apt-get install fuse3), or run it with sudo" in words


@as_root
@with_helper
def test_what_the_helper_does_not_know_is_said_in_its_words() -> None:
    words = by_helper("""
try:
    made = mounting.mount(path, MountOptions.parse("nosymfollow"))
except MountError as error:
    print(error)
else:
    assert "nosymfollow" in found()[0].options  # a newer one knows it
    mounting.unmount(path)
    print("fusermount3 refuses: unknown option 'nosymfollow'")
""")
    assert "fusermount3 refuses: unknown option 'nosymfollow'" in words


@as_root
def test_a_device_that_one_may_not_open() -> None:
    script = HEAD + "print(refusal(lambda: mounting.mount(path)))"
    done = run_as_user(sys.executable, "-c", script, may_mount=False, device_mode=0o600)
    assert done.stdout.startswith("EACCES Cannot mount on "), done.stderr
    assert done.stdout.endswith(
        "/mnt: you may not open /dev/fuse (mode 0600, owner root). Run it with sudo, "
        "or let everybody: sudo chmod 0666 /dev/fuse\n"
    )


def test_a_directory_that_one_may_not_enter() -> None:
    words = by_mount("""
(path / "inside").mkdir()
path.chmod(0)
print(refusal(lambda: mounting.mount(path / "inside")))
""")
    assert words.startswith("EACCES ")
    assert "you may not enter a directory on the way to it" in words


@as_root
@with_helper
def test_the_mount_of_another_user_is_his() -> None:
    """Root's, here. Whether it lives an ordinary user cannot even ask."""
    script = (
        HEAD + "print(refusal(lambda: mounting.unmount(sys.argv[1])), refusal(lambda: mounting.mount(sys.argv[1])))"
    )
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, stat.S_IRWXU | stat.S_IXOTH)
        (path := Path(name).resolve() / "mnt").mkdir()
        made = mounting.mount(path)
        with raw_daemon.start(made.fd) as daemon:
            mounting.close_device(made.fd)
            done = run_as_user(sys.executable, "-c", script, str(path), may_mount=False)
            mounting.unmount(path)
            daemon.wait(10)
    assert f"EPERM Cannot unmount {path}: fusermount3 refuses: entry for {path} not found in " in done.stdout
    assert "It belongs to uid 0; you are uid 65534. Run it with sudo" in done.stdout, done.stderr
    assert f"EBUSY Cannot mount on {path}: there is a FUSE mount already (fusewire, type fuse.fusewire)" in done.stdout
