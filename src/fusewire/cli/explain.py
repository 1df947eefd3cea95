"""`fusewire explain`: the diagrams, each drawn from a run that takes place as it is asked for."""

from __future__ import annotations

import argparse

__all__ = ["parser", "run"]


def parser() -> argparse.ArgumentParser:
    """The arguments of `fusewire explain`."""
    parser = argparse.ArgumentParser(
        prog="fusewire explain",
        description="Run both ends of a FUSE connection in this process and draw what happens. "
        "Nothing is mounted. Without a name, list what can be explained.",
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="what to explain, such as 'unlink'")
    parser.add_argument("-v", "--verbose", action="store_true", help="on an error show the traceback too")
    return parser


def run(arguments: argparse.Namespace) -> int:
    raise NotImplementedError
