"""Code that is not ours, run on behalf of a command: what goes wrong in it, told as its author wants to know it.

With the traceback of that code alone: our frames and importlib's say nothing about the mistake.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import fusewire
from fusewire.cli.report import CommandError

__all__ = ["is_users", "own_traceback", "users_code"]

STDLIB: Final = os.path.dirname(os.__file__)
CALLERS: Final = (
    os.path.dirname(os.path.abspath(fusewire.__file__)) + os.sep,
    "<frozen importlib",
    *(os.path.join(STDLIB, name) for name in ("importlib", "asyncio", "concurrent", "threading.py")),
)
GUARD: Final = 'Put what it does as a program under `if __name__ == "__main__":`.'


@contextmanager
def users_code(failure: str, exits: str = "") -> Iterator[None]:
    """Run code that is not ours; what it raises becomes a CommandError with the traceback of it alone.

    `exits` is what to say of a SystemExit without a text.
    """
    try:
        yield
    except CommandError:
        raise
    except SystemExit as error:
        if isinstance(error.code, str):  # sys.exit("what is wrong"): a sentence already
            raise CommandError(error.code) from error
        raise CommandError(exits or f"{failure}: it exits. {GUARD}") from error
    except Exception as error:
        raise CommandError(f"{failure}.", detail=own_traceback(error)) from error


def own_traceback(error: Exception) -> str:
    """Format `error` without the frames of those who called the user's code: this package, importlib, asyncio."""
    report = traceback.TracebackException.from_exception(error)
    part: traceback.TracebackException | None = report
    while part is not None:
        part.stack = traceback.StackSummary.from_list([frame for frame in part.stack if not hidden(frame.filename)])
        part = part.__cause__ or (None if part.__suppress_context__ else part.__context__)
    return "".join(report.format())


def hidden(filename: str) -> bool:
    return filename.startswith(CALLERS)


def is_users(error: Exception) -> bool:
    """Was this raised by code that is neither ours nor Python's, or by what such code has called?"""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        is_pythons = frame.filename.startswith(("<frozen", STDLIB)) and "site-packages" not in frame.filename
        if not is_pythons:
            return not hidden(frame.filename)
    return False
