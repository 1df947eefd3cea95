"""The directory of a spawned daemon: the programs that stand around it, and an empty place to mount on.

    supervisor.py stand_in.py   programs of ours, copied: they may be in an archive where we are
    bin/                        comes first on the daemon's PATH: fusermount3, fusermount
    mountpoint/                 where it may believe to be mounted
    kernel                      the socket on which the stand-in asks us

Nobody else may enter it. The supervisor removes it, for that one sees our end, however it comes.
"""

from __future__ import annotations

import os
import pkgutil
import shlex
import sys
import tempfile
from collections.abc import Mapping
from typing import Final

__all__ = ["environment", "make_directory", "mountpoint", "python"]

PROGRAMS: Final = ("supervisor.py", "stand_in.py")
STAND_INS: Final = ("fusermount3", "fusermount")


def make_directory() -> str:
    """Make the directory and what is in it; return its path."""
    directory = tempfile.mkdtemp(prefix="fusewire-")
    for name in PROGRAMS:
        source = pkgutil.get_data(__package__, name)
        assert source is not None, f"{name} is a file of this package"
        with open(os.path.join(directory, name), "wb") as file:
            file.write(source)
    os.mkdir(mountpoint(directory))
    os.mkdir(os.path.join(directory, "bin"))
    for name in STAND_INS:
        write_stand_in(directory, os.path.join(directory, "bin", name))
    return directory


def write_stand_in(directory: str, path: str) -> None:
    """Write a program that runs stand_in.py. A shell finds Python where a first line of #! could be too long."""
    command = shlex.join([*python(), os.path.join(directory, "stand_in.py")])
    with open(path, "w") as file:
        file.write(f'#!/bin/sh\nexec {command} "$@"\n')
    os.chmod(path, 0o755)


def python() -> list[str]:
    """Return how to run a program of ours: by this Python, and with nothing of the user's in its way."""
    return [sys.executable, "-I", "-S"]


def mountpoint(directory: str) -> str:
    return os.path.join(directory, "mountpoint")


def environment(directory: str, base: Mapping[str, str] | None) -> dict[str, str]:
    """Return the environment of the daemon: `base`, or ours, with the stand-ins first on PATH."""
    given = dict(os.environ if base is None else base)
    return {**given, "PATH": os.pathsep.join([os.path.join(directory, "bin"), given.get("PATH", os.defpath)])}
