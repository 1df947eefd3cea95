"""The smallest program that still shows a difference: delta debugging.

Pieces of the program are left out, halves first and then smaller ones, as long as what is left still
differs in the same way. Any list of steps is a program (program.py), so nothing has to be repaired.

Source: A. Zeller, R. Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002.
"""

from __future__ import annotations

from collections.abc import Callable

from differential.program import Program, Step

__all__ = ["shrink"]

Steps = tuple[Step, ...]


def shrink(program: Program, still_differs: Callable[[Program], bool], attempts: int = 400) -> Program:
    """Return a program of which no single step can be left out; a longer one after so many `attempts`."""
    steps, size = program.steps, max(1, len(program.steps) // 2)
    while attempts > 0:
        shorter = None
        for start in range(0, len(steps), size):
            attempts -= 1
            candidate = steps[:start] + steps[start + size :]
            if candidate and still_differs(program.with_steps(candidate)):
                shorter = candidate
                break
        if shorter is not None:
            steps = shorter
            size = min(size, max(1, len(steps) // 2))
        elif size == 1:
            break
        else:
            size = max(1, size // 2)
    return program.with_steps(steps)
