"""Processes that use a mount, for tests that serve it themselves and might wait for themselves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from kernel_mounts import Mount, fuse_mounts


def client(*command: str | Path, **options: Any) -> subprocess.Popen[str]:
    """Start a program with pipes from its output."""
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def python(program: str, *arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
    """Start a program in Python. Its first arguments are in `sys.argv[1:]`."""
    return client(sys.executable, "-W", "ignore", "-c", program, *arguments, **options)


def finish(process: subprocess.Popen[str], timeout: float = 20) -> tuple[str, str]:
    """Wait for the end of a program, and return what it said."""
    with process:
        try:
            return process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise


def mounts_on(path: Path) -> list[Mount]:
    """Return the FUSE mounts on a directory, without touching it."""
    return [mount for mount in fuse_mounts() if mount.path == path]
