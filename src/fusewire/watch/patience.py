"""Do what may hang, and do without it when it does.

Most of /proc cannot hang. Three things can, all of them rarely: to read the memory of a process,
or the list of its mappings, while one of its threads holds the lock on them and sleeps; and to
follow a symlink on a disk that does not answer. They are done in a thread which is left behind if
it is not done in time. What it hangs in lets go at a SIGKILL, and so at the end of our process.

Source: mm/memory.c, __access_remote_vm; fs/proc/task_mmu.c, m_start: both wait killably.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, TypeVar

__all__ = ["PATIENCE", "within"]

Result = TypeVar("Result")

PATIENCE: Final = 0.2  # seconds; what does not hang takes some microseconds


def within(function: Callable[[], Result], otherwise: Result, seconds: float = PATIENCE) -> Result:
    """Return what `function` returns, and `otherwise` if it hangs, or raises an OSError."""
    results: list[Result] = []

    def run() -> None:
        try:
            results.append(function())
        except OSError:
            pass

    worker = threading.Thread(target=run, name="fusewire-look", daemon=True)
    worker.start()
    worker.join(seconds)
    return results[0] if results else otherwise
