"""The command `fusewire`: one module for each command, imported only when it is asked for.

A command's module has `parser()`, which gives its argparse parser, and `run(arguments)`, which
gives its exit code: 0, or 1 if it failed. Wrong usage is 2, as argparse has it. Whatever goes
wrong by a person's doing ends as one line on stderr, `fusewire: SENTENCE`; only `--verbose`
shows the traceback too (report.py).

Called as `mount.fusewire` (a symlink in /sbin, for fstab) it is `fusewire mount --background`,
which takes its arguments in the order in which mount(8) passes them.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import PurePath
from typing import Final, Protocol

import fusewire

__all__ = ["COMMANDS", "INTERRUPTED", "main"]

COMMANDS: Final = {
    "mount": "mount a filesystem and serve it until it is unmounted",
    "umount": "unmount it, also when its daemon is dead",
    "top": "show all mounts, live: how they are, what waits, how fast they are",
    "trace": "show the requests of any mount as they pass, and how long they take",
    "doctor": "say which mounts hang, why, and what to type next",
    "demo": "mount two filesystems, use them, then see what goes on underneath",
    "explain": "show how a request travels, step by step, from a real run",
    "explore": "try every order of a scenario's steps: deadlocks, ways out",
}

INTERRUPTED: Final = 130  # 128 + SIGINT, as shells have it

EXAMPLES: Final = """\
examples:
  fusewire demo                                  see it work
  fusewire mount memory: /mnt/x                  an empty filesystem in memory
  fusewire mount ~/src /mnt/x -o ro              a directory, seen through FUSE
  fusewire mount hello.py:root /mnt/x            a filesystem of your own
  fusewire umount /mnt/x

'fusewire COMMAND --help' tells the rest."""


class Command(Protocol):
    """What the module of a command has."""

    def parser(self) -> argparse.ArgumentParser: ...
    def run(self, arguments: argparse.Namespace) -> int: ...


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` (or the command line) names; return its exit code.

    Raises:
        SystemExit: 2 for wrong usage, 0 after --help, as argparse does.
    """
    open_standard_streams()
    arguments = list(sys.argv[1:] if argv is None else argv)
    if argv is None and PurePath(sys.argv[0]).name == "mount.fusewire":
        arguments = ["mount", "--background", *arguments]
    if arguments[:1] == ["help"]:
        arguments = [*arguments[1:2], "--help"]
    try:
        return (
            run(arguments[0], arguments[1:]) if arguments and arguments[0] in COMMANDS else without_command(arguments)
        )
    except KeyboardInterrupt:
        return INTERRUPTED


def open_standard_streams() -> None:
    """Open those of the three that we were started without (`2>&-`), lest /dev/fuse become one and be printed to."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def run(name: str, arguments: list[str]) -> int:
    """Run one command with what stands after its name."""
    from fusewire.cli.report import reporting

    module: Command = importlib.import_module(f"fusewire.cli.{name}")
    parsed = module.parser().parse_args(arguments)
    return reporting(module.run, parsed)


def without_command(arguments: list[str]) -> int:
    """Show the overview; `--help` and `--version` do what they say; anything else is a command that we do not have."""
    parser = overview()
    if arguments:
        parser.parse_args(arguments[:1])
        parser.error(f"there is no command '{arguments[0]}'.{what_there_is(arguments[0])}")
    parser.print_help()
    return 0


def what_there_is(name: str) -> str:
    """The command that is meant, or else all of them."""
    near = difflib.get_close_matches(name, COMMANDS, n=1)
    return f" Did you mean '{near[0]}'?" if near else f" There are: {', '.join(COMMANDS)}."


def overview() -> argparse.ArgumentParser:
    """The parser of everything but commands; its help is the list of them."""
    from fusewire.cli.narrow import HelpFormatter

    width = max(map(len, COMMANDS))
    rows = [f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items()]
    parser = argparse.ArgumentParser(
        prog="fusewire",
        usage="fusewire COMMAND ...",
        description="Mount filesystems written in Python: no libfuse, no compiler. Linux only.",
        epilog="\n".join(["commands:", *rows, "", EXAMPLES]),
        formatter_class=HelpFormatter,
    )
    parser.add_argument("-V", "--version", action="version", version=f"fusewire {fusewire.__version__}")
    parser.add_argument("command", nargs="?", help=argparse.SUPPRESS)
    return parser
