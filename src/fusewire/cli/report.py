"""What a person is told when something goes wrong: one sentence, and an exit code.

A `CommandError` is ours and says all that there is to say. An `OSError` is the system's, or
`MountError`, whose text is a sentence already. Anything else is a bug of ours, and keeps its
traceback: hiding that helps nobody.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable
from typing import Final

__all__ = ["FAILURE", "USAGE", "CommandError", "complain", "reporting", "sentence"]

FAILURE: Final = 1
USAGE: Final = 2


class CommandError(Exception):
    """A command cannot go on. `detail` is shown above the sentence: a traceback of the user's own code."""

    def __init__(self, sentence: str, *, code: int = FAILURE, detail: str = "") -> None:
        super().__init__(sentence)
        self.code = code
        self.detail = detail


def reporting(run: Callable[[argparse.Namespace], int], arguments: argparse.Namespace) -> int:
    """Call `run(arguments)` and return its exit code; errors become a line on stderr and theirs."""
    try:
        return run(arguments)
    except BrokenPipeError:
        # Whoever read our output has gone (`fusewire explain | head`). Python would complain at exit as well.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILURE
    except (CommandError, OSError) as error:
        return complain(error, verbose=getattr(arguments, "verbose", False))


def complain(error: CommandError | OSError, *, verbose: bool = False) -> int:
    """Print what went wrong, with `verbose` after the traceback; return the exit code for it."""
    if verbose:
        traceback.print_exception(error)
    if isinstance(error, CommandError) and error.detail:
        print(error.detail.rstrip(), file=sys.stderr)
    print(f"fusewire: {sentence(error)}", file=sys.stderr)
    return error.code if isinstance(error, CommandError) else FAILURE


def sentence(error: Exception) -> str:
    """What `error` says, without Python's decoration: '/no/such: No such file or directory'."""
    if type(error).__module__ == "builtins" and isinstance(error, OSError) and error.strerror:
        return f"{os.fsdecode(error.filename)}: {error.strerror}" if error.filename else error.strerror
    return str(error)
