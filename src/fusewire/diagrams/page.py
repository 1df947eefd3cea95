"""A recording as one HTML page, in which one steps through the run.

The page is a single file that asks nobody for anything: style, script and the run itself stand in
it, and its policy forbids it to load more. Two things make it up:

    the diagram     a table, written here: a row a step, a column a task, remarks between them. It
                    is all there without a script, and on paper
    the panel       what everything is like at the current step: written by the script (page.js)
                    from the run as JSON (as_json.py), and hidden until a script runs

A row has the number of its step as its name, so that `page.html#step-12` leads there, script or no
script. What a diagram in text would pass over (columns.py) is here too, but pale.

Styles are in page.css, the frame is in page.html. Colours differ by column; nothing is said by
colour alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from itertools import count
from string import Template
from typing import Final

from fusewire.diagrams.as_json import as_data
from fusewire.diagrams.columns import EVERYTHING, Detail, levels, words
from fusewire.diagrams.recording import Moment, Recording, Remark
from fusewire.events import Step

__all__ = ["render"]

DEEPEST: Final = 6  # calls within calls are set in that far, and no farther
LANES: Final = 6  # colours of columns
SIDE_BY_SIDE: Final = 2  # columns that fit the screen of a telephone


def render(recording: Recording, detail: Detail = EVERYTHING) -> str:
    """Return the page, an HTML document of its own; what `detail` passes over is pale there."""
    table = _Table(recording, detail)
    return Template(_asset("page.html")).substitute(
        title=escape(recording.title),
        note=_note(recording),
        style=_asset("page.css"),
        script=_asset("page.js"),
        form="" if len(recording.titles) <= SIDE_BY_SIDE else "stacked",
        heads=table.heads(),
        rows="\n".join(table.rows()),
        run=json.dumps(as_data(recording, detail), ensure_ascii=False).replace("<", "\\u003c"),  # no `</script>` in it
    )


def _asset(name: str) -> str:
    return files("fusewire.diagrams").joinpath(name).read_text(encoding="utf-8")


def _note(recording: Recording) -> str:
    """What there is to say of a run on a real kernel, of which not all is seen."""
    if not recording.observed:
        return ""
    seen = sum(moment.certain for moment in recording.moments)
    inferred = sum(not moment.certain for moment in recording.moments)
    return f"On a real kernel: {seen} steps were observed, {inferred} are inferred and marked ·"


class _Table:
    """The diagram as a table of HTML."""

    def __init__(self, recording: Recording, detail: Detail) -> None:
        self.recording, self.detail = recording, detail
        self.level = detail  # at which the row is drawn that is being made
        self.titles = recording.titles
        longest = max((moment.time for moment in recording.moments), default=0.0)
        self.unit, self.scale = ("s", 1) if longest >= 10 else ("ms", 1000)
        self.last = ""  # task, if what it did last was no call and in none
        tasks = dict.fromkeys([*recording.columns, *(moment.task for moment in recording.moments)])
        self.company = [sum(recording.column(task) == column for task in tasks) for column in range(len(self.titles))]

    def heads(self) -> str:
        """Return the cells of the table's head."""
        titles = enumerate(map(escape, self.titles))
        cells = [f'<th scope="col" class="{_lane(n)}" title="{title}"><span>{title}</span></th>' for n, title in titles]
        return f'<th scope="col">{self.unit}</th>' + "".join(cells)

    def rows(self) -> Iterator[str]:
        """Yield the rows of the table's body."""
        numbers, depths = count(1), iter(_depths(self.recording))
        for entry, level in levels(self.recording, self.detail):
            self.level = level
            if isinstance(entry, Moment):
                yield self._moment(entry, next(numbers), next(depths))
            elif entry != ("heading", self.recording.title):  # which is the page's own
                yield self._remark(entry)

    def _moment(self, moment: Moment, number: int, depth: int) -> str:
        kinds = {
            "apart": self._begins(moment, depth),
            "inferred": not moment.certain,
            "pale": not self.level.draws(moment.event),
        }
        kind = " ".join(name for name, holds in kinds.items() if holds)
        cells = "".join(self._cells(moment, min(depth, DEEPEST)))
        time = f'<th scope="row">{moment.time * self.scale:.3f}</th>'
        return f'<tr id="step-{number}" class="{kind}">{time}{cells}</tr>'

    def _begins(self, moment: Moment, depth: int) -> bool:
        """Whether the task does something new, outside any call, and is to be set apart."""
        outside = depth == 0 and moment.event.step != Step.RETURN
        begins = outside and self.last != moment.task
        self.last = moment.task if outside and moment.event.step != Step.CALL else ""
        return begins

    def _cells(self, moment: Moment, depth: int) -> Iterator[str]:
        """Yield a cell a column: what the task does, and what that does to those whom it wakes."""
        own = self.recording.column(moment.task)
        for column in range(len(self.titles)):
            woken = [task for task in moment.event.woken if self.recording.column(task) == column]
            if column == own:
                yield self._cell(column, self._step(moment, own), depth)
            elif woken:
                yield self._cell(column, f"{self._who(woken, column)}<span>{escape(moment.event.echo)}</span>", 0)
            else:
                yield "<td></td>"

    def _cell(self, column: int, inside: str, depth: int) -> str:
        title = escape(self.titles[column])
        return f'<td class="{_lane(column)}" data-title="{title}" style="--depth:{depth}">{inside}</td>'

    def _step(self, moment: Moment, column: int) -> str:
        """What is in the cell of a step: who does it, what, and about what."""
        event, said = moment.event, escape(words(moment.event, self.level))
        who = self._who([moment.task], column)
        if not event.detail or escape(event.detail) in said:
            return f"{who}<span>{_breakable(said)}</span>"
        if said == escape(f">{event.name}()"):
            return f"{who}<span>{_breakable(said[:-1] + escape(event.detail))})</span>"
        return f"{who}<span>{_breakable(said)}</span> <i>{_breakable(escape(event.detail))}</i>"

    def _who(self, tasks: Sequence[str], column: int) -> str:
        """The names of tasks of a column, where it has others."""
        return f"<b>{escape(', '.join(tasks))}</b> " if self.company[column] > 1 else ""

    def _remark(self, remark: Remark) -> str:
        text = escape(remark.text)
        if remark.kind == "heading":
            inside = f"<h2>{text}</h2>"
        elif remark.kind == "deadlock":
            inside = f"<p><strong>{escape(self.level.deadlock)}</strong> {text}</p>"
        else:
            inside = f"<p>{text}</p>"
        return f'<tr class="remark {remark.kind}"><td colspan="{len(self.titles) + 1}">{inside}</td></tr>'


