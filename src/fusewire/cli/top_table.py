"""The table of `fusewire top`: one row of `COLUMNS` for each of its columns.

Where there is not room for all, those of highest `rank` are left out, and then the widest texts lose their middle.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from fusewire.watch.diagnosis import State
from fusewire.watch.overview import Row
from fusewire.watch.traffic import Traffic
from fusewire.watch.words import duration

__all__ = ["COLUMNS", "SORTS", "Column", "cells", "chosen", "in_order", "lines", "matching", "printable"]

GAP: Final = 2  # blanks between columns
UNKNOWN: Final = "?"  # it is not ours to see
NOTHING: Final = "-"  # there is none
NO_LIMIT: Final = 0xFFFFFFFF  # what an abort sets, so that nobody goes on waiting for room; fs/fuse/dev.c


class Column(NamedTuple):
    """One column."""

    title: str
    text: Callable[[Row], str]
    rank: int  # those of highest rank are left out first
    least: int = 0  # characters to which a text may be shortened; 0 for not at all
    right: bool = False  # numbers end where the column ends


def mountpoint_of(row: Row) -> str:
    """Say where it is mounted; if that is in another mount namespace, without who sees it: details have that."""
    if row.here is not None or not row.diagnosis.mountpoints:
        return row.here or NOTHING
    return row.diagnosis.mountpoints[0].partition(" (as ")[0] + " [ns]"


def daemon_of(row: Row) -> str:
    servers = row.diagnosis.servers
    if not servers:
        return UNKNOWN if row.diagnosis.state is State.UNKNOWN else NOTHING
    more = f" +{len(servers) - 1}" if len(servers) > 1 else ""
    return f"{servers[0].command} {servers[0].pid}{more}"


def blocked_of(row: Row) -> str:
    return f"{row.blocked}/{row.threads}" if row.diagnosis.servers else NOTHING


def limits_of(row: Row) -> str:
    if row.max_background == NO_LIMIT:
        return NOTHING
    return UNKNOWN if row.max_background is None else f"{row.max_background}/{row.congestion_threshold}"


def oldest_of(row: Row) -> str:
    return NOTHING if row.diagnosis.oldest is None else duration(row.diagnosis.oldest)


def state_of(row: Row) -> str:
    state = row.diagnosis.state.value
    return state.upper() if row.diagnosis.is_sick else state


def figure(text: Callable[[Traffic], str]) -> Callable[[Row], str]:
    """Return what shows a figure of the traffic, where it was measured."""
    return lambda row: UNKNOWN if row.traffic is None else text(row.traffic)


def rate(per_second: float) -> str:
    return f"{per_second:.0f}" if per_second >= 10 or per_second == 0 else f"{per_second:.1f}"


def percent(share: float | None) -> str:
    return NOTHING if share is None else f"{share:.0%}"


def latency(seconds: float | None) -> str:
    """Return a latency for people: '45us', '3.2ms', '1.5s'."""
    if seconds is None:
        return NOTHING
    for unit, size in (("us", 1e-6), ("ms", 1e-3)):
        if seconds < 999.5 * size:
            value = seconds / size
            return f"{value:.1f}{unit}" if value < 9.95 else f"{value:.0f}{unit}"
    return f"{seconds:.1f}s" if seconds < 9.95 else f"{seconds:.0f}s"


COLUMNS: Final = (
    Column("CONN", lambda row: str(row.number), 8, right=True),
    Column("MOUNTPOINT", mountpoint_of, 0, 24),
    Column("TYPE", lambda row: row.diagnosis.fstype or NOTHING, 11, 8),
    Column("SOURCE", lambda row: row.diagnosis.source or NOTHING, 12, 8),
    Column("STATE", state_of, 0),
    Column("DAEMON", daemon_of, 1, 14),
    Column("BLOCKED", blocked_of, 9, right=True),
    Column("IN", lambda row: ", ".join(row.blocked_in) or NOTHING, 13, 12),
    Column("WAITING", lambda row: count_of(row.diagnosis.waiting), 2, right=True),
    Column("OLDEST", oldest_of, 3, right=True),
    Column("REQ/S", figure(lambda traffic: rate(traffic.per_second)), 4, right=True),
    Column("ERRORS", figure(lambda traffic: percent(traffic.errors)), 6, right=True),
    Column("P50", figure(lambda traffic: latency(traffic.p50)), 7, right=True),
    Column("P99", figure(lambda traffic: latency(traffic.p99)), 5, right=True),
    Column("LIMITS", limits_of, 10, right=True),
)


def count_of(number: int | None) -> str:
    return UNKNOWN if number is None else str(number)


# --- what fits


def printable(text: str) -> str:
    """Return a text without what a terminal would obey: names of programs and mountpoints are anybody's to choose."""
    return "".join(character if character.isprintable() else "?" for character in text)


