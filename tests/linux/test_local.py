"""A local directory on Linux's own FUSE: programs must find what they find in the source itself.

Where the two can be compared, the source is the judge. What single system calls do is tested in
tests/both_kernels. Whatever holds the GIL while it waits for the mount, and whoever is another user,
is a program of its own.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

import fusewire
from fusewire.filesystems import LocalDirectory
from namespaces import MNT_DETACH, bind, mount, umount
from ordinary_user import python_as_user

CHECKOUT = Path(__file__).resolve().parent.parent.parent
THREADS = Path("/proc/self/task")
PROBE = CHECKOUT / "tests/permission_probe.py"
SUITE = CHECKOUT / "torture/posix.py"

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount, or be others")
both_ways = pytest.mark.parametrize("handles", [None, False], ids=["handles", "names"])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.mkdir()
    path.chmod(0o755)
    return path


@pytest.fixture
def place(mountpoint: Path) -> Path:
    return mountpoint


@contextmanager
def mounted(source: Path, place: Path, handles: bool | None = None) -> Iterator[LocalDirectory]:
    """Serve `source` on `place`, for all users if that is allowed."""
    local = LocalDirectory(source, handles)
    with fusewire.mount(local, str(place), allow_other=os.geteuid() == 0, strict=True):
        yield local


@contextmanager
def foreign(kind: str, place: Path, options: str = "") -> Iterator[Path]:
    """Mount a filesystem of Linux's own."""
    place.mkdir(exist_ok=True)
    try:
        mount("none", place, kind, options=options)
    except OSError as error:
        pytest.skip(f"no {kind} here: {error.strerror}")
    try:
        yield place
    finally:
        umount(place, MNT_DETACH)


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def as_user(uid: int, script: str, directory: Path, groups: tuple[int, ...] = ()) -> str:
    """Run Python as a user in a directory (to which pytest bars his way); return what it prints."""
    prelude = f"import os, sys; os.chdir(sys.argv[1]); os.setgroups({groups!r})"
    become = f"os.setresgid({uid}, {uid}, {uid}); os.setresuid({uid}, {uid}, {uid})"
    return run(sys.executable, "-c", f"{prelude}; {become}\n{script}", directory)


# --- as the source itself


@root_only
@pytest.mark.limit(60)
@pytest.mark.parametrize(
    "group",
    ["permissions", "rename", "sticky", "setgid", "suid", "utimensat", "holes", "xattr", "unlink", "names", "callers"],
)
def test_the_conformance_suite(source: Path, place: Path, group: str) -> None:
    """Some of its groups; `python torture/posix.py DIR` runs all."""
    natively = place.parent / "natively"
    natively.mkdir()
    with mounted(source, place):
        suite = [
            subprocess.run(
                [sys.executable, SUITE, "--only", group, where], capture_output=True, text=True, timeout=50, check=False
            )
            for where in (natively, place)
        ]
    failures = [[line for line in done.stdout.splitlines() if line.startswith("not ok")] for done in suite]
    assert failures[1] == failures[0]
    assert suite[1].returncode == suite[0].returncode, suite[1].stdout + suite[1].stderr


@root_only
@both_ways
def test_acls_and_set_user_id_are_the_sources(source: Path, place: Path, handles: bool | None) -> None:
    natively = place.parent / "natively"
    natively.mkdir()
    natively.chmod(0o755)
    try:
        os.setxattr(natively, "user.x", b"")
    except OSError as error:
        pytest.skip(f"the temporary directory has no xattrs: {error.strerror}")
    with mounted(source, place, handles):
        assert run(sys.executable, PROBE, place) == run(sys.executable, PROBE, natively)


def test_sparse_files_stay_sparse(source: Path, place: Path) -> None:
    with mounted(source, place):
        with open(place / "sparse", "wb") as file:
            file.seek((4 << 30) - 1)
            file.write(b"x")
        run("cp", "--sparse=auto", place / "sparse", place / "copy")
        assert os.stat(source / "copy").st_size == 4 << 30
        assert os.stat(place / "copy").st_blocks < 1000


# --- limits


