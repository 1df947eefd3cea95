"""docs/errors.md, row by row: what a caller gets, and why.

The documents' rows are the parameters: one without a check here fails, and so does a check without its row.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

import fusewire
from documents import CHECKOUT
from fusewire import Attributes, File
from ordinary_user import USER
from served import FUSEWIRE, LIMIT, served

ROW = re.compile(r"^\| (?P<what>.+?) \| (?P<code>E[A-Z]+) \|$", re.MULTILINE)
ROWS: Final = {row["what"]: row["code"] for row in ROW.finditer((CHECKOUT / "docs" / "errors.md").read_text())}


def gets(attempt: Callable[[], Any]) -> str:
    """The errno with which `attempt` fails, by name."""
    with pytest.raises(OSError) as caught:  # noqa: PT011
        attempt()
    return errno.errorcode[caught.value.errno or 0]


# --- from a method


class Odd(File):
    """A file whose `read` raises an exception, or returns a thing."""

    def __init__(self, outcome: object) -> None:
        self.outcome = outcome

    def read(self, offset: int, size: int) -> Any:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


class OddCoroutine(File):
    """A file whose attributes cannot be had: for EINTR, upon which Python would read again."""

    async def getattr(self) -> Attributes:
        fusewire.current_request().interrupt()  # as the engine does when the caller is sent a signal
        await asyncio.sleep(60)
        raise AssertionError("nobody cancelled it")


class OddCancellation(File):
    """The same without a signal."""

    async def getattr(self) -> Attributes:
        raise asyncio.CancelledError


class OddFunction(File):
    """The same as a plain function."""

    def getattr(self) -> Attributes:
        raise InterruptedError


def reading(mountpoint: Path, outcome: object) -> str:
    with fusewire.mount({"file": Odd(outcome)}, str(mountpoint)):
        return gets((mountpoint / "file").read_bytes)


def raises_errno(mountpoint: Path) -> str:
    return reading(mountpoint, OSError(errno.EDQUOT, "too much"))


def raises_a_class(mountpoint: Path) -> str:
    assert reading(mountpoint, PermissionError()) == "EACCES"
    return reading(mountpoint, FileNotFoundError())


def raises_anything(mountpoint: Path) -> str:
    return reading(mountpoint, ZeroDivisionError())


def raises_what_linux_does_not_take(mountpoint: Path) -> str:
    return reading(mountpoint, OSError(512, "ERESTARTSYS, which is Linux's own"))


def returns_a_misfit(mountpoint: Path) -> str:
    assert reading(mountpoint, "text") == "EIO"
    return reading(mountpoint, bytes(10_000_000))


def is_interrupted(mountpoint: Path) -> str:
    with fusewire.mount({"coroutine": OddCoroutine(), "function": OddFunction()}, str(mountpoint)):
        assert gets((mountpoint / "function").stat) == "EINTR"
        return gets((mountpoint / "coroutine").stat)


def is_cancelled_by_nobody(mountpoint: Path) -> str:
    with fusewire.mount({"file": OddCancellation()}, str(mountpoint)):
        return gets((mountpoint / "file").stat)


# --- from the engine


@contextmanager
def small(mountpoint: Path, options: str = "") -> Iterator[Path]:
    """A mount with one file; its path."""
    with fusewire.mount({"file": b"content"}, str(mountpoint), options):
        yield mountpoint / "file"


def has_a_long_name(mountpoint: Path) -> str:
    with small(mountpoint):
        return gets((mountpoint / ("n" * 256)).stat)


def has_an_unknown_ioctl(mountpoint: Path) -> str:
    with small(mountpoint) as path, path.open("rb") as file:
        return gets(lambda: fcntl.ioctl(file.fileno(), 0x7A7A, bytes(8)))


def writes_what_cannot_be_written(mountpoint: Path) -> str:
    with small(mountpoint) as path:
        return gets(lambda: path.open("r+b"))


def reads_what_cannot_be_read(mountpoint: Path) -> str:
    with fusewire.mount({"file": File()}, str(mountpoint)):
        return gets((mountpoint / "file").read_bytes)


def makes_what_cannot_be_made(mountpoint: Path) -> str:
    with small(mountpoint) as path:
        return gets(lambda: os.mknod(path.with_name("new")))


# --- from Linux

BLOCKS = """
import threading, fusewire, sys

class Blocks(fusewire.File):
    def read(self, offset, size):
        print("reading", flush=True)
        threading.Event().wait()

fusewire.run({"file": Blocks(), "other": b""}, sys.argv[1])
"""

READS = """
import errno, sys
try:
    open(sys.argv[1], "rb", buffering=0).read(1)