def _breakable(text: str) -> str:
    """Have a long name broken between its words, and neither the arrow of `fc->waitq` nor `-EINTR` behind the dash."""
    return re.sub(r"-(&gt;|E[A-Z0-9]+)", r"<u>-\1</u>", re.sub(r"(?<=[_/(|])(?=[^&)])", "<wbr>", text))


def _depths(recording: Recording) -> list[int]:
    """Return for each moment how many calls its task is in; a call and its return are in as many.

    A system call is in none. A task that is in calls when the recording begins, or a part of it that
    has a heading, shows it by returning from them.
    """
    depths: list[int] = []
    inside: dict[str, int] = {}  # calls that a task is in
    since: dict[str, list[int]] = {}  # moments of a task of which it may turn out that they are in more calls
    for entry in recording.entries:
        if isinstance(entry, Remark):
            inside, since = ({}, {}) if entry.kind == "heading" else (inside, since)
            continue
        task, event = entry.task, entry.event
        calls, returns = event.step == Step.CALL, event.step == Step.RETURN
        is_system_call = event.name.startswith("sys_")
        if task not in since or (calls and is_system_call):
            inside[task], since[task] = 0, []
        for earlier in since[task] if returns and not inside[task] else ():
            depths[earlier] += 1
        since[task].append(len(depths))
        depths.append(max(0, inside[task] - returns))
        inside[task] = depths[-1] + calls
        if returns and is_system_call:
            del since[task]
    return depths


def _lane(column: int) -> str:
    """The class of what stands in a column, which has its colour."""
    return f"lane-{column % LANES}"
