"""The examples do what their docstrings promise: run as programs, and through `fusewire mount`."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from served import CHECKOUT, FUSEWIRE, LIMIT, run, served

EXAMPLES = CHECKOUT / "examples"
PYTHON = FUSEWIRE[0]

Start = Callable[..., AbstractContextManager[object]]


@pytest.fixture(params=["program", "fusewire mount"])
def start(request: pytest.FixtureRequest, mountpoint: Path) -> Start:
    """Start an example either way. `argument` is what the program takes, or the `variable` says to the other."""

    def started(name: str, root: str = "root", argument: Path | None = None, variable: str = "") -> object:
        if request.param == "program":
            arguments = [argument] if argument else []
            return served(PYTHON, EXAMPLES / name, *arguments, mountpoint, mountpoint=mountpoint)
        environment = {variable: str(argument)} if argument else None
        command = [*FUSEWIRE, "mount", f"{EXAMPLES / name}:{root}", str(mountpoint)]
        return served(*command, mountpoint=mountpoint, environment=environment)

    return started  # type: ignore[return-value]


def test_hello(start: Start, mountpoint: Path) -> None:
    with start("hello.py"):
        assert sorted(os.listdir(mountpoint)) == ["docs", "hello", "now"]
        assert (mountpoint / "hello").read_text() == "hello, world\n"
        assert (mountpoint / "docs" / "readme").read_text().startswith("A dict")
        assert abs(time.mktime(time.strptime((mountpoint / "now").read_text().strip())) - time.time()) < 30
        assert (mountpoint / "docs" / "whoami").read_text() == f"uid {os.getuid()}, gid {os.getgid()}\n"
        with pytest.raises(PermissionError):
            (mountpoint / "hello").write_text("no")
        with pytest.raises(PermissionError):
            (mountpoint / "new").write_text("no")


def shell(script: str, mountpoint: Path) -> str:
    """Run a line as the docstrings show it; return what it prints."""
    done = run("bash", "-ec", script.replace("/mnt/x", str(mountpoint)))
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_notes(start: Start, mountpoint: Path) -> None:
    with start("notes.py"):
        shell("echo 'buy milk and honey' > /mnt/x/shopping", mountpoint)
        shell("echo 'the milk is sour' > /mnt/x/diary; echo 'no tea' >> /mnt/x/diary", mountpoint)
        assert shell("cat /mnt/x/diary", mountpoint) == "the milk is sour\nno tea\n"
        assert shell("ls /mnt/x", mountpoint).split() == ["diary", "search", "shopping"]
        assert shell("ls /mnt/x/search/milk", mountpoint).split() == ["diary", "shopping"]
        assert shell("cat /mnt/x/search/honey/*", mountpoint) == "buy milk and honey\n"
        shell("mv /mnt/x/diary /mnt/x/log; rm /mnt/x/shopping", mountpoint)
        assert shell("ls /mnt/x/search/milk", mountpoint).split() == ["log"]
        shell("truncate -s 3 /mnt/x/log", mountpoint)
        assert (mountpoint / "log").read_bytes() == b"the"
        assert (mountpoint / "log").stat().st_size == 3
        with pytest.raises(FileNotFoundError):
            (mountpoint / "shopping").unlink()
        with pytest.raises(PermissionError):
            (mountpoint / "log").rename(mountpoint / "search" / "milk" / "log2")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A zip archive with a large file, an empty directory and a program."""
    path = tmp_path / "archive.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as writing:
        writing.writestr("readme", "hello from the archive\n")
        writing.writestr("deep/down/large", bytes(range(256)) * 4096)
        writing.mkdir("empty")
        program = zipfile.ZipInfo("program", (2001, 2, 3, 4, 5, 6))
        program.external_attr = 0o755 << 16
        writing.writestr(program, "#!/bin/sh\necho it runs\n")
    return path


