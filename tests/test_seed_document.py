"""docs/seed.md has every sentence of kernel.txt, and what it names exists."""

from __future__ import annotations

import ast
import shlex
import sys

import pytest

from documents import CHECKOUT
from fusewire.cli.explain import parser
from fusewire.explain.catalogue import CATALOGUE
from walkthrough.kernel_txt import STEPS

sys.path.insert(0, str(CHECKOUT / "docs"))

from seed_rows import SECTIONS, Row

ROWS = [row for rows in SECTIONS.values() for row in rows]
SAID = {row.said for row in ROWS}
each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.said[:40])


@pytest.mark.parametrize("step", sorted(STEPS))
def test_every_step_of_the_diagrams_stands_there(step: str) -> None:
    assert step in SAID


@each_row
def test_the_test_exists(row: Row) -> None:
    file, name = row.test.split("::")
    functions = [
        node.name for node in ast.walk(ast.parse((CHECKOUT / file).read_text())) if isinstance(node, ast.FunctionDef)
    ]
    assert name in functions


@each_row
def test_the_command_exists(row: Row) -> None:
    program, *arguments = shlex.split(row.command)
    assert (program, arguments[0]) in {("fusewire", "explain"), ("pytest", row.test)}
    if program == "fusewire":
        assert parser().parse_args(arguments[1:]).name in CATALOGUE
