"""Mounting on Linux's own FUSE: got, shared, inherited and lost.

What is mounted is served by a process of its own (raw_daemon.py), with nothing of the daemon's
end of this project.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import select
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import raw_daemon
from fusewire import mounting
from fusewire.mounting import Mounted, MountError, MountInfo, MountOptions, corpses, covering, fusectl, read_table
from kernel_mounts import fuse_mounts, raw_mount
from namespaces import MNT_DETACH, bind, call, libc, mount, umount
from ordinary_user import MODULES
from raw_daemon import RawDaemon

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do this")


@contextlib.contextmanager
def mounted(path: Path, options: str = "", daemon: RawDaemon | None = None) -> Iterator[Mounted]:
    """Mount, and serve until the `with` is left; then nothing is mounted."""
    made = mounting.mount(path, MountOptions.parse(options))
    with serving(made, daemon), gone_afterwards(path):
        yield made


@contextlib.contextmanager
def serving(made: Mounted, daemon: RawDaemon | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Have a process serve what was mounted. It alone has the device, and is killed in the end."""
    process = raw_daemon.start(made.fd, daemon)
    mounting.close_device(made.fd)
    with process:
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def gone_afterwards(path: Path) -> Iterator[None]:
    try:
        yield
    finally:
        while is_mounted(path):
            umount(path, MNT_DETACH)


def dead(path: Path) -> None:
    """Leave a mount without a daemon."""
    mounting.close_device(mounting.mount(path).fd)


def entry(path: Path) -> MountInfo:
    """Return what the table of mounts says of the topmost mount on a path."""
    found = covering(read_table(), str(path))
    assert found is not None
    assert found.mountpoint == str(path)
    return found


def is_mounted(path: Path) -> bool:
    return any(entry.path == path for entry in fuse_mounts())


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> bool:
    """Wait for something that comes with a change of the table of mounts."""
    deadline = time.monotonic() + seconds
    with open("/proc/self/mountinfo") as table:
        changes = select.poll()
        changes.register(table, select.POLLPRI)
        while not condition() and time.monotonic() < deadline:
            changes.poll(max(0, deadline - time.monotonic()) * 1000)
    return condition()


def code_of(action: Callable[[], object]) -> int:
    """Return the errno with which an action fails."""
    try:
        action()
    except OSError as error:
        return error.errno or 0
    pytest.fail("it works")


def refusal(action: Callable[[], object], code: int) -> str:
    """Return the sentence with which an action is refused; its errno must be `code`."""
    with pytest.raises(MountError) as caught:
        action()
    assert caught.value.errno == code
    return str(caught.value)


def python(script: str, *arguments: str | Path) -> subprocess.Popen[bytes]:
    """Start a script that can import fusewire and raw_daemon; it is talked to through its pipes."""
    return subprocess.Popen(
        [sys.executable, "-S", "-c", script, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, MODULES))},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def line(process: subprocess.Popen[bytes]) -> str:
    """Wait for a line that a process writes."""
    assert process.stdout is not None
    return process.stdout.readline().decode().strip()


# --- got


def test_a_mount_is_made_and_served(mountpoint: Path) -> None:
    with mounted(mountpoint) as made:
        assert (mountpoint / "file").read_bytes() == b"hello\n"
        assert (made.mountpoint, made.connection) == (str(mountpoint), os.stat(mountpoint).st_dev)
        assert made.via == "mount"
        found = entry(mountpoint)
        assert (found.fstype, found.source, found.connection) == ("fuse.fusewire", "fusewire", made.connection)


def test_the_device_is_closed_at_exec(mountpoint: Path) -> None:
    made = mounting.mount(mountpoint)
    assert not os.get_inheritable(made.fd)
    assert mounting.connection_of_fd(made.fd) == made.connection
    mounting.close_device(made.fd)
    umount(mountpoint)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("", {"rw", "nosuid", "nodev"}),
        ("ro", {"ro", "nosuid", "nodev"}),
        ("noexec,noatime,nodiratime", {"noexec", "noatime", "nodiratime"}),
        ("nosymfollow", {"nosymfollow"}),
        ("sync,dirsync", {"sync", "dirsync"}),
        ("allow_other,default_permissions", {"allow_other", "default_permissions"}),
        ("max_read=8192", {"max_read=8192"}),
    ],
)
def test_the_kernel_gets_the_options(mountpoint: Path, given: str, shown: set[str]) -> None:
    with mounted(mountpoint, given):
        found = entry(mountpoint)
        assert shown <= {*found.options.split(","), *found.super_options.split(",")}


