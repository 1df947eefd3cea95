#!/usr/bin/env python3
"""Put heavy loads on fusewire's own filesystems: python torture/run.py [--quick]

`memory:` and a local directory are mounted in a private mount namespace, and each load of the
table runs on each of them, in a child process and for a limited time. When that passes, the
connections are aborted, the load's processes are ended, and it counts as failed. One line for
each: name, filesystem, verdict, seconds. The exit code is 1 if anything failed.

`--fs native` runs the loads on an ordinary directory: what fails there is not our fault.
`--fs nohandle` is the local directory without CAP_DAC_READ_SEARCH, when it cannot use file
handles and must do with a bounded set of descriptors.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # also when run as a file

from torture.loads import conformance, crash, databases, files, programs
from torture.loads.place import Failed, Place, Skipped
from torture.mounts import Mount, MountError, abort_below, answers, enter_private_namespace, unmount, wait_for_exit

SERVE = (sys.executable, "-m", "fusewire", "mount")
OPTIONS = ("-o", "allow_other,suid,dev")
WITHOUT_HANDLES = ("setpriv", "--bounding-set", "-dac_read_search")  # a local directory must do without file handles
COMMANDS = {
    "memory": (*SERVE, "memory:", "MOUNTPOINT", *OPTIONS),
    "local": (*SERVE, "SOURCE", "MOUNTPOINT", *OPTIONS),
    "nohandle": (*WITHOUT_HANDLES, *SERVE, "SOURCE", "MOUNTPOINT", *OPTIONS),
    "native": (),
}


@dataclass(frozen=True)
class Load:
    """One line of the table. `limit` is in seconds, for the full run; `filesystems` where it makes sense."""

    name: str
    function: Callable[[Place], str]
    limit: float = 120
    full_only: bool = False
    filesystems: tuple[str, ...] = ("memory", "local", "nohandle", "native")


LOADS = (
    Load("posix", conformance.posix),
    Load("fsx", files.fsx),
    Load("names", files.names),
    Load("sparse", files.sparse),
    Load("fio", programs.fio),
    Load("stress-ng", programs.stress_ng),
    Load("dbench", programs.dbench),
    Load("git", programs.git),
    Load("build", programs.build),
    Load("tar", programs.tar),
    Load("rsync", programs.rsync),
    Load("sqlite", databases.sqlite),
    Load("postgresql", databases.postgresql),
    Load("kill -9", crash.killed, filesystems=("memory", "local", "nohandle")),
    Load("200000 files", files.many, full_only=True, filesystems=("local", "nohandle")),
)


@dataclass(frozen=True)
class Verdict:
    """How a load ended: "ok", "FAIL" or "skipped", and what there is to say."""

    word: str
    text: str = ""


def judge(load: Load, place: Place) -> Verdict:
    """Run a load here and now."""
    try:
        return Verdict("ok", load.function(place))
    except Skipped as reason:
        return Verdict("skipped", str(reason))
    except (Failed, MountError) as reason:
        return Verdict("FAIL", str(reason))
    except Exception:  # the load met an error that no right filesystem gives
        return Verdict("FAIL", traceback.format_exc(limit=-3))


def run(load: Load, place: Place, limit: float, home: Path) -> Verdict:
    """Run a load in a child process, in a session of its own, for at most `limit` seconds."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.close(reading)
        verdict = judge(load, place)
        os.write(writing, json.dumps([verdict.word, verdict.text[:20_000]]).encode())
        os._exit(0)
    os.close(writing)
    try:
        if not select.select([reading], [], [], limit)[0]:
            return Verdict("FAIL", f"not done after {limit:.0f} s; the connection was aborted")
        answer = os.read(reading, 1 << 16)
        return Verdict(*json.loads(answer)) if answer else Verdict("FAIL", "its process was killed")
    finally:
        os.close(reading)
        end(pid, home)


def end(pid: int, home: Path) -> None:
    """See that a load's process and all that it started are gone."""
    if wait_for_exit(pid, 0.5) is None:
        abort_below(str(home))
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    wait_for_exit_if_child(pid)


def wait_for_exit_if_child(pid: int) -> None:
    try:
        wait_for_exit(pid, 5)
    except ChildProcessError:  # waited for before
        pass


def remove(place: Place) -> str:
    """Remove what a load left on the mount."""
    shutil.rmtree(place.directory)
    return ""


