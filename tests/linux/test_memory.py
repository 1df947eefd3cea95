"""The filesystem in memory on Linux's own FUSE: what programs do, and what they must find.

What single system calls do is tested in tests/both_kernels.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fusewire
from fusewire.filesystems import Memory

CHECKOUT = Path(__file__).resolve().parent.parent.parent
SIZE = 64 << 20


@pytest.fixture
def memory() -> Memory:
    return Memory(size=SIZE, inodes=20_000, mode=0o777)


@pytest.fixture
def mount(memory: Memory, mountpoint: Path) -> Iterator[fusewire.Mount]:
    with fusewire.mount(memory, str(mountpoint), allow_other=os.geteuid() == 0, strict=True) as mounted:
        yield mounted


@pytest.fixture
def home(mount: fusewire.Mount) -> Path:
    """The root of a mounted filesystem."""
    return Path(mount.mountpoint)


def run(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def script(program: str, *arguments: str | Path) -> str:
    return run(sys.executable, "-c", program, *arguments)


def test_many_names_are_listed_while_they_vanish(home: Path) -> None:
    for number in range(5000):
        os.mknod(home / f"file {number}")
    with os.scandir(home) as found:
        seen = []
        for entry in found:
            os.unlink(entry.path)
            seen.append(entry.name)
    assert (len(set(seen)), len(seen), os.listdir(home)) == (5000, 5000, [])


# --- programs


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_git_works_in_it(home: Path) -> None:
    source, clone = home / "source", home / "clone"
    run("git", "init", "-q", source)
    for number in range(50):
        (source / f"file {number}").write_text(f"{number}\n" * number)
    run("git", "-C", source, "add", ".")
    run("git", "-C", source, "-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "all")
    run("git", "clone", "-q", source, clone)
    assert run("git", "-C", clone, "status", "--porcelain") == ""
    run("git", "-C", clone, "fsck", "--strict")
    shutil.rmtree(source)
    assert len(os.listdir(clone)) == 51


SQLITE = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
assert database.execute("pragma journal_mode=wal").fetchone() == ("wal",)
database.execute("create table numbers (number integer primary key, text text)")
for turn in range(20):
    database.execute("begin")
    database.executemany("insert into numbers (text) values (?)", ((str(n) * 50,) for n in range(100)))
    database.execute("commit" if turn % 3 else "rollback")
reader = sqlite3.connect(sys.argv[1])
for question in ("select count(*) from numbers", "pragma integrity_check"):
    print(reader.execute(question).fetchone()[0])
"""


def test_sqlite_works_in_it(home: Path) -> None:
    assert script(SQLITE, home / "database").split() == ["1300", "ok"]


def test_a_tree_comes_back_as_it_was(home: Path, tmp_path: Path) -> None:
    run("cp", "-a", CHECKOUT / "src", home / "copy")
    run("tar", "-cf", home / "archive.tar", "-C", home, "copy")
    run("tar", "-xf", home / "archive.tar", "-C", tmp_path)
    run("diff", "-r", CHECKOUT / "src", tmp_path / "copy")
    for there, here in ((CHECKOUT / "src/fusewire/errors.py", home / "copy/fusewire/errors.py"),):
        assert os.stat(there).st_mtime_ns == os.stat(here).st_mtime_ns
        assert os.stat(there).st_mode == os.stat(here).st_mode
