"""From a recording to rows: which step stands in which column, in which words, beside what.

A row is an event. Its words stand in the column of the task that takes the step; where the step wakes
tasks of other columns, theirs says so in the same row:

      |  [wake up fc->waitq]                 |  [woken up]

What a task begins outside any call is set apart by an empty row.

How much of a run is worth drawing differs from one diagram to the next, and so do the words: kernel.txt
itself says `[queue req on fc->pending]` here and `[queue READ request]` there. That is the `Detail` of a
diagram, a table. What it passes over is not lost: `left_out` has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from fusewire.diagrams.recording import Moment, Recording, Remark
from fusewire.events import Event, Step

__all__ = ["EVERYTHING", "Detail", "Row", "left_out", "levels", "rows", "words"]

CALLS: Final = (Step.CALL, Step.RETURN)
WAITS: Final = (Step.SLEEP, Step.WAKE)


class Row(NamedTuple):
    """One line of a diagram, or more if a step does not fit its column."""

    cells: tuple[str, ...]  # one a column; '' if nothing stands there
    time: float | None = None  # seconds since the recording began; None of an empty row
    certain: bool = True  # it was seen; else it is inferred


@dataclass(frozen=True)
class Detail:
    """Which steps a diagram draws, and in which words.

    A key of `words` is a step, or a step and a name, for instance that of a call. In the words stand
    `{name}`, `{detail}` and `{operation}`, which is the first word of the detail.
    """

    steps: frozenset[str] | None = None  # those that are drawn; None: all
    calls: frozenset[str] | None = None  # the functions whose beginning and end are drawn; None: all
    without: frozenset[str] = frozenset()  # names of which no step is drawn
    queues: frozenset[str] | None = None  # the wait queues of which sleeping and waking is drawn; None: all
    words: Mapping[str | tuple[str, str], str] = field(default_factory=dict)
    beside: frozenset[str] = frozenset()  # steps that stand in the row of the step before, where there is room
    usual: frozenset[str] = frozenset()  # steps and names that need not be listed where they are not drawn
    usually: str = ""  # what is said of them instead
    deadlock: str = "*DEADLOCK*"
    gaps_before: frozenset[str] | None = None  # steps before which an empty row stands, outside any call; None: all
    first: Detail | None = None  # goes instead, from a heading on, until one of these steps has been taken
    until: frozenset[str] = frozenset()

    def draws(self, event: Event) -> bool:
        if event.name in self.without:
            return False
        if event.step in CALLS:
            return self.calls is None or event.name in self.calls
        if event.step in WAITS and self.queues is not None and event.name not in self.queues:
            return False
        return self.steps is None or event.step in self.steps

    def is_usual(self, event: Event) -> bool:
        return event.step in self.usual or (event.step in CALLS and event.name in self.usual)

    def gap(self, step: str) -> bool:
        """Whether an empty row stands before `step` where it is taken outside any call."""
        return self.gaps_before is None or step in self.gaps_before

    def everything(self) -> Detail:
        """The same words for all there is."""
        gaps = self.gaps_before or None  # none at all is for a few steps
        return Detail(words=self.words, beside=self.beside, deadlock=self.deadlock, gaps_before=gaps)


EVERYTHING: Final = Detail()


def words(event: Event, detail: Detail = EVERYTHING) -> str:
    """Return what a diagram says for `event`."""
    template = detail.words.get((event.step, event.name)) or detail.words.get(event.step)
    if template is None:
        return event.text
    operation = event.detail.split(" ")[0]
    return template.format(name=event.name, detail=event.detail, operation=operation).rstrip()


def rows(recording: Recording, detail: Detail = EVERYTHING) -> Iterator[Row | Remark]:
    """Yield the rows of `recording`, and its remarks where they belong.

    After the remark that there is a deadlock stands a row with that word, in the column of the task
    that went to sleep last.
    """
    drawing = _Drawing(recording, detail)
    for entry, drawing.detail in levels(recording, detail):
        if isinstance(entry, Remark):
            yield from drawing.remark(entry)
        else:
            yield from drawing.moment(entry)
    yield from drawing.take()


def levels(recording: Recording, detail: Detail) -> Iterator[tuple[Moment | Remark, Detail]]:
    """Yield what happened, and at which level it is drawn."""
    now = detail.first or detail
    for entry in recording.entries:
        if isinstance(entry, Remark):
            now = detail.first or detail if entry.kind == "heading" else now
        elif entry.event.step in detail.until:
            now = detail
        yield entry, now


class _Drawing:
    """What has to be remembered from one row to the next: a row is kept back, in case something stands beside it."""

    def __init__(self, recording: Recording, detail: Detail) -> None:
        self.recording, self.detail = recording, detail
        self.width = len(recording.titles)
        self.depths: dict[str, int] = {}  # calls that a task is in
        self.kept: Row | None = None
        self.last: Moment | None = None

    def take(self) -> Iterator[Row]:
        if self.kept is not None:
            yield self.kept
        self.kept = None

    def remark(self, remark: Remark) -> Iterator[Row | Remark]:
        yield from self.take()
        if remark.kind == "deadlock" and self.last is not None:
            yield Row(self._cells({self._column(self.last.task): self.detail.deadlock}), self.last.time)
        yield remark

    def moment(self, moment: Moment) -> Iterator[Row]:
        self.last = moment
        if not self.detail.draws(moment.event):
            return
        column, text = self._column(moment.task), words(moment.event, self.detail)
        if self._fits_beside(moment, column):
            assert self.kept is not None
            cells = self._cells({**dict(enumerate(self.kept.cells)), column: text})
            self.kept = self.kept._replace(cells=cells)
            return
        yield from self.take()
        if self._begins(moment) and self.detail.gap(moment.event.step):
            yield Row(self._cells({}))
        self.kept = Row(self._cells({**self._echoes(moment, column), column: text}), moment.time, moment.certain)

    def _fits_beside(self, moment: Moment, column: int) -> bool:
        return moment.event.step in self.detail.beside and self.kept is not None and not self.kept.cells[column]

    def _begins(self, moment: Moment) -> bool:
        """Count the calls that the task is in; say whether it was in none before."""
        depth, step = self.depths.get(moment.task, 0), moment.event.step
        self.depths[moment.task] = max(0, depth + (step == Step.CALL) - (step == Step.RETURN))
        return depth == 0

    def _echoes(self, moment: Moment, column: int) -> dict[int, str]:
        event = moment.event
        return {other: event.echo for name in event.woken if (other := self._column(name)) != column}

    def _column(self, task: str) -> int:
        return self.recording.column(task)

    def _cells(self, texts: Mapping[int, str]) -> tuple[str, ...]:
        return tuple(texts.get(column, "") for column in range(self.width))


def left_out(recording: Recording, detail: Detail) -> dict[str, list[str]]:
    """Return what `detail` passes over: title of the column -> words, each once, in their order."""
    passed: dict[str, dict[str, None]] = {title: {} for title in recording.titles}
    for entry, now in levels(recording, detail):
        if isinstance(entry, Moment) and not (now.draws(entry.event) or now.is_usual(entry.event)):
            passed[recording.titles[recording.column(entry.task)]][words(entry.event, detail)] = None
    return {title: _without_returns(texts) for title, texts in passed.items() if texts}


def _without_returns(texts: Iterable[str]) -> list[str]:
    """A call that is named need not be named again when it returns."""
    return [text for text in texts if not text.startswith("<")]
