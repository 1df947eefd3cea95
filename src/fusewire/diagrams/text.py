"""A recording as text of 80 columns, in the form of kernel.txt.

      |  "rm /mnt/fuse/file"                 |  FUSE filesystem daemon
      |                                      |
      |  >sys_unlink()                       |

Two columns are as wide as there; of three or more each gets its share. A step that does not fit goes
on in the next line, broken between words, after a bracket, or where it must. Remarks stand between the
rows, with an empty line before and after; below a heading the titles stand again.

With times, the milliseconds since the beginning stand before each row.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Final, NamedTuple

from fusewire.diagrams.columns import EVERYTHING, Detail, Row, left_out, rows
from fusewire.diagrams.recording import Recording, Remark

__all__ = ["WIDTH", "render", "render_left_out"]

WIDTH: Final = 80
INFERRED: Final = "\N{MIDDLE DOT} "
PLACES: Final = re.compile(r"(?=\(\))|(?<=\()(?!\))|(?<=[/,_>])")  # where a long word may be broken
FLAGS: Final = re.compile(r"(?<=\|)|(?<=\()(?!\))")  # the same of 'O_RDWR|O_CREAT'
DIM: Final = "\x1b[2m{}\x1b[0m"


class Column(NamedTuple):
    """How wide one column is, in characters."""

    width: int  # to which it is filled up
    whole: int  # of the longest text that stands in one line
    broken: int  # of the lines of those that do not

    def behind(self, mark: str) -> Column:
        """The same, for texts that stand behind a mark."""
        room = self.width - len(mark)
        return self._replace(whole=min(self.whole, room), broken=min(self.broken, room))


TWO: Final = (Column(36, 31, 27), Column(36, 35, 27))  # as kernel.txt has them


def render(recording: Recording, detail: Detail = EVERYTHING, *, times: bool = False, colour: bool = False) -> str:
    """Return `recording` as text, at the level of `detail`; what is inferred is dim, if `colour` may be used."""
    sections = _sections(rows(recording, detail))
    lines: list[str] = []
    for section in sections:
        lines += _section(section, recording.titles, len(sections) > 1, times, colour)
    return _without_double_gaps("\n".join(lines))


def _sections(entries: Iterable[Row | Remark]) -> list[list[Row | Remark]]:
    """Return `entries` in parts, each of which begins with a heading, but the first maybe not."""
    sections: list[list[Row | Remark]] = [[]]
    for entry in entries:
        if isinstance(entry, Remark) and entry.kind == "heading" and sections[-1]:
            sections.append([])
        sections[-1].append(entry)
    return sections


def _section(
    entries: Sequence[Row | Remark], titles: Sequence[str], one_of_several: bool, times: bool, colour: bool
) -> Iterator[str]:
    """Yield the lines of a section; of several, each has only those columns in which something stands."""
    rows = [entry for entry in entries if isinstance(entry, Row)]
    shown = [number for number in range(len(titles)) if not one_of_several or any(row.cells[number] for row in rows)]
    sheet = _Sheet([titles[number] for number in shown], times, colour)
    if not (entries and isinstance(entries[0], Remark) and entries[0].kind == "heading"):
        yield from sheet.head(empty=bool(rows and any(rows[0].cells)))
    for entry in entries:
        if isinstance(entry, Row):
            yield from sheet.row(entry._replace(cells=tuple(entry.cells[number] for number in shown)))
        else:
            yield from sheet.remark(entry)
            if entry.kind == "heading" and rows:
                yield from sheet.head(empty=any(rows[0].cells))


def render_left_out(recording: Recording, detail: Detail, by: str = "The seed") -> str:
    """Return what `detail` passes over of `recording`, a paragraph a column; empty if there is nothing."""
    passed = left_out(recording, detail)
    if not passed and not detail.usually:
        return ""
    heading = f"What {by[0].lower()}{by[1:]} leaves out here"
    paragraphs = [textwrap.fill(detail.usually, WIDTH)] if detail.usually else []
    paragraphs += [_paragraph(title, texts) for title, texts in passed.items()]
    return "\n".join([heading, "-" * len(heading), "", *paragraphs])


def _paragraph(title: str, texts: Sequence[str]) -> str:
    return textwrap.fill(f"{title}: {', '.join(texts)}", WIDTH, subsequent_indent="    ", break_on_hyphens=False)


class _Sheet:
    """The columns of one diagram."""

    def __init__(self, titles: Sequence[str], times: bool, colour: bool) -> None:
        self.titles = tuple(titles)
        self.times = times
        self.colour = colour
        self.margin = 10 if times else 2  # characters before the first bar
        self.columns = TWO if len(titles) == 2 and not times else self._shares(len(titles))

    def _shares(self, count: int) -> Sequence[Column]:
        width = (WIDTH - self.margin - 3 * count) // count
        return [Column(width, width, width - 1)] * count

    def head(self, empty: bool) -> Iterator[str]:
        """Yield the lines of the titles, and an `empty` one."""
        yield from self.row(Row(self.titles))
        if empty:
            yield from self.row(Row(("",) * len(self.titles)))

    def row(self, row: Row) -> Iterator[str]:
        """Yield the lines of `row`."""
        columns = self.columns if row.certain else [column.behind(INFERRED) for column in self.columns]
        cells = [_broken(text, column) for text, column in zip(row.cells, columns, strict=True)]
        if not row.certain:
            cells = [_inferred(lines) for lines in cells]
        margin = self._time(row)
        for texts in zip_longest(*cells, fillvalue="") if any(cells) else [("",) * len(self.columns)]:
            line = self._line(margin, texts)
            yield DIM.format(line) if self.colour and not row.certain else line
            margin = " " * self.margin

    def _line(self, margin: str, texts: Sequence[str]) -> str:
        filled = [f"|  {text:<{column.width}}" for text, column in zip(texts, self.columns, strict=True)]
        return (margin + "".join(filled)).rstrip()

    def _time(self, row: Row) -> str:
        if not self.times:
            return " " * self.margin
        if row.cells == self.titles:
            return f"{'ms':>{self.margin - 1}} "
        return " " * self.margin if row.time is None else f"{1000 * row.time:>{self.margin - 1}.3f} "

    def remark(self, remark: Remark) -> Iterator[str]:
        """Yield the lines of `remark`."""
        yield ""
        yield from textwrap.wrap(remark.text, WIDTH, break_on_hyphens=False)
        if remark.kind == "heading":
            yield "-" * min(len(remark.text), WIDTH)
        yield ""


def _broken(text: str, column: Column) -> list[str]:
    """Return `text` as lines that fit `column`."""
    if len(text) <= column.whole:
        return [text] if text else []
    lines = [""]
    for word in re.findall(r"\S+\s*", text):
        for piece in [word] if len(word.rstrip()) <= column.broken else _pieces(word, column.broken):
            if len((lines[-1] + piece).rstrip()) > column.broken:
                lines.append("")
            lines[-1] += piece
    return [line.rstrip() for line in lines if line]


def _pieces(word: str, width: int) -> Iterator[str]:
    """Break a word that is too long for a line where it is best, or else where it must."""
    for piece in filter(None, (FLAGS if "|" in word else PLACES).split(word)):
        yield from (piece[start : start + width] for start in range(0, len(piece), width))


def _inferred(lines: list[str]) -> list[str]:
    return [f"{INFERRED}{lines[0]}", *lines[1:]] if lines else lines


def _without_double_gaps(text: str) -> str:
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n")
