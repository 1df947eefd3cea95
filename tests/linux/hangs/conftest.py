"""What the tests of hanging mounts share: a daemon in C."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "reentered.c"


@pytest.fixture(scope="session")
def reentered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A daemon of libfuse that removes files of its own mount."""
    if not shutil.which("cc") or not shutil.which("pkg-config"):
        pytest.skip("there is no C compiler")
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "fuse3"], capture_output=True, text=True, check=False)
    if flags.returncode:
        pytest.skip("the headers of libfuse are not installed (libfuse3-dev)")
    program = tmp_path_factory.mktemp("c") / "reentered"
    subprocess.run(["cc", SOURCE, *flags.stdout.split(), "-o", program], check=True)
    return program
