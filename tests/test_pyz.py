"""The package as one file: it runs on a machine on which nothing is installed, and says so on a Python too old."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
OLD = "import sys; sys.version_info = (3, 9, 2, 'final', 0); import runpy; runpy.run_path(sys.argv[1])"


@pytest.fixture(scope="module")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file, in a place of its own."""
    path = tmp_path_factory.mktemp("elsewhere") / "fusewire.pyz"
    subprocess.run([sys.executable, CHECKOUT / "tools" / "make_pyz.py", path], check=True, stdout=subprocess.DEVNULL)
    return path


def run(pyz: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it as on a bare machine: no packages but the standard library, nothing from the environment."""
    command = [sys.executable, "-I", "-S", str(pyz), *arguments]
    return subprocess.run(command, cwd="/", env={}, capture_output=True, text=True, timeout=20, check=False)


def test_the_doctor_speaks_within_a_second(pyz: Path) -> None:
    began = time.monotonic()
    done = run(pyz, "doctor")
    took = time.monotonic() - began
    assert done.stderr == ""
    assert done.stdout
    assert done.returncode in (0, 2, 3)  # there may be sick mounts on this machine
    assert took < 2  # it is half a second where nobody else wants the processor


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--version"], r"fusewire \d+\.\d+\.\d+\n"),
        (["top", "--once"], r"There is no FUSE mount on this machine\.\n|.*MOUNTPOINT .*"),
        (["explain", "unlink"], r".*>sys_unlink\(\).*"),
        (["explain", "unlink", "--format", "html"], r"<!DOCTYPE html>.*"),
    ],
)
def test_commands_work_from_it(pyz: Path, arguments: list[str], expected: str) -> None:
    done = run(pyz, *arguments)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(expected, done.stdout, re.DOTALL | re.IGNORECASE)


def test_it_exits_as_the_command_does(pyz: Path) -> None:
    assert run(pyz, "doctor", "/proc").returncode == 2


def test_an_old_python_is_told_what_is_needed(pyz: Path) -> None:
    done = subprocess.run([sys.executable, "-c", OLD, pyz], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "fusewire needs Python 3.11 or later, and this is 3.9.\n"


def test_the_same_source_makes_the_same_file(pyz: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.pyz"
    subprocess.run([sys.executable, CHECKOUT / "tools" / "make_pyz.py", again], check=True, stdout=subprocess.DEVNULL)
    assert again.read_bytes() == pyz.read_bytes()


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_makes_it(tmp_path: Path) -> None:
    """In a checkout where nothing was made before."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(CHECKOUT / name, tmp_path)
    for name in ("src", "tools"):
        (tmp_path / name).symlink_to(CHECKOUT / name)
    command = ["make", "--no-print-directory", "pyz", f"PYTHON={sys.executable}"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=25)
    assert (tmp_path / "dist" / "fusewire.pyz").stat().st_mode & 0o111
    assert not (tmp_path / ".venv").exists()