@as_root
def test_root_may_ask_for_suid_and_dev(mountpoint: Path) -> None:
    with mounted(mountpoint, "suid,dev"):
        assert not {"nosuid", "nodev"} & set(entry(mountpoint).options.split(","))


def test_names_with_blanks_and_commas_are_shown_as_they_are(mountpoint: Path) -> None:
    with mounted(mountpoint, "fsname=a b\\,c\\\\,subtype=x.y"):
        assert (entry(mountpoint).source, entry(mountpoint).fstype) == ("a b,c\\", "fuse.x.y")


def test_a_plain_subtype(mountpoint: Path) -> None:
    with mounted(mountpoint, "subtype="):
        assert entry(mountpoint).fstype == "fuse"


def test_a_regular_file_is_a_mountpoint_too(tmp_path: Path) -> None:
    path = tmp_path / "a file"
    path.write_bytes(b"below")
    with mounted(path, daemon=RawDaemon(root_type=stat.S_IFREG)):
        assert path.read_bytes() == b"hello\n"
    assert path.read_bytes() == b"below"


def test_symlinks_are_followed(mountpoint: Path) -> None:
    link = mountpoint.parent / "link"
    link.symlink_to(mountpoint)
    with mounted(link) as made:
        assert made.mountpoint == str(mountpoint)
        mounting.unmount(link)
        assert not is_mounted(mountpoint)


