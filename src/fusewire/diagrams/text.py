"""The events of a run as kernel.txt draws them: a column for one task, a column for the rest.

      |  "rm /mnt/fuse/file"                 |  FUSE filesystem daemon
      |                                      |
      |  >sys_unlink()                       |

A row is an event. A wake-up fills both columns of its row: who wakes on one side, who is woken on
the other. What a task begins outside any call is set apart by an empty row. A step that does not
fit its column goes on in the next line.
"""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterable, Iterator
from itertools import zip_longest
from typing import Final

from fusewire.events import Event

Row = tuple[str, str]
Recording = list[tuple[str, Event]]  # the name of a task, and what it did

EMPTY: Final = ("", "")
COLUMN: Final = 36  # of the left one; the right one goes on to column 80
WHOLE: Final = (31, 35)  # the longest texts that either column keeps in one line
BROKEN: Final = 27  # the width of those that it does not


def rows(run: Recording, left: str, leave_out: Collection[str] = ()) -> Iterator[Row]:
    """Yield one row an event: `left` in the left column, every other task in the right one.

    An event that has a text of `leave_out` in its own is passed over.
    """
    depths: dict[str, int] = {}
    for task, event in run:
        if any(text in event.text for text in leave_out):
            continue
        depth = depths.get(task, 0)
        if depth == 0:
            yield EMPTY
        depths[task] = max(0, depth + event.text.startswith(">") - event.text.startswith("<"))
        across = any((name == left) is not (task == left) for name in event.woken)
        echo = event.echo if across else ""
        yield (event.text, echo) if task == left else (echo, event.text)


def render(title: Row, rows: Iterable[Row]) -> str:
    """Return `rows` below `title` as text of at most 80 columns."""
    return "\n".join(
        f"  |  {left:<{COLUMN}}|  {right}".rstrip() for row in (title, *rows) for left, right in _lines(row)
    )


def _lines(row: Row) -> Iterator[Row]:
    cells = [
        [text] if len(text) <= whole else textwrap.wrap(text, BROKEN) for text, whole in zip(row, WHOLE, strict=True)
    ]
    left, right = cells
    return zip_longest(left, right, fillvalue="")
