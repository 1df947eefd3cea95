"""The examples are small, explain themselves, and are all there is. That they work: tests/linux/test_examples.py."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted((CHECKOUT / "examples").glob("*.py"))

each_example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)


@each_example
def test_it_says_how_it_is_mounted_and_what_to_try(example: Path) -> None:
    text = ast.get_docstring(ast.parse(example.read_text())) or ""
    assert f"fusewire mount examples/{example.name}:" in text
    assert f"python examples/{example.name} " in text
    assert "/mnt/x/" in text


@each_example
def test_what_it_says_to_mount_is_there(example: Path) -> None:
    text = example.read_text()
    (name,) = set(re.findall(rf"fusewire mount examples/{example.name}:(\w+)", text))
    defined = {
        target
        for node in ast.parse(text).body
        for target in (
            [node.name]
            if isinstance(node, ast.ClassDef | ast.FunctionDef)
            else [each.id for each in node.targets if isinstance(each, ast.Name)]
            if isinstance(node, ast.Assign)
            else []
        )
    }
    assert name in defined


@each_example
def test_it_is_small(example: Path) -> None:
    assert len(example.read_text().splitlines()) <= 160


@each_example
def test_the_tests_run_it(example: Path) -> None:
    assert f'"{example.name}"' in (CHECKOUT / "tests" / "linux" / "test_examples.py").read_text()


@each_example
def test_the_readme_leads_to_it(example: Path) -> None:
    assert f"(examples/{example.name})" in (CHECKOUT / "README.md").read_text()
