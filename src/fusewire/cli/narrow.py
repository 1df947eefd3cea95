"""Help that keeps the lines we wrote, and still reads well where a terminal is narrower than they are.

Our texts are laid out for 80 columns. argparse would either refill them, tables too, or leave
them to the terminal, which breaks lines within words. So in a narrow terminal a paragraph is
filled anew, and an indented line, which is a row of a table, goes on under its second column.
"""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Iterator
from itertools import groupby
from typing import Final

__all__ = ["HelpFormatter", "narrowed"]

WIDTH: Final = 80  # for which our texts are written
SECOND_COLUMN: Final = re.compile(r" +\S.*?  +(?=\S)")


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """argparse's formatter for descriptions and epilogs that have their line breaks."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return narrowed(text, width + 2)  # argparse leaves 2 columns free, and our texts do not


def narrowed(text: str, width: int) -> str:
    """Return `text` with lines of at most `width` columns, as far as its words allow it."""
    return text if width >= WIDTH else "\n".join(rows(text, width))


def rows(text: str, width: int) -> Iterator[str]:
    for is_table, lines in groupby(text.splitlines(), key=lambda line: line[:1] in ("", " ")):
        if not is_table:
            yield from textwrap.wrap(" ".join(lines), width, break_on_hyphens=False)
            continue
        for line in lines:
            column = SECOND_COLUMN.match(line)
            hanging = " " * min(column.end() if column else 4, width * 2 // 3)
            yield from textwrap.wrap(line, width, subsequent_indent=hanging, break_on_hyphens=False) or [""]
