"""A search by several processes at once.

Each process makes its own runs, and all share one table of the states that were seen, in memory that they have
in common. Runs still to be made are handed round: a process works for a while, then gives back what it has found
and what is left to do, and is given its share of what there is.

Nobody locks the table. Two processes may take the same state for new, and go into it twice: that costs a little
time. A state that somebody is just writing down is not recognized, which is the same. That one is taken for
another which is not would need sixteen bytes to be alike.
"""

from __future__ import annotations

import contextlib
import mmap
import multiprocessing
import time
from collections.abc import Sequence
from hashlib import blake2b
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from typing import Final

from fusewire.explore.depth_first import Branch, How, Search
from fusewire.explore.found import Found
from fusewire.explore.scene import Scenario

__all__ = ["search_together"]

SIZE: Final = 16  # bytes of a state in the table
PLACES: Final = 1 << 22  # in the table: many more than the states of any scenario that ends in a day
TRIES: Final = 256  # places that are looked at for one state
TURN: Final = 0.2  # seconds for which a process works until it gives back what it has
NOTHING: Final = bytes(SIZE)


class Shared:
    """The states that were seen by any of several processes. Made before they are."""

    def __init__(self) -> None:
        self._table = mmap.mmap(-1, PLACES * SIZE)

    def add(self, state: bytes) -> bool:
        """Remember `state`; return whether it is new. Where the table is full everything is."""
        key = state if len(state) == SIZE else blake2b(state, digest_size=SIZE).digest()
        place = int.from_bytes(key[:8], "little") % PLACES
        for _ in range(TRIES):
            there = self._table[place * SIZE : (place + 1) * SIZE]
            if there == key:
                return False
            if there == NOTHING:
                self._table[place * SIZE : (place + 1) * SIZE] = key
                return True
            place = (place + 1) % PLACES
        return True


class Worker:
    """One process that searches; `others` are those that were made before."""

    def __init__(self, scenario: Scenario, how: How, seen: Shared, others: Sequence[Worker]) -> None:
        fork = multiprocessing.get_context("fork")  # so that a scenario may be any function
        self.pipe, theirs = fork.Pipe()
        not_theirs = [self.pipe, *(other.pipe for other in others)]
        self.process = fork.Process(target=work, args=(scenario, how, seen, theirs, not_theirs), daemon=True)
        self.process.start()
        theirs.close()

    def end(self) -> None:
        """Have it end, or see that it has."""
        self.pipe.close()
        self.process.join()


def work(scenario: Scenario, how: How, seen: Shared, pipe: Pipe, not_ours: Sequence[Pipe]) -> None:
    """Make the runs that come through `pipe`, for a while, and give back what was found and what is left.

    Ends when nobody is left who would send some: so the ends of pipes that are not ours are closed.
    """
    for other in not_ours:
        other.close()
    with contextlib.suppress(EOFError, KeyboardInterrupt, BrokenPipeError):
        while True:
            branches, until = pipe.recv()
            search = Search(scenario, how, seen)
            search.branches = branches
            search.go_on(min(until, time.monotonic() + TURN))
            pipe.send((search.found, search.branches))


def search_together(scenario: Scenario, how: How, processes: int, until: float) -> tuple[Found, list[Branch]]:
    """Search with so many processes; return what they found, and the runs that were not made when it was `until`.

    Raises:
        EOFError: a process has died.
    """
    seen = Shared()
    first = Search(scenario, how, seen)
    first.go_on(until, most=4 * processes)
    if not first.branches:
        return first.found, []
    workers: list[Worker] = []
    try:
        for _ in range(processes):
            workers.append(Worker(scenario, how, seen, workers))
        left = _hand_round(first.branches, workers, first.found, until)
    finally:
        for worker in workers:
            worker.end()
    return first.found, left


def _hand_round(branches: list[Branch], workers: Sequence[Worker], found: Found, until: float) -> list[Branch]:
    """Give out `branches` and take back what is left of them, until there are none; add to `found`."""
    idle, busy = [worker.pipe for worker in workers], list[Pipe]()
    while busy or (branches and time.monotonic() < until):
        while idle and branches and time.monotonic() < until:
            share = -(-len(branches) // len(idle))
            idle[-1].send((branches[:share], until))
            branches = branches[share:]
            busy.append(idle.pop())
        for pipe in [pipe for pipe in busy if pipe in wait(busy)]:
            part, left = pipe.recv()
            found.add(part)
            branches += left
            busy.remove(pipe)
            idle.append(pipe)
    return branches