@both_ways
def test_a_tree_of_many_files_under_a_low_limit(source: Path, place: Path, handles: bool | None) -> None:
    program = """
import resource, sys, fusewire
from fusewire.filesystems import LocalDirectory
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
handles = None if sys.argv[3] == "None" else False
fusewire.run(LocalDirectory(sys.argv[1], handles), sys.argv[2], ready=lambda mount: print("ready", flush=True))
"""
    for directory in range(20):
        (source / f"d{directory}").mkdir()
        for file in range(100):
            (source / f"d{directory}/{file}").write_bytes(b"%d" % file)
    command = [sys.executable, "-c", program, str(source), str(place), str(handles)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == "ready\n"
        counted = 0
        for path in place.glob("*/*"):
            assert path.read_text() == path.name
            counted += 1
        assert counted == 2000
        daemon.terminate()
        assert daemon.communicate(timeout=20) == ("", "")


@root_only
def test_a_full_source_says_so_and_the_daemon_lives(tmp_path: Path, place: Path) -> None:
    with foreign("tmpfs", tmp_path / "small", "size=1m") as small, mounted(small, place):
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            (place / "big").write_bytes(bytes(1 << 21))
        assert os.stat(place / "big").st_size == os.stat(small / "big").st_size <= 1 << 20
        (place / "big").unlink()
        (place / "fits").write_bytes(bytes(1 << 19))
        assert os.statvfs(place).f_bavail == os.statvfs(small).f_bavail


def test_errors_of_the_source_reach_the_caller(tmp_path: Path, place: Path) -> None:
    class Broken(fusewire.File):
        size = 100

        def read(self, offset: int, size: int) -> bytes:
            raise OSError(errno.EIO, "broken")

    below = tmp_path / "below"
    below.mkdir()
    with fusewire.mount({"bad": Broken(), "good": b"good"}, str(below), "ro"), mounted(below, place):
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            (place / "bad").read_bytes()
        with pytest.raises(OSError, match=os.strerror(errno.EROFS)):
            (place / "new").write_bytes(b"x")
        assert (place / "good").read_bytes() == b"good"


# --- callers


@root_only
def test_many_callers_at_once_each_make_their_own(source: Path, place: Path) -> None:
    source.chmod(0o777)
    script = """
for number in range(40):
    name = f"{os.getuid()}-{number}"
    os.mkdir(name)
    open(name + "/file", "x").close()
    os.symlink("x", name + "/link")
    os.chmod(name, 0o2750)
"""
    users = range(30001, 30007)
    with mounted(source, place), ThreadPoolExecutor(len(users)) as pool:
        list(pool.map(lambda uid: as_user(uid, script, place, groups=(uid + 1000,)), users))
        assert len(os.listdir(source)) == 40 * len(users)
        for path in source.rglob("*"):
            found, uid = path.lstat(), int(path.relative_to(source).parts[0].split("-")[0])
            assert (found.st_uid, found.st_gid) == (uid, uid), path
        identities = {task.read_text().split("Uid:")[1].split("\n")[0] for task in THREADS.glob("*/status")}
        assert identities == {"\t0\t0\t0\t0"}  # every thread is root again


@root_only
def test_a_caller_gets_no_more_than_in_the_source(source: Path, place: Path) -> None:
    (source / "private").write_bytes(b"secret")
    (source / "private").chmod(0o600)
    (source / "sticky").mkdir()
    (source / "sticky").chmod(0o1777)
    (source / "sticky/roots").write_bytes(b"")
    script = """
for act in (
    lambda: open("private").read(),
    lambda: os.chmod("private", 0o666),
    lambda: os.chown("private", os.getuid(), -1),
    lambda: os.unlink("sticky/roots"),
    lambda: os.rename("sticky/roots", "sticky/mine"),
    lambda: os.mkdir("mine"),
    lambda: os.utime("private"),
    lambda: os.truncate("private", 0),
    lambda: os.setxattr("private", "user.x", b"x"),
    lambda: os.link("private", "sticky/private"),
    lambda: os.mknod("sticky/null", 0o20666, os.makedev(1, 3)),
):
    try:
        print(act())
    except OSError as error:
        print(error.errno)
"""
    with mounted(source, place):
        told, truth = (as_user(30001, script, where) for where in (place, source))
    assert told == truth
    assert "None" not in told


def test_a_directory_that_may_be_read_but_not_searched_lists_its_names() -> None:
    script = """
import os
from pathlib import Path
from fusewire.filesystems import LocalDirectory
from local_callers import ROOT, asked
Path("source").mkdir()
Path("source/a").touch()
local = LocalDirectory("source")
fh = local.opendir(asked(), ROOT, 0).fh
os.chmod("source", 0o400)
print([(dirent.name, dirent.entry) for dirent in local.readdirplus(asked(), ROOT, fh, 2)])
"""
    assert python_as_user(script, may_mount=False) == "[('a', None)]\n"


# --- sources of many kinds


@root_only
@both_ways
def test_overlayfs_gives_a_file_a_new_birth_but_no_new_node(tmp_path: Path, place: Path, handles: bool | None) -> None:
    with foreign("tmpfs", tmp_path / "layers") as layers:
        for name in ("lower", "upper", "work"):
            (layers / name).mkdir()
        (layers / "lower/a").write_bytes(b"below")
        options = f"lowerdir={layers}/lower,upperdir={layers}/upper,workdir={layers}/work"
        with foreign("overlay", tmp_path / "overlay", options) as overlay, mounted(overlay, place, handles) as local:
            before = os.stat(place / "a").st_ino
            with open(place / "a", "r+b") as file:
                file.write(b"above")
                local._inodes.recent.shrink()
                assert os.fstat(file.fileno()).st_ino == before
            local._inodes.recent.shrink()
            assert (place / "a").read_bytes() == b"above"
            assert (layers / "lower/a").read_bytes() == b"below"
            assert len(local._inodes) == 2


@root_only
def test_a_source_without_acls_lets_in_by_mode(tmp_path: Path, place: Path) -> None:
    with foreign("ramfs", tmp_path / "plain") as plain, mounted(plain, place):
        plain.chmod(0o755)
        (place / "team").write_bytes(b"for us")
        os.chown(place / "team", 0, 30009)
        (place / "team").chmod(0o640)
        script = "print(open('team').read())"
        assert as_user(30001, script, place, groups=(30009,)) == "for us\n"
        with pytest.raises(AssertionError, match="PermissionError"):
            as_user(30001, script, place)
        with pytest.raises(OSError, match=os.strerror(errno.EOPNOTSUPP)):
            os.setxattr(place / "team", "user.x", b"x")


@root_only
@both_ways
def test_what_is_mounted_below_the_source_is_part_of_it(source: Path, place: Path, handles: bool | None) -> None:
    (source / "d").mkdir()
    (source / "d/file").write_bytes(b"original")
    (source / "bound").mkdir()
    with foreign("tmpfs", source / "below") as below, mounted(source, place, handles) as local:
        (below / "file").write_bytes(b"elsewhere")
        bind(source / "d", source / "bound")
        try:
            assert (place / "below/file").read_bytes() == b"elsewhere"
            (place / "below/new").write_bytes(b"new")
            local._inodes.recent.shrink()
            assert (below / "new").read_bytes() == (place / "below/new").read_bytes() == b"new"
            assert os.stat(place / "bound/file").st_ino == os.stat(place / "d/file").st_ino
            assert (place / "bound/file").read_bytes() == b"original"
            with pytest.raises(OSError, match=os.strerror(errno.EXDEV)):
                os.rename(place / "below/new", place / "new")
        finally:
            umount(source / "bound", MNT_DETACH)


def test_a_mount_below_its_own_source_is_listed_and_not_entered(source: Path) -> None:
    (source / "here").mkdir()
    (source / "file").write_bytes(b"x")
    with mounted(source, source / "here"):
        assert sorted(os.listdir(source / "here")) == ["file", "here"]
        assert (source / "here/file").read_bytes() == b"x"
        with pytest.raises(OSError, match=os.strerror(errno.EDEADLK)):
            os.stat(source / "here/here")
        assert {entry.name: entry.is_dir() for entry in os.scandir(source / "here")} == {"file": False, "here": True}


def test_a_mount_over_its_own_source(source: Path) -> None:
    (source / "file").write_bytes(b"x")
    with mounted(source, source):
        assert (source / "file").read_bytes() == b"x"
        (source / "new").write_bytes(b"new")
    assert (source / "new").read_bytes() == b"new"
