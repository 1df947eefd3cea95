"""The documents, as the tests read them: what is generated, what is code, what is a link.

A block of code is run by the tests if the word after its language says so:

    ```python run      as a program, to its end
    ```python mount    as a program that mounts on /mnt/x; then every `<!-- try: COMMAND = OUTPUT -->` above it is
                       run by a shell, and what it prints, with blanks for line ends, must be OUTPUT
    ```sh run          by bash -e
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

CHECKOUT = Path(__file__).resolve().parent.parent
DOCUMENTS = [*sorted(CHECKOUT.glob("*.md")), *sorted((CHECKOUT / "docs").glob("*.md"))]

BLOCK = re.compile(
    r"(?P<tries>(?:^<!-- try: [^\n]* -->\n)*)^```(?P<kind>[^\n`]*)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE
)
TRY = re.compile(r"^<!-- try: (?P<command>.*?) = (?P<output>.*) -->$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    document: Path
    line: int
    kind: str  # 'python mount'
    code: str
    tries: tuple[tuple[str, str], ...]  # commands, and what they print

    def __str__(self) -> str:
        return f"{self.document.name}:{self.line}"


def blocks(kind: str) -> list[Block]:
    """Return all blocks of a kind, from all documents."""
    return [block for document in DOCUMENTS for block in blocks_of(document) if block.kind == kind]


@cache
def blocks_of(document: Path) -> list[Block]:
    text = document.read_text()
    return [
        Block(
            document,
            text[: found.start("code")].count("\n"),
            found["kind"].strip(),
            found["code"],
            tuple((each["command"], each["output"]) for each in TRY.finditer(found["tries"])),
        )
        for found in BLOCK.finditer(text)
    ]


def generator() -> ModuleType:
    """docs/generate.py, as a module."""
    spec = importlib.util.spec_from_file_location("generate", CHECKOUT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
