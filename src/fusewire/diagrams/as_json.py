"""A recording as JSON, for programs; and for the page (page.py), which draws from nothing else.

One object:

    format      "fusewire recording"
    version     1. It grows when something is taken away or means something else; what is merely
                added leaves it, so readers pass over what they do not know
    title       what was run
    observed    true of a run on a real kernel
    steps       how many steps the run has
    columns     from the left: {"title": ..., "tasks": [names]}
    entries     what happened, in order; an entry's "kind" says what it is

A step is `"kind": "step"`:

    number      from 1
    time        seconds since the first step
    task        who did it, and `column`: where it stands, from 0
    step        the pattern, such as ">{}()" or "[sleep on {}]", and `name`: what its {} stands for
    text        the two put together, in the words of kernel.txt
    detail      what kernel.txt passes over: the arguments of a call, the request; "" if nothing
    words       what the diagram says instead of `text`, and `drawn`: whether it says it at all, for
                a diagram may pass over what does not matter to it (columns.py)
    woken       names of the tasks that it wakes, and `echo`: what happens to them, if any
    certain     false of a step that nobody has seen, which must have come in between
    state       what everything is like as the step is said; null if nobody looked

and everything else a remark of one text: `heading`, `deadlock`, `text` or `end`. A state has the
five tables that state.py describes; all are objects, and in their order nothing is meant:

    queues      {"pending": ["UNLINK 4"], ...}, each of fc's lists, empty ones too
    sleepers    {"fc->waitq": ["daemon"]}
    locks       {'inode semaphore for "file"': {"holders": ["rm"], "waiting": ["daemon"]}}
    flags       {"UNLINK 4": ["sent"], "fc": ["connected", "initialized"]}
    tasks       {"rm": "asleep on req->waitq of UNLINK 4"}
"""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import count
from typing import Any, Final

from fusewire.diagrams.columns import EVERYTHING, Detail, levels, words
from fusewire.diagrams.recording import Moment, Recording, Remark

__all__ = ["FORMAT", "VERSION", "as_data", "render"]

FORMAT: Final = "fusewire recording"
VERSION: Final = 1


def render(recording: Recording, detail: Detail = EVERYTHING) -> str:
    """Return `recording` as JSON, drawn or not at the level of `detail`: a line an entry, for those who `diff`."""
    data = as_data(recording, detail)
    entries = ",\n".join("    " + json.dumps(entry, ensure_ascii=False) for entry in data.pop("entries"))
    head = [f"  {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in data.items()]
    listed = f'  "entries": [\n{entries}\n  ]' if entries else '  "entries": []'
    return "{\n" + ",\n".join([*head, listed]) + "\n}\n"


def as_data(recording: Recording, detail: Detail = EVERYTHING) -> dict[str, Any]:
    """Return what `render` writes down, as dicts and lists."""
    numbers = count(1)
    entries = [
        _step(recording, entry, next(numbers), level) if isinstance(entry, Moment) else _remark(entry)
        for entry, level in levels(recording, detail)
    ]
    return {
        "format": FORMAT,
        "version": VERSION,
        "title": recording.title,
        "observed": recording.observed,
        "steps": sum(1 for _ in recording.moments),
        "columns": _columns(recording),
        "entries": entries,
    }


def _columns(recording: Recording) -> list[dict[str, Any]]:
    """The columns, and who stands in each: those too who have none of their own."""
    tasks = dict.fromkeys([*recording.columns, *(moment.task for moment in recording.moments)])
    return [
        {"title": title, "tasks": [task for task in tasks if recording.column(task) == number]}
        for number, title in enumerate(recording.titles)
    ]


def _step(recording: Recording, moment: Moment, number: int, detail: Detail) -> dict[str, Any]:
    event = moment.event
    return {
        "kind": "step",
        "number": number,
        "time": round(moment.time, 9),
        "task": moment.task,
        "column": recording.column(moment.task),
        "step": str(event.step),
        "name": event.name,
        "text": event.text,
        "detail": event.detail,
        "words": words(event, detail),
        "drawn": detail.draws(event),
        "woken": list(event.woken),
        "echo": str(event.echo) if event.woken else "",
        "certain": moment.certain,
        "state": None if moment.state is None else asdict(moment.state),
    }


def _remark(remark: Remark) -> dict[str, Any]:
    return {"kind": remark.kind, "text": remark.text}
