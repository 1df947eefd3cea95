"""`fusewire explain`: the diagrams, each drawn from a run that takes place as it is asked for."""

from __future__ import annotations

import argparse
import difflib

from fusewire.cli.report import USAGE, CommandError

__all__ = ["parser", "run"]


def parser() -> argparse.ArgumentParser:
    """The arguments of `fusewire explain`."""
    parser = argparse.ArgumentParser(
        prog="fusewire explain",
        description="Run both ends of a FUSE connection in this process and draw what happens. "
        "Nothing is mounted. Without a name, list what can be explained.",
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="what to explain, such as 'unlink'")
    parser.add_argument(
        "-a", "--all", action="store_true", help="draw also what kernel.txt, the document of 2005, passes over"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="on an error show the traceback too")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Print one diagram, or the list of them."""
    from fusewire.diagrams.explain import EXPLANATIONS, explain

    if arguments.name is None:
        width = max(map(len, EXPLANATIONS))
        for name, explanation in EXPLANATIONS.items():
            print(f"{name:<{width}}  {explanation.summary}")
        return 0
    if arguments.name not in EXPLANATIONS:
        near = difflib.get_close_matches(arguments.name, EXPLANATIONS, n=1)
        guess = f" Did you mean '{near[0]}'?" if near else ""
        raise CommandError(
            f"there is no explanation of '{arguments.name}', only of {', '.join(EXPLANATIONS)}.{guess}", code=USAGE
        )
    print(explain(arguments.name, arguments.all), end="")
    return 0
