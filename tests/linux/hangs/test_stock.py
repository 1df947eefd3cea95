"""Daemons that everybody uses: stopped, killed, led back into themselves, crossed with each other, and well.

Each shows the directory `source` on a mountpoint, of which a part is then bound over that directory: what
the daemon does for a caller it does on its own mount. Where it is not installed, the test is skipped.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import hung_mounts
from fusewire.watch import Certainty, Diagnosis, Scenario, State, cure, diagnose
from hung_mounts import Hang, until
from kernel_mounts import mounts
from namespaces import MNT_DETACH, bind, umount

SFTP_SERVERS = ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server")
STRESS = pytest.mark.stress
LONG = 1.2  # seconds


def command_of(name: str, source: Path, scratch: Path) -> list[str]:
    """Return how to start a daemon in the foreground, but for the mountpoint."""
    program, _, option = name.partition(" ")
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed")
    options = [option] if option else []
    match program:
        case "mergerfs":
            return [program, "-f", "-o", "cache.attr=0,cache.entry=0", str(source)]
        case "unionfs":
            return [program, "-f", *options, f"{source}=RW"]
        case "fuse-overlayfs":
            for layer in ("lower", "work"):
                (scratch / layer).mkdir()
            return [program, "-f", "-o", f"lowerdir={scratch}/lower,upperdir={source},workdir={scratch}/work"]
        case "gocryptfs":
            return [program, "-fg", "-q", *key_of_gocryptfs(source, scratch), str(source)]
        case "rclone":
            return [program, "mount", "--config=/dev/null", "--dir-cache-time=1ms", f":local:{source}"]
        case "sshfs":
            return [program, "-f", *options, "-o", f"ssh_command={ssh_without_network(scratch)}", f"here:{source}"]
    return [program, "-f", *options, str(source)]


def key_of_gocryptfs(source: Path, scratch: Path) -> list[str]:
    """Make an encrypted directory, with names as they are; return the options that open it."""
    (scratch / "password").write_text("none\n")
    options = ["-passfile", str(scratch / "password")]
    command = ["gocryptfs", "-init", "-q", "-plaintextnames", "-scryptn", "10", *options, str(source)]
    subprocess.run(command, check=True)
    return options


def ssh_without_network(scratch: Path) -> Path:
    """Return a program that sshfs takes for ssh: it serves the files of this machine."""
    server = next((path for path in SFTP_SERVERS if Path(path).exists()), None)
    if server is None:
        pytest.skip("sftp-server is not installed (openssh-sftp-server)")
    script = scratch / "ssh"
    script.write_text(f"#!/bin/sh\necho $$ > {scratch}/pid\nexec {server}\n")
    script.chmod(0o755)
    return script


class Stock:
    """Mounts of stock daemons, and what is bound over their sources."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.hangs: list[Hang] = []
        self.bound: list[Path] = []

    def start(self, name: str, source: Path | None = None) -> Hang:
        """Mount a daemon that shows `source`, or a new directory with the files `sub/file` and `other/file`."""
        scratch = self.scratch / str(len(self.hangs))
        scratch.mkdir()
        directory = source or scratch / "source"
        directory.mkdir(exist_ok=True)
        hang = hung_mounts.start_program(scratch / "mnt", command_of(name, directory, scratch))
        self.hangs.append(hang)
        for part in ("sub", "other") if source is None else ():
            hung_mounts.until(lambda: hang.mountpoint.is_dir())
            (hang.mountpoint / part).mkdir()
            (hang.mountpoint / part / "file").write_text("text")
        return hang

    def lead_back(self, hang: Hang, to: Path, part: str = "sub") -> None:
        """Put a directory of a mount where the daemon has a part of what it shows."""
        place = self.scratch / str(self.hangs.index(hang)) / "source" / part
        bind(to, place)
        self.bound.append(place)

    def end(self) -> None:
        for hang in reversed(self.hangs):
            hang.end()
        for place in self.bound:
            while any(found.path == place for found in mounts()):
                umount(place, MNT_DETACH)


@pytest.fixture
def stock(tmp_path: Path) -> Iterator[Stock]:
    stock = Stock(tmp_path)
    yield stock
    stock.end()


def look_at(hang: Hang) -> Diagnosis:
    (found,) = diagnose(hang.connection, gap=0.05)
    return found


def found_out(hang: Hang) -> Diagnosis:
    """Return the verdict once a mount is called deadlocked, and that is more than suspected."""
    until(lambda: look_at(hang).state is State.DEADLOCKED and look_at(hang).certainty is not Certainty.SUSPECTED)
    return look_at(hang)


