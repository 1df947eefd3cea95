"""The first thing that a newcomer meets: `make demo` and `make test`, on a machine where something is missing."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")

OLD = """#!/bin/sh
case "$*" in --version) echo Python 3.9.2 ;; *) exit 1 ;; esac
"""

WITHOUT_VENV = """#!/bin/sh
case "$*" in *ensurepip*) echo "ModuleNotFoundError: No module named 'ensurepip'" >&2; exit 1 ;; esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with no .venv, in a place with a blank in its name."""
    place = tmp_path / "a fresh clone"
    place.mkdir()
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(CHECKOUT / name, place)
    return place


def make(checkout: Path, target: str, python: str = "python3") -> subprocess.CompletedProcess[str]:
    """Run make there."""
    command = ["make", "--no-print-directory", target, f"PYTHON={python}"]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=25, check=False)


def fake_python(checkout: Path, script: str) -> str:
    """Make a program that answers as some Python would."""
    (checkout / "fake-python").write_text(script)
    (checkout / "fake-python").chmod(0o755)
    return "./fake-python"


@pytest.mark.parametrize("target", ["demo", "test"])
def test_it_says_what_to_install_where_venv_is_missing(checkout: Path, target: str) -> None:
    done = make(checkout, target, fake_python(checkout, WITHOUT_VENV))
    assert done.returncode != 0
    assert "Install it: sudo apt-get install python3-venv" in done.stderr
    assert not (checkout / ".venv").exists()


def test_it_says_so_where_python_is_too_old(checkout: Path) -> None:
    done = make(checkout, "demo", fake_python(checkout, OLD))
    assert done.returncode != 0
    assert "fusewire needs Python 3.11 or later, and ./fake-python is Python 3.9.2." in done.stderr


def test_it_says_so_where_there_is_no_python(checkout: Path) -> None:
    done = make(checkout, "demo", "no-such-python")
    assert "and no-such-python is not installed." in done.stderr