def test_zipped(start: Start, mountpoint: Path, archive: Path) -> None:
    with start("zipped.py", argument=archive, variable="ZIP"):
        assert sorted(os.listdir(mountpoint)) == ["deep", "empty", "program", "readme"]
        assert (mountpoint / "readme").read_text() == "hello from the archive\n"
        large = mountpoint / "deep" / "down" / "large"
        assert large.stat().st_size == 1 << 20
        assert large.read_bytes() == bytes(range(256)) * 4096
        with large.open("rb", buffering=0) as file:
            assert [os.pread(file.fileno(), 4, offset) for offset in (700_000, 3)] == [
                bytes(range(96, 100)),
                bytes(range(3, 7)),
            ]
        assert os.listdir(mountpoint / "empty") == []
        assert (mountpoint / "program").stat().st_mtime == time.mktime((2001, 2, 3, 4, 5, 6, 0, 0, -1))
        assert run(mountpoint / "program").stdout == "it runs\n"
        with pytest.raises(OSError, match=r"Read-only file system|Permission denied"):
            (mountpoint / "readme").write_text("no")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Two people, one of them with a picture."""
    path = tmp_path / "people.db"
    with sqlite3.connect(path) as writing:
        writing.execute("CREATE TABLE people (name TEXT, age INTEGER, picture BLOB)")
        writing.executemany("INSERT INTO people VALUES (?, ?, ?)", [("Ann", 30, b"\x00\xff"), ("Bob", 40, None)])
        writing.execute("CREATE TABLE 'odd name' (x)")
    writing.close()
    return path


@pytest.fixture
def rows(database: Path) -> Iterator[Callable[[], list[tuple[object, ...]]]]:
    """What the database says, to a reader of its own."""
    reading = sqlite3.connect(database)
    yield lambda: reading.execute("SELECT * FROM people").fetchall()
    reading.close()


def test_table(start: Start, mountpoint: Path, database: Path, rows: Callable[[], list[tuple[object, ...]]]) -> None:
    with start("table.py", argument=database, variable="DB"):
        assert shell("ls /mnt/x", mountpoint).splitlines() == ["odd name", "people"]
        assert shell("ls /mnt/x/people", mountpoint).split() == ["1", "2"]
        assert '"name": "Ann"' in shell("cat /mnt/x/people/1", mountpoint)
        shell("""echo '{"name": "Anna"}' > /mnt/x/people/1""", mountpoint)
        assert rows()[0] == ("Anna", 30, b"\x00\xff")
        assert '"age": 30' in shell("cat /mnt/x/people/1", mountpoint)
        shell("rm /mnt/x/people/2", mountpoint)
        assert [row[0] for row in rows()] == ["Anna"]
        with pytest.raises(FileNotFoundError):
            (mountpoint / "people" / "7").stat()


@pytest.mark.parametrize("text", ["not json", '{"shoe size": 41}', "[1]"])
def test_a_row_that_is_none_is_refused_by_close(
    text: str, mountpoint: Path, database: Path, rows: Callable[[], list[tuple[object, ...]]]
) -> None:
    before = rows()
    with served(PYTHON, EXAMPLES / "table.py", database, mountpoint, mountpoint=mountpoint):
        with pytest.raises(OSError, match="Invalid argument"):
            (mountpoint / "people" / "1").write_text(text)
        assert '"name": "Ann"' in (mountpoint / "people" / "1").read_text()
    assert rows() == before


def test_sidecars(start: Start, mountpoint: Path) -> None:
    with start("sidecars.py"):
        shell("touch /mnt/x/photo.jpg /mnt/x/photo.jpg.xmp /mnt/x/other", mountpoint)
        assert shell("ls /mnt/x", mountpoint).split() == ["other", "photo.jpg", "photo.jpg.xmp"]
        shell("rm /mnt/x/photo.jpg", mountpoint)
        deadline = time.monotonic() + LIMIT
        while (mountpoint / "photo.jpg.xmp").exists():  # until the kernel has been told, after the answer
            assert time.monotonic() < deadline
        assert shell("ls /mnt/x", mountpoint).split() == ["other"]


def test_raw(start: Start, mountpoint: Path) -> None:
    with start("raw.py", root="Waiting"):
        assert sorted(os.listdir(mountpoint)) == ["never", "second"]
        began = time.time()
        readers = [subprocess.Popen(["cat", mountpoint / "second"], stdout=subprocess.PIPE) for _ in range(3)]
        for reader in readers:
            assert reader.communicate(timeout=LIMIT)[0].strip()
        assert time.time() - began < 2.5  # together, not one after the other
        with pytest.raises(PermissionError):
            (mountpoint / "second").write_text("no")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_reader_of_never_can_be_interrupted(start: Start, mountpoint: Path, number: int) -> None:
    with start("raw.py", root="Waiting"):
        with subprocess.Popen(["cat", mountpoint / "never"]) as reader:
            with pytest.raises(subprocess.TimeoutExpired):
                reader.wait(0.3)
            reader.send_signal(number)
            assert reader.wait(LIMIT) == -number
        assert os.listdir(mountpoint)


def threads_asleep_over_a_page(pid: int) -> int:
    """Count the threads of a process that wait for a page of a file."""
    tasks = Path(f"/proc/{pid}/task")
    try:
        return sum((task / "wchan").read_text().startswith("folio_wait") for task in tasks.iterdir())
    except OSError:  # it has just ended
        return 0


def test_the_kamikaze_hangs_and_whoever_stands_by_frees_it(mountpoint: Path) -> None:
    seconds = "1"
    command = [PYTHON, str(EXAMPLES / "kamikaze.py"), "--yes", str(mountpoint), seconds]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as kamikaze:
        asleep = 0
        while kamikaze.poll() is None:
            asleep = max(asleep, threads_asleep_over_a_page(kamikaze.pid))
            with contextlib.suppress(subprocess.TimeoutExpired):
                kamikaze.wait(0.05)
        assert asleep == 2
        assert kamikaze.returncode == -signal.SIGBUS
        assert kamikaze.stdout is not None
        assert f"hangs for {seconds} s" in kamikaze.stdout.read()


def test_the_kamikaze_wants_to_be_asked_twice(mountpoint: Path) -> None:
    done = run(PYTHON, EXAMPLES / "kamikaze.py", mountpoint)
    assert done.returncode == 1
    assert "--yes" in done.stderr


def test_the_kamikaze_without_its_first_thread_does_no_harm(mountpoint: Path) -> None:
    with served(*FUSEWIRE, "mount", f"{EXAMPLES / 'kamikaze.py'}:Kamikaze", mountpoint, mountpoint=mountpoint):
        assert [shell("head -1 /mnt/x/file", mountpoint) for _ in range(2)] == ["not yet\n"] * 2


@pytest.mark.parametrize(("name", "variable"), [("zipped.py", "ZIP"), ("table.py", "DB")])
def test_it_says_what_it_needs(name: str, variable: str, mountpoint: Path) -> None:
    done = run(*FUSEWIRE, "mount", f"{EXAMPLES / name}:root", mountpoint)
    assert done.returncode == 1
    assert done.stderr.startswith("fusewire: say which")
    assert f"{variable}=" in done.stderr
    assert "Traceback" not in done.stderr
