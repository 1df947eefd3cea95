"""`fusewire explain`: the diagrams, each drawn from a run that takes place as it is asked for."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fusewire.cli.narrow import HelpFormatter
from fusewire.cli.report import USAGE, CommandError

if TYPE_CHECKING:
    from fusewire.diagrams.columns import Detail
    from fusewire.diagrams.recording import Recording
    from fusewire.explain.explanation import Explanation, Options

__all__ = ["parser", "run"]

DESCRIPTION = """\
Run both ends of a FUSE connection in this process, and draw what happens.
Nothing is mounted. Without a name, list what can be explained."""

EXAMPLES = """\
examples:
  fusewire explain unlink                            how one request travels
  fusewire explain simple-deadlock --threads 3       a deadlock, and its cure
  fusewire explain tricky-deadlock --profile linux   another, and today's cures
  fusewire explain read --format html -o read.html   a page to step through
  fusewire explain simple-deadlock --real            on the kernel running here"""


def parser() -> argparse.ArgumentParser:
    """The arguments of `fusewire explain`."""
    parser = argparse.ArgumentParser(
        prog="fusewire explain",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="what to explain, such as 'unlink'")
    play = parser.add_argument_group("what is run")
    play.add_argument("--profile", metavar="NAME", help="'linux', or 'seed2005', in which kernel.txt's own run")
    play.add_argument("--path", metavar="FILE", help="of the file that it is about (default: /mnt/fuse/file)")
    play.add_argument("--threads", type=int, metavar="N", help="of the daemon (default: 1)")
    play.add_argument("--uid", type=int, metavar="N", help="of whoever uses the filesystem (default: 0)")
    play.add_argument("--real", action="store_true", help="on the kernel that runs here, mounted where nobody sees it")
    play.add_argument(
        "--replay", metavar="STRING", help="a run that 'fusewire explore' has printed, in place of a NAME"
    )
    draw = parser.add_argument_group("how it is shown")
    draw.add_argument("-a", "--all", action="store_true", help="draw also what the diagram passes over")
    draw.add_argument("-t", "--times", action="store_true", help="draw when each step was, in milliseconds")
    draw.add_argument("--format", choices=("text", "json", "html"), default="text", help="text is the default")
    draw.add_argument("-o", "--output", metavar="FILE", type=Path, help="where to write it, in place of stdout")
    parser.add_argument("-v", "--verbose", action="store_true", help="on an error show the traceback too")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Print one diagram, or the list of them."""
    if arguments.name is None and arguments.replay is None:
        print(listing(), end="")
        return 0
    if arguments.format == "html" and arguments.output is None and sys.stdout.isatty():
        raise CommandError("a page is for a browser: say where to write it, such as -o page.html", code=USAGE)
    try:
        text = replayed(arguments) if arguments.replay is not None else explained(arguments)
    except ValueError as error:
        raise CommandError(sentence(str(error)), code=USAGE) from error
    write(text, arguments.output)
    return 0


def sentence(text: str) -> str:
    """Return a sentence as it stands after `fusewire: `."""
    return f"{text[0].lower()}{text[1:]}".removesuffix(".")


def write(text: str, output: Path | None) -> None:
    """Write `text` where it is wanted; what a terminal's encoding lacks is escaped there."""
    if output is not None:
        output.write_text(text, encoding="utf-8")
        return
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), end="")


# The list.


def listing() -> str:
    """Return all that can be explained, one line each, in groups."""
    from fusewire.explain.catalogue import CATALOGUE

    width = max(map(len, CATALOGUE))
    groups: dict[str, list[str]] = {}
    for name, explanation in CATALOGUE.items():
        groups.setdefault(explanation.group, []).append(f"  {name:<{width}}  {explanation.summary}")
    return "\n\n".join("\n".join([f"{group}:", *lines]) for group, lines in groups.items()) + "\n"


def found(name: str) -> Explanation:
    """Return what is meant by `name`; CommandError if nothing is."""
    from fusewire.explain.catalogue import CATALOGUE

    if name.lower() in CATALOGUE:
        return CATALOGUE[name.lower()]
    near = difflib.get_close_matches(name.lower(), CATALOGUE, n=1)
    guess = f" Did you mean '{near[0]}'?" if near else " 'fusewire explain' lists what there is."
    raise CommandError(f"there is no explanation of '{name}'.{guess}", code=USAGE)


# What is shown.


def explained(arguments: argparse.Namespace) -> str:
    """Play what is asked for, and return it as it is to be shown; errors as `Options`, and CommandError."""
    from fusewire.explain.catalogue import draw, play

    explanation = found(arguments.name)
    options = asked_for(arguments, explanation)
    if arguments.real:
        return on_this_kernel(arguments, explanation, options)
    recording = play(explanation, options)
    if arguments.format == "text":
        return draw(explanation, recording, options, everything=arguments.all, times=arguments.times)
    return in_format(arguments, recording, explanation.detail_for(options))


def asked_for(arguments: argparse.Namespace, explanation: Explanation) -> Options:
    """Return the options; what is not given is as the explanation has it."""
    from fusewire.explain.explanation import Options

    given = {name: getattr(arguments, name) for name in ("profile", "path", "threads", "uid")}
    defaults = {"profile": explanation.profile}
    return Options(**{**defaults, **{name: value for name, value in given.items() if value is not None}})


def in_format(arguments: argparse.Namespace, recording: Recording, detail: Detail) -> str:
    """Return `recording` as text, JSON or a page."""
    from fusewire.diagrams import as_json, page, text

    detail = detail.everything() if arguments.all else detail
    if arguments.format == "json":
        return as_json.render(recording, detail)
    if arguments.format == "html":
        return page.render(recording, detail)
    colour = arguments.output is None and sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return text.render(recording, detail, times=arguments.times, colour=colour) + "\n"


def replayed(arguments: argparse.Namespace) -> str:
    """Return the run of a schedule."""
    from fusewire.diagrams.columns import EVERYTHING
    from fusewire.diagrams.state import look
    from fusewire.explore.drawing import record
    from fusewire.explore.schedule import parse

    if (
        arguments.name
        or arguments.real
        or any(getattr(arguments, name) for name in ("profile", "path", "threads", "uid"))
    ):
        raise CommandError(
            "a run that is replayed has all that it needs in its string: give --replay alone", code=USAGE
        )
    schedule = parse(arguments.replay)
    recording = record(schedule.scene, schedule.steps, title=str(schedule), look=look)
    return in_format(arguments, recording, EVERYTHING)


def on_this_kernel(arguments: argparse.Namespace, explanation: Explanation, options: Options) -> str:
    """Return the same, seen on the kernel that runs here."""
    from fusewire.explain import real

    if arguments.profile == "seed2005":
        raise CommandError("the kernel that runs here is not that of 2005: leave --profile away", code=USAGE)
    if explanation.name not in real.NAMES:
        raise CommandError(f"only {' and '.join(real.NAMES)} can be shown with --real", code=USAGE)
    try:
        recording = real.run(explanation.name, options)
    except real.CannotStage as error:
        raise CommandError(str(error)) from error
    return in_format(arguments, recording, real.DETAIL)