def test_a_relative_path(mountpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(mountpoint.parent)
    made = mounting.mount("mnt")
    assert made.mountpoint == str(mountpoint)
    mounting.unmount("mnt")
    mounting.close_device(made.fd)


def test_a_directory_that_is_not_empty(mountpoint: Path) -> None:
    (mountpoint / "below").touch()
    with mounted(mountpoint):
        assert os.listdir(mountpoint) == []
    assert os.listdir(mountpoint) == ["below"]


def test_a_mountpoint_inside_another_mount(mountpoint: Path) -> None:
    with mounted(mountpoint), mounted(mountpoint / "file", daemon=RawDaemon(b"inner", root_type=stat.S_IFREG)):
        assert (mountpoint / "file").read_bytes() == b"inner"


def test_a_thread_in_a_mount_namespace_of_its_own(mountpoint: Path) -> None:
    """Each thread is told of the mounts that it sees itself."""
    seen = []

    def mount_there() -> None:
        import namespaces

        namespaces.enter_private_mounts()
        made = mounting.mount(mountpoint)
        seen.append(entry(mountpoint).connection == made.connection and not is_mounted(mountpoint))
        mounting.unmount(mountpoint)
        mounting.close_device(made.fd)

    thread = threading.Thread(target=mount_there)
    thread.start()
    thread.join()
    assert seen == [True]  # is_mounted looks with the eyes of the main thread


# --- refused


def test_a_missing_mountpoint(tmp_path: Path) -> None:
    path = tmp_path / "missing"
    words = f"Cannot mount on {path}: there is no such directory. Make it first: mkdir -p {path}"
    assert refusal(lambda: mounting.mount(path), errno.ENOENT) == words


def test_a_command_that_is_proposed_can_be_pasted(tmp_path: Path) -> None:
    path = tmp_path / "two words"
    assert refusal(lambda: mounting.mount(path), errno.ENOENT).endswith(f"mkdir -p '{path}'")


def test_an_empty_path_is_not_the_current_directory(mountpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with mounted(mountpoint):
        monkeypatch.chdir(mountpoint)
        assert "the path is empty" in refusal(lambda: mounting.unmount(""), errno.ENOENT)
        assert "the path is empty" in refusal(lambda: mounting.mount(""), errno.ENOENT)
        monkeypatch.chdir("/")


def test_a_symlink_to_nothing(tmp_path: Path) -> None:
    path = tmp_path / "link"
    path.symlink_to("nowhere")
    assert "it is a symlink to nowhere, where nothing is" in refusal(lambda: mounting.mount(path), errno.ENOENT)


def test_a_mountpoint_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    words = refusal(lambda: mounting.mount(tmp_path / "file" / "x"), errno.ENOTDIR)
    assert "something on the way to it is no directory" in words


def test_neither_directory_nor_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    words = refusal(lambda: mounting.mount(tmp_path / "fifo"), errno.ENOTDIR)
    assert "it is neither a directory nor a regular file" in words


def test_a_mount_that_lives_is_named_and_stays(mountpoint: Path) -> None:
    made = mounting.mount(mountpoint, MountOptions(fsname="first", subtype="test"))
    with serving(made) as daemon, gone_afterwards(mountpoint):
        words = refusal(lambda: mounting.mount(mountpoint), errno.EBUSY)
        assert words.startswith(f"Cannot mount on {mountpoint}: there is a FUSE mount already (first, type fuse.test, ")
        assert f"(pid {daemon.pid})). Unmount it first: fusewire umount {mountpoint}" in words
        assert (mountpoint / "file").read_bytes() == b"hello\n"


def test_a_mount_that_hangs_is_not_taken_for_dead(mountpoint: Path) -> None:
    with mounted(mountpoint, daemon=RawDaemon(mute=True)):
        assert "there is a FUSE mount already" in refusal(lambda: mounting.mount(mountpoint), errno.EBUSY)
        mounting.unmount(mountpoint)


def test_one_that_hangs_is_asked_only_for_a_while(mountpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As is one whose daemon cannot be seen."""
    monkeypatch.setattr(corpses, "PATIENCE", 0.2)
    with mounted(mountpoint, daemon=RawDaemon(mute=True)) as made:
        assert not corpses.says_dead(entry(mountpoint))
        mounting.abort(made.connection)  # frees the process that asked
        assert corpses.says_dead(entry(mountpoint))


def test_a_mount_that_nobody_serves_yet_is_not_taken_for_dead(mountpoint: Path) -> None:
    made = mounting.mount(mountpoint)
    assert "there is a FUSE mount already" in refusal(lambda: mounting.mount(mountpoint), errno.EBUSY)
    mounting.unmount(mountpoint)
    mounting.close_device(made.fd)


def test_a_daemon_that_dies_this_moment_is_dead(mountpoint: Path) -> None:
    made = mounting.mount(mountpoint)
    with serving(made) as daemon, gone_afterwards(mountpoint):
        assert not mounting.is_dead(entry(mountpoint))
        daemon.send_signal(signal.SIGSTOP)  # it hangs, but may go on
        assert not mounting.is_dead(entry(mountpoint))
        daemon.kill()
        assert mounting.is_dead(entry(mountpoint))


WITHOUT = """
import sys
from pathlib import Path
from namespaces import enter_private_mounts, mount
from fusewire import mounting
enter_private_mounts()
mount("none", Path(sys.argv[2]), "tmpfs")
if sys.argv[3:]:
    Path(sys.argv[3]).touch()
try:
    mounting.mount(sys.argv[1])
except mounting.MountError as error:
    print(error.errno, error, flush=True)
"""


def test_no_device(mountpoint: Path) -> None:
    with python(WITHOUT, mountpoint, "/dev") as process:
        words = line(process)
    assert words.startswith(f"{errno.ENOENT} Cannot mount on {mountpoint}: there is no /dev/fuse. Load it with: sudo ")
    assert words.endswith("start the container with --device /dev/fuse --cap-add SYS_ADMIN")


def test_something_else_in_place_of_the_device(mountpoint: Path) -> None:
    with python(WITHOUT, mountpoint, "/dev", "/dev/fuse") as process:
        assert line(process) == f"{errno.EINVAL} Cannot mount on {mountpoint}: " + (
            "mount(2) says EINVAL. The kernel's log may say which option it refuses: sudo dmesg"
        )


def test_no_proc(mountpoint: Path) -> None:
    with python(WITHOUT, mountpoint, "/proc") as process:
        assert line(process).endswith("there is no /proc to look it up. Mount that first: mount -t proc proc /proc")


@as_root
def test_root_without_the_capability(mountpoint: Path) -> None:
    script = "import sys; from fusewire import mounting; mounting.mount(sys.argv[1])"
    done = subprocess.run(
        ["setpriv", "--bounding-set", "-sys_admin", sys.executable, "-S", "-c", script, mountpoint],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, MODULES))},
        capture_output=True,
        text=True,
        check=False,
    )
    words = done.stderr.splitlines()[-1]
    assert "this process may not mount, though it is root: it lacks CAP_SYS_ADMIN over its mount namespace" in words
    assert "If this is a container, start it with --device /dev/fuse --cap-add SYS_ADMIN" in words


# --- lost


def test_a_dead_mount_is_replaced(mountpoint: Path) -> None:
    dead(mountpoint)
    assert code_of(lambda: os.statvfs(mountpoint)) == errno.ENOTCONN
    with mounted(mountpoint):
        assert (mountpoint / "file").read_bytes() == b"hello\n"
        assert len([mount for mount in fuse_mounts() if mount.path == mountpoint]) == 1


def test_dead_mounts_on_top_of_each_other_are_all_replaced(mountpoint: Path) -> None:
    for _ in range(2):  # mount(2) does not mind
        os.close(raw_mount(mountpoint))
    assert len([mount for mount in fuse_mounts() if mount.path == mountpoint]) == 2
    with mounted(mountpoint):
        assert [mount.path for mount in fuse_mounts()].count(mountpoint) == 1


def test_a_dead_mount_that_still_answers_from_the_cache_is_replaced(mountpoint: Path) -> None:
    made = mounting.mount(mountpoint)
    with serving(made, RawDaemon(attr_timeout=3600)):
        os.stat(mountpoint)
    os.stat(mountpoint)  # no proof of life
    assert mounting.is_dead(entry(mountpoint))
    with mounted(mountpoint):
        assert (mountpoint / "file").read_bytes() == b"hello\n"


def test_a_mountpoint_inside_a_dead_mount(mountpoint: Path) -> None:
    dead(mountpoint)
    words = refusal(lambda: mounting.mount(mountpoint / "inside"), errno.ENOTCONN)
    assert f"daemon is dead. Unmount that first: fusewire umount {mountpoint}" in words
    mounting.unmount(mountpoint)
    assert not is_mounted(mountpoint)


@as_root
def test_root_replaces_the_dead_mount_of_a_user(mountpoint: Path) -> None:
    """Root may not even ask it, so it is asked in the user's name."""
    device = os.open("/dev/fuse", os.O_RDWR)
    mount("corpse", mountpoint, "fuse", options=f"fd={device},rootmode=40000,user_id=65534,group_id=65534")
    os.close(device)
    os.statvfs(mountpoint)  # says nothing, and no error
    with mounted(mountpoint):
        assert [(found.path, entry(found.path).user_id) for found in fuse_mounts()] == [(mountpoint, 0)]


def test_kill_9_ends_the_connection_at_once_and_the_mountpoint_can_be_used_again(mountpoint: Path) -> None:
    made = mounting.mount(mountpoint)
    with serving(made) as daemon:
        assert os.listdir(mountpoint) == []
        daemon.kill()
    started = time.monotonic()
    assert code_of(lambda: os.listdir(mountpoint)) == errno.ENOTCONN
    assert time.monotonic() - started < 1
    with mounted(mountpoint):
        assert (mountpoint / "file").read_bytes() == b"hello\n"


SERVE_AND_FORK = """
import os, subprocess, sys
from fusewire import mounting
from raw_daemon import RawDaemon
made = mounting.mount(sys.argv[1], mounting.MountOptions.parse(sys.argv[2]))
clone = mounting.clone_device(made.fd)
child = os.fork()
if child == 0:
    print(os.getpid(), sorted(os.listdir("/proc/self/fd")) == ["0", "1", "2", "3"], flush=True)
    os.read(0, 1)
    os._exit(0)
program = subprocess.Popen(["cat"], close_fds=False)
RawDaemon().serve(made.fd)
"""


def test_no_child_keeps_a_mount_alive(mountpoint: Path) -> None:
    with gone_afterwards(mountpoint), python(SERVE_AND_FORK, mountpoint, "") as daemon:
        child, has_nothing_else = line(daemon).split()
        assert has_nothing_else == "True"  # 3 is the directory that it listed
        assert os.listdir(mountpoint) == []
        daemon.kill()
        daemon.wait()
        os.kill(int(child), 0)  # it lives
        assert code_of(lambda: os.statvfs(mountpoint)) == errno.ENOTCONN


# --- shared


def test_a_clone_serves_the_same_connection(mountpoint: Path) -> None:
    made = mounting.mount(mountpoint)
    clone = mounting.clone_device(made.fd)
    assert not os.get_inheritable(clone)
    assert mounting.connection_of_fd(clone) == made.connection
    assert mounting.servers(made.connection) == [os.getpid()]
    mounting.close_device(clone)
    mounting.unmount(mountpoint)
    mounting.close_device(made.fd)


def test_what_serves_no_mount_cannot_be_cloned() -> None:
    device = os.open("/dev/fuse", os.O_RDWR)
    before = os.listdir("/proc/self/fd")
    assert code_of(lambda: mounting.clone_device(device)) == errno.EPERM
    assert os.listdir("/proc/self/fd") == before
    assert mounting.connection_of_fd(device) is None
    os.close(device)


# --- unmounted


def test_an_idle_mount_is_unmounted_and_the_daemon_ends(mountpoint: Path) -> None:
    made = mounting.mount(mountpoint)
    with serving(made) as daemon:
        assert os.listdir(mountpoint) == []
        mounting.unmount(mountpoint)
        assert not is_mounted(mountpoint)
        assert daemon.wait(10) == 0


def test_a_mount_that_hangs_is_unmounted(mountpoint: Path) -> None:
    with mounted(mountpoint, daemon=RawDaemon(mute=True)):
        mounting.unmount(mountpoint)
        assert not is_mounted(mountpoint)


def test_nothing_is_mounted(mountpoint: Path) -> None:
    words = f"Cannot unmount {mountpoint}: nothing is mounted there"
    assert refusal(lambda: mounting.unmount(mountpoint), errno.EINVAL) == words
    assert "No such file" in refusal(lambda: mounting.unmount(mountpoint / "x"), errno.ENOENT)


def test_a_path_in_a_mount_that_hangs_is_not_touched(mountpoint: Path) -> None:
    with mounted(mountpoint, daemon=RawDaemon(mute=True)):
        words = refusal(lambda: mounting.unmount(mountpoint / "file"), errno.EINVAL)
        assert words.endswith(f"nothing is mounted there; it is a path in the mount on {mountpoint}")


def test_what_is_not_fuse_is_left_alone(mountpoint: Path) -> None:
    mount("none", mountpoint, "tmpfs")
    for how in ({}, {"lazy": True}, {"force": True}):
        words = refusal(lambda how=how: mounting.unmount(mountpoint, **how), errno.EINVAL)  # type: ignore[misc]
        assert f"not FUSE but tmpfs. To unmount it nevertheless: umount {mountpoint}" in words
    umount(mountpoint)


def test_a_dead_mount_is_unmounted(mountpoint: Path) -> None:
    for how in ({}, {"lazy": True}, {"force": True}):
        dead(mountpoint)
        mounting.unmount(mountpoint, **how)
        assert not is_mounted(mountpoint)


def test_who_holds_a_mount_is_named(mountpoint: Path) -> None:
    with (
        mounted(mountpoint, daemon=RawDaemon(Path("/bin/sleep").read_bytes())),
        open(mountpoint / "file", "rb") as ours,
        subprocess.Popen(["cat"], cwd=mountpoint, stdin=subprocess.PIPE) as works,
        subprocess.Popen([mountpoint / "file", "60"]) as runs,
    ):
        words = refusal(lambda: mounting.unmount(mountpoint, timeout=0), errno.EBUSY)
        assert f"cat (pid {works.pid}) works in {mountpoint}" in words
        assert f"file (pid {runs.pid}) runs {mountpoint}/file" in words
        assert f"(pid {os.getpid()}) has open {mountpoint}/file" in words
        assert words.endswith(f"Wait for that, or take it out of the tree: fusewire umount --lazy {mountpoint}")
        assert {holder.pid for holder in mounting.holders(entry(mountpoint))} == {works.pid, runs.pid, os.getpid()}
        assert ours.read(4) == b"\x7fELF"
        runs.kill()


def test_a_map_holds_a_mount(mountpoint: Path) -> None:
    libc.mmap.restype = ctypes.c_void_p
    with mounted(mountpoint):
        with open(mountpoint / "file", "rb") as file:  # Python's own mmap would keep it open
            place = libc.mmap(None, ctypes.c_size_t(4096), mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), None)
        [holder] = mounting.holders(entry(mountpoint))
        assert str(holder).endswith(f"(pid {os.getpid()}) maps {mountpoint}/file")
        call("munmap", ctypes.c_void_p(place), ctypes.c_size_t(4096))
        mounting.unmount(mountpoint)


@as_root
def test_a_root_directory_holds_a_mount(mountpoint: Path) -> None:
    script = "import os, sys; os.chroot(sys.argv[1]); os.chdir('/'); print(flush=True); sys.stdin.read()"
    with mounted(mountpoint), python(script, mountpoint) as process:
        line(process)
        [holder] = mounting.holders(entry(mountpoint))
        assert (holder.pid, holder.path) == (process.pid, str(mountpoint))
        assert holder.hold is mounting.Hold.CWD  # each path is named once
        process.communicate()


def test_a_mount_on_a_mount_is_named(mountpoint: Path) -> None:
    (below := mountpoint.parent / "below").touch()
    with mounted(mountpoint):
        bind(below, mountpoint / "file")
        words = refusal(lambda: mounting.unmount(mountpoint, timeout=0), errno.EBUSY)
        assert f"it is in use: another mount lies on it: {mountpoint}/file. " in words
        umount(mountpoint / "file")
        mounting.unmount(mountpoint)


def test_a_process_in_another_mount_namespace_is_not_blamed(mountpoint: Path) -> None:
    """Its copy of the mount is another mount."""
    script = (
        "import os, sys; from pathlib import Path; from namespaces import enter_private_mounts; enter_private_mounts();"
        "os.chdir(sys.argv[1]); held = os.open('file', os.O_RDONLY); print(flush=True); sys.stdin.read()"
    )
    with mounted(mountpoint), python(script, mountpoint) as process:
        line(process)
        assert mounting.holders(entry(mountpoint)) == []
        mounting.unmount(mountpoint)
        process.communicate()


def test_unmount_waits_a_moment(mountpoint: Path) -> None:
    with mounted(mountpoint), subprocess.Popen(["cat"], cwd=mountpoint, stdin=subprocess.PIPE) as holder:
        assert holder.stdin is not None
        threading.Timer(0.2, holder.stdin.close).start()
        mounting.unmount(mountpoint, timeout=20)
        assert not is_mounted(mountpoint)


def test_a_lazy_one_is_served_until_the_last_file_is_closed(mountpoint: Path) -> None:
    made = mounting.mount(mountpoint)
    with serving(made) as daemon:
        with open(mountpoint / "file", "rb") as file:
            mounting.unmount(mountpoint, lazy=True)
            assert not is_mounted(mountpoint)
            assert file.read() == b"hello\n"
        assert daemon.wait(10) == 0


ASK = """
import os, sys
there = os.open(sys.argv[1], os.O_PATH)
print(flush=True)
try:
    os.fstatvfs(there)
except OSError as error:
    print(error.errno, flush=True)
"""


@pytest.mark.parametrize("with_fusectl", [True, False])
def test_force_frees_who_waits(
    mountpoint: Path, with_fusectl: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not with_fusectl:
        monkeypatch.setattr(fusectl, "CONNECTIONS", str(tmp_path))
    with mounted(mountpoint, daemon=RawDaemon(mute=True)), python(ASK, mountpoint) as process:
        line(process)
        mounting.unmount(mountpoint, force=True)
        assert not is_mounted(mountpoint)
        assert int(line(process)) in (errno.ECONNABORTED, errno.ENOTCONN)


def test_force_takes_the_mount_from_who_has_it_open(mountpoint: Path) -> None:
    with mounted(mountpoint):
        fd = os.open(mountpoint / "file", os.O_RDONLY)
        mounting.unmount(mountpoint, force=True)
        assert not is_mounted(mountpoint)
        assert code_of(lambda: os.read(fd, 1)) == errno.ENOTCONN
        assert code_of(lambda: os.close(fd)) == errno.ENOTCONN  # closed it is


# --- connections


def has_fusectl() -> bool:
    return os.path.ismount(fusectl.CONNECTIONS)


def test_requests_that_wait_are_counted_and_aborted(mountpoint: Path) -> None:
    made = mounting.mount(mountpoint)
    if not has_fusectl():
        mounting.unmount(mountpoint)
        mounting.close_device(made.fd)
        pytest.skip("fusectl is not mounted, and only root of the machine may mount it")
    assert mounting.waiting(made.connection) == 1  # INIT
    mounting.abort(made.connection)
    assert mounting.waiting(made.connection) == 0
    mounting.abort(made.connection)
    assert code_of(lambda: os.read(made.fd, 1 << 18)) == errno.ENODEV
    mounting.unmount(mountpoint)
    mounting.close_device(made.fd)
    nobodys = 1 << 20  # minors have 20 bits; that of a mount that is gone may be another's by now
    words = f"There is no FUSE connection {nobodys}"
    assert refusal(lambda: mounting.waiting(nobodys), errno.ENOTCONN) == words
    assert refusal(lambda: mounting.abort(nobodys), errno.ENOTCONN) == words


def test_without_fusectl_a_mount_that_is_out_of_reach_is_aborted(
    mountpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_fusectl():
        pytest.skip("only root of the machine can reach fusectl where it is not mounted")
    monkeypatch.setattr(fusectl, "CONNECTIONS", str(tmp_path))
    with mounted(mountpoint) as made:
        connection = made.connection
        fd = os.open(mountpoint / "file", os.O_RDONLY)
        mounting.unmount(mountpoint, lazy=True)
        assert mounting.waiting(connection) == 0
        mounting.abort(connection)
        assert code_of(lambda: os.read(fd, 1)) == errno.ENOTCONN
        assert code_of(lambda: os.close(fd)) == errno.ENOTCONN  # closed it is


def test_without_fusectl_a_connection_is_not_there_or_the_cure_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_reached, nobodys = has_fusectl(), 1 << 20
    monkeypatch.setattr(fusectl, "CONNECTIONS", str(tmp_path))
    for action in (mounting.waiting, mounting.abort):
        words = refusal(lambda action=action: action(nobodys), errno.ENOTCONN if is_reached else errno.ENOENT)  # type: ignore[misc]
        cure = f"fusectl is not mounted. Mount it with: sudo mount -t fusectl none {tmp_path}"
        assert (f"There is no FUSE connection {nobodys}" if is_reached else cure) in words


# --- auto_unmount

SERVE = """
import sys
from fusewire import mounting
from raw_daemon import RawDaemon
made = mounting.mount(sys.argv[1], mounting.MountOptions.parse(sys.argv[2]))
print(made.guard.process.pid if made.guard else 0, flush=True)
RawDaemon().serve(made.fd)
mounting.close_device(made.fd)
made.close()
print("end", flush=True)
"""


def test_auto_unmount_after_kill_9(mountpoint: Path) -> None:
    with python(SERVE, mountpoint, "auto_unmount") as daemon:
        guard = int(line(daemon))
        os.kill(guard, signal.SIGTERM)  # it is deaf to what means the daemon
        os.kill(guard, signal.SIGINT)
        assert os.listdir(mountpoint) == []
        daemon.kill()
    assert wait_until(lambda: not is_mounted(mountpoint))
    assert os.listdir(mountpoint) == []


def test_auto_unmount_in_spite_of_children(mountpoint: Path) -> None:
    with python(SERVE_AND_FORK, mountpoint, "auto_unmount") as daemon:
        child, has_nothing_else = line(daemon).split()
        assert has_nothing_else == "True"
        daemon.kill()
        daemon.wait()
        assert wait_until(lambda: not is_mounted(mountpoint))
        os.kill(int(child), 0)  # it lives


def test_a_guard_goes_home_when_the_mount_is_over(mountpoint: Path) -> None:
    with python(SERVE, mountpoint, "auto_unmount") as daemon:
        guard = os.pidfd_open(int(line(daemon)))
        mounting.unmount(mountpoint)
        assert line(daemon) == "end"
        daemon.wait()
    assert select.select([guard], [], [], 10)[0]
    os.close(guard)


def test_a_guard_leaves_a_mount_that_lives_alone(mountpoint: Path) -> None:
    """The one it was made for is over, and somebody else is there now."""
    first = mounting.mount(mountpoint, MountOptions(auto_unmount=True))
    mounting.unmount(mountpoint)
    mounting.close_device(first.fd)
    with mounted(mountpoint):
        first.close()
        first.close()
        assert (mountpoint / "file").read_bytes() == b"hello\n"


def test_without_its_guard_nothing_is_mounted(mountpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    words = refusal(lambda: mounting.mount(mountpoint, MountOptions(auto_unmount=True)), errno.ECHILD)
    assert "the process that auto_unmount needs cannot run (/bin/false -m fusewire.mounting.guardian)" in words
    assert not is_mounted(mountpoint)
