"""Where a kernel lacks something, or hides it, the verdict holds or is said to be less sure; and a sentence says why.

Each facility is hidden for real, from a child in a mount namespace of its own: files of /proc are covered,
capabilities dropped, and the kernel says that it is an old one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import hung_mounts
from hung_mounts import Hang

pytestmark = pytest.mark.kernel

HIDING = Path(__file__).parents[1] / "hiding.py"
Doctor = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def hang(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hang]:
    """A daemon that removes a file of its own mount, while somebody removes it."""
    mountpoint = tmp_path_factory.mktemp("hang") / "mnt"
    mountpoint.mkdir()
    hang = hung_mounts.start(mountpoint, "unlink")
    try:
        hang.call("rm", "-f", hang.path("file"))
        hang.settle("do_unlinkat")
        yield hang
    finally:
        hang.end()


def doctor(hang: Hang, *hidden: str, fix: bool = False) -> subprocess.CompletedProcess[str]:
    """Run `fusewire doctor` where these are hidden."""
    pids = ",".join(str(process.pid) for process in [hang.daemon, *hang.callers])
    command = [sys.executable, str(HIDING), pids, *hidden, "--", sys.executable, "-m", "fusewire", "doctor"]
    form = "--fix" if fix else "--json"
    return subprocess.run(
        [*command, form, str(hang.connection)], capture_output=True, text=True, timeout=25, check=False, cwd="/"
    )


def found(hang: Hang, *hidden: str) -> dict[str, Any]:
    """Return the one diagnosis."""
    done = doctor(hang, *hidden)
    assert done.returncode in (0, 2, 3), done.stderr
    (one,) = json.loads(done.stdout)
    assert isinstance(one, dict)
    return one


def test_show(hang: Hang) -> None:
    for hidden in [(), ("fdinfo",), ("stack",), ("syscall",), ("wchan",), ("fusectl",), ("capabilities",), ("capabilities", "fusectl"), ("stack","syscall", "fdinfo"), ("environ",)]:
        one = found(hang, *hidden)
        print(hidden, {k: v for k, v in one.items() if k not in ("change", "edges", "source", "fstype", "mountpoints")}, len(one["edges"]))
    assert 0
