"""What the documents say is so: generated parts are fresh, links lead somewhere, examples run, names exist."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from documents import CHECKOUT, DOCUMENTS, Block, blocks, blocks_of, generator
from fusewire.cli import COMMANDS
from fusewire.cli.demo_steps import EXAMPLE_STEPS, MEMORY_STEPS
from fusewire.daemon.answers import ANSWERS

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)

KINDS = {"", "console", "python run", "python mount", "python", "sh run", "sh"}
LINK = re.compile(r"(?<!!)\[[^\]]+\]\((?P<target>[^)#\s]*)(?:#(?P<anchor>[^)\s]+))?\)")
CODE = re.compile(r"`([^`\n]+)`")
OURS = re.compile(
    r"(?:src|tests|docs|examples|benchmarks|torture|wire|kernel|daemon|mounting|filesystems|diagrams|cli)/[\w./-]*"
)


@each_document
def test_generated_parts_are_up_to_date(document: Path) -> None:
    """If not: python docs/generate.py"""
    text = document.read_text()
    assert generator().renewed(text) == text


@each_document
def test_links_lead_somewhere(document: Path) -> None:
    for link in LINK.finditer(document.read_text()):
        if link["target"].startswith("http"):
            continue
        target = (document.parent / link["target"]).resolve() if link["target"] else document
        assert target.exists(), link[0]
        if link["anchor"]:
            assert link["anchor"] in anchors(target), link[0]


def anchors(document: Path) -> set[str]:
    """What the headings of a document can be linked by, as GitHub makes it."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_document
def test_every_file_that_is_named_exists(document: Path) -> None:
    for code in CODE.findall(document.read_text()):
        if OURS.fullmatch(code):
            assert any((place / code).exists() for place in (CHECKOUT, CHECKOUT / "src" / "fusewire")), code


@each_document
def test_every_command_that_is_named_exists(document: Path) -> None:
    text = re.sub(r"\| Remote stores.*not yet \|", "", document.read_text())
    named = re.findall(r"(?:`|^ {4,}|\$ )fusewire ([a-z]\w*)", text, re.MULTILINE)
    assert set(named) <= set(COMMANDS)


@each_document
def test_no_line_is_wider_than_the_rest(document: Path) -> None:
    """Prose is wrapped at 120; a table's row cannot be."""
    wide = [line for line in document.read_text().splitlines() if len(line) > 120 and not line.startswith(("|", "**`"))]
    assert wide == []


@each_document
def test_blocks_are_of_a_kind_that_the_tests_know(document: Path) -> None:
    for block in blocks_of(document):
        assert block.kind in KINDS, f"{block}: {block.kind}"


@pytest.mark.parametrize("block", [*blocks("python run"), *blocks("sh run")], ids=str)
def test_examples_run(block: Block, tmp_path: Path) -> None:
    command = [sys.executable, "-c"] if block.kind.startswith("python") else ["bash", "-ec"]
    done = subprocess.run([*command, block.code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_examples_that_mount_are_tried() -> None:
    assert [str(block) for block in blocks("python mount") if not block.tries] == []


def test_the_walk_of_a_request_goes_through_functions_that_exist() -> None:
    walk = re.findall(
        r"^\| \d+ \| `(.+?)` \| `(.+?)` \|", (CHECKOUT / "docs" / "architecture.md").read_text(), re.MULTILINE
    )
    assert len(walk) > 10
    for file, function in walk:
        tree = ast.parse((CHECKOUT / "src" / "fusewire" / file).read_text())
        defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert function in defined, f"{file} has no {function}"


def test_the_layout_lists_every_package() -> None:
    layout = (CHECKOUT / "docs" / "architecture.md").read_text().partition("## Layout")[2]
    listed = set(re.findall(r"^ {6}(\w+(?:\.py|/)) ", layout, re.MULTILINE))
    package = CHECKOUT / "src" / "fusewire"
    packages = {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    modules = {path.name for path in package.glob("*.py") if path.name != "__main__.py"}
    assert listed == packages | modules


def test_every_operation_says_what_linux_does_without_it() -> None:
    assert set(generator().AFTERWARDS) == set(ANSWERS)


def test_the_readme_shows_the_demo_as_it_is() -> None:
    """Times differ, and so do numbers of requests, a little; the steps do not."""
    shown = next(block for block in blocks("console") if "make demo" in block.code)
    titles = [line[4:35].strip() for line in shown.code.splitlines() if line.startswith("  ✓ ")]
    acts = [["mount", *(step.title for step in steps), "unmount"] for steps in (EXAMPLE_STEPS, MEMORY_STEPS)]
    assert titles == acts[0] + acts[1]


def test_the_readme_says_the_essentials_first() -> None:
    text = (CHECKOUT / "README.md").read_text()
    opening = text.partition("\n\n")[2].partition("\n\n")[0]
    assert "Linux only" in opening.partition(".")[0]
    assert len(re.findall(r"[.!?](?:\s|$)", opening)) == 3
    assert text.index("make demo") < text.index("make test") < 1000


def test_no_path_of_a_developers_machine() -> None:
    for document in DOCUMENTS:
        assert not re.search(r"/work\b|/home/|/root/|/tmp/", document.read_text()), document


def test_the_documents_are_those_that_we_think() -> None:
    """A test over no documents would pass."""
    assert {path.name for path in DOCUMENTS} >= {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "operations.md"}
    assert len(blocks("python mount")) >= 4
