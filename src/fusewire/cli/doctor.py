"""`fusewire doctor`: what is the matter with the FUSE mounts of this machine, and what to type next."""

from __future__ import annotations

import argparse
import json
import os
import shutil
from typing import TYPE_CHECKING, Final

from fusewire.cli.narrow import HelpFormatter
from fusewire.cli.report import USAGE, CommandError

if TYPE_CHECKING:
    from fusewire.watch import Diagnosis

__all__ = ["parser", "run"]

DESCRIPTION: Final = """\
Say which FUSE mounts hang and why, whoever serves them: who waits for whom, and
what to type next. Looks at /proc and /sys alone: it opens no file of any mount,
asks no daemon, and takes half a second. Without --fix it changes nothing.

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


def parser() -> argparse.ArgumentParser:
    """The arguments of `fusewire doctor`."""
    parser = argparse.ArgumentParser(
        prog="fusewire doctor", description=DESCRIPTION, epilog=EPILOG, formatter_class=HelpFormatter
    )
    parser.add_argument(
        "mount", metavar="MOUNTPOINT", nargs="?", help="look at this mount alone; the number of a connection will do"
    )
    parser.add_argument("--fix", action="store_true", help="cure what is sick, saying each step before it is taken")
    parser.add_argument("--json", action="store_true", help="print all that is known, as JSON")
    parser.add_argument("-v", "--verbose", action="store_true", help="on an error show the traceback too")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Print what is the matter; return the exit code."""
    from fusewire.watch import State, diagnose

    wanted = None if arguments.mount is None else connection_of(arguments.mount)
    found = diagnose(wanted)
    if arguments.mount is not None and not found:
        raise CommandError(f"there is no FUSE connection {wanted}", code=USAGE)
    if arguments.json:
        print(json.dumps([diagnosis.as_data() for diagnosis in found], indent=2))
    else:
        print("\n".join(report(found, fixing=arguments.fix)), flush=True)
    if arguments.fix and any(diagnosis.is_sick for diagnosis in found):
        return fix(found)
    if any(diagnosis.is_sick for diagnosis in found):
        return SICK
    return BLIND if any(diagnosis.state is State.UNKNOWN for diagnosis in found) else 0


def fix(found: list[Diagnosis]) -> int:
    """Cure all that are sick; say what is done and how it ends. Return the exit code."""
    from fusewire.watch import cure
    from fusewire.watch.words import headline

    left = 0
    for diagnosis in found:
        if not diagnosis.is_sick:
            continue
        after = cure(diagnosis.connection, lambda sentence: print(sentence, flush=True))
        print(headline(after) if after else f"{diagnosis.place}: gone", flush=True)
        left += after is not None and after.is_sick
    return SICK if left else CURED


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


def report(found: list[Diagnosis], fixing: bool = False) -> list[str]:
    """Return at most 20 lines: of the first that is sick all, of the others the verdict; what to type at the end."""
    from fusewire.watch.words import brief, filled, full

    width = min(shutil.get_terminal_size().columns, 100)
    if not found:
        return ["There is no FUSE mount on this machine."]
    places = {diagnosis.connection: diagnosis.place for diagnosis in found}
    ending = [line for text in last_words(found, fixing) for line in filled("", text, width)]
    first, *others = in_order(found)
    whole = first.is_sick or not others
    blocks = [full(first, places, width) if whole else brief(first, width), *(brief(one, width) for one in others)]
    return [*fitting(blocks, LINES - len(ending)), *ending]


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
    blind = [f"Not seen: {'; '.join(unseen)}. To see all: sudo fusewire doctor"] if unseen else []
    cures = [diagnosis.cure for diagnosis in in_order(found) if diagnosis.cure and not fixing]
    return [*blind, *([f"Next: {cures[0]}"] if cures else [])]