def width_of(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) != 0 for character in text)


def shortened(text: str, width: int) -> str:
    """Return a text without its middle, if it is wider than that: the end of a path says most."""
    if width_of(text) <= width:
        return text
    left = max(1, (width - 1) // 3)
    head, tail = text[:left], text[left:]
    while tail and width_of(head) + 1 + width_of(tail) > width:
        tail = tail[1:]
    return f"{head}~{tail}"


def chosen(rows: Sequence[Row], width: int | None) -> list[tuple[Column, int]]:
    """Return the columns that are shown of these rows, each with its width; None for as much room as they need."""
    columns = {column: max(width_of(printable(text)) for text in texts(column, rows)) for column in COLUMNS}
    if width is None:
        return list(columns.items())
    while len(columns) > 2 and needed({one: min(size, one.least or size) for one, size in columns.items()}) > width:
        columns.pop(max(columns, key=lambda column: column.rank))
    while needed(columns) > width:
        able = [column for column in columns if column.least and columns[column] > column.least]
        if not able:
            break
        widest = max(able, key=lambda column: columns[column] - column.least)
        columns[widest] -= 1
    return list(columns.items())


def texts(column: Column, rows: Sequence[Row]) -> list[str]:
    return [column.title, *(column.text(row) for row in rows)]


def needed(widths: dict[Column, int]) -> int:
    return sum(widths.values()) + GAP * (len(widths) - 1)


def cells(row: Row, columns: Sequence[tuple[Column, int]]) -> list[str]:
    """Return the texts of one row, each as wide as its column."""
    return [aligned(shortened(printable(column.text(row)), width), column, width) for column, width in columns]


def aligned(text: str, column: Column, width: int) -> str:
    blanks = " " * (width - width_of(text))
    return blanks + text if column.right else text + blanks


def lines(rows: Sequence[Row], width: int | None) -> list[str]:
    """Return the table as text, at most so wide if that can be; None for as wide as it needs."""
    columns = chosen(rows, width)
    titles = [aligned(column.title, column, size) for column, size in columns]
    return [(" " * GAP).join(texts).rstrip() for texts in (titles, *(cells(row, columns) for row in rows))]


# --- which rows, and in which order


def matching(rows: Sequence[Row], words: Sequence[str]) -> list[Row]:
    """Return the rows in which each of these words occurs, in whatever column and in whatever case."""
    return [row for row in rows if all(word.lower() in haystack(row) for word in words)]


def haystack(row: Row) -> str:
    columns = (column.text(row) for column in COLUMNS if not column.right)
    return " ".join([*columns, *row.diagnosis.mountpoints]).lower()


SICKEST_FIRST: Final = (
    State.DEADLOCKED,
    State.TIMING_OUT,
    State.STOPPED,
    State.DEAD,
    State.SLOW,
    State.UNKNOWN,
    State.BUSY,
    State.ORPHAN,
    State.IDLE,
)


def most_first(value: Callable[[Row], float | None]) -> Callable[[Row], Any]:
    """Return a key for sorting by a number, the greatest first, the unknown last."""

    def key(row: Row) -> float:
        number = value(row)
        return 1.0 if number is None else -number

    return key


def of_traffic(name: str) -> Callable[[Row], Any]:
    return most_first(lambda row: None if row.traffic is None else getattr(row.traffic, name))


SORTS: Final[dict[str, Callable[[Row], Any]]] = {
    "state": lambda row: (SICKEST_FIRST.index(row.diagnosis.state), -(row.diagnosis.waiting or 0)),
    "mountpoint": lambda row: row.diagnosis.place,
    "daemon": lambda row: [server.command for server in row.diagnosis.servers],
    "waiting": most_first(lambda row: row.diagnosis.waiting),
    "oldest": most_first(lambda row: row.diagnosis.oldest),
    "rate": of_traffic("per_second"),
    "errors": of_traffic("errors"),
    "p50": of_traffic("p50"),
    "p99": of_traffic("p99"),
}


def in_order(rows: Sequence[Row], sort: str, reverse: bool = False) -> list[Row]:
    """Return the rows in the order of one of `SORTS`; of equals the least number first."""
    return sorted(sorted(rows, key=lambda row: row.number), key=SORTS[sort], reverse=reverse)
