"""A diagnosis in words, a few lines for people:

/mnt/x (fuse.sshfs): DEADLOCKED, certain: the daemon uses its own mount
  connection 40, served by python3 (pid 210); 1 request waits, the oldest for 12 s
  python3 (pid 210, which should answer) is in unlink on /mnt/x/file and waits for a lock that rm (pid 215) has
  rm (pid 215) is in unlinkat on /mnt/x/file and waits for an answer from /mnt/x
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Final

from fusewire.watch.diagnosis import Certainty, Diagnosis, Edge, State
from fusewire.watch.scenarios import ADVICE
from fusewire.watch.wait_graph import Kind

__all__ = ["brief", "duration", "filled", "full", "headline"]

SHOWN: Final = 3  # edges of one diagnosis; more are counted
LONGEST: Final = 60  # characters of a path; what is longer loses its middle


def brief(diagnosis: Diagnosis, width: int) -> list[str]:
    """Return the verdict, and who serves it."""
    return [*filled("", headline(diagnosis), width), *filled("  ", serving(diagnosis), width)]


def full(diagnosis: Diagnosis, places: Mapping[int, str], width: int, drawn: bool = False) -> list[str]:
    """Return also who waits for whom, how that came about, and what to change.

    Args:
        places: what to call each connection, by number.
        drawn: how it came about is drawn besides, and need not be said.
    """
    sentences = [sentence(diagnosis, edge, places) for edge in diagnosis.edges[:SHOWN]]
    return [
        *brief(diagnosis, width),
        *(line for text in (*sentences, *more(diagnosis, drawn)) for line in filled("  ", text, width)),
    ]


def headline(diagnosis: Diagnosis) -> str:
    """Return the verdict in one line."""
    what = diagnosis.state.value.upper() if diagnosis.is_sick else diagnosis.state.value
    proven = diagnosis.certainty is Certainty.CERTAIN and diagnosis.state is not State.DEADLOCKED
    sure = "" if proven or diagnosis.state is State.UNKNOWN else diagnosis.certainty.value
    part = "but others are answered" if diagnosis.partial else ""
    kind = f" ({diagnosis.fstype})" if diagnosis.fstype else ""
    why = f": {diagnosis.scenario.value}" if diagnosis.scenario else ""
    return f"{diagnosis.place}{kind}: {', '.join(filter(None, (what, sure, part)))}{why}"


def serving(diagnosis: Diagnosis) -> str:
    """Say who serves it, and what waits."""
    who = f"connection {diagnosis.connection}, served by {daemon(diagnosis)}"
    if diagnosis.waiting is None:
        return f"{who}; how many requests wait we may not see"
    if not diagnosis.waiting:
        return f"{who}; no request waits"
    count = "1 request waits" if diagnosis.waiting == 1 else f"{diagnosis.waiting} requests wait"
    first = "" if diagnosis.waiting == 1 else ", the oldest"
    since = f"{first} for {duration(diagnosis.oldest)}" if diagnosis.oldest is not None else ""
    return f"{who}; {count}{since}"


def daemon(diagnosis: Diagnosis) -> str:
    return diagnosis.daemon if diagnosis.servers or diagnosis.state is not State.UNKNOWN else "whom we may not see"


def sentence(diagnosis: Diagnosis, edge: Edge, places: Mapping[int, str]) -> str:
    """Say of one thread what it does, and whom it waits for."""
    thread = f", thread {edge.tid}" if edge.tid != edge.pid else ""
    who = f"{edge.command} (pid {edge.pid}{thread}{', which should answer' if edge.serves else ''})"
    return f"{who} {doing(edge)}waits for {whom(diagnosis, edge, places)}"


def doing(edge: Edge) -> str:
    if edge.kind is Kind.EXIT:
        return "dies and "
    path = f" on {shortened(edge.path)}" if edge.path else ""
    return f"is in {edge.call}{path} and " if edge.call else ""


def whom(diagnosis: Diagnosis, edge: Edge, places: Mapping[int, str]) -> str:
    """Say for whom, or what, a thread waits."""
    if edge.holder is not None:
        names = [f"{other.command} (pid {other.pid})" for other in diagnosis.edges if other.tid == edge.holder]
        lock = f"the lock of {edge.lock}, which" if edge.lock else "a lock that"
        return f"{lock} {names[0] if names else f'thread {edge.holder}'} has"
    places_of_it = [places.get(number, f"connection {number}") for number in edge.connections]
    return f"{edge.kind.value} {' or '.join(places_of_it) or 'a FUSE mount, we cannot tell which'}"


def more(diagnosis: Diagnosis, drawn: bool = False) -> Iterator[str]:
    """Yield what else there is to say: how many more wait, what is known besides, what to change."""
    left = len(diagnosis.edges) - SHOWN
    if left > 0:
        yield f"{left} more {'waits' if left == 1 else 'wait'} for it"
    yield from diagnosis.remarks
    if diagnosis.scenario:
        advice = ADVICE[diagnosis.scenario]
        shown = f" See: fusewire explain {advice.explanation}" if advice.explanation and diagnosis.is_sick else ""
        if not drawn:
            yield advice.happened + shown
        if diagnosis.is_sick and advice.change:
            yield f"Lest it come back: {advice.change}"


def shortened(path: str) -> str:
    """Return a path without its middle, if it is long."""
    return path if len(path) <= LONGEST else f"{path[: LONGEST // 3]}...{path[-LONGEST // 2 :]}"


def duration(seconds: float | None) -> str:
    """Return a time for people: '0.3 s', '12 s', '5 min', '3 h'."""
    if seconds is None:
        return "some time"
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def filled(indent: str, text: str, width: int) -> list[str]:
    """Return a paragraph as lines; those after the first are indented by two more."""
    hanging = indent + "  "
    return textwrap.wrap(
        text, width, initial_indent=indent, subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False
    )
