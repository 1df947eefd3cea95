"""`fusewire.wire` has every public name of its modules."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

from fusewire import wire

MODULES = [module.name for module in pkgutil.iter_modules(wire.__path__)]
INTERNAL = {
    "parts",  # what requests, replies and notifications share
    "layout",  # its field types are for those who declare structs
}


def test_every_exported_name_is_there_once() -> None:
    assert len(set(wire.__all__)) == len(wire.__all__)
    assert [name for name in wire.__all__ if not hasattr(wire, name)] == []


@pytest.mark.parametrize("name", [name for name in MODULES if name not in INTERNAL])
def test_public_names_of_a_module_are_exported(name: str) -> None:
    module = importlib.import_module(f"fusewire.wire.{name}")
    assert set(module.__all__) <= set(wire.__all__)
