"""The main paths as an ordinary user: no root, no fusermount3, a user namespace of his own.

FUSE is for unprivileged programs, so what root may do here proves little.
"""

from __future__ import annotations

import pytest

from ordinary_user import python_as_user

SETUP = """
import asyncio, os, signal, subprocess, sys, threading
from pathlib import Path
import fusewire
from fusewire.filesystems import LocalDirectory, Memory

place = Path("mnt").absolute()
place.mkdir()
"""

NODES = """
class Hello(fusewire.File):
    async def read(self, offset, size):
        await asyncio.sleep(0)
        return b"hello"[offset:offset + size]

with fusewire.mount({"hello": Hello(), "deeper": {"notes": b"hi"}}, str(place), threads=2) as mount:
    assert (place / "hello").read_bytes() == b"hello"
    assert (place / "deeper/notes").read_bytes() == b"hi"
    assert os.stat(place / "hello").st_uid == os.getuid()
assert os.listdir(place) == []
"""

ASYNCIO = """
async def main():
    async with fusewire.mount({"notes": b"hi"}, str(place)):
        assert await asyncio.to_thread((place / "notes").read_bytes) == b"hi"
asyncio.run(main())
assert os.listdir(place) == []
"""

MEMORY = """
with fusewire.mount(Memory(), str(place)):
    (place / "a").write_bytes(b"x" * 300_000)
    os.link(place / "a", place / "b")
    (place / "a").unlink()
    assert (place / "b").read_bytes() == b"x" * 300_000
    os.mkdir(place / "d")
    os.rename(place / "b", place / "d/c")
    assert os.stat(place / "d/c").st_uid == os.getuid()
    os.setxattr(place / "d/c", "user.colour", b"blue")
    assert os.getxattr(place / "d/c", "user.colour") == b"blue"
assert os.listdir(place) == []
"""

LOCAL = """
source = Path("source")
source.mkdir()
(source / "old").write_bytes(b"old")
with fusewire.mount(LocalDirectory(source), str(place)):
    assert (place / "old").read_bytes() == b"old"
    (place / "new").write_bytes(b"new")
    os.rename(source / "old", source / "renamed")
    assert (place / "renamed").read_bytes() == b"old"
    assert sorted(os.listdir(place)) == ["new", "renamed"]
assert (source / "new").read_bytes() == b"new"
assert os.listdir(place) == []
"""

KILLED = """
program = "import sys, fusewire; fusewire.run({'a': b'x'}, sys.argv[1], ready=lambda _: print(1, flush=True))"
daemon = subprocess.Popen([sys.executable, "-c", program, str(place)], stdout=subprocess.PIPE)
assert daemon.stdout.readline() == b"1\\n"
daemon.kill()
daemon.communicate()
try:
    os.stat(place / "a")
except OSError as error:
    assert error.errno in (103, 107), error
else:
    raise AssertionError("a dead mount answers")
with fusewire.mount({"again": b""}, str(place)):
    assert os.listdir(place) == ["again"]
assert os.listdir(place) == []
"""

OUT_OF_REACH = """
program = '''
import sys
from fusewire.mounting import fusectl
fusectl.CONNECTIONS = "/nowhere"  # as in most containers
from fusewire.cli import main
sys.exit(main(["mount", "memory:", *sys.argv[1:]]))
'''
command = [sys.executable, "-c", program, str(place), *{how}]
with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as daemon:
    assert "is mounted" in daemon.stderr.readline()
    held = os.open(place / "file", os.O_RDWR | os.O_CREAT)
    daemon.terminate()
    assert "in use" in daemon.stderr.readline()
    assert "signal again to abort it" in daemon.stderr.readline()
    daemon.terminate()
    assert daemon.wait(10) == 0
    try:
        os.pwrite(held, b"x", 0)
    except OSError as error:
        assert error.errno in (103, 107), error
    else:
        raise AssertionError("who serves it?")
assert os.listdir(place) == []
"""


@pytest.mark.parametrize("how", [[], ["--asyncio"]], ids=["threads", "asyncio"])
def test_where_fusectl_is_out_of_reach_a_second_signal_ends_the_daemon(how: list[str]) -> None:
    python_as_user(SETUP + OUT_OF_REACH.replace("{how}", repr(how)))


@pytest.mark.parametrize(
    "script",
    [NODES, ASYNCIO, MEMORY, LOCAL, KILLED],
    ids=["nodes", "asyncio", "memory", "local", "killed and mounted again"],
)
def test_an_ordinary_user_is_served(script: str) -> None:
    python_as_user(SETUP + script)
