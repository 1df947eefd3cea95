"""What a load is given: an empty directory on the mount, another beside it, and how much to do."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


class Failed(Exception):
    """The filesystem did something wrong; the text says what."""


class Skipped(Exception):
    """The load cannot run here; the text says what would help."""


PACKAGES = {
    "fio": "fio",
    "stress-ng": "stress-ng",
    "dbench": "dbench",
    "git": "git",
    "gcc": "gcc libc6-dev",
    "make": "make",
    "tar": "tar",
    "rsync": "rsync",
    "psql": "postgresql",
}


@dataclass(frozen=True)
class Place:
    """Where a load works.

    `directory` is new and empty, on the filesystem under test, and belongs to root with mode
    0777. `native` is another outside of it. `mount_command` serves a new filesystem of the same
    sort, in the foreground, once the words SOURCE and MOUNTPOINT in it have been replaced.
    """

    directory: Path
    native: Path
    filesystem: str  # "memory" or "local"
    quick: bool
    mount_command: tuple[str, ...]

    def amount(self, quick: int, full: int) -> int:
        """How much, by how long the whole run may take."""
        return quick if self.quick else full


def need(*programs: str) -> None:
    """Raises Skipped, naming the packages, unless all programs are installed."""
    missing = [PACKAGES.get(program, program) for program in programs if not shutil.which(program)]
    if missing:
        raise Skipped(f"apt-get install {' '.join(missing)}")


def run(
    *command: str | Path,
    cwd: Path | None = None,
    user: int | None = None,
    environment: dict[str, str] | None = None,
    stdin: str | None = None,
    codes: Sequence[int] = (0,),
) -> str:
    """Run a program to its end; what it wrote, to stdout and stderr.

    Raises:
        Failed: its exit code is not among `codes`; with the end of what it wrote.
    """
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        user=user,
        group=user,
        extra_groups=[] if user is not None else None,
        env={**os.environ, "LC_ALL": "C", **(environment or {})},
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode not in codes:
        end = "\n".join(done.stdout.strip().splitlines()[-15:])
        raise Failed(f"{' '.join(map(str, command))[:200]} ended with {done.returncode}\n{end}")
    return done.stdout


def expect(what: str, found: object, wanted: object) -> None:
    """Raises Failed unless two values are equal."""
    if found != wanted:
        raise Failed(f"{what}: {str(found)[:300]} instead of {str(wanted)[:300]}")
