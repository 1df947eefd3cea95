"""The command on Linux's own FUSE: mounting in the foreground and background, unmounting, the demo."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from fusewire import File
from fusewire.cli import demo_steps
from fusewire.cli.demo import Demo
from fusewire.cli.demo_steps import EXAMPLE_STEPS, MEMORY_STEPS, Step, example
from fusewire.filesystems import Memory
from kernel_mounts import fuse_mounts
from ordinary_user import run_as_user
from served import FUSEWIRE, LIMIT, fusewire, is_mounted, run, served

MINE = """
import fusewire

class Broken(fusewire.File):
    def read(self, offset, size):
        return 1 // 0

class Slip(fusewire.Filesystem):
    def lookp(self, request, parent, name):
        pass

class FailsAtInit(fusewire.Filesystem):
    def init(self):
        return 1 // 0

root = {"broken": Broken(), "fine": b"fine"}
bad_name = {"a/b": b""}
bad_value = {"a": 3}
circle = {"a": {}}
circle["a"]["b"] = circle
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A Python file with filesystems, good ones and bad ones."""
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


# --- mounting


@pytest.mark.parametrize("how", [[], ["--asyncio"]], ids=" ".join)
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_serves_until_a_signal_comes(how: list[str], end: int, mountpoint: Path) -> None:
    with served(*FUSEWIRE, "mount", "memory:", mountpoint, *how, mountpoint=mountpoint, end=end):
        (mountpoint / "file").write_text("kept")
        assert (mountpoint / "file").read_text() == "kept"
    assert not is_mounted(mountpoint)


@pytest.mark.parametrize("how", [[], ["--asyncio"]], ids=["threads", "asyncio"])
@pytest.mark.parametrize("again", [False, True], ids=["one signal", "two signals"])
def test_a_busy_mount_is_detached_and_served_or_aborted(how: list[str], again: bool, mountpoint: Path) -> None:
    with served(*FUSEWIRE, "mount", "memory:", mountpoint, *how, mountpoint=mountpoint, end=None) as process:
        assert process.stderr is not None
        (mountpoint / "file").write_text("kept")
        descriptor = os.open(mountpoint / "file", os.O_RDWR)
        process.terminate()
        said = [process.stderr.readline() for _ in range(3)]
        assert f"(pid {os.getpid()}) has open {mountpoint}/file" in said[1], said
        assert "is detached, and served until its last file is closed; signal again to abort it" in said[2]
        assert not is_mounted(mountpoint)
        os.pwrite(descriptor, b"still", 0)
        if again:
            process.terminate()
            assert process.wait(LIMIT) == 0
        with pytest.raises(OSError, match="not connected") if again else nullcontext():
            os.pwrite(descriptor, b"gone", 0)
        os.close(descriptor)
        assert process.wait(LIMIT) == 0


def test_it_ends_when_somebody_unmounts(mountpoint: Path) -> None:
    with served(*FUSEWIRE, "mount", "memory:", mountpoint, mountpoint=mountpoint, end=None) as process:
        assert fusewire("umount", mountpoint).returncode == 0
        out, err = process.communicate(timeout=LIMIT)
        assert (process.returncode, out) == (0, "")
        assert err == (
            f"fusewire: memory: is mounted on {mountpoint}; Ctrl-C or 'fusewire umount {mountpoint}' unmounts.\n"
        )


def test_a_local_directory_is_served_from_a_relative_path(tmp_path: Path, mountpoint: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("there")
    with served(*FUSEWIRE, "mount", "source", "mnt", mountpoint=mountpoint, cwd=tmp_path):
        assert (mountpoint / "file").read_text() == "there"
        (mountpoint / "new").write_text("made here")
    assert (source / "new").read_text() == "made here"


def test_limits_of_memory_hold(mountpoint: Path) -> None:
    with served(*FUSEWIRE, "mount", "memory:?size=64K&inodes=3", mountpoint, mountpoint=mountpoint):
        fs = os.statvfs(mountpoint)
        assert (fs.f_blocks * fs.f_frsize, fs.f_files) == (65536, 3)
        with pytest.raises(OSError, match="No space left"):
            (mountpoint / "file").write_bytes(bytes(100_000))


def test_options_reach_the_mount(mountpoint: Path) -> None:
    options = ["-o", "ro,noexec", "-o", "fsname=mine,subtype=sub,_netdev"]
    with served(*FUSEWIRE, "mount", "memory:", mountpoint, *options, mountpoint=mountpoint):
        line = next(line for line in Path("/proc/mounts").read_text().splitlines() if str(mountpoint) in line)
        source, _, fstype, shown = line.split()[:4]
        assert (source, fstype) == ("mine", "fuse.sub")
        assert {"ro", "noexec", "nosuid", "nodev"} <= set(shown.split(","))
        with pytest.raises(OSError, match="Read-only"):
            (mountpoint / "file").touch()


def test_mount_tables_show_the_source(tmp_path: Path, mountpoint: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with served(*FUSEWIRE, "mount", ".", mountpoint, mountpoint=mountpoint, cwd=source):
        line = next(line for line in Path("/proc/mounts").read_text().splitlines() if str(mountpoint) in line)
        assert line.split()[0] == str(source)


# --- in the background


def test_background_returns_once_the_mount_answers(mountpoint: Path, tmp_path: Path) -> None:
    done = fusewire("mount", "-b", "memory:", "mnt", cwd=tmp_path)
    try:
        assert (done.returncode, done.stdout) == (0, "")
        assert is_mounted(mountpoint)
        (mountpoint / "file").write_text("kept")
        assert (mountpoint / "file").read_text() == "kept"
    finally:
        assert fusewire("umount", mountpoint).returncode == 0


def test_a_daemon_lets_go_of_where_it_was_started(mountpoint: Path) -> None:
    """Neither its terminal nor its directory; and whoever reads its output to the end is not kept waiting."""
    assert fusewire("mount", "-b", "memory:", mountpoint).returncode == 0
    try:
        daemon = daemon_of(mountpoint)
        assert os.readlink(f"/proc/{daemon}/cwd") == "/"
        assert [os.readlink(f"/proc/{daemon}/fd/{number}") for number in range(3)] == ["/dev/null"] * 3
        assert os.getsid(daemon) == daemon
    finally:
        assert fusewire("umount", mountpoint).returncode == 0


def daemon_of(mountpoint: Path) -> int:
    """The process that serves a mount."""
    (connection,) = (mount.minor for mount in fuse_mounts() if mount.path == mountpoint)
    infos = Path("/proc").glob("[0-9]*/fdinfo/*")
    return next(int(info.parts[2]) for info in infos if f"fuse_connection:\t{connection}\n" in text_of(info))


def text_of(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # of a process that has just ended
        return ""


def test_a_daemons_log_goes_to_a_file(mine: Path, mountpoint: Path) -> None:
    log = mine.parent / "log"
    assert fusewire("mount", "-b", "mine.py:root", "mnt", "--log", "log", "-v", cwd=mine.parent).returncode == 0
    try:
        with pytest.raises(OSError, match="Input/output error"):
            (mountpoint / "broken").read_bytes()
    finally:
        assert fusewire("umount", mountpoint).returncode == 0
    logged = log.read_text()
    assert "INIT" in logged
    assert re.search(r"LOOKUP parent=1 name='broken' for pid \d+, uid \d+: ok", logged)
    assert "ZeroDivisionError" in logged


@pytest.mark.parametrize(
    ("source", "where", "what_is_said"),
    [
        ("no/such", "mnt", "There is no source 'no/such'"),
        ("mine.py:none", "mnt", "'mine.py' has no 'none'"),
        ("memory:", "nowhere", "there is no such directory"),
    ],
)
@pytest.mark.parametrize("background", [[], ["-b"]], ids=["foreground", "background"])
def test_what_fails_before_the_mount_answers_is_said(
    source: str, where: str, what_is_said: str, background: list[str], mine: Path, mountpoint: Path
) -> None:
    done = fusewire("mount", *background, source, where, cwd=mine.parent)
    assert (done.returncode, done.stdout) == (1, "")
    assert what_is_said in done.stderr
    assert done.stderr.startswith("fusewire: ")
    assert len(done.stderr.splitlines()) == 1


def test_wrong_options_are_wrong_usage_in_the_background_too(mountpoint: Path) -> None:
    done = fusewire("mount", "-b", "memory:", mountpoint, "-o", "nonsense")
    assert (done.returncode, is_mounted(mountpoint)) == (2, False)


def test_an_unwritable_log_is_said_at_once(mountpoint: Path) -> None:
    done = fusewire("mount", "-b", "memory:", mountpoint, "--log", "/no/such/log")
    assert (done.returncode, done.stderr) == (1, "fusewire: /no/such/log: No such file or directory\n")


def test_a_log_on_a_full_disk_is_said_once(mountpoint: Path) -> None:
    command = [*FUSEWIRE, "mount", "-v", "memory:", str(mountpoint), "--log", "/dev/full"]
    with served(*command, mountpoint=mountpoint, end=None) as process:
        (mountpoint / "file").write_text("kept")
        assert fusewire("umount", mountpoint).returncode == 0
        _, err = process.communicate(timeout=LIMIT)
    assert err.count("/dev/full cannot be written: [Errno 28] No space left on device") == 1
    assert "Traceback" not in err


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-", "2>/dev/full"])
def test_it_needs_nobody_to_talk_to(closed: str, mountpoint: Path) -> None:
    command = shlex.join([*FUSEWIRE, "mount", "-b", "memory:", str(mountpoint)])
    assert subprocess.run(["bash", "-c", f"{command} {closed}"], check=False).returncode == 0
    try:
        (mountpoint / "file").write_text("kept")
    finally:
        assert fusewire("umount", mountpoint).returncode == 0


def test_ctrl_c_before_the_mount_answers_ends_the_daemon_too(tmp_path: Path, mountpoint: Path) -> None:
    (tmp_path / "slow.py").write_text("import sys, time\nprint('importing', flush=True)\ntime.sleep(60)\n")
    command = [*FUSEWIRE, "mount", "-b", "slow.py:root", str(mountpoint)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "importing\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT) == 128 + signal.SIGINT
        assert process.stdout.read() == ""  # the end of the pipe: the daemon has ended, too


# --- filesystems that are wrong


@pytest.mark.parametrize(
    ("name", "what_is_said"),
    [
        ("Slip", "did you mean 'lookup'?"),
        ("bad_name", "'a/b' cannot be the name of a file"),
        ("bad_value", "'a' is 3, which is no node"),
        ("circle", "is nested too deeply for Python, or a dict in it contains itself"),
    ],
)
def test_a_filesystem_with_a_mistake_is_refused(name: str, what_is_said: str, mine: Path, mountpoint: Path) -> None:
    done = fusewire("mount", f"{mine}:{name}", mountpoint)
    assert done.returncode == 1
    assert what_is_said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("how", [[], ["--asyncio"]], ids=["threads", "asyncio"])
def test_strict_ends_with_the_users_own_traceback(how: list[str], mine: Path, mountpoint: Path) -> None:
    command = [*FUSEWIRE, "mount", f"{mine}:root", str(mountpoint), "--strict", *how]
    with served(*command, mountpoint=mountpoint, end=None) as process:
        with pytest.raises(OSError, match=r"Input/output error|connection abort|not connected"):
            (mountpoint / "broken").read_bytes()
        _, err = process.communicate(timeout=LIMIT)
        assert process.returncode == 1
        shown = err[err.rindex("Traceback") :]
        assert re.findall(r'File "(.*)"', shown) == [str(mine)]
        assert shown.endswith("--strict has ended the mount.\n")
        process.returncode = 0  # as `served` wants it


@pytest.mark.parametrize("how", [[], ["--asyncio"], ["-b"]], ids=["threads", "asyncio", "background"])
def test_an_init_that_raises_is_shown_with_the_users_own_traceback(
    how: list[str], mine: Path, mountpoint: Path
) -> None:
    done = fusewire("mount", f"{mine}:FailsAtInit", mountpoint, *how)
    assert done.returncode == 1
    assert re.findall(r'File "(.*)"', done.stderr) == [str(mine)]
    assert done.stderr.endswith(f"fusewire: '{mine}:FailsAtInit' raised when it was mounted.\n")
    assert not is_mounted(mountpoint)


def test_a_source_in_a_dead_mount_is_named(tmp_path: Path, mountpoint: Path) -> None:
    process = subprocess.Popen([*FUSEWIRE, "mount", "memory:", mountpoint], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert "is mounted" in process.stderr.readline()
    process.kill()
    process.communicate()
    done = fusewire("mount", mountpoint, tmp_path)
    assert done.stderr == (
        f"fusewire: '{mountpoint}' is in a mount whose daemon is dead. Unmount it first: fusewire umount {mountpoint}\n"
    )
    assert fusewire("umount", mountpoint).returncode == 0


def test_a_directory_that_contains_its_own_mountpoint_is_refused(mountpoint: Path) -> None:
    for source in (mountpoint.parent, Path("/")):
        done = fusewire("mount", source, mountpoint)
        assert done.returncode == 1
        assert "contains the mountpoint" in done.stderr


def test_a_directory_is_mounted_on_itself(mountpoint: Path) -> None:
    (mountpoint / "file").write_text("below")
    with served(*FUSEWIRE, "mount", mountpoint, mountpoint, mountpoint=mountpoint):
        assert (mountpoint / "file").read_text() == "below"


def test_threads_are_for_those_who_promise_something(mine: Path, mountpoint: Path) -> None:
    with served(*FUSEWIRE, "mount", f"{mine}:root", mountpoint, "--threads", "4", mountpoint=mountpoint):
        assert (mountpoint / "fine").read_text() == "fine"
    done = fusewire("mount", "memory:", mountpoint, "--threads", "4")
    assert done.returncode == 2
    assert "Memory never waits" in done.stderr


# --- unmounting


def test_umount_names_who_holds_a_busy_mount(mountpoint: Path) -> None:
    with served(*FUSEWIRE, "mount", "memory:", mountpoint, mountpoint=mountpoint, end=None):
        (mountpoint / "file").touch()
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE, cwd=mountpoint) as holder:
            done = fusewire("umount", mountpoint)
            assert done.returncode == 1
            assert f"cat (pid {holder.pid})" in done.stderr
            assert is_mounted(mountpoint)
            assert holder.stdin is not None
            holder.stdin.close()
        assert fusewire("umount", mountpoint).returncode == 0


def test_lazily_unmounted_files_are_served_until_they_are_closed(mountpoint: Path) -> None:
    with served(*FUSEWIRE, "mount", "memory:", mountpoint, mountpoint=mountpoint, end=None) as process:
        with (mountpoint / "file").open("w+b", buffering=0) as file:
            file.write(b"before")
            assert fusewire("umount", "--lazy", mountpoint).returncode == 0
            assert not is_mounted(mountpoint)
            file.write(b" and after")
            assert os.pread(file.fileno(), 100, 0) == b"before and after"
            assert process.poll() is None
        assert process.wait(LIMIT) == 0


def test_forcibly_unmounted_files_are_dead(mountpoint: Path) -> None:
    with served(*FUSEWIRE, "mount", "memory:", mountpoint, mountpoint=mountpoint, end=None) as process:
        descriptor = os.open(mountpoint / "file", os.O_RDWR | os.O_CREAT)
        try:
            assert fusewire("umount", "--force", mountpoint).returncode == 0
            with pytest.raises(OSError, match=r"not connected|connection abort"):
                os.pwrite(descriptor, b"x", 0)
        finally:
            try:
                os.close(descriptor)
            except OSError:  # its FLUSH fails, too
                pass
        assert process.wait(LIMIT) == 0


def test_a_corpse_is_unmounted_and_mounted_over(mountpoint: Path) -> None:
    for again in (False, True):
        process = subprocess.Popen([*FUSEWIRE, "mount", "memory:", mountpoint], stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        assert "is mounted" in process.stderr.readline()  # the second time over the corpse of the first
        process.kill()
        process.communicate()
        with pytest.raises(OSError, match="not connected"):
            os.listdir(mountpoint)
        assert again or is_mounted(mountpoint)
    assert fusewire("umount", mountpoint).returncode == 0
    assert not is_mounted(mountpoint)


def test_of_several_mounts_those_are_unmounted_that_can_be(mountpoint: Path) -> None:
    with served(*FUSEWIRE, "mount", "memory:", mountpoint, mountpoint=mountpoint, end=None):
        done = fusewire("umount", "nowhere", mountpoint, "elsewhere", cwd=mountpoint.parent)
        assert done.returncode == 1
        assert [line.split(":")[1] for line in done.stderr.splitlines()] == [
            f" Cannot unmount {mountpoint.parent}/{name}" for name in ("nowhere", "elsewhere")
        ]
        assert not is_mounted(mountpoint)


@pytest.mark.parametrize("where", ["mnt", "nowhere"])
def test_what_is_not_mounted_cannot_be_unmounted(where: str, mountpoint: Path) -> None:
    done = fusewire("umount", where, cwd=mountpoint.parent)
    assert done.returncode == 1
    assert done.stderr.startswith("fusewire: Cannot unmount ")
    assert len(done.stderr.splitlines()) == 1


def test_mount8_finds_it_in_fstab(tmp_path: Path, mountpoint: Path) -> None:
    """mount(8) calls /sbin/mount.TYPE with source, directory and -o; we are told by the name that we bear."""
    helper = tmp_path / "mount.fusewire"
    helper.write_text(f"#!{sys.executable}\nimport sys\nfrom fusewire.cli import main\nsys.exit(main())\n")
    helper.chmod(0o755)
    done = run(helper, "memory:", mountpoint, "-o", "rw,noatime,_netdev,x-systemd.automount")
    assert done.returncode == 0, done.stderr
    try:
        assert is_mounted(mountpoint)
    finally:
        assert fusewire("umount", mountpoint).returncode == 0


# --- the demo


def test_the_first_act_of_the_demo_is_short_fast_and_right() -> None:
    done = fusewire("demo", "--act", "1")
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert len(lines) <= 20
    assert max(map(len, lines)) <= 80
    steps = 2 * 2 + len(EXAMPLE_STEPS) + len(MEMORY_STEPS)
    marks = [line.split()[0] for line in lines if line.startswith("  ") and line.split()[0] in ("✓", "-", "✗")]
    assert len(marks) == steps
    assert "✗" not in marks
    summed = re.fullmatch(r"(\d+) of (\d+) steps right.*: ([\d,]+) requests in ([\d.]+) s\.", lines[-1])
    assert summed is not None
    assert (int(summed[1]) + marks.count("-"), int(summed[2])) == (steps, steps)
    assert float(summed[4]) < 10


def test_the_second_act_draws_one_rm_and_the_deadlock_from_what_happens() -> None:
    done = fusewire("demo", "--act", "2")
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert max(map(len, lines)) <= 80
    drawn = lines[lines.index(next(line for line in lines if line.startswith("One rm"))) : -2]
    assert len(drawn) <= 40
    (performed,) = [line for line in drawn if "[perform unlink]" in line]
    called, woken = (next(line for line in drawn if step in line) for step in (">sys_unlink()", "[wake up req->waitq]"))
    assert float(called.split()[0]) < float(performed.split()[0]) < float(woken.split()[0])
    assert "*DEADLOCK*" in done.stdout
    assert "<sys_unlink() -ECONNABORTED" in done.stdout
    assert lines[-1].startswith("2 of 2 steps right")


def test_the_third_act_heals_a_mount_that_hangs() -> None:
    done = fusewire("demo", "--act", "3")
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert max(map(len, lines)) <= 80
    assert len([line for line in lines[1:] if line]) <= 12
    assert "DEADLOCKED, certain" in done.stdout
    assert "with EDEADLK" in done.stdout
    assert "daemon waits for requests" in done.stdout
    assert "ls /mnt/fuse prints file." in done.stdout


def test_all_acts_together_are_as_long_as_each(tmp_path: Path) -> None:
    done = run("env", f"TMPDIR={tmp_path}", *FUSEWIRE, "demo")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) <= 20 + 40 + 12 + 2  # and empty lines between
    assert done.stdout.count("of 12 steps right") == 1


def test_the_demo_leaves_nothing(tmp_path: Path) -> None:
    done = run("env", f"TMPDIR={tmp_path}", *FUSEWIRE, "demo")
    assert done.returncode == 0
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_demo_that_is_ended_leaves_nothing_either(end: int, tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen([*FUSEWIRE, "demo"], stdout=subprocess.PIPE, text=True, env=environment)
    with process:
        assert process.stdout is not None
        while "memory:" not in process.stdout.readline():
            pass
        process.send_signal(end)
        process.communicate(timeout=LIMIT)
    assert process.returncode == 128 + end
    assert os.listdir(tmp_path) == []
    assert not [mount for mount in fuse_mounts() if mount.path.is_relative_to(tmp_path)]


class Liar(File):
    """A file of the right length, with the wrong bytes."""

    size = len(demo_steps.HELLO)

    def read(self, offset: int, size: int) -> bytes:
        return b"?" * self.size


def test_the_demo_fails_on_wrong_bytes(mountpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mountpoint.rmdir()
    demo = Demo(verbose=False)
    demo.act("Lies", {**example(), "hello.txt": Liar()}, mountpoint, EXAMPLE_STEPS)
    assert demo.sum_up() == 1
    printed = capsys.readouterr()
    assert "✗ read files that it computes" in printed.out
    assert "3 of 4 steps right" in printed.out
    assert "'read files that it computes' went wrong: hello.txt: " in printed.err


@pytest.mark.parametrize("step", MEMORY_STEPS, ids=lambda step: step.title)
def test_no_step_of_the_demo_believes_an_empty_filesystem(step: Step, mountpoint: Path) -> None:
    """Where nothing can be made, nothing is right; only there is nothing to delete."""
    mountpoint.rmdir()
    demo = Demo(verbose=False)
    demo.act("Empty", {}, mountpoint, [step])
    assert [row.outcome for row in demo.rows] == ["right", "wrong", "right"]


def test_a_step_that_cannot_be_done_is_skipped(
    mountpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(mountpoint.parent))
    mountpoint.rmdir()
    demo = Demo(verbose=False)
    demo.act("Memory", Memory(), mountpoint, [step for step in MEMORY_STEPS if "git" in step.title])
    assert demo.sum_up() == 0
    assert "there is no git here" in capsys.readouterr().out


def test_the_demo_as_an_ordinary_user() -> None:
    done = run_as_user(*FUSEWIRE, "demo")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give the device another mode")
def test_without_the_device_the_demo_says_why_and_runs_on_an_embedded_kernel() -> None:
    done = run_as_user(*FUSEWIRE, "demo", device_mode=0o600)
    assert done.returncode == 0, done.stdout + done.stderr
    first, *rest = done.stdout.splitlines()
    assert first.startswith("fusewire on an embedded kernel, ")
    assert "you may not open /dev/fuse (mode 0600" in " ".join(rest)
    assert "steps right, 1 skipped" in done.stdout.splitlines()[-1]
    assert done.stderr == ""
