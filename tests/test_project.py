"""What is written down about the project in more than one place says the same everywhere."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import fusewire

CHECKOUT = Path(__file__).resolve().parent.parent
PROJECT: dict[str, Any] = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]

MODULES = [
    found.name
    for found in pkgutil.walk_packages(fusewire.__path__, "fusewire.")
    if found.name not in ("fusewire.__main__", "fusewire.pytest_plugin")  # the one runs, the other is pytest's
]


@pytest.mark.parametrize("name", ["fusewire", *MODULES])
def test_every_public_name_exists(name: str) -> None:
    module = importlib.import_module(name)
    promised = getattr(module, "__all__", [])
    assert [public for public in promised if not hasattr(module, public)] == []
    assert len(promised) == len(set(promised))


def test_the_front_door_lists_what_it_promises() -> None:
    assert set(fusewire.__all__) <= set(dir(fusewire))


def test_the_version_is_that_of_the_project() -> None:
    assert fusewire.__version__ == PROJECT["version"]


def test_importing_the_front_door_is_cheap() -> None:
    script = "import sys, fusewire; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {"asyncio", "argparse", "fusewire.cli", "fusewire.wire.structs"} & set(loaded)


def test_the_library_needs_no_package() -> None:
    assert PROJECT["dependencies"] == []


def test_the_package_says_that_it_is_typed() -> None:
    assert (CHECKOUT / "src" / "fusewire" / "py.typed").is_file()