@dataclass
class Stage:
    """One filesystem under test, mounted, and where its loads find room."""

    filesystem: str
    home: Path
    quick: bool
    mount: Mount | None = None

    @property
    def root(self) -> Path:
        """Where the loads' directories are made."""
        return self.home / ("native" if self.filesystem == "native" else "mountpoint")

    def start(self) -> None:
        """Mount it, unless it is mounted and answers.

        Raises:
            MountError: it does not mount.
        """
        if self.filesystem == "native":
            self.root.mkdir(exist_ok=True)
            return
        if self.mount is not None:
            if self.mount.alive() and answers(str(self.root), self.mount.connection, 5):
                return
            self.mount.stop()
        (self.home / "source").mkdir(exist_ok=True)
        words = {"SOURCE": str(self.home / "source"), "MOUNTPOINT": str(self.root)}
        command = [words.get(word, word) for word in COMMANDS[self.filesystem]]
        self.mount = Mount(command, str(self.root), self.home / "daemon.log")
        self.mount.start()

    def play(self, load: Load) -> Verdict:
        """Run one load in new directories, and remove them."""
        if self.filesystem not in load.filesystems:
            return Verdict("skipped", "not for this filesystem")
        if load.full_only and self.quick:
            return Verdict("skipped", "with --quick")
        self.start()
        name = load.name.replace(" ", "-")
        directories = self.root / name, self.home / f"native-{name}"
        place = Place(*directories, self.filesystem, self.quick, COMMANDS[self.filesystem])
        for directory in directories:
            directory.mkdir()
            directory.chmod(0o777)
        limit = load.limit / 3 if self.quick else load.limit
        verdict = run(load, place, limit, self.home)
        if self.mount is not None and not self.mount.alive():
            return Verdict("FAIL", f"the daemon ended: {self.mount.last_words()}\n{verdict.text}")
        return self.clear(place, verdict)

    def clear(self, place: Place, verdict: Verdict) -> Verdict:
        """Remove what a load left. That this works is part of the test."""
        shutil.rmtree(place.native, ignore_errors=True)
        cleared = run(Load("removing", remove), place, 60, self.home)
        return cleared if verdict.word == "ok" and cleared.word != "ok" else verdict

    def stop(self) -> Verdict:
        """Unmount; the daemon must end by itself, and well."""
        if self.mount is None:
            return Verdict("ok")
        well = self.mount.stop()
        return Verdict("ok") if well else Verdict("FAIL", f"the daemon did not end well: {self.mount.last_words()}")


def say(name: str, filesystem: str, verdict: Verdict, seconds: float) -> None:
    """Print one line for a load; what failed, in detail below it."""
    short = verdict.text if verdict.word != "FAIL" and "\n" not in verdict.text else ""
    print(f"{name:<14} {filesystem:<8} {verdict.word:<8} {seconds:6.1f} s  {short[:100]}".rstrip(), flush=True)
    if verdict.word == "FAIL":
        print("\n".join(f"    {line[:200]}" for line in verdict.text.strip().splitlines()[:40]), flush=True)


def torture(filesystem: str, loads: list[Load], quick: bool) -> bool:
    """All loads on one filesystem; whether none failed."""
    home = Path(tempfile.mkdtemp(prefix=f"fusewire-torture-{filesystem}-"))
    home.chmod(0o755)
    stage, well = Stage(filesystem, home, quick), True
    for load in loads:
        begun = time.monotonic()
        try:
            verdict = stage.play(load)
        except MountError as reason:
            verdict = Verdict("FAIL", f"it cannot be mounted: {reason}")
        well &= verdict.word != "FAIL"
        if verdict.text != "not for this filesystem":
            say(load.name, filesystem, verdict, time.monotonic() - begun)
    begun = time.monotonic()
    verdict = stage.stop()
    say("unmounting", filesystem, verdict, time.monotonic() - begun)
    unmount(str(stage.root))
    shutil.rmtree(home, ignore_errors=True)
    return well and verdict.word == "ok"


def arguments() -> argparse.Namespace:
    """What the command line says."""
    names = ", ".join(load.name for load in LOADS)
    parser = argparse.ArgumentParser(description="Put heavy loads on fusewire's own filesystems.")
    parser.add_argument("--quick", action="store_true", help="under 2 minutes instead of under 15")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help=f"one of: {names}")
    parser.add_argument("--fs", default="memory,local", help="memory, local, nohandle, native; several with commas")
    return parser.parse_args()


def main() -> int:
    """Run the loads; 1 if one failed."""
    asked = arguments()
    loads = [load for load in LOADS if not asked.only or load.name in asked.only]
    unknown = [name for name in asked.fs.split(",") if name not in COMMANDS]
    if not loads or unknown:
        print(f"Loads: {', '.join(load.name for load in LOADS)}. Filesystems: {', '.join(COMMANDS)}.")
        return 2
    enter_private_namespace()
    begun = time.monotonic()
    results = [torture(filesystem, loads, asked.quick) for filesystem in asked.fs.split(",")]
    print(f"{'ok' if all(results) else 'FAIL'}, {time.monotonic() - begun:.0f} s")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
