"""Who is measured: the same small filesystem in memory, on several libraries.

A contestant knows what it needs, how that is installed, and the command that serves it in the
foreground on a mountpoint. All are told the same: entries and attributes valid for 0 seconds,
direct I/O (the client opens with O_DIRECT besides), no writeback cache, default_permissions,
and each library's own default of threads, unless its name says otherwise.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "fusewire-benchmarks"
UNCACHED = "entry_timeout=0,attr_timeout=0,negative_timeout=0"

MFUSEPY = CACHE / "mfusepy"
SYSTEM_PYTHON = "/usr/bin/python3"  # the one that Debian's python3-pyfuse3 is for


class Missing(Exception):
    """A contestant cannot take part; the text is the command that would help."""


@dataclass(frozen=True)
class Contestant:
    """One column of the table.

    `command` gives the argv for a mountpoint, building what is to be built; it raises `Missing`.
    `install` makes the contestant possible, or is empty.
    """

    name: str
    command: Callable[[str], list[str]]
    version: Callable[[], str]
    install: str = ""


def output(*command: str) -> str:
    """What a program writes to stdout, or nothing if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def fusewire_command(mountpoint: str) -> list[str]:
    options = f"{UNCACHED},default_permissions"
    source = f"{HERE / 'peers' / 'memory_fusewire.py'}:Memory"
    return [sys.executable, "-m", "fusewire", "mount", source, mountpoint, "-o", options]


def fusewire_version() -> str:
    return "fusewire " + output(
        sys.executable, "-c", "from importlib.metadata import version; print(version('fusewire'))"
    )


def libfuse_program() -> str:
    """The C program, compiled if it is not yet or was changed since.

    Raises:
        Missing: no compiler, or no libfuse to compile with.
    """
    source, program = HERE / "peers" / "memory_libfuse.c", CACHE / "memory_libfuse"
    if program.exists() and program.stat().st_mtime > source.stat().st_mtime:
        return str(program)
    flags = shlex.split(output("pkg-config", "--cflags", "--libs", "fuse3"))
    if not flags:
        raise Missing("libfuse 3 is not installed")
    CACHE.mkdir(parents=True, exist_ok=True)
    command = ["cc", "-O2", "-o", str(program), str(source), *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise Missing(f"it does not compile: {done.stderr.strip().splitlines()[-1]}")
    return str(program)


def libfuse_command(mountpoint: str, *arguments: str) -> list[str]:
    return [libfuse_program(), mountpoint, "-f", *arguments, "-o", "fsname=memory,default_permissions"]


def libfuse_version() -> str:
    return f"libfuse {output('pkg-config', '--modversion', 'fuse3')}"


def pyfuse3_version() -> str:
    return output(SYSTEM_PYTHON, "-c", "import sys, pyfuse3; print('pyfuse3', pyfuse3.__version__)")


def pyfuse3_command(mountpoint: str) -> list[str]:
    if not pyfuse3_version():
        raise Missing(f"{SYSTEM_PYTHON} has no pyfuse3")
    return [SYSTEM_PYTHON, str(HERE / "peers" / "memory_pyfuse3.py"), mountpoint]


def mfusepy_version() -> str:
    code = "from importlib.metadata import version as v; import mfusepy; print('mfusepy', v('mfusepy'))"
    return output(str(MFUSEPY / "bin" / "python"), "-c", code)


def mfusepy_command(mountpoint: str) -> list[str]:
    if not mfusepy_version():
        raise Missing(f"there is no mfusepy in {MFUSEPY}")
    return [str(MFUSEPY / "bin" / "python"), str(HERE / "peers" / "memory_mfusepy.py"), mountpoint]


APT = "apt-get install -y --no-install-recommends"

CONTESTANTS = (
    Contestant("fusewire", fusewire_command, fusewire_version, f"{sys.executable} -m pip install -e ."),
    Contestant("libfuse C", libfuse_command, libfuse_version, f"{APT} gcc libc6-dev pkg-config libfuse3-dev fuse3"),
    Contestant(
        "C, 1 thread",
        lambda mountpoint: libfuse_command(mountpoint, "-s"),
        libfuse_version,
        f"{APT} gcc libc6-dev pkg-config libfuse3-dev fuse3",
    ),
    Contestant("pyfuse3", pyfuse3_command, pyfuse3_version, f"{APT} python3-pyfuse3 fuse3"),
    Contestant(
        "mfusepy",
        mfusepy_command,
        mfusepy_version,
        f"{sys.executable} -m venv {MFUSEPY} && {MFUSEPY}/bin/pip install mfusepy && {APT} libfuse3-3 fuse3",
    ),
)

REFERENCE = "libfuse C"  # what the others are compared with
