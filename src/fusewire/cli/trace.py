"""`fusewire trace`: the requests of live mounts as they pass, whoever serves them."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import re
from pathlib import Path
from typing import Final

from fusewire.cli.narrow import HelpFormatter
from fusewire.cli.report import USAGE, CommandError

__all__ = ["parser", "run"]

DESCRIPTION: Final = """\
Show the requests of a FUSE mount as they pass, whichever daemon serves it: who
asks, for what, how long the request waited until the daemon had read it
(pending), how long the daemon had it (process), and how that ended. Without a
target it shows those of all mounts. Needs root, for it reads Linux's tracing;
touches no mount.

Ctrl-C ends it; then it says what the requests come to."""

EPILOG: Final = """\
examples:
  fusewire trace /mnt/x                          a line for each request
  fusewire trace /mnt/x --slow 100ms             only what takes so long
  fusewire trace /mnt/x --summary --for 10       percentiles of ten seconds
  fusewire trace /mnt/x --diagram --op UNLINK    how one of them travels
  fusewire trace --perfetto out.json -n 1000     a file for ui.perfetto.dev

times are in us, ms, s; < means at most, where the read was not seen; bytes are
those of request and reply. FORGET and INTERRUPT pass no tracepoint."""

DURATION: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(us|ms|s|m)")
SECONDS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


def parser() -> argparse.ArgumentParser:
    """The arguments of `fusewire trace`."""
    parser = argparse.ArgumentParser(
        prog="fusewire trace", description=DESCRIPTION, epilog=EPILOG, formatter_class=HelpFormatter
    )
    parser.add_argument(
        "target", metavar="TARGET", nargs="?", help="a mountpoint, the number of a connection, or the pid of a daemon"
    )
    which = parser.add_argument_group("which requests")
    which.add_argument("--op", metavar="NAME", action="append", type=operations, help="only these: LOOKUP,GETATTR")
    which.add_argument("--pid", metavar="PID", action="append", type=int, help="only those of this process")
    which.add_argument("--slow", metavar="TIME", type=seconds, help="only those that take so long, such as 100ms")
    until = parser.add_argument_group("until when")
    until.add_argument("-n", "--count", metavar="N", type=positive, help="end after so many")
    until.add_argument("--for", metavar="SECONDS", dest="seconds", type=seconds_or_number, help="end after so long")
    shown = parser.add_argument_group("how it is shown")
    how = shown.add_mutually_exclusive_group()
    how.add_argument("--summary", action="store_true", help="only what they come to: histograms, errors, callers")
    how.add_argument("--diagram", action="store_true", help="each as a diagram: both ends, step by step")
    shown.add_argument("--json", action="store_true", help="a line of JSON for each; with --summary one for all")
    shown.add_argument("--perfetto", metavar="FILE", type=Path, help="write a file for ui.perfetto.dev as well")
    parser.add_argument("-v", "--verbose", action="store_true", help="on an error show the traceback too")
    return parser


# --- what arguments mean


def operations(text: str) -> set[str]:
    """Return the operations that are named."""
    from fusewire.wire import OPERATIONS

    known = {row.name for row in OPERATIONS.values()}
    names = {name.strip().upper().removeprefix("FUSE_") for name in text.split(",")}
    for name in names - known:
        near = difflib.get_close_matches(name, known, n=1)
        raise argparse.ArgumentTypeError(f"there is no operation '{name}'" + (f"; {near[0]}?" if near else ""))
    return names


def seconds(text: str) -> float:
    """Return the seconds that a time with its unit means."""
    found = DURATION.fullmatch(text.strip())
    if found is None:
        raise argparse.ArgumentTypeError(f"'{text}' is no time with its unit, such as 100ms, 250us or 2s")
    return float(found[1]) * SECONDS[found[2]]


def seconds_or_number(text: str) -> float:
    """Return the seconds that a time, or a bare number, means."""
    bare = re.fullmatch(r"\d+(?:\.\d*)?|\.\d+", text.strip())
    return float(text) if bare else seconds(text)


def positive(text: str) -> int:
    """Return a number of requests."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"'{text}' is no number of requests")
    return int(text)


def targets(text: str | None) -> list[int]:
    """Return the connections that a target means; none for all.

    Raises:
        CommandError: it means none.
    """
    from fusewire.cli.doctor import connection_of
    from fusewire.watch.trace import connections_of, look_at_connections

    if text is None:
        return []
    if not text.isdecimal():
        return [connection_of(text)]
    number, connections = int(text), look_at_connections()
    served = connections_of(number, connections)
    if number in connections and served not in ([], [number]):
        raise CommandError(f"{number} is a connection, and the pid of a daemon too: name the mountpoint", code=USAGE)
    if number in connections:
        return [number]
    if not served:
        raise CommandError(f"{number} is neither a FUSE connection nor a process that serves one", code=USAGE)
    return served


# --- the command


def run(arguments: argparse.Namespace) -> int:
    """Trace until it is to end; return the exit code."""
    from fusewire.cli.trace_view import Viewer
    from fusewire.watch.trace import Trace

    if arguments.json and arguments.diagram:
        raise CommandError("a diagram is no JSON: give --diagram or --json", code=USAGE)
    trace = Trace(targets(arguments.target), drawn=arguments.diagram)
    with contextlib.ExitStack() as stack:
        stack.enter_context(trace)
        viewer = Viewer(arguments, trace, stack)
        viewer.begin()
        with contextlib.suppress(KeyboardInterrupt):  # which is how it is ended
            viewer.watch()
        viewer.end()
    return 0
