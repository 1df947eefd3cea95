"""`fusewire doctor`: what is the matter with the FUSE mounts of this machine, and what to type next."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from typing import TYPE_CHECKING, Final

from fusewire.cli.narrow import HelpFormatter
from fusewire.cli.report import USAGE, CommandError

if TYPE_CHECKING:
    from fusewire.watch import Diagnosis

__all__ = ["parser", "run"]

DESCRIPTION: Final = """\
Say which FUSE mounts hang and why, whoever serves them: who waits for whom, and
what to type next. Looks at /proc and /sys alone: it opens no file of any mount,
asks no daemon, and takes half a second. It changes nothing without --fix, or
your yes: on a terminal it asks before each step.

a mount is
  idle, busy   well; requests wait, none of them long
  slow         one has waited for more than a second; the daemon can still run
  deadlocked   nobody can answer any more: certain, probable or only suspected
  stopped      the daemon may not run; timing out: the kernel will soon end it
  dead         its daemon is gone; orphan: it is mounted nowhere any more"""

EPILOG: Final = """\
--fix takes what harms least, and looks again after each step: lets a stopped
daemon go on; answers the one request that closes the circle with EDEADLK, so
that the daemon lives; kills the daemon, where that helps; aborts the
connection; unmounts what is left of a dead one. It leaves alone what is only
suspected.

Without root it sees your own processes and mounts, and says what it cannot see.

exit codes: 0 all are well, 1 cured, 2 one is not well (or wrong usage),
3 could not see enough"""

CURED: Final = 1
SICK: Final = 2
BLIND: Final = 3
LINES: Final = 20  # that are printed at most
NOTHING_TO_DRAW: Final = "There is nothing to draw: nobody waits for who should answer."


def parser() -> argparse.ArgumentParser:
    """The arguments of `fusewire doctor`."""
    parser = argparse.ArgumentParser(
        prog="fusewire doctor", description=DESCRIPTION, epilog=EPILOG, formatter_class=HelpFormatter
    )
    parser.add_argument(
        "mount", metavar="MOUNTPOINT", nargs="?", help="look at this mount alone; the number of a connection will do"
    )
    parser.add_argument("--fix", action="store_true", help="cure what is sick, saying each step before it is taken")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--diagram", action="store_true", help="draw who waits for whom, however many lines that takes")
    form.add_argument("--json", action="store_true", help="print all that is known, as JSON")
    parser.add_argument("-v", "--verbose", action="store_true", help="on an error show the traceback too")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Print what is the matter; return the exit code."""
    from fusewire.watch import State, diagnose

    wanted = None if arguments.mount is None else connection_of(arguments.mount)
    everything = diagnose()
    found = [diagnosis for diagnosis in everything if wanted in (None, diagnosis.connection)]
    if arguments.mount is not None and not found:
        raise CommandError(f"there is no FUSE connection {wanted}", code=USAGE)
    if arguments.json:
        print(json.dumps([diagnosis.as_data() for diagnosis in found], indent=2))
    else:
        print("\n".join(report(found, everything, fixing=arguments.fix, diagram=arguments.diagram)), flush=True)
    if any(diagnosis.is_sick for diagnosis in found):
        asking = not arguments.fix
        return fix(found, asking) if arguments.fix or (is_answered() and not arguments.json) else SICK
    return BLIND if any(diagnosis.state is State.UNKNOWN for diagnosis in found) else 0