def is_cured_by_one_answer(hang: Hang) -> bool:
    """Cure a mount; tell whether that took no more than to answer a request, and left everybody alive."""
    said: list[str] = []
    after = cure(hang.connection, said.append)
    deeds = [sentence for sentence in said if not sentence.startswith(" ")]
    assert deeds == ["Answer the request that closes the circle with EDEADLK"], said
    probe = subprocess.run(["stat", hang.mountpoint], capture_output=True, timeout=10, check=False)
    return after is not None and not after.is_sick and hang.daemon.poll() is None and probe.returncode == 0


def each(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Run a test with each of these daemons; all but the first are `stress`."""
    first, *others = names
    return pytest.mark.parametrize("name", [first, *(pytest.param(name, marks=STRESS) for name in others)])


EVERYBODY = ("bindfs", "sshfs", "mergerfs", "unionfs", "fuse-overlayfs", "gocryptfs", "rclone")


@each(*EVERYBODY)
def test_one_that_is_stopped_goes_on(stock: Stock, name: str) -> None:
    hang = stock.start(name)
    hang.daemon.send_signal(signal.SIGSTOP)
    caller = hang.call("stat", hang.path("sub/nothing"))
    assert look_at(hang).state is State.STOPPED
    after = cure(hang.connection, lambda _: None)
    assert after is not None
    assert not after.is_sick
    assert caller.wait(10) == 1


@each(*EVERYBODY)
def test_what_one_leaves_that_was_killed_is_unmounted(stock: Stock, name: str) -> None:
    hang = stock.start(name)
    hang.daemon.kill()
    hang.daemon.wait()
    assert look_at(hang).state is State.DEAD
    assert cure(hang.connection, lambda _: None) is None


@each("bindfs", "sshfs", "bindfs --multithreaded", "sshfs -s", "mergerfs", "unionfs", "unionfs -s", "rclone")
def test_one_that_waits_for_a_lock_of_its_caller_lives(stock: Stock, name: str) -> None:
    hang = stock.start(name)
    stock.lead_back(hang, hang.mountpoint / "sub")
    caller = hang.call("rm", "-f", hang.path("sub/file"))
    assert found_out(hang).scenario is Scenario.SELF_ACCESS
    assert is_cured_by_one_answer(hang)
    assert caller.wait(10) == 1


@each("bindfs", "sshfs -s", "unionfs -s", "fuse-overlayfs")
def test_one_that_waits_for_its_own_answer_lives(stock: Stock, name: str) -> None:
    hang = stock.start(name)
    stock.lead_back(hang, hang.mountpoint / "other")
    hang.call("cat", hang.path("sub/nothing"))
    assert found_out(hang).scenario is Scenario.SELF_ACCESS
    assert is_cured_by_one_answer(hang)


@pytest.mark.stress
@pytest.mark.parametrize("name", ["bindfs", "mergerfs", "unionfs", "gocryptfs", "sshfs"])
def test_two_that_wait_for_each_other_live(stock: Stock, name: str) -> None:
    hang = stock.start(name)
    other = stock.start("bindfs", hang.mountpoint / "sub")
    stock.lead_back(hang, other.mountpoint)
    caller = hang.call("stat", hang.path("sub/nothing"))
    assert found_out(hang).scenario is Scenario.CROSS_MOUNT
    cure(hang.connection, lambda _: None)
    assert caller.wait(10) == 1
    assert [hang.daemon.poll(), other.daemon.poll()] == [None, None]


WORK = """
while :; do
    ls -l {0}/sub; cat {0}/sub/*; mkdir {0}/made; rmdir {0}/made; echo text > {0}/new$$; rm -f {0}/new$$
done
"""


@pytest.mark.limit(60)
@pytest.mark.stress
@pytest.mark.parametrize("name", EVERYBODY)
def test_one_that_is_busy_is_called_nothing_worse(stock: Stock, name: str) -> None:
    hang = stock.start(name)
    script = WORK.format(hang.mountpoint)
    for _ in range(3):
        command = ["sh", "-c", script]
        hang.callers.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    seen = Counter(look_at(hang).state for _ in range(60))
    assert seen.keys() <= {State.IDLE, State.BUSY, State.SLOW}, seen
    assert seen[State.BUSY] > 20


def test_one_whose_other_end_does_not_answer_is_slow(stock: Stock) -> None:
    hang = stock.start("sshfs")
    helper = int((hang.mountpoint.parent / "pid").read_text())
    os.kill(helper, signal.SIGSTOP)
    try:
        hang.call("stat", hang.path("other/nothing"))
        until(lambda: (look_at(hang).oldest or 0.0) > LONG)
        assert look_at(hang).state is State.SLOW
    finally:
        os.kill(helper, signal.SIGCONT)
