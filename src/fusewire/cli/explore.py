"""`fusewire explore`: every order in which the steps of a scenario can be made, and what goes wrong in any."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from fusewire.cli.narrow import HelpFormatter
from fusewire.cli.report import FAILURE, USAGE, CommandError

if TYPE_CHECKING:
    from fusewire.explore.report import Report
    from fusewire.explore.schedule import Setting

__all__ = ["parser", "run"]

DESCRIPTION = """\
Run both ends of a FUSE connection in this process, in every order in which
their steps can be made. Tell which orders end in a deadlock or lose a wake-up,
whether all that must always hold does after every step, and whether there is a
way out of every state. Nothing is mounted. Without a name, list the scenarios."""

EXAMPLES = """\
examples:
  fusewire explore simple-deadlock --diagram     the shortest way into it, drawn
  fusewire explore unlink --kill rm              rm is killed at any moment
  fusewire explore tricky-deadlock --profile seed2005 --abort --processes 2

Exits with 1 if something does not hold, is lost, or has no way out. Deadlocks
are what these scenarios are about, and no failure."""


def parser() -> argparse.ArgumentParser:
    """The arguments of `fusewire explore`."""
    parser = argparse.ArgumentParser(
        prog="fusewire explore",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    parser.add_argument("scenario", metavar="SCENARIO", nargs="?", help="what to explore, such as 'simple-deadlock'")
    parser.add_argument(
        "--profile", default="linux", help="'linux', today's (default), or 'seed2005', that of kernel.txt"
    )
    parser.add_argument("--threads", type=number, default=1, metavar="N", help="threads that serve (default: 1)")
    come = parser.add_argument_group("what may come at any moment, once, or not at all")
    come.add_argument("--kill", action="append", default=[], metavar="TASK", help="SIGKILL; may be given again")
    come.add_argument("--interrupt", action="append", default=[], metavar="TASK", help="a signal that has a handler")
    come.add_argument("--abort", action="store_true", help="the connection is aborted")
    come.add_argument("--close", action="store_true", help="the whole daemon dies, and the device is closed")
    come.add_argument("--timeout", action="store_true", help="so much time passes that requests time out")
    how = parser.add_argument_group("how to search")
    how.add_argument("--preemptions", type=number_or_0, metavar="N", help="make a task wait N times in a run at most")
    how.add_argument("--processes", type=number, default=1, metavar="N", help="search with N processes (default: 1)")
    how.add_argument("--seconds", type=duration, default=float("inf"), metavar="N", help="stop after N seconds")
    how.add_argument("--full", action="store_true", help="make every run, also into states that were seen")
    how.add_argument(
        "--no-ways-out", action="store_true", help="do not try from every state whether an abort ends it all"
    )
    parser.add_argument("--diagram", action="store_true", help="draw the shortest run to each thing found")
    parser.add_argument("-v", "--verbose", action="store_true", help="on an error show the traceback too")
    return parser


def number(text: str) -> int:
    """A number from 1 on."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"'{text}' is no number from 1 on")
    return int(text)


def duration(text: str) -> float:
    """A number of seconds, of which there are some."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not seconds > 0:
        raise argparse.ArgumentTypeError(f"'{text}' is no number of seconds")
    return seconds


def number_or_0(text: str) -> int:
    """A number from 0 on."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is no number from 0 on")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Explore one scenario and print what came of it, or list the scenarios."""
    from fusewire.explore.scenes import SCENARIOS
    from fusewire.explore.search import explore

    if arguments.scenario is None:
        width = max(map(len, SCENARIOS))
        for name, row in SCENARIOS.items():
            print(f"{name:<{width}}  {row.summary}")
        return 0
    try:
        setting = wanted(arguments)
    except ValueError as error:
        raise CommandError(str(error), code=USAGE) from error
    report = explore(
        setting,
        preemptions=arguments.preemptions,
        prune=not arguments.full,
        processes=arguments.processes,
        ways_out=() if arguments.no_ways_out else None,
        seconds=arguments.seconds,
    )
    print(report)
    if arguments.diagram:
        draw(setting, report)
    return FAILURE if report.broken or report.lost or report.alone or report.no_way_out else 0


def wanted(arguments: argparse.Namespace) -> Setting:
    """Return the setting that was asked for.

    Raises:
        ValueError: there is none such.
    """
    from fusewire.explore.schedule import Setting, checked

    moments = [
        f"{what}={name.replace(' ', '-')}" for what in ("kill", "interrupt") for name in getattr(arguments, what)
    ]
    moments += [what for what in ("abort", "close", "timeout") if getattr(arguments, what)]
    return checked(Setting(arguments.scenario, arguments.profile, arguments.threads, tuple(moments)))


def draw(setting: Setting, report: Report) -> None:
    """Print a diagram of each thing that was found."""
    from fusewire.diagrams.text import render
    from fusewire.explore.drawing import record_finding

    for shown in report.shown:
        print(f"\n{shown.schedule}\n")
        print(render(record_finding(setting.scene, shown.steps, shown.finding)))