def is_answered() -> bool:
    """Whether somebody sits at a terminal, who can be asked."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def fix(found: list[Diagnosis], asking: bool) -> int:
    """Cure all that are sick; say what is done and how it ends. Return the exit code.

    Args:
        asking: before each step.
    """
    from fusewire.watch import cure
    from fusewire.watch.words import headline

    left = 0
    for diagnosis in found:
        if not diagnosis.is_sick:
            continue
        after = cure(diagnosis.connection, lambda sentence: print(sentence, flush=True), agrees if asking else None)
        left += after is not None and after.is_sick
        if not (asking and after is not None and after.is_sick):  # else it is as it was
            print(headline(after) if after else f"{diagnosis.place}: gone", flush=True)
    return SICK if left else CURED


def agrees(sentence: str) -> bool:
    """Ask whether a step is to be taken."""
    try:
        answer = input(f"{sentence}? [y/N] ")
    except (EOFError, KeyboardInterrupt):
        print()
        return False
    return answer.strip().lower() in ("y", "yes")


def connection_of(text: str) -> int:
    """Return the connection that a mountpoint, a path in a mount or a number means. Touches no mount.

    Raises:
        CommandError: there is no FUSE mount at the path.
    """
    from fusewire.watch.mounts import read_mounts

    if text.isdigit():
        return int(text)
    mounts = read_mounts([])
    view = mounts.view_of(os.getpid())
    below = mounts.resolve(view, os.path.abspath(text)).connections if view else frozenset()
    if not below:
        raise CommandError(f"no FUSE mount is at {text or 'an empty path'}", code=USAGE)
    return min(below)


# --- what is printed


def report(
    found: list[Diagnosis], everything: list[Diagnosis] | None = None, fixing: bool = False, diagram: bool = False
) -> list[str]:
    """Return at most 20 lines: of the first that is sick all, of the others the verdict; what to type at the end.

    Args:
        everything: of all mounts, if `found` is but one; some may be in the same circle.
        fixing: what is to be typed next is being done.
        diagram: the diagram is wanted, even if the lines are more; else it is drawn where there is room.
    """
    from fusewire.watch.words import brief, filled, full

    width = min(shutil.get_terminal_size().columns, 100)
    if not found:
        return ["There is no FUSE mount on this machine."]
    everything = everything or found
    places = {diagnosis.connection: diagnosis.place for diagnosis in everything}
    first, *others = in_order(found)
    ending = [line for text in last_words(found, fixing) for line in filled("", text, width)]
    below = [brief(one, width) for one in others]
    whole = full(first, places, width) if first.is_sick or not others else brief(first, width)
    drawing = diagram_of(first, everything)
    if diagram:
        return [*fitting([whole, *below], LINES - len(ending)), *(drawing or [NOTHING_TO_DRAW]), *ending]
    if drawing and shutil.get_terminal_size().columns >= len(max(drawing, key=len)):
        for words in (whole, full(first, places, width, drawn=True)):
            if len(words) + len(drawing) + sum(map(len, below)) + len(ending) <= LINES:
                return [*words, *drawing, *(line for block in below for line in block), *ending]
    if drawing and not fixing:
        ending = [f"As a diagram: fusewire doctor --diagram {first.connection}", *ending]
    return [*fitting([whole, *below], LINES - len(ending)), *ending]


def diagram_of(diagnosis: Diagnosis, everything: list[Diagnosis]) -> list[str]:
    """Return the diagram of a hang, nothing if there is none."""
    from fusewire.watch.drawing import drawn

    return drawn(diagnosis, everything, colour=sys.stdout.isatty() and not os.environ.get("NO_COLOR"))


def in_order(found: list[Diagnosis]) -> list[Diagnosis]:
    """The sick first, and of them those of which we are surest."""
    order = ["certain", "probable", "suspected"]
    return sorted(found, key=lambda one: (not one.is_sick, order.index(one.certainty.value), one.connection))


def fitting(blocks: list[list[str]], room: int) -> list[str]:
    """Return the lines of as many blocks as there is room for: whole, or else their first lines; count the rest."""
    lines: list[str] = []
    for index, block in enumerate(blocks):
        left = len(blocks) - index - 1
        free = room - len(lines) - (1 if left else 0)
        if free < 1 or (free < len(block) and free < 2):
            return [*lines[: room - 1], f"... and {left + 1} more (--json shows all)"]
        lines += block[:free]
    return lines


def last_words(found: list[Diagnosis], fixing: bool) -> list[str]:
    """Return what we could not see, and the command to type next."""
    unseen = found[0].unseen
    more = " To see all: sudo fusewire doctor" if os.geteuid() else ""
    blind = [f"Not seen: {'; '.join(unseen)}.{more}"] if unseen else []
    first = next((diagnosis for diagnosis in in_order(found) if diagnosis.cure and not fixing), None)
    if first is None:
        return blind
    suspected = first.is_sick and first.certainty.value == "suspected"
    why = ["It is only suspected, so --fix would leave it alone. Look again in a while."] if suspected else []
    return [*blind, *why, f"Next: {first.cure}"]