except OSError as error:
    print(errno.errorcode[error.errno])
"""


def waits_or_comes_later(mountpoint: Path, end: Callable[[subprocess.Popen[str]], object]) -> tuple[str, str]:
    """What a reader gets who waits when the connection ends, and what somebody gets who comes then."""
    with served(sys.executable, "-c", BLOCKS, str(mountpoint), mountpoint=mountpoint, end=None) as daemon:
        assert daemon.stdout is not None
        later = os.open(mountpoint, os.O_PATH)
        reader = subprocess.Popen([sys.executable, "-c", READS, mountpoint / "file"], stdout=subprocess.PIPE, text=True)
        assert daemon.stdout.readline() == "reading\n"
        end(daemon)
        waited = reader.communicate(timeout=LIMIT)[0].strip()
        came = gets(lambda: os.stat("other", dir_fd=later))
        os.close(later)
        subprocess.run([*FUSEWIRE, "umount", mountpoint], stderr=subprocess.DEVNULL, check=False)
        daemon.wait(LIMIT)
        daemon.returncode = 0  # as `served` wants it
    return waited, came


def kill(daemon: subprocess.Popen[str]) -> None:
    daemon.kill()
    daemon.wait()


def waits(mountpoint: Path) -> str:
    force = [*FUSEWIRE, "umount", "--force", str(mountpoint)]
    assert waits_or_comes_later(mountpoint, lambda _: subprocess.run(force, check=True))[0] == "ECONNABORTED"
    return waits_or_comes_later(mountpoint, kill)[0]


def comes_later(mountpoint: Path) -> str:
    return waits_or_comes_later(mountpoint, kill)[1]


def is_read_only(mountpoint: Path) -> str:
    with small(mountpoint, "ro") as path:
        return gets(path.with_name("new").touch)


def is_another_users(mountpoint: Path) -> str:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    assert stat_as_user(mountpoint, "allow_other") == 0
    return errno.errorcode[stat_as_user(mountpoint, "fsname=private")]


def stat_as_user(mountpoint: Path, option: str) -> int:
    """The errno that an ordinary user gets for a file of root's mount; 0 if none."""
    with served(*FUSEWIRE, "mount", "memory:", mountpoint, "-o", option, mountpoint=mountpoint):
        (mountpoint / "file").touch()
        root = os.open(mountpoint, os.O_PATH)
        child = os.fork()
        if child == 0:
            os._exit(errno_as_user(root))
        os.close(root)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def errno_as_user(root: int) -> int:
    """In a forked child: become the user, look, and tell."""
    try:
        os.setgroups([])
        os.setresgid(USER, USER, USER)
        os.setresuid(USER, USER, USER)
        os.stat("file", dir_fd=root)
    except OSError as error:
        return error.errno or 255
    except BaseException:
        return 255
    return 0


def is_open(mountpoint: Path) -> str:
    with fusewire.mount({"file": b""}, str(mountpoint)) as mount, (mountpoint / "file").open("rb"):
        return gets(mount.unmount)


CHECKS: Final[dict[str, Callable[[Path], str]]] = {
    "raises `OSError(errno.EDQUOT, ...)`": raises_errno,
    "raises `FileNotFoundError`, `PermissionError`... without an errno": raises_a_class,
    "raises any other exception": raises_anything,
    "raises an `OSError` whose errno Linux does not take (over 511)": raises_what_linux_does_not_take,
    "returns what does not fit: a `read` longer than was asked for, a wrong type": returns_a_misfit,
    "raises `InterruptedError`, or is cancelled by an interrupt": is_interrupted,
    "raises `CancelledError` though nobody has interrupted it": is_cancelled_by_nobody,
    "a name longer than 255 bytes": has_a_long_name,
    "an ioctl that nobody knows": has_an_unknown_ioctl,
    "to write a node that has no `write`": writes_what_cannot_be_written,
    "to read a node that has no `read`": reads_what_cannot_be_read,
    "to make a file in a directory that has no `create`": makes_what_cannot_be_made,
    "the daemon died, or the mount was aborted, while the caller waited": waits,
    "the daemon died, or the mount was aborted, before": comes_later,
    "the mount is read-only (`-o ro`)": is_read_only,
    "the mount is another user's, without `allow_other`": is_another_users,
    "a plain unmount while a file is open": is_open,
}


def test_each_row_is_checked() -> None:
    assert ROWS.keys() == CHECKS.keys()


@pytest.mark.parametrize("row", ROWS)
def test_the_caller_gets_what_the_table_says(row: str, mountpoint: Path) -> None:
    assert CHECKS[row](mountpoint) == ROWS[row]
