"""`fusewire top`: all FUSE connections of this machine, how they are and what passes through them."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from shlex import quote
from typing import TYPE_CHECKING, Final

from fusewire.cli.narrow import HelpFormatter

if TYPE_CHECKING:
    from fusewire.watch.overview import Row, Snapshot

__all__ = ["footnotes", "parser", "run"]

DESCRIPTION: Final = """\
Show every FUSE mount of this machine, whoever serves it: how it is, who serves
it, what waits, and how many requests pass. It opens no file of any mount and
asks no daemon, so it does not hang where they do."""

EPILOG: Final = """\
columns:
  STATE       what 'fusewire doctor --help' lists; capitals: somebody must act
  BLOCKED IN  how many of the daemon's threads wait for FUSE themselves, where
  WAITING     requests without an answer; OLDEST: for how long somebody waits
  REQ/S       requests answered in a second, of the last ten; ERRORS: the share
              that failed; P50, P99: half took less, one of a hundred more
  LIMITS      max_background/congestion_threshold

Figures need tracing, which is root's alone, and cost each request about a
microsecond; --no-trace does without. '?' is what we may not see, '-' nothing.

keys: arrows, d or Enter (details), / (filter), s and r (sort), l (light), q;
a (abort), u (unmount) and t (trace) ask before they do it

The screen needs the extra 'cli'. --once and --json need nothing; without a
terminal --once is what you get, as wide as it comes. Exit code: 0"""


def parser() -> argparse.ArgumentParser:
    """The arguments of `fusewire top`."""
    parser = argparse.ArgumentParser(
        prog="fusewire top", description=DESCRIPTION, epilog=EPILOG, formatter_class=HelpFormatter
    )
    parser.add_argument("filter", metavar="WORD", nargs="*", help="show only what has this word in it: 'sshfs', 'dead'")
    parser.add_argument("--once", action="store_true", help="print a table, and end")
    parser.add_argument("--json", action="store_true", help="print all that is known, as JSON, and end")
    parser.add_argument(
        "--sort",
        metavar="BY",
        choices=sort_names(),
        default="state",
        help=f"what comes first, or is most; by {', '.join(sort_names()[:-1])} or {sort_names()[-1]}. "
        "If not given, by state: the sick first",
    )
    parser.add_argument("--reverse", action="store_true", help="what would come first comes last")
    parser.add_argument(
        "--interval", metavar="SECONDS", type=seconds, default=1.0, help="from one look to the next; 1 if not given"
    )
    parser.add_argument("--no-trace", action="store_true", help="do not count and time requests")
    parser.add_argument("-v", "--verbose", action="store_true", help="on an error show the traceback too")
    return parser


def sort_names() -> list[str]:
    from fusewire.cli.top_table import SORTS

    return list(SORTS)


def seconds(text: str) -> float:
    """Read the time from one look to the next.

    Raises:
        argparse.ArgumentTypeError: it is no number, or none that makes sense.
    """
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0.1 <= number <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0.1 to 3600")
    return number


def run(arguments: argparse.Namespace) -> int:
    """Show the screen, or print once; return the exit code."""
    from fusewire.watch.overview import Overview

    once = arguments.once or arguments.json or not (sys.stdout.isatty() and sys.stdin.isatty())
    if not once:
        from fusewire.cli.top_screen import show
    with Overview(trace=not arguments.no_trace) as overview:
        if not once:
            return show(overview, arguments)
        snapshot = overview.refresh()
        if overview.tracing is not None and snapshot.rows:  # figures are of some time
            time.sleep(arguments.interval)
            snapshot = overview.refresh()
    rows = wanted(snapshot, arguments)
    if arguments.json:
        print(json.dumps([row.as_data() for row in rows], indent=2))
    else:
        print("\n".join(table(snapshot, rows, width())))
    return 0


def wanted(snapshot: Snapshot, arguments: argparse.Namespace) -> list[Row]:
    """Return the rows that were asked for, in the order that was asked for."""
    from fusewire.cli.top_table import in_order, matching

    return in_order(matching(snapshot.rows, arguments.filter), arguments.sort, arguments.reverse)


def width() -> int | None:
    """Return the columns of the terminal; None if it is none: then who reads gets all."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def table(snapshot: Snapshot, rows: list[Row], width: int | None) -> list[str]:
    """Return what `--once` prints."""
    from fusewire.cli.top_table import lines
    from fusewire.watch.words import filled

    if not snapshot.rows:
        return ["There is no FUSE mount on this machine."]
    if not rows:
        return [f"None of {len(snapshot.rows)} FUSE connections is like that."]
    notes = [line for note in footnotes(snapshot) for line in (filled("", note, width) if width else [note])]
    sick = [row for row in rows if row.diagnosis.is_sick]
    following = [f"Next: fusewire doctor {quote(sick[0].here or str(sick[0].number))}"] if sick else []
    return [*lines(rows, width), *notes, *following]  # what is to be typed stays in one line


def footnotes(snapshot: Snapshot) -> list[str]:
    """Return sentences on what is missing."""
    found = []
    if snapshot.unseen:
        found.append(f"Not seen: {'; '.join(snapshot.unseen)}.")
    if snapshot.untraced and snapshot.untraced != "not asked for":
        found.append(f"No figures: {snapshot.untraced}.")
    if snapshot.lost:
        found.append(f"Figures are too low: {snapshot.lost} events came faster than they could be read.")
    return found
